//! The open connections of a listener, by address.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Capacity;
use super::seat::{Seat, is_idle};

#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) capacity: Capacity,
    pub(super) total: usize,
    pub(super) next_id: u64,
    pub(super) addresses: HashMap<IpAddr, Address>,
    /// The addresses with listed connections: most connections first, then longest idle.
    pub(super) ranked: BTreeSet<(Reverse<usize>, (u64, u64), IpAddr)>,
}

#[derive(Debug, Default)]
pub(super) struct Address {
    pub(super) open: usize,
    pub(super) is_proxy: bool,
    /// Connections that were idle at the last check, by the start of that time and id.
    pub(super) listed: BTreeMap<(u64, u64), Arc<Seat>>,
}

impl Address {
    /// The number of connections that counts when seats are few. A proxy's connections belong to
    /// many clients.
    pub(super) fn weight(&self) -> usize {
        if self.is_proxy {
            self.open.min(1)
        } else {
            self.open
        }
    }

    pub(super) fn list(&mut self, seat: &Arc<Seat>) {
        let since = seat.since.load(Ordering::SeqCst);
        seat.listed.store(since, Ordering::SeqCst);
        self.listed.insert((since, seat.id), seat.clone());
    }

    pub(super) fn unlist(&mut self, seat: &Seat) {
        let since = seat.listed.swap(0, Ordering::SeqCst);
        self.listed.remove(&(since, seat.id));
    }

    /// The longest idle connection. Unlists those that are busy by now.
    pub(super) fn longest_idle(&mut self) -> Option<Arc<Seat>> {
        loop {
            let (&(since, _), seat) = self.listed.first_key_value()?;
            let seat = seat.clone();
            if is_idle(seat.phase()) && seat.since.load(Ordering::SeqCst) == since {
                return Some(seat);
            }
            self.unlist(&seat);
            // Checked after the removal: either it is idle here, or its own task sees that it must
            // list itself.
            if is_idle(seat.phase()) {
                self.list(&seat);
            }
        }
    }
}

impl Open {
    /// Changes the record of an address and its rank.
    pub(super) fn change<T>(&mut self, ip: IpAddr, change: impl FnOnce(&mut Address) -> T) -> T {
        let address = self.addresses.entry(ip).or_default();
        let rank = |address: &Address| {
            let (&first, _) = address.listed.first_key_value()?;
            Some((Reverse(address.weight()), first, ip))
        };
        let before = rank(address);
        let changed = change(address);
        let after = rank(address);
        let is_gone = address.open == 0;
        if before != after {
            if let Some(rank) = before {
                self.ranked.remove(&rank);
            }
            self.ranked.extend(after);
        }
        if is_gone {
            self.addresses.remove(&ip);
        }
        changed
    }

    /// The longest idle connection of this address.
    pub(super) fn longest_idle_of(&mut self, ip: IpAddr) -> Option<Arc<Seat>> {
        self.addresses
            .contains_key(&ip)
            .then(|| self.change(ip, Address::longest_idle))
            .flatten()
    }

    /// The connection to dismiss for a new one from this address. The address with the most
    /// connections gives way first, the new connection's own address first among equals, and never
    /// one with fewer. Of its connections the longest idle one is chosen.
    pub(super) fn longest_idle(&mut self, newcomer: IpAddr) -> Option<Arc<Seat>> {
        let own = self.addresses.get(&newcomer).map_or(0, Address::weight);
        loop {
            let (Reverse(most), _, first) = *self.ranked.first()?;
            let has_own = self
                .addresses
                .get(&newcomer)
                .is_some_and(|address| !address.listed.is_empty());
            let from = if most > own {
                first
            } else if has_own {
                newcomer
            } else if most == own {
                first
            } else {
                return None;
            };
            let found = self.longest_idle_of(from);
            // Ranks are as of the last check; another address may be first now.
            let is_first = self.ranked.first().is_some_and(|(_, _, ip)| *ip == from);
            if found.is_some() && (is_first || from == newcomer) {
                return found;
            }
        }
    }
}
