//! Access tokens: JWTs of the profile of RFC 9068, or as plgd's M2M server writes them.

use std::time::Duration;

use serde_json::{Map, Value};

use super::client_auth::AuthenticatedClient;
use super::client_auth::exchange::Exchanged;
use super::grants::Granted;
use super::signing_keys::SigningKeys;
use super::token_format::{ByAudience, ScopeClaim, TokenFormat};
use super::{Client, Config, OpenError, Profile, TokenError};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::issuer_name::IssuerName;
use crate::domain::revoked::{AFTER_END, EndMark};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::jose::sign::SigningKeyError;
use crate::store::tokens::TokenRecord;

/// By how much `iat` lies in the past, so that a verifier whose clock is a little behind, and that
/// allows no leeway, accepts a fresh token.
pub(super) const BACKDATED: Duration = Duration::from_secs(10);

/// Claims that only the issuer sets. A configured claim of one of these names is left out even
/// where the issuer itself has nothing to say: an inserted `scope` would widen a client that was
/// given none.
pub const RESERVED: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "scp",
    "cnf",
    ORIGINAL_CLAIMS,
    OWNER_ISSUER,
    AFTER_END,
    REQUIRED_SCOPE,
];

/// The claim that plgd's services keep their required scopes in while they read a token: one that a
/// token brings takes their place. No token of ours has it.
pub const REQUIRED_SCOPE: &str = "plgd:required:scope";

/// Why a claim cannot be set by anyone; `None`: it can, or is one that the issuer sets.
#[must_use]
pub fn why_no_claim(name: &str) -> Option<&'static str> {
    (name == REQUIRED_SCOPE).then_some(
        "a token with this claim, whatever its value, passes the scope check of plgd's services: leave it out",
    )
}

/// The claim with the issuer whose user the owner is, and in the plgd profile the subject: that of
/// the JWT that a token was exchanged for, or the one that the operator names. Another issuer may
/// have a user of the same name.
pub(super) const OWNER_ISSUER: &str = "owner_iss";

/// The claim with what an assertion said.
const ORIGINAL_CLAIMS: &str = "originalTokenClaims";

/// What holds for every token of this issuer.
pub(super) struct Policy {
    issuer: String,
    profile: Profile,
    owner_claim: String,
    device_id_claim: String,
    lifetime: Duration,
    format: TokenFormat,
    audiences: ByAudience,
    /// The issuer of every user, where there is only one such issuer.
    only_user_issuer: Option<String>,
    /// The issuers that have more than one spelling.
    respelt_issuers: Vec<IssuerName>,
    /// The longest token of its own that the issuer accepts, in bytes.
    max_token_size: usize,
}

impl Policy {
    pub(super) fn new(config: &Config) -> Result<Self, OpenError> {
        let is_plgd = config.profile == Profile::Plgd;
        let owner_claim = config.owner_claim.as_str();
        if owner_claim.is_empty()
            || (RESERVED.contains(&owner_claim) && !(is_plgd && owner_claim == "sub"))
        {
            return Err(OpenError::OwnerClaim);
        }
        let device_id_claim = config.device_id_claim.as_str();
        if RESERVED.contains(&device_id_claim) || device_id_claim == owner_claim {
            return Err(OpenError::DeviceIdClaim);
        }
        let lifetimes = config
            .clients
            .iter()
            .filter_map(|client| client.access_token_lifetime);
        // Below a second `exp` and `expires_in` would be zero, which means "never" to some; in the
        // plgd profile zero does.
        let lives = |lifetime: Duration| lifetime.as_secs() > 0 || (is_plgd && lifetime.is_zero());
        let of_audiences = || {
            config
                .audiences
                .values()
                .filter_map(|settings| settings.access_token_lifetime)
        };
        if !lifetimes.chain([config.access_token_lifetime]).all(lives)
            || !of_audiences().all(|lifetime| lifetime.as_secs() > 0)
        {
            return Err(OpenError::Lifetime);
        }
        let policy = Self {
            issuer: config.url.to_string(),
            profile: config.profile,
            owner_claim: config.owner_claim.clone(),
            device_id_claim: config.device_id_claim.clone(),
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
            max_token_size: config.max_token_size,
        };
        for client in &config.clients {
            for claim in client
                .insert_token_claims
                .keys()
                .filter(|claim| policy.is_own_claim(claim))
            {
                tracing::warn!(
                    client_id = client.id,
                    claim,
                    "this inserted claim is the issuer's own and is left out"
                );
            }
        }
        Ok(policy)
    }

