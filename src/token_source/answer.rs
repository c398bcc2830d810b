//! The token endpoint's answer (RFC 6749 §5), parsed as leniently as common libraries do.
//! Deviations are logged, and refused only if the token could not work.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::error::{Failure, FetchError};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::oauth::{ErrorCode, MAX_TOKEN_SIZE};
use crate::domain::secret::SecretString;
use crate::http_client::HttpAnswer;
use crate::jose::dpop::SCHEME;

/// A token is refreshed at least once a day.
pub(super) const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// The lifetime of a token without one.
pub(super) const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);

/// The error codes that our own texts repeat.
const KNOWN_CODES: [ErrorCode; 11] = [
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidClient,
    ErrorCode::UnauthorizedClient,
    ErrorCode::InvalidGrant,
    ErrorCode::UnsupportedGrantType,
    ErrorCode::InvalidScope,
    ErrorCode::InvalidTarget,
    ErrorCode::InvalidDpopProof,
    ErrorCode::UseDpopNonce,
    ErrorCode::TemporarilyUnavailable,
    ErrorCode::ServerError,
];

/// A token and its lifetime.
#[derive(Debug)]
pub(super) struct TokenAnswer {
    pub token: SecretString,
    pub lifetime: Duration,
    /// Deviations for the log.
    pub deviations: Vec<Deviation>,
}

/// A deviation from RFC 6749 §5.1 in a response with a usable token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Deviation {
    #[error("its status is {0} instead of 200")]
    Status(u16),
    #[error("it is compressed although the request does not allow it")]
    Compressed,
    #[error("it begins with a byte order mark")]
    ByteOrderMark,
    #[error("a member is repeated; the last one counts")]
    RepeatedMember,
    #[error("it is a form instead of JSON")]
    Form,
    #[error("its access_token has white space around it")]
    WhiteSpace,
    #[error("it has no token_type")]
    NoTokenType,
    #[error("its token_type is {0} instead of Bearer")]
    TokenType(String),
    #[error(
        "its expires_in is not a positive number of seconds; the token's own `exp` counts, else 5 \
         minutes"
    )]
    ExpiresIn,
}

/// The kind of token that was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Bearer,
    /// Bound to the key of the request's proof (RFC 9449).
    Dpop,
}

/// Token types that a bearer header cannot carry: they need an additional proof, or are not access
/// tokens (IANA's registry of access token types; RFC 8693 §2.2.1 for `N_A`).
const NOT_BEARER: [&str; 4] = ["mac", "DPoP", "PoP", "N_A"];

/// Parses an answer. `requested_at` is when the request was sent, by the authority's clock.
pub(super) fn parse(
    answer: &HttpAnswer,
    requested_at: UnixTime,
    kind: TokenKind,
) -> Result<TokenAnswer, Failure> {
    let mut deviations = Vec::new();
    let members = members(answer, &mut deviations);
    let status = answer.status.as_u16();
    if !answer.status.is_success() {
        let code = members.and_then(|members| error_code(&members));
        let error = code.map_or(FetchError::Status(status), |code| FetchError::Refused {
            code,
            status,
        });
        return Err(Failure {
            retry_after: retry_after(&answer.headers),
            ..error.into()
        });
    }
    let members = members.ok_or(FetchError::Malformed)?;
    // Some authorities answer 200 with an error, which explains more than a missing token.
    if !members.contains("access_token") && members.contains("error") {
        let error = error_code(&members).map_or(FetchError::ErrorAnswer(status), |code| {
            FetchError::Refused { code, status }
        });
        return Err(Failure {
            retry_after: retry_after(&answer.headers),
            ..error.into()
        });
    }
    if answer.status != StatusCode::OK {
        deviations.push(Deviation::Status(status));
    }
    let is_compressed = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if answer
        .headers
        .get(CONTENT_ENCODING)
        .is_some_and(is_compressed)
    {
        deviations.push(Deviation::Compressed);
    }
    Ok(parse_success(&members, requested_at, kind, deviations)?)
}

/// Whether an answer is this error.
pub(super) fn is_error(answer: &HttpAnswer, code: ErrorCode) -> bool {
    let members = Claims::parse(&answer.body).ok();
    !answer.status.is_success() && members.and_then(|it| error_code(&it)) == Some(code)
}

/// The answer's members: strict JSON, or the other forms that common libraries accept.
fn members(answer: &HttpAnswer, deviations: &mut Vec<Deviation>) -> Option<Claims> {
    let body = without_byte_order_mark(&answer.body);
    if body.len() < answer.body.len() {
        deviations.push(Deviation::ByteOrderMark);
    }
    if let Ok(members) = Claims::parse(body) {
        return Some(members);
    }
    // serde_json keeps the last of repeated members, like nearly every JSON library.
    if let Ok(members) = serde_json::from_slice::<Map<String, Value>>(body) {
        deviations.push(Deviation::RepeatedMember);
        return Some(members.into());
    }
    let kind = answer
        .headers
        .get(CONTENT_TYPE)?
        .to_str()
        .ok()?
        .split(';')
        .next()?
        .trim();
    let is_form = ["application/x-www-form-urlencoded", "text/plain"]
        .iter()
        .any(|form| kind.eq_ignore_ascii_case(form));
    if !is_form {
        return None;
    }
    let pairs = form_urlencoded::parse(body.trim_ascii()).into_owned();
    let members: Map<String, Value> = pairs
        .map(|(name, value)| (name, Value::String(value)))
        .collect();
    deviations.push(Deviation::Form);
    (members.contains_key("access_token") || members.contains_key("error")).then(|| members.into())
}

