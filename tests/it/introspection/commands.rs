//! `explain`, `/status` and the metrics show the introspection.

use tempfile::TempDir;

use super::*;
use crate::commands::{ended, run};

#[tokio::test(flavor = "multi_thread")]
async fn explain_asks_about_an_opaque_token() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.register_client(CLIENT, SECRET);
    authority.opaque(TOKEN, json!({ "sub": "anna", "ext": { "tenant": "red" } }));
    let dir = TempDir::new().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let root = dir.path().display().to_string();
    let text = yaml(&authority, &upstream.url(), OWN_CLIENT).replace("@DIR@", &root);
    for (name, content) in [
        ("c.yaml", text.as_str()),
        ("secret", SECRET),
        ("admin", "an-admin-token-of-the-tests"),
        ("token", TOKEN),
        ("unknown", "opaque-and-unknown"),
    ] {
        std::fs::write(path(name), content).expect("a writable directory");
    }
    let explain = |token: &str| {
        let (config, token) = (path("c.yaml"), path(token));
        let (code, out, _) = ended(&run(&[
            "explain",
            "--config",
            &config,
            "--listener",
            "api",
            "--path",
            "/blue/1",
            "--token-file",
            &token,
        ]));
        logs::note(&out);
        (code, out)
    };
    let (code, out) = explain("token");
    let endpoint = format!("{}/introspect", authority.issuer());
    for said in [
        format!("introspection  ok: the token is opaque; asked `users` at {endpoint}"),
        "sub anna, client_id tester".to_owned(),
        "type           ok: token_type Bearer".to_owned(),
        "rule's claims  REFUSED".to_owned(),
        "deny (claim), 403".to_owned(),
    ] {
        assert!(out.contains(&said), "{said}:\n{out}");
    }
    assert_eq!(code, Some(1));
    let (_, out) = explain("unknown");
    assert!(
        out.contains("introspection  REFUSED") && out.contains("deny (inactive), 401"),
        "{out}"
    );
    authority.down().await;
    let (_, out) = explain("token");
    assert!(
        out.contains("deny (introspection_unavailable), 503"),
        "{out}"
    );
    assert_eq!(authority.fetches(Endpoint::Jwks), 0, "no keys are needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_metrics_show_the_questions() {
    let world = world("cache: 20s").await;
    world.authority.opaque(TOKEN, json!({}));
    world.outcome("/", TOKEN).await;
    world.outcome("/", "opaque-unknown").await;
    let status = || async {
        let headers = [("Authorization", "Bearer an-admin-token-of-the-tests")];
        let answer = get(world.sidecar.address("admin"), "/status", &headers).await;
        answer.json()["authorities"][0]["introspection"].clone()
    };
    let shown = status().await;
    assert_eq!(
        shown["endpoint"],
        format!("{}/introspect", world.authority.issuer())
    );
    assert_eq!(shown["last_error"], json!(null));
    world.authority.down().await;
    world.outcome("/", "opaque-later").await;
    let error = status().await["last_error"].clone();
    assert!(
        error.as_str().is_some_and(|text| text.contains("refused")),
        "{error}"
    );
    let metrics = get(world.sidecar.address("probes"), "/metrics", &[])
        .await
        .text();
    for result in ["active", "inactive", "error"] {
        let line = format!("m2m_introspection_total{{authority=\"users\",result=\"{result}\"}} 1");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
}
