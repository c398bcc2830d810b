//! Keys of a set that are left out: which ones, and how they are reported.

use serde_json::{Value, json};

use super::{ask, metrics, outcome, yaml};
use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::Behave;
use crate::support::client::get;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

const ADMIN: &str = "admin: { listen: 127.0.0.1:0, tokenFile: \"@DIR@/admin\" }\n";
const ADMIN_TOKEN: &str = "an-admin-token-of-enough-bytes-0123456789";

fn builder() -> SidecarBuilder {
    Sidecar::builder().secret_file("admin", "admin", ADMIN_TOKEN)
}

async fn status(sidecar: &Sidecar) -> Value {
    let authorization = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    get(sidecar.address("admin"), "/status", &headers)
        .await
        .json()["authorities"][0]
        .clone()
}

/// The authority's own key with a member changed.
fn with(authority: &Authority, name: &str, value: Value) -> Value {
    let mut key = authority.jwks()["keys"][0].clone();
    key[name] = value;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_say_nothing_leave_no_key_out_and_spiffe_keys_are_used() {
    let upstream = Upstream::start();
    for (name, value) in [
        ("key_ops", json!(null)),
        ("key_ops", json!([])),
        ("alg", json!("")),
        ("alg", json!(null)),
        ("use", json!("")),
        ("use", json!(null)),
        ("use", json!("jwt-svid")),
    ] {
        let authority = Authority::start();
        let set = json!({ "keys": [with(&authority, name, value.clone())] });
        authority.behave(Endpoint::Jwks, Behave::Body(set.to_string()));
        let start = yaml(
            &format!("{{ issuer: \"{}\" }}", authority.issuer()),
            &upstream,
        );
        let sidecar = builder().start(&format!("{start}{ADMIN}")).await;
        assert_eq!(
            outcome(&ask(&sidecar, &authority.token().sign()).await),
            (200, "-"),
            "{name}: {value}"
        );
        let status = status(&sidecar).await;
        assert_eq!(
            (&status["keys"], &status["keys_left_out"]),
            (&json!(1), &json!([])),
            "{name}: {value}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_left_out_is_named_once_in_the_log_and_in_the_status() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let name = format!("left-out-{}", authority.address().port());
    let file = format!(
        "{{ issuer: \"{}\", jwksFile: \"@DIR@/jwks.json\" }}",
        authority.issuer()
    );
    let mut set = authority.jwks();
    let mut other = with(&authority, "use", json!("tls"));
    other["kid"] = "odd\u{1b}".into();
    set["keys"].as_array_mut().expect("a list").push(other);
    let mut encryption = with(&authority, "use", json!("enc"));
    encryption["kid"] = "enc".into();
    set["keys"].as_array_mut().expect("a list").push(encryption);
    let mark = logs::mark();
    let start = yaml(&file, &upstream).replace("users", &name);
    let sidecar = builder()
        .file("jwks.json", set.to_string())
        .start(&format!("{start}{ADMIN}"))
        .await;
    let why = "`use` is `tls`, neither `sig` nor `jwt-svid`";
    let line = logs::wait_for_line(mark, &["WARN", &name, "left out"]).await;
    assert!(
        line.contains(why)
            && line.contains("keys[1]")
            && !line.contains("enc")
            && !line.contains('\u{1b}'),
        "{line}"
    );
    logs::wait_for_line(
        mark,
        &["INFO", &name, "keys[2] (kid `enc`): `use` is `enc`"],
    )
    .await;
    assert_eq!(
        outcome(&ask(&sidecar, &authority.token().sign()).await),
        (200, "-")
    );
    let left_out = status(&sidecar).await["keys_left_out"].clone();
    assert_eq!(
        left_out[0],
        json!({ "key": "keys[1] (kid `odd\\u{1b}`)", "why": why })
    );
    assert_eq!(left_out.as_array().map(Vec::len), Some(2));
    // The same set once more says nothing new.
    std::fs::write(sidecar.path("jwks.json"), format!("{set} ")).expect("a file");
    let fetched = format!("m2m_jwks_fetch_total{{authority=\"{name}\",result=\"ok\"}} 2");
    until("the file was read again", async || {
        metrics(&sidecar).await.contains(&fetched)
    })
    .await;
    assert_eq!(
        logs::lines_since(mark, &["WARN", &name, "left out"]).len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_document_has_its_own_text() {
    let upstream = Upstream::start();
    for (endpoint, body, said) in [
        (
            Endpoint::Jwks,
            "\u{feff}{\"keys\":[]}",
            "byte order mark (BOM)",
        ),
        (
            Endpoint::Jwks,
            "<html><body>Sign in</body></html>",
            "HTML or XML page",
        ),
        (
            Endpoint::Jwks,
            r#"{"keys":[],"keys":[]}"#,
            "repeats the member `keys`",
        ),
        (Endpoint::Jwks, r#"{"keys":[]}"#, "the JWKS holds no key"),
        (
            Endpoint::Jwks,
            r#"{"keys":[{"kty":"oct","kid":"s"}]}"#,
            "keys[0] (kid `s`): `kty` is `oct`",
        ),
        (
            Endpoint::Jwks,
            r#"{"issuer":"https://a"}"#,
            "no list `keys`",
        ),
        (
            Endpoint::OpenidConfiguration,
            "\u{feff}{}",
            "byte order mark (BOM)",
        ),
        (Endpoint::OpenidConfiguration, "<html>", "HTML or XML page"),
        (
            Endpoint::OpenidConfiguration,
            r#"{"issuer":"@","issuer":"@"}"#,
            "repeats the member `issuer`",
        ),
        (
            Endpoint::OpenidConfiguration,
            r#"{"issuer":"@","jwks_uri":"/jwks.json"}"#,
            "jwks_uri `/jwks.json` is relative",
        ),
        (
            Endpoint::OpenidConfiguration,
            r#"{"issuer":"@"}"#,
            "has no jwks_uri",
        ),
    ] {
        let authority = Authority::start();
        let broken = Behave::Body(body.replace('@', &authority.issuer()));
        if endpoint == Endpoint::OpenidConfiguration {
            authority.behave(Endpoint::AuthorizationServer, broken.clone());
        }
        authority.behave(endpoint, broken);
        let name = format!("broken-{}", authority.address().port());
        let start = yaml(
            &format!("{{ issuer: \"{}\" }}", authority.issuer()),
            &upstream,
        )
        .replace("users", &name);
        let mark = logs::mark();
        let _sidecar = Sidecar::start(&start).await;
        logs::wait_for_line(mark, &["WARN", &name, said]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_too_large_is_said_to_be_cut() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    for number in 0..256 {
        authority.publish_jwk(json!({ "kty": "EC", "use": "enc", "kid": format!("k{number}") }));
    }
    let name = format!("large-{}", authority.address().port());
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    )
    .replace("users", &name);
    let mark = logs::mark();
    let sidecar = builder().start(&format!("{start}{ADMIN}")).await;
    logs::wait_for_line(
        mark,
        &[
            "WARN",
            &name,
            "only its first 256 keys are read",
            "unread=1",
        ],
    )
    .await;
    assert_eq!(status(&sidecar).await["keys_unread"], 1);
}
