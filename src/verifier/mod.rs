//! The resource server: verifies bearer tokens and authorizes requests.
//!
//! [`Verifier::decide`] takes a request's path, method and headers and gives a [`Permit`] or a
//! [`Refusal`]. A permit can be had nowhere else, and the proxy forwards nothing, and writes no
//! identity header, without one.

mod authority;
mod authority_config;
mod bearer;
mod cache;
mod checks;
mod claimed;
mod discovery;
mod key_file;
mod preflight;
mod recent;
mod refusal;
mod revocation;
pub mod rules;
mod share;
mod token;
mod token_size;
#[cfg(test)]
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

pub use authority::{Authority, OwnIssuer};
pub use authority_config::{AuthorityConfig, KeySource};
pub use bearer::BearerToken;
pub use checks::{Check, Witness};
pub use claimed::ClaimedToken;
pub use refusal::Refusal;
pub use revocation::{IntrospectionClient, KeptLists, Method, RevocationConfig};
pub use token::TokenFacts;

pub use crate::domain::settings::{CorsPreflight, Mode, OnFailure, Profile, RevocationKind};

use crate::domain::claims::Claims;
use crate::domain::clock::SharedClock;
use crate::domain::hash::sha256;
use crate::domain::path::NormalPath;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;
use crate::jose::key_set::{Fingerprint, KeySet, NoCandidate};
use crate::jose::live_keys::Keys;
use crate::jose::verify::{InvalidJws, Jws};
use cache::VerifiedTokens;
use rules::{InvalidRules, PathCase, Rule, Rules, TwoReadings};
use token::Reading;

/// The claims that name a token's client where the configuration does not say: of RFC 9068 §2.2,
/// OpenID Connect, Okta and Entra (version 1).
pub const CLIENT_ID_CLAIMS: [&str; 4] = ["client_id", "azp", "cid", "appid"];

/// What one inbound listener checks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names of the authorities it trusts.
    pub authorities: Vec<String>,
    /// Which `aud` values it accepts.
    pub audiences: Audiences,
    /// How many verified tokens are remembered; 0: none.
    pub verified_token_cache: u64,
    /// The rules in their order; the first that matches decides.
    pub rules: Vec<RuleConfig>,
    /// Whether the service ignores upper and lower case in paths.
    pub path_case: PathCase,
    /// The claims that go to the upstream in headers.
    pub forwarded_claims: Vec<String>,
    /// Whether what is refused is stopped.
    pub mode: Mode,
    /// What becomes of CORS preflights.
    pub cors_preflight: CorsPreflight,
}

/// Which `aud` values a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// Any, also none.
    Any,
    /// One of these must be in the token.
    OneOf(Vec<String>),
}

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleConfig {
    /// Path patterns: `*` one segment, `**` any rest. At least one.
    pub paths: Vec<String>,
    /// Methods in upper case; none: every method. `GET` includes `HEAD`.
    pub methods: Vec<String>,
    /// Who may pass.
    pub access: Access,
    /// How long to wait for each next part of the upstream's answer; none: as the upstream says.
    pub timeout: Option<Duration>,
    /// The line of the configuration file that it begins on, for people.
    pub line: usize,
}

/// Who may pass a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without a token.
    Public,
    /// Whoever has a valid token that has what is needed.
    Token(Needs),
}

/// What a token must have beside being valid; all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Every one of these scopes.
    pub scopes: ScopeSet,
    /// One of these scopes, unless there are none.
    pub any_scope: ScopeSet,
    /// Claims with certain values.
    pub claims: Vec<ClaimNeed>,
}

/// A claim that must have one of some values; of a list, one item must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNeed {
    /// The claim.
    pub name: String,
    /// The values as texts; numbers and truth values as in JSON.
    pub values: Vec<String>,
}

/// A token whose signature, claims, times and audience hold for this listener, now.
#[derive(Clone)]
pub struct VerifiedToken(Arc<TokenFacts>);

impl std::ops::Deref for VerifiedToken {
    type Target = TokenFacts;

    fn deref(&self) -> &TokenFacts {
        &self.0
    }
}

/// Leave to send one request on. Only [`Verifier::decide`] gives one.
pub struct Permit {
    token: Option<VerifiedToken>,
    reason: Reason,
    /// Given only because the listener is in shadow mode.
    would_be_refused: bool,
    timeout: Option<Duration>,
}

impl Permit {
    /// The token that the request brought: verified, but in shadow mode perhaps not enough for the
    /// rule. None on a public path.
    #[must_use]
    pub fn token(&self) -> Option<&VerifiedToken> {
        self.token.as_ref()
    }

    /// The check that decided.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// How long to wait for each next part of the upstream's answer, when the rule says so.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether a listener that enforces would have refused the request.
    #[must_use]
    pub fn would_be_refused(&self) -> bool {
        self.would_be_refused
    }
}

