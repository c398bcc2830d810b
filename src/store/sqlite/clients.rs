//! Clients and their secrets in SQLite.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::revocations::end_client;
use super::{Counter, Failure, Sqlite, changed, in_time, unix_time};
use crate::domain::clock::UnixTime;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::store::tokens::ClientNotBefore;
use crate::store::{ClientStore, DeletedSecret, SecretsOf, StoreError, StoredClient, StoredSecret};

#[async_trait]
impl ClientStore for Sqlite {
    async fn clients(&self) -> Result<Vec<StoredClient>, StoreError> {
        in_time(async {
            // One transaction: a client that is made meanwhile is read with its secrets or not.
            let mut transaction = self.pool.begin().await?;
            let clients = "SELECT * FROM clients ORDER BY client_id";
            let clients = sqlx::query(clients).fetch_all(&mut *transaction).await?;
            let secrets = "SELECT * FROM client_secrets ORDER BY created_at, secret_id";
            let secrets = sqlx::query(secrets).fetch_all(&mut *transaction).await?;
            let mut of: HashMap<String, Vec<StoredSecret>> = HashMap::new();
            for row in &secrets {
                of.entry(row.try_get("client_id")?)
                    .or_default()
                    .push(stored_secret(row)?);
            }
            let clients = clients.iter().map(|row| {
                let client = stored_client(row)?;
                let secrets = of.remove(&client.client_id).unwrap_or_default();
                Ok(StoredClient { secrets, ..client })
            });
            clients.collect()
        })
        .await
    }

    async fn client(&self, client_id: &str) -> Result<Option<StoredClient>, StoreError> {
        in_time(async {
            let mut transaction = self.pool.begin().await?;
            let client = "SELECT * FROM clients WHERE client_id = ?1";
            let client = sqlx::query(client)
                .bind(client_id)
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(client) = client else {
                return Ok(None);
            };
            let secrets =
                "SELECT * FROM client_secrets WHERE client_id = ?1 ORDER BY created_at, secret_id";
            let secrets = sqlx::query(secrets)
                .bind(client_id)
                .fetch_all(&mut *transaction)
                .await?;
            let secrets = secrets
                .iter()
                .map(stored_secret)
                .collect::<Result<_, _>>()?;
            Ok(Some(StoredClient {
                secrets,
                ..stored_client(&client)?
            }))
        })
        .await
    }

