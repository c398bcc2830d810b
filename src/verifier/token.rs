//! The claims of a verified token, parsed once into types.

mod claim_text;
mod texts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::domain::actors;
use crate::domain::claims::{Claims, WrongType};
use crate::domain::clock::UnixTime;
use crate::domain::issuer_name::IssuerName;
use crate::domain::keyed_digest::KeyedDigest;
use crate::domain::printable::excerpt;
use crate::domain::reason::Reason;
use crate::domain::revoked::{AFTER_END, EndMark, Issued, Revoked, TokenId};
use crate::domain::scope::ScopeSet;
use crate::jose::key_set::Fingerprint;
use crate::jose::verify::reread_claims;

use super::binding::Binding;
use super::{Audiences, BearerToken, Profile};
use claim_text::{audiences, compared_items, header_text, in_header};
use texts::Texts;

/// How long a token without `exp` is cached.
const WITHOUT_EXPIRY: Duration = Duration::from_secs(30);

/// How the claims of a token are parsed.
pub(super) struct Reading<'a> {
    /// The claims for headers. One that fits no header makes the token unusable, because a request
    /// without it could pass for another identity.
    pub forwarded: &'a [String],
    /// The claims that rules compare.
    pub compared: &'a [String],
    /// The claims that may name the client; the first that the token has is used.
    pub client_id: &'a [String],
    /// Whether a token without `exp` is refused.
    pub require_expiry: bool,
    /// How its authority writes tokens.
    pub profile: Profile,
    /// Its authority's issuer, which its `iss` names.
    pub issuer: &'a IssuerName,
    /// The time.
    pub now: UnixTime,
}

/// The proof that a token is genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The key that made its signature.
    Key(Fingerprint),
    /// An answer of its authority, which counts from and until these times.
    Answer { from: UnixTime, until: UnixTime },
}

/// The cached facts of a token that is proven to be genuine. They are small, because tens of
/// thousands are cached: of the claims only those that are forwarded or compared.
pub struct TokenFacts {
    /// The digest of the whole token.
    pub(super) digest: KeyedDigest,
    pub(super) proof: Proof,
    /// Its `exp`; without one, until when it is cached.
    ends_at: i64,
    /// The beginning of time if the token has no `nbf`.
    not_before: i64,
    issued_at: i64,
    token_id: Option<TokenId>,
    after_end: Option<EndMark>,
    /// [`SCOPES`], [`CLIENT_ID`], [`SUBJECT`], [`JTI`], [`KEY`], [`CERTIFICATE`],
    /// [`ACTORS`], then the forwarded claims, then those that rules ask about, then the audiences.
    texts: Texts,
    forwarded: u16,
    compared: u16,
    authority: u16,
    never_expires: bool,
}

/// A token whose signature, claims, times and audience a verifier accepted.
#[derive(Clone)]
pub struct VerifiedToken(pub(super) Arc<TokenFacts>);

/// Prints nothing of the token.
impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedToken")
    }
}

impl std::ops::Deref for VerifiedToken {
    type Target = TokenFacts;

    fn deref(&self) -> &TokenFacts {
        &self.0
    }
}

const SCOPES: usize = 0;
const CLIENT_ID: usize = 1;
const SUBJECT: usize = 2;
const JTI: usize = 3;
const KEY: usize = 4;
const CERTIFICATE: usize = 5;
const ACTORS: usize = 6;
const FORWARDED: usize = 7;

/// How much of a `jti` is kept for the access log, in bytes.
const SHOWN_JTI: usize = 128;
/// How much of the actors' names.
const SHOWN_ACTORS: usize = 256;

/// Separates the items of a list in one text. An item that contains it is not kept.
const ITEM_END: char = '\0';

