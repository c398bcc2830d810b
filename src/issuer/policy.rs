//! The rules that hold for every token of the issuer: lifetimes, formats, owners.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Client;
use super::choice::{Choice, ClaimParameters};
use super::claim_names::{OWNER_ISSUER, RESERVED};
use super::client_auth::AuthenticatedClient;
use super::client_auth::exchange::Exchanged;
use super::config::Config;
use super::error::{OpenError, TokenError};
use super::profile::ProfilePolicy;
use super::token::request::parameter_like;
use super::token_format::{ByAudience, TokenFormat};
use crate::domain::claims::Claims;
use crate::domain::issuer_name::IssuerName;

/// How far `iat` lies in the past, so that a verifier with a slow clock and no leeway accepts a
/// fresh token.
pub(super) const BACKDATED: Duration = Duration::from_secs(10);

/// The rules that hold for every token of this issuer.
pub(super) struct Policy {
    pub(super) issuer: String,
    /// The policy of the issuer's profile.
    pub(super) profile: ProfilePolicy,
    /// The claim that carries a client's owner.
    pub(super) owner_claim: String,
    pub(super) device_id_claim: String,
    /// The names of these claims, as parameters of token requests.
    pub(super) claim_parameters: Arc<ClaimParameters>,
    /// The longest own token that the issuer accepts, in bytes.
    pub(super) max_token_size: usize,
    lifetime: Duration,
    format: TokenFormat,
    audiences: ByAudience,
    /// The issuer of every user, if there is only one.
    only_user_issuer: Option<String>,
    respelt_issuers: Vec<IssuerName>,
}

impl Policy {
    pub(super) fn new(config: &Config) -> Result<Self, OpenError> {
        let profile = config.profile.policy();
        check_claims(config, &profile)?;
        check_lifetimes(config, &profile)?;
        let policy = Self {
            issuer: config.url.to_string(),
            profile,
            owner_claim: config.owner_claim.clone(),
            device_id_claim: config.device_id_claim.clone(),
            claim_parameters: Arc::new(ClaimParameters {
                owner: config.owner_claim.clone(),
                device_id: config.device_id_claim.clone(),
            }),
            max_token_size: config.max_token_size,
            lifetime: config.access_token_lifetime,
            format: TokenFormat {
                token_type: config.token_type,
                algorithm: config.algorithm,
                scope_claims: config.scope_claims.clone(),
                lifetime: None,
            },
            audiences: config.audiences.clone(),
            only_user_issuer: match config.user_issuers.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
            respelt_issuers: config.respelt_issuers.clone(),
        };
        for client in &config.clients {
            let claims = client.insert_token_claims.keys();
            for claim in claims.filter(|claim| policy.is_own_claim(claim)) {
                tracing::warn!(
                    client_id = client.id,
                    claim,
                    "only the issuer sets this claim: `insertTokenClaims` cannot set it"
                );
            }
        }
        Ok(policy)
    }

    /// Whether only the issuer sets a claim: no further claim may make a client look like an owner.
    pub(super) fn is_own_claim(&self, name: &str) -> bool {
        RESERVED.contains(&name) || name == self.owner_claim || name == self.device_id_claim
    }

    /// Whether an owner that is stored without an issuer is a user of this one: only if users of
    /// no other issuer are trusted.
    pub(super) fn is_only_user_issuer(&self, issuer: &str) -> bool {
        let only = self.only_user_issuer.as_deref();
        only.is_some_and(|only| self.is_same_issuer(only, issuer))
    }

    /// Whether two texts name the same issuer. An earlier version may have stored one of them.
    fn is_same_issuer(&self, one: &str, other: &str) -> bool {
        let mut respelt = self.respelt_issuers.iter();
        one == other || respelt.any(|issuer| issuer.is(one) && issuer.is(other))
    }

    /// The spellings under which an issuer may be stored.
    pub(super) fn spellings(&self, issuer: &str) -> Vec<String> {
        let respelt = self
            .respelt_issuers
            .iter()
            .find(|respelt| respelt.is(issuer));
        respelt.map_or_else(|| vec![issuer.to_owned()], IssuerName::spellings)
    }

