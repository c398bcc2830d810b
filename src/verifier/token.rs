//! What a verified token says, read once into types.

use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

use crate::domain::claims::{Claims, WrongType};
use crate::domain::clock::UnixTime;
use crate::domain::issuer_name::IssuerName;
use crate::domain::printable::excerpt;
use crate::domain::reason::Reason;
use crate::domain::revoked::{AFTER_END, EndMark, Issued, Revoked, TokenId};
use crate::domain::scope::ScopeSet;
use crate::jose::key_set::Fingerprint;
use crate::jose::verify::reread_claims;

use super::{Audiences, BearerToken, Profile};

/// How long a token without `exp` is remembered: nothing else would ever end that.
const WITHOUT_EXPIRY: Duration = Duration::from_secs(30);

/// How the claims of a token are to be read.
pub(super) struct Reading<'a> {
    /// The claims that will stand in headers: one that cannot makes the token unusable, because a
    /// request without it could pass for another identity.
    pub forwarded: &'a [String],
    /// The claims that rules ask about.
    pub compared: &'a [String],
    /// The claims that may name the client; the first that the token has does.
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

/// What is kept of a token whose signature and claims were checked; nothing here depends on when it
/// is used. Small and in few pieces, because tens of thousands are remembered: of the claims only
/// those that the listener forwards or that its rules ask about.
pub struct TokenFacts {
    /// The SHA-256 of the whole token.
    pub(super) hash: [u8; 32],
    /// The key that made the signature.
    pub(super) key: Fingerprint,
    /// Its `exp`; when it has none, until when it is remembered.
    ends_at: i64,
    /// The beginning of time where the token does not say.
    not_before: i64,
    issued_at: i64,
    /// By its `jti`, when it has one.
    token_id: Option<TokenId>,
    after_end: Option<EndMark>,
    /// [`SCOPES`], [`CLIENT_ID`], [`SUBJECT`], [`JTI`], then the forwarded claims, then those that
    /// rules ask about, then the audiences.
    texts: Texts,
    forwarded: u16,
    compared: u16,
    authority: u16,
    never_expires: bool,
}

const SCOPES: usize = 0;
const CLIENT_ID: usize = 1;
const SUBJECT: usize = 2;
const JTI: usize = 3;
const FORWARDED: usize = 4;

/// How much of a `jti` is kept for the access log, in bytes.
const SHOWN_JTI: usize = 128;

/// Ends an item of a list of texts in one text. An item that holds it is not kept, so no rule takes
/// it for another.
const ITEM_END: char = '\0';

