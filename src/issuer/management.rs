//! The management of clients, their secrets and tokens, and of the signing keys: what the
//! administrator may do.
//!
//! A change is in the store before it is answered, and known to this process: what it ends, no
//! verifier here accepts any more. Other processes on the same store see it within seconds.

mod clients;
mod keys;
mod secrets;
mod tokens;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::access_token::BACKDATED;
use super::registration::{FieldProblem, Members, Registration};
use super::{Issuer, Profile};
use crate::domain::clock::UnixTime;
use crate::domain::revoked::EndMark;
use crate::store::tokens::ClientNotBefore;
use crate::store::{StoreError, StoredClient};

pub use clients::{ClientRecord, CreatedClient, Source};
pub use secrets::{CreatedSecret, SecretRecord};
pub use tokens::TokenQuery;

/// What a page holds when nobody says.
pub const DEFAULT_PAGE: u32 = 50;
/// What a page holds at most.
pub const MAX_PAGE: u32 = 200;

/// No access token of a client without a lifetime of its own lives longer: what
/// `issuer.accessTokenLifetime` may be.
const LONGEST_DEFAULT: Duration = Duration::from_hours(24);
/// No access token lives longer.
pub(super) const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// What is meant is not there.
    #[error("{0}")]
    NotFound(&'static str),
    /// The request's members are wrong.
    #[error("the request is not valid")]
    Invalid(Vec<FieldProblem>),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(&'static str),
    /// The store does not answer, or the change is kept there but not yet taken over here.
    #[error("the store is not available")]
    Unavailable,
    /// Nothing can be written to the store, and why.
    #[error("the store cannot be written: {0}")]
    Unwritable(&'static str),
}

impl From<StoreError> for ManagementError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unwritable(why) => Self::Unwritable(why),
            _ => Self::Unavailable,
        }
    }
}

/// How often a change is tried whose client others change meanwhile.
const TRIES: usize = 10;

const CHANGED: ManagementError =
    ManagementError::Conflict("others change this client at the same time; try again");
const NO_CLIENT: ManagementError = ManagementError::NotFound("there is no such client");

impl Issuer {
    /// A client of the store.
    async fn stored_client(&self, client_id: &str) -> Result<StoredClient, ManagementError> {
        if self.clients.configured(client_id).is_some() {
            return Err(ManagementError::Conflict(
                "this client stands in the configuration file, and is changed there",
            ));
        }
        self.store.client(client_id).await?.ok_or(NO_CLIENT)
    }

    /// Ends everything a client was issued up to now, or up to the time `before` of the request,
    /// that second included; and all of its refresh tokens. The client may be one of the store or
    /// of the configuration. Gives the time.
    ///
    /// # Errors
    /// When a member is wrong, there is no such client, or the store does not keep it.
    pub async fn end_tokens_of_client(
        &self,
        client_id: &str,
        body: &Map<String, Value>,
    ) -> Result<UnixTime, ManagementError> {
        let now = self.clock.now();
        let mut members = Members::new(body, &["before"]);
        let before = members.time("before");
        if let Some(before) = before.filter(|before| *before > now) {
            members.problem(
                "before",
                format!("it must have passed: {}", before.beside(now)),
            );
        }
        members.end().map_err(ManagementError::Invalid)?;
        let lives = match self.clients.configured(client_id) {
            // The file may have said otherwise when a token was issued.
            Some(_) => LONGEST,
            None => longest_lifetime(&self.store.client(client_id).await?.ok_or(NO_CLIENT)?),
        };
        let mut end = self.end_of(client_id, lives, now);
        if let Some(before) = before {
            end.until = before.minus(BACKDATED);
        }
        self.revocations.end_client(end.clone()).await?;
        self.let_pass(&end).await;
        Ok(before.unwrap_or(now))
    }