impl TokenFacts {
    /// Reads the claims of a token that is proven to be genuine.
    ///
    /// # Errors
    /// [`Reason::NoExpiry`], [`Reason::SenderConstrained`] or [`Reason::MalformedClaims`].
    pub(super) fn read(
        claims: &Claims,
        digest: KeyedDigest,
        authority: usize,
        proof: Proof,
        reading: &Reading<'_>,
    ) -> Result<Self, Reason> {
        let wrong = |_: WrongType| Reason::MalformedClaims;
        let binding = Binding::read(claims)?;
        let expires_at = claims.numeric_date("exp").map_err(wrong)?;
        if expires_at.is_none() && reading.require_expiry {
            return Err(Reason::NoExpiry);
        }
        let not_before = claims
            .numeric_date("nbf")
            .map_err(wrong)?
            .unwrap_or(i64::MIN);
        let issued_at = claims
            .numeric_date("iat")
            .map_err(wrong)?
            .unwrap_or(i64::MIN);
        for name in ["sub", "client_id", "azp"] {
            claims.string(name).map_err(wrong)?;
        }
        let after_end = claims
            .get(AFTER_END)
            .and_then(Value::as_str)
            .and_then(EndMark::parse);
        let jti = claims.string("jti").map_err(wrong)?;
        let texts = texts(claims, jti, &binding, reading)?;
        let count = |n| u16::try_from(n).map_err(|_| Reason::Internal);
        Ok(Self {
            digest,
            proof,
            ends_at: expires_at.unwrap_or(reading.now.plus(WITHOUT_EXPIRY).0),
            not_before,
            issued_at,
            after_end,
            token_id: jti.map(TokenId::of),
            texts,
            forwarded: count(reading.forwarded.len())?,
            compared: count(reading.compared.len())?,
            authority: count(authority)?,
            never_expires: expires_at.is_none(),
        })
    }

    /// Index of the authority among the listener's: a client or user of one is not that of another.
    #[must_use]
    pub fn authority(&self) -> usize {
        self.authority.into()
    }

    /// All claims of this token, read from its text. `None` if `bearer` is another token, or if the
    /// token is opaque.
    #[must_use]
    pub fn claims(&self, bearer: &BearerToken<'_>) -> Option<Claims> {
        reread_claims(bearer.text(), &self.digest)
    }

    /// Its `exp`, if it has one.
    pub(super) fn expires_at(&self) -> Option<UnixTime> {
        (!self.never_expires).then_some(UnixTime(self.ends_at))
    }

    /// Whether the token has no `exp`.
    pub(super) fn never_expires(&self) -> bool {
        self.never_expires
    }

    /// Whether the authority confirmed the token by introspection.
    pub(super) fn is_introspected(&self) -> bool {
        matches!(self.proof, Proof::Answer { .. })
    }

    /// Whether the cached facts may still be used. After the clock was set back they may not,
    /// because the caching time would begin again.
    pub(super) fn may_be_cached(&self, now: UnixTime) -> bool {
        if let Proof::Answer { from, until } = self.proof {
            return (from..until).contains(&now);
        }
        let end = UnixTime(self.ends_at);
        !self.never_expires || (end.minus(WITHOUT_EXPIRY)..end).contains(&now)
    }

    /// Checks the token's times (RFC 7519 §4.1.4 to §4.1.6).
    pub(super) fn check_times(&self, now: UnixTime, skew: Duration) -> Result<(), Reason> {
        let (earliest, latest) = (now.minus(skew), now.plus(skew));
        if !self.never_expires && self.ends_at <= earliest.0 {
            Err(Reason::Expired)
        } else if self.not_before > latest.0 {
            Err(Reason::NotYetValid)
        } else if self.issued_at > latest.0 {
            Err(Reason::IssuedInFuture)
        } else {
            Ok(())
        }
    }

    /// Checks that the token ends within the longest permitted time.
    pub(super) fn check_lifetime(
        &self,
        now: UnixTime,
        skew: Duration,
        most: Option<Duration>,
    ) -> Result<(), Reason> {
        let Some(most) = most else {
            return Ok(());
        };
        if self.never_expires || self.ends_at > now.plus(most).plus(skew).0 {
            Err(Reason::LifetimeTooLong)
        } else {
            Ok(())
        }
    }

    /// Checks that the token is not revoked. It needs a `jti`, by which it can be revoked.
    pub(super) fn check_not_revoked(&self, revoked: &Revoked, now: UnixTime) -> Result<(), Reason> {
        let issued = Issued {
            token: self.token_id.ok_or(Reason::MalformedClaims)?,
            client_id: self.client_id(),
            at: UnixTime(self.issued_at),
            after_end: self.after_end,
        };
        if revoked.covers(&issued, now) {
            Err(Reason::Revoked)
        } else {
            Ok(())
        }
    }

    /// Whether the token is meant for one of these audiences.
    pub(super) fn is_for(&self, audiences: &Audiences) -> bool {
        match audiences {
            Audiences::Any => true,
            Audiences::OneOf(accepted) => self
                .texts
                .from(FORWARDED + usize::from(self.forwarded) + usize::from(self.compared))
                .flatten()
                .any(|aud| accepted.iter().any(|accepted| aud == accepted.as_bytes())),
        }
    }

