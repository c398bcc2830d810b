//! `client …` as a shell sees it.

use serde_json::Value;
use tempfile::TempDir;

use super::{ADMIN_TOKEN, World};
use crate::commands::{ended, run, sidecar};
use crate::support::logs;

/// A configuration that names the management API of a running sidecar, and nothing else of it.
fn config(dir: &TempDir, world: &World) -> String {
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("admin"), format!("{ADMIN_TOKEN}\n")).expect("a file");
    let yaml = format!(
        "stateDir: \"{}\"\nadmin: {{ listen: {}, tokenFile: \"{}\" }}\nissuer: {{ url: http://issuer.test, listen: 127.0.0.1:0 }}\n",
        path("state"),
        world.admin(),
        path("admin")
    );
    std::fs::write(path("config.yaml"), yaml).expect("a file");
    path("config.yaml")
}

fn done(arguments: &[&str]) -> String {
    let (code, out, err) = ended(&run(arguments));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
    out.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_managed_from_a_shell() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let config = config(&dir, &world);
    let client = |arguments: &[&str]| done(&[&["client"], arguments, &["--config", &config]].concat());
    let secret = client(&[
        "create",
        "--id",
        "meter",
        "--scope",
        "a b",
        "--audience",
        "https://x",
        "--lifetime",
        "15m",
        "--claim",
        "tenant=blue",
        "--claim",
        "level=3",
        "--secret-only",
    ]);
    logs::remember_client_secret("meter", &secret);
    let token = world.token("meter", &secret).await;
    assert_eq!(
        (token.status, &token.json()["expires_in"]),
        (200, &900.into()),
        "the secret and nothing else"
    );

    let shown: Value = serde_json::from_str(&client(&["show", "meter", "--json"])).expect("JSON");
    assert_eq!((&shown["scope"], &shown["claims"]["level"]), (&"a b".into(), &3.into()));
    let list = client(&["list"]);
    assert!(
        list.starts_with("CLIENT ID") && list.contains("\nmeter ") && list.contains("configuration"),
        "{list}"
    );
    let updated = client(&["update", "meter", "--scope", "c", "--unset", "access_token_lifetime"]);
    assert!(updated.contains("scope") && !updated.contains("access_token_lifetime"), "{updated}");
    assert_eq!(world.token("meter", &secret).await.json()["scope"], "c");

    let second = client(&["rotate-secret", "meter", "--grace", "1h", "--secret-only"]);
    logs::remember_client_secret("meter", &second);
    assert_eq!(world.token("meter", &secret).await.status, 200);
    assert_eq!(world.token("meter", &second).await.status, 200);
    let secrets = client(&["secrets", "meter"]);
    assert_eq!(secrets.lines().count(), 3, "{secrets}");
    let secrets: Value = serde_json::from_str(&client(&["secrets", "meter", "--json"])).expect("JSON");
    let first_id = secrets["secrets"][0]["id"].as_str().expect("an id");
    let live = world.good_token("meter", &second).await;
    client(&["disable", "meter"]);
    assert_eq!(world.judge(&live).await.0, 401);
    client(&["enable", "meter"]);
    let live = world.good_token("meter", &second).await;
    client(&["revoke", "meter", "--before", "2020-01-01T00:00:00Z"]);
    assert_eq!(world.judge(&live).await.0, 200);
    client(&["revoke", "meter"]);
    assert_eq!(world.judge(&live).await.0, 401);
    client(&["delete-secret", "meter", first_id]);
    assert_eq!(client(&["delete", "meter"]), "");
    assert_eq!(world.token("meter", &second).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_in_one_line_with_the_right_code() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let config = config(&dir, &world);
    let admin = format!("http://{}", world.admin());
    let wrong = dir.path().join("wrong").display().to_string();
    std::fs::write(&wrong, "another-token-than-that").expect("a file");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let nobody = format!("http://{free}");
    for (arguments, code, said) in [
        (&["client", "show", "nobody", "--config", &config][..], 1, "no such client"),
        (&["client", "create", "--id", "configured", "--config", &config], 1, "already"),
        (&["client", "delete", "configured", "--config", &config], 1, "configuration"),
        (&["client", "create", "--lifetime", "soon", "--config", &config], 1, "access_token_lifetime"),
        (&["client", "list", "--admin", &admin, "--token-file", &wrong], 1, "admin token"),
        (&["client", "list", "--admin", &nobody, "--token-file", &wrong], 1, "nothing listens"),
        (&["client", "list", "--admin", &admin], 2, "admin token"),
        (&["client", "list", "--admin", "ftp://x", "--token-file", &wrong], 2, "--admin"),
        (&["client", "list", "--admin", "http://u:pw@x", "--token-file", &wrong], 2, "--admin"),
        (&["client", "update", "x", "--owner", "1", "--unset", "owner", "--config", &config], 2, "`owner`"),
        (&["client", "update", "configured", "--unset", "ownr", "--config", &config], 1, "configuration"),
        (&["client", "list"], 2, "--config"),
        (&["client"], 2, "Usage"),
        (&["client", "update", "x", "--config", &config], 2, "nothing to change"),
        (&["client", "create", "--claim", "x", "--config", &config], 2, "NAME=VALUE"),
    ] {
        let (got, out, err) = ended(&run(arguments));
        assert_eq!((got, out.as_str()), (Some(code), ""), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    let mut command = sidecar(&["client", "list", "--json", "--admin", &admin]);
    let output = command.env("M2M_SIDECAR_ADMIN_TOKEN", ADMIN_TOKEN).output().expect("the binary runs");
    let (code, out, err) = ended(&output);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let list: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(list["clients"][0]["client_id"], "configured");
}
