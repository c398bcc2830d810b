//! How many connections a listener holds, and which one ends when it holds as many as it may.
//!
//! Every open connection has a [`Seat`]. A connection is idle while it waits for a request's head,
//! and while it lingers after its last answer; the longest idle one ends to make room for a new
//! one. A connection with a request under way never does. The address with the most connections
//! gives way first, so that one client cannot take the seats of the others.
//!
//! A request takes no lock: the list of an address holds the connections that were idle when they
//! were last looked at. An entry is checked when its turn comes, and a connection that was found
//! busy lists itself again when it becomes idle. So finding the longest idle connection costs, on
//! average, no more than accepting one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::Key;

/// A connection that has been idle for less than this is not closed to make room: its request may
/// be on the way.
const GRACE: Duration = Duration::from_millis(20);
/// Where there are fewer seats than these, that time is shorter in proportion: a flood from an
/// address with few seats must not hold up the others, so at least 3200 connections a second are
/// accepted.
const SEATS_FOR_GRACE: u32 = 64;
/// How long a new connection waits until a closed one has ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many connections a configuration allows. None: as many as the descriptors allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxConnections {
    /// At the same time.
    pub total: Option<usize>,
    /// Of them from one address; of IPv6 addresses, from one /64.
    pub per_address: Option<usize>,
}

/// How many connections a listener holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// At the same time, at least 1.
    pub total: usize,
    /// Of them from one address; of IPv6 addresses, from one /64.
    pub per_address: usize,
    /// Proxies, whose connections are those of many clients: only `total` limits them.
    pub proxies: Vec<IpNet>,
}

impl Capacity {
    /// A capacity of so many connections, all of which may come from one address.
    #[must_use]
    pub fn of(total: usize) -> Self {
        Self {
            total,
            per_address: total,
            proxies: Vec::new(),
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self::of(1024)
    }
}

/// Why a new connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The listener holds as many as it may, and none gives way.
    Listener,
    /// The address holds as many as it may, and none of them is idle.
    Address,
}

/// A request is awaited, and nothing of it has come.
pub const AWAITING_HEAD: u8 = 0;
/// A part of the head has come.
pub const HEAD_BEGUN: u8 = 1;
/// The head is complete.
pub const HEAD_COMPLETE: u8 = 2;
/// Pingora has parsed the head: from now on Pingora and the phases write the answers.
pub const HEAD_READ: u8 = 3;
/// Our side is closed; what the client still sends is discarded.
pub const LINGERING: u8 = 4;
/// It is to end at once.
pub const DISMISSED: u8 = 5;
/// It has ended.
const GONE: u8 = 6;

fn is_idle(phase: u8) -> bool {
    matches!(phase, AWAITING_HEAD | HEAD_BEGUN | LINGERING)
}

/// What the listener knows of one connection.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    address: IpAddr,
    phase: AtomicU8,
    /// Since when it has been idle, if it is.
    since: AtomicU64,
    /// Under which time its address lists it, 0: not at all. Written under the lock only.
    listed: AtomicU64,
    /// The connection's task, while it waits idly.
    task: AtomicWaker,
}

impl Seat {
    /// How far the request under way is.
    pub fn phase(&self) -> u8 {
        self.phase.load(Ordering::SeqCst)
    }

    /// Whether the connection is to end at once. The task is woken when it is.
    pub fn is_dismissed(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.phase() == DISMISSED
    }

    /// Goes on from one phase to the next. False when the connection was dismissed in between.
    pub fn advance(&self, from: u8, to: u8) -> bool {
        self.phase
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Ends the connection, if it is idle.
    pub fn dismiss(&self) -> bool {
        let dismiss = |phase| is_idle(phase).then_some(DISMISSED);
        let is_done = self
            .phase
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, dismiss)
            .is_ok();
        if is_done {
            self.task.wake();
        }
        is_done
    }
}

/// The seats of one listener.
#[derive(Debug)]
pub struct Admission {
    capacity: Capacity,
    began: Instant,
    open: Mutex<Open>,
    /// Tells those that wait for a seat that one is free.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    next_id: u64,
    addresses: HashMap<IpAddr, Address>,
    /// The addresses with listed connections: those with the most come first, among equals that
    /// with the longest idle one.
    ranked: BTreeSet<(Reverse<usize>, (u64, u64), IpAddr)>,
}

