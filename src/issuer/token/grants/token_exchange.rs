//! Token exchange (RFC 8693): a client gets a token with the subject of another party's token, and
//! with itself as the actor.
//!
//! The new token is never more than the client's policy and the subject token allow: its scopes,
//! its audiences and its end.

use super::{Delegation, GrantRequest, Refresh, Terms, allowed_audiences, audiences_of, choice};
use crate::domain::actors::{self, Actor};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::oauth::TokenTypeUri;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::ExposeSecret;
use crate::issuer::Client;
use crate::issuer::client_auth::foreign::ForeignClaims;
use crate::issuer::error::TokenError;
use crate::issuer::excerpt::Excerpt;
use crate::issuer::own_token::OwnToken;
use crate::issuer::state::State;
use crate::issuer::token::request::PresentedToken;
use crate::issuer::token_exchange::{
    ExchangePolicy, ExchangedTokens, OWN, TokenFault, is_id_token,
};
use crate::jose::verify::Jws;

/// Grants a new token with the subject of the presented one.
pub(super) async fn terms(
    asked: &GrantRequest<'_>,
    state: &State,
    now: UnixTime,
) -> Result<Terms, TokenError> {
    let GrantRequest {
        client, request, ..
    } = asked;
    let registration = client.registration();
    // A client that is authenticated by the JWT of a user proves nothing about itself.
    let policy = registration.exchange.as_ref();
    let policy = policy
        .filter(|_| client.exchanged().is_none())
        .ok_or(TokenError::UnauthorizedClient)?;
    let exchange = request
        .exchange()
        .ok_or(TokenError::NoExchangedToken("subject_token"))?;
    let check = Check {
        client: registration,
        state,
        now,
    };
    let subject = check.token(&exchange.subject, &policy.subjects).await?;
    let subject = subject.map_err(TokenError::SubjectToken)?;
    let actor = match &exchange.actor {
        None => None,
        Some(_) if policy.actors.is_empty() => {
            return Err(TokenError::ActorToken(TokenFault::NoActors));
        }
        Some(token) => {
            let actor = check.token(token, &policy.actors).await?;
            Some(actor.map_err(TokenError::ActorToken)?)
        }
    };
    if actor.as_ref().is_some_and(|it| it.claims.contains("act")) {
        return Err(TokenError::ActorToken(TokenFault::Delegated));
    }
    let actors = check
        .actors(&subject, actor.as_ref(), policy)
        .map_err(TokenError::SubjectToken)?;
    let scope = scopes(request.scope(), registration, policy, &subject)?;
    let delegation = check.delegation(subject, actor, actors, exchange.requested);
    Ok(Terms {
        choice: choice::of_exchange(
            asked,
            delegation.owner.as_deref(),
            delegation.device_id.as_deref(),
        )?,
        audiences: audiences(asked, policy)?,
        scope,
        token_name: request.token_name().map(str::to_owned),
        refresh: Refresh::None,
        delegation: Some(delegation),
    })
}

/// A verified token that the client may present.
struct Verified {
    claims: Claims,
    issuer: String,
    is_own: bool,
    subject: String,
    /// `None`: endless, in the plgd profile only.
    expires_at: Option<UnixTime>,
}

/// The client that presents tokens.
struct Check<'a> {
    client: &'a Client,
    state: &'a State,
    now: UnixTime,
}

