//! What an issuer has taken back, as verifiers look at it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::clock::UnixTime;
use super::hash::sha256;

/// The claim of a token that was issued after its client's tokens were ended, although its `iat`
/// says otherwise: the clock was set back since. Its value is the mark of that end.
pub const AFTER_END: &str = "m2m_after_end";

/// A token's `jti` (RFC 7519 §4.1.7), shortened to 128 bits of its SHA-256: tens of thousands are
/// kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 16]);

impl TokenId {
    /// The id of a token with this `jti`.
    #[must_use]
    pub fn of(jti: &str) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&sha256(jti.as_bytes())[..16]);
        Self(id)
    }
}

/// A client id as a public list names it: by its SHA-256, so that the list does not say which
/// clients there are. Written in base64url without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashedClientId([u8; 32]);

impl HashedClientId {
    /// The hash of a client id.
    #[must_use]
    pub fn of(client_id: &str) -> Self {
        Self(sha256(client_id.as_bytes()))
    }

    /// Reads what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for HashedClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Tells one end of a client's tokens from every other one. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndMark(u64);

impl EndMark {
    /// The mark of an end that these bytes, which must never occur again, stand for.
    #[must_use]
    pub fn of(unique: &[u8]) -> Self {
        let mut mark = [0; 8];
        mark.copy_from_slice(&sha256(unique)[..8]);
        Self(u64::from_be_bytes(mark))
    }

    /// Reads what [`Display`](fmt::Display) writes, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mark = Self(u64::from_str_radix(text, 16).ok()?);
        (mark.to_string() == text).then_some(mark)
    }
}

impl fmt::Display for EndMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What of a token decides whether it is revoked.
#[derive(Clone, Copy, Debug)]
pub struct Issued<'a> {
    /// Its `jti`.
    pub token: TokenId,
    /// The client it was issued to.
    pub client_id: Option<&'a str>,
    /// Its `iat`; the beginning of time when it has none.
    pub at: UnixTime,
    /// Its claim [`AFTER_END`].
    pub after_end: Option<EndMark>,
}

/// The end of a client's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEnd {
    /// Tokens whose `iat` is not after this time are revoked.
    pub until: UnixTime,
    /// The exception: tokens that were issued after the end, whatever their `iat` says.
    pub marked: Option<Marked>,
}

/// The tokens that carry the mark of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The mark.
    pub mark: EndMark,
    /// Of these tokens, those whose `iat` is not after this time are revoked.
    pub until: UnixTime,
}

impl ClientEnd {
    /// Whether a token is revoked by this end.
    #[must_use]
    pub fn covers(&self, at: UnixTime, after_end: Option<EndMark>) -> bool {
        let marked = self.marked.filter(|marked| after_end == Some(marked.mark));
        at <= marked.map_or(self.until, |marked| marked.until)
    }
}

/// The revoked tokens of one issuer: single ones, and per client all that were issued up to a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    tokens: HashSet<TokenId>,
    clients: HashMap<String, ClientEnd>,
    hashed: HashMap<HashedClientId, ClientEnd>,
    expiries: Arc<HashMap<String, UnixTime>>,
}

impl Revoked {
    /// Revoked are the tokens with these ids, and what the end of its client covers.
    #[must_use]
    pub fn new(tokens: HashSet<TokenId>, clients: HashMap<String, ClientEnd>) -> Self {
        Self {
            tokens,
            clients,
            hashed: HashMap::new(),
            expiries: Arc::default(),
        }
    }

    /// The same, and what the ends of these clients cover, whose ids are known by their hash only.
    #[must_use]
    pub fn with_hashed(self, hashed: HashMap<HashedClientId, ClientEnd>) -> Self {
        Self { hashed, ..self }
    }

    /// The same, and from these times on every token of these clients.
    #[must_use]
    pub fn with_expiries(self, expiries: Arc<HashMap<String, UnixTime>>) -> Self {
        Self { expiries, ..self }
    }

    /// Whether a token is revoked at a time.
    #[must_use]
    pub fn covers(&self, token: &Issued<'_>, now: UnixTime) -> bool {
        self.tokens.contains(&token.token)
            || token.client_id.is_some_and(|id| {
                let covers = |end: &ClientEnd| end.covers(token.at, token.after_end);
                self.clients.get(id).is_some_and(covers)
                    || self.hashed_end(id).is_some_and(covers)
                    || self.expiries.get(id).is_some_and(|expiry| *expiry <= now)
            })
    }

    fn hashed_end(&self, client_id: &str) -> Option<&ClientEnd> {
        // Most lists name no client: then nothing is hashed.
        if self.hashed.is_empty() {
            None
        } else {
            self.hashed.get(&HashedClientId::of(client_id))
        }
    }

    /// The mark that a token of a client needs if it is issued with this `iat`; none when it needs
    /// none.
    #[must_use]
    pub fn mark_for(&self, client_id: &str, issued_at: UnixTime) -> Option<EndMark> {
        let end = self
            .clients
            .get(client_id)
            .filter(|end| issued_at <= end.until)?;
        Some(end.marked?.mark)
    }
}

