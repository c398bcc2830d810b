use std::os::unix::fs::PermissionsExt;

use std::time::Duration;

use super::*;
use crate::store::{
    KeyChange, KeyRecord, KeyState, KeyStore, RevocationStore, RevokedToken, StoredKey,
};

fn key(kid: &str, created_at: i64) -> StoredKey {
    StoredKey {
        record: KeyRecord {
            kid: kid.to_owned(),
            algorithm: "ES256".to_owned(),
            created_at: UnixTime(created_at),
            state: KeyState::Active,
            signs_from: UnixTime(created_at),
            retired_at: None,
            foreign_since: None,
            longest_token: Duration::from_secs(60),
        },
        private_key: format!("pem of {kid}").into(),
    }
}

async fn put(store: &Sqlite, key: StoredKey) -> Result<bool, StoreError> {
    let revision = store.revisions().await?.keys;
    store
        .change_signing_keys(
            revision,
            &KeyChange {
                put: vec![key],
                delete: Vec::new(),
            },
        )
        .await
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_stores_opened_at_once_on_one_new_file_agree_on_one_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let starts = (0..8).map(|i| {
        let path = path.clone();
        tokio::spawn(async move {
            let store = Sqlite::open_file(&path).await.unwrap();
            let change = KeyChange {
                put: vec![key(&format!("k{i}"), i)],
                delete: Vec::new(),
            };
            let first = store.change_signing_keys(0, &change).await.unwrap();
            (first, store.signing_keys().await.unwrap().keys)
        })
    });
    let (mut first, mut seen) = (0, Vec::new());
    for start in starts.collect::<Vec<_>>() {
        let (was_first, keys) = start.await.unwrap();
        first += usize::from(was_first);
        seen.extend(keys.into_iter().map(|key| key.record.kid));
    }
    assert_eq!((first, seen.len()), (1, 8));
    seen.dedup();
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn the_ends_of_supplied_secrets_go_and_a_store_that_was_used_has_a_proven_time() {
    let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let run = async |connection: &mut SqliteConnection, versions: std::ops::Range<i64>| {
        for (_, _, sql) in MIGRATIONS
            .iter()
            .filter(|(version, ..)| versions.contains(version))
        {
            sqlx::raw_sql(*sql).execute(&mut *connection).await.unwrap();
        }
    };
    run(&mut *connection, 1..9).await;
    let rows = "INSERT INTO clients VALUES ('c', '{}', 1, 1, 1);
         INSERT INTO client_secrets (secret_id, client_id, hash, last_four, created_at)
         VALUES ('made', 'c', 'sha256:00', 'abcd', 1), ('chosen', 'c', '$argon2id$v=19$x', '4242', \
         1);
         UPDATE signed_until SET at = 1800003600";
    sqlx::raw_sql(rows).execute(&mut *connection).await.unwrap();
    run(&mut *connection, 9..12).await;
    let ends = "SELECT group_concat(last_four, ',' ORDER BY secret_id) FROM client_secrets";
    let ends: String = sqlx::query_scalar(ends)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(ends, ",abcd");
    let proven = sqlx::query("SELECT * FROM proven_time")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(
        (
            proven.get::<i64, _>("at"),
            proven.get::<Option<i64>, _>("claimed_at")
        ),
        (1_800_000_000, None)
    );
}

#[tokio::test]
async fn keys_of_the_first_version_are_migrated_with_the_longest_token_lifetime() {
    let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    for (_, _, sql) in &MIGRATIONS[..3] {
        sqlx::raw_sql(*sql).execute(&mut *connection).await.unwrap();
    }
    let insert = "INSERT INTO signing_keys VALUES ('a', 'ES256', 'pem a', 7, 'active'), ('r', \
        'RS256', 'pem r', 5, 'retired')";
    sqlx::raw_sql(insert)
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::raw_sql(MIGRATIONS[3].2)
        .execute(&mut *connection)
        .await
        .unwrap();
    let rows = sqlx::query(
        "SELECT kid, state, signs_from, retired_at > 1700000000 AS retired, \
        longest_token FROM signing_keys ORDER BY kid",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let row = |row: &SqliteRow| {
        let texts = (row.get::<String, _>("kid"), row.get::<String, _>("state"));
        (
            texts,
            row.get::<i64, _>("signs_from"),
            row.get::<Option<bool>, _>("retired"),
            row.get::<i64, _>("longest_token"),
        )
    };
    let year = 366 * 24 * 3600;
    let expected = [
        (("a".to_owned(), "active".to_owned()), 7, None, year),
        (("r".to_owned(), "retired".to_owned()), 5, Some(true), year),
    ];
    assert_eq!(rows.iter().map(row).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_revocation_by_an_earlier_version_is_detected() {
    let store = Sqlite::open_memory().await.unwrap();
    let mut revision = 0;
    for (sql, jti, client) in [
        (
            "INSERT INTO revoked_tokens (jti, client_id, expires_at, revoked_at) VALUES ('t', 'c', \
            900, 1)",
            1,
            0,
        ),
        (
            "INSERT INTO client_not_before (client_id, until, expires_at, revoked_at, mark)
             VALUES ('c', 5, 900, 1, '0000000000000001')",
            0,
            1,
        ),
        (
            "INSERT INTO client_not_before (client_id, until, expires_at, revoked_at, mark)
             VALUES ('c', 6, 900, 2, '0000000000000002')
             ON CONFLICT (client_id) DO UPDATE SET until = max(until, excluded.until), mark = \
             excluded.mark",
            0,
            1,
        ),
    ] {
        let raised = format!(
            "BEGIN; {sql}; UPDATE revisions SET value = value + 1 WHERE of = \
            'revocations'; COMMIT"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(raised))
            .execute(&store.pool)
            .await
            .unwrap();
        let (newer, new) = store.revocations_since(revision).await.unwrap();
        assert_eq!(
            (new.tokens.len(), new.clients.len()),
            (jti, client),
            "{sql}"
        );
        assert!(newer > revision);
        revision = newer;
    }
}

#[tokio::test]
async fn revisions_of_revocations_begin_where_they_are_told_to_unless_there_are_some() {
    let store = Sqlite::open_memory().await.unwrap();
    store.begin_revocations(700).await.unwrap();
    store.begin_revocations(900).await.unwrap();
    assert_eq!(store.revisions().await.unwrap().revocations, 700);
    let jti = "t".to_owned();
    let (expires_at, revoked_at) = (UnixTime(60), UnixTime(9));
    let token = RevokedToken {
        jti,
        client_id: "c".to_owned(),
        expires_at,
        revoked_at,
    };
    store.revoke_token(&token).await.unwrap();
    let (revision, new) = store.revocations_since(700).await.unwrap();
    assert_eq!((revision, new.tokens), (701, vec![token]));
}

/// How `SQLite` finds what a statement is about.
async fn plan(statement: &str) -> Vec<String> {
    let store = Sqlite::open_memory().await.unwrap();
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(&store.pool).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}

#[tokio::test]
async fn the_families_of_an_owner_are_counted_without_looking_at_those_of_others() {
    let plan = plan(refresh_tokens::DELETE_OLD_FAMILIES).await;
    let search =
        "SEARCH refresh_tokens USING INDEX refresh_tokens_by_owner (client_id=? AND <expr>=?)";
    assert!(plan.iter().any(|step| step == search), "{plan:?}");
}

#[tokio::test]
async fn an_owners_tokens_are_counted_without_looking_at_expired_ones() {
    let plan = plan(tokens::COUNT).await;
    let index = "SEARCH tokens USING COVERING INDEX tokens_by_client_and_owner (client_id=? AND \
        owner=? AND owner_issuer=?";
    for end in [" AND expires_at>?)", " AND expires_at=?)"] {
        assert!(plan.contains(&format!("{index}{end}")), "{plan:?}");
    }
}

#[tokio::test]
async fn an_earlier_key_remains_in_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let store = Sqlite::open_file(&path).await.unwrap();
    let long = |kid: &str| StoredKey {
        private_key: format!("pem of {kid}").repeat(900).into(),
        ..key(kid, 1)
    };
    for kid in ["one", "two", "three"] {
        assert!(put(&store, long(kid)).await.unwrap());
    }
    let found = |text: &str| {
        let files = std::fs::read_dir(directory.path()).unwrap();
        let all: Vec<u8> = files
            .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect();
        all.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(found("pem of one") && found("pem of two"));
    put(
        &store,
        StoredKey {
            private_key: "sealed".into(),
            ..key("one", 1)
        },
    )
    .await
    .unwrap();
    let revision = store.revisions().await.unwrap().keys;
    let change = KeyChange {
        delete: vec!["two".to_owned()],
        ..KeyChange::default()
    };
    assert!(store.change_signing_keys(revision, &change).await.unwrap());
    assert!(!found("pem of one") && !found("pem of two") && found("pem of three"));
}

#[tokio::test]
async fn created_files_are_readable_for_their_user_only() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("new/deep/m2m.db");
    let _store = Sqlite::open_file(&path).await.unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_file_name("m2m.db-wal")), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&outer.path().join("new")), 0o700);
}