impl Check<'_> {
    /// Verifies a presented token by the entries of a policy. The outer error means that no check
    /// is possible now.
    async fn token(
        &self,
        presented: &PresentedToken,
        entries: &[ExchangedTokens],
    ) -> Result<Result<Verified, TokenFault>, TokenError> {
        let text = presented.jwt.expose_secret();
        let Ok(jws) = Jws::parse(text) else {
            return Ok(Err(TokenFault::NoJwt));
        };
        let is_own = jws.claimed_issuer() == Some(&self.state.policy.issuer);
        let checked = if is_own {
            self.own(presented, entries)
        } else {
            self.foreign(presented, entries).await?
        };
        Ok(checked.and_then(|(authority, claims, issuer)| {
            let of_authority = entries.iter().filter(|it| it.authority == authority);
            self.allowed(claims, issuer, is_own, presented, of_authority)
        }))
    }

    /// A token of this issuer.
    fn own(
        &self,
        presented: &PresentedToken,
        entries: &[ExchangedTokens],
    ) -> Result<(String, Claims, String), TokenFault> {
        let policy = &self.state.policy;
        if !entries.iter().any(|entry| entry.authority == OWN) {
            return Err(TokenFault::UnknownIssuer);
        }
        let text = presented.jwt.expose_secret();
        if text.len() > policy.max_token_size {
            return Err(TokenFault::TooLarge);
        }
        let token = OwnToken::verify(text, &self.state.keys, policy)
            .filter(|token| token.is_valid(self.state, self.now))
            .ok_or(TokenFault::Invalid)?;
        let (claims, issuer) = (token.claims().clone(), policy.issuer.clone());
        Ok((OWN.to_owned(), claims, issuer))
    }

    /// A token of a trusted authority.
    async fn foreign(
        &self,
        presented: &PresentedToken,
        entries: &[ExchangedTokens],
    ) -> Result<Result<(String, Claims, String), TokenFault>, TokenError> {
        let verify = self.state.verify_foreign.load_full();
        let verify = verify.ok_or(TokenError::AuthorityUnavailable)?;
        let mut tried: Vec<&str> = vec![OWN];
        for entry in entries {
            let name = entry.authority.as_str();
            if tried.contains(&name) {
                continue;
            }
            tried.push(name);
            match verify(vec![name.to_owned()], presented.jwt.clone()).await {
                Ok(ForeignClaims { claims, issuer, .. }) => {
                    return Ok(Ok((name.to_owned(), claims, issuer)));
                }
                Err(Reason::UnknownIssuer) => {}
                // A fault of ours is never the fault of the request.
                Err(
                    Reason::Busy
                    | Reason::KeysUnavailable
                    | Reason::RevocationUnavailable
                    | Reason::Internal,
                ) => return Err(TokenError::AuthorityUnavailable),
                Err(reason) => return Ok(Err(TokenFault::Foreign(reason))),
            }
        }
        Ok(Err(TokenFault::UnknownIssuer))
    }

    /// Checks the claims of a verified token. One entry of its authority must accept it.
    fn allowed<'e>(
        &self,
        claims: Claims,
        issuer: String,
        is_own: bool,
        presented: &PresentedToken,
        entries: impl Iterator<Item = &'e ExchangedTokens>,
    ) -> Result<Verified, TokenFault> {
        let subject = claims.string("sub").map_err(|_| TokenFault::Claims)?;
        let subject = subject.filter(|subject| !subject.is_empty());
        let subject = subject.ok_or(TokenFault::NoSubject)?.to_owned();
        if claims.contains("cnf") {
            return Err(TokenFault::Bound);
        }
        let end = claims.numeric_date("exp").map_err(|_| TokenFault::Claims)?;
        let expires_at = end.map(UnixTime);
        if expires_at.is_none() && !self.state.policy.profile.endless {
            return Err(TokenFault::NoExpiry);
        }
        // Within the clock skew an expired token is still valid; the new one would have expired.
        if expires_at.is_some_and(|end| end <= self.now) {
            return Err(TokenFault::Expired);
        }
        let is_id_token = presented.kind == TokenTypeUri::IdToken || is_id_token(&claims);
        let accepted = [self.client.id.as_str(), &self.state.policy.issuer];
        let mut checked = Err(TokenFault::Policy);
        for entry in entries {
            let result = entry.check(&claims, &subject, is_id_token, accepted);
            // The other faults say more than that another entry is for other subjects.
            if result.is_ok() || checked == Err(TokenFault::Policy) {
                checked = result;
            }
            if checked.is_ok() {
                break;
            }
        }
        checked.map(|()| Verified {
            claims,
            issuer,
            is_own,
            subject,
            expires_at,
        })
    }

    /// The actors of the new token: the actor of this request, then those of the subject token.
    fn actors(
        &self,
        subject: &Verified,
        actor: Option<&Verified>,
        policy: &ExchangePolicy,
    ) -> Result<Vec<Actor>, TokenFault> {
        self.check_may_act(subject, actor)?;
        let mut before = actors::of(&subject.claims).map_err(|_| TokenFault::Claims)?;
        if before.len() >= usize::from(policy.max_depth) {
            return Err(TokenFault::Depth);
        }
        for earlier in before.iter_mut().filter(|_| !subject.is_own) {
            // The names of another issuer must not look like those of this one.
            earlier.issuer.get_or_insert_with(|| subject.issuer.clone());
        }
        let (name, issuer) = match actor {
            None => (&self.client.id, None),
            Some(actor) => {
                let foreign = (!actor.is_own).then(|| actor.issuer.clone());
                (&actor.subject, foreign)
            }
        };
        let now = Actor {
            subject: Some(name.clone()),
            issuer,
            client_id: Some(self.client.id.clone()),
        };
        Ok([vec![now], before].concat())
    }

    /// Whether `may_act` of the subject token, if it has one, names the actor (RFC 8693 §4.4).
    fn check_may_act(
        &self,
        subject: &Verified,
        actor: Option<&Verified>,
    ) -> Result<(), TokenFault> {
        let Some(may_act) = subject.claims.get("may_act") else {
            return Ok(());
        };
        let members = may_act.as_object().filter(|members| !members.is_empty());
        let members = members.ok_or(TokenFault::MayAct)?;
        let own_issuer = &self.state.policy.issuer;
        let has = |name: &str, value: &serde_json::Value| match (name, actor) {
            ("iss", _) => value == actor.map_or(own_issuer.as_str(), |it| it.issuer.as_str()),
            ("sub" | "client_id", None) => value == self.client.id.as_str(),
            (_, None) => false,
            (name, Some(actor)) => actor.claims.get(name) == Some(value),
        };
        // Without `iss`, the names are those of the issuer of the subject token.
        let implied = serde_json::Value::from(subject.issuer.as_str());
        let issuer = members.get("iss").unwrap_or(&implied);
        let is_named = has("iss", issuer) && members.iter().all(|(name, value)| has(name, value));
        is_named.then_some(()).ok_or(TokenFault::MayAct)
    }

    fn delegation(
        &self,
        subject: Verified,
        actor: Option<Verified>,
        actors: Vec<Actor>,
        issued: TokenTypeUri,
    ) -> Delegation {
        let policy = &self.state.policy;
        let (owner, owner_issuer) = if subject.is_own {
            policy.owner_of(&subject.claims)
        } else {
            let owner = subject.claims.get(&policy.owner_claim);
            (
                owner.and_then(|it| it.as_str()),
                Some(subject.issuer.as_str()),
            )
        };
        // Only plgd's profile takes the device of another authority's token.
        let has_device =
            (subject.is_own || policy.profile.copy_device_id) && !policy.device_id_claim.is_empty();
        let device = has_device.then(|| subject.claims.get(&policy.device_id_claim));
        let device = device.flatten().and_then(|it| it.as_str());
        let ends = [Some(&subject), actor.as_ref()].into_iter().flatten();
        let jti = subject.claims.string("jti").ok().flatten();
        Delegation {
            owner: owner.map(str::to_owned),
            owner_issuer: owner_issuer.map(str::to_owned),
            device_id: device.map(str::to_owned),
            actors,
            ends_by: ends.filter_map(|token| token.expires_at).min(),
            issued,
            subject_jti: jti.map(str::to_owned),
            subject: subject.subject,
        }
    }
}

