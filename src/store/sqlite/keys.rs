//! Signing keys in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Counter, Failure, Sqlite, changed, in_time};
use crate::domain::clock::UnixTime;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::store::{KeyState, KeyStore, StoreError, StoredKey};

#[async_trait]
impl KeyStore for Sqlite {
    async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        in_time(async {
            let mut connection = self.pool.acquire().await?;
            select(&mut connection).await
        })
        .await
    }

    async fn insert_signing_key_if_none(&self, key: &StoredKey) -> Result<Vec<StoredKey>, StoreError> {
        let key = key.clone();
        // The write lock is taken before looking: a second process waits, then sees our key.
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let inserted = sqlx::query(
                        "INSERT INTO signing_keys (kid, algorithm, private_key, created_at, state)
                         SELECT ?1, ?2, ?3, ?4, ?5
                         WHERE NOT EXISTS
                             (SELECT 1 FROM signing_keys WHERE algorithm = ?2 AND state = 'active')",
                    )
                    .bind(key.kid.as_str())
                    .bind(key.algorithm.as_str())
                    .bind(key.private_key.expose_secret())
                    .bind(key.created_at.0)
                    .bind(state_text(key.state))
                    .execute(&mut *connection)
                    .await?;
                    if inserted.rows_affected() > 0 {
                        changed(connection, Counter::Keys).await?;
                    }
                    select(connection).await
                })
            })
            .await
    }
}

async fn select(connection: &mut SqliteConnection) -> Result<Vec<StoredKey>, Failure> {
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

fn state_text(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Retired => "retired",
    }
}
