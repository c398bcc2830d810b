//! The token registry: what is remembered of issued tokens, how it is found and ended, and when it
//! is forgotten.
//!
//! A short-lived JWT of the standard profile leaves no row: what verifies it is its signature.
//! Tokens with a name, those that were exchanged for a user's JWT (each user has a quota), and all
//! of the plgd profile are kept. Whatever is kept is kept before the answer is given: who has a
//! token can find it.

use std::sync::Arc;

use super::access_token::{self, Signed};
use super::grants::{Granted, refresh_token};
use super::{Client, Issuer, TokenError, TokenResponse};
use crate::domain::clock::UnixTime;
use crate::domain::oauth::GrantType;
use crate::domain::secret::SecretString;
use crate::store::StoreError;
use crate::store::tokens::{Ended, OwnerFilter, TokenFilter, TokenRecord};

impl Issuer {
    /// Signs what was granted to a client that has just asked for it, and keeps what must be kept
    /// of it.
    ///
    /// # Errors
    /// [`TokenError::Signing`], or [`TokenError::StoreUnavailable`]: then nothing was kept.
    pub(super) async fn issue_granted(
        &self,
        granted: &Granted,
        now: UnixTime,
    ) -> Result<TokenResponse, TokenError> {
        // It may have come to an end while its secret was hashed or its keys were fetched, and its
        // id may be another's.
        let client = granted.client().registration();
        let is_still = |registered: Arc<Client>| client.is_still(&registered);
        if !self.is_live_client(&client.id, now)
            || !self.clients.get(&client.id).is_some_and(is_still)
        {
            return Err(TokenError::InvalidClient { basic: false });
        }
        self.check_quota(granted.client(), now).await?;
        let signed = self.sign(granted, now)?;
        let record = &signed.record;
        let keeps = granted.is_kept(&self.policy);
        let may_refresh = granted
            .client()
            .registration()
            .allowed_grant_types
            .contains(&GrantType::RefreshToken);
        let mut refresh_token = None;
        let written = if may_refresh {
            let (token, row) = refresh_token::first(granted, record, &self.policy, now)?;
            refresh_token = Some(token);
            self.store.insert_refresh_token(&row, record, keeps).await
        } else if keeps {
            self.store.insert_token(record).await
        } else {
            Ok(())
        };
        written?;
        Ok(self.response(signed, refresh_token, granted, now))
    }

    pub(super) fn sign(&self, granted: &Granted, now: UnixTime) -> Result<Signed, TokenError> {
        let client = granted.client().registration();
        let after_end = self.revocations.mark_for(&client.id, now);
        access_token::sign(granted, &self.policy, &self.keys, after_end, now)
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

    /// The kept tokens that fit and have not expired, the oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn listed_tokens(
        &self,
        filter: &TokenFilter,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        let now = self.clock.now();
        let filter = TokenFilter {
            unexpired_at: Some(now),
            oldest_first: true,
            ..filter.clone()
        };
        self.store.tokens(&filter).await
    }

    /// The kept tokens of one owner: a name, and the issuer that gave it. Tokens that were kept
    /// without an issuer are those of this one only where users of no other issuer are trusted.
    #[must_use]
    pub fn of_owner(&self, owner: String, issuer: String) -> TokenFilter {
        let without_issuer = self.policy.is_only_user_issuer(&issuer);
        TokenFilter {
            owner: Some(OwnerFilter::Of {
                owner,
                issuers: self.policy.spellings(&issuer),
                without_issuer,
            }),
            ..TokenFilter::default()
        }
    }

    /// Revokes the kept tokens that fit and are alive, at once for verifiers in this process;
    /// deletes those that have expired.
    ///
    /// # Errors
    /// When the store does not keep it; nothing was changed.
    pub async fn end_tokens(&self, filter: &TokenFilter) -> Result<Ended, StoreError> {
        self.revocations
            .end_tokens(filter, self.forgetting.time())
            .await
    }

    /// Takes over what the store has revoked by itself. When that fails the next reload does it:
    /// the store has it.
    pub(super) async fn learn_revocations(&self) {
        if self.revocations.catch_up().await.is_err() {
            tracing::warn!(
                "what was just revoked is known to this process only when the store answers again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::issuer::tests::{client, config, open};
    use crate::issuer::{Config, OpenError, Profile};

    #[tokio::test]
    async fn a_lifetime_of_zero_is_for_ever_in_the_plgd_profile_only() {
        let forever = Client {
            access_token_lifetime: Some(Duration::ZERO),
            ..client("a", "s")
        };
        let plgd = Config {
            profile: Profile::Plgd,
            ..config(vec![forever.clone()])
        };
        let issuer = open(plgd).await.unwrap();
        assert_eq!(
            issuer
                .policy
                .lifetime(&forever, &issuer.policy.format(&forever, &[]).unwrap()),
            None
        );
        assert!(matches!(
            open(config(vec![forever.clone()])).await,
            Err(OpenError::Lifetime)
        ));
        // One that slipped into the store gets what everyone gets.
        let standard = open(config(Vec::new())).await.unwrap();
        assert_eq!(
            standard
                .policy
                .lifetime(&forever, &standard.policy.format(&forever, &[]).unwrap()),
            Some(Duration::from_hours(1))
        );
    }

    #[tokio::test]
    async fn the_owner_claim_may_be_the_subject_in_the_plgd_profile_only() {
        let subject = |profile| Config {
            profile,
            owner_claim: "sub".to_owned(),
            ..config(Vec::new())
        };
        assert!(open(subject(Profile::Plgd)).await.is_ok());
        assert!(matches!(
            open(subject(Profile::Standard)).await,
            Err(OpenError::OwnerClaim)
        ));
        let issuer = open(subject(Profile::Plgd)).await.unwrap();
        let owned = Client {
            owner: Some("1".to_owned()),
            ..client("a", "s")
        };
        let bare = client("a", "s");
        // A client that speaks for itself is no user of an authority, also where a user has its
        // name.
        for (client, expected, issued_by) in [(&owned, "1", None), (&bare, "a", Some(issuer.url()))]
        {
            let identity = crate::issuer::policy::Identity::new(client, None, &issuer.policy);
            assert_eq!(
                (identity.subject, identity.owner),
                (expected, Some(expected))
            );
            assert_eq!(identity.owner_issuer, issued_by);
        }
    }
}
