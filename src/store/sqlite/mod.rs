//! The embedded store: SQLite in a file, or in memory.

mod clients;
mod keys;
mod tokens;
mod writer;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{Row, SqlSafeStr, SqliteConnection};

use self::writer::Writer;
use super::{Revisions, Store, StoreError};
use crate::domain::clock::UnixTime;

/// How long any call may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Version, name and text of each migration. Embedded, so that the binary needs no file beside it.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "signing keys", include_str!("../../../migrations/sqlite/0001_signing_keys.sql")),
    (2, "revoked tokens", include_str!("../../../migrations/sqlite/0002_revoked_tokens.sql")),
    (3, "clients and tokens", include_str!("../../../migrations/sqlite/0003_clients_and_tokens.sql")),
];

/// A SQLite database.
pub(super) struct Sqlite {
    pool: SqlitePool,
    writer: Writer,
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Sqlite {
    /// Opens a database file, making it (and its directory) readable for this user only when it is not there.
    pub(super) async fn open_file(path: &Path) -> Result<Self, StoreError> {
        create_private(path).await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(DEADLINE)
            .foreign_keys(true);
        Self::connect(SqlitePoolOptions::new().max_connections(4), options).await
    }

    /// Opens a database of its own in memory.
    pub(super) async fn open_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
        // The database lives in its connection: exactly one, and never closed for age or idleness.
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        Self::connect(pool, options).await
    }

    async fn connect(pool: SqlitePoolOptions, options: SqliteConnectOptions) -> Result<Self, StoreError> {
        in_time(async {
            let pool = pool.acquire_timeout(DEADLINE);
            let pool = loop {
                match pool.clone().connect_with(options.clone()).await {
                    // The switch to WAL does not wait for other processes, whatever `busy_timeout` says.
                    Err(error) if is_busy(&error) => tokio::time::sleep(Duration::from_millis(20)).await,
                    other => break other?,
                }
            };
            migrate(&pool).await?;
            Ok(Self { writer: Writer::new(pool.clone()), pool })
        })
        .await
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn revisions(&self) -> Result<Revisions, StoreError> {
        in_time(async {
            let rows = sqlx::query("SELECT of, value FROM revisions").fetch_all(&self.pool).await?;
            let mut revisions = Revisions::default();
            for row in &rows {
                let value = row.try_get("value")?;
                match row.try_get("of")? {
                    "keys" => revisions.keys = value,
                    "clients" => revisions.clients = value,
                    "revocations" => revisions.revocations = value,
                    _ => {}
                }
            }
            Ok(revisions)
        })
        .await
    }
}

/// A counter of [`Revisions`].
#[derive(Clone, Copy)]
enum Counter {
    Keys,
    Clients,
    Revocations,
}

/// Raises a counter, within the transaction of the change.
async fn changed(connection: &mut SqliteConnection, counter: Counter) -> Result<(), Failure> {
    let of = match counter {
        Counter::Keys => "keys",
        Counter::Clients => "clients",
        Counter::Revocations => "revocations",
    };
    sqlx::query("UPDATE revisions SET value = value + 1 WHERE of = ?1").bind(of).execute(connection).await?;
    Ok(())
}

/// A time that may be NULL.
fn unix_time(row: &SqliteRow, column: &str) -> Result<Option<UnixTime>, Failure> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(UnixTime))
}

/// Brings the tables up to date in one transaction.
///
/// sqlx takes no lock of its own on SQLite. With the write lock taken first, processes that start at once on a new
/// file run the migrations one after the other, and the later ones find nothing left to do.
async fn migrate(pool: &SqlitePool) -> Result<(), Failure> {
    let migrations = MIGRATIONS.iter().map(|&(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    migrator.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    Ok(())
}

/// Makes the file, and its directory, for this user only. What is already there keeps its mode.
async fn create_private(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).await;
        made.map_err(|error| StoreError::Open { path: directory.to_owned(), cause: error.kind() })?;
    }
    // SQLite gives its `-wal` and `-shm` files the mode of the database file.
    let file = tokio::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .await;
    file.map(drop).map_err(|error| StoreError::Open { path: path.to_owned(), cause: error.kind() })
}

/// Runs one piece of work against the clock. The write lock a cut-off transaction may hold ends with its rollback.
async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Failure(error))) => Err(error),
        Err(_) => Err(StoreError::Unavailable("no answer within 5 s".to_owned())),
    }
}

/// Whether another connection holds a lock. Extended result codes carry `SQLITE_BUSY` (5) in their low byte.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

