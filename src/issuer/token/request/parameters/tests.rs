//! Bodies as forms and as JSON.

use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::*;

fn parse(content_type: &'static str, body: &[u8]) -> Result<Parameters, TokenError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Parameters::parse(&headers, body, &Arc::default())
}

#[test]
fn a_body_needs_a_media_type_that_we_read() {
    for content_type in [
        "text/plain",
        "",
        "application/jsonx",
        "multipart/form-data",
        "application/vnd.ocf+cbor",
    ] {
        assert_eq!(
            parse(content_type, b"grant_type=x").err(),
            Some(TokenError::ContentType),
            "{content_type}"
        );
        assert!(parse(content_type, b"").is_ok());
    }
    assert_eq!(
        Parameters::parse(&HeaderMap::new(), b"a=b", &Arc::default()).err(),
        Some(TokenError::ContentType)
    );
    assert!(Parameters::parse(&HeaderMap::new(), b"", &Arc::default()).is_ok());
    assert!(parse("Application/X-WWW-Form-URLencoded ; charset=utf-8", b"a=b").is_ok());
    assert!(parse("application/json;charset=utf-8", b"{}").is_ok());
}

#[test]
fn plgds_server_finds_a_forms_media_type_anywhere_and_reads_all_else_as_json() {
    for (content_type, is_form) in [
        (Some("application/x-www-form-urlencoded"), true),
        (
            Some("Application/X-WWW-Form-Urlencoded;charset=utf-8"),
            true,
        ),
        (Some("text/plain; application/x-www-form-urlencoded"), true),
        (Some("text/plain"), false),
        (Some(""), false),
        (None, false),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        let form = Parameters::parse_form_or_json(&headers, b"scope=a", &Arc::default()).ok();
        assert_eq!(
            form.is_some_and(|it| it.is_plgd_form()),
            is_form,
            "{content_type:?}"
        );
        assert_eq!(
            Parameters::parse_form_or_json(&headers, b"[", &Arc::default()).is_err(),
            !is_form
        );
    }
}

#[test]
fn two_content_types_are_refused() {
    let mut headers = HeaderMap::new();
    headers.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.append(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    assert_eq!(
        Parameters::parse(&headers, b"{}", &Arc::default()).err(),
        Some(TokenError::RepeatedHeader("Content-Type"))
    );
}

#[test]
fn bodies_that_are_not_what_they_say_are_malformed() {
    for body in ["", "[]", "1", "{", "{}x", "null", r#"{"a":}"#] {
        assert_eq!(
            parse("application/json", body.as_bytes()).err(),
            Some(TokenError::MalformedBody),
            "{body}"
        );
    }
    let nested = format!("{}{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
    assert_eq!(
        parse("application/json", nested.as_bytes()).err(),
        Some(TokenError::MalformedBody)
    );
    for body in [&b"a=%ff"[..], b"%ff=a", b"a=\xff"] {
        assert_eq!(
            parse("application/x-www-form-urlencoded", body).err(),
            Some(TokenError::MalformedBody)
        );
    }
}

#[test]
fn a_json_parameter_of_another_type_is_refused() {
    for (name, body) in [
        ("grant_type", r#"{"grant_type":true}"#),
        ("grant_type", r#"{"grant_type":["client_credentials"]}"#),
        ("client_secret", r#"{"client_secret":{"a":1}}"#),
        ("client_assertion", r#"{"client_assertion":[]}"#),
        ("audience", r#"{"audience":[1]}"#),
        ("audience", r#"{"audience":[["a"]]}"#),
        ("scope", r#"{"scope":{}}"#),
    ] {
        assert_eq!(
            parse("application/json", body.as_bytes()).err(),
            Some(TokenError::WrongType(Excerpt::of(name))),
            "{body}"
        );
    }
    let parameters = parse(
        "application/json",
        br#"{"scope":["a","b c"],"unknown":[{}],"expiration":"5"}"#,
    )
    .unwrap();
    assert_eq!(parameters.scope.as_deref(), Some("a b c"));
    assert_eq!(parameters.expiration.as_deref(), Some("5"));
}

#[test]
fn form_text_is_decoded_once() {
    for (raw, decoded) in [
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("a%252Bb", "a%2Bb"),
        ("100%", "100%"),
        ("%zz", "%zz"),
    ] {
        assert_eq!(
            form_decode(raw.as_bytes()).as_deref(),
            Some(decoded),
            "{raw}"
        );
    }
    assert_eq!(form_decode(b"%c3%28"), None);
}