/// Called when a token was found among the verified ones (`true`) or had to be verified (`false`).
pub type ObserveCache = Arc<dyn Fn(bool) + Send + Sync>;

/// What one inbound listener checks requests with.
pub struct Verifier {
    authorities: Vec<Arc<Authority>>,
    audiences: Audiences,
    rules: Rules,
    forwarded_claims: Vec<String>,
    mode: Mode,
    cors_preflight: CorsPreflight,
    verified: VerifiedTokens,
    clock: SharedClock,
    observe_cache: ObserveCache,
}

impl Verifier {
    /// A verifier that trusts `authorities`.
    ///
    /// # Errors
    /// [`InvalidRules`] when the rules cannot be used.
    pub fn new(
        config: &Config,
        authorities: Vec<Arc<Authority>>,
        clock: SharedClock,
        observe_cache: ObserveCache,
    ) -> Result<Self, InvalidRules> {
        Ok(Self {
            authorities,
            audiences: config.audiences.clone(),
            rules: Rules::compile(&config.rules, config.path_case)?,
            forwarded_claims: config.forwarded_claims.clone(),
            mode: config.mode,
            cors_preflight: config.cors_preflight,
            verified: VerifiedTokens::new(config.verified_token_cache),
            clock,
            observe_cache,
        })
    }

    /// Decides about one request. A path that no rule matches is refused only to holders of a valid
    /// token: to others it looks like any path that needs one.
    ///
    /// # Errors
    /// [`Refusal`] names the check that refused. In shadow mode there is none: the permit says what
    /// it would have been.
    pub async fn decide(
        &self,
        path: &NormalPath<'_>,
        method: &str,
        headers: &HeaderMap,
    ) -> Result<Permit, Refusal> {
        self.decide_before(path, method, headers, &mut ()).await
    }

    /// [`Verifier::decide`], with a witness that learns which checks were made.
    ///
    /// # Errors
    /// As [`Verifier::decide`].
    pub async fn decide_before(
        &self,
        path: &NormalPath<'_>,
        method: &str,
        headers: &HeaderMap,
        witness: &mut impl Witness,
    ) -> Result<Permit, Refusal> {
        let rule = match self.rules.find(path, method) {
            Ok(rule) => rule,
            Err(why) => return self.ambiguous(why, headers).await,
        };
        let permit = self.permit(rule, path, method, headers, witness).await?;
        Ok(Permit {
            timeout: rule.and_then(Rule::timeout),
            ..permit
        })
    }

    async fn permit(
        &self,
        rule: Option<&Rule>,
        path: &NormalPath<'_>,
        method: &str,
        headers: &HeaderMap,
        witness: &mut impl Witness,
    ) -> Result<Permit, Refusal> {
        let passes = |token, reason| {
            Ok(Permit {
                token,
                reason,
                would_be_refused: false,
                timeout: None,
            })
        };
        if rule.is_some_and(Rule::is_public) {
            return passes(None, Reason::Public);
        }
        if self.passes_as_preflight(path, method, headers) {
            return passes(None, Reason::Preflight);
        }
        let token = match self.token_of(headers, witness).await {
            Ok(token) => token,
            Err(refusal) => return self.refuse(refusal, None),
        };
        witness.begins(Check::Rule);
        let refused = match rule {
            None => Some(Refusal::new(Reason::NoRule)),
            Some(rule) => rule.judge(&token, witness).err().map(|reason| Refusal {
                needed: rule.sufficient_scopes(),
                ..Refusal::new(reason)
            }),
        };
        match refused {
            None => passes(Some(token), Reason::Permitted),
            Some(refusal) => {
                let client_id = token.client_id().map(str::to_owned);
                let jti = token.jti().map(str::to_owned);
                self.refuse(
                    Refusal {
                        client_id,
                        jti,
                        ..refusal
                    },
                    Some(token),
                )
            }
        }
    }

    /// A path that two rules could decide about. In shadow mode it passes, with its identity if the
    /// token is good.
    async fn ambiguous(&self, why: TwoReadings, headers: &HeaderMap) -> Result<Permit, Refusal> {
        let token = match self.mode {
            Mode::Enforce => None,
            Mode::Shadow => self.token_of(headers, &mut ()).await.ok(),
        };
        let detail = Some(why.to_string().into());
        self.refuse(
            Refusal {
                detail,
                ..Refusal::new(Reason::AmbiguousPath)
            },
            token,
        )
    }

    /// Whether refused requests pass all the same.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// In shadow mode a request passes with the reason it would have been refused for, and with its
    /// identity if the token itself is good: what the upstream is told is true in either mode.
    fn refuse(&self, refusal: Refusal, token: Option<VerifiedToken>) -> Result<Permit, Refusal> {
        match self.mode {
            Mode::Enforce => Err(refusal),
            Mode::Shadow => Ok(Permit {
                token,
                reason: refusal.reason,
                would_be_refused: true,
                timeout: None,
            }),
        }
    }