#[tokio::test]
async fn a_file_that_is_no_database_or_a_directory_that_cannot_be_made_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("text");
    std::fs::write(
        &path,
        "not a database, but longer than a header of one would be, so that it is looked at",
    )
    .unwrap();
    assert!(matches!(
        Sqlite::open_file(&path).await,
        Err(StoreError::Unavailable(_))
    ));
    let below_a_file = path.join("m2m.db");
    assert!(matches!(
        Sqlite::open_file(&below_a_file).await,
        Err(StoreError::Open { .. })
    ));
}

#[tokio::test]
async fn a_store_that_another_process_has_locked_is_unavailable_after_five_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let (store, other) = (
        Sqlite::open_file(&path).await.unwrap(),
        Sqlite::open_file(&path).await.unwrap(),
    );
    let lock = other.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let change = KeyChange {
        put: vec![key("a", 1)],
        delete: Vec::new(),
    };
    let locked = store.change_signing_keys(0, &change).await;
    assert!(matches!(locked, Err(StoreError::Unavailable(_))));
    assert_eq!(start.elapsed().as_secs(), 5);
    tokio::time::resume();
    drop(lock);
    assert!(put(&store, key("b", 1)).await.unwrap());
    assert_eq!(store.signing_keys().await.unwrap().keys.len(), 1);
}

