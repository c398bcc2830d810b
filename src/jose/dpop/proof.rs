//! The checks of a proof (RFC 9449 §4.3).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde_json::Value;

use super::making::token_hash;
use super::{DPOP, MAX_AGE, MAX_ID_SIZE, MAX_PROOF_SIZE, Nonces, TYPE, TargetUri, thumbprint};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::keyed_digest::KeyedDigest;
use crate::jose::key_set::VerifyingKey;
use crate::jose::verify::{InvalidJws, Jws};

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    #[error("the request has no DPoP header")]
    Missing,
    #[error("the request has more than one DPoP header")]
    Two,
    #[error("the proof is longer than 8 KiB")]
    TooLarge,
    #[error("the proof is no signed JWT in compact form")]
    Malformed,
    #[error("`typ` of the proof is not `dpop+jwt`")]
    Type,
    #[error("`alg` of the proof is not supported, or does not fit its key")]
    Algorithm,
    #[error("the proof has a critical header, which is not supported")]
    Critical,
    #[error("`jwk` of the proof is missing, or no public key that is supported")]
    Key,
    #[error("`jwk` of the proof has a private key")]
    PrivateKey,
    #[error("the key of the proof did not make its signature")]
    Signature,
    #[error("`jti`, `htm`, `htu` or `iat` of the proof is missing or has a wrong type")]
    Claims,
    #[error("`jti` of the proof is empty or longer than 256 bytes")]
    Id,
    #[error("`htm` of the proof is not the method of the request")]
    Method,
    #[error("`htu` of the proof is not the URL of the request")]
    Target,
    #[error("`iat` of the proof is more than 60 s ago; make a proof for each request")]
    Old,
    #[error("`iat` of the proof is more than 60 s in the future; compare the clocks")]
    Future,
    #[error("`ath` of the proof is missing, or not the hash of the token")]
    TokenHash,
    #[error("`nonce` of the proof is missing, or not one that was given lately")]
    Nonce,
    #[error("the token is bound to another key than that of the proof")]
    OtherKey,
}

/// The properties that a proof must have.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    pub method: &'a str,
    pub url: &'a TargetUri,
    /// The access token that the request carries.
    pub token: Option<&'a str>,
    /// The thumbprint of the key that the token is bound to.
    pub thumbprint: Option<&'a str>,
    /// The nonces, if the proof must have one.
    pub nonces: Option<&'a Nonces>,
    pub now: UnixTime,
}

/// A valid proof. [`ReplayMemory`](super::ReplayMemory) tells whether it was used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    thumbprint: String,
    id: KeyedDigest,
    issued_at: UnixTime,
    needs_nonce: bool,
}

/// The proof of a request: its one `DPoP` header.
///
/// # Errors
/// [`InvalidProof::Missing`], [`InvalidProof::Two`] or [`InvalidProof::Malformed`].
pub fn sent_proof(headers: &HeaderMap) -> Result<&str, InvalidProof> {
    let mut values = headers.get_all(DPOP).iter();
    let value = values.next().ok_or(InvalidProof::Missing)?;
    if values.next().is_some() {
        return Err(InvalidProof::Two);
    }
    value.to_str().map_err(|_| InvalidProof::Malformed)
}

impl Proof {
    /// Checks a proof. The signature is checked last, because it costs most.
    ///
    /// # Errors
    /// [`InvalidProof`] names the first check that fails.
    pub fn verify(text: &str, expected: &Expected<'_>) -> Result<Self, InvalidProof> {
        if text.len() > MAX_PROOF_SIZE {
            return Err(InvalidProof::TooLarge);
        }
        let jws = Jws::parse(text)?;
        if jws.typ() != Some(TYPE) {
            return Err(InvalidProof::Type);
        }
        let header = jws.header_members().ok_or(InvalidProof::Malformed)?;
        let jwk = header.get("jwk").ok_or(InvalidProof::Key)?;
        let key = public_key(jwk)?;
        if !key.allows(jws.algorithm()) {
            return Err(InvalidProof::Algorithm);
        }
        let thumbprint = thumbprint::of_jwk(jwk).ok_or(InvalidProof::Key)?;
        let claims = jws.unverified_claims().ok_or(InvalidProof::Malformed)?;
        let proof = Self::read(&claims, thumbprint, expected)?;
        if jws.verify(&key) {
            Ok(proof)
        } else {
            Err(InvalidProof::Signature)
        }
    }