/// A text without the byte order mark of some servers (RFC 8259 §8.1 lets a reader ignore it).
pub(super) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn parse_success(
    members: &Claims,
    requested_at: UnixTime,
    kind: TokenKind,
    mut deviations: Vec<Deviation>,
) -> Result<TokenAnswer, FetchError> {
    let written = members
        .string("access_token")
        .ok()
        .flatten()
        .ok_or(FetchError::AccessToken)?;
    let token = written.trim_ascii();
    if !is_attachable(token) {
        return Err(FetchError::AccessToken);
    }
    if token.len() < written.len() {
        deviations.push(Deviation::WhiteSpace);
    }
    let token_type = members.get("token_type");
    match kind {
        TokenKind::Bearer => check_token_type(token_type, &mut deviations)?,
        TokenKind::Dpop => check_bound(token_type)?,
    }
    let lifetime = match members.get("expires_in") {
        None | Some(Value::Null) => lifetime_by_claims(token, requested_at)?,
        Some(value) => match parse_expires_in(value) {
            Some(lifetime) => lifetime,
            None => {
                deviations.push(Deviation::ExpiresIn);
                lifetime_by_claims(token, requested_at)?
            }
        },
    };
    Ok(TokenAnswer {
        token: token.into(),
        lifetime: lifetime.min(MAX_LIFETIME),
        deviations,
    })
}

/// Accepts only a token that is bound to the key of the proof: an authority that ignores the proof
/// gives a bearer token (RFC 9449 §5), which every thief could use.
fn check_bound(value: Option<&Value>) -> Result<(), FetchError> {
    let kind = value.and_then(Value::as_str).unwrap_or_default();
    if kind.trim().eq_ignore_ascii_case(SCHEME) {
        Ok(())
    } else {
        Err(FetchError::NotBound)
    }
}

/// Refuses only the types that a bearer header cannot carry: authorities write Bearer in many ways.
fn check_token_type(
    value: Option<&Value>,
    deviations: &mut Vec<Deviation>,
) -> Result<(), FetchError> {
    let kind = match value {
        None | Some(Value::Null) => "",
        Some(Value::String(kind)) => kind.trim(),
        Some(_) => {
            deviations.push(Deviation::TokenType("not a string".to_owned()));
            return Ok(());
        }
    };
    if let Some(kind) = NOT_BEARER
        .into_iter()
        .find(|other| kind.eq_ignore_ascii_case(other))
    {
        return Err(FetchError::TokenType(kind));
    }
    if kind.is_empty() {
        deviations.push(Deviation::NoTokenType);
    } else if !kind.eq_ignore_ascii_case("bearer") {
        deviations.push(Deviation::TokenType(shown(kind)));
    }
    Ok(())
}

/// A token type for the log. Any other text is hidden, because it could be the token.
fn shown(kind: &str) -> String {
    let is_word =
        |c: char| c.is_ascii_alphabetic() || matches!(c, ' ' | '-' | '_' | ':' | '.' | '/');
    if kind.len() <= 60 && kind.chars().all(is_word) {
        format!("`{kind}`")
    } else {
        "another".to_owned()
    }
}

/// Whether a token consists of VSCHAR without space (RFC 6749 appendix A.12), as a header requires.
pub(super) fn is_attachable(token: &str) -> bool {
    !token.is_empty()
        && token.len() <= MAX_TOKEN_SIZE
        && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `expires_in` as a number, or as a string of one. `None` for anything else, and for less than a
/// second: some authorities write 0 or -1 for a token without a lifetime.
pub(super) fn parse_expires_in(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        // Rust would also parse "inf", "NaN" and exponents.
        Value::String(text)
            if text
                .trim()
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-')) =>
        {
            text.trim().parse().ok()
        }
        _ => None,
    };
    seconds
        .filter(|seconds| *seconds >= 1.0)
        .map(|seconds| Duration::from_secs_f64(seconds.min(MAX_LIFETIME.as_secs_f64())))
}

/// The lifetime of a token without `expires_in`: by its own `exp` if it is a JWT. Nothing is
/// verified, and only our own timer depends on it.
fn lifetime_by_claims(token: &str, requested_at: UnixTime) -> Result<Duration, FetchError> {
    let Some(expires) = unverified_expiry(token) else {
        return Ok(DEFAULT_LIFETIME);
    };
    let lifetime = requested_at.until(expires);
    if lifetime.is_zero() {
        Err(FetchError::Expired)
    } else {
        Ok(lifetime)
    }
}

/// The `exp` of a JWT. Nothing is verified.
pub(super) fn unverified_expiry(token: &str) -> Option<UnixTime> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = Claims::parse(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims.numeric_date("exp").ok()?.map(UnixTime)
}

fn error_code(members: &Claims) -> Option<ErrorCode> {
    let text = members.string("error").ok()??;
    KNOWN_CODES.into_iter().find(|code| code.as_str() == text)
}

/// `Retry-After` (RFC 9110 §10.2.3), in seconds or as a date. A date is compared with the
/// response's own `Date`, because clocks differ.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let wish = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = wish.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(wish).ok()?;
    let now = httpdate::parse_http_date(text(DATE)?).ok()?;
    until.duration_since(now).ok()
}

#[cfg(test)]
mod tests;
