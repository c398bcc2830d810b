//! The store on the disk: what a clean end leaves, how it is copied, put back and proven.

use std::path::Path;

use serde_json::{Value, json};

use crate::commands::{ended, run};
use crate::support::client::request;
use crate::support::logs;
use crate::support::sidecar::{Sidecar, SidecarBuilder};

const ADMIN_TOKEN: &str = "an-admin-token-of-the-tests";
const YAML: &str = r#"
stateDir: "@DIR@/state"
store: { url: "sqlite:@DIR@/data/m2m.db" }
admin: { listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }
issuer: { url: http://issuer.test, listen: 127.0.0.1:0 }
"#;

fn builder() -> SidecarBuilder {
    Sidecar::builder().secret_file("admin", "admin", ADMIN_TOKEN)
}

async fn call(sidecar: &Sidecar, method: &str, target: &str, body: &Value) -> Value {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = request(
        method,
        sidecar.address("admin"),
        target,
        &headers,
        text.as_bytes(),
    )
    .await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    let answer = answer.json();
    if let Some(secret) = answer["client_secret"].as_str() {
        logs::remember_client_secret(answer["client_id"].as_str().unwrap_or_default(), secret);
    }
    answer
}

async fn create(sidecar: &Sidecar, id: &str) {
    call(sidecar, "POST", "/clients", &json!({ "client_id": id })).await;
}

async fn ids(sidecar: &Sidecar) -> Vec<String> {
    let clients = call(sidecar, "GET", "/clients", &Value::Null).await;
    let clients = clients["clients"].as_array().expect("a list");
    clients
        .iter()
        .map(|client| client["client_id"].as_str().expect("an id").to_owned())
        .collect()
}

async fn kids(sidecar: &Sidecar) -> Vec<Value> {
    let keys = call(sidecar, "GET", "/keys", &Value::Null).await;
    keys["keys"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| key["kid"].clone())
        .collect()
}

fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> = names
        .map(|name| {
            name.expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

fn store(arguments: &[&str], dir: &Path) -> (Option<i32>, String, String) {
    let config = dir.join("sidecar.yaml").display().to_string();
    ended(&run(
        &[&["store"], arguments, &["--config", &config]].concat()
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_end_the_store_is_one_file() {
    let sidecar = builder().start(YAML).await;
    create(&sidecar, "a").await;
    let data = sidecar.path("data");
    assert!(files(&data).len() > 1, "in use");
    let stopped = sidecar.stop_keeping_state().await;
    assert_eq!(files(&data), ["m2m.db"]);
    // Copied as it is, it holds the client.
    std::fs::copy(data.join("m2m.db"), data.join("copied.db")).expect("a copy");
    std::fs::remove_file(data.join("m2m.db")).expect("gone");
    std::fs::rename(data.join("copied.db"), data.join("m2m.db")).expect("renamed");
    let sidecar = stopped.start(YAML).await;
    assert_eq!(ids(&sidecar).await, ["a"]);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_while_it_runs_and_restored_when_it_does_not() {
    let sidecar = builder().start(YAML).await;
    create(&sidecar, "a").await;
    let keys = kids(&sidecar).await;
    let dir = sidecar.dir().to_owned();
    let backup = dir.join("backup.db").display().to_string();
    let (code, out, err) = store(&["backup", &backup], &dir);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.contains("backed up (1 client, 1 signing key, 0 kept tokens, 0 revocations; "),
        "{out}"
    );
    let (code, _, err) = store(&["backup", &backup], &dir);
    assert!(code == Some(1) && err.contains("exists already"), "{err}");
    assert_eq!(store(&["backup", &backup, "--force"], &dir).0, Some(0));
    let own = dir.join("data/m2m.db").display().to_string();
    for own in [&own, &format!("{own}-wal")] {
        let (code, _, err) = store(&["backup", own, "--force"], &dir);
        assert!(
            code == Some(1) && err.contains("belongs to the store itself"),
            "{err}"
        );
    }
    create(&sidecar, "b").await;
    call(
        &sidecar,
        "POST",
        "/keys/rotate",
        &json!({ "now": true, "withdraw": true }),
    )
    .await;
    let (code, out, err) = store(&["restore", &backup], &dir);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("is in use: stop every sidecar"), "{err}");
    assert_eq!(ids(&sidecar).await, ["a", "b"], "nothing has changed");

    let stopped = sidecar.stop_keeping_state().await;
    let (code, out, err) = store(&["restore", &backup], &dir);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("restored (1 client"), "{out}");
    let sidecar = stopped.start(YAML).await;
    assert_eq!(
        (ids(&sidecar).await, kids(&sidecar).await),
        (vec!["a".to_owned()], keys)
    );
    sidecar.stop().await;
}

/// The `-wal` of a process that was killed belongs to the store that the backup replaces.
#[tokio::test(flavor = "multi_thread")]
async fn a_leftover_wal_does_not_undo_a_restored_backup() {
    let sidecar = builder().start(YAML).await;
    create(&sidecar, "a").await;
    let (data, dir) = (sidecar.path("data"), sidecar.dir().to_owned());
    let backup = dir.join("backup.db").display().to_string();
    assert_eq!(store(&["backup", &backup], &dir).0, Some(0));
    create(&sidecar, "b").await;
    let killed = dir.join("killed");
    std::fs::create_dir(&killed).expect("a directory");
    for file in files(&data) {
        std::fs::copy(data.join(&file), killed.join(&file)).expect("a copy");
    }
    assert!(files(&killed).contains(&"m2m.db-wal".to_owned()));
    let stopped = sidecar.stop_keeping_state().await;
    std::fs::remove_dir_all(&data).expect("gone");
    std::fs::rename(&killed, &data).expect("renamed");
    assert_eq!(store(&["restore", &backup], &dir).0, Some(0));
    assert_eq!(files(&data), ["m2m.db"]);
    let sidecar = stopped.start(YAML).await;
    assert_eq!(ids(&sidecar).await, ["a"]);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_proven_without_a_configuration() {
    let sidecar = builder().start(YAML).await;
    create(&sidecar, "a").await;
    let dir = sidecar.dir().to_owned();
    let backup = dir.join("backup.db").display().to_string();
    assert_eq!(store(&["backup", &backup, "--json"], &dir).0, Some(0));
    let (code, out, _) = ended(&run(&["store", "verify", &backup, "--json"]));
    let proven: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &proven["clients"], &proven["result"]),
        (Some(0), &json!(1), &json!("sound"))
    );
    let whole = std::fs::read(&backup).expect("a file");
    std::fs::write(&backup, &whole[..whole.len() / 2]).expect("a file");
    let (code, out, err) = ended(&run(&["store", "verify", &backup]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("backup.db is no usable store"), "{err}");
    let (code, _, err) = ended(&run(&["store", "verify", "/no/such/file"]));
    assert!(
        code == Some(1) && err.contains("/no/such/file does not exist"),
        "{err}"
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_open_is_named() {
    let text = "a text that is no database at all, but longer than the header of one would be, \
        which has 100 bytes";
    let broken = builder();
    std::fs::create_dir(broken.path("data")).expect("a directory");
    std::fs::write(broken.path("data/m2m.db"), text).expect("a file");
    std::fs::write(broken.path("data/m2m.db-wal"), text).expect("a file");
    let why = broken.try_start(YAML).await.err().expect("no sidecar");
    assert!(
        why.contains("/data/m2m.db: file is not a database"),
        "{why}"
    );
    assert!(
        why.contains("m2m.db-wal") && why.contains("store restore"),
        "{why}"
    );
    let below_a_file = builder()
        .file("data", "a file")
        .try_start(YAML)
        .await
        .err()
        .expect("no sidecar");
    assert!(below_a_file.contains("/data"), "{below_a_file}");
    let directory = builder();
    std::fs::create_dir_all(directory.path("data/m2m.db")).expect("a directory");
    let why = directory.try_start(YAML).await.err().expect("no sidecar");
    assert!(why.contains("/data/m2m.db"), "{why}");
}

/// The file is a database, and what is in it cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_named() {
    let sidecar = builder().start(YAML).await;
    create(&sidecar, "a").await;
    let path = sidecar.path("data/m2m.db");
    let stopped = sidecar.stop_keeping_state().await;
    let whole = std::fs::read(&path).expect("a file");
    let mut damaged = whole.clone();
    // All but the first page, which says that it is a database.
    damaged[4096..].fill(0xff);
    std::fs::write(&path, &damaged).expect("a file");
    let why = stopped.try_start(YAML).await.err().expect("no sidecar");
    assert!(why.contains("/data/m2m.db"), "{why}");
}

#[test]
fn a_store_in_memory_has_nothing_to_copy() {
    let dir = tempfile::TempDir::new().expect("a directory");
    std::fs::write(
        dir.path().join("sidecar.yaml"),
        "store: { url: \"sqlite::memory:\" }\n",
    )
    .expect("a file");
    let target = dir.path().join("backup.db").display().to_string();
    let (code, _, err) = store(&["backup", &target], dir.path());
    assert!(code == Some(1) && err.contains("store.url"), "{err}");
}
