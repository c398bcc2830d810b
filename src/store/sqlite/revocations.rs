//! Revocations in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Counter, Failure, Sqlite, changed, in_time};
use crate::domain::clock::UnixTime;
use crate::domain::revoked::EndMark;
use crate::store::StoreError;
use crate::store::revocations::RevocationStore;
use crate::store::tokens::{ClientNotBefore, Revocations, RevokedToken};

/// How many revocations are read at once; the tests read few.
const PAGE: u32 = if cfg!(test) { 2 } else { 20_000 };

#[async_trait]
impl RevocationStore for Sqlite {
    async fn revoke_token(&self, token: &RevokedToken) -> Result<(), StoreError> {
        let token = token.clone();
        let work = async move |connection: &mut SqliteConnection| {
            revoke_one(connection, &token).await?;
            changed(connection, Counter::Revocations).await
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn end_client_tokens(&self, end: &ClientNotBefore) -> Result<(), StoreError> {
        let end = end.clone();
        let work =
            async move |connection: &mut SqliteConnection| end_client(connection, &end).await;
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn revocations(&self, now: UnixTime) -> Result<Revocations, StoreError> {
        // Page by page, so that no query takes long. A revocation between two pages raises the
        // counter, and the next reading includes it.
        let mut tokens: Vec<RevokedToken> = Vec::new();
        loop {
            let after = tokens
                .last()
                .map_or_else(String::new, |token| token.jti.clone());
            let page = in_time(async {
                let page = "SELECT * FROM revoked_tokens WHERE expires_at >= ?1 AND jti > ?2
                            ORDER BY jti LIMIT ?3";
                let rows = sqlx::query(page)
                    .bind(now.0)
                    .bind(after)
                    .bind(PAGE)
                    .fetch_all(&self.pool)
                    .await?;
                rows.iter()
                    .map(revoked_token)
                    .collect::<Result<Vec<_>, _>>()
            });
            let page = page.await?;
            let is_last = page.len() < PAGE as usize;
            tokens.extend(page);
            if is_last {
                break;
            }
        }
        let clients = in_time(async {
            let clients =
                "SELECT * FROM client_not_before WHERE expires_at >= ?1 ORDER BY client_id";
            let clients = sqlx::query(clients)
                .bind(now.0)
                .fetch_all(&self.pool)
                .await?;
            clients.iter().map(client_not_before).collect()
        });
        Ok(Revocations {
            tokens,
            clients: clients.await?,
        })
    }

    async fn revocations_since(&self, after: i64) -> Result<(i64, Revocations), StoreError> {
        in_time(async {
            // One transaction: the result is complete up to this revision.
            let mut transaction = self.pool.begin().await?;
            let revision = sqlx::query("SELECT value FROM revisions WHERE of = 'revocations'");
            let revision = revision
                .fetch_one(&mut *transaction)
                .await?
                .try_get("value")?;
            let mut revocations = Revocations::default();
            if revision != after {
                let tokens = "SELECT * FROM revoked_tokens WHERE revision > ?1 ORDER BY jti";
                let tokens = sqlx::query(tokens)
                    .bind(after)
                    .fetch_all(&mut *transaction)
                    .await?;
                revocations.tokens = tokens.iter().map(revoked_token).collect::<Result<_, _>>()?;
                let clients =
                    "SELECT * FROM client_not_before WHERE revision > ?1 ORDER BY client_id";
                let clients = sqlx::query(clients)
                    .bind(after)
                    .fetch_all(&mut *transaction)
                    .await?;
                revocations.clients = clients
                    .iter()
                    .map(client_not_before)
                    .collect::<Result<_, _>>()?;
            }
            transaction.commit().await?;
            Ok((revision, revocations))
        })
        .await
    }

    async fn begin_revocations(&self, revision: i64) -> Result<(), StoreError> {
        let work = async move |connection: &mut SqliteConnection| {
            let begin = "UPDATE revisions SET value = ?1 WHERE of = 'revocations' AND value = 0";
            sqlx::query(begin)
                .bind(revision)
                .execute(connection)
                .await?;
            Ok(())
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }
}

/// Ends everything a client was issued, within a transaction.
pub(super) async fn end_client(
    connection: &mut SqliteConnection,
    end: &ClientNotBefore,
) -> Result<(), Failure> {
    let insert = "INSERT INTO client_not_before
                      (client_id, until, expires_at, revoked_at, mark, revision)
                  VALUES (?1, ?2, ?3, ?4, ?5,
                          (SELECT value + 1 FROM revisions WHERE of = 'revocations'))
                  ON CONFLICT (client_id) DO UPDATE SET
                      revoked_at = CASE WHEN excluded.until > until
                                        THEN excluded.revoked_at ELSE revoked_at END,
                      until = max(until, excluded.until),
                      expires_at = max(expires_at, excluded.expires_at),
                      mark = excluded.mark, revision = excluded.revision";
    sqlx::query(insert)
        .bind(&end.client_id)
        .bind(end.until.0)
        .bind(end.expires_at.0)
        .bind(end.revoked_at.0)
        .bind(end.mark.to_string())
        .execute(&mut *connection)
        .await?;
    let mark = "UPDATE tokens SET revoked_at = ?3
                WHERE client_id = ?1 AND issued_at <= ?2 AND revoked_at IS NULL";
    sqlx::query(mark)
        .bind(&end.client_id)
        .bind(end.until.0)
        .bind(end.revoked_at.0)
        .execute(&mut *connection)
        .await?;
    let refresh = "DELETE FROM refresh_tokens WHERE client_id = ?1";
    sqlx::query(refresh)
        .bind(&end.client_id)
        .execute(&mut *connection)
        .await?;
    changed(connection, Counter::Revocations).await
}

/// Keeps a revocation, and marks the token where it is a kept one.
pub(super) async fn revoke_one(
    connection: &mut SqliteConnection,
    token: &RevokedToken,
) -> Result<(), Failure> {
    insert_revoked(connection, token).await?;
    let mark = "UPDATE tokens SET revoked_at = ?2 WHERE jti = ?1 AND revoked_at IS NULL";
    sqlx::query(mark)
        .bind(&token.jti)
        .bind(token.revoked_at.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps a revocation under the revision that the counter is raised to by the end of the
/// transaction's write.
pub(super) async fn insert_revoked(
    connection: &mut SqliteConnection,
    token: &RevokedToken,
) -> Result<(), Failure> {
    let insert = "INSERT INTO revoked_tokens (jti, client_id, expires_at, revoked_at, revision)
                  VALUES (?1, ?2, ?3, ?4,
                          (SELECT value + 1 FROM revisions WHERE of = 'revocations'))
                  ON CONFLICT (jti) DO NOTHING";
    sqlx::query(insert)
        .bind(&token.jti)
        .bind(&token.client_id)
        .bind(token.expires_at.0)
        .bind(token.revoked_at.0)
        .execute(connection)
        .await?;
    Ok(())
}

fn revoked_token(row: &SqliteRow) -> Result<RevokedToken, Failure> {
    Ok(RevokedToken {
        jti: row.try_get("jti")?,
        client_id: row.try_get("client_id")?,
        expires_at: UnixTime(row.try_get("expires_at")?),
        revoked_at: UnixTime(row.try_get("revoked_at")?),
    })
}

fn client_not_before(row: &SqliteRow) -> Result<ClientNotBefore, Failure> {
    Ok(ClientNotBefore {
        client_id: row.try_get("client_id")?,
        until: UnixTime(row.try_get("until")?),
        expires_at: UnixTime(row.try_get("expires_at")?),
        revoked_at: UnixTime(row.try_get("revoked_at")?),
        mark: EndMark::parse(row.try_get("mark")?).ok_or(StoreError::Unreadable)?,
    })
}
