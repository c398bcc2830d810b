//! What a verified token says, read once into types.

use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

use crate::domain::claims::{Claims, WrongType};
use crate::domain::clock::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;

use super::Audiences;

/// What is kept of a token whose signature and claims were checked; nothing here depends on when it is used. Small and in
/// few pieces, because tens of thousands are remembered: of the claims only those that the listener forwards or
/// that its rules ask about.
pub struct TokenFacts {
    /// The SHA-256 of the whole token.
    pub(super) hash: [u8; 32],
    /// The key that made the signature.
    pub(super) key: [u8; 32],
    expires_at: i64,
    /// The beginning of time where the token does not say.
    not_before: i64,
    issued_at: i64,
    /// [`SCOPES`], [`CLIENT_ID`], [`SUBJECT`], then the forwarded claims, then those that rules ask about, then the audiences.
    texts: Texts,
    forwarded: u16,
    asked: u16,
    authority: u32,
}

const SCOPES: usize = 0;
const CLIENT_ID: usize = 1;
const SUBJECT: usize = 2;
const FORWARDED: usize = 3;

/// Ends an item of a list of texts in one text. An item that holds it is not kept, so no rule takes it for another.
const ITEM_END: char = '\0';

impl TokenFacts {
    /// Reads the claims of a token whose signature was checked. `forwarded` names the claims that will stand in headers:
    /// one that cannot makes the token unusable, because a request without it could pass for another identity. `asked` names
    /// those that rules ask about.
    ///
    /// # Errors
    /// [`Reason::NoExpiry`], [`Reason::SenderConstrained`] or [`Reason::MalformedClaims`].
    pub(super) fn read(
        claims: &Claims,
        hash: [u8; 32],
        authority: usize,
        key: [u8; 32],
        forwarded: &[String],
        asked: &[String],
    ) -> Result<Self, Reason> {
        let wrong = |_: WrongType| Reason::MalformedClaims;
        // RFC 7800 §3: a token bound to a key is worth nothing without proof of that key.
        if claims.contains("cnf") {
            return Err(Reason::SenderConstrained);
        }
        let expires_at = claims.numeric_date("exp").map_err(wrong)?.ok_or(Reason::NoExpiry)?;
        let not_before = claims.numeric_date("nbf").map_err(wrong)?.unwrap_or(i64::MIN);
        let issued_at = claims.numeric_date("iat").map_err(wrong)?.unwrap_or(i64::MIN);
        for name in ["sub", "client_id", "azp", "jti"] {
            claims.string(name).map_err(wrong)?;
        }
        let scopes = claims.scopes().map_err(wrong)?;
        let client_id = ["client_id", "azp"].iter().find_map(|name| claims.get(name)?.as_str());
        let subject = claims.string("sub").map_err(wrong)?;
        let mut texts =
            vec![Some(scopes.to_string()), client_id.map(str::to_owned), subject.map(str::to_owned)];
        for name in forwarded {
            let text = claim_text(claims, &scopes, name);
            if text.as_ref().is_some_and(|text| HeaderValue::from_str(text).is_err()) {
                return Err(Reason::MalformedClaims);
            }
            texts.push(text);
        }
        texts.extend(asked.iter().map(|name| claim_items(claims, name)));
        texts.extend(claims.strings("aud").map_err(wrong)?.into_iter().map(|aud| Some(aud.to_owned())));
        let texts = Texts::new(&texts).ok_or(Reason::MalformedClaims)?;
        let count = |n| u16::try_from(n).map_err(|_| Reason::Internal);
        let (forwarded, asked) = (count(forwarded.len())?, count(asked.len())?);
        let authority = u32::try_from(authority).map_err(|_| Reason::Internal)?;
        Ok(Self { hash, key, authority, expires_at, not_before, issued_at, texts, forwarded, asked })
    }

    /// Index of the authority among the listener's: a client or user of one is not that of another.
    #[must_use]
    pub fn authority(&self) -> usize {
        self.authority as usize
    }

    /// Judges the token's times (RFC 7519 §4.1.4 to §4.1.6).
    pub(super) fn check_times(&self, now: UnixTime, skew: Duration) -> Result<(), Reason> {
        let (earliest, latest) = (now.minus(skew), now.plus(skew));
        if self.expires_at <= earliest.0 {
            Err(Reason::Expired)
        } else if self.not_before > latest.0 {
            Err(Reason::NotYetValid)
        } else if self.issued_at > latest.0 {
            Err(Reason::IssuedInFuture)
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
                .from(FORWARDED + usize::from(self.forwarded) + usize::from(self.asked))
                .flatten()
                .any(|aud| accepted.iter().any(|accepted| aud == accepted.as_bytes())),
        }
    }

    /// Whether the token has all of these scopes.
    #[must_use]
    pub fn has_scopes(&self, needed: &ScopeSet) -> bool {
        let scopes = self.texts.get(SCOPES).unwrap_or_default();
        needed.iter().all(|needed| scopes.split(|b| *b == b' ').any(|scope| scope == needed.as_bytes()))
    }

    /// Whether the token has one of these scopes.
    pub(super) fn has_any_scope(&self, wanted: &ScopeSet) -> bool {
        let scopes = self.texts.get(SCOPES).unwrap_or_default();
        wanted.iter().any(|wanted| scopes.split(|b| *b == b' ').any(|scope| scope == wanted.as_bytes()))
    }

