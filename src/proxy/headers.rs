//! Removes client headers that must not reach the upstream, and defines the headers that do.

mod added;

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;

pub use self::added::Added;
use crate::domain::reason::Reason;
use crate::verifier::VerifiedToken;

/// The sidecar's own headers. All are removed from client requests, also those that this listener
/// does not set: another listener in front of the same upstream may set them.
const OWN_PREFIX: &str = "x-m2m-*";

/// Names that define framing, host, credentials or request id. Some upstreams fold other spellings
/// into these names, and no check has seen those spellings.
const IMITATED: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "proxy-authorization",
    "x-request-id",
];

/// Names by which some frameworks override path or method, which no check has seen.
const OVERRIDES: &[&str] = &[
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// The headers that report the origin of a request. The sidecar writes its own.
const OF_ORIGIN: &[&str] = &["x-forwarded-*", "x-real-ip", "forwarded"];

/// A trusted proxy's headers with this beginning are kept, unless the sidecar writes its own.
const X_FORWARDED: &str = "x-forwarded-";

/// The prefix under which grpc-gateway forwards a header as gRPC metadata.
const GRPC_METADATA: &str = "grpc-metadata-";

/// Headers in which other proxies report the caller, the origin or the original form of a request.
/// A prefix ends with `*`. All `X-Forwarded-*` are handled as well.
pub const OF_OTHER_PROXIES: &[&str] = &[
    "Proxy",
    "Proxy-Client-IP",
    "Proxy-User",
    "Remote-*",
    "Client-Cert*",
    "Client-IP",
    "True-Client-IP",
    "Fastly-Client-IP",
    "CF-Connecting-IP*",
    "CF-Access-Authenticated-*",
    "Forwarded-*",
    "Front-End-Https",
    "OIDC-*",
    "SSL-*",
    "Tailscale-*",
    "WL-Proxy-*",
    "X-Amzn-Mtls-*",
    "X-Amzn-Oidc-*",
    "X-Anonymous-Consumer",
    "X-AppEngine-*",
    "X-ARR-*",
    "X-Auth-Email",
    "X-Auth-Group*",
    "X-Auth-Request-*",
    "X-Auth-Role*",
    "X-Auth-User*",
    "X-Authenticated-*",
    "X-Authentik-*",
    "X-Client-Cert*",
    "X-Client-DN",
    "X-Client-IP",
    "X-Client-Verify",
    "X-Cluster-Client-IP",
    "X-Consumer-*",
    "X-Credential-*",
    "X-Envoy-External-Address",
    "X-Envoy-Internal",
    "X-Envoy-Original-*",
    "X-Forward-*",
    "X-Forwarded",
    "X-Goog-Authenticated-User-*",
    "X-Goog-IAP-*",
    "X-Host",
    "X-MS-Client-Principal*",
    "X-MS-Token-*",
    "X-Original-*",
    "X-Pomerium-*",
    "X-Proxy-User",
    "X-ProxyUser-IP",
    "X-Real-*",
    "X-Remote-*",
    "X-Scheme",
    "X-SSL-*",
    "X-Url-Scheme",
    "X-Userinfo",
    "X-Vouch-*",
    "X-WebAuth-*",
];

/// Removes headers that would override the checked path or method.
pub fn strip_overrides(request: &mut RequestHeader) {
    remove_where(request, |name| {
        is_imitation(name)
            || OVERRIDES
                .iter()
                .any(|known| folds_to(name.as_bytes(), known.as_bytes()))
    });
}

/// The identity headers of one listener.
pub struct IdentityHeaders {
    /// The names, in the order of the token's forwarded claims.
    names: Vec<HeaderName>,
}

impl IdentityHeaders {
    /// The names of the headers for a token's forwarded claims, in their order.
    #[must_use]
    pub fn new(names: Vec<HeaderName>) -> Self {
        Self { names }
    }

    /// Writes a token's identity. [`ClientHeaders::strip`] has removed the client's own headers.
    ///
    /// # Errors
    /// [`Reason::Internal`] when a value fits no header.
    pub fn attach(&self, added: &mut Added, token: &VerifiedToken) -> Result<(), Reason> {
        for (name, value) in self.all(Some(token)) {
            if let Some(value) = value {
                let value = HeaderValue::from_bytes(value).map_err(|_| Reason::Internal)?;
                added.push(name.clone(), value);
            }
        }
        Ok(())
    }

    /// Every name, with the value of a token's identity if it has one.
    pub fn all<'t>(
        &'t self,
        token: Option<&'t VerifiedToken>,
    ) -> impl Iterator<Item = (&'t HeaderName, Option<&'t [u8]>)> {
        let mut values = token.map(|token| token.forwarded());
        self.names.iter().map(move |name| {
            let value = values.as_mut().and_then(Iterator::next);
            (name, value.flatten())
        })
    }
}