/// SQLite rolls back by itself when the disk is full; a connection that does not know must not
/// be used again.
#[tokio::test]
async fn after_a_full_disk_every_connection_writes_and_reads_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let store = Sqlite::open_file(&path).await.unwrap();
    let most_pages = async |pragma: &'static str| {
        let mut all = Vec::new();
        for _ in 0..4 {
            let mut connection = store.pool.acquire().await.unwrap();
            sqlx::raw_sql(pragma)
                .execute(&mut *connection)
                .await
                .unwrap();
            all.push(connection);
        }
    };
    let large = |number: usize| StoredKey {
        private_key: "x".repeat(9000).into(),
        ..key(&format!("k{number}"), 1)
    };
    most_pages("PRAGMA max_page_count = 1").await;
    let mut refused = 0;
    for number in 0..20 {
        refused += usize::from(put(&store, large(number)).await.is_err());
    }
    assert!(refused > 0);
    most_pages("PRAGMA max_page_count = 1000000").await;
    let before = store.signing_keys().await.unwrap().keys.len();
    for number in 100..120 {
        assert!(put(&store, large(number)).await.unwrap());
        // On each of the connections.
        let readers = (0..4).map(|_| store.signing_keys());
        for read in futures_util::future::join_all(readers).await {
            assert_eq!(read.unwrap().keys.len(), before + number - 99);
        }
    }
}

