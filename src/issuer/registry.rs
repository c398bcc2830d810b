//! The token registry: what is remembered of issued tokens, how it is found and ended, and when it is forgotten.
//!
//! A short-lived JWT of the standard profile leaves no row: what verifies it is its signature. Tokens with a name, and
//! all of the plgd profile, are kept. Whatever is kept is kept before the answer is given: who has a token can find it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::access_token::{self, BACKDATED, Signed};
use super::grants::{Granted, refresh_token};
use super::{Issuer, Profile, TokenError, TokenResponse};
use crate::domain::clock::UnixTime;
use crate::domain::oauth::GrantType;
use crate::domain::secret::SecretString;
use crate::store::StoreError;
use crate::store::tokens::{ClientNotBefore, Ended, TokenFilter, TokenRecord};

/// How long what has expired can still be found.
const KEPT_AFTER_EXPIRY: Duration = Duration::from_hours(24);
/// How often it is looked for.
const PURGE_EVERY: Duration = Duration::from_mins(1);
/// How many rows are deleted at once: other writes wait for so many.
const PORTION: u32 = 1000;
/// How many portions are deleted in one go.
const MOST_PORTIONS: u32 = 100;
/// The longest life that a token with an end can have.
const LONGEST_LIFETIME: Duration = Duration::from_hours(366 * 24);

/// When was last looked for what can be forgotten.
pub(super) struct PurgeTimer(AtomicI64);

impl Default for PurgeTimer {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl PurgeTimer {
    /// Whether it is time; then it is not again for [`PURGE_EVERY`]. Also after the clock was set back.
    fn is_due(&self, now: UnixTime) -> bool {
        let last = UnixTime(self.0.load(Ordering::Relaxed));
        let is_due = now < last || last.until(now) >= PURGE_EVERY;
        if is_due {
            self.0.store(now.0, Ordering::Relaxed);
        }
        is_due
    }
}

impl Issuer {
    /// Signs what was granted to a client that has just asked for it, and keeps what must be kept of it.
    ///
    /// # Errors
    /// [`TokenError::Signing`], or [`TokenError::StoreUnavailable`]: then nothing was kept.
    pub(super) async fn issue_granted(
        &self,
        granted: &Granted,
        now: UnixTime,
    ) -> Result<TokenResponse, TokenError> {
        let signed = self.sign(granted, now)?;
        let kept = self.policy.keeps(granted).then_some(&signed.record);
        let may_refresh =
            granted.client().registration().allowed_grant_types.contains(&GrantType::RefreshToken);
        let mut refresh_token = None;
        let written = if may_refresh {
            let (token, row) = refresh_token::first(granted, &signed.record, &self.policy, now)?;
            refresh_token = Some(token);
            self.store.insert_refresh_token(&row, kept).await
        } else if let Some(record) = kept {
            self.store.insert_token(record).await
        } else {
            Ok(())
        };
        written.map_err(|_| TokenError::StoreUnavailable)?;
        Ok(self.response(signed, refresh_token, granted, now))
    }

    pub(super) fn sign(&self, granted: &Granted, now: UnixTime) -> Result<Signed, TokenError> {
        access_token::sign(granted, &self.policy, &self.keys, now)
    }

    pub(super) fn response(
        &self,
        signed: Signed,
        refresh_token: Option<SecretString>,
        granted: &Granted,
        now: UnixTime,
    ) -> TokenResponse {
        TokenResponse {
            access_token: signed.access_token,
            expires_in: granted.expires_at().map(|end| now.until(end)),
            scope: granted.scope().clone(),
            jti: signed.record.jti,
            refresh_token,
        }
    }

    /// The kept tokens that fit, the newest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn kept_tokens(&self, filter: &TokenFilter) -> Result<Vec<TokenRecord>, StoreError> {
        self.store.tokens(filter).await
    }

    /// Revokes the kept tokens that fit and are alive, at once for verifiers in this process; deletes those that have
    /// expired.
    ///
    /// # Errors
    /// When the store does not keep it; nothing was changed.
    pub async fn end_tokens(&self, filter: &TokenFilter) -> Result<Ended, StoreError> {
        self.revocations.end_tokens(filter, self.clock.now()).await
    }