/// The requested audiences within the policy, or all of the policy.
fn audiences(asked: &GrantRequest<'_>, policy: &ExchangePolicy) -> Result<Vec<String>, TokenError> {
    let registration = asked.client.registration();
    let of_client = audiences_of(registration, asked.policy);
    let of_policy: Vec<String> = policy
        .audiences
        .iter()
        .filter(|audience| of_client.contains(audience))
        .cloned()
        .collect();
    let allowed = if policy.audiences.is_empty() {
        of_client
    } else {
        &of_policy
    };
    let requested = asked.request.audiences(&registration.allowed_audiences)?;
    if !requested.is_empty() {
        return allowed_audiences(requested, allowed);
    }
    match allowed {
        // A token for several services could be exchanged by each of them.
        [only] => Ok(vec![only.clone()]),
        _ => Err(TokenError::NoTarget),
    }
}

/// The requested scopes, or all that are allowed. A token of this issuer limits them; the scopes of
/// another authority mean nothing here.
fn scopes(
    requested: &ScopeSet,
    client: &Client,
    policy: &ExchangePolicy,
    subject: &Verified,
) -> Result<ScopeSet, TokenError> {
    let faulty = |_| TokenError::SubjectToken(TokenFault::Claims);
    let of_subject = subject.claims.scopes().map_err(faulty)?;
    let is_allowed = |scope: &str| {
        !subject.is_own
            || of_subject.contains(scope)
            || policy.added_scopes.iter().any(|added| added == scope)
    };
    if requested.is_empty() {
        let allowed = client
            .allowed_scopes
            .iter()
            .filter(|scope| is_allowed(scope));
        return ScopeSet::from_tokens(allowed).map_err(|_| TokenError::Signing);
    }
    let granted = super::allowed_scopes(requested, &client.allowed_scopes)?;
    if let Some(scope) = granted.iter().find(|scope| !is_allowed(scope)) {
        return Err(TokenError::ScopeOfSubject(Excerpt::of(scope)));
    }
    Ok(granted)
}
