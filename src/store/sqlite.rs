//! The embedded store: SQLite in a file, or in memory.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{Row, SqlSafeStr, SqliteConnection};

use super::{KeyState, RevokedToken, Store, StoreError, StoredKey};
use crate::domain::clock::UnixTime;
use crate::domain::secret::{ExposeSecret, SecretString};

/// How long any call may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Version, name and text of each migration. Embedded, so that the binary needs no file beside it.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "signing keys", include_str!("../../migrations/sqlite/0001_signing_keys.sql")),
    (2, "revoked tokens", include_str!("../../migrations/sqlite/0002_revoked_tokens.sql")),
];

/// A SQLite database.
pub(super) struct Sqlite {
    pool: SqlitePool,
}

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
            Ok(Self { pool })
        })
        .await
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        in_time(async {
            let mut connection = self.pool.acquire().await?;
            select_signing_keys(&mut connection).await
        })
        .await
    }

    async fn insert_signing_key_if_none(&self, key: &StoredKey) -> Result<Vec<StoredKey>, StoreError> {
        in_time(async {
            // IMMEDIATE takes the write lock before looking: a second process waits here, then sees our key.
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(
                "INSERT INTO signing_keys (kid, algorithm, private_key, created_at, state)
                 SELECT ?1, ?2, ?3, ?4, ?5
                 WHERE NOT EXISTS (SELECT 1 FROM signing_keys WHERE algorithm = ?2 AND state = 'active')",
            )
            .bind(key.kid.as_str())
            .bind(key.algorithm.as_str())
            .bind(key.private_key.expose_secret())
            .bind(key.created_at.0)
            .bind(state_text(key.state))
            .execute(&mut *transaction)
            .await?;
            let keys = select_signing_keys(&mut transaction).await?;
            transaction.commit().await?;
            Ok(keys)
        })
        .await
    }

    async fn insert_revoked_token(&self, token: &RevokedToken) -> Result<(), StoreError> {
        in_time(async {
            sqlx::query(
                "INSERT INTO revoked_tokens (jti, client_id, expires_at, revoked_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (jti) DO NOTHING",
            )
            .bind(token.jti.as_str())
            .bind(token.client_id.as_str())
            .bind(token.expires_at.0)
            .bind(token.revoked_at.0)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    async fn revoked_tokens(&self, now: UnixTime) -> Result<Vec<RevokedToken>, StoreError> {
        in_time(async {
            let dead = "SELECT 1 FROM revoked_tokens WHERE expires_at < ?1 LIMIT 1";
            // Looked for first: a delete takes the write lock, and this is asked every few seconds.
            if sqlx::query(dead).bind(now.0).fetch_optional(&self.pool).await?.is_some() {
                let delete = "DELETE FROM revoked_tokens WHERE expires_at < ?1";
                sqlx::query(delete).bind(now.0).execute(&self.pool).await?;
            }
            let all = "SELECT jti, client_id, expires_at, revoked_at FROM revoked_tokens
                       ORDER BY revoked_at DESC, jti";
            let rows = sqlx::query(all).fetch_all(&self.pool).await?;
            rows.iter().map(revoked_token).collect()
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        in_time(async {
            // A table of ours rather than `SELECT 1`: that one would not touch the file.
            sqlx::query("SELECT 1 FROM signing_keys LIMIT 1").fetch_optional(&self.pool).await?;
            Ok(())
        })
        .await
    }
}

async fn select_signing_keys(connection: &mut SqliteConnection) -> Result<Vec<StoredKey>, Failure> {
    let rows = sqlx::query(
        "SELECT kid, algorithm, private_key, created_at, state FROM signing_keys ORDER BY created_at DESC, kid",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(stored_key).collect()
}

fn stored_key(row: &SqliteRow) -> Result<StoredKey, Failure> {
    Ok(StoredKey {
        kid: row.try_get("kid")?,
        algorithm: row.try_get("algorithm")?,
        private_key: SecretString::from(row.try_get::<String, _>("private_key")?),
        created_at: UnixTime(row.try_get("created_at")?),
        state: match row.try_get("state")? {
            "active" => KeyState::Active,
            "retired" => KeyState::Retired,
            _ => return Err(StoreError::Unreadable.into()),
        },
    })
}

fn revoked_token(row: &SqliteRow) -> Result<RevokedToken, Failure> {
    Ok(RevokedToken {
        jti: row.try_get("jti")?,
        client_id: row.try_get("client_id")?,
        expires_at: UnixTime(row.try_get("expires_at")?),
        revoked_at: UnixTime(row.try_get("revoked_at")?),
    })
}

fn state_text(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Retired => "retired",
    }
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
        store.ping().await.unwrap();
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
    async fn a_revocation_survives_the_process_and_goes_when_its_token_has_expired() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m2m.db");
        let token = |jti: &str, expires_at, revoked_at| RevokedToken {
            jti: jti.to_owned(),
            client_id: "c".to_owned(),
            expires_at: UnixTime(expires_at),
            revoked_at: UnixTime(revoked_at),
        };
        let store = Sqlite::open_file(&path).await.unwrap();
        let (short, long) = (token("short", 100, 1), token("long", 200, 2));
        store.insert_revoked_token(&short).await.unwrap();
        store.insert_revoked_token(&long).await.unwrap();
        // Once more changes nothing.
        store.insert_revoked_token(&token("long", 900, 9)).await.unwrap();
        drop(store);
        let store = Sqlite::open_file(&path).await.unwrap();
        assert_eq!(store.revoked_tokens(UnixTime(100)).await.unwrap(), [long.clone(), short]);
        assert_eq!(store.revoked_tokens(UnixTime(101)).await.unwrap(), [long]);
        assert_eq!(store.revoked_tokens(UnixTime(0)).await.unwrap().len(), 1, "forgotten for good");
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