    /// Revokes one kept token by its `jti`. `false`: none that is kept and alive has it.
    ///
    /// # Errors
    /// When the store does not keep it.
    pub async fn revoke_token(&self, jti: &str) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let jtis = vec![jti.to_owned()];
        let filter = TokenFilter { jtis, active: Some((true, now)), ..TokenFilter::default() };
        Ok(!self.revocations.end_tokens(&filter, now).await?.revoked.is_empty())
    }

    /// Revokes everything a client was issued until now, kept or not, with its refresh tokens.
    ///
    /// # Errors
    /// When the store does not keep it.
    pub async fn revoke_client_tokens(&self, client_id: &str) -> Result<(), StoreError> {
        self.revoke_client_tokens_before(client_id, self.clock.now()).await
    }

    /// Revokes everything a client was issued up to a time, that second included, and all of its refresh tokens. A time
    /// to come is now.
    ///
    /// # Errors
    /// When the store does not keep it.
    pub async fn revoke_client_tokens_before(
        &self,
        client_id: &str,
        time: UnixTime,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let expires_at = match self.policy.profile() {
            Profile::Standard => now.plus(LONGEST_LIFETIME),
            Profile::Plgd => UnixTime::NEVER,
        };
        // A token's `iat` lies before the moment it was issued.
        let until = time.min(now).minus(BACKDATED);
        let client_id = client_id.to_owned();
        self.revocations.end_client(ClientNotBefore { client_id, until, expires_at, revoked_at: now }).await
    }

    /// Takes over what the store has revoked by itself. When that fails the next reload does it: the store has it.
    pub(super) async fn learn_revocations(&self, now: UnixTime) {
        if self.revocations.reload(now).await.is_err() {
            tracing::warn!(
                "what was just revoked is known to this process only when the store answers again"
            );
        }
    }

    /// Forgets what has been dead for a day, when it is time to. A store that cannot is no reason to issue nothing: it
    /// forgets later.
    pub(super) async fn purge_when_due(&self) {
        let now = self.clock.now();
        if !self.purge.is_due(now) {
            return;
        }
        for _ in 0..MOST_PORTIONS {
            match self.store.purge(now.minus(KEPT_AFTER_EXPIRY), PORTION).await {
                Ok(purged) if purged >= PORTION.into() => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "dead tokens cannot be deleted now"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::revoked::TokenId;
    use crate::issuer::tests::{NOW, client, config, open};
    use crate::issuer::{Client, Config, OpenError};

    #[test]
    fn it_is_looked_once_a_minute_also_after_the_clock_was_set_back() {
        let timer = PurgeTimer::default();
        let due = [100, 101, 159, 160, 161, 40, 41, 100].map(|second| timer.is_due(UnixTime(second)));
        assert_eq!(due, [true, false, false, true, false, true, false, true]);
    }

    #[tokio::test]
    async fn all_of_a_client_is_revoked_up_to_a_time_and_never_beyond_now() {
        let issuer = open(config(vec![client("a", "s")])).await.unwrap();
        let covers = |client: &str, issued: i64| {
            issuer.revoked().current().covers(
                TokenId::of("x"),
                Some(client),
                UnixTime(issued).minus(BACKDATED),
            )
        };
        issuer.revoke_client_tokens_before("a", UnixTime(NOW - 100)).await.unwrap();
        assert!(covers("a", NOW - 100) && !covers("a", NOW - 99) && !covers("b", NOW - 100));
        // An earlier time takes nothing back.
        issuer.revoke_client_tokens_before("a", UnixTime(NOW - 200)).await.unwrap();
        assert!(covers("a", NOW - 100));
        issuer.revoke_client_tokens_before("a", UnixTime(NOW + 9000)).await.unwrap();
        assert!(covers("a", NOW) && !covers("a", NOW + 1));
        issuer.revoke_client_tokens("b").await.unwrap();
        assert!(covers("b", NOW) && !covers("b", NOW + 1));
        // What memory says is what the store says.
        issuer.reload().await.unwrap();
        assert!(covers("a", NOW) && covers("b", NOW));
    }

    #[tokio::test]
    async fn one_kept_token_is_revoked_by_its_jti_and_an_unknown_one_is_none() {
        let issuer = open(config(vec![client("a", "s")])).await.unwrap();
        let record = |jti: &str, expires_at: i64| TokenRecord {
            jti: jti.to_owned(),
            client_id: "a".to_owned(),
            owner: None,
            subject: "a".to_owned(),
            name: None,
            scope: Vec::new(),
            audience: Vec::new(),
            issued_at: UnixTime(NOW - 50),
            expires_at: Some(UnixTime(expires_at)),
            revoked_at: None,
            original_claims: None,
        };
        issuer.store.insert_token(&record("live", NOW + 50)).await.unwrap();
        issuer.store.insert_token(&record("dead", NOW - 1)).await.unwrap();
        assert!(issuer.revoke_token("live").await.unwrap());
        assert!(issuer.revoked().current().covers(TokenId::of("live"), None, UnixTime(0)));
        for jti in ["live", "dead", "unknown"] {
            assert!(!issuer.revoke_token(jti).await.unwrap(), "{jti}");
        }
        // A dead one is left to the purge, not deleted by who wanted to revoke it.
        assert_eq!(issuer.kept_tokens(&TokenFilter::default()).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_lifetime_of_zero_is_for_ever_in_the_plgd_profile_only() {
        let forever = Client { access_token_lifetime: Some(Duration::ZERO), ..client("a", "s") };
        let plgd = Config { profile: Profile::Plgd, ..config(vec![forever.clone()]) };
        let issuer = open(plgd).await.unwrap();
        assert_eq!(issuer.policy.lifetime(&forever), None);
        assert!(matches!(open(config(vec![forever.clone()])).await, Err(OpenError::Lifetime)));
        // One that slipped into the store gets what everyone gets.
        let standard = open(config(Vec::new())).await.unwrap();
        assert_eq!(standard.policy.lifetime(&forever), Some(Duration::from_hours(1)));
    }

    #[tokio::test]
    async fn the_owner_claim_may_be_the_subject_in_the_plgd_profile_only() {
        let subject = |profile| Config { profile, owner_claim: "sub".to_owned(), ..config(Vec::new()) };
        assert!(open(subject(Profile::Plgd)).await.is_ok());
        assert!(matches!(open(subject(Profile::Standard)).await, Err(OpenError::OwnerClaim)));
        let issuer = open(subject(Profile::Plgd)).await.unwrap();
        let owned = Client { owner: Some("1".to_owned()), ..client("a", "s") };
        let bare = client("a", "s");
        for (client, expected) in [(&owned, "1"), (&bare, "a")] {
            let identity = access_token::Identity::new(client, None, &issuer.policy);
            assert_eq!((identity.subject, identity.owner), (expected, Some(expected)));
        }
    }
}