impl TokenFacts {
    /// Reads the claims of a token whose signature was checked.
    ///
    /// # Errors
    /// [`Reason::NoExpiry`], [`Reason::SenderConstrained`] or [`Reason::MalformedClaims`].
    pub(super) fn read(
        claims: &Claims,
        hash: [u8; 32],
        authority: usize,
        key: Fingerprint,
        reading: &Reading<'_>,
    ) -> Result<Self, Reason> {
        let wrong = |_: WrongType| Reason::MalformedClaims;
        // RFC 7800 §3: a token bound to a key is worth nothing without proof of that key.
        if claims.contains("cnf") {
            return Err(Reason::SenderConstrained);
        }
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
        let scopes = claims.scopes().map_err(wrong)?;
        // An empty text names nobody.
        let named = |name: &String| claims.find(name)?.as_str().filter(|text| !text.is_empty());
        let client_id = reading.client_id.iter().find_map(named);
        let subject = claims.string("sub").map_err(wrong)?;
        let shown_jti = jti.map(|jti| excerpt(jti.as_bytes(), SHOWN_JTI).into_owned());
        let mut texts = vec![
            Some(scopes.to_string()),
            client_id.map(str::to_owned),
            subject.map(str::to_owned),
            shown_jti,
        ];
        for name in reading.forwarded {
            // However a token spells it: to the upstream an authority has one name.
            let issuer = (name == "iss").then(|| reading.issuer.written());
            texts.push(issuer.map_or_else(|| header_text(claims, &scopes, name), in_header)?);
        }
        texts.extend(
            reading
                .compared
                .iter()
                .map(|name| compared_items(claims, name, reading)),
        );
        texts.extend(
            audiences(claims, reading.profile)?
                .into_iter()
                .map(|aud| Some(aud.to_owned())),
        );
        let texts = Texts::new(&texts).ok_or(Reason::MalformedClaims)?;
        let count = |n| u16::try_from(n).map_err(|_| Reason::Internal);
        Ok(Self {
            hash,
            key,
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

    /// All claims of this token, read from its text. `None` if `bearer` is another token.
    #[must_use]
    pub fn claims(&self, bearer: &BearerToken) -> Option<Claims> {
        reread_claims(bearer.text(), &self.hash)
    }

    /// Whether the token has no `exp`.
    pub(super) fn never_expires(&self) -> bool {
        self.never_expires
    }

    /// Whether what is known of the token may still be used, or must be found out anew. Also not
    /// after the clock was set back: the time of remembering would begin again.
    pub(super) fn may_be_cached(&self, now: UnixTime) -> bool {
        let end = UnixTime(self.ends_at);
        !self.never_expires || (end.minus(WITHOUT_EXPIRY)..end).contains(&now)
    }

    /// Judges the token's times (RFC 7519 §4.1.4 to §4.1.6).
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

    /// Whether the token is none of the revoked ones. One without `jti` could never be named among
    /// them.
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

    /// Whether the claim with this place among the asked ones, or one of its items, has one of
    /// these values, none of them empty.
    pub(super) fn claim_is_one_of(&self, place: usize, values: &[String]) -> bool {
        let place = Some(place).filter(|place| *place < usize::from(self.compared));
        let text = place.and_then(|place| {
            self.texts
                .get(FORWARDED + usize::from(self.forwarded) + place)
        });
        let mut items = text.unwrap_or_default().split(|b| *b == ITEM_END as u8);
        items.any(|item| values.iter().any(|value| value.as_bytes() == item))
    }

    /// Whom the token speaks for: `sub`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        std::str::from_utf8(self.texts.get(SUBJECT)?).ok()
    }

    /// Who asked for the token, by the first of the authority's `clientIDClaims` that it has.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        std::str::from_utf8(self.texts.get(CLIENT_ID)?).ok()
    }

    /// The token's `jti` as a log may show it: escaped, and cut when it is long.
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        std::str::from_utf8(self.texts.get(JTI)?).ok()
    }

    /// The claims that the listener forwards, in the order of its configuration, each as it stands
    /// in a header; `None` where the token has none.
    pub fn forwarded(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.texts.from(FORWARDED).take(usize::from(self.forwarded))
    }
}

/// Some texts in one piece of memory: how many they are, where each begins and ends, then the texts
/// themselves. One that is not there ends before it begins.
struct Texts(Box<[u8]>);

impl Texts {
    /// `None` when they are too long; those of a token, whose length is bounded, are not.
    fn new(texts: &[Option<String>]) -> Option<Self> {
        let number = |n: usize| Some(u16::try_from(n).ok()?.to_ne_bytes());
        let head = 2 + 4 * texts.len();
        let mut bytes = number(texts.len())?.to_vec();
        let mut all = String::new();
        for text in texts {
            let (start, end) = match text {
                None => (1, 0),
                Some(text) => {
                    // What is forwarded is often there already.
                    let start = all.find(text).unwrap_or(all.len());
                    if start == all.len() {
                        all.push_str(text);
                    }
                    (head + start, head + start + text.len())
                }
            };
            bytes.extend_from_slice(&number(start)?);
            bytes.extend_from_slice(&number(end)?);
        }
        bytes.extend_from_slice(all.as_bytes());
        Some(Self(bytes.into()))
    }