/// An issuer's revoked tokens as they are now. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct RevokedNow(Arc<ArcSwap<Revoked>>);

impl RevokedNow {
    /// What is revoked now.
    #[must_use]
    pub fn current(&self) -> arc_swap::Guard<Arc<Revoked>> {
        self.0.load()
    }

    /// From now on this is revoked.
    pub fn replace(&self, revoked: Revoked) {
        self.0.store(Arc::new(revoked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1000);

    fn issued(jti: &str, client_id: Option<&'static str>, at: i64) -> Issued<'static> {
        Issued {
            token: TokenId::of(jti),
            client_id,
            at: UnixTime(at),
            after_end: None,
        }
    }

    #[test]
    fn a_token_is_revoked_by_its_id_or_with_all_of_its_client_up_to_a_time() {
        let clients = HashMap::from([(
            "a".to_owned(),
            ClientEnd {
                until: UnixTime(100),
                marked: None,
            },
        )]);
        let revoked = Revoked::new(HashSet::from([TokenId::of("one")]), clients);
        let covers = |jti, client, issued_at| revoked.covers(&issued(jti, client, issued_at), NOW);
        assert!(covers("one", None, 500) && covers("one", Some("b"), 500));
        assert!(covers("two", Some("a"), 100) && covers("two", Some("a"), i64::MIN));
        assert!(
            !covers("two", Some("a"), 101)
                && !covers("two", Some("b"), 1)
                && !covers("two", None, 1)
        );
        assert!(!Revoked::default().covers(&issued("one", Some("a"), 1), NOW));
    }

    #[test]
    fn a_client_may_be_named_by_the_hash_of_its_id() {
        let id = HashedClientId::of("a");
        assert_eq!(
            id.to_string(),
            "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs"
        );
        assert_eq!(HashedClientId::parse(&id.to_string()), Some(id));
        for other in [
            "",
            "a",
            "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs=",
            "AAAA",
        ] {
            assert_eq!(HashedClientId::parse(other), None, "{other}");
        }
        let hashed = HashMap::from([(
            id,
            ClientEnd {
                until: UnixTime(100),
                marked: None,
            },
        )]);
        let revoked = Revoked::default().with_hashed(hashed);
        assert!(revoked.covers(&issued("one", Some("a"), 100), NOW));
        assert!(!revoked.covers(&issued("one", Some("a"), 101), NOW));
        assert!(!revoked.covers(&issued("one", Some("b"), 1), NOW));
        assert!(!revoked.covers(&issued("one", None, 1), NOW));
    }

    #[test]
    fn a_token_that_carries_the_mark_of_the_end_was_issued_after_it() {
        let [mark, other] = [EndMark::of(b"one"), EndMark::of(b"another")];
        let end = |until| {
            let marked = Some(Marked {
                mark,
                until: UnixTime(until),
            });
            let clients = HashMap::from([(
                "a".to_owned(),
                ClientEnd {
                    until: UnixTime(100),
                    marked,
                },
            )]);
            Revoked::new(HashSet::from([TokenId::of("one")]), clients)
        };
        let covers = |revoked: &Revoked, jti, at, after_end| {
            revoked.covers(
                &Issued {
                    after_end,
                    ..issued(jti, Some("a"), at)
                },
                NOW,
            )
        };
        let revoked = end(i64::MIN);
        assert!(
            !covers(&revoked, "two", 50, Some(mark)),
            "issued after the clock was set back"
        );
        assert!(
            covers(&revoked, "two", 50, Some(other)),
            "another end's mark"
        );
        assert!(covers(&revoked, "two", 50, None));
        assert!(covers(&revoked, "one", 50, Some(mark)), "named on its own");
        assert!(
            covers(&end(50), "two", 50, Some(mark)) && !covers(&end(50), "two", 51, Some(mark))
        );
        assert_eq!(revoked.mark_for("a", UnixTime(100)), Some(mark));
        assert_eq!(
            revoked.mark_for("a", UnixTime(101)),
            None,
            "its `iat` says it"
        );
        assert_eq!(revoked.mark_for("b", UnixTime(1)), None);
    }

    #[test]
    fn every_token_of_a_client_is_revoked_from_its_expiry_on() {
        let expiries = Arc::new(HashMap::from([("a".to_owned(), UnixTime(1000))]));
        let revoked = Revoked::default().with_expiries(expiries);
        let token = issued("one", Some("a"), 1);
        assert!(!revoked.covers(&token, UnixTime(999)) && revoked.covers(&token, UnixTime(1000)));
        assert!(!revoked.covers(&issued("one", Some("b"), 1), UnixTime(1000)));
    }

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        let mark = EndMark::of(b"one");
        assert_eq!(EndMark::parse(&mark.to_string()), Some(mark));
        for other in [
            "",
            "1",
            "+123456789abcdef",
            "123456789ABCDEF0",
            "0123456789abcdef0",
        ] {
            assert_eq!(EndMark::parse(other), None, "{other}");
        }
    }
}
