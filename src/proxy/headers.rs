//! Removes client headers that must not reach the upstream, and defines the headers that do.

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use crate::domain::reason::Reason;
use crate::verifier::VerifiedToken;

/// Prefix of the sidecar's own headers. All are removed from client requests, also those that this
/// listener does not set: another listener in front of the same upstream may set them.
const OWN_PREFIX: &[u8] = b"x-m2m-";

/// Names that define framing, host, credentials or request id. Some upstreams fold other spellings
/// into these names, and no check has seen those spellings.
const IMITATED: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "proxy-authorization",
    "x-request-id",
];

/// Names by which some frameworks override path or method. Only those of the request line were
/// checked.
const OVERRIDES: &[&str] = &[
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

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
        is_imitation(name) || OVERRIDES.iter().any(|known| folds_to(name, known))
    });
}

/// The identity headers of one listener.
pub struct IdentityHeaders {
    /// The names, in the order of the token's forwarded claims.
    names: Vec<HeaderName>,
    /// The folded names, for comparison.
    folded: Vec<String>,
}

impl IdentityHeaders {
    /// The names of the headers for a token's forwarded claims, in their order.
    #[must_use]
    pub fn new(names: Vec<HeaderName>) -> Self {
        let folded = names.iter().map(|name| fold(name.as_str())).collect();
        Self { names, folded }
    }

    /// Removes the client's headers of these names in every spelling. CGI, WSGI and others fold
    /// `x_m2m_subject`, `X-M2M-Subject` and `x.m2m.subject` into one name; grpc-gateway does so
    /// with `Grpc-Metadata-X-M2M-Subject`. Imitations such as `content_length` and overrides of
    /// path and method are removed too.
    pub fn strip(&self, request: &mut RequestHeader) {
        remove_where(request, |name| {
            let read = as_metadata(name);
            is_own(read)
                || is_imitation(read)
                || OVERRIDES.iter().any(|known| folds_to(read, known))
                || self.folded.iter().any(|folded| folds_to(read, folded))
                || (read.len() < name.len() && folds_to(read, "authorization"))
        });
    }

    /// Writes a token's identity. Call it after [`IdentityHeaders::strip`] and after hop-by-hop
    /// headers are gone.
    ///
    /// # Errors
    /// [`Reason::Internal`] when the request can hold no further header.
    pub fn attach(&self, request: &mut RequestHeader, token: &VerifiedToken) -> Result<(), Reason> {
        for (name, value) in self.names.iter().zip(token.forwarded()) {
            if let Some(value) = value {
                let value = HeaderValue::from_bytes(value).map_err(|_| Reason::Internal)?;
                request
                    .insert_header(name.clone(), value)
                    .map_err(|_| Reason::Internal)?;
            }
        }
        Ok(())
    }
}

/// Headers that only a trusted peer may send.
pub struct RemovedHeaders {
    /// By their first byte: most names of requests begin like none of them.
    by_first: [Vec<Removed>; FIRST_BYTES],
}

const FIRST_BYTES: usize = 128;

/// A name, or the beginning of names.
struct Removed {
    written: String,
    folded: String,
    is_beginning: bool,
}

impl RemovedHeaders {
    /// These names; one that ends with `*` is the beginning of names.
    #[must_use]
    pub fn new<T: AsRef<str>>(patterns: &[T]) -> Self {
        let mut by_first: [Vec<Removed>; FIRST_BYTES] = std::array::from_fn(|_| Vec::new());
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let (name, is_beginning) = pattern
                .strip_suffix('*')
                .map_or((pattern, false), |name| (name, true));
            let (written, folded) = (name.to_ascii_lowercase(), fold(name));
            if let Some(names) = first_byte(&folded).and_then(|first| by_first.get_mut(first)) {
                names.push(Removed {
                    written,
                    folded,
                    is_beginning,
                });
            }
        }
        Self { by_first }
    }

    /// Removes them in every spelling. Of a trusted peer only the usual spelling stays: it sets
    /// that one, and a client of it may have sent another.
    pub fn strip(&self, request: &mut RequestHeader, is_trusted: bool) {
        remove_where(request, |name| {
            let read = as_metadata(name);
            let names = first_byte(read).and_then(|first| self.by_first.get(first));
            let mut found = names
                .into_iter()
                .flatten()
                .filter(|removed| removed.matches(read));
            match found.next() {
                Some(removed) => !(is_trusted && (is_usual(name) || removed.written == name)),
                None => false,
            }
        });
    }
}

impl Removed {
    fn matches(&self, name: &str) -> bool {
        if self.is_beginning {
            name.get(..self.folded.len())
                .is_some_and(|beginning| folds_to(beginning, &self.folded))
        } else {
            folds_to(name, &self.folded)
        }
    }
}

fn first_byte(name: &str) -> Option<usize> {
    name.bytes().next().map(|byte| usize::from(fold_byte(byte)))
}

/// Removes the headers whose names, in small letters, are such.
fn remove_where(request: &mut RequestHeader, is_such: impl Fn(&str) -> bool) {
    let names = request.headers.keys().filter(|name| is_such(name.as_str()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        request.remove_header(&name);
    }
}

/// The name that a gRPC service behind grpc-gateway sees.
pub(super) fn as_metadata(name: &str) -> &str {
    match name.as_bytes().first() {
        Some(b'g') => match name.split_at_checked(GRPC_METADATA.len()) {
            Some((beginning, rest)) if folds_to(beginning, GRPC_METADATA) => rest,
            _ => name,
        },
        _ => name,
    }
}

/// Whether a name is made of letters, digits and hyphens.
pub(super) fn is_usual(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_alphanumeric())
}

fn is_imitation(name: &str) -> bool {
    !is_usual(name) && IMITATED.iter().any(|known| folds_to(name, known))
}

fn is_own(name: &str) -> bool {
    name.bytes()
        .map(fold_byte)
        .take(OWN_PREFIX.len())
        .eq(OWN_PREFIX.iter().copied())
}

fn fold(name: &str) -> String {
    name.bytes().map(fold_byte).map(char::from).collect()
}

fn fold_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

/// Whether a name is read as another, which is in small letters, by upstreams that take all marks
/// for one.
pub(super) fn folds_to(name: &str, folded: &str) -> bool {
    name.len() == folded.len() && name.bytes().map(fold_byte).eq(folded.bytes())
}

#[cfg(test)]
mod tests;
