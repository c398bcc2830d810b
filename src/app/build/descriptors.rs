//! The process's file descriptors, shared among the listeners: no listener can use up those of
//! another, of the probes, of the upstreams or of the store.

use std::collections::HashMap;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::listeners::{self, ListenerConfig, ListenerId};
use crate::app::process::Process;
use crate::config::Config;
use crate::proxy::connection::Capacity;
use crate::telemetry::Role;

/// The most that Linux gives a process by default.
const USUAL_MOST: u64 = 1024 * 1024;
/// The descriptors of a proxied connection: its own, one to watch it for a reset, one for the
/// upstream.
const OF_A_PROXY: usize = 3;
/// The most connections of a listener without `maxConnections`.
const DEFAULT_MOST: usize = 16_384;
/// The same for probes, the management API and the local API.
const DEFAULT_MOST_SMALL: usize = 64;
/// The fewest connections of a listener, however few descriptors there are.
const FEWEST: usize = 8;

/// Raises the soft limit of descriptors to the hard one. Gives the limit in force.
pub(in crate::app) fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = |to: Option<u64>| {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: to,
                maximum,
            },
        )
        .is_ok()
        .then_some(to.unwrap_or(USUAL_MOST))
    };
    let most = maximum.unwrap_or(u64::MAX);
    let now = current.unwrap_or(u64::MAX);
    let limit = if now < most {
        raised(maximum)
            .or_else(|| raised(Some(most.min(USUAL_MOST))))
            .unwrap_or(now)
    } else {
        now
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// How many connections each listener holds.
pub(super) struct Shares {
    capacities: HashMap<ListenerId, Capacity>,
    shortage: Option<Shortage>,
}

/// Fewer descriptors than the connections of all listeners may need.
#[derive(Clone, Copy)]
pub(super) struct Shortage {
    limit: usize,
    needed: usize,
}

impl Shortage {
    pub(super) fn warn(self) {
        tracing::warn!(
            limit = self.limit,
            needed = self.needed,
            "there are too few descriptors for all connections: raise the limit (`LimitNOFILE`, \
             `ulimit -n`), or lower `maxConnections`"
        );
    }
}

impl Shares {
    /// Shares the process's descriptors among the listeners. Each worker accepts on a duplicate of
    /// each listening socket.
    pub(super) fn new(config: &Config, process: &Process) -> Self {
        let listeners = listeners::of(config);
        let sockets = |it: &ListenerConfig| it.listen.addresses().count().max(1);
        let taken = listeners.iter().map(sockets).sum::<usize>() * (process.threads + 1);
        share(listeners, process.descriptors, taken)
    }

    pub(super) fn of(&self, listener: &ListenerId) -> Capacity {
        self.capacities.get(listener).cloned().unwrap_or_default()
    }

    pub(super) fn shortage(&self) -> Option<Shortage> {
        self.shortage
    }
}

fn cost(role: Role) -> usize {
    match role {
        Role::Inbound | Role::Outbound => OF_A_PROXY,
        _ => 1,
    }
}

fn share(listeners: Vec<ListenerConfig>, limit: usize, taken: usize) -> Shares {
    // Files, the store, event queues, fetches of keys and tokens.
    let own = (limit / 8).clamp(48, 1024) + taken;
    let for_all = limit.saturating_sub(own);
    let small = (limit / 32).clamp(FEWEST, DEFAULT_MOST_SMALL);
    let configured = |it: &ListenerConfig| {
        let is_small = matches!(it.id.role, Role::Admin | Role::LocalApi | Role::Probes);
        let total = it.max.total.or_else(|| is_small.then_some(small));
        total.map(|total| total.min(for_all))
    };
    let spent: usize = listeners
        .iter()
        .filter_map(|it| Some(configured(it)?.saturating_mul(cost(it.id.role))))
        .sum();
    let others = listeners.iter().filter(|it| configured(it).is_none());
    let share = for_all.saturating_sub(spent) / others.count().max(1);
    let mut needed = own;
    let mut capacities = HashMap::new();
    for it in listeners {
        let cost = cost(it.id.role);
        let total = configured(&it).unwrap_or((share / cost).min(DEFAULT_MOST));
        let fewest = if it.max.total.is_some() { 1 } else { FEWEST };
        let total = total.max(fewest);
        needed = needed.saturating_add(total.saturating_mul(cost));
        let per_address = it.max.per_address.unwrap_or((total * 3).div_ceil(4));
        let capacity = Capacity {
            total,
            per_address: per_address.min(total),
            proxies: it.proxies,
        };
        capacities.insert(it.id, capacity);
    }
    Shares {
        capacities,
        shortage: (needed > limit).then_some(Shortage { limit, needed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::PROBES;
    use crate::domain::listen::Listen;
    use crate::proxy::connection::MaxConnections;

    fn listener(name: &str, total: Option<usize>) -> ListenerConfig {
        ListenerConfig {
            id: ListenerId::new(Role::Inbound, name),
            listen: Listen::Localhost(0),
            max: MaxConnections {
                total,
                per_address: None,
            },
            proxies: Vec::new(),
            tls: None,
        }
    }

    fn probes() -> ListenerConfig {
        ListenerConfig {
            id: ListenerId::new(Role::Probes, PROBES),
            ..listener(PROBES, None)
        }
    }

    fn totals(listeners: Vec<ListenerConfig>, limit: usize) -> Vec<usize> {
        let ids: Vec<_> = listeners.iter().map(|it| it.id.clone()).collect();
        let shares = share(listeners, limit, 4);
        ids.iter().map(|id| shares.of(id).total).collect()
    }

    #[test]
    fn all_connections_together_need_fewer_descriptors_than_there_are() {
        for limit in [256, 1024, 4096, 20_000, 1_048_576] {
            let totals = totals(
                vec![probes(), listener("a", None), listener("b", None)],
                limit,
            );
            let needed = totals[0] + (totals[1] + totals[2]) * OF_A_PROXY;
            assert!(needed + 48 + 4 <= limit, "{limit}: {totals:?}");
            assert!(
                totals.iter().all(|total| *total >= FEWEST),
                "{limit}: {totals:?}"
            );
        }
        assert_eq!(
            totals(vec![probes(), listener("a", None)], 1_048_576),
            [64, 16_384]
        );
        assert_eq!(totals(vec![probes(), listener("a", None)], 256), [8, 65]);
    }

    #[test]
    fn a_configured_number_holds_as_far_as_there_are_descriptors() {
        assert_eq!(
            totals(vec![listener("a", Some(12_000)), probes()], 20_000),
            [12_000, 64]
        );
        assert_eq!(
            totals(vec![listener("a", Some(1_000_000)), probes()], 1000),
            [871, 31]
        );
        let both = totals(vec![listener("a", Some(1000)), listener("b", None)], 20_000);
        assert_eq!(both[0], 1000);
        assert!(both[1] > 5000, "{both:?}");
    }

    #[test]
    fn one_address_has_three_quarters_unless_it_says_otherwise() {
        let mut wanted = listener("a", Some(100));
        let share_of =
            |listener| share(vec![listener], 20_000, 0).of(&ListenerId::new(Role::Inbound, "a"));
        assert_eq!(share_of(listener("a", Some(100))).per_address, 75);
        wanted.max.per_address = Some(10);
        assert_eq!(share_of(wanted).per_address, 10);
        let mut wanted = listener("a", None);
        wanted.max.per_address = Some(1_000_000);
        let share = share_of(wanted);
        assert_eq!(share.per_address, share.total);
    }
}
