//! The embedded store: SQLite in a file, or in memory.

mod clients;
pub(super) mod copy;
mod keys;
mod refresh_tokens;
mod revocations;
mod times;
mod tokens;
mod writer;

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Row, SqlSafeStr, SqliteConnection};

use self::writer::{AfterFailure, Writer};
use super::{Revisions, Store, StoreError};
use crate::domain::clock::UnixTime;
use crate::files::{blocking, private};

/// How long any call may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Version, name and text of each migration. Embedded, so that the binary needs no file beside it.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "signing keys",
        include_str!("../../../migrations/sqlite/0001_signing_keys.sql"),
    ),
    (
        2,
        "revoked tokens",
        include_str!("../../../migrations/sqlite/0002_revoked_tokens.sql"),
    ),
    (
        3,
        "clients and tokens",
        include_str!("../../../migrations/sqlite/0003_clients_and_tokens.sql"),
    ),
    (
        4,
        "key rotation",
        include_str!("../../../migrations/sqlite/0004_key_rotation.sql"),
    ),
    (
        5,
        "refresh tokens by predecessor",
        include_str!("../../../migrations/sqlite/0005_refresh_tokens_by_predecessor.sql"),
    ),
    (
        6,
        "end marks",
        include_str!("../../../migrations/sqlite/0006_end_marks.sql"),
    ),
    (
        7,
        "owner issuer",
        include_str!("../../../migrations/sqlite/0007_owner_issuer.sql"),
    ),
    (
        8,
        "foreign keys",
        include_str!("../../../migrations/sqlite/0008_foreign_keys.sql"),
    ),
    (
        9,
        "proven time",
        include_str!("../../../migrations/sqlite/0009_proven_time.sql"),
    ),
    (
        10,
        "revocation revisions",
        include_str!("../../../migrations/sqlite/0010_revocation_revisions.sql"),
    ),
    (
        11,
        "no end of supplied secrets",
        include_str!("../../../migrations/sqlite/0011_no_end_of_supplied_secrets.sql"),
    ),
    (
        12,
        "earlier processes",
        include_str!("../../../migrations/sqlite/0012_earlier_processes.sql"),
    ),
    (
        13,
        "refresh tokens by owner",
        include_str!("../../../migrations/sqlite/0013_refresh_tokens_by_owner.sql"),
    ),
];

/// A SQLite database.
pub(super) struct Sqlite {
    pool: SqlitePool,
    writer: Writer,
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Sqlite {
    /// Opens a database file. A new one, and its directory, are readable for this user only.
    pub(super) async fn open_file(path: &Path) -> Result<Self, StoreError> {
        let file = create_private(path).await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A write that was answered survives a power failure.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(DEADLINE)
            .foreign_keys(true);
        // A connection is never closed for its age: an open one shows `store restore` that the
        // store is in use.
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .max_lifetime(None);
        let store = Self::connect(pool, options, AfterFailure::Close).await?;
        if identity(path).await != Some(file) {
            store.close().await;
            let why = "the file was replaced while it was opened (`store restore`?); start again";
            return Err(StoreError::Unavailable(why.to_owned()));
        }
        Ok(store)
    }

    /// Opens a database of its own in memory.
    pub(super) async fn open_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .in_memory(true)
            .foreign_keys(true);
        // The database exists only in its connection: there is one, and it is never closed for age
        // or idleness.
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        Self::connect(pool, options, AfterFailure::Keep).await
    }

