//! The public keys of clients: registered with them, or fetched when they are first needed.
//!
//! Only [`ClientKeySets::run`] fetches sets, one fetch at a time for each place. A set is kept for
//! minutes. A request waits at most a second for it, and delays no other request. After a failed
//! fetch, or a fetch without the needed key, the next one must wait.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, StatusCode};
use moka::sync::Cache;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use url::Url;

use crate::domain::claims::Claims;
use crate::files;
use crate::http_client::{Egress, HttpClient, HttpOptions};
use crate::jose::key_set::{InvalidKeySet, KeySet};
use crate::jose::refresh::{Refreshed, Requested};

/// How long a set is used without another fetch: of a URL, of a file.
const FRESH: (Duration, Duration) = (Duration::from_mins(10), Duration::from_secs(10));
/// How long the last good set is used while no other can be fetched.
const MAX_STALE: Duration = Duration::from_hours(1);
/// Between two fetches from one place: of a URL, of a file.
const COOL_DOWN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));
/// How long a request waits for a fetch.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The timeout of the connection, and of the whole fetch.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));
/// The largest set, in bytes. It fits into a request of the management API.
pub const MAX_BODY: usize = 48 * 1024;
/// Secret members of a JWK (RFC 7518 §6): `d` is the private part of every asymmetric type, `k` is
/// a symmetric key, the others belong to RSA.
const SECRET_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// Concurrent fetches, and those that wait.
const AT_ONCE: usize = 64;
const MOST_WAITING: usize = 256;
/// The number of sets that are kept.
const MOST: u64 = 10_000;

/// Why a document is not the key set of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientKeys {
    #[error("is larger than {} KiB", MAX_BODY / 1024)]
    TooLarge,
    #[error(
        "is not a JWK set with the client's public keys: a JSON object with a list of `keys` (RFC \
         7517 §5)"
    )]
    NotAKeySet,
    #[error(
        "holds a private or symmetric key: use the public ones only, and take this one out of use"
    )]
    Secret,
    #[error("holds no public key that can verify a signature")]
    NoUsableKey,
}

/// Parses a client's key set. Keys that cannot verify a signature here are ignored (RFC 7517 §5).
///
/// # Errors
/// [`InvalidClientKeys`].
pub fn read_key_set(document: &[u8]) -> Result<KeySet, InvalidClientKeys> {
    if document.len() > MAX_BODY {
        return Err(InvalidClientKeys::TooLarge);
    }
    let keys = KeySet::parse(document);
    if matches!(keys, Err(InvalidKeySet::NotAKeySet)) {
        return Err(InvalidClientKeys::NotAKeySet);
    }
    let claims = Claims::parse(document).map_err(|_| InvalidClientKeys::NotAKeySet)?;
    let jwks = claims
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(InvalidClientKeys::NotAKeySet)?;
    if jwks.iter().any(|jwk| {
        SECRET_MEMBERS
            .iter()
            .any(|member| jwk.get(member).is_some())
    }) {
        return Err(InvalidClientKeys::Secret);
    }
    keys.map_err(|_| InvalidClientKeys::NoUsableKey)
}

/// The keys of a client, or their place.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientKeys {
    /// The registered keys.
    Inline(KeySet),
    /// Keys in a file or at a URL.
    At(KeyPlace),
}

/// The place of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyPlace {
    /// A local file.
    File(PathBuf),
    /// A URL that the client chose (RFC 7591 §2).
    Uri(Url),
}

impl KeyPlace {
    /// Parses a client's `jwks_uri`. `None`: it is no https URL, or has a user name, a password or
    /// a fragment.
    #[must_use]
    pub fn parse_uri(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let plain = url.scheme() == "https"
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        plain.then_some(Self::Uri(url))
    }

    fn fresh(&self) -> Duration {
        if matches!(self, Self::Uri(_)) {
            FRESH.0
        } else {
            FRESH.1
        }
    }

    fn cool_down(&self) -> Duration {
        if matches!(self, Self::Uri(_)) {
            COOL_DOWN.0
        } else {
            COOL_DOWN.1
        }
    }
}

/// No newer keys are available now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::issuer) struct Unavailable;

/// A fetched set and the time of the fetch.
struct Fetched {
    keys: Arc<KeySet>,
    at: Instant,
}

type Entry = Refreshed<Fetched>;

/// A requested fetch. If it is dropped, for example because the queue is full, it counts as failed.
struct Wanted {
    place: KeyPlace,
    entry: Arc<Entry>,
    is_over: bool,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if !self.is_over {
            self.entry.end(Err("the fetch was not made".into()));
        }
    }
}

/// The fetched key sets of all clients.
pub struct ClientKeySets {
    known: Cache<KeyPlace, Arc<Entry>>,
    wanted: mpsc::Sender<Wanted>,
    queue: tokio::sync::Mutex<mpsc::Receiver<Wanted>>,
    hosts: Vec<String>,
    ca_pem: Option<Vec<u8>>,
    egress: Egress,
    http: OnceLock<Option<HttpClient>>,
}