    /// A preflight shows no token, so all that can be asked is whether a rule knows the request
    /// that it announces.
    fn passes_as_preflight(
        &self,
        path: &NormalPath<'_>,
        method: &str,
        headers: &HeaderMap,
    ) -> bool {
        self.cors_preflight == CorsPreflight::Pass
            && preflight::announced_method(method, headers)
                .is_some_and(|announced| matches!(self.rules.find(path, announced), Ok(Some(_))))
    }

    async fn token_of(
        &self,
        headers: &HeaderMap,
        witness: &mut impl Witness,
    ) -> Result<VerifiedToken, Refusal> {
        witness.begins(Check::Form);
        let bearer = BearerToken::extract(headers)?;
        self.verify_before(&bearer, witness)
            .await
            .map_err(|reason| match reason {
                Reason::TokenTooLarge => {
                    Refusal::too_large(bearer.text().len(), self.token_limit(&bearer))
                }
                reason => Refusal::new(reason),
            })
    }

    /// Verifies a token: what is remembered of it, or its signature and claims; then everything
    /// that may have changed.
    ///
    /// # Errors
    /// The [`Reason`] of the check that failed.
    pub async fn verify(&self, bearer: &BearerToken) -> Result<VerifiedToken, Reason> {
        self.verify_before(bearer, &mut ()).await
    }

    async fn verify_before(
        &self,
        bearer: &BearerToken,
        witness: &mut impl Witness,
    ) -> Result<VerifiedToken, Reason> {
        // Before anything is computed over it.
        if bearer.text().len() > self.longest_token() {
            return Err(Reason::TokenTooLarge);
        }
        let hash = sha256(bearer.text().as_bytes());
        let now = self.clock.now();
        let remembered = self
            .verified
            .get(&hash)
            .filter(|facts| facts.may_be_remembered(now));
        (self.observe_cache)(remembered.is_some());
        let facts = match remembered {
            Some(facts) => {
                if !self.key_is_published(&facts)? {
                    self.verified.remove(&hash);
                    return Err(Reason::UnknownKid);
                }
                facts
            }
            None => {
                let facts = Arc::new(self.verify_signature(bearer, hash, witness).await?);
                self.judge(&facts, witness)?;
                self.verified.insert(facts.clone());
                return self.not_revoked(facts, bearer, witness).await;
            }
        };
        if let Err(reason) = self.judge(&facts, witness) {
            self.verified.remove(&hash);
            return Err(reason);
        }
        self.not_revoked(facts, bearer, witness).await
    }

    /// The issuer of a token that this verifier verified, in the one spelling that its authority
    /// has here.
    #[must_use]
    pub fn issuer_of(&self, token: &VerifiedToken) -> Option<&str> {
        Some(self.authorities.get(token.authority())?.issuer.name())
    }

    /// Verifies a token and gives all its claims, for callers that want more of them than a request
    /// does, and its issuer as [`issuer_of`](Self::issuer_of) has it.
    ///
    /// # Errors
    /// The [`Reason`] of the check that failed.
    pub async fn verified_claims(&self, bearer: &BearerToken) -> Result<(Claims, String), Reason> {
        let facts = self.verify(bearer).await?;
        let authority = self
            .authorities
            .get(facts.authority())
            .ok_or(Reason::Internal)?;
        let Keys::Usable(keys) = authority.keys().current() else {
            return Err(Reason::KeysUnavailable);
        };
        // What is kept of a verified token is not all of it, and claims are read from signed text
        // only.
        let jws = Jws::parse(bearer.text()).map_err(|_| Reason::MalformedToken)?;
        Ok((
            authenticated(&jws, &keys)?.0.clone(),
            authority.issuer.name().to_owned(),
        ))
    }

    /// Whether the key that once made the signature is still one of its authority's.
    fn key_is_published(&self, facts: &TokenFacts) -> Result<bool, Reason> {
        let authority = self
            .authorities
            .get(facts.authority())
            .ok_or(Reason::Internal)?;
        match authority.keys().current() {
            Keys::Usable(keys) => Ok(keys.contains(&facts.key)),
            Keys::Unavailable => Err(Reason::KeysUnavailable),
        }
    }

    /// What is judged on every request, remembered or not.
    fn judge(&self, facts: &TokenFacts, witness: &mut impl Witness) -> Result<(), Reason> {
        let authority = self
            .authorities
            .get(facts.authority())
            .ok_or(Reason::Internal)?;
        witness.begins(Check::Times);
        facts.check_times(self.clock.now(), authority.clock_skew)?;
        witness.begins(Check::Audience);
        if facts.is_for(&self.audiences) {
            Ok(())
        } else {
            Err(Reason::Audience)
        }
    }