    /// The texts from the one with this index on.
    fn from(&self, first: usize) -> impl Iterator<Item = Option<&[u8]>> {
        let number = |a: u8, b: u8| usize::from(u16::from_ne_bytes([a, b]));
        let (count, rest) = self
            .0
            .split_first_chunk()
            .map_or((0, &[][..]), |([a, b], rest)| (number(*a, *b), rest));
        let spans = rest.as_chunks().0.iter().take(count).skip(first);
        spans.map(move |[a, b, c, d]| self.0.get(number(*a, *b)..number(*c, *d)))
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.from(index).next()?
    }
}

/// Whom the token is meant for. plgd joins audiences into one text, alone or as the only item of a
/// list.
fn audiences(claims: &Claims, profile: Profile) -> Result<Vec<&str>, Reason> {
    let audiences = claims.strings("aud").map_err(|_| Reason::MalformedClaims)?;
    Ok(match (profile, audiences.as_slice()) {
        (Profile::Plgd, [joined]) => joined.split(' ').filter(|part| !part.is_empty()).collect(),
        _ => audiences,
    })
}

/// A claim as the text of a header: strings as they are, numbers and booleans in JSON, lists of
/// those joined by spaces. Other values, and a claim that is not there, give `None`.
///
/// # Errors
/// [`Reason::MalformedClaims`] when the upstream could read another value: what no header can hold,
/// spaces at an end, which every parser takes away, and list items that one could take for two.
fn header_text(claims: &Claims, scopes: &ScopeSet, name: &str) -> Result<Option<String>, Reason> {
    if name == "scope" && (claims.contains("scope") || !scopes.is_empty())
        || name == "scp" && claims.contains("scp")
    {
        return Ok(Some(scopes.to_string()));
    }
    let text = match claims.find(name) {
        Some(Value::Array(items)) => {
            let Some(items) = items.iter().map(scalar).collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            if items
                .iter()
                .any(|item| item.is_empty() || item.contains(is_blank))
            {
                return Err(Reason::MalformedClaims);
            }
            Some(items.join(" "))
        }
        Some(value) => scalar(value),
        None => None,
    };
    text.as_deref().map_or(Ok(None), in_header)
}

/// A text that stands in a header as it is.
fn in_header(text: &str) -> Result<Option<String>, Reason> {
    let stands = HeaderValue::from_str(text).is_ok() && text.trim_matches(is_blank) == text;
    if stands {
        Ok(Some(text.to_owned()))
    } else {
        Err(Reason::MalformedClaims)
    }
}

/// The items of a claim that rules ask about. The issuer has several spellings where slashes do not
/// count.
fn compared_items(claims: &Claims, name: &str, reading: &Reading<'_>) -> Option<String> {
    let items = claim_items(claims, name)?;
    if name != "iss" || reading.profile == Profile::Standard {
        return Some(items);
    }
    let spellings = reading
        .issuer
        .spellings()
        .into_iter()
        .filter(|text| !text.contains(ITEM_END));
    Some(
        std::iter::once(items)
            .chain(spellings)
            .collect::<Vec<_>>()
            .join(&ITEM_END.to_string()),
    )
}

