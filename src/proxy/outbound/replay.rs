//! Decides which responses refuse the token.

use http::{StatusCode, header};
use pingora::http::ResponseHeader;

use super::config::TokenRefusal;

/// gRPC's code for a call without valid authentication.
const UNAUTHENTICATED: &[u8] = b"16";

/// Challenge errors that another token of the same client does not fix (RFC 6750 §3.1, RFC 9449
/// §7.1).
const NOT_ABOUT_THE_TOKEN: [&str; 4] = [
    "insufficient_scope",
    "invalid_request",
    "invalid_dpop_proof",
    USE_DPOP_NONCE,
];
/// The challenge error of a proof without the server's nonce (RFC 9449 §9).
const USE_DPOP_NONCE: &str = "use_dpop_nonce";

/// Whether a response refuses the token: one of `refusals`, or gRPC's equivalent of 401 without a
/// message.
pub(super) fn is_token_refused(answer: &ResponseHeader, refusals: &[TokenRefusal]) -> bool {
    let status = if is_unauthenticated_call(answer) {
        401
    } else {
        answer.status.as_u16()
    };
    let mut candidates = refusals
        .iter()
        .filter(|refusal| refusal.status == status)
        .peekable();
    if candidates.peek().is_none() {
        return false;
    }
    let errors = challenge_errors(answer);
    let is = |error: &str| errors.iter().any(|said| said.eq_ignore_ascii_case(error));
    !NOT_ABOUT_THE_TOKEN.into_iter().any(is)
        && candidates.any(|refusal| refusal.error.as_deref().is_none_or(is))
}

/// Whether a response demands a proof with the server's nonce.
pub(super) fn demands_nonce(answer: &ResponseHeader) -> bool {
    answer.status == StatusCode::UNAUTHORIZED
        && challenge_errors(answer)
            .iter()
            .any(|error| error == USE_DPOP_NONCE)
}

fn is_unauthenticated_call(answer: &ResponseHeader) -> bool {
    let value = |name| answer.headers.get(name).map(http::HeaderValue::as_bytes);
    let is_grpc = value(header::CONTENT_TYPE.as_str())
        .and_then(|kind| kind.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| {
            rest.first()
                .is_none_or(|next| matches!(next, b'+' | b';' | b' '))
        });
    let is_all = value(header::CONTENT_LENGTH.as_str()) == Some(b"0");
    answer.status == StatusCode::OK
        && is_grpc
        && is_all
        && value("grpc-status") == Some(UNAUTHENTICATED)
}

/// Every `error` parameter of the response's challenges (RFC 9110 §11.6.1), of any scheme.
fn challenge_errors(answer: &ResponseHeader) -> Vec<String> {
    let values = answer.headers.get_all(header::WWW_AUTHENTICATE);
    values
        .iter()
        .flat_map(|value| errors_in(&String::from_utf8_lossy(value.as_bytes())))
        .collect()
}

/// The `error` values in one field value; none if it is malformed.
fn errors_in(value: &str) -> Vec<String> {
    let (mut errors, mut rest) = (Vec::new(), value);
    while !rest.is_empty() {
        let (part, next) = split_at_comma(rest);
        rest = next;
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        // The scheme precedes the first parameter of a challenge.
        let name = name
            .split_ascii_whitespace()
            .next_back()
            .unwrap_or_default();
        if name.eq_ignore_ascii_case("error") {
            errors.push(unquoted(value.trim()));
        }
    }
    errors
}

/// Splits at the first comma outside quotes.
fn split_at_comma(text: &str) -> (&str, &str) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').unwrap_or(quoted).replace('\\', ""),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