#[tokio::test]
async fn tokens_of_an_earlier_version_get_the_issuer_that_was_copied_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let before = SqlitePool::connect_with(options).await.unwrap();
    migrate(&before, &MIGRATIONS[..6])
        .await
        .map_err(|_| "the earlier version")
        .unwrap();
    for (jti, owner, claims) in [
        ("copied", Some("1"), Some(r#"{"iss":"https://a"}"#)),
        ("bare", Some("1"), None),
        (
            "other",
            Some("1"),
            Some(r#"{"iss":["https://a"],"sub":"x"}"#),
        ),
        ("damaged", Some("1"), Some("{")),
        ("ownerless", None, Some(r#"{"iss":"https://a"}"#)),
    ] {
        let insert = "INSERT INTO tokens (jti, client_id, owner, subject, scope, audience, \
            issued_at, original_claims)
                      VALUES (?1, 'c', ?2, 's', '', '[]', 1, ?3)";
        sqlx::query(insert)
            .bind(jti)
            .bind(owner)
            .bind(claims)
            .execute(&before)
            .await
            .unwrap();
    }
    before.close().await;
    let store = Sqlite::open_file(&path).await.unwrap();
    let rows = sqlx::query("SELECT jti, owner_issuer FROM tokens WHERE owner_issuer IS NOT NULL");
    let rows = rows.fetch_all(&store.pool).await.unwrap();
    let rows: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row.get("jti"), row.get("owner_issuer")))
        .collect();
    assert_eq!(rows, [("copied", "https://a")]);
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let store = Sqlite::open_file(&path).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', '', TRUE, x'00', 0)")
        .execute(&store.pool)
        .await
        .unwrap();
    drop(store);
    assert!(matches!(
        Sqlite::open_file(&path).await,
        Err(StoreError::OtherVersion)
    ));
}

#[tokio::test]
async fn a_full_disk_is_an_error_of_its_own_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open_file(&directory.path().join("m2m.db"))
        .await
        .unwrap();
    assert!(put(&store, key("first", 1)).await.unwrap());
    assert_eq!(store.write_fault(), None);
    let limit = async |pragma: &'static str| {
        let mut connections = Vec::new();
        for _ in 0..4 {
            let mut connection = store.pool.acquire().await.unwrap();
            sqlx::query(pragma).execute(&mut *connection).await.unwrap();
            connections.push(connection);
        }
    };
    // No page more than there are.
    limit("PRAGMA max_page_count = 1").await;
    let large = StoredKey {
        private_key: "x".repeat(100_000).into(),
        ..key("large", 2)
    };
    let error = put(&store, large.clone()).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unwritable("the disk is full")),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "the store cannot be written: the disk is full"
    );
    assert_eq!(store.write_fault(), Some("the disk is full"));
    assert!(store.revisions().await.is_ok(), "it can be read");
    limit("PRAGMA max_page_count = 1000000").await;
    assert!(put(&store, large).await.unwrap());
    assert_eq!(store.write_fault(), None);
}

#[test]
fn only_what_forbids_writing_is_called_unwritable() {
    for (code, why) in [
        ("13", Some("the disk is full")),
        ("8", Some("it is read-only")),
        ("1032", Some("it is read-only")),
        ("5", Some("another process holds its lock")),
        ("778", Some("the disk reports an error")),
        ("1034", Some("the disk reports an error")),
        ("266", None),
        ("2067", None),
        ("x", None),
    ] {
        assert_eq!(unwritable(code), why, "{code}");
    }
}

#[tokio::test]
async fn errors_show_no_stored_value() {
    let store = Sqlite::open_memory().await.unwrap();
    // A key that is retired, but never was: the table refuses it.
    let mut refused = key("same", 1);
    refused.record.state = KeyState::Retired;
    let error = put(&store, refused).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(matches!(error, StoreError::Unavailable(_)));
    assert!(
        !shown.contains("same") && !shown.contains("pem of"),
        "{shown}"
    );
}
