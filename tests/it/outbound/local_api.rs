//! Programs that attach the token themselves, and `/status`.

use super::SECRET;
use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::Behave;
use crate::support::client::{RawAnswer, get, request};
use crate::support::logs;
use crate::support::sidecar::Sidecar;

const ADMIN_TOKEN: &str = "the-admin-token-of-these-tests";

struct World {
    authority: Authority,
    sidecar: Sidecar,
}

async fn world() -> World {
    let authority = Authority::start();
    authority.register_client("legacy", SECRET);
    let yaml = format!(
        r#"
stateDir: "@DIR@"
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
localApi: {{ listen: 127.0.0.1:0 }}
credentials:
  hub: {{ authority: "{0}", clientID: legacy, clientSecretFile: "@DIR@/secret", localApi: true }}
  hidden: {{ authority: "{0}", clientID: legacy, clientSecretFile: "@DIR@/secret" }}
"#,
        authority.issuer()
    );
    let files = Sidecar::builder().secret_file("secret", "legacy", SECRET);
    let sidecar = files
        .secret_file("admin", "admin", ADMIN_TOKEN)
        .start(&yaml)
        .await;
    World { authority, sidecar }
}

const MARK: (&str, &str) = ("X-M2M-Sidecar", "1");

impl World {
    async fn token(&self, name: &str, headers: &[(&str, &str)]) -> RawAnswer {
        get(
            self.sidecar.address("localApi"),
            &format!("/token/{name}"),
            headers,
        )
        .await
    }

    async fn status(&self) -> serde_json::Value {
        let authorization = format!("Bearer {ADMIN_TOKEN}");
        let answer = get(
            self.sidecar.address("admin"),
            "/status",
            &[("Authorization", &authorization)],
        )
        .await;
        logs::note(&answer.text());
        answer.json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_the_token_that_it_attaches_itself() {
    let world = world().await;
    for _ in 0..3 {
        let answer = world.token("hub", &[MARK]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let body = answer.json();
        assert_eq!(
            body["access_token"].as_str(),
            Some(world.authority.issued()[0].as_str())
        );
        assert_eq!(body["token_type"], "Bearer");
        assert!(answer.text().ends_with("}\n"), "a line");
        assert!(
            (3500..3600).contains(&body["expires_in"].as_u64().unwrap()),
            "{}",
            body["expires_in"]
        );
    }
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
    // It says that its token was refused; but that one is young.
    assert_eq!(
        world
            .token("hub", &[MARK, ("Cache-Control", "no-cache")])
            .await
            .status,
        200
    );
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_requests_do_not_get_it() {
    let world = world().await;
    for headers in [
        vec![],
        vec![("X-M2M-Sidecar", "2")],
        vec![MARK, ("Host", "rebound.example")],
        vec![MARK, ("Origin", "http://evil.example")],
        vec![MARK, ("Sec-Fetch-Site", "cross-site")],
    ] {
        let answer = world.token("hub", &headers).await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    let same = world.token("nothing", &[MARK]).await;
    let hidden = world.token("hidden", &[MARK]).await;
    assert_eq!((hidden.status, same.status), (404, 404));
    assert_eq!(hidden.text(), same.text(), "the answer reveals no names");
    for (method, target) in [
        ("POST", "/token/hub"),
        ("GET", "/"),
        ("GET", "/token"),
        ("GET", "/token/hub/x"),
    ] {
        let answer = request(
            method,
            world.sidecar.address("localApi"),
            target,
            &[MARK],
            b"",
        )
        .await;
        assert!(
            matches!(answer.status, 404 | 405),
            "{method} {target}: {}",
            answer.status
        );
    }
    assert_eq!(world.authority.fetches(Endpoint::Token), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_it_says_when_to_ask_again() {
    let world = world().await;
    world.authority.behave(Endpoint::Token, Behave::Status(401));
    let answer = world.token("hub", &[MARK]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_of_each_credential_in_our_words() {
    let world = world().await;
    let before = world.status().await;
    let credential = |status: &serde_json::Value, name: &str| {
        status["credentials"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == name)
            .unwrap()
            .clone()
    };
    let hub = credential(&before, "hub");
    assert_eq!(
        (hub["has_token"].as_bool(), hub["fetches"].as_u64()),
        (Some(false), Some(0))
    );
    assert!(hub["expires_at"].is_null() && hub["last_error"].is_null());

    let hostile =
        r#"{"error":"invalid_scope","error_description":"a secret text of the authority","x":1}"#;
    let raw = format!(
        "HTTP/1.1 400 Bad Request\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: \
         {}\r\n\r\n{hostile}",
        hostile.len()
    );
    world
        .authority
        .behave(Endpoint::Token, Behave::Raw(raw.into_bytes()));
    assert_eq!(world.token("hub", &[MARK]).await.status, 503);
    let failing = world.status().await;
    let hub = credential(&failing, "hub");
    assert_eq!(hub["last_error_code"], "invalid_scope");
    assert_eq!(hub["failures"], 1);
    assert!(
        hub["last_error"]
            .as_str()
            .unwrap()
            .contains("invalid_scope")
    );
    assert!(hub["last_error_at"].is_string());
    assert!(
        hub["clock_skew_seconds"].as_i64().unwrap() < -900_000_000,
        "{hub}"
    );
    assert!(!failing.to_string().contains("secret text"), "{failing}");

    let listeners: Vec<_> = failing["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(listeners, ["admin", "localApi"]);
}
