//! Bearer extraction: any `Authorization` headers. The result is checked by a second, simple
//! implementation of RFC 6750's grammar.

#![no_main]

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use m2m_sidecar::for_tests::domain::reason::Reason;
use m2m_sidecar::for_tests::verifier::BearerToken;

// One header per line.
fuzz_target!(|data: &[u8]| {
    let values = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok());
    let values: Vec<_> = if data.is_empty() {
        Vec::new()
    } else {
        values.collect()
    };
    let mut headers = HeaderMap::new();
    for value in &values {
        headers.append(AUTHORIZATION, value.clone());
    }
    let expected = match &values[..] {
        [] => Err(Reason::NoToken),
        [only] => token(only.as_bytes()),
        _ => Err(Reason::TwoAuthorizations),
    };
    let found = BearerToken::extract(&headers);
    let found = found
        .as_ref()
        .map(|token| token.text().as_bytes())
        .map_err(|refusal| refusal.reason);
    assert_eq!(found, expected);
});

fn token(value: &[u8]) -> Result<&[u8], Reason> {
    if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Err(Reason::MalformedAuthorization);
    }
    let scheme_ends = value
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(value.len());
    if !value[..scheme_ends].eq_ignore_ascii_case(b"bearer") {
        return Err(Reason::NoToken);
    }
    let (mut start, mut end) = (scheme_ends, value.len());
    while start < end && value[start] == b' ' {
        start += 1;
    }
    while start < end && value[end - 1] == b' ' {
        end -= 1;
    }
    let token = &value[start..end];
    let mut padding = false;
    for (at, byte) in token.iter().enumerate() {
        let in_alphabet = byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
        padding |= *byte == b'=';
        if (padding && *byte != b'=') || (!padding && !in_alphabet) || (at == 0 && padding) {
            return Err(Reason::MalformedAuthorization);
        }
    }
    if token.is_empty() {
        Err(Reason::MalformedAuthorization)
    } else if token.len() > 8192 {
        Err(Reason::TokenTooLarge)
    } else {
        Ok(token)
    }
}
