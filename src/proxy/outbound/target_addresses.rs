//! The addresses of the targets' names, for redirected connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an address of a name counts after it was found: programs keep addresses, and some
/// services change them with each answer.
const KEPT: Duration = Duration::from_mins(10);
/// The pause between two lookups of one name for unknown addresses.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a lookup may take.
const LOOKUP: Duration = Duration::from_secs(5);

/// The addresses of the targets' names, as this machine resolves them.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<String, Known>>);

#[derive(Default)]
struct Known {
    /// The addresses, and when each was found last.
    addresses: HashMap<IpAddr, Instant>,
    /// The end of the last lookup.
    looked: Option<Instant>,
}

impl Known {
    fn has(&self, ip: IpAddr, now: Instant) -> bool {
        let found = self.addresses.get(&ip);
        found.is_some_and(|found| now.duration_since(*found) < KEPT)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        let looked = self.looked;
        looked.is_some_and(|looked| now.duration_since(looked) < PAUSE)
    }

    fn learn(&mut self, found: impl Iterator<Item = IpAddr>, now: Instant) {
        self.looked = Some(now);
        self.addresses
            .retain(|_, found| now.duration_since(*found) < KEPT);
        self.addresses.extend(found.map(|ip| (ip, now)));
    }
}

impl Names {
    /// Whether a name has an address. Resolves the name if the address is not known.
    pub async fn has(&self, name: &str, to: SocketAddr) -> bool {
        let ip = to.ip();
        let now = Instant::now();
        let known = |of: &mut dyn FnMut(&mut Known) -> bool| {
            let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            of(names.entry(name.to_owned()).or_default())
        };
        if known(&mut |it| it.has(ip, now)) {
            return true;
        }
        if known(&mut |it| it.is_fresh(now)) {
            return false;
        }
        let looked = tokio::net::lookup_host((name, to.port()));
        let Ok(Ok(found)) = tokio::time::timeout(LOOKUP, looked).await else {
            return false;
        };
        let found: Vec<_> = found.map(|found| found.ip().to_canonical()).collect();
        let now = Instant::now();
        known(&mut |it| {
            it.learn(found.iter().copied(), now);
            it.has(ip, now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn addresses_are_kept_for_a_while_and_names_are_not_resolved_for_each_request() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (one, two) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let mut known = Known::default();
        let begin = Instant::now();
        assert!(!known.has(one, begin) && !known.is_fresh(begin));
        known.learn([one].into_iter(), begin);
        assert!(known.has(one, begin) && !known.has(two, begin));
        assert!(known.is_fresh(begin) && !known.is_fresh(begin + PAUSE));
        let later = begin + KEPT / 2;
        known.learn([two].into_iter(), later);
        assert!(known.has(one, later) && known.has(two, later));
        let end = begin + KEPT;
        assert!(!known.has(one, end) && known.has(two, end));
        known.learn([two].into_iter(), end);
        assert_eq!(known.addresses.len(), 1);
    }

    #[tokio::test]
    async fn a_name_has_the_addresses_that_this_machine_resolves() {
        let names = Names::default();
        let has = async |name: &str, to: &str| names.has(name, to.parse().unwrap()).await;
        assert!(has("localhost", "127.0.0.1:80").await);
        assert!(!has("localhost", "192.0.2.1:80").await);
        assert!(!has("no-such-name.invalid", "192.0.2.1:80").await);
    }
}