    /// Whether an owner is the user whose JWT was exchanged.
    pub(super) fn is_of_user(
        &self,
        user: &Exchanged,
        owner: Option<&str>,
        issuer: Option<&str>,
    ) -> bool {
        let is_same_issuer = issuer.map_or(self.is_only_user_issuer(user.issuer()), |issuer| {
            self.is_same_issuer(issuer, user.issuer())
        });
        owner == Some(user.owner()) && is_same_issuer
    }

    /// Whether a stored owner and its issuer are those of an identity.
    pub(super) fn is_same_owner(
        &self,
        owner: Option<&str>,
        issuer: Option<&str>,
        now: &Identity<'_>,
    ) -> bool {
        let is_same = match (issuer, now.owner_issuer) {
            (Some(before), Some(now)) => self.is_same_issuer(before, now),
            (None, Some(now)) => now == self.issuer || self.is_only_user_issuer(now),
            (before, None) => before.is_none(),
        };
        owner == now.owner && is_same
    }

    /// The owner that a token of this issuer names, and the owner's issuer.
    pub(super) fn owner_of<'c>(&'c self, claims: &'c Claims) -> (Option<&'c str>, Option<&'c str>) {
        let owner = claims.get(&self.owner_claim).and_then(Value::as_str);
        let client_id = claims.string("client_id").ok().flatten();
        // In place of a user a client that acts for itself has its own id.
        let is_itself = self.owner_claim == "sub" && owner == client_id;
        let issuer = claims.get(OWNER_ISSUER).and_then(Value::as_str);
        (owner, issuer.or_else(|| is_itself.then_some(&self.issuer)))
    }

    /// The device of the JWT that a client exchanges, if it becomes a claim of the token.
    pub(super) fn copied_device_id<'c>(&self, client: &'c AuthenticatedClient) -> Option<&'c str> {
        let copies = self.profile.copy_device_id && !self.device_id_claim.is_empty();
        let exchanged = client.exchanged().filter(|_| copies);
        exchanged.and_then(|jwt| jwt.claim(&self.device_id_claim))
    }

    /// The lifetime of a client's tokens of a format; `None`: endless. Only an endless profile has
    /// endless tokens, whatever a client was registered with.
    pub(super) fn lifetime(&self, client: &Client, format: &TokenFormat) -> Option<Duration> {
        let own = client.access_token_lifetime;
        let own = own.filter(|own| self.profile.endless || !own.is_zero());
        Some(format.lifetime(own, self.lifetime)).filter(|lifetime| !lifetime.is_zero())
    }

    /// The format of a client's tokens for audiences.
    ///
    /// # Errors
    /// [`TokenError::MixedTargets`] if the audiences need different formats.
    pub(super) fn format(
        &self,
        client: &Client,
        audiences: &[String],
    ) -> Result<TokenFormat, TokenError> {
        self.format
            .of(audiences, &client.audience_settings, &self.audiences)
    }
}

fn check_claims(config: &Config, profile: &ProfilePolicy) -> Result<(), OpenError> {
    let owner_claim = config.owner_claim.as_str();
    let is_subject = profile.subject_is_owner && owner_claim == "sub";
    if owner_claim.is_empty() || (RESERVED.contains(&owner_claim) && !is_subject) {
        return Err(OpenError::OwnerClaim);
    }
    if parameter_like(owner_claim).is_some() {
        return Err(OpenError::OwnerClaim);
    }
    let device_id_claim = config.device_id_claim.as_str();
    let is_taken = RESERVED.contains(&device_id_claim) || device_id_claim == owner_claim;
    if is_taken || parameter_like(device_id_claim).is_some() {
        return Err(OpenError::DeviceIdClaim);
    }
    Ok(())
}

