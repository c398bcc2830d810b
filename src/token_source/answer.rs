//! Parses the token endpoint's response (RFC 6749 §5) as leniently as common libraries do.
//! Deviations are logged, and refused only where the token could not work.

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

/// A token is renewed at least once a day, whatever lifetime it has.
const MAX_LIFETIME: Duration = Duration::from_hours(24);

/// The assumed lifetime of a token without one.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);

/// The error codes that may appear in the sidecar's own texts. Other texts of the authority are not
/// shown.
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

/// A token and its lifetime.
#[derive(Debug)]
pub(super) struct TokenAnswer {
    pub token: SecretString,
    pub lifetime: Duration,
    /// Deviations that the operator should know.
    pub deviations: Vec<Deviation>,
}

/// A deviation from RFC 6749 §5.1 in a response with a usable token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Deviation {
    #[error("its status is {0} instead of 200")]
    Status(u16),
    #[error("it is compressed, which the request did not ask for")]
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
        "its expires_in is no number of seconds above zero; the token's own `exp` counts, else 5 minutes"
    )]
    ExpiresIn,
}

/// Token types that a bearer header cannot carry: they require a proof, or are not access tokens
/// (IANA's registry of access token types; RFC 8693 §2.2.1 for `N_A`).
const NOT_BEARER: [&str; 4] = ["mac", "DPoP", "PoP", "N_A"];

/// Parses a response. `requested_at` is the request time by the authority's clock.
pub(super) fn parse(answer: &HttpAnswer, requested_at: UnixTime) -> Result<TokenAnswer, Failure> {
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
    // Some authorities answer 200 with an error, whose code is more specific than "no
    // access_token".
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
    Ok(parse_success(&members, requested_at, deviations)?)
}

/// The response's members, from strict JSON or a commonly accepted variant.
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