    /// The last check: its answer may have to be asked for, and nobody is asked about a token that
    /// is bad anyway.
    async fn not_revoked(
        &self,
        facts: Arc<TokenFacts>,
        bearer: &BearerToken,
        witness: &mut impl Witness,
    ) -> Result<VerifiedToken, Reason> {
        witness.begins(Check::Revocation);
        let authority = self
            .authorities
            .get(facts.authority())
            .ok_or(Reason::Internal)?;
        if authority.revocation().is_checked() || facts.never_expires() {
            let ask = || witness.before_question(&facts);
            authority.revocation().check(&facts, bearer, ask).await?;
        }
        Ok(VerifiedToken(facts))
    }

    /// The authority that a token claims to be of, and its index. One that a token misses only by
    /// slashes notes that.
    fn authority_of(&self, claimed: Option<&str>) -> Option<(usize, &Arc<Authority>)> {
        let claimed = claimed?;
        let found = self
            .authorities
            .iter()
            .enumerate()
            .find(|(_, authority)| authority.issuer.is(claimed));
        if found.is_none() {
            self.authorities
                .iter()
                .for_each(|authority| authority.note_refused_issuer(claimed));
        }
        found
    }

    async fn verify_signature(
        &self,
        bearer: &BearerToken,
        hash: [u8; 32],
        witness: &mut impl Witness,
    ) -> Result<TokenFacts, Reason> {
        let jws = Jws::parse(bearer.text()).map_err(|error| match error {
            InvalidJws::Malformed => Reason::MalformedToken,
            InvalidJws::Algorithm => {
                witness.begins(Check::Algorithm);
                Reason::Algorithm
            }
            InvalidJws::Critical => Reason::CriticalHeader,
        })?;
        witness.begins(Check::Type);
        if !is_access_token_type(&jws) {
            return Err(Reason::TokenType);
        }
        witness.begins(Check::Issuer);
        let (index, authority) = self
            .authority_of(jws.claimed_issuer())
            .ok_or(Reason::UnknownIssuer)?;
        if bearer.text().len() > authority.max_token_size {
            return Err(Reason::TokenTooLarge);
        }
        witness.begins(Check::Algorithm);
        if !authority.algorithms.contains(&jws.algorithm()) {
            return Err(Reason::Algorithm);
        }
        // What an authority is asked for: a key, or whatever made this token when it names none.
        let missing = jws.kid().map_or(hash, |kid| sha256(kid.as_bytes()));
        witness.begins(Check::Key);
        let keys = authority.keys_for(&jws, &missing).await?;
        // Where no token is remembered, none is known that could be starved.
        if self.verified.is_kept() {
            share::turn().await.map_err(|_| Reason::Busy)?;
        }
        let mut judged = share::work(|| authenticated(&jws, &keys));
        // A token that names no key may be of one that is newer than the set. One that names a
        // known key is not.
        let ask = judged.is_err() && jws.kid().is_none();
        let newer = if ask {
            authority.newer_than(&keys, &missing).await
        } else {
            None
        };
        if let Some(newer) = &newer {
            judged = authenticated(&jws, newer);
        }
        if !matches!(judged, Err(Reason::UnknownKid | Reason::Algorithm)) {
            witness.begins(Check::Signature);
        }
        let (claims, key) = judged?;
        witness.begins(Check::Claims);
        let reading = Reading {
            forwarded: &self.forwarded_claims,
            asked: self.rules.asked_claims(),
            client_id: &authority.client_id_claims,
            require_expiry: authority.require_expiry,
            profile: authority.profile,
            issuer: &authority.issuer,
            now: self.clock.now(),
        };
        TokenFacts::read(claims, hash, index, key, &reading)
    }
}

/// The claims of a token that one of these keys signed, and that key's fingerprint.
fn authenticated<'j>(jws: &'j Jws<'_>, keys: &KeySet) -> Result<(&'j Claims, Fingerprint), Reason> {
    let candidates = keys
        .candidates(jws.kid(), jws.algorithm())
        .map_err(|why| match why {
            NoCandidate::UnknownKid => Reason::UnknownKid,
            NoCandidate::Algorithm => Reason::Algorithm,
        })?;
    let (claims, key) = jws.verified_claims(&candidates).ok_or(Reason::Signature)?;
    if candidates.len() > 1 {
        keys.verified_by(key);
    }
    Ok((claims, key.fingerprint()))
}

/// RFC 9068 §4: `at+jwt`, and `JWT` or nothing for the authorities that came before it.
fn is_access_token_type(jws: &Jws<'_>) -> bool {
    match jws.typ() {
        None => !jws.has_typ(),
        Some(typ) => ["at+jwt", "application/at+jwt", "jwt"]
            .iter()
            .any(|known| typ.eq_ignore_ascii_case(known)),
    }
}
