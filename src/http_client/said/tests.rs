//! Tests of `said`.

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn said(body: &str, sent: &[&str]) -> Option<String> {
    let (status, headers) = (StatusCode::UNAUTHORIZED, HeaderMap::new());
    let asked = Url::parse("https://hub.example/token").unwrap();
    HttpAnswer {
        status,
        headers,
        body: body.to_owned().into(),
    }
    .said(&asked, sent)
}

fn of_message(message: &str, sent: &[&str]) -> String {
    said(
        &json!({"code": 16, "message": message, "details": []}).to_string(),
        sent,
    )
    .unwrap()
}

#[test]
fn the_message_of_a_status_is_said_and_of_nothing_else() {
    let message = "cannot create token: invalid audience([])";
    assert_eq!(of_message(message, &[]), format!("it says `{message}`"));
    let in_a_stream = json!({"error": {"code": 16, "message": message}}).to_string();
    assert_eq!(
        said(&format!("{in_a_stream}\n\n"), &[]),
        Some(format!("it says `{message}`"))
    );
    let beside_rfc_6749 =
        json!({"error": "invalid_client", "code": 16, "message": message}).to_string();
    assert_eq!(
        said(&beside_rfc_6749, &[]),
        Some(format!("it says `{message}`"))
    );
    for other in [
        "",
        "{}",
        "[]",
        "<html>",
        r#"{"message":"x"}"#,
        r#"{"code":"16","message":"x"}"#,
        r#"{"code":16,"message":7}"#,
        r#"{"code":16,"message":" \n"}"#,
        r#"{"error":"invalid_client","error_description":"x"}"#,
    ] {
        assert_eq!(said(other, &[]), None, "{other}");
    }
}

#[test]
fn sent_values_are_omitted_whole_in_part_and_respelled() {
    let secret = "p%2Fss-w0rd of 16 bytes";
    for message in [
        secret.to_owned(),
        format!("bad secret {secret:?}"),
        format!("bad secret {}", &secret[..REPEATED]),
        format!("bad secret {}", secret.to_lowercase()),
        format!("{}{secret}", "x".repeat(SHOWN - 10)),
    ] {
        assert_eq!(of_message(&message, &["", secret]), LEFT_OUT, "{message}");
    }
    assert_eq!(of_message("bad secret hunter2", &["hunter2"]), LEFT_OUT);
    assert_eq!(
        of_message("bad secret", &[secret, "short"]),
        "it says `bad secret`"
    );
}

#[test]
fn sent_values_are_omitted_in_every_encoding() {
    let secret = r#"a"b\c&d e%f+g/h?i"#;
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let basic = STANDARD.encode(format!("id:{form}"));
    for echo in [
        json!(secret).to_string(),
        json!(json!(secret).to_string()).to_string(),
        form.clone(),
        form.replace('+', "%20"),
        form_urlencoded::byte_serialize(form.as_bytes()).collect(),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        STANDARD.encode(format!("legacy:{secret}")),
        basic.clone(),
        form_urlencoded::byte_serialize(basic.as_bytes()).collect(),
        basic.replace('/', "\\/"),
        basic[..basic.len() - 5].to_owned(),
        secret
            .chars()
            .map(|c| format!("\\u{:04x}", u32::from(c)))
            .collect(),
    ] {
        assert_eq!(
            of_message(&format!("no client with '{echo}'"), &[secret]),
            LEFT_OUT,
            "{echo}"
        );
    }
    assert_eq!(
        of_message(
            &format!("no {}", STANDARD.encode("id:hunter2")),
            &["hunter2"]
        ),
        LEFT_OUT
    );
}

#[test]
fn the_query_of_the_url_is_left_out_too() {
    let body = |message: &str| json!({"code": 16, "message": message}).to_string().into();
    let asked = Url::parse("https://hub.example/keys?v=1&api-key=k%2F3y-of-the-hub").unwrap();
    for (message, expected) in [
        (
            "cannot access to /keys?api-key=k%2F3y-of-the-hub: invalid token",
            LEFT_OUT,
        ),
        ("no key k/3y-of-the-hub", LEFT_OUT),
        (
            "cannot access to /keys?v=1: invalid token",
            "it says `cannot access to /keys?v=1: invalid token`",
        ),
    ] {
        let (status, headers) = (StatusCode::UNAUTHORIZED, HeaderMap::new());
        let seen = HttpAnswer {
            status,
            headers,
            body: body(message),
        }
        .said(&asked, &[]);
        assert_eq!(seen.as_deref(), Some(expected), "{message}");
    }
}

#[test]
fn possible_tokens_are_omitted_and_the_rest_is_escaped() {
    let jwt = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2h1YiJ9.c2lnbmF0dXJl";
    let seen = of_message(
        &format!("token '{jwt}' of `a`\n\u{1b}[31m\u{202e}is bad"),
        &[],
    );
    assert_eq!(
        seen,
        "it says `token '…' of 'a'\\n\\u{1b}[31m\\u{202e}is bad`"
    );
    let place = "https://hub.example.com/m2m-oauth-server/api/v1/tokens?idFilter=2f1c9c1e-8d6f-4c55-9a6e-0d6f5c1f4a77";
    assert_eq!(of_message(place, &[]), format!("it says `{place}`"));
    let long = of_message(&"ä ".repeat(100_000), &[]);
    assert!(long.ends_with("…`") && long.len() < 2000, "{}", long.len());
}

proptest! {
    #[test]
    fn no_message_shows_a_secret_or_leaves_its_line(
        before in "\\PC{0,30}", after in ".{0,250}", secret in "[A-Za-z0-9+/=]{8,60}",
    ) {
        let seen = of_message(&format!("x{before}{secret}{after}"), &[&secret]);
        prop_assert_eq!(&seen, LEFT_OUT);
        let other = said(&json!({"code": 3, "message": after}).to_string(), &[]).unwrap_or_default();
        prop_assert!(!other.chars().any(char::is_control));
    }

    #[test]
    fn no_encoding_shows_a_secret(before in "[a-z]{0,3}", secret in "[ \
        -~]{8,40}", after in "[ -~]{0,9}") {
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let basic = STANDARD.encode(format!("{before}:{form}"));
        for echo in [
            json!(secret).to_string(),
            STANDARD.encode(format!("{before}:{secret}")),
            URL_SAFE_NO_PAD.encode(format!("{before}:{secret}")),
            format!("Basic {basic}"),
            form,
        ] {
            prop_assert_eq!(of_message(&format!("no '{echo}'{after}"), &[&secret]), LEFT_OUT);
        }
    }

    #[test]
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), sent in ".{0,20}") {
        let (status, headers) = (StatusCode::UNAUTHORIZED, HeaderMap::new());
        let asked = Url::parse("https://hub.example/token").unwrap();
        let _ = HttpAnswer { status, headers, body: body.into() }.said(&asked, &[&sent]);
    }
}
