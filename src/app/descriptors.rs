//! How the process's file descriptors are shared: so many connections to each listener that none
//! can take those of another, of the probes, of the upstreams or of the store.

use std::collections::HashMap;

use ipnet::IpNet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::sockets::Socket;
use super::{ADMIN, ISSUER, LOCAL_API, PROBES};
use crate::config::Config;
use crate::proxy::connection::{Capacity, MaxConnections};

/// Linux gives no process more, unless its administrator says so.
const USUAL_MOST: u64 = 1024 * 1024;
/// How many descriptors a connection of a proxy may need: its own, one to watch it for a reset, one
/// for the upstream.
const OF_A_PROXY: usize = 3;
/// The most connections of a listener whose configuration does not say.
const DEFAULT_MOST: usize = 16_384;
/// The same for probes, the management API and the local API.
const DEFAULT_MOST_SMALL: usize = 64;
/// The fewest connections of a listener, however few descriptors there are.
const FEWEST: usize = 8;

/// Raises the soft limit of descriptors to the hard one, and gives what holds then.
pub(super) fn raise_limit() -> usize {
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
pub(super) struct Shares(HashMap<Socket, Capacity>);

/// A listener, as far as descriptors are concerned.
struct Wanted {
    socket: Socket,
    max: MaxConnections,
    /// How many descriptors a connection may need.
    cost: usize,
    is_small: bool,
    proxies: Vec<IpNet>,
}

impl Shares {
    /// Shares `limit` descriptors among the listeners. `taken` of them are listening sockets.
    pub(super) fn new(config: &Config, limit: usize, taken: usize) -> Self {
        share(wanted(config), limit, taken)
    }

    pub(super) fn of(&self, socket: &Socket) -> Capacity {
        self.0.get(socket).cloned().unwrap_or_default()
    }
}

fn wanted(config: &Config) -> Vec<Wanted> {
    let own = |name, max, is_small| Wanted {
        socket: Socket::Own(name),
        max,
        cost: 1,
        is_small,
        proxies: Vec::new(),
    };
    let proxy = |name: &String, max, proxies| Wanted {
        socket: Socket::Proxy(name.clone()),
        max,
        cost: OF_A_PROXY,
        is_small: false,
        proxies,
    };
    let issuer = config.issuer.iter().filter(|role| role.listen.is_some());
    let issuer = issuer.map(|role| Wanted {
        proxies: role.trusted_proxies.clone(),
        ..own(ISSUER, role.max_connections, false)
    });
    let admin = config
        .admin
        .iter()
        .map(|role| own(ADMIN, role.max_connections, true));
    let probes = config
        .probes
        .iter()
        .map(|probes| own(PROBES, probes.max_connections, true));
    let local_api = config
        .local_api
        .iter()
        .map(|api| own(LOCAL_API, api.max_connections, true));
    let inbound = config
        .inbound
        .iter()
        .map(|it| proxy(&it.name, it.max_connections, it.trusted_proxies.clone()));
    let outbound = config
        .outbound
        .iter()
        .map(|it| proxy(&it.name, it.max_connections, Vec::new()));
    probes
        .chain(admin)
        .chain(local_api)
        .chain(issuer)
        .chain(inbound)
        .chain(outbound)
        .collect()
}

fn share(wanted: Vec<Wanted>, limit: usize, taken: usize) -> Shares {
    // Files, the store, event queues, fetches of keys and tokens.
    let own = (limit / 8).clamp(48, 1024) + taken;
    let for_all = limit.saturating_sub(own);
    let small = (limit / 32).clamp(FEWEST, DEFAULT_MOST_SMALL);
    let configured = |it: &Wanted| {
        it.max
            .total
            .or_else(|| it.is_small.then_some(small))
            .map(|total| total.min(for_all))
    };
    let spent: usize = wanted
        .iter()
        .filter_map(|it| Some(configured(it)?.saturating_mul(it.cost)))
        .sum();
    let others = wanted.iter().filter(|it| configured(it).is_none()).count();
    let share = for_all.saturating_sub(spent) / others.max(1);
    let mut needed = own;
    let shares = wanted.into_iter().map(|it| {
        let total = configured(&it)
            .unwrap_or((share / it.cost).min(DEFAULT_MOST))
            .max(1);
        let total = if it.max.total.is_some() {
            total
        } else {
            total.max(FEWEST)
        };
        needed = needed.saturating_add(total.saturating_mul(it.cost));
        let per_address = it
            .max
            .per_address
            .unwrap_or_else(|| (total * 3).div_ceil(4))
            .min(total);
        (
            it.socket,
            Capacity {
                total,
                per_address,
                proxies: it.proxies,
            },
        )
    });
    let shares = shares.collect();
    if needed > limit {
        tracing::warn!(
            limit,
            needed,
            "there are too few descriptors for all connections: raise the limit (`LimitNOFILE`, `ulimit -n`), or lower \
             `maxConnections`"
        );
    }
    Shares(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, total: Option<usize>) -> Wanted {
        let max = MaxConnections {
            total,
            per_address: None,
        };
        let socket = Socket::Proxy(name.to_owned());
        Wanted {
            socket,
            max,
            cost: OF_A_PROXY,
            is_small: false,
            proxies: Vec::new(),
        }
    }

    fn probes() -> Wanted {
        let max = MaxConnections::default();
        Wanted {
            socket: Socket::Own(PROBES),
            max,
            cost: 1,
            is_small: true,
            proxies: Vec::new(),
        }
    }

    fn totals(wanted: Vec<Wanted>, limit: usize) -> Vec<usize> {
        let sockets: Vec<_> = wanted.iter().map(|it| it.socket.clone()).collect();
        let shares = share(wanted, limit, 4);
        sockets
            .iter()
            .map(|socket| shares.of(socket).total)
            .collect()
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
        let share_of = |wanted| share(vec![wanted], 20_000, 0).of(&Socket::Proxy("a".to_owned()));
        assert_eq!(share_of(listener("a", Some(100))).per_address, 75);
        wanted.max.per_address = Some(10);
        assert_eq!(share_of(wanted).per_address, 10);
        let mut wanted = listener("a", None);
        wanted.max.per_address = Some(1_000_000);
        let share = share_of(wanted);
        assert_eq!(share.per_address, share.total);
    }
}