    /// Whether only the issuer sets a claim: who is not an owner must not come to look like one by
    /// a further claim.
    pub(super) fn is_own_claim(&self, name: &str) -> bool {
        RESERVED.contains(&name) || name == self.owner_claim || name == self.device_id_claim
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// The claim that carries a client's owner.
    pub(super) fn owner_claim(&self) -> &str {
        &self.owner_claim
    }

    /// Whether an owner that was written down without an issuer is a user of this one: only where
    /// users of no other issuer are trusted.
    pub(super) fn is_only_user_issuer(&self, issuer: &str) -> bool {
        self.only_user_issuer
            .as_deref()
            .is_some_and(|only| self.is_same_issuer(only, issuer))
    }

    /// Whether two texts, of which one may have been written down by an earlier version, name the
    /// same issuer.
    fn is_same_issuer(&self, one: &str, other: &str) -> bool {
        one == other
            || self
                .respelt_issuers
                .iter()
                .any(|issuer| issuer.is(one) && issuer.is(other))
    }

    /// The spellings under which an issuer may have been written down.
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

    /// Whether two identities have the same owner; the first was written down earlier.
    pub(super) fn is_same_owner(
        &self,
        before: (Option<&str>, Option<&str>),
        now: &Identity<'_>,
    ) -> bool {
        let (owner, issuer) = before;
        let was_the_same =
            |now: &str| issuer.is_none() && (now == self.issuer || self.is_only_user_issuer(now));
        let is_same = match (issuer, now.owner_issuer) {
            (Some(before), Some(now)) => self.is_same_issuer(before, now),
            (before, now) => before == now,
        };
        owner == now.owner && (is_same || now.owner_issuer.is_some_and(was_the_same))
    }

    /// The owner that a token of ours names, and that owner's issuer.
    pub(super) fn owner_of<'c>(&'c self, claims: &'c Claims) -> (Option<&'c str>, Option<&'c str>) {
        let text = |name| claims.string(name).ok().flatten();
        let owner = claims.get(&self.owner_claim).and_then(Value::as_str);
        // A client that speaks for itself has its own id there.
        let is_itself = self.owner_claim == "sub" && owner == text("client_id");
        let issuer = claims.get(OWNER_ISSUER).and_then(Value::as_str);
        (owner, issuer.or(Some(self.issuer()).filter(|_| is_itself)))
    }

    /// How long a client's tokens of a form live; without end, when none. Only the plgd profile has
    /// tokens without end, whatever a client was registered with.
    pub(super) fn lifetime(&self, client: &Client, format: &TokenFormat) -> Option<Duration> {
        let own = client
            .access_token_lifetime
            .filter(|own| self.is_plgd() || !own.is_zero());
        Some(format.lifetime(own, self.lifetime)).filter(|lifetime| !lifetime.is_zero())
    }

    /// The form of a client's tokens for audiences.
    ///
    /// # Errors
    /// [`TokenError::MixedTargets`] when the audiences need different forms.
    pub(super) fn format(
        &self,
        client: &Client,
        audiences: &[String],
    ) -> Result<TokenFormat, TokenError> {
        self.format
            .of(audiences, &client.audience_settings, &self.audiences)
    }

    /// Whether a granted token leaves a row in the store.
    pub(super) fn keeps(&self, granted: &Granted) -> bool {
        self.is_plgd() || granted.token_name().is_some() || granted.client().exchanged().is_some()
    }

    fn is_plgd(&self) -> bool {
        self.profile == Profile::Plgd
    }
}

/// For whom a token speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    /// Its `sub`.
    pub(super) subject: &'a str,
    /// The owner claim's value.
    pub(super) owner: Option<&'a str>,
    /// The issuer that says who the owner is: that of the JWT that was exchanged, the one that the
    /// operator names, or ours where a client is its own owner.
    pub(super) owner_issuer: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// That of an authenticated client.
    pub(super) fn of(client: &'a AuthenticatedClient, policy: &'a Policy) -> Self {
        Self::new(client.registration(), client.exchanged(), policy)
    }

    /// In the standard profile a client speaks for itself; in plgd's for the user whose JWT it
    /// brought, or for its owner, where it has one.
    pub(super) fn new(
        client: &'a Client,
        exchanged: Option<&'a Exchanged>,
        policy: &'a Policy,
    ) -> Self {
        let owner = exchanged.map_or(client.owner.as_deref(), |exchanged| Some(exchanged.owner()));
        let user = exchanged
            .and_then(|exchanged| exchanged.claim("sub"))
            .or(owner);
        let subject = user.filter(|_| policy.is_plgd()).unwrap_or(&client.id);
        // A user is known by the claim `sub` there, so the owner of a token is whoever stands in
        // it.
        let is_itself = policy.owner_claim == "sub" && user.is_none();
        let own_issuer = Some(policy.issuer()).filter(|_| is_itself);
        let owner = if policy.owner_claim == "sub" {
            Some(subject)
        } else {
            owner
        };
        let given = exchanged.map_or(client.owner_issuer.as_deref(), |exchanged| {
            Some(exchanged.issuer())
        });
        Self {
            subject,
            owner,
            owner_issuer: given.or(own_issuer),
        }
    }
}

