//! A compact JWS from outside (RFC 7515 §3.1).
//!
//! jsonwebtoken's `decode` ignores `typ` and `crit` and parses header and payload twice. Here the
//! header is parsed once, strictly. Before the signature is checked, the payload is only checked as
//! JSON; no claim is read except `iss`, which chooses the keys, and those for the access log.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::key_set::{Fingerprint, KeySet, NoCandidate, VerifyingKey};
use super::{Algorithm, parse_algorithm};
use crate::domain::claims::Claims;
use crate::domain::claims::outline::{Member, members};
use crate::domain::keyed_digest::KeyedDigest;
use crate::domain::reason::Reason;

/// Why a text is not a JWS that can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJws {
    /// Not three base64url parts of which the first two are JSON objects without repeated members.
    #[error("not a signed JWT in compact form")]
    Malformed,
    /// `alg` is missing, `none`, an HMAC or unknown.
    #[error("the signature algorithm is not supported")]
    Algorithm,
    /// The header has `crit` or `b64` (RFC 7515 §4.1.11, RFC 7797).
    #[error("a critical header is not supported")]
    Critical,
}

/// A compact JWS with any payload, before its signature is checked.
pub struct CompactJws<'a> {
    signing_input: &'a str,
    signature: Vec<u8>,
    header: Header,
    payload: Vec<u8>,
}

impl<'a> CompactJws<'a> {
    /// Reads a compact JWS. Each part has exactly one spelling: no padding, no bits beyond the last
    /// byte (RFC 7515 §2, RFC 4648 §3.5), or one token could be written in several ways.
    ///
    /// # Errors
    /// [`InvalidJws`] says what is wrong with it.
    pub fn parse(text: &'a str) -> Result<Self, InvalidJws> {
        let (signing_input, signature) = text.rsplit_once('.').ok_or(InvalidJws::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(InvalidJws::Malformed)?;
        if payload.contains('.') || signature.is_empty() {
            return Err(InvalidJws::Malformed);
        }
        Ok(Self {
            header: Header::parse(&decode(header)?)?,
            signature: decode(signature)?,
            payload: decode(payload)?,
            signing_input,
        })
    }

    /// The algorithm the header names. Trust it only together with a key that allows it.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.header.algorithm
    }

    /// The key id the header names.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The header's `typ`; `None` also when it is not a string, so compare with
    /// [`CompactJws::has_typ`].
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    /// Whether the header has a `typ` at all.
    #[must_use]
    pub fn has_typ(&self) -> bool {
        self.header.has_typ
    }

    /// All members of the header. It is read again, because only a proof needs others than
    /// [`Header`] has. `Some`, because `parse` has checked the header.
    pub(super) fn header_members(&self) -> Option<Claims> {
        let (header, _) = self.signing_input.split_once('.')?;
        Claims::parse(&decode(header).ok()?).ok()
    }

    /// Whether `key` made the signature with this header's algorithm.
    #[must_use]
    pub fn verify(&self, key: &VerifyingKey) -> bool {
        key.verifies(
            self.algorithm(),
            self.signing_input.as_bytes(),
            &self.signature,
        )
    }
}

/// The members of a JOSE header that are used.
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    has_typ: bool,
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, InvalidJws> {
        let names = ["alg", "kid", "typ", "crit", "b64"];
        let [alg, kid, typ, crit, b64] = outline(json, names)?;
        let algorithm = match &alg {
            Member::Text(name) => parse_algorithm(name).ok_or(InvalidJws::Algorithm)?,
            Member::Absent | Member::Other => return Err(InvalidJws::Algorithm),
        };
        if crit != Member::Absent || b64 != Member::Absent {
            return Err(InvalidJws::Critical);
        }
        if kid == Member::Other {
            return Err(InvalidJws::Malformed);
        }
        Ok(Self {
            algorithm,
            kid: kid.into_text(),
            has_typ: typ != Member::Absent,
            typ: typ.into_text(),
        })
    }
}

/// Why no key of a set verifies a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// No key can be tried.
    NoCandidate(NoCandidate),
    /// None of the keys made the signature.
    Signature,
}

impl From<NoCandidate> for Unverified {
    fn from(why: NoCandidate) -> Self {
        Self::NoCandidate(why)
    }
}

impl From<Unverified> for Reason {
    fn from(why: Unverified) -> Self {
        match why {
            Unverified::NoCandidate(NoCandidate::UnknownKid) => Self::UnknownKid,
            Unverified::NoCandidate(NoCandidate::Algorithm) => Self::Algorithm,
            Unverified::Signature => Self::Signature,
        }
    }
}

/// Claims that an unverified token makes. They are for the access log: no decision reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedToken {
    /// The `iss`.
    pub issuer: Option<String>,
    /// The `aud` values, joined by spaces, if they were asked for.
    pub audience: Option<String>,
    /// The `jti`.
    pub id: Option<String>,
}

/// A JWT (RFC 7519 §3): a compact JWS whose payload is a JSON object.
pub struct Jws<'a> {
    compact: CompactJws<'a>,
    claimed_issuer: Option<String>,
}

impl<'a> std::ops::Deref for Jws<'a> {
    type Target = CompactJws<'a>;

    fn deref(&self) -> &Self::Target {
        &self.compact
    }
}

impl<'a> Jws<'a> {
    /// Reads a compact JWS that carries claims.
    ///
    /// # Errors
    /// [`InvalidJws`] says what is wrong with it.
    pub fn parse(text: &'a str) -> Result<Self, InvalidJws> {
        let compact = CompactJws::parse(text)?;
        let [issuer] = outline(&compact.payload, ["iss"])?;
        let claimed_issuer = issuer.into_text();
        Ok(Self {
            compact,
            claimed_issuer,
        })
    }

