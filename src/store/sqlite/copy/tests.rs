use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::domain::clock::UnixTime;
use crate::store::sqlite::Sqlite;
use crate::store::{ClientStore, Store, StoredClient};

async fn add(store: &Sqlite, id: &str) {
    let client = StoredClient {
        client_id: id.to_owned(),
        document: json!({}),
        version: 1,
        created_at: UnixTime(1),
        updated_at: UnixTime(1),
        secrets: Vec::new(),
    };
    assert!(store.insert_client(&client).await.unwrap());
}

async fn ids(path: &Path) -> Vec<String> {
    let store = Sqlite::open_file(path).await.unwrap();
    let clients = store.clients().await.unwrap();
    store.close().await;
    clients.into_iter().map(|client| client.client_id).collect()
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_closed_is_one_file_that_holds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let store = Sqlite::open_file(&path).await.unwrap();
    add(&store, "a").await;
    // The store has had a reader, as after a request.
    store.clients().await.unwrap();
    store.close().await;
    assert_eq!(files(directory.path()), ["m2m.db"]);
    let copied = directory.path().join("copied.db");
    std::fs::copy(&path, &copied).unwrap();
    assert_eq!(ids(&copied).await, ["a"]);
    assert!(store.revisions().await.is_err(), "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_store_in_use_holds_what_was_committed_and_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let (path, target) = (
        directory.path().join("m2m.db"),
        directory.path().join("copy.db"),
    );
    let store = Sqlite::open_file(&path).await.unwrap();
    add(&store, "a").await;
    let contents = copy(&path, &target).await.unwrap();
    add(&store, "b").await;
    assert_eq!((contents.clients, contents.signing_keys), (1, 0));
    assert_eq!(contents, verify(&target).await.unwrap());
    assert_eq!(
        std::fs::metadata(&target).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(ids(&target).await, ["a"]);
    store.close().await;
    assert_eq!(files(directory.path()), ["copy.db", "m2m.db"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_restored_when_no_process_has_the_store_and_no_wal_undoes_it() {
    let directory = tempfile::tempdir().unwrap();
    let (path, target) = (
        directory.path().join("m2m.db"),
        directory.path().join("copy.db"),
    );
    let store = Sqlite::open_file(&path).await.unwrap();
    add(&store, "a").await;
    copy(&path, &target).await.unwrap();
    add(&store, "b").await;
    assert!(matches!(
        replace(&target, &path).await,
        Err(BackupError::InUse(_))
    ));
    assert_eq!(
        store.clients().await.unwrap().len(),
        2,
        "nothing has changed"
    );
    // The copy is like a store after a kill: the last writes are only in the `-wal` file.
    let killed = tempfile::tempdir().unwrap();
    let path = killed.path().join("m2m.db");
    for suffix in ["", "-wal"] {
        std::fs::copy(
            beside(&directory.path().join("m2m.db"), suffix),
            beside(&path, suffix),
        )
        .unwrap();
    }
    replace(&target, &path).await.unwrap();
    assert_eq!(files(killed.path()), ["m2m.db"]);
    assert_eq!(ids(&path).await, ["a"]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_replaced_and_a_damaged_copy_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, target) = (
        directory.path().join("m2m.db"),
        directory.path().join("copy.db"),
    );
    let store = Sqlite::open_file(&path).await.unwrap();
    add(&store, "a").await;
    copy(&path, &target).await.unwrap();
    store.close().await;
    let whole = std::fs::read(&target).unwrap();
    std::fs::write(
        &path,
        "what a broken disk has left, and longer than the header of a database would be: 100",
    )
    .unwrap();
    std::fs::write(beside(&path, "-wal"), "rubbish").unwrap();
    replace(&target, &path).await.unwrap();
    assert_eq!(ids(&path).await, ["a"]);
    let mut holes = whole.clone();
    holes[4096..8192].fill(0xff);
    for damaged in [
        &whole[..whole.len() / 2],
        &holes,
        b"no database at all",
        b"",
    ] {
        std::fs::write(&target, damaged).unwrap();
        for refused in [verify(&target).await, replace(&target, &path).await] {
            assert!(
                matches!(refused, Err(BackupError::Unusable { .. })),
                "{refused:?}"
            );
        }
    }
    assert!(matches!(
        replace(&directory.path().join("none"), &path).await,
        Err(BackupError::Missing(_))
    ));
    assert_eq!(ids(&path).await, ["a"], "the store is as it was");
    std::fs::remove_file(&target).unwrap();
    assert_eq!(
        files(directory.path()),
        ["m2m.db"],
        "nothing unfinished is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_later_version_or_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let store = Sqlite::open_file(&path).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', '', TRUE, x'00', 0)")
        .execute(&store.pool)
        .await
        .unwrap();
    store.close().await;
    let other = directory.path().join("other.db");
    let options = SqliteConnectOptions::new()
        .filename(&other)
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE clients (a)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    for (file, said) in [
        (&path, "later version"),
        (&other, "none of this program's tables"),
    ] {
        let error = verify(file).await.unwrap_err().to_string();
        assert!(
            error.contains(said) && error.contains(&file.display().to_string()),
            "{error}"
        );
    }
}
