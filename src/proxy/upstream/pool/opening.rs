//! Requests that come together wait for one new connection of HTTP/2, which they share.

use tokio_util::sync::CancellationToken;

use super::{Pool, PoolKey};

/// The connections that are being opened.
#[derive(Default)]
pub(super) struct Openings {
    all: Vec<Entry>,
    next: u64,
}

struct Entry {
    id: u64,
    key: PoolKey,
    /// How many requests wait for it.
    waiting: usize,
    ended: CancellationToken,
}

/// The part of a request in opening a connection.
pub enum Opening<'p> {
    /// It opens one that no other request waits for.
    Alone,
    /// It opens one for others too, until this is dropped.
    Leading(#[expect(dead_code, reason = "its drop is what counts")] Led<'p>),
    /// Another request opens one; the token is cancelled at the end of that.
    ByAnother(CancellationToken),
}

pub struct Led<'p> {
    pool: &'p Pool,
    id: u64,
}

impl Pool {
    /// Joins the request that opens a connection for this key, if the connection will have room.
    /// `streams`: how many requests it is expected to carry; 0: only one.
    pub fn opening(&self, key: PoolKey, streams: usize) -> Opening<'_> {
        if streams == 0 {
            return Opening::Alone;
        }
        let openings = &mut self.state().openings;
        let joined = openings.all.iter_mut();
        let joined = joined.filter(|entry| entry.key == key && entry.waiting + 1 < streams);
        if let Some(entry) = joined.last() {
            entry.waiting += 1;
            return Opening::ByAnother(entry.ended.clone());
        }
        let id = openings.next;
        openings.next = id.wrapping_add(1);
        openings.all.push(Entry {
            id,
            key,
            waiting: 0,
            ended: CancellationToken::new(),
        });
        Opening::Leading(Led { pool: self, id })
    }
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        let openings = &mut self.pool.state().openings;
        let Some(at) = openings.all.iter().position(|entry| entry.id == self.id) else {
            return;
        };
        openings.all.remove(at).ended.cancel();
    }
}
