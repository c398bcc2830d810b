//! The token endpoint's answer (RFC 6749 §5), read strictly where a mistake would hurt.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::error::{Failure, FetchError};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::oauth::ErrorCode;
use crate::domain::secret::SecretString;
use crate::http_client::HttpAnswer;

/// Beyond it no server takes the header.
const MAX_TOKEN: usize = 16 * 1024;

/// A token is asked for anew at least once a day, however long it claims to live.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// What is assumed of a token that says nothing about its life.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);

/// The error codes that are repeated in our own texts. Any other text of the authority stays unsaid.
const KNOWN_CODES: [ErrorCode; 9] = [
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidClient,
    ErrorCode::UnauthorizedClient,
    ErrorCode::InvalidGrant,
    ErrorCode::UnsupportedGrantType,
    ErrorCode::InvalidScope,
    ErrorCode::InvalidTarget,
    ErrorCode::TemporarilyUnavailable,
    ErrorCode::ServerError,
];

/// A token and how long it lives.
#[derive(Debug)]
pub(super) struct TokenAnswer {
    pub token: SecretString,
    pub lifetime: Duration,
}

/// Reads an answer. `requested_at` is when the request was sent, by the authority's clock.
pub(super) fn parse(answer: &HttpAnswer, requested_at: UnixTime) -> Result<TokenAnswer, Failure> {
    let members = Claims::parse(&answer.body);
    if answer.status != StatusCode::OK {
        let status = answer.status.as_u16();
        let code = members.ok().and_then(|members| error_code(&members));
        let error = code.map_or(FetchError::Status(status), |code| FetchError::Refused { code, status });
        return Err(Failure { error, retry_after: retry_after(&answer.headers) });
    }
    let members = members.map_err(|_| FetchError::Malformed)?;
    // Some authorities answer 200 with an error; their word for it says more than "no access_token".
    if let (false, Some(code)) = (members.contains("access_token"), error_code(&members)) {
        return Err(FetchError::Refused { code, status: 200 }.into());
    }
    Ok(parse_success(&members, requested_at)?)
}