/// Below a second, `exp` and `expires_in` would be zero, which some readers take for "never".
fn check_lifetimes(config: &Config, profile: &ProfilePolicy) -> Result<(), OpenError> {
    let is_whole = |lifetime: &Duration| lifetime.as_secs() > 0;
    let may_be_endless = |lifetime: &Duration| profile.endless && lifetime.is_zero();
    let of_clients = config
        .clients
        .iter()
        .filter_map(|client| client.access_token_lifetime);
    let mut of_audiences = config
        .audiences
        .values()
        .filter_map(|it| it.access_token_lifetime);
    let mut general = of_clients.chain([config.access_token_lifetime]);
    let are_valid = general.all(|lifetime| is_whole(&lifetime) || may_be_endless(&lifetime))
        && of_audiences.all(|lifetime| is_whole(&lifetime));
    are_valid.then_some(()).ok_or(OpenError::Lifetime)
}

/// The subject and the owner of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    /// Its `sub`.
    pub(super) subject: &'a str,
    /// The owner claim's value.
    pub(super) owner: Option<&'a str>,
    /// The owner's issuer: that of the exchanged JWT, the configured one, or this issuer if a
    /// client is its own owner.
    pub(super) owner_issuer: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// The identity of an authenticated client, with what its request chose.
    pub(super) fn of(
        client: &'a AuthenticatedClient,
        choice: &'a Choice,
        policy: &'a Policy,
    ) -> Self {
        let chosen = choice.owner.as_deref();
        Self::new(client.registration(), client.exchanged(), chosen, policy)
    }

    /// In the standard profile a client acts for itself; in plgd's for the user whose JWT it
    /// exchanges, or for its owner.
    pub(super) fn new(
        client: &'a Client,
        exchanged: Option<&'a Exchanged>,
        chosen: Option<&'a str>,
        policy: &'a Policy,
    ) -> Self {
        let registered = chosen.or(client.owner.as_deref());
        let owner = exchanged.map_or(registered, |it| Some(it.owner()));
        let user = exchanged
            .and_then(|exchanged| exchanged.claim("sub"))
            .or(owner);
        let subject = user
            .filter(|_| policy.profile.subject_is_owner)
            .unwrap_or(&client.id);
        let issuer = exchanged.map_or(client.owner_issuer.as_deref(), |it| Some(it.issuer()));
        if policy.owner_claim != "sub" {
            return Self {
                subject,
                owner,
                owner_issuer: issuer,
            };
        }
        // The claim `sub` identifies a user here, so its value is the owner.
        let own_issuer = user.is_none().then_some(policy.issuer.as_str());
        Self {
            subject,
            owner: Some(subject),
            owner_issuer: issuer.or(own_issuer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::Profile;
    use crate::issuer::tests::{client, config, open};

    #[tokio::test]
    async fn a_lifetime_of_zero_is_endless_in_the_plgd_profile_only() {
        let endless = Client {
            access_token_lifetime: Some(Duration::ZERO),
            ..client("a", "s")
        };
        let plgd = Config {
            profile: Profile::Plgd,
            ..config(vec![endless.clone()])
        };
        let issuer = open(plgd).await.unwrap();
        assert_eq!(
            issuer.state.policy.lifetime(
                &endless,
                &issuer.state.policy.format(&endless, &[]).unwrap()
            ),
            None
        );
        assert!(matches!(
            open(config(vec![endless.clone()])).await,
            Err(OpenError::Lifetime)
        ));
        // If the store has such a client, it gets the default.
        let standard = open(config(Vec::new())).await.unwrap();
        assert_eq!(
            standard.state.policy.lifetime(
                &endless,
                &standard.state.policy.format(&endless, &[]).unwrap()
            ),
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
        // A client that acts for itself is no user, even if a user has its name.
        for (client, expected, issued_by) in [(&owned, "1", None), (&bare, "a", Some(issuer.url()))]
        {
            let identity = Identity::new(client, None, None, &issuer.state.policy);
            assert_eq!(
                (identity.subject, identity.owner),
                (expected, Some(expected))
            );
            assert_eq!(identity.owner_issuer, issued_by);
        }
    }
}