    /// The `iss` of the unverified payload: use it only to choose whose keys to try.
    #[must_use]
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claimed_issuer.as_deref()
    }

    /// The `sub` of the unverified payload: use it only to choose whose keys to try.
    #[must_use]
    pub fn claimed_subject(&self) -> Option<String> {
        let [subject] = outline(&self.compact.payload, ["sub"]).ok()?;
        subject.into_text()
    }

    /// Claims of the unverified payload, for the access log only. `aud` may be a list, so reading
    /// it costs more.
    #[must_use]
    pub fn claimed_for_log(self, with_audience: bool) -> ClaimedToken {
        let claims = with_audience.then(|| self.claims()).flatten();
        let audience = claims.as_ref().and_then(|it| it.strings("aud").ok());
        let id = outline(&self.compact.payload, ["jti"]).ok();
        ClaimedToken {
            audience: audience.map(|aud| aud.join(" ")),
            id: id.and_then(|[id]| id.into_text()),
            issuer: self.claimed_issuer,
        }
    }

    /// The payload's claims and the key that made the signature, if one of `keys` did.
    #[must_use]
    pub fn verified_claims<'k>(
        &self,
        keys: &[&'k VerifyingKey],
    ) -> Option<(Claims, &'k VerifyingKey)> {
        let key = keys.iter().find(|key| self.verify(key))?;
        Some((self.claims()?, key))
    }

    /// The payload's claims and the key that made the signature, if a key of this set did.
    ///
    /// # Errors
    /// [`Unverified`] says why none did.
    pub fn verify_with(&self, keys: &KeySet) -> Result<(Claims, Fingerprint), Unverified> {
        let candidates = keys.candidates(self.kid(), self.algorithm())?;
        let (claims, key) = self
            .verified_claims(&candidates)
            .ok_or(Unverified::Signature)?;
        if candidates.len() > 1 {
            keys.verified_by(key);
        }
        Ok((claims, key.fingerprint()))
    }

    /// The claims before the signature is checked: decide nothing by them alone. `Some`, because
    /// `parse` has checked the payload.
    pub(super) fn unverified_claims(&self) -> Option<Claims> {
        self.claims()
    }

    /// `Some`, because `parse` has checked the payload.
    fn claims(&self) -> Option<Claims> {
        Claims::parse(&self.payload).ok()
    }
}

/// The claims of a token that was verified before, read again from its text. `verified` is the
/// digest of the verified text; another text gives `None`.
#[must_use]
pub fn reread_claims(text: &str, verified: &KeyedDigest) -> Option<Claims> {
    if KeyedDigest::of(text.as_bytes()) != *verified {
        return None;
    }
    Jws::parse(text).ok()?.claims()
}

fn decode(part: &str) -> Result<Vec<u8>, InvalidJws> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| InvalidJws::Malformed)
}

fn outline<'j, const N: usize>(
    json: &'j [u8],
    names: [&str; N],
) -> Result<[Member<'j>; N], InvalidJws> {
    members(json, names).map_err(|_| InvalidJws::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(header: &str, payload: &str) -> String {
        format!(
            "{}.{}.c2lnbg",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        )
    }

    fn refusal(text: &str) -> InvalidJws {
        Jws::parse(text).err().expect("refused")
    }

    #[test]
    fn other_texts_than_a_compact_jws_are_malformed() {
        let good = encode(r#"{"alg":"ES256"}"#, "{}");
        assert!(Jws::parse(&good).is_ok());
        for bad in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            &format!("{good}."),
            &format!(".{good}"),
            &format!("{good}.x.y"),
            &good[..good.len() - 6],
            &encode(r#"{"alg":"ES256","alg":"none"}"#, "{}"),
            &encode(r#"{"alg":"ES256"}"#, r#"{"iss":"a","iss":"b"}"#),
            &encode(r#"{"alg":"ES256","kid":5}"#, "{}"),
            &encode(r#"{"alg":"ES256"}"#, "[]"),
            &encode("[]", "{}"),
            // Other spellings of a valid token: unused bits of the last byte, padding, the other
            // alphabet.
            &format!("{}h", &good[..good.len() - 1]),
            &format!("{good}="),
            &good.replacen('.', "=.", 1),
            &good.replacen("c2ln", "c2/n", 1),
        ] {
            assert_eq!(refusal(bad), InvalidJws::Malformed, "{bad}");
        }
    }

    #[test]
    fn none_and_hmac_and_unknown_algorithms_are_refused() {
        for alg in [
            "none", "None", "HS256", "HS512", "ES512", "ES256K", "RSA1_5", "es256", "",
        ] {
            assert_eq!(
                refusal(&encode(&format!(r#"{{"alg":"{alg}"}}"#), "{}")),
                InvalidJws::Algorithm,
                "{alg}"
            );
        }
        assert_eq!(refusal(&encode("{}", "{}")), InvalidJws::Algorithm);
        assert_eq!(
            refusal(&encode(r#"{"alg":["ES256"]}"#, "{}")),
            InvalidJws::Algorithm
        );
    }

    #[test]
    fn critical_headers_are_refused() {
        for header in [
            r#"{"alg":"ES256","crit":["exp"]}"#,
            r#"{"alg":"ES256","crit":[]}"#,
            r#"{"alg":"ES256","b64":false}"#,
        ] {
            assert_eq!(
                refusal(&encode(header, "{}")),
                InvalidJws::Critical,
                "{header}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[A-Za-z0-9_.=-]{0,200}|\\PC{0,60}") {
            let _ = Jws::parse(&text);
        }
    }
}
