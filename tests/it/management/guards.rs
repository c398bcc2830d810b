//! The guards of the management API: the token, the host, no web page, JSON only, small bodies.

use std::os::unix::fs::PermissionsExt;

use super::{ADMIN_TOKEN, World, error, is, meter};
use crate::commands::{ended, run};
use crate::support::client::{RawAnswer, get, request};
use crate::support::logs;
use crate::support::sidecar::Sidecar;

const JSON: (&str, &str) = ("Content-Type", "application/json");

async fn post(world: &World, headers: &[(&str, &str)]) -> RawAnswer {
    let answer = request(
        "POST",
        world.admin(),
        "/clients",
        headers,
        meter().to_string().as_bytes(),
    )
    .await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn each_guard_refuses_for_its_own_reason_and_nothing_is_made() {
    let world = World::start().await;
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let token = ("Authorization", bearer.as_str());
    for (headers, status, code) in [
        (vec![JSON], 401, "invalid_token"),
        (
            vec![JSON, ("Authorization", "Bearer wrong-token")],
            401,
            "invalid_token",
        ),
        (
            vec![JSON, ("Authorization", "Basic YWRtaW46YWRtaW4=")],
            401,
            "invalid_token",
        ),
        (vec![token], 415, "unsupported_media_type"),
        (
            vec![token, ("Content-Type", "text/plain")],
            415,
            "unsupported_media_type",
        ),
        (
            vec![token, ("Content-Type", "application/x-www-form-urlencoded")],
            415,
            "unsupported_media_type",
        ),
        (
            vec![token, JSON, ("Host", "evil.example")],
            421,
            "misdirected_request",
        ),
        (
            vec![token, JSON, ("Sec-Fetch-Site", "cross-site")],
            403,
            "cross_site_request",
        ),
        (
            vec![token, JSON, ("Origin", "http://evil.example")],
            403,
            "cross_site_request",
        ),
        (
            vec![token, JSON, ("Origin", "null")],
            403,
            "cross_site_request",
        ),
    ] {
        let answer = post(&world, &headers).await;
        assert_eq!(error(&answer), is(status, code), "{headers:?}");
        assert_eq!(
            answer.header("www-authenticate").is_some(),
            status == 401,
            "{headers:?}"
        );
    }
    assert_eq!(
        error(&world.get("/clients/meter").await),
        is(404, "not_found")
    );
    for host in ["localhost:1", "admin.example", "[::1]:9901"] {
        assert_eq!(
            get(world.admin(), "/clients", &[token, ("Host", host)])
                .await
                .status,
            200,
            "{host}"
        );
    }
    assert_eq!(post(&world, &[token, JSON]).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_wants_the_token() {
    let world = World::start().await;
    for path in [
        "/",
        "/clients",
        "/clients/x",
        "/tokens",
        "/openapi.json",
        "/nothing",
    ] {
        assert_eq!(
            error(&get(world.admin(), path, &[]).await),
            is(401, "invalid_token"),
            "{path}"
        );
    }
    let description = world.get("/openapi.json").await;
    assert_eq!(
        (description.status, description.header("content-type")),
        (200, Some("application/json"))
    );
    assert!(description.json()["paths"]["/clients/{client_id}"]["patch"].is_object());
    assert_eq!(error(&world.get("/nothing").await), is(404, "not_found"));
    let wrong = world.call("PUT", "/clients", meter()).await;
    assert_eq!((wrong.status, wrong.header("allow").is_some()), (405, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_refused() {
    let world = World::start().await;
    let large = serde_json::json!({ "owner": "x".repeat(64 * 1024) });
    assert_eq!(world.call("POST", "/clients", large).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guessing_caller_is_slowed_down_and_the_right_token_is_not() {
    let world = World::start().await;
    // It was right from here; a token that is not generated and was never right from here waits
    // like a guess.
    assert_eq!(world.get("/clients").await.status, 200);
    let mark = logs::mark();
    let mut statuses = Vec::new();
    // More in a row than any machine answers while the limit makes room for as many.
    for guess in 0..400 {
        let bearer = format!("Bearer guess-{guess}");
        let answer = get(world.admin(), "/clients", &[("Authorization", &bearer)]).await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
        }
        statuses.push(answer.status);
        if answer.status == 429 {
            break;
        }
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(
        statuses.iter().filter(|status| **status == 401).count() >= 10,
        "{statuses:?}"
    );
    assert_eq!(world.get("/clients").await.status, 200);
    logs::wait_for_line(mark, &["audit", "enter", "invalid_token", "127.0.0.1:"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_issuer_there_are_no_clients_to_manage() {
    let yaml = "stateDir: \"@DIR@\"\nadmin: { listen: 127.0.0.1:0, tokenFile: \"@DIR@/admin\" }\n\
        credentials: { hub: { tokenUrl: \"http://127.0.0.1:9/\", clientID: a, \
        clientSecretFile: \"@DIR@/admin\" } }\n";
    let sidecar = Sidecar::builder()
        .secret_file("admin", "admin", ADMIN_TOKEN)
        .start(yaml)
        .await;
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let answer = get(
        sidecar.address("admin"),
        "/clients",
        &[("Authorization", &bearer)],
    )
    .await;
    assert_eq!(error(&answer), is(404, "not_found"));
    assert!(answer.text().contains("no issuer"), "{}", answer.text());
}

#[test]
fn check_reports_an_unsafe_address_or_token_of_the_api() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name).display().to_string();
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .expect("our own file");
        path
    };
    let (long, short) = (
        file("long", "a-token-of-sixteen\n"),
        file("short", "too-short"),
    );
    let blanks = file("blanks", "a token of two and more words");
    let two_lines = file("two-lines", "a-token-of-sixteen\nand-another-below\n");
    for (admin, code, said) in [
        (
            format!("listen: 127.0.0.1:9901, tokenFile: \"{long}\""),
            0,
            "",
        ),
        ("listen: 0.0.0.0:9901".to_owned(), 0, "plain text"),
        (
            format!("listen: 127.0.0.1:9901, tokenFile: \"{short}\""),
            1,
            "at least 16",
        ),
        (
            format!("listen: 127.0.0.1:9901, tokenFile: \"{blanks}\""),
            1,
            "without spaces",
        ),
        (
            format!("listen: 127.0.0.1:9901, tokenFile: \"{two_lines}\""),
            1,
            "one line",
        ),
        ("listen: \"unix:/run/admin.sock\"".to_owned(), 0, ""),
        (
            "listen: \"unix:run/admin.sock\"".to_owned(),
            1,
            "must begin with `/`",
        ),
        ("listen: 127.0.0.1:8080".to_owned(), 1, "already used by"),
    ] {
        let issuer = "issuer: { url: http://issuer.test, listen: 127.0.0.1:8080 }";
        let config = file("config.yaml", &format!("admin: {{ {admin} }}\n{issuer}\n"));
        let (got, _, err) = ended(&run(&["check", "--config", &config]));
        assert_eq!(got, Some(code), "{admin}: {err}");
        assert!(
            err.contains(said) && err.is_empty() == said.is_empty(),
            "{admin}: {err}"
        );
    }
}
