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
pub(in crate::issuer) const LONGEST_SKEW: Duration = Duration::from_mins(10);
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
        // The stable sort is fast, because only the end is unsorted, and the earlier known entries
        // come first.
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
    /// The clients that many users share: one user must not end the tokens of the others.
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
    /// The end of all tokens of a client.
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

/// A client's revocations, apart from those of before the clock was set back.
fn group(single: &Single, now: UnixTime) -> (&str, bool) {
    (
        &single.token.client_id,
        single.token.revoked_at > now.plus(LONGEST_SKEW),
    )
}

/// The groups whose tokens are not named one by one, with their last revocation.
fn ended_groups<'k>(
    known: &'k Known,
    bounds: &Bounds,
    now: UnixTime,
) -> HashMap<(&'k str, bool), UnixTime> {
    let mut counts: HashMap<(&str, bool), (usize, UnixTime)> = HashMap::new();
    for single in &known.tokens {
        let revoked_at = single.token.revoked_at;
        let (count, last) = counts.entry(group(single, now)).or_insert((0, revoked_at));
        *count += 1;
        *last = (*last).max(revoked_at);
    }
    // The largest groups first, so that few clients are affected, and always the same ones. Shared
    // clients come last.
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
    ended
}

/// The revocations to publish.
///
/// Those from before the clock was set back are counted separately: an end up to their time would
/// cover what the client is issued for hours.
pub(super) fn published<'k>(known: &'k Known, bounds: &Bounds, now: UnixTime) -> Published<'k> {
    let ended = ended_groups(known, bounds, now);
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
        // A mark exempts no token that was revoked on its own.
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
mod tests;
