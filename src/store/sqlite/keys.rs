//! Signing keys in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Failure, Sqlite, in_time, unix_time};
use crate::domain::clock::UnixTime;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::store::keys::{KeyChange, KeyRecord, StoredKeys};
use crate::store::{KeyState, KeyStore, StoreError, StoredKey};

/// How long a change waits, after its commit, for the write-ahead log to be emptied.
const CHECKPOINT: Duration = Duration::from_secs(1);

#[async_trait]
impl KeyStore for Sqlite {
    async fn signing_keys(&self) -> Result<StoredKeys, StoreError> {
        in_time(async {
            // One transaction: the keys are those of this revision.
            let mut transaction = self.pool.begin().await?;
            let revision = sqlx::query("SELECT value FROM revisions WHERE of = 'keys'");
            let revision = revision
                .fetch_one(&mut *transaction)
                .await?
                .try_get("value")?;
            let rows = sqlx::query("SELECT * FROM signing_keys ORDER BY created_at DESC, kid")
                .fetch_all(&mut *transaction)
                .await?;
            transaction.commit().await?;
            let keys = rows.iter().map(stored_key).collect::<Result<_, _>>()?;
            Ok(StoredKeys { revision, keys })
        })
        .await
    }

    async fn change_signing_keys(
        &self,
        revision: i64,
        change: &KeyChange,
    ) -> Result<bool, StoreError> {
        let change = change.clone();
        let changed = self
            .writer
            .write(move |connection| {
                Box::pin(async move { apply(connection, revision, &change).await })
            })
            .await?;
        if changed {
            self.forget_old_pages().await;
        }
        Ok(changed)
    }
}

impl Sqlite {
    /// Moves the write-ahead log into the database and empties it, because it may still contain an
    /// earlier key. While other connections are busy, the automatic checkpoints do it later.
    async fn forget_old_pages(&self) {
        let checkpoint = async {
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(&self.pool)
                .await?;
            row.try_get::<i64, _>("busy")
        };
        let emptied = tokio::time::timeout(CHECKPOINT, checkpoint).await;
        if !matches!(emptied, Ok(Ok(0))) {
            tracing::info!(
                "the write-ahead log could not be emptied after a change of signing keys"
            );
        }
    }
}

/// Compares and raises the counter in one statement, which takes the write lock until the commit.
async fn apply(
    connection: &mut SqliteConnection,
    revision: i64,
    change: &KeyChange,
) -> Result<bool, Failure> {
    let claimed =
        sqlx::query("UPDATE revisions SET value = value + 1 WHERE of = 'keys' AND value = ?1")
            .bind(revision);
    if claimed.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    for StoredKey {
        record,
        private_key,
    } in &change.put
    {
        sqlx::query(
            "INSERT OR REPLACE INTO signing_keys
             (kid, algorithm, private_key, created_at, state, signs_from, retired_at, longest_token,
              foreign_since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .bind(record.kid.as_str())
        .bind(record.algorithm.as_str())
        .bind(private_key.expose_secret())
        .bind(record.created_at.0)
        .bind(record.state.as_str())
        .bind(record.signs_from.0)
        .bind(record.retired_at.map(|time| time.0))
        .bind(i64::try_from(record.longest_token.as_secs()).unwrap_or(i64::MAX))
        .bind(record.foreign_since.map(|time| time.0))
        .execute(&mut *connection)
        .await?;
    }
    for kid in &change.delete {
        let delete = sqlx::query("DELETE FROM signing_keys WHERE kid = ?1").bind(kid.as_str());
        delete.execute(&mut *connection).await?;
    }
    Ok(true)
}

fn stored_key(row: &SqliteRow) -> Result<StoredKey, Failure> {
    let longest_token = u64::try_from(row.try_get::<i64, _>("longest_token")?);
    Ok(StoredKey {
        private_key: SecretString::from(row.try_get::<String, _>("private_key")?),
        record: KeyRecord {
            kid: row.try_get("kid")?,
            algorithm: row.try_get("algorithm")?,
            created_at: UnixTime(row.try_get("created_at")?),
            state: KeyState::parse(row.try_get("state")?).ok_or(StoreError::Unreadable)?,
            signs_from: UnixTime(row.try_get("signs_from")?),
            retired_at: unix_time(row, "retired_at")?,
            foreign_since: unix_time(row, "foreign_since")?,
            longest_token: Duration::from_secs(longest_token.map_err(|_| StoreError::Unreadable)?),
        },
    })
}
