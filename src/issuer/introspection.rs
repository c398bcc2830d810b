//! Introspection (RFC 7662): the claims of a token, for the callers that it concerns.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::Client;
use super::authenticator::Authenticator;
use super::client_auth::AuthenticatedClient;
use super::error::TokenError;
use super::own_token::OwnToken;
use super::refresh_tokens;
use super::refused::{Attempt, Refusals};
use super::state::State;
use super::token_parameters::TokenParameters;
use crate::domain::client_certificate::ClientConnection;
use crate::domain::clock::UnixTime;
use crate::domain::revoked::AFTER_END;
use crate::domain::secret::ExposeSecret;
use crate::jose::dpop::SCHEME;

/// The claims that an answer has first, if the token has them (RFC 7662 §2.2).
const MEMBERS: [&str; 8] = [
    "scope",
    "client_id",
    "sub",
    "aud",
    "iss",
    "exp",
    "iat",
    "jti",
];

/// The result of an introspection.
#[derive(Clone, Debug, PartialEq)]
pub enum Introspected {
    /// The members of the answer (RFC 7662 §2.2).
    Active(Map<String, Value>),
    /// The token is not valid, or from another issuer.
    Inactive,
    /// The token is valid, but does not concern the caller, which gets the answer "not active". Its
    /// `jti`, if it has one, is for the audit log.
    NotAllowed(Option<String>),
}

/// Answers introspection requests.
pub struct Introspection {
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) state: Arc<State>,
}

impl Introspection {
    /// Introspects a token for a caller that it concerns: its client, a client in its `aud`, or one
    /// with `allowIntrospection`. A caller that exchanges a user's JWT may introspect only that
    /// user's tokens.
    pub async fn answer(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        body: &[u8],
        from: &ClientConnection,
    ) -> Attempt<Introspected> {
        let now = self.state.clock.now();
        let parameters = match TokenParameters::parse(headers, query, body) {
            Ok(parameters) => parameters,
            Err(error) => return self.refusals.unread(headers, body, error),
        };
        let credentials = parameters.credentials();
        match self
            .authenticator
            .authenticate(credentials, from, now)
            .await
        {
            Ok(caller) => {
                let result = self.introspect(&parameters, &caller, now).await;
                self.refusals
                    .attempt(Some(caller.identity()), credentials, result)
            }
            Err(error) => self.refusals.attempt(None, credentials, Err(error)),
        }
    }

    async fn introspect(
        &self,
        parameters: &TokenParameters,
        caller: &AuthenticatedClient,
        now: UnixTime,
    ) -> Result<Introspected, TokenError> {
        match refresh_tokens::hash_of(parameters.token()) {
            Some(hash) => self.introspect_refresh_token(&hash, caller, now).await,
            None => {
                let text = parameters.token().expose_secret();
                Ok(self.introspect_access_token(text, caller, now))
            }
        }
    }

    fn introspect_access_token(
        &self,
        text: &str,
        caller: &AuthenticatedClient,
        now: UnixTime,
    ) -> Introspected {
        let token = OwnToken::verify(text, &self.state.keys, &self.state.policy);
        let Some(token) = token.filter(|token| token.is_valid(&self.state, now)) else {
            return Introspected::Inactive;
        };
        let client = caller.registration();
        let claims = token.claims();
        let audiences = claims.strings("aud").unwrap_or_default();
        let concerns_client =
            concerns(client, token.text("client_id")) || audiences.contains(&client.id.as_str());
        if !(concerns_client && token.is_of_user(caller, &self.state.policy)) {
            return Introspected::NotAllowed(token.text("jti").map(str::to_owned));
        }
        let mut answer = Map::from_iter([("active".to_owned(), Value::Bool(true))]);
        let needs_proof = claims
            .get("cnf")
            .is_some_and(|keys| keys.get("jkt").is_some());
        let token_type = if needs_proof { SCHEME } else { "Bearer" };
        answer.insert("token_type".to_owned(), token_type.into());
        for name in MEMBERS
            .into_iter()
            .chain([self.state.policy.owner_claim.as_str()])
        {
            if let Some(value) = claims.get(name) {
                answer.insert(name.to_owned(), value.clone());
            }
        }
        // RFC 7662 §2.2 has the scopes as one text, even if the token has a list.
        if let (None, Ok(scopes)) = (answer.get("scope"), claims.strings("scp"))
            && !scopes.is_empty()
        {
            answer.insert("scope".to_owned(), scopes.join(" ").into());
        }
        // The other claims never replace a member (RFC 7662 §2.2).
        for (name, value) in claims
            .as_map()
            .iter()
            .filter(|(name, _)| *name != AFTER_END)
        {
            answer.entry(name).or_insert_with(|| value.clone());
        }
        Introspected::Active(answer)
    }

    async fn introspect_refresh_token(
        &self,
        hash: &[u8; 32],
        caller: &AuthenticatedClient,
        now: UnixTime,
    ) -> Result<Introspected, TokenError> {
        let stored = self.state.store.refresh_token(hash).await?.filter(|token| {
            token.used_at.is_none()
                && now < token.expires_at
                && self.state.clients.is_usable(&token.client_id, now)
        });
        let Some(token) = stored else {
            return Ok(Introspected::Inactive);
        };
        let is_of_user = refresh_tokens::is_of_user(&token, caller, &self.state.policy);
        if !(concerns(caller.registration(), Some(&token.client_id)) && is_of_user) {
            return Ok(Introspected::NotAllowed(None));
        }
        let answer = json!({
            "active": true,
            "scope": token.grant["scope"],
            "client_id": token.client_id,
            "sub": token.grant["subject"],
            "iss": self.state.policy.issuer,
            "exp": token.expires_at.0,
        });
        Ok(answer
            .as_object()
            .cloned()
            .map_or(Introspected::Inactive, Introspected::Active))
    }
}

fn concerns(caller: &Client, client_id: Option<&str>) -> bool {
    caller.allow_introspection || client_id == Some(&caller.id)
}
