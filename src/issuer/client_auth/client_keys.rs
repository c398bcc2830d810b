//! The public keys of clients: registered with them, or fetched when they are first needed.
//!
//! A set is fetched by [`ClientKeySets::run`] only, one fetch at a time for each place, and kept
//! for minutes. Whoever needs it waits for at most a second, and nobody else waits. A set that
//! cannot be fetched is not asked for again at once, and neither is one for a key that it did not
//! hold a moment ago.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, StatusCode};
use moka::sync::Cache;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use url::Url;

use crate::domain::claims::Claims;
use crate::files;
use crate::http_client::{HttpClient, HttpOptions};
use crate::jose::key_set::{InvalidKeySet, KeySet};

/// How long a set is used without asking for another: of a URL, of a file.
const FRESH: (Duration, Duration) = (Duration::from_mins(10), Duration::from_secs(10));
/// For how long the last good set serves when no other can be had.
const MAX_STALE: Duration = Duration::from_hours(1);
/// Between two fetches from one place: of a URL, of a file.
const COOL_DOWN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));
/// How long a request waits for a fetch.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// To connect, and in all.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));
/// The largest set, in bytes: one that fits into a request of the management API, wherever it comes
/// from.
pub const MAX_BODY: usize = 48 * 1024;
/// Members of a JWK that are secret (RFC 7518 §6): `d` is the private part of every asymmetric
/// kind, the others are more of an RSA one; `k` is a symmetric key.
const SECRET_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// Fetches at once, and those that wait for their turn.
const AT_ONCE: usize = 64;
const MOST_WAITING: usize = 256;
/// So many sets are kept.
const MOST: u64 = 10_000;

/// Why a document is no key set of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientKeys {
    /// It is too large.
    #[error("is larger than {} KiB", MAX_BODY / 1024)]
    TooLarge,
    /// It is not what it should be.
    #[error(
        "is not a JWK set with the client's public keys: a JSON object with a list of `keys` (RFC 7517 §5)"
    )]
    NotAKeySet,
    /// It holds what only the client should have.
    #[error(
        "holds a private or symmetric key: use the public ones only, and take this one out of use"
    )]
    Secret,
    /// No key in it is of use.
    #[error("holds no public key that can verify a signature")]
    NoUsableKey,
}

/// Reads a client's key set, wherever it comes from. Keys that cannot verify a signature here stand
/// beside those that can and are ignored (RFC 7517 §5).
///
/// # Errors
/// [`InvalidClientKeys`] says why not.
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

/// Where the keys of a client are.
#[derive(Clone, Debug)]
pub enum ClientKeys {
    /// Here.
    Inline(KeySet),
    /// In a file, or at a URL.
    At(KeyPlace),
}

/// Where keys are fetched from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyPlace {
    /// A file of this machine, which may change.
    File(PathBuf),
    /// A URL of the client's choice (RFC 7591 §2).
    Uri(Url),
}

impl KeyPlace {
    /// Reads a client's `jwks_uri`. `None`: it is no https URL, or holds a user's name, a password
    /// or a fragment.
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

/// No newer keys are to be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::issuer) struct Unavailable;

/// What is known of one place.
#[derive(Clone, Default)]
struct Known {
    keys: Option<(Arc<KeySet>, Instant)>,
    under_way: bool,
    last_began: Option<Instant>,
    has_failed: bool,
}

type Entry = watch::Sender<Known>;

/// A fetch that somebody waits for. Whatever becomes of it, its end is noted.
struct Wanted {
    place: KeyPlace,
    entry: Arc<Entry>,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.entry.send_modify(|known| known.under_way = false);
    }
}

/// The fetched key sets of all clients.
pub struct ClientKeySets {
    known: Cache<KeyPlace, Arc<Entry>>,
    wanted: mpsc::Sender<Wanted>,
    queue: tokio::sync::Mutex<mpsc::Receiver<Wanted>>,
    hosts: Vec<String>,
    ca_pem: Option<Vec<u8>>,
    http: OnceLock<Option<HttpClient>>,
}