/// The headers of clients that never reach the upstream of an inbound listener. One pass over the
/// names of a request finds them all.
pub struct ClientHeaders {
    /// By [`bucket`]: most names of requests meet no pattern.
    buckets: Vec<Vec<Pattern>>,
}

const BUCKETS: usize = 256;

/// A name, or the beginning of names.
#[derive(Clone)]
struct Pattern {
    /// Of [`fold_byte`].
    folded: Box<[u8]>,
    is_beginning: bool,
    removed: Removed,
}

/// When a name that a pattern matches is removed.
#[derive(Clone)]
enum Removed {
    Always,
    /// In every spelling but the usual one, which is the header itself.
    Imitation,
    /// As gRPC metadata only.
    Metadata,
    /// Unless a trusted peer sends it as it is written in the configuration, or in its usual
    /// spelling. A client of that peer may have sent another spelling.
    UnlessTrusted {
        written: Box<str>,
    },
    /// Unless a trusted peer sends it in its usual spelling, and the sidecar writes none.
    OfOrigin,
}

impl ClientHeaders {
    /// `identity` are the names of the identity headers, and `of_proxies` those that only a trusted
    /// peer may send; one of these that ends with `*` is the beginning of names.
    #[must_use]
    pub fn new<T: AsRef<str>>(identity: &[HeaderName], of_proxies: &[T]) -> Self {
        let always = OVERRIDES
            .iter()
            .copied()
            .chain([OWN_PREFIX])
            .map(|name| Pattern::new(name, Removed::Always));
        let identity = identity
            .iter()
            .map(|name| Pattern::exactly(name.as_str(), Removed::Always));
        let imitated = IMITATED
            .iter()
            .map(|name| Pattern::new(name, Removed::Imitation));
        let of_origin = OF_ORIGIN
            .iter()
            .map(|name| Pattern::new(name, Removed::OfOrigin));
        let of_proxies = of_proxies.iter().map(|name| {
            let name = name.as_ref();
            let written = name
                .strip_suffix('*')
                .unwrap_or(name)
                .to_ascii_lowercase()
                .into();
            Pattern::new(name, Removed::UnlessTrusted { written })
        });
        let patterns = always
            .chain(identity)
            .chain([Pattern::new("authorization", Removed::Metadata)])
            .chain(imitated)
            .chain(of_origin)
            .chain(of_proxies);
        let mut headers = Self {
            buckets: vec![Vec::new(); BUCKETS],
        };
        patterns.for_each(|pattern| headers.add(&pattern));
        headers
    }

    fn add(&mut self, pattern: &Pattern) {
        for (index, names) in self.buckets.iter_mut().enumerate() {
            if pattern.can_be_in(index) {
                names.push(pattern.clone());
            }
        }
    }

    /// Removes client headers that would change the checked request, or look like the sidecar's own
    /// or a proxy's, in every spelling. CGI, WSGI and others fold `x_m2m_subject`,
    /// `X-M2M-Subject` and `x.m2m.subject` into one name; grpc-gateway does so with
    /// `Grpc-Metadata-X-M2M-Subject`.
    pub fn strip(&self, request: &mut RequestHeader, is_trusted: bool) {
        remove_where(request, |name| self.removes(name, is_trusted));
    }

    /// Whether an upstream could read a name, in small letters, as that of an identity header, an
    /// override or a token, although it is spelled otherwise. A proxy that replaces the header
    /// keeps this one.
    #[must_use]
    pub fn is_other_spelling(&self, name: &str) -> bool {
        let read = as_metadata(name);
        let patterns = self.buckets.get(bucket(read.as_bytes()));
        let is_other = read.len() < name.len() || !is_usual(read);
        let replaced =
            |pattern: &&Pattern| matches!(pattern.removed, Removed::Always | Removed::Metadata);
        let mut patterns = patterns.into_iter().flatten().filter(replaced);
        is_other && patterns.any(|pattern| pattern.matches(read.as_bytes()))
    }

