//! Which store was opened, and whether it is the one that was meant.

use crate::support::client::post_form;
use crate::support::logs;
use crate::support::sidecar::{Sidecar, SidecarBuilder};

const SECRET: &str = "a-secret-of-the-opened-store";

fn yaml(store: &str) -> String {
    format!(
        "stateDir: \"@DIR@/state\"\nstore: {store}\nadmin: {{ listen: 127.0.0.1:0 }}\n\
        issuer: {{ url: http://issuer.test, listen: 127.0.0.1:0, clients: [{{ id: meter, \
        secretFile: \"@DIR@/secret\" }}] }}\n"
    )
}

fn files(builder: SidecarBuilder) -> SidecarBuilder {
    builder.secret_file("secret", "meter", SECRET)
}

/// The line about the store, and the warnings about it, of a start with this section `store`.
async fn started(builder: SidecarBuilder, store: &str) -> (Sidecar, String, Vec<String>) {
    let mark = logs::mark();
    let dir = builder.path("");
    let sidecar = files(builder).start(&yaml(store)).await;
    let dir = dir.display().to_string();
    let line = logs::lines_since(mark, &["opened the store", dir.trim_end_matches('/')])
        .pop()
        .expect("a line");
    let warnings = logs::lines_since(
        mark,
        &["WARN", "the store is new", dir.trim_end_matches('/')],
    );
    logs::remember_secret(
        &std::fs::read_to_string(sidecar.path("state/admin-token")).expect("a token"),
    );
    (sidecar, line, warnings)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_says_which_store_was_opened_and_what_is_in_it() {
    let (sidecar, line, warnings) =
        started(Sidecar::builder(), "{ url: \"sqlite:@DIR@/m2m.db\" }").await;
    assert!(
        line.contains("m2m.db\" state=\"new\" clients=0 keys=0"),
        "{line}"
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    let (line, warnings, sidecar) = {
        let builder = sidecar.stop_keeping_state().await;
        let (sidecar, line, warnings) =
            started(builder, "{ url: \"sqlite:@DIR@/m2m.db\", mustExist: true }").await;
        (line, warnings, sidecar)
    };
    assert!(
        line.contains("m2m.db\" state=\"existing\" clients=0 keys=1"),
        "{line}"
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    let builder = sidecar.stop_keeping_state().await;
    let (sidecar, line, warnings) = started(builder, "{ url: \"sqlite:@DIR@/m2mm.db\" }").await;
    assert!(line.contains("m2mm.db\" state=\"new\""), "{line}");
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("last_store=")
            && warnings[0].contains("/m2m.db\"")
            && warnings[0].contains("store.mustExist"),
        "{warnings:?}"
    );
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "meter"),
        ("client_secret", SECRET),
    ];
    let answer = post_form(sidecar.address("issuer"), "/oauth/token", &form, &[]).await;
    assert_eq!(answer.status, 200, "a warning is no error");
    logs::remember_secret(answer.json()["access_token"].as_str().expect("a token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_was_used_before_makes_a_new_store_a_warning() {
    let builder = Sidecar::builder();
    std::fs::create_dir(builder.path("state")).expect("a directory");
    std::fs::create_dir(builder.path("elsewhere")).expect("a directory");
    // Made by hand, as a mounted volume is: nothing was here before.
    let (sidecar, _, warnings) = started(builder, "{ url: \"sqlite:@DIR@/elsewhere/a.db\" }").await;
    assert!(warnings.is_empty(), "{warnings:?}");
    let builder = sidecar.stop_keeping_state().await;
    let (sidecar, _, warnings) = started(builder, "{ url: \"sqlite:@DIR@/anywhere/a.db\" }").await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    // A store that is lost, not one that was never there.
    let builder = sidecar.stop_keeping_state().await;
    for file in ["a.db", "a.db-wal", "a.db-shm"] {
        let _ = std::fs::remove_file(builder.path("anywhere").join(file));
    }
    std::fs::remove_file(builder.path("state/admin-token")).expect("it is there");
    let (_sidecar, line, warnings) =
        started(builder, "{ url: \"sqlite:@DIR@/anywhere/a.db\" }").await;
    assert!(line.contains("state=\"new\""), "{line}");
    assert!(
        warnings.len() == 1 && warnings[0].contains("anywhere/a.db\""),
        "{warnings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_must_exist_and_does_not_is_not_made() {
    let builder = files(Sidecar::builder());
    let file = builder.path("m2m.db");
    let store = "{ url: \"sqlite:@DIR@/m2m.db\", mustExist: true }";
    let why = builder
        .try_start(&yaml(store))
        .await
        .err()
        .expect("no start");
    assert!(
        why.contains(&file.display().to_string()) && why.contains("store.mustExist"),
        "{why}"
    );
    assert!(!file.exists());
    // An empty file, as `touch` makes it, is no store either.
    let builder = files(Sidecar::builder()).file("m2m.db", "");
    assert!(builder.try_start(&yaml(store)).await.is_err());
    let store = "{ url: \"sqlite::memory:\", mustExist: true }";
    let why = files(Sidecar::builder())
        .try_start(&yaml(store))
        .await
        .err()
        .expect("no start");
    assert!(
        why.contains("store.mustExist") && why.contains("memory"),
        "{why}"
    );
}