impl ClientKeySets {
    /// No sets yet. `hosts` may have private addresses; `ca_pem` is trusted beside the platform's
    /// certificates.
    pub(super) fn new(hosts: Vec<String>, ca_pem: Option<Vec<u8>>) -> Arc<Self> {
        let (wanted, queue) = mpsc::channel(MOST_WAITING);
        Arc::new(Self {
            known: Cache::new(MOST),
            wanted,
            queue: tokio::sync::Mutex::new(queue),
            hosts,
            ca_pem,
            http: OnceLock::new(),
        })
    }

    /// The keys as they are known, fetched if they are not or are old. `None`: there are none to be
    /// had now.
    pub(super) async fn current(&self, keys: &ClientKeys) -> Option<Arc<KeySet>> {
        let place = match keys {
            ClientKeys::Inline(keys) => return Some(Arc::new(keys.clone())),
            ClientKeys::At(place) => place,
        };
        let entry = self.entry(place);
        let is_fresh = |known: &Known| {
            known
                .keys
                .as_ref()
                .is_some_and(|(_, fetched_at)| fetched_at.elapsed() < place.fresh())
        };
        if !is_fresh(&entry.borrow()) {
            self.fetched(place, &entry).await;
        }
        let known = entry.borrow();
        let usable = known
            .keys
            .as_ref()
            .filter(|(_, fetched_at)| fetched_at.elapsed() < MAX_STALE);
        usable.map(|(keys, _)| keys.clone())
    }

    /// Keys newer than those that were just looked through, unless it was only just asked for them.
    pub(super) async fn newer(&self, keys: &ClientKeys) -> Result<Arc<KeySet>, Unavailable> {
        if let ClientKeys::At(place) = keys {
            let entry = self.entry(place);
            self.fetched(place, &entry).await;
            let known = entry.borrow();
            if known.has_failed || known.under_way {
                return Err(Unavailable);
            }
        }
        self.current(keys).await.ok_or(Unavailable)
    }

    fn entry(&self, place: &KeyPlace) -> Arc<Entry> {
        self.known
            .get_with_by_ref(place, || Arc::new(watch::Sender::new(Known::default())))
    }

    /// Waits for a fetch, of which there is one at a time and one per cool-down.
    async fn fetched(&self, place: &KeyPlace, entry: &Arc<Entry>) {
        let mut is_cooling = false;
        let begins = entry.send_if_modified(|known| {
            is_cooling = known
                .last_began
                .is_some_and(|began| began.elapsed() < place.cool_down());
            let begins = !known.under_way && !is_cooling;
            if begins {
                known.under_way = true;
                known.last_began = Some(Instant::now());
            }
            begins
        });
        if begins {
            // Where there is no room it counts as a fetch that failed: dropping it says so.
            let _ = self.wanted.try_send(Wanted {
                place: place.clone(),
                entry: entry.clone(),
            });
        }
        let mut ended = entry.subscribe();
        let _ = tokio::time::timeout(LONGEST_WAIT, ended.wait_for(|known| !known.under_way)).await;
    }

    /// Fetches what is wanted, for ever; dropping the future ends it.
    pub async fn run(self: Arc<Self>) {
        let mut queue = self.queue.lock().await;
        let mut fetches = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(wanted) = queue.recv(), if fetches.len() < AT_ONCE => fetches.push(self.fetch(wanted)),
                Some(()) = fetches.next() => {}
                else => return,
            }
        }
    }

    async fn fetch(&self, wanted: Wanted) {
        let fetched = match &wanted.place {
            KeyPlace::File(file) => read_file(file.clone()).await,
            KeyPlace::Uri(url) => self.get(url).await,
        };
        if let Err(error) = &fetched {
            // Of a URL only the host: the rest may hold what is nobody's business.
            let place = match &wanted.place {
                KeyPlace::File(file) => file.display().to_string(),
                KeyPlace::Uri(url) => url.host_str().unwrap_or_default().to_owned(),
            };
            tracing::warn!(place, %error, "cannot fetch a client's keys");
        }
        wanted.entry.send_modify(|known| {
            known.has_failed = fetched.is_err();
            if let Ok(keys) = fetched {
                known.keys = Some((Arc::new(keys), Instant::now()));
            }
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