#[derive(Debug, Default)]
struct Address {
    open: usize,
    is_proxy: bool,
    /// Connections that were idle when they were last looked at, by the time since then and their
    /// id.
    listed: BTreeMap<(u64, u64), Arc<Seat>>,
}

impl Address {
    /// For how many connections it counts when seats are few. A proxy's belong to many clients.
    fn weight(&self) -> usize {
        if self.is_proxy {
            self.open.min(1)
        } else {
            self.open
        }
    }

    fn list(&mut self, seat: &Arc<Seat>) {
        let since = seat.since.load(Ordering::SeqCst);
        seat.listed.store(since, Ordering::SeqCst);
        self.listed.insert((since, seat.id), seat.clone());
    }

    fn unlist(&mut self, seat: &Seat) {
        let since = seat.listed.swap(0, Ordering::SeqCst);
        self.listed.remove(&(since, seat.id));
    }

    /// The longest idle connection. Those that turn out to be busy are listed no longer.
    fn longest_idle(&mut self) -> Option<Arc<Seat>> {
        loop {
            let (&(since, _), seat) = self.listed.first_key_value()?;
            let seat = seat.clone();
            if is_idle(seat.phase()) && seat.since.load(Ordering::SeqCst) == since {
                return Some(seat);
            }
            self.unlist(&seat);
            // Looked at after it was unlisted: either it is seen here to be idle, or it sees that
            // it must list itself.
            if is_idle(seat.phase()) {
                self.list(&seat);
            }
        }
    }
}

impl Open {
    /// Changes what is known of an address, and its rank with it.
    fn change<T>(&mut self, ip: IpAddr, change: impl FnOnce(&mut Address) -> T) -> T {
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
    fn longest_idle_of(&mut self, ip: IpAddr) -> Option<Arc<Seat>> {
        self.addresses
            .contains_key(&ip)
            .then(|| self.change(ip, Address::longest_idle))
            .flatten()
    }

    /// The connection that gives way to one from this address: the longest idle one of the address
    /// with the most, of its own address before others with as many, and never of an address with
    /// fewer.
    fn longest_idle(&mut self, newcomer: IpAddr) -> Option<Arc<Seat>> {
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
            // Ranks are as of the last look: after this one another address may come first.
            let is_first = self.ranked.first().is_some_and(|(_, _, ip)| *ip == from);
            if found.is_some() && (is_first || from == newcomer) {
                return found;
            }
        }
    }
}

/// The result of an attempt to take a seat.
enum Attempt {
    Seated(Arc<Seat>),
    /// One must end first, which was told so.
    Dismissed(Arc<Seat>),
    /// The one that was told so has not ended yet.
    StillLeaving,
    /// All that could end have just become idle; not before this time.
    NotBefore(Instant),
    Full(Full),
}