/// Whether some upstream cuts a character off at the end of a header's value, or splits a list
/// there: white space of Unicode, and what some libraries take for it.
fn is_blank(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '\u{180e}' | '\u{200b}' | '\u{2060}' | '\u{feff}')
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A claim as rules compare it: its text, or those of its items.
fn claim_items(claims: &Claims, name: &str) -> Option<String> {
    let value = claims.find(name)?;
    let items = value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice);
    let texts: Vec<_> = items
        .iter()
        .filter_map(scalar)
        .filter(|text| !text.contains(ITEM_END))
        .collect();
    Some(texts.join(&ITEM_END.to_string()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::verifier::CLIENT_ID_CLAIMS;

    fn read(claims: &str, forwarded: &[&str]) -> Result<TokenFacts, Reason> {
        read_compared(claims, forwarded, &[])
    }

    fn read_compared(
        claims: &str,
        forwarded: &[&str],
        compared: &[&str],
    ) -> Result<TokenFacts, Reason> {
        let claims = Claims::parse(claims.as_bytes()).unwrap();
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let (forwarded, compared) = (owned(forwarded), owned(compared));
        let (require_expiry, profile) = (true, Profile::Standard);
        let now = UnixTime(0);
        let client_id = &owned(&CLIENT_ID_CLAIMS);
        let issuer = &IssuerName::exact("https://idp.example/");
        let reading = Reading {
            forwarded: &forwarded,
            compared: &compared,
            client_id,
            require_expiry,
            profile,
            issuer,
            now,
        };
        TokenFacts::read(&claims, [1; 32], 3, [2; 16], &reading)
    }

    fn read_plgd(claims: &str, now: i64) -> Result<TokenFacts, Reason> {
        let claims = Claims::parse(claims.as_bytes()).unwrap();
        let (require_expiry, profile, now) = (false, Profile::Plgd, UnixTime(now));
        let issuer = &IssuerName::as_plgd_compares("https://idp.example");
        let (forwarded, compared) = (&["iss".to_owned()][..], &["iss".to_owned()][..]);
        let reading = Reading {
            forwarded,
            compared,
            client_id: &[],
            require_expiry,
            profile,
            issuer,
            now,
        };
        TokenFacts::read(&claims, [1; 32], 3, [2; 16], &reading)
    }

    /// What is kept of some token with this hash.
    pub fn facts(hash: [u8; 32]) -> Arc<TokenFacts> {
        Arc::new(TokenFacts {
            hash,
            ..read(r#"{"exp":1}"#, &[]).unwrap()
        })
    }

    fn one_of(audiences: &[&str]) -> Audiences {
        Audiences::OneOf(audiences.iter().map(|aud| (*aud).to_owned()).collect())
    }

    #[test]
    fn what_is_kept_says_what_the_claims_said() {
        let facts = read(
            r#"{"exp":9,"nbf":5,"client_id":"a","sub":"ab","scope":"r w","aud":["x","","\u00e9\n"],"n":1,"e":"","l":["p","q"]}"#,
            &["sub", "none", "scope", "n", "e", "l", "client_id"],
        )
        .unwrap();
        let forwarded: Vec<_> = facts.forwarded().collect();
        let expected: [Option<&[u8]>; 7] = [
            Some(b"ab"),
            None,
            Some(b"r w"),
            Some(b"1"),
            Some(b""),
            Some(b"p q"),
            Some(b"a"),
        ];
        assert_eq!(forwarded, expected);
        assert_eq!((facts.client_id(), facts.authority()), (Some("a"), 3));
        for accepted in ["x", "", "\u{e9}\n"] {
            assert!(facts.is_for(&one_of(&["other", accepted])), "{accepted:?}");
        }
        // Forwarded, and scopes, but no audiences.
        assert!(
            !facts.is_for(&one_of(&["ab", "a", "r", "p q", "x\u{e9}"]))
                && facts.is_for(&Audiences::Any)
        );
        for (needed, has) in [
            ("", true),
            ("w", true),
            ("w r", true),
            ("r x", false),
            ("ab", false),
        ] {
            assert_eq!(
                facts.has_scopes(&ScopeSet::parse(needed).unwrap()),
                has,
                "{needed}"
            );
        }
    }

    #[test]
    fn claims_are_compared_by_the_texts_of_their_items() {
        let names = ["t", "l", "n", "b", "f", "o", "z", "none", "e", "s"];
        let facts = read_compared(
            r#"{"exp":9,"sub":"blue","aud":"green","scope":"r w","t":"blue","l":["x","blue","",{"y":1},7],"n":12,"b":true,"f":1.5,
               "o":{"blue":1},"z":["a\u0000blue"],"e":[],"s":"blue green"}"#,
            &["sub", "t"],
            &names,
        )
        .unwrap();
        let has = |name: &str, value: &str| {
            let place = names.iter().position(|it| *it == name).unwrap();
            facts.claim_is_one_of(place, &["other".to_owned(), value.to_owned()])
        };
        for (name, value, expected) in [
            ("t", "blue", true),
            ("t", "Blue", false),
            ("t", "blu", false),
            ("l", "blue", true),
            ("l", "7", true),
            ("l", "x blue", false),
            ("l", "y", false),
            ("n", "12", true),
            ("n", "1", false),
            ("b", "true", true),
            ("f", "1.5", true),
            ("o", "blue", false),
            ("z", "blue", false),
            ("z", "a", false),
            ("none", "blue", false),
            ("e", "blue", false),
            ("s", "blue", false),
            ("s", "green", false),
        ] {
            assert_eq!(has(name, value), expected, "{name} {value}");
        }
        assert!(
            !facts.claim_is_one_of(names.len(), &["green".to_owned()]),
            "an audience is no claim that was asked for"
        );
        assert!(facts.is_for(&one_of(&["green"])) && !facts.is_for(&one_of(&["blue"])));
        assert_eq!(
            facts.forwarded().collect::<Vec<_>>(),
            [Some(b"blue".as_slice()), Some(b"blue")]
        );
        assert_eq!(facts.subject(), Some("blue"));
        let any = |wanted: &str| facts.has_any_scope(&ScopeSet::parse(wanted).unwrap());
        assert!(any("x w") && !any("x") && !any(""));
    }

    #[test]
    fn the_first_of_the_claims_that_name_the_client_does() {
        for (claims, client) in [
            (
                r#"{"exp":9,"appid":"entra","cid":"okta","azp":"oidc","client_id":"rfc"}"#,
                Some("rfc"),
            ),
            (
                r#"{"exp":9,"appid":"entra","cid":"okta","azp":"oidc"}"#,
                Some("oidc"),
            ),
            (r#"{"exp":9,"appid":"entra","cid":"okta"}"#, Some("okta")),
            (r#"{"exp":9,"appid":"entra","client_id":""}"#, Some("entra")),
            (r#"{"exp":9,"appid":"entra","cid":7}"#, Some("entra")),
            (r#"{"exp":9,"sub":"s"}"#, None),
        ] {
            assert_eq!(read(claims, &[]).unwrap().client_id(), client, "{claims}");
        }
    }

    #[test]
    fn claims_inside_of_others_are_forwarded_and_asked_for_by_dotted_names() {
        let facts = read_compared(
            r#"{"exp":9,"realm_access":{"roles":["a","b"]},"resource_access":{"my.api":{"roles":["c"]}},"x.y":"literal","x":{"y":"z"}}"#,
            &["realm_access.roles", "x.y", "realm_access"],
            &["realm_access.roles", "resource_access.my.api.roles", "x.y", "realm_access.none"],
        )
        .unwrap();
        let forwarded: Vec<_> = facts.forwarded().collect();
        assert_eq!(forwarded, [Some(b"a b".as_slice()), Some(b"literal"), None]);
        let has = |place, value: &str| facts.claim_is_one_of(place, &[value.to_owned()]);
        assert!(has(0, "b") && has(1, "c") && has(2, "literal") && !has(2, "z") && !has(3, "a"));
    }

    #[test]
    fn what_is_not_said_is_not_kept() {
        let facts = read(r#"{"exp":9}"#, &["sub"]).unwrap();
        assert_eq!(
            (facts.client_id(), facts.forwarded().collect::<Vec<_>>()),
            (None, vec![None])
        );
        assert!(!facts.is_for(&one_of(&["", "x"])));
        assert!(!facts.has_scopes(&ScopeSet::parse("r").unwrap()));
        assert_eq!(
            facts.check_times(UnixTime(i64::MIN), Duration::ZERO),
            Ok(())
        );
        assert_eq!(
            facts.check_times(UnixTime(9), Duration::ZERO),
            Err(Reason::Expired)
        );
    }

    #[test]
    fn texts_that_are_too_long_make_a_token_unusable() {
        let long = |n| format!(r#"{{"exp":9,"sub":"{}"}}"#, "s".repeat(n));
        assert!(read(&long(60_000), &["sub"]).is_ok());
        assert!(matches!(
            read(&long(66_000), &["sub"]),
            Err(Reason::MalformedClaims)
        ));
    }

    #[test]
    fn a_token_without_an_end_is_remembered_for_half_a_minute() {
        let facts = read_plgd("{}", 1000).unwrap();
        assert_eq!(
            facts.check_times(UnixTime(i64::MAX), Duration::ZERO),
            Ok(())
        );
        let remembered =
            [999, 1000, 1029, 1030, i64::MAX].map(|now| facts.may_be_cached(UnixTime(now)));
        assert_eq!(remembered, [false, true, true, false, false]);
        let facts = read_plgd(r#"{"exp":9}"#, 1000).unwrap();
        assert_eq!(
            facts.check_times(UnixTime(9), Duration::ZERO),
            Err(Reason::Expired)
        );
        assert!(facts.may_be_cached(UnixTime(i64::MAX)));
        for broken in ["null", "\"\"", "[]", "false", "1e300"] {
            let claims = format!(r#"{{"exp":{broken}}}"#);
            assert!(
                matches!(read_plgd(&claims, 1000), Err(Reason::MalformedClaims)),
                "{broken}"
            );
        }
    }

    #[test]
    fn joined_audiences_are_taken_apart_for_plgd_only() {
        for (aud, parts) in [
            (r#""x y""#, true),
            (r#"["x  y"]"#, true),
            (r#"["x y","z"]"#, false),
        ] {
            let claims = format!(r#"{{"exp":9,"aud":{aud}}}"#);
            let plgd = read_plgd(&claims, 0).unwrap();
            assert_eq!(plgd.is_for(&one_of(&["y"])), parts, "{aud}");
            let standard = read(&claims, &[]).unwrap();
            assert!(!standard.is_for(&one_of(&["x", "y"])), "{aud}");
        }
        let nobody = read_plgd(r#"{"aud":[""]}"#, 0).unwrap();
        assert!(!nobody.is_for(&one_of(&["", " "])));
    }

    /// White space of Unicode where an upstream would cut it off, or split a list.
    const BLANK: [&str; 10] = [
        r#""admin\u00a0""#,
        r#""\u00a0admin""#,
        r#""admin\u2003""#,
        r#""admin\u3000""#,
        r#""\u2028admin""#,
        r#""admin\u0085""#,
        r#""\ufeffadmin""#,
        r#""admin\u200b""#,
        r#"["user\u00a0admin"]"#,
        r#"["a","\u2009"]"#,
    ];

    #[test]
    fn a_claim_that_an_upstream_could_read_otherwise_makes_a_token_unusable() {
        for bad in [
            r#"" admin""#,
            r#""admin ""#,
            r#""admin\t""#,
            r#""a\nb""#,
            r#"["user admin"]"#,
            r#"["a",""]"#,
        ]
        .into_iter()
        .chain(BLANK)
        {
            let claims = format!(r#"{{"exp":9,"role":{bad}}}"#);
            assert!(
                matches!(read(&claims, &["role"]), Err(Reason::MalformedClaims)),
                "{bad}"
            );
            assert!(read(&claims, &["other"]).is_ok(), "{bad}");
        }
        for good in [r#""a\u00a0b""#, r#""Voil\u00e0""#, r#""\u05d0\u05d1""#] {
            assert!(
                read(&format!(r#"{{"exp":9,"role":{good}}}"#), &["role"]).is_ok(),
                "{good}"
            );
        }
        let scopes = read(r#"{"exp":9,"scope":["a  b","a"," c"]}"#, &["scope"]).unwrap();
        assert_eq!(scopes.forwarded().next(), Some(Some(&b"a b c"[..])));
    }
}
