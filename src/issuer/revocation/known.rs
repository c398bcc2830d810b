//! The revocations of the store in memory, and the part of them that verifiers and the list get.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::clock::UnixTime;
use crate::domain::revoked::{ClientEnd, Marked, Revoked, TokenId};
use crate::issuer::policy::BACKDATED;
use crate::store::RevokedToken;
use crate::store::tokens::{ClientNotBefore, Revocations as Stored};

/// The largest clock skew that any verifier allows: for so long it may accept an expired token.
pub(super) const LONGEST_SKEW: Duration = Duration::from_mins(10);
/// The most single tokens in the list, of all clients: verifiers read at most 8 MiB of it.
const MAX_LISTED: usize = if cfg!(test) { 4000 } else { 120_000 };
/// Beyond this number the list has room for few more users with a full quota.
pub(super) const CROWDED: usize = MAX_LISTED / 2;

/// A single revoked token.
#[derive(Debug)]
pub(super) struct Single {
    pub token: RevokedToken,
    id: TokenId,
}

/// The revocations of the store.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Single tokens, by `jti`.
    tokens: Vec<Arc<Single>>,
    /// Whole clients, by id.
    pub clients: Vec<ClientNotBefore>,
    /// The revision of the store's revocations up to which this is complete.
    pub revision: i64,
    /// One higher with each change.
    pub generation: u64,
}

impl Known {
    /// The revocations of a store at a revision or later.
    pub(super) fn of(stored: Stored, revision: i64, generation: u64) -> Self {
        Self {
            revision,
            generation,
            ..Self::default()
        }
        .with(stored, revision)
    }

    /// These and the newer revocations, up to a revision.
    pub(super) fn with(&self, new: Stored, revision: i64) -> Self {
        let single = |token: RevokedToken| {
            Arc::new(Single {
                id: TokenId::of(&token.jti),
                token,
            })
        };
        let mut tokens = self.tokens.clone();
        tokens.extend(new.tokens.into_iter().map(single));
        // The stable sort is fast on what is sorted but for its end, and what was known first
        // stays.
        tokens.sort_by(|one, other| one.token.jti.cmp(&other.token.jti));
        tokens.dedup_by(|later, first| later.token.jti == first.token.jti);
        let is_new =
            |end: &&ClientNotBefore| !new.clients.iter().any(|new| new.client_id == end.client_id);
        let mut clients: Vec<_> = self.clients.iter().filter(is_new).cloned().collect();
        clients.extend(new.clients.iter().cloned());
        clients.sort_unstable_by(|one, other| one.client_id.cmp(&other.client_id));
        Self {
            tokens,
            clients,
            revision,
            generation: self.generation + 1,
        }
    }

    /// The revocations that had not expired at a time; `None` if these are all.
    pub(super) fn without_expired(&self, before: UnixTime) -> Option<Self> {
        let expired = self
            .tokens
            .iter()
            .any(|single| single.token.expires_at < before)
            || self.clients.iter().any(|end| end.expires_at < before);
        expired.then(|| Self {
            tokens: self
                .tokens
                .iter()
                .filter(|it| it.token.expires_at >= before)
                .cloned()
                .collect(),
            clients: self
                .clients
                .iter()
                .filter(|end| end.expires_at >= before)
                .cloned()
                .collect(),
            revision: self.revision,
            generation: self.generation + 1,
        })
    }

    pub(super) fn has(&self, jti: &str) -> bool {
        self.tokens
            .binary_search_by(|known| known.token.jti.as_str().cmp(jti))
            .is_ok()
    }
}

/// How many revoked tokens of a client are named one by one. Beyond that, the list says that all
/// tokens that the client was issued up to its last revocation are revoked, so that no client can
/// make the list too large for everyone. A client that many users share has no such bound: each of
/// its users has a quota.
#[derive(Debug)]
pub(super) struct Bounds {
    max_per_client: usize,
    /// The clients whose tokens are those of many users: one of them must not end those of the
    /// others.
    shared: HashSet<String>,
}

