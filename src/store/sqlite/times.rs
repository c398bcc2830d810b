//! The times that the store keeps.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Failure, Sqlite, in_time, unix_time};
use crate::domain::clock::UnixTime;
use crate::domain::proven_time::{Claim, ProvenTime};
use crate::store::StoreError;
use crate::store::times::TimeStore;
use crate::store::tokens::NotedTime;

#[async_trait]
impl TimeStore for Sqlite {
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
            let insert = "INSERT INTO proven_time (at, claimed_at, stood, boot, uptime)
                          VALUES (?1, ?2, ?3, ?4, ?5)";
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
