//! Introspection (RFC 7662): what a token says, for those it concerns.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::client_auth::AuthenticatedClient;
use super::grants::refresh_token;
use super::{Asker, Client, Issuer, RevocationRequest, TokenError};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::revoked::{AFTER_END, EndMark, Issued, TokenId};
use crate::domain::secret::ExposeSecret;
use crate::jose::verify::Jws;

/// An introspection request (RFC 7662 §2.1): the same parameters as those of a revocation.
pub type IntrospectionRequest = RevocationRequest;

/// How an introspection ended for an authenticated caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Introspection {
    /// The members of the answer (RFC 7662 §2.2).
    Active(Map<String, Value>),
    /// The token is not alive, or none of ours.
    Inactive,
    /// It is alive, but does not concern the caller, who is told that it is not active. Its `jti`,
    /// where it has one, is for the audit line.
    NotAllowed(Option<String>),
}

impl Issuer {
    /// Says what a token is, if it is alive and concerns the caller: its client, one named in its
    /// `aud`, or one that may introspect all. A caller that brought a user's JWT asks for that
    /// user: only about that user's tokens.
    ///
    /// # Errors
    /// When the caller is not authenticated, or the store does not answer.
    pub async fn introspect(
        &self,
        request: &IntrospectionRequest,
        from: Option<IpAddr>,
        asker: &mut Option<Asker>,
    ) -> Result<Introspection, TokenError> {
        let now = self.clock.now();
        let caller = self.authenticate(request.credentials(), from, now).await?;
        *asker = Some(caller.asker());
        match refresh_token::hash_of(request.token()) {
            Some(hash) => self.introspect_refresh_token(&hash, &caller, now).await,
            None => Ok(self.introspect_access_token(request.token().expose_secret(), &caller, now)),
        }
    }

    fn introspect_access_token(
        &self,
        token: &str,
        caller: &AuthenticatedClient,
        now: UnixTime,
    ) -> Introspection {
        let Some(claims) = self.live_claims(token, now) else {
            return Introspection::Inactive;
        };
        let text = |name| claims.string(name).ok().flatten();
        let (owner, owner_issuer) = self.policy.owner_of(&claims);
        let is_of_user = caller
            .exchanged()
            .is_none_or(|user| self.policy.is_of_user(user, owner, owner_issuer));
        let caller = caller.registration();
        let audiences = claims.strings("aud").unwrap_or_default();
        let concerns =
            concerns(caller, text("client_id")) || audiences.contains(&caller.id.as_str());
        if !(concerns && is_of_user) {
            return Introspection::NotAllowed(text("jti").map(str::to_owned));
        }
        let mut answer = Map::from_iter([("active".to_owned(), Value::Bool(true))]);
        answer.insert("token_type".to_owned(), "Bearer".into());
        let owner_claim = &self.policy.owner_claim;
        for name in [
            "scope",
            "client_id",
            "sub",
            "aud",
            "iss",
            "exp",
            "iat",
            "jti",
            owner_claim,
        ] {
            if let Some(value) = claims.get(name) {
                answer.insert(name.to_owned(), value.clone());
            }
        }
        // The answer has the scopes as one text (RFC 7662 §2.2), also those of a token that has
        // them as a list.
        if let (None, Ok(scopes)) = (answer.get("scope"), claims.strings("scp"))
            && !scopes.is_empty()
        {
            answer.insert("scope".to_owned(), scopes.join(" ").into());
        }
        // Whatever else the token says (RFC 7662 §2.2), which never takes the place of what is
        // there.
        for (name, value) in claims
            .as_map()
            .iter()
            .filter(|(name, _)| *name != AFTER_END)
        {
            answer.entry(name).or_insert_with(|| value.clone());
        }
        Introspection::Active(answer)
    }

    /// The claims of an access token that this issuer signed, that has not expired and is not
    /// revoked, nor its client gone.
    fn live_claims(&self, token: &str, now: UnixTime) -> Option<Claims> {
        let jws = Jws::parse(token).ok()?;
        // The issuer's key also signs what is no access token.
        if !matches!(jws.typ(), Some("at+jwt" | "JWT")) {
            return None;
        }
        let keys = self.keys.verifying_keys();
        let (claims, _) = jws.verify_with(&keys).ok()?;
        let text = |name| claims.string(name).ok().flatten();
        let time = |name| claims.numeric_date(name).ok();
        let client_id = text("client_id")?;
        let is_over = time("exp")?.is_some_and(|end| UnixTime(end) <= now);
        let issued = Issued {
            token: TokenId::of(text("jti")?),
            client_id: Some(client_id),
            at: UnixTime(time("iat")??),
            after_end: text(AFTER_END).and_then(EndMark::parse),
        };
        let is_revoked = self.revoked().current().covers(&issued, now);
        let is_ours = text("iss") == Some(self.url()) && self.is_live_client(client_id, now);
        (is_ours && !is_over && !is_revoked).then(|| claims.clone())
    }

    async fn introspect_refresh_token(
        &self,
        hash: &[u8; 32],
        caller: &AuthenticatedClient,
        now: UnixTime,
    ) -> Result<Introspection, TokenError> {
        let stored = self.store.refresh_token(hash).await?;
        let is_live = |client_id: &str| self.is_live_client(client_id, now);
        let live = stored
            .filter(|it| it.used_at.is_none() && now < it.expires_at && is_live(&it.client_id));
        let Some(token) = live else {
            return Ok(Introspection::Inactive);
        };
        let is_of_user = refresh_token::is_of_user(&token, caller, &self.policy);
        if !(concerns(caller.registration(), Some(&token.client_id)) && is_of_user) {
            return Ok(Introspection::NotAllowed(None));
        }
        let answer = json!({
            "active": true,
            "scope": token.grant["scope"],
            "client_id": token.client_id,
            "sub": token.grant["subject"],
            "iss": self.url(),
            "exp": token.expires_at.0,
        });
        Ok(answer
            .as_object()
            .cloned()
            .map_or(Introspection::Inactive, Introspection::Active))
    }

    pub(super) fn is_live_client(&self, client_id: &str, now: UnixTime) -> bool {
        let client = self.clients.get(client_id);
        client
            .is_some_and(|client| !client.disabled && client.expires_at.is_none_or(|end| now < end))
    }
}

fn concerns(caller: &Client, client_id: Option<&str>) -> bool {
    caller.allow_introspection || client_id == Some(&caller.id)
}