impl ClientKeySets {
    /// No sets yet. `hosts` may have private addresses; `ca_pem` is trusted beside the platform's
    /// certificates.
    pub(super) fn new(hosts: Vec<String>, ca_pem: Option<Vec<u8>>, egress: Egress) -> Arc<Self> {
        let (wanted, queue) = mpsc::channel(MOST_WAITING);
        Arc::new(Self {
            known: Cache::new(MOST),
            wanted,
            queue: tokio::sync::Mutex::new(queue),
            hosts,
            ca_pem,
            egress,
            http: OnceLock::new(),
        })
    }

    /// The keys, fetched first if they are missing or old. `None`: none are available now.
    pub(super) async fn current(&self, keys: &ClientKeys) -> Option<Arc<KeySet>> {
        let place = match keys {
            ClientKeys::Inline(keys) => return Some(Arc::new(keys.clone())),
            ClientKeys::At(place) => place,
        };
        let entry = self.entry(place);
        let younger_than = |age: Duration| {
            let fetched = entry.value().filter(|it| it.at.elapsed() < age);
            fetched.map(|it| it.keys.clone())
        };
        if younger_than(place.fresh()).is_none() {
            self.fetched(place, &entry).await;
        }
        younger_than(MAX_STALE)
    }

    /// Keys newer than those that were just tried, unless a fetch was made only just now.
    pub(super) async fn newer(&self, keys: &ClientKeys) -> Result<Arc<KeySet>, Unavailable> {
        if let ClientKeys::At(place) = keys {
            let entry = self.entry(place);
            self.fetched(place, &entry).await;
            let attempts = entry.attempts();
            if attempts.is_failing() || attempts.under_way {
                return Err(Unavailable);
            }
        }
        self.current(keys).await.ok_or(Unavailable)
    }

    fn entry(&self, place: &KeyPlace) -> Arc<Entry> {
        self.known
            .get_with_by_ref(place, || Arc::new(Refreshed::new(None, false)))
    }

    /// Waits for a fetch. There is one at a time, and one per cool-down.
    async fn fetched(&self, place: &KeyPlace, entry: &Arc<Entry>) {
        let requested =
            entry.request(|attempts| attempts.began_within(place.cool_down()).then_some(()));
        let pending = match requested {
            Requested::Refused(()) => return,
            Requested::Joins(pending) => pending,
            Requested::Starts(pending) => {
                entry.begin();
                let _ = self.wanted.try_send(Wanted {
                    place: place.clone(),
                    entry: entry.clone(),
                    is_over: false,
                });
                pending
            }
        };
        entry.ended(pending, LONGEST_WAIT).await;
    }

    /// Fetches the requested sets until the future is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut queue = self.queue.lock().await;
        let mut fetches = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(wanted) = queue.recv(), if fetches.len() < AT_ONCE => {
                    fetches.push(self.fetch(wanted));
                }
                Some(()) = fetches.next() => {}
                else => return,
            }
        }
    }

    async fn fetch(&self, mut wanted: Wanted) {
        let fetched = match &wanted.place {
            KeyPlace::File(file) => read_file(file.clone()).await,
            KeyPlace::Uri(url) => self.get(url).await,
        };
        if let Err(error) = &fetched {
            // Only the host of a URL: the rest may be confidential.
            let place = match &wanted.place {
                KeyPlace::File(file) => file.display().to_string(),
                KeyPlace::Uri(url) => url.host_str().unwrap_or_default().to_owned(),
            };
            tracing::warn!(place, %error, "cannot fetch a client's keys");
        }
        wanted.is_over = true;
        wanted.entry.end(match fetched {
            Ok(keys) => Ok(Fetched {
                keys: Arc::new(keys),
                at: Instant::now(),
            }),
            Err(error) => Err(error.into()),
        });
    }

    async fn get(&self, url: &Url) -> Result<KeySet, String> {
        let http = self.http.get_or_init(|| {
            let options = HttpOptions {
                connect_timeout: TIMEOUTS.0,
                total_timeout: TIMEOUTS.1,
                ca_pem: self.ca_pem.clone(),
                identity_pem: None,
                max_body: MAX_BODY,
                egress: self.egress.clone(),
            };
            HttpClient::for_client_urls(options, self.hosts.clone()).ok()
        });
        let http = http
            .as_ref()
            .ok_or("the certificates for it cannot be used")?;
        let answer = http
            .get(url, HeaderMap::new())
            .await
            .map_err(|failed| failed.why().to_owned())?;
        if answer.status != StatusCode::OK {
            return Err(format!("its answer is {}, not 200", answer.status.as_u16()));
        }
        read_key_set(&answer.body).map_err(|why| format!("its answer {why}"))
    }
}

async fn read_file(file: PathBuf) -> Result<KeySet, String> {
    let read = tokio::task::spawn_blocking(move || {
        let document = files::read(&file, MAX_BODY as u64).map_err(|why| format!("it {why}"))?;
        read_key_set(&document).map_err(|why| format!("it {why}"))
    });
    read.await
        .unwrap_or_else(|_| Err("it cannot be read".to_owned()))
}
