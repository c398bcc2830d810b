//! Limits a listener's connections, and chooses the one to close when the limit is reached.
//!
//! Every open connection has a [`Seat`]. A connection is idle while it waits for a request's head,
//! and while it lingers after its last response. The longest idle one is closed to make room for a
//! new one; a connection with a request in progress never is. The address with the most connections
//! gives way first, so that one client cannot take the seats of the others.
//!
//! A request takes no lock: the list of an address holds the connections that were idle at their
//! last check. An entry is checked when its turn comes, and a busy connection lists itself again
//! when it becomes idle. So the search costs, on average, no more than accepting a connection.

mod open;
mod seat;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::open::Open;
pub use self::seat::{AWAITING_HEAD, DISMISSED, HEAD_BEGUN, HEAD_READ, LINGERING, Seat};
use self::seat::{GONE, is_idle};
use crate::limits::Key;

/// A connection that has been idle for less than this is not closed: its request may be in transit.
const GRACE: Duration = Duration::from_millis(20);

/// With fewer seats the grace is shorter in proportion. A flood from an address with few seats must
/// not delay others, so at least 3200 connections a second are accepted.
const SEATS_FOR_GRACE: u32 = 64;

/// How long a new connection waits for a dismissed one to end.
const DISMISSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The configured limits. `None`: as many as the file descriptors allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxConnections {
    /// In total.
    pub total: Option<usize>,
    /// Per address, or per /64 of IPv6.
    pub per_address: Option<usize>,
}

/// How many connections a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// In total, at least 1.
    pub total: usize,
    /// Per address, or per /64 of IPv6.
    pub per_address: usize,
    /// Proxies whose connections carry many clients: only `total` limits them.
    pub proxies: Vec<IpNet>,
}

impl Capacity {
    /// A capacity without a limit per address.
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
    /// The listener is full and no connection is idle.
    Listener,
    /// The address is at its limit and none of its connections is idle.
    Address,
}

/// The seats of one listener.
#[derive(Debug)]
pub struct Admission {
    began: Instant,
    open: Mutex<Open>,
    /// Signals a free seat.
    freed: Notify,
}

/// The result of an attempt to take a seat.
enum Attempt {
    Seated(Arc<Seat>),
    /// This connection was dismissed and must end first.
    Dismissed(Arc<Seat>),
    /// A dismissed connection has not ended yet.
    StillLeaving,
    /// All candidates have just become idle; retry at this time.
    NotBefore(Instant),
    Full(Full),
}

impl Admission {
    /// All seats are free.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            began: Instant::now(),
            open: Mutex::new(Open {
                capacity,
                ..Open::default()
            }),
            freed: Notify::new(),
        }
    }

    /// Replaces the capacity. Connections beyond the new one end as others do.
    pub fn set_capacity(&self, capacity: Capacity) {
        self.lock().capacity = capacity;
        self.freed.notify_waiters();
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.lock().total
    }

    /// Waits for a seat for a connection from this address. Calls `on_dismissed` for each
    /// connection that is closed for it.
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
            let end = *gives_up.get_or_insert_with(|| Instant::now() + DISMISSAL_TIMEOUT);
            let until = until.map_or(end, |until| until.min(end));
            if tokio::time::timeout_at(until, freed).await.is_err() && Instant::now() >= end {
                return Err(Full::Listener);
            }
        }
    }

    fn attempt(&self, address: IpAddr, peer: IpAddr, leaving: Option<&Seat>) -> Attempt {
        let mut open = self.lock();
        let is_proxy = open
            .capacity
            .proxies
            .iter()
            .any(|network| network.contains(&peer.to_canonical()));
        let here = open
            .addresses
            .get(&address)
            .map_or(0, |address| address.open);
        let is_address_full = !is_proxy && here >= open.capacity.per_address.max(1);
        if !is_address_full && open.total < open.capacity.total.max(1) {
            return Attempt::Seated(self.seat(&mut open, address, is_proxy));
        }
        if leaving.is_some_and(|seat| seat.phase() == DISMISSED) {
            return Attempt::StillLeaving;
        }
        let seats = if is_address_full {
            open.capacity.per_address
        } else {
            open.capacity.total
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
        // It may have been dismissed meanwhile, or listed again by the search.
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

/// A connection with a seat. Dropping it frees the seat.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    seat: Arc<Seat>,
}

impl Admitted {
    /// The seat itself.
    #[cfg(test)]
    pub fn seat(&self) -> Arc<Seat> {
        self.seat.clone()
    }

    /// Marks the connection as idle in this phase, unless it was dismissed.
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

    /// Waits until the connection must end at once.
    pub async fn dismissed(&self) {
        let is_dismissed = |cx: &mut Context<'_>| match self.seat.is_dismissed(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        };
        std::future::poll_fn(is_dismissed).await;
    }

    /// Withdraws a dismissal because a request has arrived. Another connection is dismissed
    /// instead.
    pub fn stays(&self) {
        self.seat
            .since
            .store(self.admission.now(), Ordering::SeqCst);
        if self.seat.advance(DISMISSED, AWAITING_HEAD) {
            self.admission.list(&self.seat);
            self.admission.freed.notify_waiters();
        }
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