/// What `?` turns sqlx's errors into.
struct Failure(StoreError);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(match error {
            // SQLite's own texts name tables and columns, never values.
            sqlx::Error::Database(error) => StoreError::Unavailable(error.message().to_owned()),
            sqlx::Error::Io(error) => StoreError::Unavailable(error.kind().to_string()),
            sqlx::Error::PoolTimedOut => StoreError::Unavailable("no free connection within 5 s".to_owned()),
            // Those of sqlx may quote what they could not decode.
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Unreadable,
            _ => StoreError::Unavailable("the database driver failed".to_owned()),
        })
    }
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) | MigrateError::Dirty(_) => {
                Self(StoreError::OtherVersion)
            }
            _ => Self(StoreError::Unavailable("the tables could not be brought up to date".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::domain::secret::{ExposeSecret, SecretString};
    use crate::store::{KeyState, KeyStore, StoredKey};

    fn key(kid: &str, algorithm: &str, created_at: i64) -> StoredKey {
        StoredKey {
            kid: kid.to_owned(),
            algorithm: algorithm.to_owned(),
            private_key: SecretString::from(format!("pem of {kid}")),
            created_at: UnixTime(created_at),
            state: KeyState::Active,
        }
    }

    fn kids(keys: &[StoredKey]) -> Vec<&str> {
        keys.iter().map(|key| key.kid.as_str()).collect()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_key_survives_the_process_and_is_inserted_once_per_algorithm() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m2m.db");
        let store = Sqlite::open_file(&path).await.unwrap();
        assert!(store.signing_keys().await.unwrap().is_empty());
        assert_eq!(kids(&store.insert_signing_key_if_none(&key("a", "ES256", 1)).await.unwrap()), ["a"]);
        assert_eq!(kids(&store.insert_signing_key_if_none(&key("b", "ES256", 2)).await.unwrap()), ["a"]);
        assert_eq!(kids(&store.insert_signing_key_if_none(&key("c", "RS256", 3)).await.unwrap()), ["c", "a"]);
        drop(store);

        let store = Sqlite::open_file(&path).await.unwrap();
        let keys = store.signing_keys().await.unwrap();
        assert_eq!(kids(&keys), ["c", "a"]);
        assert_eq!(keys[1].private_key.expose_secret(), "pem of a");
        assert_eq!((keys[1].created_at, keys[1].state), (UnixTime(1), KeyState::Active));
    }

    #[tokio::test]
    async fn a_retired_key_does_not_stand_in_for_an_active_one() {
        let store = Sqlite::open_memory().await.unwrap();
        let retired = StoredKey { state: KeyState::Retired, ..key("old", "ES256", 1) };
        store.insert_signing_key_if_none(&retired).await.unwrap();
        let keys = store.insert_signing_key_if_none(&key("new", "ES256", 2)).await.unwrap();
        assert_eq!(kids(&keys), ["new", "old"]);
        assert_eq!(keys[1].state, KeyState::Retired);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_stores_opened_at_once_on_one_new_file_agree_on_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m2m.db");
        let starts = (0..8).map(|i| {
            let path = path.clone();
            tokio::spawn(async move {
                let store = Sqlite::open_file(&path).await.unwrap();
                store.insert_signing_key_if_none(&key(&format!("k{i}"), "ES256", i)).await.unwrap()
            })
        });
        let mut seen = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            seen.extend(start.await.unwrap().into_iter().map(|key| key.kid));
        }
        assert_eq!(seen.len(), 8);
        seen.dedup();
        assert_eq!(seen.len(), 1);
    }

    #[tokio::test]
    async fn what_is_made_is_readable_for_its_user_only() {
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
        assert!(matches!(Sqlite::open_file(&path).await, Err(StoreError::Unavailable(_))));
        let below_a_file = path.join("m2m.db");
        assert!(matches!(Sqlite::open_file(&below_a_file).await, Err(StoreError::Open { .. })));
    }

    #[tokio::test]
    async fn a_store_that_another_process_has_locked_is_unavailable_after_five_seconds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m2m.db");
        let (store, other) =
            (Sqlite::open_file(&path).await.unwrap(), Sqlite::open_file(&path).await.unwrap());
        let lock = other.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        tokio::time::pause();
        let start = tokio::time::Instant::now();
        let locked = store.insert_signing_key_if_none(&key("a", "ES256", 1)).await;
        assert!(matches!(locked, Err(StoreError::Unavailable(_))));
        assert_eq!(start.elapsed().as_secs(), 5);
        tokio::time::resume();
        drop(lock);
        assert_eq!(kids(&store.insert_signing_key_if_none(&key("b", "ES256", 1)).await.unwrap()), ["b"]);
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
        assert!(matches!(Sqlite::open_file(&path).await, Err(StoreError::OtherVersion)));
    }

    #[tokio::test]
    async fn errors_show_no_stored_value() {
        let store = Sqlite::open_memory().await.unwrap();
        store.insert_signing_key_if_none(&key("same", "ES256", 1)).await.unwrap();
        let error = store.insert_signing_key_if_none(&key("same", "RS256", 1)).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Unavailable(_)));
        assert!(!shown.contains("same") && !shown.contains("pem of"), "{shown}");
    }
}