    async fn insert_client(&self, client: &StoredClient) -> Result<bool, StoreError> {
        let client = client.clone();
        let work = async move |connection: &mut SqliteConnection| {
            let insert =
                "INSERT INTO clients (client_id, document, version, created_at, updated_at)
                          VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (client_id) DO NOTHING";
            let inserted = sqlx::query(insert)
                .bind(&client.client_id)
                .bind(client.document.to_string())
                .bind(client.version)
                .bind(client.created_at.0)
                .bind(client.updated_at.0)
                .execute(&mut *connection)
                .await?;
            if inserted.rows_affected() == 0 {
                return Ok(false);
            }
            for secret in &client.secrets {
                insert_secret(connection, &client.client_id, secret).await?;
            }
            changed(connection, Counter::Clients).await?;
            Ok(true)
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn update_client(
        &self,
        client: &StoredClient,
        secrets: SecretsOf,
        end: Option<&ClientNotBefore>,
    ) -> Result<bool, StoreError> {
        let (client, end) = (client.clone(), end.cloned());
        let work = async move |connection: &mut SqliteConnection| {
            let update = "UPDATE clients SET document = ?2, version = version + 1, updated_at = ?4
                          WHERE client_id = ?1 AND version = ?3";
            let updated = sqlx::query(update)
                .bind(&client.client_id)
                .bind(client.document.to_string())
                .bind(client.version)
                .bind(client.updated_at.0)
                .execute(&mut *connection)
                .await?;
            if updated.rows_affected() == 0 {
                return Ok(false);
            }
            if secrets == SecretsOf::Deleted {
                let delete = "DELETE FROM client_secrets WHERE client_id = ?1";
                sqlx::query(delete)
                    .bind(&client.client_id)
                    .execute(&mut *connection)
                    .await?;
            }
            if let Some(end) = &end {
                end_client(connection, end).await?;
            }
            changed(connection, Counter::Clients).await?;
            Ok(true)
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn delete_client(&self, version: i64, end: &ClientNotBefore) -> Result<bool, StoreError> {
        let end = end.clone();
        let work = async move |connection: &mut SqliteConnection| {
            let delete = "DELETE FROM clients WHERE client_id = ?1 AND version = ?2";
            let deleted = sqlx::query(delete)
                .bind(&end.client_id)
                .bind(version)
                .execute(&mut *connection)
                .await?;
            if deleted.rows_affected() == 0 {
                return Ok(false);
            }
            end_client(connection, &end).await?;
            changed(connection, Counter::Clients).await?;
            Ok(true)
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn insert_secret(
        &self,
        client: &StoredClient,
        secret: &StoredSecret,
        others_end_at: Option<UnixTime>,
    ) -> Result<bool, StoreError> {
        let (client_id, version, secret) =
            (client.client_id.clone(), client.version, secret.clone());
        let mut others: Vec<_> = client
            .secrets
            .iter()
            .map(|other| other.secret_id.clone())
            .collect();
        others.sort_unstable();
        let work = async move |connection: &mut SqliteConnection| {
            let client = "SELECT 1 FROM clients WHERE client_id = ?1 AND version = ?2";
            let client = sqlx::query(client).bind(&client_id).bind(version);
            let client = client.fetch_optional(&mut *connection).await?;
            let known = "SELECT secret_id FROM client_secrets WHERE client_id = ?1";
            let known = sqlx::query(known)
                .bind(&client_id)
                .fetch_all(&mut *connection)
                .await?;
            let known: Result<Vec<String>, _> =
                known.iter().map(|row| row.try_get("secret_id")).collect();
            let mut known = known?;
            known.sort_unstable();
            if client.is_none() || known != others {
                return Ok(false);
            }
            if let Some(end) = others_end_at {
                let shorten = "UPDATE client_secrets SET expires_at = ?2
                               WHERE client_id = ?1 AND (expires_at IS NULL OR expires_at > ?2)";
                sqlx::query(shorten)
                    .bind(&client_id)
                    .bind(end.0)
                    .execute(&mut *connection)
                    .await?;
            }
            insert_secret(connection, &client_id, &secret).await?;
            changed(connection, Counter::Clients).await?;
            Ok(true)
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn delete_secret(
        &self,
        client_id: &str,
        secret_id: &str,
        unless_last_at: Option<UnixTime>,
    ) -> Result<DeletedSecret, StoreError> {
        let (client_id, secret_id) = (client_id.to_owned(), secret_id.to_owned());
        let work = async move |connection: &mut SqliteConnection| {
            if let Some(now) = unless_last_at {
                let live = "SELECT secret_id FROM client_secrets
                            WHERE client_id = ?1 AND (expires_at IS NULL OR expires_at > ?2)";
                let live = sqlx::query(live)
                    .bind(&client_id)
                    .bind(now.0)
                    .fetch_all(&mut *connection)
                    .await?;
                let live: Result<Vec<String>, _> =
                    live.iter().map(|row| row.try_get("secret_id")).collect();
                if live? == [secret_id.clone()] {
                    return Ok(DeletedSecret::Last);
                }
            }
            let delete = "DELETE FROM client_secrets WHERE client_id = ?1 AND secret_id = ?2";
            let deleted = sqlx::query(delete)
                .bind(&client_id)
                .bind(&secret_id)
                .execute(&mut *connection)
                .await?;
            if deleted.rows_affected() == 0 {
                return Ok(DeletedSecret::Unknown);
            }
            changed(connection, Counter::Clients).await?;
            Ok(DeletedSecret::Done)
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }

    async fn touch_secrets(&self, used: &[(String, UnixTime)]) -> Result<(), StoreError> {
        let used = used.to_vec();
        let work = async move |connection: &mut SqliteConnection| {
            for (secret_id, at) in &used {
                // A time that is far ahead was stored before the clock was set back.
                let touch = "UPDATE client_secrets SET last_used_at =
                                 CASE WHEN last_used_at BETWEEN ?2 AND ?2 + 600
                                      THEN last_used_at ELSE ?2 END
                             WHERE secret_id = ?1";
                sqlx::query(touch)
                    .bind(secret_id)
                    .bind(at.0)
                    .execute(&mut *connection)
                    .await?;
            }
            Ok(())
        };
        self.writer
            .write(move |connection| Box::pin(async move { work(connection).await }))
            .await
    }
}

async fn insert_secret(
    connection: &mut SqliteConnection,
    client_id: &str,
    secret: &StoredSecret,
) -> Result<(), Failure> {
    let insert = "INSERT INTO client_secrets
                      (secret_id, client_id, hash, last_four, created_at, expires_at, last_used_at)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    sqlx::query(insert)
        .bind(&secret.secret_id)
        .bind(client_id)
        .bind(secret.hash.expose_secret())
        .bind(secret.last_four.as_deref().unwrap_or_default())
        .bind(secret.created_at.0)
        .bind(secret.expires_at.map(|time| time.0))
        .bind(secret.last_used_at.map(|time| time.0))
        .execute(connection)
        .await?;
    Ok(())
}

/// A client, still without its secrets.
fn stored_client(row: &SqliteRow) -> Result<StoredClient, Failure> {
    let document: &str = row.try_get("document")?;
    Ok(StoredClient {
        client_id: row.try_get("client_id")?,
        document: serde_json::from_str(document).map_err(|_| StoreError::Unreadable)?,
        version: row.try_get("version")?,
        created_at: UnixTime(row.try_get("created_at")?),
        updated_at: UnixTime(row.try_get("updated_at")?),
        secrets: Vec::new(),
    })
}

fn stored_secret(row: &SqliteRow) -> Result<StoredSecret, Failure> {
    Ok(StoredSecret {
        secret_id: row.try_get("secret_id")?,
        hash: SecretString::from(row.try_get::<String, _>("hash")?),
        last_four: Some(row.try_get("last_four")?).filter(|end: &String| !end.is_empty()),
        created_at: UnixTime(row.try_get("created_at")?),
        expires_at: unix_time(row, "expires_at")?,
        last_used_at: unix_time(row, "last_used_at")?,
    })
}