impl Bounds {
    pub(super) fn new(max_per_client: usize, shared: HashSet<String>) -> Self {
        Self {
            max_per_client,
            shared,
        }
    }
}

/// The published revocations.
pub(super) struct Published<'k> {
    /// Single tokens, by `jti`.
    single: Vec<&'k Single>,
    /// The end of all of a client's.
    pub clients: HashMap<&'k str, ClientEnd>,
}

impl Published<'_> {
    /// How many tokens are named one by one.
    pub(super) fn count(&self) -> usize {
        self.single.len()
    }

    pub(super) fn jtis(&self) -> Vec<&str> {
        self.single
            .iter()
            .map(|single| single.token.jti.as_str())
            .collect()
    }

    pub(super) fn revoked(&self) -> Revoked {
        let ends = self
            .clients
            .iter()
            .map(|(client, end)| ((*client).to_owned(), *end));
        Revoked::new(
            self.single.iter().map(|single| single.id).collect(),
            ends.collect(),
        )
    }
}

pub(super) fn client_end(end: &ClientNotBefore) -> ClientEnd {
    ClientEnd {
        until: end.until,
        marked: Some(Marked {
            mark: end.mark,
            until: UnixTime(i64::MIN),
        }),
    }
}

/// The revocations to publish.
///
/// What was revoked before the clock was set back is counted on its own: an end up to its time
/// would cover what the client is issued for hours.
pub(super) fn published<'k>(known: &'k Known, bounds: &Bounds, now: UnixTime) -> Published<'k> {
    fn group(single: &Single, now: UnixTime) -> (&str, bool) {
        (
            &single.token.client_id,
            single.token.revoked_at > now.plus(LONGEST_SKEW),
        )
    }
    let mut counts: HashMap<(&str, bool), (usize, UnixTime)> = HashMap::new();
    for single in &known.tokens {
        let revoked_at = single.token.revoked_at;
        let (count, last) = counts.entry(group(single, now)).or_insert((0, revoked_at));
        *count += 1;
        *last = (*last).max(revoked_at);
    }
    // The most first, so that few clients pay for the list being short enough; and always the same
    // ones. Those that are shared come last.
    let is_shared = |client: &str| bounds.shared.contains(client);
    let mut by_count: Vec<_> = counts.into_iter().collect();
    by_count.sort_unstable_by(|(one, (few, _)), (other, (many, _))| {
        is_shared(one.0)
            .cmp(&is_shared(other.0))
            .then(many.cmp(few))
            .then(one.cmp(other))
    });
    let mut ended: HashMap<(&str, bool), UnixTime> = HashMap::new();
    let mut listed = known.tokens.len();
    for (group, (count, last)) in by_count {
        let is_too_much = count > bounds.max_per_client && !is_shared(group.0);
        if is_too_much || listed > MAX_LISTED {
            if is_shared(group.0) {
                let client_id = group.0;
                tracing::error!(
                    client_id,
                    "the list of revoked tokens is full: all tokens of this client end"
                );
            }
            listed -= count;
            ended.insert(group, last);
        }
    }
    let single = known
        .tokens
        .iter()
        .map(Arc::as_ref)
        .filter(|it| !ended.contains_key(&group(it, now)));
    // A token's `iat` lies before the moment it was issued.
    let mut ends: HashMap<&str, ClientEnd> = HashMap::new();
    for ((client, _), last) in ended.iter() {
        let until = last.minus(BACKDATED);
        let end = ends.entry(client).or_insert(ClientEnd {
            until,
            marked: None,
        });
        end.until = end.until.max(until);
    }
    let single = single.collect();
    for end in &known.clients {
        let many = ends.get(end.client_id.as_str()).map(|many| many.until);
        // A mark is no exception from what was revoked one by one.
        let marked = Some(Marked {
            mark: end.mark,
            until: many.unwrap_or(UnixTime(i64::MIN)),
        });
        let until = many.map_or(end.until, |many| many.max(end.until));
        ends.insert(&end.client_id, ClientEnd { until, marked });
    }
    Published {
        single,
        clients: ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_PER_CLIENT: usize = crate::issuer::ProfilePolicy::STANDARD
        .limits
        .revoked_per_client;
    use crate::domain::revoked::EndMark;

    /// Not before any of the revocations.
    const NOW: UnixTime = UnixTime(3000);

    fn publish(
        stored: &Stored,
        shared: &[&str],
        now: UnixTime,
    ) -> (Vec<String>, HashMap<String, ClientEnd>) {
        let shared = shared.iter().map(|id| (*id).to_owned()).collect();
        let known = Known::of(stored.clone(), 1, 0);
        let published = published(&known, &Bounds::new(MAX_PER_CLIENT, shared), now);
        let single = published.jtis().into_iter().map(str::to_owned).collect();
        (
            single,
            published
                .clients
                .iter()
                .map(|(id, end)| ((*id).to_owned(), *end))
                .collect(),
        )
    }

    #[test]
    fn one_user_of_a_shared_client_ends_nothing_by_revoking_without_end() {
        let token = |client: &str, number: usize| RevokedToken {
            jti: format!("{client}-{number}"),
            client_id: client.to_owned(),
            expires_at: UnixTime(9000),
            revoked_at: UnixTime(1000),
        };
        let mut known = Stored::default();
        known
            .tokens
            .extend((0..3000).map(|number| token("portal", number)));
        let (single, clients) = publish(&known, &["portal"], NOW);
        assert_eq!((single.len(), clients.len()), (3000, 0));
        // When the list is full, a client that is not shared ends before one that is.
        known
            .tokens
            .extend((0..500).map(|number| token("a", number)));
        known
            .tokens
            .extend((0..600).map(|number| token("b", number)));
        let (single, clients) = publish(&known, &["portal"], NOW);
        assert_eq!(
            (single.len(), clients.keys().collect::<Vec<_>>()),
            (3500, vec![&"b".to_owned()])
        );
    }

    #[test]
    fn what_is_new_is_added_once_and_what_expired_is_left_out() {
        let token = |jti: &str, expires_at: i64| RevokedToken {
            jti: jti.to_owned(),
            client_id: "c".to_owned(),
            expires_at: UnixTime(expires_at),
            revoked_at: UnixTime(1),
        };
        let end = |client: &str, until: i64| ClientNotBefore {
            client_id: client.to_owned(),
            until: UnixTime(until),
            expires_at: UnixTime(50),
            revoked_at: UnixTime(until),
            mark: EndMark::of(b"end"),
        };
        let first = Stored {
            tokens: vec![token("b", 10), token("d", 90)],
            clients: vec![end("y", 1)],
        };
        let known = Known::of(first, 3, 0);
        let new = Stored {
            tokens: vec![token("d", 91), token("a", 90), token("c", 20)],
            clients: vec![end("y", 2), end("x", 3)],
        };
        let known = known.with(new, 5);
        let shown = |known: &Known| {
            let tokens = known
                .tokens
                .iter()
                .map(|it| (it.token.jti.clone(), it.token.expires_at.0));
            let clients = known
                .clients
                .iter()
                .map(|end| (end.client_id.clone(), end.until.0));
            (tokens.collect::<Vec<_>>(), clients.collect::<Vec<_>>())
        };
        let named = |named: &[(&str, i64)]| {
            named
                .iter()
                .map(|(name, number)| ((*name).to_owned(), *number))
                .collect::<Vec<_>>()
        };
        let tokens = [("a", 90), ("b", 10), ("c", 20), ("d", 90)];
        assert_eq!(
            shown(&known),
            (named(&tokens), named(&[("x", 3), ("y", 2)]))
        );
        assert_eq!((known.revision, known.generation), (5, 2));
        assert!(known.has("c") && !known.has("e"));
        assert!(known.without_expired(UnixTime(10)).is_none());
        let left = known.without_expired(UnixTime(60)).unwrap();
        assert_eq!(shown(&left), (named(&[("a", 90), ("d", 90)]), named(&[])));
        assert_eq!((left.revision, left.generation), (5, 3));
    }

    #[test]
    fn a_client_that_revokes_without_end_ends_all_of_its_own_tokens_and_nobody_elses_list() {
        let token = |client: &str, number: usize| RevokedToken {
            jti: format!("{client}-{number}"),
            client_id: client.to_owned(),
            expires_at: UnixTime(9000),
            revoked_at: UnixTime(1000 + i64::try_from(number).unwrap()),
        };
        let mut known = Stored::default();
        known
            .tokens
            .extend((0..MAX_PER_CLIENT).map(|number| token("busy", number)));
        known.tokens.push(token("calm", 1));
        let (single, clients) = publish(&known, &[], NOW);
        assert_eq!((single.len(), clients.len()), (MAX_PER_CLIENT + 1, 0));
        known.tokens.push(token("busy", MAX_PER_CLIENT));
        let (single, clients) = publish(&known, &[], NOW);
        assert_eq!(single, ["calm-1"]);
        let last = 1000 + i64::try_from(MAX_PER_CLIENT).unwrap();
        // The `iat` of a token that was issued in the moment of the last revocation.
        let bare = |until| ClientEnd {
            until: UnixTime(until),
            marked: None,
        };
        assert_eq!(
            clients,
            HashMap::from([("busy".to_owned(), bare(last - 10))])
        );
        // When all together are too many, those with the most are ended as a whole.
        let mut many = Stored::default();
        for (client, count) in [("a", 900), ("b", 1000), ("c", 999), ("d", 998), ("e", 997)] {
            many.tokens
                .extend((0..count).map(|number| token(client, number)));
        }
        let (single, clients) = publish(&many, &[], NOW);
        assert_eq!(
            (single.len(), clients.keys().collect::<Vec<_>>()),
            (3894, vec![&"b".to_owned()])
        );
        // A client that was ended as a whole; the later of two ends holds.
        for (client_id, until) in [("gone", 5), ("busy", 6)] {
            known.clients.push(ClientNotBefore {
                client_id: client_id.to_owned(),
                until: UnixTime(until),
                expires_at: UnixTime(9000),
                revoked_at: UnixTime(15),
                mark: EndMark::of(b"end"),
            });
        }
        let end = |until, marked| {
            let marked = Some(Marked {
                mark: EndMark::of(b"end"),
                until: UnixTime(marked),
            });
            ClientEnd {
                marked,
                ..bare(until)
            }
        };
        let ended = HashMap::from([
            ("busy".to_owned(), end(last - 10, last - 10)),
            ("gone".to_owned(), end(5, i64::MIN)),
        ]);
        assert_eq!(publish(&known, &[], NOW).1, ended);
    }

    #[test]
    fn many_revocations_before_the_clock_was_set_back_do_not_end_what_the_client_is_issued_now() {
        let hours = 6 * 3600;
        let token = |number: usize, revoked_at: i64| RevokedToken {
            jti: number.to_string(),
            client_id: "busy".to_owned(),
            expires_at: UnixTime(NOW.0 + hours + 3600),
            revoked_at: UnixTime(revoked_at),
        };
        let mut known = Stored::default();
        known
            .tokens
            .extend((0..MAX_PER_CLIENT).map(|number| token(number, NOW.0 + hours)));
        known.tokens.push(token(MAX_PER_CLIENT, NOW.0));
        let (single, clients) = publish(&known, &[], NOW);
        assert_eq!((single.len(), clients.len()), (MAX_PER_CLIENT + 1, 0));
        known
            .tokens
            .extend((0..MAX_PER_CLIENT).map(|number| token(5000 + number, NOW.0)));
        let (single, clients) = publish(&known, &[], NOW);
        assert_eq!(
            (single.len(), clients["busy"].until),
            (MAX_PER_CLIENT, UnixTime(NOW.0 - 10))
        );
        // When the clock has come so far, they are counted with the others.
        let (single, clients) = publish(&known, &[], UnixTime(NOW.0 + hours));
        assert_eq!(
            (single.len(), clients["busy"].until),
            (0, UnixTime(NOW.0 + hours - 10))
        );
    }
}
