//! Refresh tokens and used assertions in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::revocations::revoke_one;
use super::tokens::insert_record;
use super::{Counter, Failure, Sqlite, changed, in_time, unix_time};
use crate::domain::clock::UnixTime;
use crate::store::StoreError;
use crate::store::refresh_tokens::RefreshTokenStore;
use crate::store::tokens::{
    MAX_FAMILIES, MAX_USED, RefreshToken, RevokedToken, Rotation, TokenRecord,
};

/// The expressions on the owner are those of the index `refresh_tokens_by_owner`, word for word.
pub(super) const DELETE_OLD_FAMILIES: &str = "DELETE FROM refresh_tokens WHERE family_id IN
         (SELECT family_id FROM refresh_tokens
          WHERE client_id = ?1 AND used_at IS NULL AND expires_at > ?2
              AND CASE WHEN json_valid(token_grant) THEN json_extract(token_grant, '$.owner') END
                  IS json_extract(?3, '$.owner')
              AND json_extract(token_grant, '$.owner_issuer') IS json_extract(?3, '$.owner_issuer')
          ORDER BY rowid DESC LIMIT -1 OFFSET ?4)";

#[async_trait]
impl RefreshTokenStore for Sqlite {
    async fn insert_refresh_token(
        &self,
        token: &RefreshToken,
        access: &TokenRecord,
        keep_access: bool,
    ) -> Result<(), StoreError> {
        let (token, access) = (token.clone(), access.clone());
        let work = async move |connection: &mut SqliteConnection| {
            if keep_access {
                insert_record(connection, &access).await?;
            }
            let ended = "SELECT 1 FROM client_not_before
                         WHERE client_id = ?1 AND until >= ?2 AND mark IS NOT ?3";
            let after_end = access.after_end.map(|mark| mark.to_string());
            let ended = sqlx::query(ended)
                .bind(&token.client_id)
                .bind(access.issued_at.0)
                .bind(after_end);
            if ended.fetch_optional(&mut *connection).await?.is_some() {
                return Ok(());
            }
            insert_refresh(connection, &token, None).await?;
            delete_old_families(connection, &token, access.issued_at).await
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn refresh_token(&self, hash: &[u8; 32]) -> Result<Option<RefreshToken>, StoreError> {
        in_time(async {
            let select = "SELECT * FROM refresh_tokens WHERE hash = ?1";
            let row = sqlx::query(select)
                .bind(&hash[..])
                .fetch_optional(&self.pool)
                .await?;
            row.as_ref().map(refresh_token).transpose()
        })
        .await
    }

    async fn rotate_refresh_token(
        &self,
        hash: &[u8; 32],
        successor: &RefreshToken,
        access: Option<&TokenRecord>,
        (now, proven): (UnixTime, UnixTime),
        grace: Duration,
    ) -> Result<Rotation, StoreError> {
        let (hash, successor, access) = (*hash, successor.clone(), access.cloned());
        let work = async move |connection: &mut SqliteConnection| {
            let select = "SELECT family_id, expires_at, used_at, reused,
                              NOT EXISTS (SELECT 1 FROM refresh_tokens AS later
                                          WHERE later.predecessor = ?1
                                              AND later.used_at IS NOT NULL)
                              AS unheard
                          FROM refresh_tokens WHERE hash = ?1";
            let row = sqlx::query(select)
                .bind(&hash[..])
                .fetch_optional(&mut *connection)
                .await?;
            let Some(row) = row else {
                return Ok(Rotation::Unknown);
            };
            if UnixTime(row.try_get("expires_at")?) <= now {
                return Ok(Rotation::Unknown);
            }
            if let Some(used_at) = unix_time(&row, "used_at")? {
                let (reused, unheard): (bool, bool) =
                    (row.try_get("reused")?, row.try_get("unheard")?);
                // A time before the first use means that the clock was set back: the age of that
                // use is unknown.
                let in_time = now >= used_at.minus(grace) && now <= used_at.plus(grace);
                if reused || !unheard || !in_time {
                    delete_family(connection, row.try_get("family_id")?, now, proven).await?;
                    return Ok(Rotation::Reused);
                }
                // The lost successor is spent too: a later use of it is not the client's.
                let spend = "UPDATE refresh_tokens SET used_at = ?2, reused = 1
                             WHERE hash = ?1 OR predecessor = ?1";
                sqlx::query(spend)
                    .bind(&hash[..])
                    .bind(now.0)
                    .execute(&mut *connection)
                    .await?;
            } else {
                let spend = "UPDATE refresh_tokens SET used_at = ?2 WHERE hash = ?1";
                sqlx::query(spend)
                    .bind(&hash[..])
                    .bind(now.0)
                    .execute(&mut *connection)
                    .await?;
            }
            if let Some(access) = &access {
                insert_record(connection, access).await?;
            }
            insert_refresh(connection, &successor, Some(&hash)).await?;
            forget_used(connection, &successor.family_id, proven).await?;
            Ok(Rotation::Done)
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn delete_refresh_family(
        &self,
        family_id: &str,
        now: UnixTime,
        proven: UnixTime,
    ) -> Result<bool, StoreError> {
        let family_id = family_id.to_owned();
        let work = async move |connection: &mut SqliteConnection| {
            delete_family(connection, &family_id, now, proven).await
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn use_assertion(&self, id: &[u8; 32], expires_at: UnixTime) -> Result<bool, StoreError> {
        let id = *id;
        let work = async move |connection: &mut SqliteConnection| {
            let insert = "INSERT INTO used_assertions (id, expires_at) VALUES (?1, ?2)
                          ON CONFLICT (id) DO NOTHING";
            let inserted = sqlx::query(insert)
                .bind(&id[..])
                .bind(expires_at.0)
                .execute(connection)
                .await?;
            Ok(inserted.rows_affected() > 0)
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }
}

async fn delete_family(
    connection: &mut SqliteConnection,
    family_id: &str,
    now: UnixTime,
    proven: UnixTime,
) -> Result<bool, Failure> {
    let delete = "DELETE FROM refresh_tokens WHERE family_id = ?1
                  RETURNING client_id, access_jti, access_expires_at";
    let rows = sqlx::query(delete)
        .bind(family_id)
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let expires_at = UnixTime(row.try_get("access_expires_at")?);
        if expires_at > proven {
            let token = RevokedToken {
                jti: row.try_get("access_jti")?,
                client_id: row.try_get("client_id")?,
                expires_at,
                revoked_at: now,
            };
            revoke_one(connection, &token).await?;
        }
    }
    if !rows.is_empty() {
        changed(connection, Counter::Revocations).await?;
    }
    Ok(!rows.is_empty())
}

async fn insert_refresh(
    connection: &mut SqliteConnection,
    token: &RefreshToken,
    predecessor: Option<&[u8; 32]>,
) -> Result<(), Failure> {
    let insert =
        "INSERT INTO refresh_tokens (hash, family_id, client_id, token_grant, expires_at, used_at,
                                              predecessor, access_jti, access_expires_at)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    sqlx::query(insert)
        .bind(&token.hash[..])
        .bind(&token.family_id)
        .bind(&token.client_id)
        .bind(token.grant.to_string())
        .bind(token.expires_at.0)
        .bind(token.used_at.map(|time| time.0))
        .bind(predecessor.map(|hash| &hash[..]))
        .bind(&token.access_jti)
        .bind(token.access_expires_at.0)
        .execute(connection)
        .await?;
    Ok(())
}

fn refresh_token(row: &SqliteRow) -> Result<RefreshToken, Failure> {
    let hash: &[u8] = row.try_get("hash")?;
    Ok(RefreshToken {
        hash: hash.try_into().map_err(|_| StoreError::Unreadable)?,
        family_id: row.try_get("family_id")?,
        client_id: row.try_get("client_id")?,
        grant: serde_json::from_str(row.try_get("token_grant")?)
            .map_err(|_| StoreError::Unreadable)?,
        expires_at: UnixTime(row.try_get("expires_at")?),
        used_at: unix_time(row, "used_at")?,
        access_jti: row.try_get("access_jti")?,
        access_expires_at: UnixTime(row.try_get("access_expires_at")?),
    })
}

/// Deletes the excess families of a token's client and owner. A family has one unused token: the
/// later it was made, the later the family was used.
pub(super) async fn delete_old_families(
    connection: &mut SqliteConnection,
    token: &RefreshToken,
    now: UnixTime,
) -> Result<(), Failure> {
    sqlx::query(DELETE_OLD_FAMILIES)
        .bind(&token.client_id)
        .bind(now.0)
        .bind(token.grant.to_string())
        .bind(MAX_FAMILIES)
        .execute(connection)
        .await?;
    Ok(())
}

/// Deletes the excess used tokens of a family whose access tokens have expired.
pub(super) async fn forget_used(
    connection: &mut SqliteConnection,
    family_id: &str,
    proven: UnixTime,
) -> Result<(), Failure> {
    let delete = "DELETE FROM refresh_tokens WHERE rowid IN
                      (SELECT rowid FROM refresh_tokens WHERE family_id = ?1 AND used_at IS NOT NULL
                       ORDER BY rowid DESC LIMIT -1 OFFSET ?3)
                  AND access_expires_at <= ?2";
    sqlx::query(delete)
        .bind(family_id)
        .bind(proven.0)
        .bind(MAX_USED)
        .execute(connection)
        .await?;
    Ok(())
}
