//! Access tokens in SQLite.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite as Database, SqliteConnection};

use super::revocations::insert_revoked;
use super::{Counter, Failure, Sqlite, changed, in_time, list_of, unix_time};
use crate::domain::clock::UnixTime;
use crate::store::StoreError;
use crate::store::tokens::{
    Ended, OwnerFilter, RevokedToken, TokenCount, TokenFilter, TokenRecord, TokenStore,
};

/// Counts an owner's tokens of a client. In two parts, so that the index skips expired ones: they
/// are kept for a day or longer, and each token request counts.
pub(super) const COUNT: &str =
    "SELECT count(*) AS kept, count(revoked_at) AS revoked, min(expires_at) AS first_end FROM
         (SELECT expires_at, revoked_at FROM tokens
          WHERE client_id = ?1 AND owner = ?2
              AND owner_issuer IN (SELECT value FROM json_each(?3)) AND expires_at > ?4
          UNION ALL
          SELECT expires_at, revoked_at FROM tokens
          WHERE client_id = ?1 AND owner = ?2
              AND owner_issuer IN (SELECT value FROM json_each(?3)) AND expires_at IS NULL)";

#[async_trait]
impl TokenStore for Sqlite {
    async fn insert_token(&self, token: &TokenRecord) -> Result<(), StoreError> {
        let token = token.clone();
        let work =
            async move |connection: &mut SqliteConnection| insert_record(connection, &token).await;
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn tokens(&self, filter: &TokenFilter) -> Result<Vec<TokenRecord>, StoreError> {
        in_time(async {
            let mut query = QueryBuilder::new("SELECT * FROM tokens");
            narrow(&mut query, filter);
            if let Some((issued_at, jti)) = &filter.after {
                if filter.oldest_first {
                    // If the row was deleted meanwhile, the tokens of its second are repeated
                    // rather than left out.
                    query
                        .push(" AND (issued_at, rowid) > (")
                        .push_bind(issued_at.0);
                    query
                        .push(", coalesce((SELECT rowid FROM tokens WHERE jti = ")
                        .push_bind(jti.clone());
                    query.push("), -1))");
                } else {
                    query
                        .push(" AND (issued_at, jti) < (")
                        .push_bind(issued_at.0);
                    query.push(", ").push_bind(jti.clone()).push(")");
                }
            }
            query.push(if filter.oldest_first {
                " ORDER BY issued_at, rowid"
            } else {
                " ORDER BY issued_at DESC, jti DESC"
            });
            if let Some(limit) = filter.limit {
                query.push(" LIMIT ").push_bind(limit);
            }
            let rows = query.build().fetch_all(&self.pool).await?;
            rows.iter().map(token_record).collect()
        })
        .await
    }

    async fn end_tokens(
        &self,
        filter: &TokenFilter,
        now: UnixTime,
        proven: UnixTime,
    ) -> Result<Ended, StoreError> {
        let filter = filter.clone();
        let work = async move |connection: &mut SqliteConnection| {
            let mut live = QueryBuilder::new("UPDATE tokens SET revoked_at = ");
            live.push_bind(now.0);
            narrow(&mut live, &filter);
            live.push(" AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ")
                .push_bind(proven.0);
            live.push(") RETURNING jti, client_id, expires_at");
            let mut ended = Ended::default();
            for row in live.build().fetch_all(&mut *connection).await? {
                let token = RevokedToken {
                    jti: row.try_get("jti")?,
                    client_id: row.try_get("client_id")?,
                    expires_at: unix_time(&row, "expires_at")?.unwrap_or(UnixTime::NEVER),
                    revoked_at: now,
                };
                insert_revoked(connection, &token).await?;
                ended.revoked.push(token);
            }
            let mut dead = QueryBuilder::new("DELETE FROM tokens");
            narrow(&mut dead, &filter);
            dead.push(" AND expires_at <= ").push_bind(proven.0);
            ended.deleted = dead
                .build()
                .execute(&mut *connection)
                .await?
                .rows_affected();
            if !ended.revoked.is_empty() {
                changed(connection, Counter::Revocations).await?;
            }
            Ok(ended)
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn count_tokens(
        &self,
        client_id: &str,
        (owner, issuers): (&str, &[String]),
        now: UnixTime,
    ) -> Result<TokenCount, StoreError> {
        in_time(async {
            let count = sqlx::query(COUNT)
                .bind(client_id)
                .bind(owner)
                .bind(list_of(issuers))
                .bind(now.0);
            let row = count.fetch_one(&self.pool).await?;
            let number = |column| {
                Ok::<_, Failure>(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
            };
            let first_end = unix_time(&row, "first_end")?;
            Ok(TokenCount {
                all: number("kept")?,
                revoked: number("revoked")?,
                first_end,
            })
        })
        .await
    }

    async fn purge(&self, before: UnixTime, most: u32) -> Result<u64, StoreError> {
        let work = async move |connection: &mut SqliteConnection| {
            let mut purged = 0;
            for delete in [
                "DELETE FROM tokens WHERE rowid IN
                     (SELECT rowid FROM tokens WHERE expires_at < ?1 LIMIT ?2)",
                "DELETE FROM revoked_tokens WHERE rowid IN
                     (SELECT rowid FROM revoked_tokens WHERE expires_at < ?1 LIMIT ?2)",
                "DELETE FROM client_not_before WHERE rowid IN
                     (SELECT rowid FROM client_not_before WHERE expires_at < ?1 LIMIT ?2)",
                "DELETE FROM refresh_tokens WHERE rowid IN
                     (SELECT rowid FROM refresh_tokens WHERE expires_at < ?1 LIMIT ?2)",
                "DELETE FROM used_assertions WHERE rowid IN
                     (SELECT rowid FROM used_assertions WHERE expires_at < ?1 LIMIT ?2)",
            ] {
                let deleted = sqlx::query(delete)
                    .bind(before.0)
                    .bind(most)
                    .execute(&mut *connection)
                    .await?;
                purged += deleted.rows_affected();
            }
            Ok(purged)
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }
}

/// Adds the conditions of a filter. The query so far has no `WHERE`.
fn narrow(query: &mut QueryBuilder<Database>, filter: &TokenFilter) {
    query.push(" WHERE TRUE");
    if let Some(client_id) = &filter.client_id {
        query.push(" AND client_id = ").push_bind(client_id.clone());
    }
    // The plus sign makes SQLite search for the few named tokens instead of all tokens of the
    // owner.
    let is_owner = if filter.jtis.is_empty() {
        " AND owner = "
    } else {
        " AND +owner = "
    };
    match &filter.owner {
        None => {}
        Some(OwnerFilter::Named(owner)) => {
            query.push(is_owner).push_bind(owner.clone());
        }
        Some(OwnerFilter::Of {
            owner,
            issuers,
            without_issuer,
        }) => {
            query.push(is_owner).push_bind(owner.clone());
            query
                .push(" AND (owner_issuer IN (SELECT value FROM json_each(")
                .push_bind(list_of(issuers));
            query.push(if *without_issuer {
                ")) OR owner_issuer IS NULL)"
            } else {
                ")))"
            });
        }
    }
    if !filter.jtis.is_empty() {
        query
            .push(" AND jti IN (SELECT value FROM json_each(")
            .push_bind(list_of(&filter.jtis))
            .push("))");
    }
    if filter.without_revoked {
        query.push(" AND revoked_at IS NULL");
    }
    if let Some(now) = filter.unexpired_at {
        query
            .push(" AND (expires_at IS NULL OR expires_at > ")
            .push_bind(now.0)
            .push(")");
    }
    if let Some((wanted, now)) = filter.active {
        query.push(if wanted { " AND (" } else { " AND NOT (" });
        query
            .push("revoked_at IS NULL AND coalesce(expires_at > ")
            .push_bind(now.0)
            .push(", TRUE))");
    }
}

pub(super) async fn insert_record(
    connection: &mut SqliteConnection,
    token: &TokenRecord,
) -> Result<(), Failure> {
    let insert = "INSERT INTO tokens
                      (jti, client_id, owner, subject, name, scope, audience, issued_at,
                       expires_at, revoked_at, original_claims, owner_issuer)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
                          coalesce(?10, (SELECT revoked_at FROM client_not_before
                                          WHERE client_id = ?2 AND until >= ?8
                                              AND mark IS NOT ?12)),
                          ?11, ?13)";
    sqlx::query(insert)
        .bind(&token.jti)
        .bind(&token.client_id)
        .bind(&token.owner)
        .bind(&token.subject)
        .bind(&token.name)
        .bind(token.scope.join(" "))
        .bind(serde_json::json!(token.audience).to_string())
        .bind(token.issued_at.0)
        .bind(token.expires_at.map(|time| time.0))
        .bind(token.revoked_at.map(|time| time.0))
        .bind(
            token
                .original_claims
                .as_ref()
                .map(|claims| serde_json::json!(claims).to_string()),
        )
        .bind(token.after_end.map(|mark| mark.to_string()))
        .bind(&token.owner_issuer)
        .execute(connection)
        .await?;
    Ok(())
}

fn token_record(row: &SqliteRow) -> Result<TokenRecord, Failure> {
    let unreadable = |_| StoreError::Unreadable;
    let scope: &str = row.try_get("scope")?;
    let claims: Option<&str> = row.try_get("original_claims")?;
    Ok(TokenRecord {
        jti: row.try_get("jti")?,
        client_id: row.try_get("client_id")?,
        owner: row.try_get("owner")?,
        owner_issuer: row.try_get("owner_issuer")?,
        subject: row.try_get("subject")?,
        name: row.try_get("name")?,
        scope: scope
            .split(' ')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect(),
        audience: serde_json::from_str(row.try_get("audience")?).map_err(unreadable)?,
        issued_at: UnixTime(row.try_get("issued_at")?),
        expires_at: unix_time(row, "expires_at")?,
        revoked_at: unix_time(row, "revoked_at")?,
        original_claims: claims
            .map(serde_json::from_str)
            .transpose()
            .map_err(unreadable)?,
        after_end: None,
    })
}
