//! Tokens, refresh tokens, revocations and used assertions in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite as Database, SqliteConnection};

use super::refresh_tokens::{delete_old_families, forget_used};
use super::{Counter, Failure, Sqlite, changed, in_time, list_of, unix_time};
use crate::domain::clock::UnixTime;
use crate::domain::proven_time::{Claim, ProvenTime};
use crate::domain::revoked::EndMark;
use crate::store::tokens::{
    ClientNotBefore, Ended, NotedTime, OwnerFilter, RefreshToken, Revocations, RevokedToken,
    Rotation, TokenCount, TokenFilter, TokenRecord,
};
use crate::store::{StoreError, TokenStore};

/// How many revocations are read at once; the tests read few.
const PAGE: u32 = if cfg!(test) { 2 } else { 20_000 };

/// Counts an owner's tokens of a client. In two parts, so that the index leads past those that have
/// expired: they are kept for a day and more, and each token request counts.
pub(super) const COUNT: &str =
    "SELECT count(*) AS kept, count(revoked_at) AS revoked, min(expires_at) AS first_end FROM
         (SELECT expires_at, revoked_at FROM tokens
          WHERE client_id = ?1 AND owner = ?2 AND owner_issuer IN (SELECT value FROM json_each(?3)) AND expires_at > ?4
          UNION ALL
          SELECT expires_at, revoked_at FROM tokens
          WHERE client_id = ?1 AND owner = ?2 AND owner_issuer IN (SELECT value FROM json_each(?3)) AND expires_at IS NULL)";

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
                    // Where the row was deleted meanwhile, those of its second come again: none is
                    // left out.
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
        // Page by page: however many there are, no page takes long. What is revoked between two of
        // them has raised the counter, and is read with the next reading.
        let mut tokens: Vec<RevokedToken> = Vec::new();
        loop {
            let after = tokens
                .last()
                .map_or_else(String::new, |token| token.jti.clone());
            let page = in_time(async {
                let page = "SELECT * FROM revoked_tokens WHERE expires_at >= ?1 AND jti > ?2 ORDER BY jti LIMIT ?3";
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
            // One transaction: what is read is all up to this revision.
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
            let ended = "SELECT 1 FROM client_not_before WHERE client_id = ?1 AND until >= ?2 AND mark IS NOT ?3";
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
                                          WHERE later.predecessor = ?1 AND later.used_at IS NOT NULL) AS unheard
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
                // Before its first use is after the clock was set back: how long ago that use was
                // is not known.
                let in_time = now >= used_at.minus(grace) && now <= used_at.plus(grace);
                if reused || !unheard || !in_time {
                    delete_family(connection, row.try_get("family_id")?, now, proven).await?;
                    return Ok(Rotation::Reused);
                }
                // Whoever shows the successor that was lost on the way is a stranger.
                let spend = "UPDATE refresh_tokens SET used_at = ?2, reused = 1 WHERE hash = ?1 OR predecessor = ?1";
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
            let insert = "INSERT INTO used_assertions (id, expires_at) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
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

    async fn note_signed_until(&self, at: UnixTime) -> Result<(), StoreError> {
        let work = async move |connection: &mut SqliteConnection| {
            let note = "UPDATE signed_until SET at = max(at, ?1)";
            sqlx::query(note).bind(at.0).execute(connection).await?;
            Ok(())
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn signed_until(&self) -> Result<UnixTime, StoreError> {
        in_time(async {
            let row = sqlx::query("SELECT at FROM signed_until")
                .fetch_one(&self.pool)
                .await?;
            Ok(UnixTime(row.try_get("at")?))
        })
        .await
    }

    async fn note_proven_time(&self, noted: &NotedTime) -> Result<(), StoreError> {
        let noted = noted.clone();
        let proven = noted.proven;
        let work = async move |connection: &mut SqliteConnection| {
            let row = sqlx::query("SELECT max(at) AS at FROM proven_time")
                .fetch_one(&mut *connection)
                .await?;
            let earlier: Option<i64> = row.try_get("at")?;
            sqlx::query("DELETE FROM proven_time")
                .execute(&mut *connection)
                .await?;
            let insert = "INSERT INTO proven_time (at, claimed_at, stood, boot, uptime) VALUES (?1, ?2, ?3, ?4, ?5)";
            let stood = proven.claim.map_or(0, |claim| claim.stood.as_secs());
            sqlx::query(insert)
                .bind(proven.at.0.max(earlier.unwrap_or(i64::MIN)))
                .bind(proven.claim.map(|claim| claim.at.0))
                .bind(i64::try_from(stood).unwrap_or(i64::MAX))
                .bind(&noted.boot)
                .bind(i64::try_from(noted.uptime.as_secs()).unwrap_or(i64::MAX))
                .execute(&mut *connection)
                .await?;
            Ok(())
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn proven_time(&self) -> Result<Option<NotedTime>, StoreError> {
        in_time(async {
            let row = sqlx::query("SELECT * FROM proven_time")
                .fetch_optional(&self.pool)
                .await?;
            row.as_ref().map(noted_time).transpose()
        })
        .await
    }

    async fn purge(&self, before: UnixTime, most: u32) -> Result<u64, StoreError> {
        let work = async move |connection: &mut SqliteConnection| {
            let mut purged = 0;
            for delete in [
                "DELETE FROM tokens WHERE rowid IN (SELECT rowid FROM tokens WHERE expires_at < ?1 LIMIT ?2)",
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
    // The plus sign keeps SQLite from walking through all tokens of the owner where it can look for
    // the few that are named.
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

/// Ends everything a client was issued, within a transaction.
pub(super) async fn end_client(
    connection: &mut SqliteConnection,
    end: &ClientNotBefore,
) -> Result<(), Failure> {
    let insert = "INSERT INTO client_not_before (client_id, until, expires_at, revoked_at, mark, revision)
                  VALUES (?1, ?2, ?3, ?4, ?5, (SELECT value + 1 FROM revisions WHERE of = 'revocations'))
                  ON CONFLICT (client_id) DO UPDATE SET
                      revoked_at = CASE WHEN excluded.until > until THEN excluded.revoked_at ELSE revoked_at END,
                      until = max(until, excluded.until), expires_at = max(expires_at, excluded.expires_at),
                      mark = excluded.mark, revision = excluded.revision";
    sqlx::query(insert)
        .bind(&end.client_id)
        .bind(end.until.0)
        .bind(end.expires_at.0)
        .bind(end.revoked_at.0)
        .bind(end.mark.to_string())
        .execute(&mut *connection)
        .await?;
    let mark = "UPDATE tokens SET revoked_at = ?3 WHERE client_id = ?1 AND issued_at <= ?2 AND revoked_at IS NULL";
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

async fn delete_family(
    connection: &mut SqliteConnection,
    family_id: &str,
    now: UnixTime,
    proven: UnixTime,
) -> Result<bool, Failure> {
    let delete = "DELETE FROM refresh_tokens WHERE family_id = ?1 RETURNING client_id, access_jti, access_expires_at";
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

async fn insert_record(
    connection: &mut SqliteConnection,
    token: &TokenRecord,
) -> Result<(), Failure> {
    let insert = "INSERT INTO tokens (jti, client_id, owner, subject, name, scope, audience, issued_at,
                                      expires_at, revoked_at, original_claims, owner_issuer)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
                          coalesce(?10, (SELECT revoked_at FROM client_not_before
                                          WHERE client_id = ?2 AND until >= ?8 AND mark IS NOT ?12)),
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

/// Keeps a revocation, and marks the token where it is a kept one.
async fn revoke_one(
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
async fn insert_revoked(
    connection: &mut SqliteConnection,
    token: &RevokedToken,
) -> Result<(), Failure> {
    let insert = "INSERT INTO revoked_tokens (jti, client_id, expires_at, revoked_at, revision)
                  VALUES (?1, ?2, ?3, ?4, (SELECT value + 1 FROM revisions WHERE of = 'revocations'))
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

fn revoked_token(row: &SqliteRow) -> Result<RevokedToken, Failure> {
    Ok(RevokedToken {
        jti: row.try_get("jti")?,
        client_id: row.try_get("client_id")?,
        expires_at: UnixTime(row.try_get("expires_at")?),
        revoked_at: UnixTime(row.try_get("revoked_at")?),
    })
}

fn noted_time(row: &SqliteRow) -> Result<NotedTime, Failure> {
    let seconds = |column| {
        let seconds =
            u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Unreadable)?;
        Ok::<_, Failure>(Duration::from_secs(seconds))
    };
    let stood = seconds("stood")?;
    let claim = unix_time(row, "claimed_at")?.map(|at| Claim { at, stood });
    let proven = ProvenTime {
        at: UnixTime(row.try_get("at")?),
        claim,
    };
    Ok(NotedTime {
        proven,
        boot: row.try_get("boot")?,
        uptime: seconds("uptime")?,
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