    /// Ends what this process issued to clients that another one was disabling or deleting
    /// meanwhile.
    pub(super) async fn end_departed_clients(&self) -> Result<(), StoreError> {
        while let Some(client) = self.clients.departed() {
            let lives = client
                .access_token_lifetime
                .unwrap_or_default()
                .max(LONGEST_DEFAULT);
            let end = self.end_of(&client.id, lives, self.clock.now());
            if let Err(error) = self.revocations.end_client(end).await {
                self.clients.departs(client);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Everything of a client that was issued up to now, to be remembered as long as any of it may
    /// live. Also what was issued with a later time, before the clock was set back.
    pub(super) fn end_of(
        &self,
        client_id: &str,
        lives: Duration,
        now: UnixTime,
    ) -> ClientNotBefore {
        let for_ever = lives.is_zero() || self.profile() == Profile::Plgd;
        let latest = self.revocations.latest(now);
        ClientNotBefore {
            client_id: client_id.to_owned(),
            // A token's `iat` lies before the moment it was issued.
            until: latest.minus(BACKDATED),
            expires_at: if for_ever {
                UnixTime::NEVER
            } else {
                latest.plus(lives)
            },
            revoked_at: now,
            mark: EndMark::of(uuid::Uuid::new_v4().as_bytes()),
        }
    }

    /// Makes a change of the store known to this process, whoever made it.
    async fn take_over(&self) -> Result<(), ManagementError> {
        Ok(self.reload().await?)
    }

    /// Waits until a token that is issued is not ended, by its `iat` alone, which counts in
    /// seconds: a token that is asked for after the answer must live. This process marks those of
    /// the same second, others may not know the end yet.
    async fn let_pass(&self, end: &ClientNotBefore) {
        // At most a second, but for a clock that stands still.
        for _ in 0..75 {
            let now = self.clock.now();
            // The clock was set back, and only the mark helps.
            let is_far = end.until > now;
            if is_far || now.minus(BACKDATED) > end.until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How long a token that a client has now can live on; zero is for ever.
pub(super) fn longest_lifetime(stored: &StoredClient) -> Duration {
    let Ok(registration) = Registration::deserialize(&stored.document) else {
        return LONGEST;
    };
    let own = [
        registration.access_token_lifetime,
        registration.longest_token_lifetime,
    ];
    if own.contains(&Some(0)) {
        return Duration::ZERO;
    }
    own.into_iter()
        .flatten()
        .map(Duration::from_secs)
        .fold(LONGEST_DEFAULT, Duration::max)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::revoked::{Issued, TokenId};
    use crate::issuer::Config;
    use crate::issuer::tests::{NOW, client, config, open};

    fn covers(issuer: &Issuer, client: &str, issued: i64) -> bool {
        issuer
            .revoked()
            .current()
            .covers(&issued_to(client, issued), UnixTime(NOW))
    }

    fn issued_to(client: &str, at: i64) -> Issued<'_> {
        let at = UnixTime(at).minus(BACKDATED);
        Issued {
            token: TokenId::of("x"),
            client_id: Some(client),
            at,
            after_end: None,
        }
    }

    async fn end(issuer: &Issuer, client: &str, body: Value) -> Result<UnixTime, ManagementError> {
        issuer
            .end_tokens_of_client(client, body.as_object().expect("an object"))
            .await
    }

    #[tokio::test]
    async fn all_of_a_client_ends_up_to_a_time_and_never_beyond_now() {
        let issuer = open(config(vec![client("a", "s"), client("b", "s")]))
            .await
            .unwrap();
        let before = |time: i64| json!({ "before": UnixTime(time).to_rfc3339() });
        assert_eq!(
            end(&issuer, "a", before(NOW - 100)).await.unwrap(),
            UnixTime(NOW - 100)
        );
        assert!(covers(&issuer, "a", NOW - 100) && !covers(&issuer, "a", NOW - 99));
        assert!(!covers(&issuer, "b", NOW - 100));
        // An earlier time takes nothing back.
        end(&issuer, "a", before(NOW - 200)).await.unwrap();
        assert!(covers(&issuer, "a", NOW - 100));
        assert!(matches!(
            end(&issuer, "a", before(NOW + 1)).await,
            Err(ManagementError::Invalid(_))
        ));
        assert!(matches!(
            end(&issuer, "a", json!({ "until": 1 })).await,
            Err(ManagementError::Invalid(_))
        ));
        assert!(!covers(&issuer, "a", NOW - 99));
        assert_eq!(end(&issuer, "b", json!({})).await.unwrap(), UnixTime(NOW));
        assert!(covers(&issuer, "b", NOW) && !covers(&issuer, "b", NOW + 1));
        assert!(matches!(
            end(&issuer, "c", json!({})).await,
            Err(ManagementError::NotFound(_))
        ));
    }

    #[tokio::test]
    async fn the_end_of_tokens_that_never_expire_is_never_forgotten() {
        let ends = async |config: Config, lifetime: Value| {
            let issuer = open(config).await.unwrap();
            let new = json!({ "client_id": "a", "access_token_lifetime": lifetime });
            issuer
                .create_client(new.as_object().unwrap())
                .await
                .unwrap();
            issuer.delete_client("a").await.unwrap();
            issuer
                .store
                .revocations(UnixTime(NOW))
                .await
                .unwrap()
                .clients[0]
                .expires_at
        };
        assert_eq!(
            ends(config(Vec::new()), json!("90d")).await,
            UnixTime(NOW + 90 * 86_400)
        );
        assert_eq!(
            ends(config(Vec::new()), json!("1m")).await,
            UnixTime(NOW + 86_400)
        );
        let plgd = Config {
            profile: Profile::Plgd,
            ..config(Vec::new())
        };
        assert_eq!(ends(plgd, json!("1m")).await, UnixTime::NEVER);
    }

    fn object(value: &Value) -> &Map<String, Value> {
        value.as_object().expect("an object")
    }

    #[tokio::test]
    async fn of_requests_at_the_same_time_each_answer_holds_when_it_is_given() {
        let issuer = open(config(Vec::new())).await.unwrap();
        for (number, deletes) in [false, true].into_iter().enumerate() {
            let id = format!("client-{number}");
            issuer
                .create_client(object(&json!({ "client_id": id })))
                .await
                .unwrap();
            let ends = (0..4).map(|_| async {
                if deletes {
                    let _one_of_them_found_it = issuer.delete_client(&id).await;
                } else {
                    issuer
                        .update_client(&id, object(&json!({ "disabled": true })))
                        .await
                        .unwrap();
                }
                let client = issuer.clients.get(&id);
                (
                    client.is_some_and(|client| !client.disabled),
                    covers(&issuer, &id, NOW),
                )
            });
            let held = futures_util::future::join_all(ends).await;
            assert_eq!(held, [(false, true); 4], "{id}");
        }
    }

    #[tokio::test]
    async fn two_requests_never_take_a_clients_last_secret_away() {
        let issuer = open(config(Vec::new())).await.unwrap();
        let id = "client";
        issuer
            .create_client(object(&json!({ "client_id": id })))
            .await
            .unwrap();
        issuer.create_secret(id, &Map::new()).await.unwrap();
        let secrets = issuer.secrets(id).await.unwrap();
        let deletes = secrets
            .iter()
            .map(|it| issuer.delete_secret(id, &it.stored.secret_id, false));
        let deleted = futures_util::future::join_all(deletes).await;
        assert_eq!(
            deleted.iter().filter(|it| it.is_ok()).count(),
            1,
            "{deleted:?}"
        );
        assert!(
            deleted
                .iter()
                .any(|it| matches!(it, Err(ManagementError::Conflict(_)))),
            "{deleted:?}"
        );
        assert_eq!(issuer.secrets(id).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_client_that_is_given_keys_beside_a_new_secret_has_no_secret() {
        use crate::jose::Algorithm;
        use crate::jose::sign::SigningKey;

        let issuer = open(config(Vec::new())).await.unwrap();
        let jwk = SigningKey::generate(Algorithm::ES256).unwrap().public_jwk();
        let keys =
            json!({ "jwks": { "keys": [jwk] }, "token_endpoint_auth_method": "private_key_jwt" });
        for number in 0..20 {
            let id = format!("client-{number}");
            issuer
                .create_client(object(&json!({ "client_id": id })))
                .await
                .unwrap();
            let patch = async || issuer.update_client(&id, object(&keys)).await.map(drop);
            let add = async || issuer.create_secret(&id, &Map::new()).await.map(drop);
            let (patched, added) = if number % 2 == 0 {
                tokio::join!(patch(), add())
            } else {
                let (added, patched) = tokio::join!(add(), patch());
                (patched, added)
            };
            assert!(patched.is_ok(), "{patched:?}");
            assert!(
                matches!(added, Ok(()) | Err(ManagementError::Conflict(_))),
                "{added:?}"
            );
            assert!(
                issuer.secrets(&id).await.unwrap().is_empty(),
                "{id}: {added:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_client_of_a_deleted_ones_id_is_let_in_as_soon_as_it_is_made() {
        let issuer = open(config(Vec::new())).await.unwrap();
        let new = json!({ "client_id": "client" });
        issuer.create_client(object(&new)).await.unwrap();
        let again = async {
            while issuer.create_client(object(&new)).await.is_err() {
                tokio::task::yield_now().await;
            }
            issuer.clients.get("client").is_some()
        };
        let (deleted, is_let_in) = tokio::join!(issuer.delete_client("client"), again);
        deleted.unwrap();
        assert!(is_let_in);
        assert!(issuer.clients.get("client").is_some());
        // What it is issued in this very second carries the mark of the end of the other's tokens.
        let mark = issuer
            .revoked()
            .current()
            .mark_for("client", UnixTime(NOW).minus(BACKDATED));
        let issued = Issued {
            after_end: mark,
            ..issued_to("client", NOW)
        };
        assert!(mark.is_some() && !issuer.revoked().current().covers(&issued, UnixTime(NOW)));
    }

    #[tokio::test]
    async fn what_one_process_issues_while_another_ends_the_client_ends_too() {
        let one = open(config(Vec::new())).await.unwrap();
        let clock = one.clock.clone();
        let other = Issuer::open(config(Vec::new()), one.store.clone(), clock)
            .await
            .unwrap();
        for (number, by_patch) in [true, false].into_iter().enumerate() {
            let id = format!("client-{number}");
            one.create_client(json!({ "client_id": id }).as_object().unwrap())
                .await
                .unwrap();
            other.reload().await.unwrap();
            if by_patch {
                one.update_client(&id, json!({ "disabled": true }).as_object().unwrap())
                    .await
                    .unwrap();
            } else {
                one.delete_client(&id).await.unwrap();
            }
            let until = |issuer: &Issuer| {
                let known = issuer.revoked().current();
                (0..60)
                    .take_while(|after| known.covers(&issued_to(&id, NOW + after), UnixTime(NOW)))
                    .count()
            };
            assert!(
                other
                    .clients
                    .get(&id)
                    .is_some_and(|client| !client.disabled),
                "it does not know yet"
            );
            let changes = async || one.store.revisions().await.unwrap().revocations;
            let before = changes().await;
            other.reload().await.unwrap();
            assert_eq!(
                changes().await,
                before + 1,
                "ended once more, up to the moment it learned of it"
            );
            other.reload().await.unwrap();
            one.reload().await.unwrap();
            assert_eq!(changes().await, before + 1, "and only once");
            assert_eq!(until(&one), until(&other));
        }
    }
}