    /// Whether the token has all of these scopes.
    #[must_use]
    pub fn has_scopes(&self, needed: &ScopeSet) -> bool {
        let scopes = self.texts.get(SCOPES).unwrap_or_default();
        needed.iter().all(|needed| {
            scopes
                .split(|b| *b == b' ')
                .any(|scope| scope == needed.as_bytes())
        })
    }

    /// Whether the token has one of these scopes.
    pub(super) fn has_any_scope(&self, wanted: &ScopeSet) -> bool {
        let scopes = self.texts.get(SCOPES).unwrap_or_default();
        wanted.iter().any(|wanted| {
            scopes
                .split(|b| *b == b' ')
                .any(|scope| scope == wanted.as_bytes())
        })
    }

    /// Whether the compared claim with this index, or one of its items, has one of these values.
    /// The values are not empty.
    pub(super) fn claim_is_one_of(&self, place: usize, values: &[impl AsRef<str>]) -> bool {
        let place = Some(place).filter(|place| *place < usize::from(self.compared));
        let text = place.and_then(|place| {
            self.texts
                .get(FORWARDED + usize::from(self.forwarded) + place)
        });
        let mut items = text.unwrap_or_default().split(|b| *b == ITEM_END as u8);
        items.any(|item| values.iter().any(|value| value.as_ref().as_bytes() == item))
    }

    /// Whether the compared claim with this index, or one of its items, is this text. An empty text
    /// is equal to nothing.
    pub(super) fn claim_is(&self, place: usize, text: &str) -> bool {
        !text.is_empty() && self.claim_is_one_of(place, &[text])
    }

    /// The `sub`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        std::str::from_utf8(self.texts.get(SUBJECT)?).ok()
    }

    /// The client: the first of the authority's `clientIDClaims` that the token has.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        std::str::from_utf8(self.texts.get(CLIENT_ID)?).ok()
    }

    /// The token's `jti` for the log: escaped and cut.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        std::str::from_utf8(self.texts.get(JTI)?).ok()
    }

    /// The names of the actors (`act`) for the log, in the order in which they acted: escaped and
    /// cut.
    #[must_use]
    pub fn actors(&self) -> Option<&str> {
        std::str::from_utf8(self.texts.get(ACTORS)?).ok()
    }

    /// The keys that the token is bound to.
    pub(super) fn binding(&self) -> Binding<'_> {
        let text = |place| std::str::from_utf8(self.texts.get(place)?).ok();
        Binding {
            key: text(KEY),
            certificate: text(CERTIFICATE),
        }
    }

    /// The forwarded claims as header values, in the order of the configuration; `None` for one
    /// that the token does not have.
    pub fn forwarded(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.texts.from(FORWARDED).take(usize::from(self.forwarded))
    }
}

/// The texts of [`TokenFacts::texts`].
fn texts(
    claims: &Claims,
    jti: Option<&str>,
    binding: &Binding<'_>,
    reading: &Reading<'_>,
) -> Result<Texts, Reason> {
    let wrong = |_: WrongType| Reason::MalformedClaims;
    let scopes = claims.scopes().map_err(wrong)?;
    // An empty text is not a client id.
    let named = |name: &String| claims.find(name)?.as_str().filter(|text| !text.is_empty());
    let client_id = reading.client_id.iter().find_map(named);
    let subject = claims.string("sub").map_err(wrong)?;
    // Only for the log: a rule reads the claim itself.
    let actors = actors::of(claims).ok();
    let actors = actors.and_then(|actors| actors::shown(&actors));
    let mut texts = vec![
        Some(scopes.to_string()),
        client_id.map(str::to_owned),
        subject.map(str::to_owned),
        jti.map(|jti| excerpt(jti.as_bytes(), SHOWN_JTI).into_owned()),
        binding.key.map(str::to_owned),
        binding.certificate.map(str::to_owned),
        actors.map(|actors| excerpt(actors.as_bytes(), SHOWN_ACTORS).into_owned()),
    ];
    for name in reading.forwarded {
        // To the upstream an issuer has one spelling.
        let issuer = (name == "iss").then(|| reading.issuer.written());
        texts.push(issuer.map_or_else(|| header_text(claims, &scopes, name), in_header)?);
    }
    let compared = reading.compared.iter();
    texts.extend(compared.map(|name| compared_items(claims, name, reading)));
    let audiences = audiences(claims, reading.profile)?;
    texts.extend(audiences.into_iter().map(|aud| Some(aud.to_owned())));
    Texts::new(&texts).ok_or(Reason::MalformedClaims)
}

#[cfg(test)]
pub(super) mod tests;