    /// Checks the claims of a proof.
    fn read(
        claims: &Claims,
        thumbprint: String,
        expected: &Expected<'_>,
    ) -> Result<Self, InvalidProof> {
        let text = |name| claims.string(name).map_err(|_| InvalidProof::Claims);
        let id = text("jti")?.ok_or(InvalidProof::Claims)?;
        if id.is_empty() || id.len() > MAX_ID_SIZE {
            return Err(InvalidProof::Id);
        }
        if text("htm")?.ok_or(InvalidProof::Claims)? != expected.method {
            return Err(InvalidProof::Method);
        }
        let target = text("htu")?.ok_or(InvalidProof::Claims)?;
        if TargetUri::parse(target).as_ref() != Some(expected.url) {
            return Err(InvalidProof::Target);
        }
        let issued_at = issued_at(claims, expected.now)?;
        if let Some(token) = expected.token
            && text("ath")? != Some(&token_hash(token))
        {
            return Err(InvalidProof::TokenHash);
        }
        if expected.thumbprint.is_some_and(|bound| bound != thumbprint) {
            return Err(InvalidProof::OtherKey);
        }
        let is_current = match expected.nonces {
            None => true,
            Some(nonces) => text("nonce")?
                .and_then(|nonce| nonces.is_current(nonce, expected.now))
                .ok_or(InvalidProof::Nonce)?,
        };
        Ok(Self {
            id: KeyedDigest::of(format!("{thumbprint} {id}").as_bytes()),
            thumbprint,
            issued_at,
            needs_nonce: !is_current,
        })
    }

    /// The thumbprint of the key that made the proof (RFC 7638): the `jkt` of its tokens.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether its nonce ends soon, so that the response should carry a new one (RFC 9449 §8.2).
    #[must_use]
    pub fn needs_nonce(&self) -> bool {
        self.needs_nonce
    }

    /// Its key and `jti`.
    pub(super) fn id(&self) -> KeyedDigest {
        self.id
    }

    pub(super) fn issued_at(&self) -> UnixTime {
        self.issued_at
    }
}

impl From<InvalidJws> for InvalidProof {
    fn from(why: InvalidJws) -> Self {
        match why {
            InvalidJws::Malformed => Self::Malformed,
            InvalidJws::Algorithm => Self::Algorithm,
            InvalidJws::Critical => Self::Critical,
        }
    }
}

fn issued_at(claims: &Claims, now: UnixTime) -> Result<UnixTime, InvalidProof> {
    let issued_at = claims
        .numeric_date("iat")
        .map_err(|_| InvalidProof::Claims)?;
    let issued_at = UnixTime(issued_at.ok_or(InvalidProof::Claims)?);
    if issued_at < now.minus(MAX_AGE) {
        Err(InvalidProof::Old)
    } else if issued_at > now.plus(MAX_AGE) {
        Err(InvalidProof::Future)
    } else {
        Ok(issued_at)
    }
}

/// The key of a proof: a public one, in the only spelling that it has, because its thumbprint is
/// that of the spelling.
fn public_key(jwk: &Value) -> Result<VerifyingKey, InvalidProof> {
    // RFC 7518 §6.2.2, §6.3.2 and §6.4.1, RFC 8037 §2.
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    let members = jwk.as_object().ok_or(InvalidProof::Key)?;
    if PRIVATE.iter().any(|name| members.contains_key(*name)) {
        return Err(InvalidProof::PrivateKey);
    }
    for (name, is_number) in [("x", false), ("y", false), ("n", true), ("e", true)] {
        let Some(text) = members.get(name).and_then(Value::as_str) else {
            continue;
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| InvalidProof::Key)?;
        if is_number && bytes.first().is_none_or(|first| *first == 0) {
            return Err(InvalidProof::Key);
        }
    }
    VerifyingKey::of_jwk(jwk).ok_or(InvalidProof::Key)
}
