//! Revocation: RFC 7009 requests, what is revoked now, and the signed list for verifiers elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::signing_keys::SigningKeys;
use super::token_request::{Credentials, Parameters};
use super::{ClientConfig, TokenError};
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256_parts;
use crate::domain::revoked::{Revoked, RevokedNow, TokenId};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::jose::verify::Jws;
use crate::store::{RevokedToken, Store, StoreError};

/// `typ` of the list.
const TYP: &str = "m2m-revocations+jwt";
/// How long a signed list is handed out. Verifiers may look at it for half a minute.
const LIST_LIFETIME: Duration = Duration::from_secs(15);
/// A verifier whose clock is behind still takes an expired token for a live one; none allows more than this.
const LONGEST_SKEW: Duration = Duration::from_mins(10);

/// A revocation request (RFC 7009 §2.1), well-formed but not yet authenticated.
#[derive(Debug)]
pub struct RevocationRequest {
    credentials: Option<Credentials>,
    token: SecretString,
}

impl RevocationRequest {
    /// Parses a request's headers and body. `token_type_hint` is not needed: there is one type of token.
    ///
    /// # Errors
    /// When the request is malformed, whoever sends it.
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, TokenError> {
        let parameters = Parameters::parse(headers, body)?;
        if parameters.has_assertion {
            return Err(TokenError::AssertionNotSupported);
        }
        Ok(Self {
            credentials: Credentials::parse(headers, parameters.client_id, parameters.client_secret)?,
            token: parameters.token.ok_or(TokenError::NoToken)?,
        })
    }

    /// What the client presented to authenticate itself.
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The token, if it is a live one that this issuer made for this client.
    pub(super) fn token_of(
        &self,
        client: &ClientConfig,
        issuer: &str,
        keys: &SigningKeys,
        now: UnixTime,
    ) -> Option<RevokedToken> {
        let jws = Jws::parse(self.token.expose_secret()).ok()?;
        let candidates = keys.verifying_keys().candidates(jws.kid(), jws.algorithm()).ok()?;
        let (claims, _) = jws.verified_claims(&candidates)?;
        let text = |name| claims.string(name).ok().flatten();
        let expires_at = UnixTime(claims.numeric_date("exp").ok().flatten()?);
        let is_own = text("iss") == Some(issuer) && text("client_id") == Some(&client.id);
        let revoked = RevokedToken {
            jti: text("jti")?.to_owned(),
            client_id: client.id.clone(),
            expires_at,
            revoked_at: now,
        };
        (is_own && now < expires_at.plus(LONGEST_SKEW)).then_some(revoked)
    }
}

/// The list of revoked tokens, signed.
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// A JWT with the claims `iss`, `iat` and `revoked`, a list of `jti`s.
    pub jwt: Arc<str>,
    /// Changes when the list does, not with each signature.
    pub etag: HeaderValue,
}

/// What this issuer has revoked.
pub(super) struct Revocations {
    store: Arc<dyn Store>,
    /// Held while the store and memory change, so that neither gets ahead of the other.
    changing: tokio::sync::Mutex<()>,
    tokens: ArcSwap<Vec<RevokedToken>>,
    now: RevokedNow,
    signed: Mutex<Option<Signed>>,
}

struct Signed {
    of: Arc<Vec<RevokedToken>>,
    at: UnixTime,
    list: RevocationList,
}

impl Revocations {
    pub(super) async fn open(store: Arc<dyn Store>, now: UnixTime) -> Result<Self, StoreError> {
        let revocations = Self {
            store,
            changing: tokio::sync::Mutex::new(()),
            tokens: ArcSwap::default(),
            now: RevokedNow::default(),
            signed: Mutex::new(None),
        };
        revocations.reload(now).await?;
        Ok(revocations)
    }

    /// What is revoked, for verifiers in this process.
    pub(super) fn now(&self) -> &RevokedNow {
        &self.now
    }

    /// Takes over what other processes have revoked, and forgets what has expired.
    pub(super) async fn reload(&self, now: UnixTime) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let stored = self.store.revoked_tokens(now.minus(LONGEST_SKEW)).await?;
        if **self.tokens.load() != stored {
            self.replace(stored);
        }
        Ok(())
    }

    /// Revokes a token: in the store first, so that an answer is never taken back by a restart.
    pub(super) async fn revoke(&self, token: RevokedToken) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        if self.tokens.load().iter().any(|known| known.jti == token.jti) {
            return Ok(());
        }
        self.store.insert_revoked_token(&token).await?;
        let mut tokens = Vec::clone(&self.tokens.load());
        tokens.insert(0, token);
        self.replace(tokens);
        Ok(())
    }

    fn replace(&self, tokens: Vec<RevokedToken>) {
        let ids = tokens.iter().map(|token| TokenId::of(&token.jti)).collect();
        self.tokens.store(Arc::new(tokens));
        self.now.replace(Revoked::new(ids, HashMap::new()));
    }

    /// The signed list, at most [`LIST_LIFETIME`] old.
    pub(super) fn list(
        &self,
        issuer: &str,
        keys: &SigningKeys,
        now: UnixTime,
    ) -> Result<RevocationList, TokenError> {
        let tokens = self.tokens.load_full();
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Signed { of, at, list }) = &*signed
            && Arc::ptr_eq(of, &tokens)
            && *at <= now
            && at.until(now) < LIST_LIFETIME
        {
            return Ok(list.clone());
        }
        let list = sign(&tokens, issuer, keys, now)?;
        *signed = Some(Signed { of: tokens, at: now, list: list.clone() });
        Ok(list)
    }
}

fn sign(
    tokens: &[RevokedToken],
    issuer: &str,
    keys: &SigningKeys,
    now: UnixTime,
) -> Result<RevocationList, TokenError> {
    let revoked: Vec<&str> = tokens.iter().map(|token| token.jti.as_str()).collect();
    let claims = json!({ "iss": issuer, "iat": now.0, "revoked": revoked });
    let jwt = keys.signing_key().sign(TYP, &claims).map_err(|_| TokenError::Signing)?;
    let content: Vec<&[u8]> = revoked.iter().map(|jti| jti.as_bytes()).collect();
    let digest: String = sha256_parts(&content)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let etag = HeaderValue::try_from(format!("\"{digest}\"")).map_err(|_| TokenError::Signing)?;
    Ok(RevocationList { jwt: jwt.expose_secret().into(), etag })
}
