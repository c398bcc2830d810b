//! The signed list of revoked tokens, for other verifiers.
//!
//! Signing a long list takes a quarter of a second, so a blocking thread does it, one list at a
//! time. All requests that arrive meanwhile get the next list, which has everything that was
//! revoked before it began.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;

use super::known::{Bounds, Known, Published, published};
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::revoked::{HashedClientId, Marked};
use crate::domain::secret::ExposeSecret;
use crate::domain::settings::ListedClients;
use crate::issuer::error::TokenError;
use crate::jose::sign::SigningKey;

/// `typ` of the list.
const TYP: &str = "m2m-revocations+jwt";
/// How long a signed list is served. Verifiers may use it for half a minute.
pub(super) const LIFETIME: Duration = Duration::from_secs(15);

/// The list of revoked tokens, signed.
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// A JWT. Claims: `iss`; `iat`, the time at which the store was read; `revision`, the number of
    /// changes of the store's revocations in it; `revoked`, `jti`s; `not_before_sha256`, per hash
    /// of a client id the `iat` up to which all tokens are revoked; `marked_sha256`, per hash the
    /// mark of tokens that were issued after that end, whatever their `iat`. `not_before` and
    /// `marked` are the same per client id.
    pub jwt: Bytes,
    /// Changes with the content, not with each signature.
    pub etag: HeaderValue,
}

/// The last signed list.
#[derive(Default)]
pub(super) struct SignedList {
    last: ArcSwapOption<Signed>,
    /// Held while a list is made.
    pub flight: tokio::sync::Mutex<()>,
}

struct Signed {
    generation: u64,
    at: UnixTime,
    list: RevocationList,
}

impl SignedList {
    /// The last list, if it is as new as a generation and not too old.
    pub(super) fn last(&self, generation: u64, now: UnixTime) -> Option<RevocationList> {
        let last = self.last.load();
        let fits = |last: &&Arc<Signed>| {
            last.generation >= generation && last.at <= now && last.at.until(now) < LIFETIME
        };
        last.as_ref().filter(fits).map(|last| last.list.clone())
    }

    pub(super) fn keep(&self, generation: u64, at: UnixTime, list: RevocationList) {
        self.last.store(Some(Arc::new(Signed {
            generation,
            at,
            list,
        })));
    }
}

/// The content of a list.
pub(super) struct Content {
    pub issuer: String,
    pub listed: ListedClients,
    pub known: Arc<Known>,
    pub bounds: Arc<Bounds>,
    /// `known` has all that was revoked before this time.
    pub read_at: UnixTime,
    pub now: UnixTime,
}

#[derive(Serialize)]
struct Exception {
    mark: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<i64>,
}

type Ends = BTreeMap<String, i64>;
type Exceptions = BTreeMap<String, Exception>;

/// The content that decides the ETag.
#[derive(Serialize)]
struct Entries<'a> {
    revoked: Vec<&'a str>,
    not_before: Named,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    marked: Exceptions,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    not_before_sha256: Ends,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    marked_sha256: Exceptions,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Named {
    Ends(Ends),
    /// A verifier without support for hashes must not take the list for one without ends: to it
    /// this is malformed.
    Unreadable([i64; 0]),
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
    revision: i64,
    #[serde(flatten)]
    entries: &'a Entries<'a>,
}

impl Content {
    /// Blocks for as long as it takes.
    ///
    /// # Errors
    /// [`TokenError::Signing`].
    pub(super) fn sign(&self, key: &SigningKey) -> Result<RevocationList, TokenError> {
        let published = published(&self.known, &self.bounds, self.now);
        let entries = entries(&published, self.listed);
        let (iss, iat, revision) = (self.issuer.as_str(), self.read_at.0, self.known.revision);
        let claims = Claims {
            iss,
            iat,
            revision,
            entries: &entries,
        };
        let jwt = key.sign(TYP, &claims).map_err(|_| TokenError::Signing)?;
        let content = serde_json::to_vec(&entries).map_err(|_| TokenError::Signing)?;
        let digest: String = sha256(&content)[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let etag =
            HeaderValue::try_from(format!("\"{digest}\"")).map_err(|_| TokenError::Signing)?;
        Ok(RevocationList {
            jwt: Bytes::copy_from_slice(jwt.expose_secret().as_bytes()),
            etag,
        })
    }
}

fn entries<'p>(published: &'p Published<'_>, listed: ListedClients) -> Entries<'p> {
    let name = |client: &str| match listed {
        ListedClients::Hashed => HashedClientId::of(client).to_string(),
        ListedClients::Named => client.to_owned(),
    };
    let ends: Ends = published
        .clients
        .iter()
        .map(|(client, end)| (name(client), end.until.0))
        .collect();
    let exceptions = published.clients.iter().filter_map(|(client, end)| {
        let Marked { mark, until } = end.marked?;
        let not_before = Some(until.0).filter(|until| *until > i64::MIN);
        Some((
            name(client),
            Exception {
                mark: mark.to_string(),
                not_before,
            },
        ))
    });
    let exceptions: Exceptions = exceptions.collect();
    let (revoked, none) = (published.jtis(), (Ends::new(), Exceptions::new()));
    let (not_before, marked, (not_before_sha256, marked_sha256)) = match listed {
        ListedClients::Hashed if !ends.is_empty() => {
            (Named::Unreadable([]), Exceptions::new(), (ends, exceptions))
        }
        _ => (Named::Ends(ends), exceptions, none),
    };
    Entries {
        revoked,
        not_before,
        marked,
        not_before_sha256,
        marked_sha256,
    }
}
