use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::domain::clock::{Clock, SystemClock};
use crate::token_source::access_token::AccessToken;
use crate::token_source::testing::{Authority, answer, secret_file};
use crate::token_source::{Config, FetchOnceError, TokenEndpoint, fetch_once, testing};

fn login(authority: &Authority) -> Login {
    Login {
        url: authority.url("/login?tenant=1").parse().unwrap(),
        method: Method::POST,
        headers: Vec::new(),
        body: LoginBody::None,
        token: TokenPlace::Member("/data/token".to_owned()),
        expires_in: None,
        lifetime: None,
    }
}

async fn fetch(authority: &Authority, login: Login) -> Result<AccessToken, String> {
    let config = testing::config(authority);
    let endpoint = TokenEndpoint::Login(Box::new(login));
    let config = Config::without_client("vendor", endpoint, config.timeouts);
    let clock: SharedClock = Arc::new(SystemClock);
    let fetched = fetch_once(&config, &clock).await;
    fetched.map_err(|error: FetchOnceError| error.to_string())
}

fn lifetime(token: &AccessToken) -> u64 {
    token.life().1.as_secs()
}

#[tokio::test]
async fn a_json_login_sends_its_files_and_finds_the_token() {
    let authority = Authority::start().await;
    authority.script([answer(200, r#"{"data":{"token":"t0k3n","ttl":"600"}}"#)]);
    let password = secret_file("hunter\"2");
    let key = secret_file("k-e-y");
    let sent = login(&authority);
    let token = fetch(
        &authority,
        Login {
            headers: vec![
                ("x-api-key".parse().unwrap(), Field::File(key)),
                ("x-client".parse().unwrap(), Field::Text("sidecar".into())),
            ],
            body: LoginBody::Json(
                json!({ "auth": { "user": "me", "passwords": [null] }, "keep": true }),
                vec![("/auth/passwords/0".to_owned(), password)],
            ),
            expires_in: Some("/data/ttl".to_owned()),
            ..sent
        },
    );
    let token = token.await.unwrap();
    assert_eq!(token.secret().expose_secret(), "t0k3n");
    assert_eq!(lifetime(&token), 600);
    let request = &authority.requests()[0];
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /login?tenant=1 HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        "x-api-key: k-e-y",
        "x-client: sidecar",
        "content-type: application/json",
        "accept: application/json",
    ] {
        assert!(head.lines().any(|it| it == line), "{line} in {head}");
    }
    let expected = json!({ "auth": { "user": "me", "passwords": ["hunter\"2"] }, "keep": true });
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_form_login_may_answer_in_a_header() {
    let authority = Authority::start().await;
    authority.script([
        "HTTP/1.1 201 X\r\nx-auth-token: Bearer t0k3n\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ]);
    let sent = login(&authority);
    let token = fetch(
        &authority,
        Login {
            body: LoginBody::Form(vec![
                ("user".to_owned(), Field::Text("me & you".to_owned())),
                ("password".to_owned(), Field::File(secret_file("hunter2"))),
            ]),
            token: TokenPlace::Header("x-auth-token".parse().unwrap()),
            lifetime: Some(Duration::from_secs(90)),
            ..sent
        },
    );
    let token = token.await.unwrap();
    assert_eq!(token.secret().expose_secret(), "t0k3n");
    assert_eq!(lifetime(&token), 90);
    let request = &authority.requests()[0];
    assert!(
        request.ends_with("\r\n\r\nuser=me+%26+you&password=hunter2"),
        "{request}"
    );
}

#[tokio::test]
async fn the_lifetime_is_told_or_that_of_the_token_or_configured() {
    let authority = Authority::start().await;
    let now = SystemClock.now();
    let end = now.plus(Duration::from_secs(300)).to_rfc3339().unwrap();
    let at = |value: Value| json!({ "data": { "token": "t" }, "end": value }).to_string();
    for (value, expected) in [
        (json!(120), 120..=120),
        (json!("120"), 120..=120),
        (json!(86_400_000), 86_400..=86_400),
        (json!(end), 298..=300),
    ] {
        authority.script([answer(200, &at(value.clone()))]);
        let sent = Login {
            expires_in: Some("/end".to_owned()),
            ..login(&authority)
        };
        let token = fetch(&authority, sent).await.unwrap();
        assert!(expected.contains(&lifetime(&token)), "{value}");
    }
    for value in [
        json!(null),
        json!("soon"),
        json!(0),
        json!("2001-01-01T00:00:00Z"),
    ] {
        authority.script([answer(200, &at(value.clone()))]);
        let sent = Login {
            expires_in: Some("/end".to_owned()),
            ..login(&authority)
        };
        assert!(fetch(&authority, sent).await.is_err(), "{value}");
    }
    authority.script([answer(200, &at(json!(null)))]);
    let token = fetch(&authority, login(&authority)).await.unwrap();
    assert_eq!(lifetime(&token), DEFAULT_LIFETIME.as_secs());
}

#[tokio::test]
async fn a_failed_login_shows_nothing_of_what_was_sent_or_answered() {
    let authority = Authority::start().await;
    let long = "x".repeat(200 * 1024);
    let moved = "HTTP/1.1 302 X\r\nlocation: /hunter2\r\ncontent-length: 0\r\n\r\n".to_owned();
    for (scripted, text) in [
        (
            answer(401, r#"{"message":"hunter2 is wrong"}"#),
            "status 401",
        ),
        (moved, "status 302"),
        (
            answer(200, r#"{"data":{"token":7}}"#),
            "where `login.token` points",
        ),
        (
            answer(200, r#"{"data":{"token":"two words"}}"#),
            "where `login.token` points",
        ),
        (answer(200, "hunter2"), "not a JSON object"),
        (answer(200, &long), "bytes"),
    ] {
        authority.script([scripted]);
        let sent = Login {
            body: LoginBody::Form(vec![(
                "password".to_owned(),
                Field::File(secret_file("hunter2")),
            )]),
            ..login(&authority)
        };
        let error = fetch(&authority, sent).await.unwrap_err();
        assert!(error.contains(text), "{error}");
        assert!(error.contains("/login"), "{error}");
        assert!(
            !error.contains("hunter2") && !error.contains("tenant"),
            "{error}"
        );
    }
    // Redirects are not followed.
    assert_eq!(authority.requests().len(), 6);
}