impl Admission {
    /// So many seats, all free.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            began: Instant::now(),
            open: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.lock().total
    }

    /// A seat for a connection from this address. `on_dismissed` hears of each connection that is
    /// closed for it.
    pub async fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        mut on_dismissed: impl FnMut(),
    ) -> Result<Admitted, Full> {
        let address = match Key::address(peer) {
            Key::Address(address) => address,
            _ => peer,
        };
        let mut leaving: Option<Arc<Seat>> = None;
        let mut gives_up = None;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let until = match self.attempt(address, peer, leaving.as_deref()) {
                Attempt::Seated(seat) => {
                    return Ok(Admitted {
                        admission: self.clone(),
                        seat,
                    });
                }
                Attempt::Full(full) => return Err(full),
                Attempt::NotBefore(until) => Some(until),
                Attempt::StillLeaving => None,
                Attempt::Dismissed(seat) => {
                    on_dismissed();
                    leaving = Some(seat);
                    None
                }
            };
            let end = *gives_up.get_or_insert_with(|| Instant::now() + PATIENCE);
            let until = until.map_or(end, |until| until.min(end));
            if tokio::time::timeout_at(until, freed).await.is_err() && Instant::now() >= end {
                return Err(Full::Listener);
            }
        }
    }

    fn attempt(&self, address: IpAddr, peer: IpAddr, leaving: Option<&Seat>) -> Attempt {
        let mut open = self.lock();
        let is_proxy = self
            .capacity
            .proxies
            .iter()
            .any(|network| network.contains(&peer.to_canonical()));
        let here = open
            .addresses
            .get(&address)
            .map_or(0, |address| address.open);
        let is_address_full = !is_proxy && here >= self.capacity.per_address.max(1);
        if !is_address_full && open.total < self.capacity.total.max(1) {
            return Attempt::Seated(self.seat(&mut open, address, is_proxy));
        }
        if leaving.is_some_and(|seat| seat.phase() == DISMISSED) {
            return Attempt::StillLeaving;
        }
        let seats = if is_address_full {
            self.capacity.per_address
        } else {
            self.capacity.total
        };
        let grace = GRACE
            * u32::try_from(seats)
                .unwrap_or(u32::MAX)
                .min(SEATS_FOR_GRACE)
            / SEATS_FOR_GRACE;
        loop {
            let found = match is_address_full {
                true => open.longest_idle_of(address),
                false => open.longest_idle(address),
            };
            let Some(seat) = found else {
                return Attempt::Full(if is_address_full {
                    Full::Address
                } else {
                    Full::Listener
                });
            };
            let old_enough =
                self.began + Duration::from_micros(seat.since.load(Ordering::SeqCst)) + grace;
            if old_enough > Instant::now() {
                return Attempt::NotBefore(old_enough);
            }
            if seat.dismiss() {
                open.change(seat.address, |address| address.unlist(&seat));
                return Attempt::Dismissed(seat);
            }
        }
    }

    fn seat(&self, open: &mut Open, address: IpAddr, is_proxy: bool) -> Arc<Seat> {
        open.total += 1;
        open.next_id += 1;
        let seat = Arc::new(Seat {
            id: open.next_id,
            address,
            phase: AtomicU8::new(AWAITING_HEAD),
            since: AtomicU64::new(self.now()),
            listed: AtomicU64::new(0),
            task: AtomicWaker::new(),
        });
        open.change(address, |address| {
            address.open += 1;
            address.is_proxy = is_proxy;
            address.list(&seat);
        });
        seat
    }

    fn leave(&self, seat: &Seat) {
        let mut open = self.lock();
        seat.phase.store(GONE, Ordering::SeqCst);
        open.total = open.total.saturating_sub(1);
        open.change(seat.address, |address| {
            address.open = address.open.saturating_sub(1);
            address.unlist(seat);
        });
        drop(open);
        self.freed.notify_waiters();
    }

    fn list(&self, seat: &Arc<Seat>) {
        let mut open = self.lock();
        // Meanwhile it may have been dismissed, or listed by the search that unlisted it.
        if seat.listed.load(Ordering::SeqCst) == 0 && is_idle(seat.phase()) {
            open.change(seat.address, |address| address.list(seat));
        }
    }

    /// Microseconds, never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that has a seat. Its end frees the seat.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    seat: Arc<Seat>,
}

impl Admitted {
    /// The connection is idle from now on, in this phase, unless it was dismissed.
    pub fn becomes_idle(&self, phase: u8) {
        self.seat
            .since
            .store(self.admission.now(), Ordering::SeqCst);
        let enter = |now| (now != DISMISSED).then_some(phase);
        let _ = self
            .seat
            .phase
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter);
        if self.seat.listed.load(Ordering::SeqCst) == 0 {
            self.admission.list(&self.seat);
        }
    }

    /// Takes a dismissal back: a request is waiting to be read. Another connection gives way.
    pub fn stays(&self) {
        self.seat
            .since
            .store(self.admission.now(), Ordering::SeqCst);
        if self.seat.advance(DISMISSED, AWAITING_HEAD) {
            self.admission.list(&self.seat);
            self.admission.freed.notify_waiters();
        }
    }

    /// Pingora has parsed the head.
    pub fn is_read(&self) {
        let enter = |now| (now != DISMISSED).then_some(HEAD_READ);
        let _ = self
            .seat
            .phase
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter);
    }
}

impl std::ops::Deref for Admitted {
    type Target = Seat;

    fn deref(&self) -> &Seat {
        &self.seat
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.leave(&self.seat);
    }
}

#[cfg(test)]
mod tests;
