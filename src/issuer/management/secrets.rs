//! A client's secrets: several can be valid, so that a new one is deployed before the old one ends.

use std::time::Duration;

use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::Schema;

use super::{CHANGED, ClientAdmin, ManagementError, TRIES};
use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;
use crate::issuer::client_secret;
use crate::issuer::client_secret::UnusableSecret;
use crate::issuer::registration::{ClientMetadata, FieldProblem, Members, seconds_schema};
use crate::store::{DeletedSecret, StoredSecret};

/// The maximum number of secrets of a client.
const MAX_SECRETS: usize = 10;
/// How long the other secrets stay valid beside a new one by default.
const DEFAULT_GRACE: Duration = Duration::from_hours(24);
/// A secret that is unused for this long counts as replaced everywhere.
const QUIET: Duration = Duration::from_hours(24);

/// The description of a secret, without its value.
#[derive(Clone, Debug)]
pub struct SecretRecord {
    /// The stored part.
    pub stored: StoredSecret,
    /// Whether it seems unused: it has expired, or was not used for a day while there is another
    /// one.
    pub safe_to_delete: bool,
}

/// A new secret.
#[derive(Debug)]
pub struct CreatedSecret {
    /// The secret's value. It is shown only here.
    pub secret: SecretString,
    /// The stored part.
    pub record: SecretRecord,
}

impl ClientAdmin {
    /// A client's secrets, the oldest first.
    ///
    /// # Errors
    /// When the client does not exist or is one of the configuration, or the store does not answer.
    pub async fn secrets(&self, client_id: &str) -> Result<Vec<SecretRecord>, ManagementError> {
        let client = self.stored_client(client_id).await?;
        let now = self.clock.now();
        let secrets = client.secrets.iter();
        Ok(secrets
            .map(|secret| shown(secret, &client.secrets, now))
            .collect())
    }

    /// Gives a client a further secret, generated unless the request brings one. The others stay
    /// valid for `grace`, or stay as they are.
    ///
    /// # Errors
    /// When a member is wrong, the client does not exist, is one of the configuration, has keys or
    /// too many secrets, or the store fails.
    pub async fn create_secret(
        &self,
        client_id: &str,
        body: &Map<String, Value>,
    ) -> Result<CreatedSecret, ManagementError> {
        let now = self.clock.now();
        let request = SecretRequest::read(body, now)?;
        let expires_at = request.expires_at(now);
        let others_end_at = request.others_end_at(now);
        for _ in 0..TRIES {
            let mut client = self.stored_client(client_id).await?;
            if ClientMetadata::stored(&client.document).is_some_and(|it| it.has_no_secret()) {
                return Err(ManagementError::Conflict(
                    "a client of `private_key_jwt` or with a certificate has no secret",
                ));
            }
            if client.secrets.len() >= MAX_SECRETS {
                let proven = self.forgetting.time();
                for dead in client
                    .secrets
                    .iter()
                    .filter(|secret| !is_live(secret, proven))
                {
                    self.store
                        .delete_secret(client_id, &dead.secret_id, None)
                        .await?;
                }
                client.secrets.retain(|secret| is_live(secret, proven));
            }
            if client.secrets.len() >= MAX_SECRETS {
                return Err(ManagementError::Conflict(
                    "a client has at most 10 secrets; delete one first",
                ));
            }
            let (secret, stored) = make(
                request.client_secret.clone(),
                &client.secrets,
                now,
                expires_at,
            )
            .await?;
            // All supplied secrets of a client share one salt, so the client's secrets must be
            // unchanged. A client that was given keys meanwhile gets no secret.
            if self
                .store
                .insert_secret(&client, &stored, others_end_at)
                .await?
            {
                // The secret is stored, and only this caller has it: after a failure the next
                // reload reads it.
                let _ = self.take_over().await;
                return Ok(CreatedSecret {
                    secret,
                    record: SecretRecord {
                        stored,
                        safe_to_delete: false,
                    },
                });
            }
        }
        Err(CHANGED)
    }

    /// Deletes a secret of a client; the last valid one only with `force`.
    ///
    /// # Errors
    /// When it does not exist, is the last one, or the store fails.
    pub async fn delete_secret(
        &self,
        client_id: &str,
        secret_id: &str,
        force: bool,
    ) -> Result<(), ManagementError> {
        // Checks that the client exists and can be changed; the store checks the secret.
        self.stored_client(client_id).await?;
        let unless_last_at = (!force).then(|| self.clock.now());
        let deleted = self
            .store
            .delete_secret(client_id, secret_id, unless_last_at)
            .await?;
        // This runs even if another request deleted it first: after the answer it must be refused.
        self.take_over().await?;
        match deleted {
            DeletedSecret::Done => Ok(()),
            DeletedSecret::Unknown => {
                Err(ManagementError::NotFound("this client has no such secret"))
            }
            DeletedSecret::Last => Err(ManagementError::Conflict(
                "this is the client's last valid secret; `force=true` deletes it anyway",
            )),
        }
    }
}