/// A signed access token, and what the registry may keep of it.
pub(super) struct Signed {
    pub(super) access_token: SecretString,
    pub(super) record: TokenRecord,
}

/// Writes and signs the token that was granted; with `after_end`, one that was issued after that
/// end of its client's tokens although its `iat` is not.
///
/// # Errors
/// [`TokenError::Signing`] when the key does not sign; [`TokenError::KeyNotReady`] when the key is
/// still to be made; [`TokenError::LongToken`] when a user's claims make the token longer than its
/// verifiers accept.
pub(super) fn sign(
    granted: &Granted,
    policy: &Policy,
    keys: &SigningKeys,
    after_end: Option<EndMark>,
    now: UnixTime,
) -> Result<Signed, TokenError> {
    let record = TokenRecord {
        after_end,
        ..record(granted, policy, now)
    };
    let claims = claims(granted, policy, &record);
    // What never expires keeps its key for ever.
    let lifetime = record
        .expires_at
        .map_or(Duration::MAX, |end| now.until(end));
    let TokenFormat {
        algorithm,
        token_type,
        ..
    } = *granted.format();
    let access_token = keys.sign_with(algorithm, token_type.as_str(), &claims, lifetime);
    let access_token = access_token.map_err(|why| match why {
        SigningKeyError::Unsupported => TokenError::KeyNotReady,
        _ => TokenError::Signing,
    })?;
    let size = access_token.expose_secret().len();
    if record.original_claims.is_some() && size > policy.max_token_size {
        return Err(TokenError::LongToken);
    }
    Ok(Signed {
        access_token,
        record,
    })
}

fn record(granted: &Granted, policy: &Policy, now: UnixTime) -> TokenRecord {
    let client = granted.client().registration();
    let identity = Identity::of(granted.client(), policy);
    let original = granted
        .client()
        .exchanged()
        .map(Exchanged::copied)
        .filter(|copied| !copied.is_empty());
    TokenRecord {
        jti: uuid::Uuid::new_v4().to_string(),
        client_id: client.id.clone(),
        owner: identity.owner.map(str::to_owned),
        owner_issuer: identity.owner_issuer.map(str::to_owned),
        subject: identity.subject.to_owned(),
        name: granted.token_name().map(str::to_owned),
        scope: granted.scope().iter().map(str::to_owned).collect(),
        audience: granted.audiences().to_vec(),
        issued_at: now.minus(BACKDATED),
        expires_at: granted.expires_at(),
        revoked_at: None,
        original_claims: original.cloned(),
        after_end: None,
    }
}

fn claims(granted: &Granted, policy: &Policy, record: &TokenRecord) -> Map<String, Value> {
    let client = granted.client().registration();
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("iss", policy.issuer.as_str().into());
    set("sub", record.subject.as_str().into());
    set("aud", granted.audiences().into());
    if let Some(expires_at) = record.expires_at {
        set("exp", expires_at.0.into());
    }
    set("iat", record.issued_at.0.into());
    set("jti", record.jti.as_str().into());
    set("client_id", client.id.as_str().into());
    // plgd's services read a scope that is there and empty.
    if !granted.scope().is_empty() || policy.is_plgd() {
        for claim in &granted.format().scope_claims {
            let value = match claim {
                ScopeClaim::Scope => granted.scope().to_string().into(),
                ScopeClaim::Scp => granted.scope().iter().collect::<Vec<_>>().into(),
            };
            set(claim.as_str(), value);
        }
    }
    if let Some(owner) = &record.owner {
        set(&policy.owner_claim, owner.as_str().into());
    }
    if let Some(issuer) = record
        .owner_issuer
        .as_deref()
        .filter(|issuer| *issuer != policy.issuer)
    {
        set(OWNER_ISSUER, issuer.into());
    }
    let device = granted
        .client()
        .exchanged()
        .and_then(|exchanged| exchanged.claim(&policy.device_id_claim));
    if let Some(device) = device.filter(|_| policy.is_plgd() && !policy.device_id_claim.is_empty())
    {
        set(&policy.device_id_claim, device.into());
    }
    if let Some(mark) = record.after_end {
        set(AFTER_END, mark.to_string().into());
    }
    if let Some(original) = &record.original_claims {
        set(ORIGINAL_CLAIMS, original.clone().into());
    }
    // What follows never overrides what is there; the client's own words come last, so that a
    // token's name poses neither as its owner nor as what the operator inserts.
    for (name, value) in &client.insert_token_claims {
        if !policy.is_own_claim(name) {
            claims.entry(name).or_insert_with(|| value.clone());
        }
    }
    if let Some(name) = granted
        .token_name()
        .filter(|_| !policy.is_own_claim("name"))
    {
        claims.entry("name").or_insert_with(|| name.into());
    }
    claims
}