/// Removes the byte order mark that some servers prepend (RFC 8259 §8.1 permits ignoring it).
pub(super) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn parse_success(
    members: &Claims,
    requested_at: UnixTime,
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
    check_token_type(members.get("token_type"), &mut deviations)?;
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

/// A token is used unless its type excludes a bearer header: authorities have many names for
/// Bearer.
fn check_token_type(
    value: Option<&Value>,
    deviations: &mut Vec<Deviation>,
) -> Result<(), FetchError> {
    let kind = match value {
        None | Some(Value::Null) => "",
        Some(Value::String(kind)) => kind.trim(),
        Some(_) => {
            deviations.push(Deviation::TokenType("no text".to_owned()));
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

/// A token type for the log. An unusual value could be anything, even the token, and is not shown.
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
fn is_attachable(token: &str) -> bool {
    !token.is_empty()
        && token.len() <= MAX_TOKEN_SIZE
        && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `expires_in` as a number, or as the text of one, which some authorities send. `None` for other
/// values and for less than a second: some authorities send 0 or -1 for an unlimited token.
fn parse_expires_in(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        // Excludes "inf", "NaN" and exponents, which Rust would accept.
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

/// The lifetime of a token without `expires_in`: by its own `exp` if it is a JWT.
///
/// Nothing is verified here, and only the refresh timer depends on it.
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

fn unverified_expiry(token: &str) -> Option<UnixTime> {
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
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::secret::ExposeSecret;

    const NOW: UnixTime = UnixTime(1_000_000);

    fn answer(status: u16, body: impl Into<Bytes>) -> HttpAnswer {
        let status = StatusCode::from_u16(status).unwrap();
        HttpAnswer {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    fn parsed(body: &str) -> Result<TokenAnswer, FetchError> {
        parse(&answer(200, body.to_owned()), NOW).map_err(|failure| failure.error)
    }

    fn lifetime(expires_in: &str) -> Result<u64, FetchError> {
        let body =
            format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":{expires_in}}}"#);
        parsed(&body).map(|answer| answer.lifetime.as_secs())
    }

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_plain_answer_gives_token_and_lifetime() {
        let answer =
            parsed(r#"{"access_token":"a.b-c_~","token_type":"bEARER","expires_in":3600,"x":[1]}"#)
                .unwrap();
        assert_eq!(answer.token.expose_secret(), "a.b-c_~");
        assert_eq!(answer.lifetime, Duration::from_hours(1));
        assert!(!format!("{answer:?}").contains("a.b-c_~"));
    }

    #[test]
    fn lifetimes_are_numbers_or_texts_of_numbers_of_at_least_a_second() {
        for (given, seconds) in [
            ("2", 2),
            ("\"300\"", 300),
            ("1.5", 1),
            ("\"90.5\"", 90),
            ("1e3", 1000),
            ("null", 300),
        ] {
            assert_eq!(lifetime(given), Ok(seconds), "{given}");
        }
        for huge in [
            "86401",
            "1e300",
            "99999999999999999999999",
            "\"99999999999999999999999\"",
        ] {
            assert_eq!(lifetime(huge), Ok(86_400), "{huge}");
        }
    }

    #[test]
    fn an_invalid_expires_in_counts_as_missing_and_is_logged() {
        for bad in [
            "0", "-1", "0.5", "\"0\"", "\"\"", "\"-5\"", "\"1h\"", "\"inf\"", "\"NaN\"", "true",
            "{}", "[9]",
        ] {
            for (token, seconds) in [(jwt(r#"{"exp":1000060}"#), 60), ("opaque".to_owned(), 300)] {
                let body = format!(
                    r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{bad}}}"#
                );
                let answer = parsed(&body).unwrap();
                assert_eq!(answer.lifetime.as_secs(), seconds, "{bad} {token}");
                assert_eq!(answer.deviations, [Deviation::ExpiresIn], "{bad}");
            }
        }
    }

    #[test]
    fn without_expires_in_the_tokens_own_exp_counts_else_five_minutes() {
        let of = |token: &str| {
            parsed(&format!(
                r#"{{"access_token":"{token}","token_type":"Bearer"}}"#
            ))
            .map(|a| a.lifetime.as_secs())
        };
        assert_eq!(of(&jwt(r#"{"exp":1000060}"#)), Ok(60));
        assert_eq!(of(&jwt(r#"{"exp":99999999999}"#)), Ok(86_400));
        assert_eq!(of(&jwt(r#"{"exp":999999}"#)), Err(FetchError::Expired));
        for unknown in [
            "opaque",
            "a.b.c",
            &jwt("{}"),
            &jwt(r#"{"exp":"x"}"#),
            &jwt("[]"),
        ] {
            assert_eq!(of(unknown), Ok(300), "{unknown}");
        }
    }

    #[test]
    fn each_malformed_answer_has_its_error() {
        for body in [
            "",
            "[]",
            "null",
            "{",
            "<html>",
            "access_token=a",
            "\u{feff}",
            r#"{"a":1} x"#,
        ] {
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
            &format!(r#"{{"access_token":"{}"}}"#, "x".repeat(MAX_TOKEN_SIZE + 1)),
        ] {
            assert_eq!(parsed(body).unwrap_err(), FetchError::AccessToken, "{body}");
        }
        for (kind, known) in [
            ("mac", "mac"),
            ("MAC", "mac"),
            ("DPoP", "DPoP"),
            (" dpop ", "DPoP"),
            ("pop", "PoP"),
            ("N_A", "N_A"),
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":9,"token_type":"{kind}"}}"#);
            assert_eq!(
                parsed(&body).unwrap_err(),
                FetchError::TokenType(known),
                "{body}"
            );
        }
    }

    #[test]
    fn responses_of_real_token_endpoints_are_accepted_and_deviations_logged() {
        let of = |answer: &HttpAnswer| {
            let answer = parse(answer, NOW).map_err(|failure| failure.error).unwrap();
            assert_eq!(
                (answer.token.expose_secret(), answer.lifetime.as_secs()),
                ("a", 9)
            );
            answer
                .deviations
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        let body = |members: &str| format!(r#"{{"access_token":"a","expires_in":9{members}}}"#);
        assert_eq!(of(&answer(200, body(r#","token_type":"bearer""#))), "");
        for none in ["", r#","token_type":null"#, r#","token_type":"""#] {
            assert_eq!(
                of(&answer(200, body(none))),
                "it has no token_type",
                "{none}"
            );
        }
        for kind in [
            "BearerToken",
            "Application Access Token",
            "jwt-bearer",
            "access_token",
            "JWT",
        ] {
            let logged = of(&answer(200, body(&format!(r#","token_type":"{kind}""#))));
            assert_eq!(
                logged,
                format!("its token_type is `{kind}` instead of Bearer")
            );
        }
        let bearer = body(r#","token_type":"Bearer""#);
        assert_eq!(
            of(&answer(201, bearer.clone())),
            "its status is 201 instead of 200"
        );
        assert_eq!(
            of(&answer(200, format!("\u{feff}{bearer}"))),
            "it begins with a byte order mark"
        );
        let twice = bearer.replacen('{', r#"{"access_token":"b","#, 1);
        assert_eq!(
            of(&answer(200, twice)),
            "a member is repeated; the last one counts"
        );
        for kind in [
            "application/x-www-form-urlencoded",
            "text/plain; charset=utf-8",
        ] {
            let mut form = answer(200, "access_token=a&token_type=bearer&expires_in=9\n");
            form.headers
                .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(of(&form), "it is a form instead of JSON");
        }
        let padded = bearer.replace("\"a\"", "\" a\\n\"");
        assert_eq!(
            of(&answer(200, padded)),
            "its access_token has white space around it"
        );
        let mut compressed = answer(200, bearer);
        compressed
            .headers
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(
            of(&compressed),
            "it is compressed, which the request did not ask for"
        );
    }

    #[test]
    fn a_token_type_that_could_be_a_token_is_not_shown() {
        for kind in [
            "7f3a9c",
            "eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
            &"x".repeat(61),
            "a\u{1b}[31m",
            "ä",
        ] {
            let mut deviations = Vec::new();
            check_token_type(Some(&Value::String(kind.to_owned())), &mut deviations).unwrap();
            assert_eq!(
                deviations,
                [Deviation::TokenType("another".to_owned())],
                "{kind:?}"
            );
        }
        let mut deviations = Vec::new();
        check_token_type(Some(&Value::Bool(true)), &mut deviations).unwrap();
        assert_eq!(deviations, [Deviation::TokenType("no text".to_owned())]);
    }

    #[test]
    fn a_refusal_keeps_known_codes_and_no_other_text() {
        let error =
            |status, body: &'static str| parse(&answer(status, body), NOW).unwrap_err().error;
        let refused = |code, status| FetchError::Refused { code, status };
        assert_eq!(
            error(401, r#"{"error":"invalid_client"}"#),
            refused(ErrorCode::InvalidClient, 401)
        );
        assert_eq!(
            error(200, r#"{"error":"invalid_scope"}"#),
            refused(ErrorCode::InvalidScope, 200)
        );
        assert_eq!(
            error(400, r#"{"error":"secret text"}"#),
            FetchError::Status(400)
        );
        assert_eq!(error(502, "<html>bad gateway"), FetchError::Status(502));
        assert_eq!(
            error(200, r#"{"error":"secret text"}"#),
            FetchError::ErrorAnswer(200)
        );
        assert_eq!(error(204, ""), FetchError::Malformed);
        assert_eq!(error(302, ""), FetchError::Status(302));
    }

    #[test]
    fn retry_after_in_seconds_is_kept() {
        let with = |value: &'static str| {
            let mut answer = answer(429, "");
            answer
                .headers
                .insert(RETRY_AFTER, HeaderValue::from_static(value));
            parse(&answer, NOW).unwrap_err().retry_after
        };
        assert_eq!(with("7"), Some(Duration::from_secs(7)));
        for other in [
            "",
            "-1",
            "x",
            "Fri, 31 Dec 1999 23:59:59 GMT",
            "99999999999999999999999",
        ] {
            assert_eq!(with(other), None, "{other}");
        }
        let dated = |date: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                RETRY_AFTER,
                HeaderValue::from_static("Fri, 31 Dec 1999 23:59:59 GMT"),
            );
            headers.insert(DATE, HeaderValue::from_static(date));
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(dated("Fri, 31 Dec 1999 23:59:29 GMT"), Some(30));
        assert_eq!(
            dated("Sat, 01 Jan 2000 00:00:00 GMT"),
            None,
            "it has passed"
        );
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