fn parse_success(members: &Claims, requested_at: UnixTime) -> Result<TokenAnswer, FetchError> {
    let token = match members.string("access_token") {
        Ok(Some(token)) if is_attachable(token) => token,
        _ => return Err(FetchError::AccessToken),
    };
    match members.string("token_type") {
        Ok(Some(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
        _ => return Err(FetchError::TokenType),
    }
    let lifetime = match members.get("expires_in") {
        None | Some(Value::Null) => lifetime_by_claims(token, requested_at)?,
        Some(value) => parse_expires_in(value)?,
    };
    Ok(TokenAnswer { token: token.into(), lifetime: lifetime.min(MAX_LIFETIME) })
}

/// Whether a token is made of VSCHAR without space (RFC 6749 appendix A.12): what a header can carry.
fn is_attachable(token: &str) -> bool {
    !token.is_empty() && token.len() <= MAX_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `expires_in` as a number, or as a text of one, which some authorities send.
fn parse_expires_in(value: &Value) -> Result<Duration, FetchError> {
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        // Rust would also read "inf", "NaN" and exponents; no authority means those.
        Value::String(text) if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-')) => {
            text.parse().ok()
        }
        _ => None,
    };
    match seconds {
        // Less than a second is no life: it would be over on arrival, and asked for again without end.
        Some(seconds) if seconds >= 1.0 => {
            Ok(Duration::from_secs_f64(seconds.min(MAX_LIFETIME.as_secs_f64())))
        }
        _ => Err(FetchError::ExpiresIn),
    }
}

/// The life of a token whose answer does not tell it: by its own `exp` when it is a JWT.
///
/// Nothing is verified here, and nothing but our own timer depends on it.
fn lifetime_by_claims(token: &str, requested_at: UnixTime) -> Result<Duration, FetchError> {
    let Some(expires) = unverified_expiry(token) else {
        return Ok(DEFAULT_LIFETIME);
    };
    let lifetime = requested_at.until(expires);
    if lifetime.is_zero() { Err(FetchError::Expired) } else { Ok(lifetime) }
}

fn unverified_expiry(token: &str) -> Option<UnixTime> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
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

/// `Retry-After` (RFC 9110 §10.2.3), in seconds or as a date. A date is measured by the answer's own `Date`: clocks differ.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let wish = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = wish.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(wish).ok()?;
    let now = httpdate::parse_http_date(text(DATE)?).ok()?;
    until.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::secret::ExposeSecret;

    const NOW: UnixTime = UnixTime(1_000_000);

    fn answer(status: u16, body: impl Into<Bytes>) -> HttpAnswer {
        let status = StatusCode::from_u16(status).unwrap();
        HttpAnswer { status, headers: HeaderMap::new(), body: body.into() }
    }

    fn parsed(body: &str) -> Result<TokenAnswer, FetchError> {
        parse(&answer(200, body.to_owned()), NOW).map_err(|failure| failure.error)
    }

    fn lifetime(expires_in: &str) -> Result<u64, FetchError> {
        let body = format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":{expires_in}}}"#);
        parsed(&body).map(|answer| answer.lifetime.as_secs())
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_plain_answer_gives_token_and_lifetime() {
        let answer =
            parsed(r#"{"access_token":"a.b-c_~","token_type":"bEARER","expires_in":3600,"x":[1]}"#).unwrap();
        assert_eq!(answer.token.expose_secret(), "a.b-c_~");
        assert_eq!(answer.lifetime, Duration::from_hours(1));
        assert!(!format!("{answer:?}").contains("a.b-c_~"));
    }

    #[test]
    fn lifetimes_are_numbers_or_texts_of_numbers_of_at_least_a_second() {
        for (given, seconds) in
            [("2", 2), ("\"300\"", 300), ("1.5", 1), ("\"90.5\"", 90), ("1e3", 1000), ("null", 300)]
        {
            assert_eq!(lifetime(given), Ok(seconds), "{given}");
        }
        for huge in ["86401", "1e300", "99999999999999999999999", "\"99999999999999999999999\""] {
            assert_eq!(lifetime(huge), Ok(86_400), "{huge}");
        }
        for bad in
            ["0", "-1", "0.5", "\"0\"", "\"\"", "\"-5\"", "\"1h\"", "\"inf\"", "\"NaN\"", "true", "{}", "[9]"]
        {
            assert_eq!(lifetime(bad), Err(FetchError::ExpiresIn), "{bad}");
        }
    }

    #[test]
    fn without_expires_in_the_tokens_own_exp_counts_else_five_minutes() {
        let of = |token: &str| {
            parsed(&format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#))
                .map(|a| a.lifetime.as_secs())
        };
        assert_eq!(of(&jwt(r#"{"exp":1000060}"#)), Ok(60));
        assert_eq!(of(&jwt(r#"{"exp":99999999999}"#)), Ok(86_400));
        assert_eq!(of(&jwt(r#"{"exp":999999}"#)), Err(FetchError::Expired));
        for unknown in ["opaque", "a.b.c", &jwt("{}"), &jwt(r#"{"exp":"x"}"#), &jwt("[]")] {
            assert_eq!(of(unknown), Ok(300), "{unknown}");
        }
    }

    #[test]
    fn each_malformed_answer_has_its_error() {
        for body in ["", "[]", "null", "{", "<html>", r#"{"access_token":"a","access_token":"b"}"#] {
            assert_eq!(parsed(body).unwrap_err(), FetchError::Malformed, "{body}");
        }
        for body in [
            r"{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":5}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"a\r\nX: y"}"#,
            r#"{"access_token":"ä"}"#,
            r#"{"access_token":"a\u0000"}"#,
            &format!(r#"{{"access_token":"{}"}}"#, "x".repeat(MAX_TOKEN + 1)),
        ] {
            assert_eq!(parsed(body).unwrap_err(), FetchError::AccessToken, "{body}");
        }
        for kind in ["", r#","token_type":"mac""#, r#","token_type":"DPoP""#, r#","token_type":null"#] {
            let body = format!(r#"{{"access_token":"a","expires_in":9{kind}}}"#);
            assert_eq!(parsed(&body).unwrap_err(), FetchError::TokenType, "{body}");
        }
    }

    #[test]
    fn a_refusal_keeps_known_codes_and_no_other_text() {
        let error = |status, body: &'static str| parse(&answer(status, body), NOW).unwrap_err().error;
        let refused = |code, status| FetchError::Refused { code, status };
        assert_eq!(error(401, r#"{"error":"invalid_client"}"#), refused(ErrorCode::InvalidClient, 401));
        assert_eq!(error(200, r#"{"error":"invalid_scope"}"#), refused(ErrorCode::InvalidScope, 200));
        assert_eq!(error(400, r#"{"error":"secret text"}"#), FetchError::Status(400));
        assert_eq!(error(502, "<html>bad gateway"), FetchError::Status(502));
        assert_eq!(error(201, r#"{"access_token":"a","token_type":"Bearer"}"#), FetchError::Status(201));
        assert_eq!(error(302, ""), FetchError::Status(302));
    }

    #[test]
    fn retry_after_in_seconds_is_kept() {
        let with = |value: &'static str| {
            let mut answer = answer(429, "");
            answer.headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            parse(&answer, NOW).unwrap_err().retry_after
        };
        assert_eq!(with("7"), Some(Duration::from_secs(7)));
        for other in ["", "-1", "x", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999999999999999999"] {
            assert_eq!(with(other), None, "{other}");
        }
        let dated = |date: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("Fri, 31 Dec 1999 23:59:59 GMT"));
            headers.insert(DATE, HeaderValue::from_static(date));
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(dated("Fri, 31 Dec 1999 23:59:29 GMT"), Some(30));
        assert_eq!(dated("Sat, 01 Jan 2000 00:00:00 GMT"), None, "it has passed");
        assert_eq!(dated("yesterday"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(
            status in 200_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = parse(&answer(status, body), NOW);
        }

        #[test]
        fn a_token_that_is_accepted_can_stand_in_a_header(token in "\\PC{0,40}", expires_in in any::<f64>()) {
            let expires_in = serde_json::Number::from_f64(expires_in);
            let body = serde_json::json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in});
            if let Ok(answer) = parse(&answer(200, body.to_string()), NOW) {
                prop_assert!(HeaderValue::from_str(answer.token.expose_secret()).is_ok());
                prop_assert!(answer.lifetime >= Duration::from_secs(1) && answer.lifetime <= MAX_LIFETIME);
            }
        }

        #[test]
        fn claims_of_any_shape_give_a_bounded_lifetime(claims in "\\{\"exp\":[-0-9.eE\"]{0,25}\\}") {
            if let Ok(lifetime) = lifetime_by_claims(&jwt(&claims), NOW) {
                prop_assert!(!lifetime.is_zero());
            }
        }
    }
}