    async fn connect(
        pool: SqlitePoolOptions,
        options: SqliteConnectOptions,
        after_failure: AfterFailure,
    ) -> Result<Self, StoreError> {
        // Deleted content is overwritten, such as a withdrawn private key.
        let options = options.pragma("secure_delete", "ON");
        in_time(async {
            let pool = pool.acquire_timeout(DEADLINE);
            let pool = loop {
                match pool.clone().connect_with(options.clone()).await {
                    // The switch to WAL does not wait for other processes, despite `busy_timeout`.
                    Err(error) if is_busy(&error) => {
                        tokio::time::sleep(Duration::from_millis(20)).await
                    }
                    other => break other?,
                }
            };
            migrate(&pool, MIGRATIONS).await?;
            Ok(Self {
                writer: Writer::new(pool.clone(), after_failure),
                pool,
            })
        })
        .await
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn revisions(&self) -> Result<Revisions, StoreError> {
        in_time(async {
            let rows = sqlx::query("SELECT of, value FROM revisions")
                .fetch_all(&self.pool)
                .await?;
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

    async fn close(&self) {
        let checkpoint = async {
            sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                .execute(&self.pool)
                .await?;
            Ok(())
        };
        if let Err(error) = in_time(checkpoint).await {
            tracing::warn!(%error, "the store's last changes stay in the file `-wal` beside it");
        }
        // The last connection removes the files beside the database. A connection that does not end
        // is not waited for.
        let _ = tokio::time::timeout(DEADLINE, self.pool.close()).await;
    }

    fn write_fault(&self) -> Option<&'static str> {
        self.writer.fault()
    }
}

/// A counter of [`Revisions`]. That of the keys is raised where it is compared.
#[derive(Clone, Copy)]
enum Counter {
    Clients,
    Revocations,
}

/// Raises a counter, within the transaction of the change.
async fn changed(connection: &mut SqliteConnection, counter: Counter) -> Result<(), Failure> {
    let of = match counter {
        Counter::Clients => "clients",
        Counter::Revocations => "revocations",
    };
    sqlx::query("UPDATE revisions SET value = value + 1 WHERE of = ?1")
        .bind(of)
        .execute(connection)
        .await?;
    Ok(())
}

/// A list of texts as one value, for `json_each`.
fn list_of(texts: &[String]) -> String {
    serde_json::json!(texts).to_string()
}

/// A time that may be NULL.
fn unix_time(row: &SqliteRow, column: &str) -> Result<Option<UnixTime>, Failure> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(UnixTime))
}

/// Migrates the tables in one transaction.
///
/// sqlx takes no lock on SQLite. With the write lock taken first, processes that start at once on a
/// new file run the migrations one after the other.
async fn migrate(
    pool: &SqlitePool,
    migrations: &[(i64, &'static str, &'static str)],
) -> Result<(), Failure> {
    let migrations = migrations.iter().map(|&(version, name, sql)| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    let migrator = Migrator::with_migrations(migrations.collect());
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    migrator.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    Ok(())
}

/// The device and inode of a file.
async fn identity(path: &Path) -> Option<(u64, u64)> {
    tokio::fs::metadata(path)
        .await
        .ok()
        .map(|found| (found.dev(), found.ino()))
}

/// Makes the file and its directory for this user only, and identifies the file. Existing ones keep
/// their mode.
async fn create_private(path: &Path) -> Result<(u64, u64), StoreError> {
    let path = path.to_owned();
    blocking(move || {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| StoreError::Open {
                path,
                cause: error.kind(),
            }
        };
        if let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            private::make_dir(directory).map_err(failed(directory))?;
        }
        // SQLite gives its `-wal` and `-shm` files the mode of the database file.
        let file = private::open_or_create(&path).map_err(failed(&path))?;
        let found = file.metadata().map_err(failed(&path))?;
        Ok((found.dev(), found.ino()))
    })
    .await
}

/// Why nothing can be written, by SQLite's extended result code.
fn unwritable(code: &str) -> Option<&'static str> {
    const IOERR: u32 = 10;
    let code: u32 = code.parse().ok()?;
    match (code & 0xff, code >> 8) {
        (5, _) => Some("another process holds its lock"),
        (8, _) => Some("it is read-only"),
        // Writing, making durable, cutting off.
        (IOERR, 3 | 4 | 6) => Some("the disk reports an error"),
        (13, _) => Some("the disk is full"),
        _ => None,
    }
}

/// Runs work within the deadline. A transaction that is cut off is rolled back, which frees its
/// lock.
async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Failure(error))) => Err(error),
        Err(_) => Err(StoreError::Unavailable("no answer within 5 s".to_owned())),
    }
}

/// Whether another connection holds a lock. Extended result codes carry `SQLITE_BUSY` (5) in their
/// low byte.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// The error that `?` makes of sqlx's errors.
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
            sqlx::Error::Database(error) => match error.code().as_deref().and_then(unwritable) {
                Some(why) => StoreError::Unwritable(why),
                None => StoreError::Unavailable(error.message().to_owned()),
            },
            sqlx::Error::Io(error) => StoreError::Unavailable(error.kind().to_string()),
            sqlx::Error::PoolTimedOut => {
                StoreError::Unavailable("no free connection within 5 s".to_owned())
            }
            // sqlx's own errors may quote the value that they could not decode.
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Unreadable,
            _ => StoreError::Unavailable("the database driver failed".to_owned()),
        })
    }
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            MigrateError::VersionMissing(_)
            | MigrateError::VersionMismatch(_)
            | MigrateError::Dirty(_) => Self(StoreError::OtherVersion),
            _ => Self(StoreError::Unavailable(
                "the tables could not be brought up to date".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
