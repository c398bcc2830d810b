//! Conditions of a rule beside path and method. A rule whose conditions a request does not fulfil
//! is skipped, so it hides no later rule.

use std::cell::OnceCell;
use std::net::IpAddr;

use crate::domain::host_pattern::{HostPattern, RequestHost};
use crate::verifier::{Conditions, Request};

/// A request, as conditions see it. Its host is read once, and only if some rule asks for it.
pub(super) struct Seen<'r> {
    request: &'r Request<'r>,
    host: OnceCell<Option<RequestHost<'r>>>,
}

impl<'r> Seen<'r> {
    pub fn new(request: &'r Request<'r>) -> Self {
        Self {
            request,
            host: OnceCell::new(),
        }
    }
}

impl Conditions {
    /// Whether every request fulfils them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.networks.is_empty()
    }

    /// Whether a request fulfils them.
    pub(super) fn hold(&self, seen: &Seen<'_>) -> bool {
        (self.networks.is_empty() || self.have_source(seen.request.client))
            && (self.hosts.is_empty() || {
                let host = seen.host.get_or_init(|| seen.request.host());
                self.have_host(host.as_ref())
            })
    }

    /// Whether the host is one of theirs.
    pub(super) fn have_host(&self, host: Option<&RequestHost<'_>>) -> bool {
        self.hosts.is_empty()
            || host.is_some_and(|host| self.hosts.iter().any(|it| it.matches(host)))
    }

    /// Whether the client is in one of their networks. An unknown client is in none.
    pub(super) fn have_source(&self, client: Option<IpAddr>) -> bool {
        self.networks.is_empty()
            || client.is_some_and(|client| self.networks.iter().any(|it| it.contains(&client)))
    }

    /// Whether every request that fulfils `other` fulfils these.
    pub(super) fn cover(&self, other: &Self) -> bool {
        all_within(&self.hosts, &other.hosts, HostPattern::covers)
            && all_within(&self.networks, &other.networks, |wide, narrow| {
                wide.contains(narrow)
            })
    }

    /// Whether some request fulfils both.
    pub(super) fn meet(&self, other: &Self) -> bool {
        some_in_both(&self.hosts, &other.hosts, HostPattern::meets)
            && some_in_both(&self.networks, &other.networks, |one, two| {
                one.contains(two) || two.contains(one)
            })
    }
}

/// Whether each of `narrow` is within one of `wide`; an empty list stands for everything.
fn all_within<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    wide.is_empty()
        || !narrow.is_empty()
            && narrow
                .iter()
                .all(|narrow| wide.iter().any(|wide| covers(wide, narrow)))
}

fn some_in_both<T>(one: &[T], two: &[T], meet: impl Fn(&T, &T) -> bool) -> bool {
    one.is_empty() || two.is_empty() || one.iter().any(|one| two.iter().any(|two| meet(one, two)))
}
