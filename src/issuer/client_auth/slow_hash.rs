//! Argon2id with limits on its memory and on its queue, in which every client and address has at
//! most a share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

use crate::domain::secret::SecretString;
use crate::issuer::client_secret::{Digest, Salt, argon2id};

/// Concurrent evaluations, of 19 MiB each; never more than half of the cores.
const AT_ONCE: usize = 2;
/// Running and waiting evaluations: all, those of one client id, those of one address. An address
/// may have half of all, because it may be a proxy for many clients.
const MOST: usize = 64;
const MOST_OF_CLIENT: usize = 4;
const MOST_OF_ADDRESS: usize = 32;

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// The input of an evaluation: a presented id and secret, and the salt.
pub(super) type Input = ([u8; 32], Salt);

type Evaluation = Shared<BoxFuture<'static, Option<Digest>>>;

pub(super) struct SlowHashes {
    running: Arc<Semaphore>,
    places: Arc<Mutex<HashMap<Share, usize>>>,
    /// Concurrent requests with the same secret share one evaluation: clients start to use a new
    /// secret with many requests at once.
    under_way: Mutex<HashMap<Input, Evaluation>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Share {
    All,
    Client(String),
    Address(IpAddr),
}

impl SlowHashes {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let running = Arc::new(Semaphore::new((cores / 2).clamp(1, AT_ONCE)));
        Self {
            running,
            places: Arc::default(),
            under_way: Mutex::default(),
        }
    }

    /// The digest of a secret, computed on a thread that serves no requests.
    pub(super) async fn digest(
        &self,
        input: Input,
        secret: &SecretString,
        client_id: &str,
        address: IpAddr,
    ) -> Result<Digest, Busy> {
        let waiting = self.wait(input, secret, client_id, address)?;
        match waiting.evaluation.clone() {
            Some(evaluation) => evaluation.await.ok_or(Busy),
            None => Err(Busy),
        }
    }

    fn wait(
        &self,
        input: Input,
        secret: &SecretString,
        client_id: &str,
        address: IpAddr,
    ) -> Result<Waiting<'_>, Busy> {
        let mut under_way = lock(&self.under_way);
        if let Some(evaluation) = under_way.get(&input) {
            return Ok(Waiting {
                evaluation: Some(evaluation.clone()),
                of: self,
                input,
            });
        }
        let place = Place::take(&self.places, client_id, address).ok_or(Busy)?;
        let (running, secret) = (self.running.clone(), secret.clone());
        let evaluation = async move {
            let permit = running.acquire_owned().await.ok()?;
            let evaluate = move || {
                // Held until the thread is done, even if no request waits for it any more.
                let _held = (permit, place);
                argon2id(&secret, &input.1)
            };
            tokio::task::spawn_blocking(evaluate).await.ok()?
        };
        let evaluation = evaluation.boxed().shared();
        under_way.insert(input, evaluation.clone());
        Ok(Waiting {
            evaluation: Some(evaluation),
            of: self,
            input,
        })
    }
}

/// A request that waits for an evaluation. The last one removes it from the map, where it would
/// hold its place without end.
struct Waiting<'s> {
    /// `None` only while it is dropped.
    evaluation: Option<Evaluation>,
    of: &'s SlowHashes,
    input: Input,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut under_way = lock(&self.of.under_way);
        // Dropped under the lock, so that exactly one of two concurrent requests is the last.
        let Some(evaluation) = self.evaluation.take() else {
            return;
        };
        let is_in_map = under_way
            .get(&self.input)
            .is_some_and(|it| it.ptr_eq(&evaluation));
        // This one and the map's.
        let is_last = evaluation.strong_count().is_none_or(|count| count <= 2);
        if is_in_map && (is_last || evaluation.peek().is_some()) {
            under_way.remove(&self.input);
        }
    }
}

/// A place in the queue, counted for all, for its client and for its address.
struct Place {
    places: Arc<Mutex<HashMap<Share, usize>>>,
    shares: [Share; 3],
}

impl Place {
    fn take(
        places: &Arc<Mutex<HashMap<Share, usize>>>,
        client_id: &str,
        address: IpAddr,
    ) -> Option<Self> {
        let shares = [
            Share::All,
            Share::Client(client_id.to_owned()),
            Share::Address(address),
        ];
        let mut taken = lock(places);
        let most = [MOST, MOST_OF_CLIENT, MOST_OF_ADDRESS];
        let count = |share| taken.get(share).copied().unwrap_or(0);
        if shares
            .iter()
            .zip(most)
            .any(|(share, most)| count(share) >= most)
        {
            return None;
        }
        for share in &shares {
            *taken.entry(share.clone()).or_insert(0) += 1;
        }
        drop(taken);
        Some(Self {
            places: places.clone(),
            shares,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places);
        for share in &self.shares {
            if let Some(count) = taken.get_mut(share) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(share);
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    fn input(number: u8) -> Input {
        ([number; 32], [0; 16])
    }

    #[tokio::test]
    async fn one_client_and_one_address_get_no_more_than_their_share_of_the_queue() {
        let slow = SlowHashes::new();
        let secret = SecretString::from("x");
        // Nothing is polled, so nothing ends: what waits here only holds places.
        let mut waiting = Vec::new();
        for number in 0..4 {
            waiting.push(
                slow.wait(input(number), &secret, "flooded", address(number))
                    .ok()
                    .unwrap(),
            );
        }
        assert!(
            slow.wait(input(100), &secret, "flooded", address(99))
                .is_err(),
            "the client's share"
        );
        for number in 10..42 {
            let client = format!("c{number}");
            waiting.push(
                slow.wait(input(number), &secret, &client, address(200))
                    .ok()
                    .unwrap(),
            );
        }
        assert!(
            slow.wait(input(101), &secret, "other", address(200))
                .is_err(),
            "the address's share"
        );
        // A good client elsewhere is not concerned.
        let good = slow
            .digest(input(102), &secret, "good", address(3))
            .await
            .unwrap();
        assert_eq!(Some(good), argon2id(&secret, &[0; 16]));
        for number in 50..78 {
            let client = format!("c{number}");
            waiting.push(
                slow.wait(input(number), &secret, &client, address(number))
                    .ok()
                    .unwrap(),
            );
        }
        assert_eq!(waiting.len(), MOST);
        assert!(
            slow.wait(input(103), &secret, "new", address(98)).is_err(),
            "the queue is full"
        );
        drop(waiting);
        assert!(lock(&slow.places).is_empty() && lock(&slow.under_way).is_empty());
        assert!(
            slow.digest(input(104), &secret, "flooded", address(200))
                .await
                .is_ok()
        );
        assert!(lock(&slow.places).is_empty() && lock(&slow.under_way).is_empty());
    }

    #[tokio::test]
    async fn the_same_secret_presented_many_times_at_once_is_evaluated_once() {
        let slow = SlowHashes::new();
        let secret = SecretString::from("x");
        let all = (0..50).map(|_| slow.digest(input(1), &secret, "client", address(1)));
        let all = futures_util::future::join_all(all).await;
        assert!(
            all.iter()
                .all(|digest| *digest == Ok(argon2id(&secret, &[0; 16]).unwrap()))
        );
    }
}