/// The supplied secret or a generated one, and its stored part.
pub(super) async fn make(
    wanted: Option<SecretString>,
    of_client: &[StoredSecret],
    now: UnixTime,
    expires_at: Option<UnixTime>,
) -> Result<(SecretString, StoredSecret), ManagementError> {
    let Some(secret) = wanted else {
        return Ok(client_secret::generate(now, expires_at));
    };
    let stored = client_secret::hashed(secret.clone(), of_client, now, expires_at).await;
    match stored {
        Ok(stored) => Ok((secret, stored)),
        Err(UnusableSecret::TooShort) => {
            let problem = UnusableSecret::TooShort.to_string();
            Err(ManagementError::Invalid(vec![FieldProblem::new(
                "client_secret",
                problem,
            )]))
        }
        Err(UnusableSecret::Hashing) => Err(ManagementError::Unavailable),
    }
}

/// A request for a new secret. Without members: a generated one that never expires.
#[derive(ToSchema)]
pub struct SecretRequest {
    /// A generated one, of 256 bits, when left out.
    #[schema(value_type = Option<String>, min_length = 16, max_length = 256)]
    pub client_secret: Option<SecretString>,
    /// Its lifetime: seconds, or a duration such as `90d`.
    #[schema(schema_with = expires_in_schema)]
    pub expires_in: Option<Duration>,
    /// When it expires (RFC 3339), instead.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expiry: Option<UnixTime>,
    /// How long the client's other secrets stay valid; a day when left out.
    #[schema(schema_with = grace_schema)]
    pub grace: Option<Duration>,
    /// The other secrets stay as they are, instead.
    pub keep_others: bool,
}

fn expires_in_schema() -> Schema {
    seconds_schema("Its lifetime: seconds, or a duration such as `90d`.")
}

fn grace_schema() -> Schema {
    seconds_schema("How long the client's other secrets stay valid; a day when left out.")
}

impl SecretRequest {
    fn read(body: &Map<String, Value>, now: UnixTime) -> Result<Self, ManagementError> {
        let known = [
            "client_secret",
            "expires_in",
            "expiry",
            "grace",
            "keep_others",
        ];
        let mut members = Members::new(body, &known);
        let request = Self {
            client_secret: members.secret(),
            expires_in: members.seconds("expires_in"),
            expiry: members.time_to_come("expiry", now, None),
            grace: members.seconds("grace"),
            keep_others: members.flag("keep_others"),
        };
        if request.expires_in.is_some() && request.expiry.is_some() {
            members.problem("expiry", "it is either `expires_in` or `expiry`");
        }
        if request
            .expires_in
            .is_some_and(|lifetime| now.plus(lifetime) <= now)
        {
            members.problem("expires_in", "it must be longer than 0 s");
        }
        if request.keep_others && request.grace.is_some() {
            members.problem("grace", "it is either `grace` or `keep_others`");
        }
        members.end().map_err(ManagementError::Invalid)?;
        Ok(request)
    }

    fn expires_at(&self, now: UnixTime) -> Option<UnixTime> {
        self.expires_in.map(|life| now.plus(life)).or(self.expiry)
    }

    fn others_end_at(&self, now: UnixTime) -> Option<UnixTime> {
        (!self.keep_others).then(|| now.plus(self.grace.unwrap_or(DEFAULT_GRACE)))
    }
}

fn is_live(secret: &StoredSecret, now: UnixTime) -> bool {
    secret.expires_at.is_none_or(|end| now < end)
}

fn shown(secret: &StoredSecret, all: &[StoredSecret], now: UnixTime) -> SecretRecord {
    let is_quiet = secret.last_used_at.unwrap_or(secret.created_at).plus(QUIET) <= now;
    let mut others = all
        .iter()
        .filter(|other| other.secret_id != secret.secret_id);
    let safe_to_delete =
        !is_live(secret, now) || is_quiet && others.any(|other| is_live(other, now));
    SecretRecord {
        stored: secret.clone(),
        safe_to_delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(id: &str, created: i64, expires: Option<i64>, used: Option<i64>) -> StoredSecret {
        StoredSecret {
            secret_id: id.to_owned(),
            hash: SecretString::from("sha256:00"),
            last_four: Some("abcd".to_owned()),
            created_at: UnixTime(created),
            expires_at: expires.map(UnixTime),
            last_used_at: used.map(UnixTime),
        }
    }

    #[test]
    fn a_secret_is_safe_to_delete_when_it_is_not_needed() {
        const DAY: i64 = 86_400;
        let now = UnixTime(10 * DAY);
        let safe = |all: &[StoredSecret]| shown(&all[0], all, now).safe_to_delete;
        let other = secret("b", 9 * DAY, None, None);
        // It is the only secret, however long unused.
        assert!(!safe(&[secret("a", 0, None, None)]));
        // It is unused for a day, and there is another one.
        assert!(safe(&[secret("a", 0, None, Some(9 * DAY)), other.clone()]));
        assert!(!safe(&[
            secret("a", 0, None, Some(9 * DAY + 1)),
            other.clone()
        ]));
        // It was never used, but is new.
        assert!(!safe(&[secret("a", 9 * DAY + 1, None, None), other]));
        // The other one has expired.
        assert!(!safe(&[
            secret("a", 0, None, None),
            secret("b", 0, Some(1), None)
        ]));
        // It has expired itself.
        assert!(safe(&[secret("a", 0, Some(10 * DAY), Some(10 * DAY))]));
    }
}