    /// Whether a client's header with this name, in small letters, is removed.
    #[must_use]
    pub fn removes(&self, name: &str, is_trusted: bool) -> bool {
        let read = as_metadata(name);
        let patterns = self.buckets.get(bucket(read.as_bytes()));
        let mut is_of_proxies = false;
        patterns
            .into_iter()
            .flatten()
            .filter(|pattern| pattern.matches(read.as_bytes()))
            .any(|pattern| match &pattern.removed {
                Removed::Always => true,
                Removed::Imitation => !is_usual(read),
                Removed::Metadata => read.len() < name.len(),
                Removed::OfOrigin => {
                    !(is_trusted && name.starts_with(X_FORWARDED) && is_usual(name))
                }
                // The first pattern counts.
                Removed::UnlessTrusted { written } => {
                    !std::mem::replace(&mut is_of_proxies, true)
                        && !(is_trusted && (is_usual(name) || **written == *name))
                }
            })
    }
}

impl Pattern {
    /// A name, or the beginning of names if it ends with `*`.
    fn new(pattern: &str, removed: Removed) -> Self {
        let name = pattern.strip_suffix('*');
        Self {
            is_beginning: name.is_some(),
            ..Self::exactly(name.unwrap_or(pattern), removed)
        }
    }

    fn exactly(name: &str, removed: Removed) -> Self {
        Self {
            folded: name.bytes().map(fold_byte).collect(),
            is_beginning: false,
            removed,
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        let Some((beginning, rest)) = name.split_at_checked(self.folded.len()) else {
            return false;
        };
        (self.is_beginning || rest.is_empty()) && folds_to(beginning, &self.folded)
    }

    /// Whether names in this bucket can match.
    fn can_be_in(&self, index: usize) -> bool {
        match &*self.folded {
            [] => self.is_beginning,
            [b'x'] if self.is_beginning => index == usize::from(b'x') || index >= BEHIND_X,
            [b'x', b'-'] if self.is_beginning => index >= BEHIND_X,
            folded => index == bucket(folded),
        }
    }
}

/// Where the buckets of names that begin with `x-` begin.
const BEHIND_X: usize = 128;

/// The place of a name by its first letter, or behind `x-` by the next one.
fn bucket(name: &[u8]) -> usize {
    let place = |byte: &u8| usize::from(fold_byte(*byte));
    match name {
        [b'x', mark, rest @ ..] if fold_byte(*mark) == b'-' => {
            BEHIND_X + rest.first().map_or(0, place)
        }
        name => name.first().map_or(0, place),
    }
}

/// Removes the headers whose names, in small letters, are such.
fn remove_where(request: &mut RequestHeader, is_such: impl Fn(&str) -> bool) {
    let names = request.headers.keys().filter(|name| is_such(name.as_str()));
    // Usually there is none, and nothing is allocated.
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        request.remove_header(&name);
    }
}

/// The name that a gRPC service behind grpc-gateway sees.
fn as_metadata(name: &str) -> &str {
    match name.as_bytes().first() {
        Some(b'g') => match name.split_at_checked(GRPC_METADATA.len()) {
            Some((beginning, rest)) if folds_to(beginning.as_bytes(), GRPC_METADATA.as_bytes()) => {
                rest
            }
            _ => name,
        },
        _ => name,
    }
}

/// Whether a name is made of letters, digits and hyphens.
fn is_usual(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_alphanumeric())
}

fn is_imitation(name: &str) -> bool {
    !is_usual(name)
        && IMITATED
            .iter()
            .any(|known| folds_to(name.as_bytes(), known.as_bytes()))
}

/// A letter or digit in small letters; any other byte as a hyphen.
fn fold_byte(byte: u8) -> u8 {
    const FOLDED: [u8; 256] = {
        let mut folded = [b'-'; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            if byte.is_ascii_alphanumeric() {
                folded[byte as usize] = byte.to_ascii_lowercase();
            }
            byte += 1;
        }
        folded
    };
    FOLDED[usize::from(byte)]
}

/// Whether a name is read as another, which is in small letters, by upstreams that take all marks
/// for one.
fn folds_to(name: &[u8], folded: &[u8]) -> bool {
    name.len() == folded.len()
        && name
            .iter()
            .zip(folded)
            .all(|(byte, folded)| fold_byte(*byte) == *folded)
}

#[cfg(test)]
mod tests;