    /// Whether the claim with this place among the asked ones, or one of its items, has one of these values, none of them
    /// empty.
    pub(super) fn claim_is_one_of(&self, place: usize, values: &[String]) -> bool {
        let place = Some(place).filter(|place| *place < usize::from(self.asked));
        let text = place.and_then(|place| self.texts.get(FORWARDED + usize::from(self.forwarded) + place));
        let mut items = text.unwrap_or_default().split(|b| *b == ITEM_END as u8);
        items.any(|item| values.iter().any(|value| value.as_bytes() == item))
    }

    /// Whom the token speaks for: `sub`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        std::str::from_utf8(self.texts.get(SUBJECT)?).ok()
    }

    /// Who asked for the token: `client_id` (RFC 9068 §2.2), or `azp` as OpenID providers call it.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        std::str::from_utf8(self.texts.get(CLIENT_ID)?).ok()
    }

    /// The claims that the listener forwards, in the order of its configuration, each as it stands in a header; `None`
    /// where the token has none.
    pub fn forwarded(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.texts.from(FORWARDED).take(usize::from(self.forwarded))
    }
}

/// Some texts in one piece of memory: how many they are, where each begins and ends, then the texts themselves. One that is
/// not there ends before it begins.
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
        let (count, rest) =
            self.0.split_first_chunk().map_or((0, &[][..]), |([a, b], rest)| (number(*a, *b), rest));
        let spans = rest.as_chunks().0.iter().take(count).skip(first);
        spans.map(move |[a, b, c, d]| self.0.get(number(*a, *b)..number(*c, *d)))
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.from(index).next()?
    }
}

/// A claim as the text of a header: strings as they are, numbers and booleans in JSON, lists of those joined by spaces.
/// Other values, and a claim that is not there, give `None`.
fn claim_text(claims: &Claims, scopes: &ScopeSet, name: &str) -> Option<String> {
    if name == "scope" && !claims.contains("scope") && !scopes.is_empty() {
        return Some(scopes.to_string());
    }
    match claims.get(name)? {
        Value::Array(items) => Some(items.iter().map(scalar).collect::<Option<Vec<_>>>()?.join(" ")),
        value => scalar(value),
    }
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
    let value = claims.get(name)?;
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let texts: Vec<_> = items.iter().filter_map(scalar).filter(|text| !text.contains(ITEM_END)).collect();
    Some(texts.join(&ITEM_END.to_string()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    fn read(claims: &str, forwarded: &[&str]) -> Result<TokenFacts, Reason> {
        read_asked(claims, forwarded, &[])
    }

    fn read_asked(claims: &str, forwarded: &[&str], asked: &[&str]) -> Result<TokenFacts, Reason> {
        let claims = Claims::parse(claims.as_bytes()).unwrap();
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        TokenFacts::read(&claims, [1; 32], 3, [2; 32], &owned(forwarded), &owned(asked))
    }

    /// What is kept of some token with this hash.
    pub fn facts(hash: [u8; 32]) -> Arc<TokenFacts> {
        Arc::new(TokenFacts { hash, ..read(r#"{"exp":1}"#, &[]).unwrap() })
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
        let expected: [Option<&[u8]>; 7] =
            [Some(b"ab"), None, Some(b"r w"), Some(b"1"), Some(b""), Some(b"p q"), Some(b"a")];
        assert_eq!(forwarded, expected);
        assert_eq!((facts.client_id(), facts.authority()), (Some("a"), 3));
        for accepted in ["x", "", "\u{e9}\n"] {
            assert!(facts.is_for(&one_of(&["other", accepted])), "{accepted:?}");
        }
        // Forwarded, and scopes, but no audiences.
        assert!(!facts.is_for(&one_of(&["ab", "a", "r", "p q", "x\u{e9}"])) && facts.is_for(&Audiences::Any));
        for (needed, has) in [("", true), ("w", true), ("w r", true), ("r x", false), ("ab", false)] {
            assert_eq!(facts.has_scopes(&ScopeSet::parse(needed).unwrap()), has, "{needed}");
        }
    }

    #[test]
    fn claims_are_compared_by_the_texts_of_their_items() {
        let names = ["t", "l", "n", "b", "f", "o", "z", "none", "e", "s"];
        let facts = read_asked(
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
        assert_eq!(facts.forwarded().collect::<Vec<_>>(), [Some(b"blue".as_slice()), Some(b"blue")]);
        assert_eq!(facts.subject(), Some("blue"));
        let any = |wanted: &str| facts.has_any_scope(&ScopeSet::parse(wanted).unwrap());
        assert!(any("x w") && !any("x") && !any(""));
        // With its counts in an `Arc`, as many bytes as two cache lines have.
        assert_eq!(size_of::<TokenFacts>(), 112);
    }

    #[test]
    fn what_is_not_said_is_not_kept() {
        let facts = read(r#"{"exp":9}"#, &["sub"]).unwrap();
        assert_eq!((facts.client_id(), facts.forwarded().collect::<Vec<_>>()), (None, vec![None]));
        assert!(!facts.is_for(&one_of(&["", "x"])));
        assert!(!facts.has_scopes(&ScopeSet::parse("r").unwrap()));
        assert_eq!(facts.check_times(UnixTime(i64::MIN), Duration::ZERO), Ok(()));
        assert_eq!(facts.check_times(UnixTime(9), Duration::ZERO), Err(Reason::Expired));
    }

    #[test]
    fn texts_that_are_too_long_make_a_token_unusable() {
        let long = |n| format!(r#"{{"exp":9,"sub":"{}"}}"#, "s".repeat(n));
        assert!(read(&long(60_000), &["sub"]).is_ok());
        assert!(matches!(read(&long(66_000), &["sub"]), Err(Reason::MalformedClaims)));
    }
}
