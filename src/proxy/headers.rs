//! Headers: what of the client's is taken away, what the upstream sees instead.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, header};
use ipnet::IpNet;
use pingora::http::RequestHeader;

use super::connection::ConnectionState;
use crate::domain::reason::Reason;
use crate::verifier::VerifiedToken;

/// Headers by which a proxy says whom it speaks for. A client's own are never passed on by an inbound listener.
const FORWARDING: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-real-ip",
];

/// The beginning of the sidecar's own headers. All of them are taken from a client, not only those that this listener
/// sets: an upstream may read one that another listener in front of it would set.
const OWN_PREFIX: &[u8] = b"x-m2m-";

/// Names that say where a request ends, whom it is for or who sent it. A spelling that folds to one of them is read as it
/// by some upstreams, and was judged by nobody.
const IMITATED: &[&str] = &["content-length", "transfer-encoding", "proxy-authorization"];

/// Names by which some frameworks take another path or method than those of the request line, which alone were judged.
const OVERRIDES: &[&str] =
    &["x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"];

/// Removes what would make another request of it than the one whose path and method were judged.
pub fn strip_overrides(request: &mut RequestHeader) {
    let is_override = |name: &HeaderName| {
        is_imitation(name.as_str()) || OVERRIDES.iter().any(|known| folds_to(name.as_str(), known))
    };
    let names: Vec<HeaderName> = request.headers.keys().filter(|name| is_override(name)).cloned().collect();
    for name in names {
        request.remove_header(&name);
    }
}

/// The identity headers of one listener.
pub struct IdentityHeaders {
    /// The headers, in the order of the token's forwarded claims.
    names: Vec<HeaderName>,
    /// Their names as every upstream might fold them.
    folded: Vec<String>,
}

impl IdentityHeaders {
    /// Headers that carry a token's forwarded claims, in their order.
    #[must_use]
    pub fn new(names: Vec<HeaderName>) -> Self {
        let folded = names.iter().map(|name| fold(name.as_str())).collect();
        Self { names, folded }
    }

    /// Removes what the client sent under these names, in every spelling: CGI, WSGI and others read `x_m2m_subject`,
    /// `X-M2M-Subject` and `x.m2m.subject` as one. So they would read `content_length`: imitations go too, and what would
    /// make another request of it than the one that was judged.
    pub fn strip(&self, request: &mut RequestHeader) {
        let forged: Vec<HeaderName> = request
            .headers
            .keys()
            .filter(|name| {
                is_own(name)
                    || is_imitation(name.as_str())
                    || OVERRIDES.iter().any(|known| folds_to(name.as_str(), known))
                    || self.folded.iter().any(|folded| folds_to(name.as_str(), folded))
            })
            .cloned()
            .collect();
        for name in forged {
            request.remove_header(&name);
        }
    }

    /// Writes a token's identity. Call it after [`IdentityHeaders::strip`] and after hop-by-hop headers are gone.
    ///
    /// # Errors
    /// [`Reason::Internal`] when the request can hold no further header.
    pub fn attach(&self, request: &mut RequestHeader, token: &VerifiedToken) -> Result<(), Reason> {
        for (name, value) in self.names.iter().zip(token.forwarded()) {
            if let Some(value) = value {
                let value = HeaderValue::from_bytes(value).map_err(|_| Reason::Internal)?;
                request.insert_header(name.clone(), value).map_err(|_| Reason::Internal)?;
            }
        }
        Ok(())
    }
}

fn is_imitation(name: &str) -> bool {
    let is_odd = name.bytes().any(|byte| byte != b'-' && !byte.is_ascii_alphanumeric());
    is_odd && IMITATED.iter().any(|known| folds_to(name, known))
}

fn is_own(name: &HeaderName) -> bool {
    name.as_str().bytes().map(fold_byte).take(OWN_PREFIX.len()).eq(OWN_PREFIX.iter().copied())
}

fn fold(name: &str) -> String {
    name.bytes().map(fold_byte).map(char::from).collect()
}

fn fold_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

fn folds_to(name: &str, folded: &str) -> bool {
    name.len() == folded.len() && name.bytes().map(fold_byte).eq(folded.bytes())
}

/// Replaces what the client said of its way here by what the sidecar itself saw; what a trusted proxy said is extended.
///
/// # Errors
/// When the request can hold no further header.
pub fn set_forwarding(
    request: &mut RequestHeader,
    connection: &ConnectionState,
    trusted: &[IpNet],
) -> pingora::Result<()> {
    let peer = canonical(connection.peer.ip());
    let is_trusted = trusted.iter().any(|network| network.contains(&peer));
    // Of a trusted proxy too only the usual spelling counts: who folds the others would read a client's.
    let is_forged = |name: &HeaderName| {
        FORWARDING.iter().any(|known| folds_to(name.as_str(), known))
            && !(is_trusted && FORWARDING.contains(&name.as_str()))
    };
    let forged: Vec<HeaderName> = request.headers.keys().filter(|name| is_forged(name)).cloned().collect();
    for name in forged {
        request.remove_header(&name);
    }
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.to_owned();
    let address = peer.to_string();
    let node = if peer.is_ipv6() { format!("\"[{address}]\"") } else { address.clone() };
    let element = format!("for={node};host=\"{host}\";proto=http");
    extend(request, "x-forwarded-for", &address)?;
    extend(request, "forwarded", &element)?;
    for (name, value) in
        [("x-real-ip", address.as_str()), ("x-forwarded-proto", "http"), ("x-forwarded-host", &host)]
    {
        if request.headers.get_all(name).iter().count() != 1 {
            request.insert_header(name, value)?;
        }
    }
    Ok(())
}

/// Puts an element behind those of a list that is there already.
fn extend(request: &mut RequestHeader, name: &'static str, element: &str) -> pingora::Result<()> {
    let mut list = String::new();
    for value in request.headers.get_all(name) {
        // What is no text stands in no such list.
        if let Ok(value) = value.to_str() {
            list.push_str(value);
            list.push_str(", ");
        }
    }
    list.push_str(element);
    request.insert_header(name, list)
}

/// An IPv4 address that came in over a dual-stack socket is still an IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_make_another_request_of_it_is_removed() {
        let mut request = RequestHeader::build("POST", b"/", None).unwrap();
        for name in [
            "X-Original-URL",
            "x_rewrite_url",
            "X-HTTP-Method-Override",
            "X.HTTP.Method",
            "x-method_override",
        ] {
            request.append_header(name.to_owned(), "DELETE").unwrap();
        }
        request.append_header("x-original", "kept").unwrap();
        IdentityHeaders::new(Vec::new()).strip(&mut request);
        assert_eq!(request.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-original"]);
    }

    #[test]
    fn every_spelling_that_an_upstream_could_fold_is_removed() {
        let identity = IdentityHeaders::new(vec![HeaderName::from_static("x-who")]);
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in [
            "x-who",
            "X_Who",
            "x-m2m-subject",
            "X_M2M_Subject",
            "x-m2m_scope",
            "X.M2M.Anything",
            "x~m2m~subject",
            "Content_Length",
            "transfer.encoding",
        ] {
            request.append_header(name.to_owned(), "admin").unwrap();
        }
        request.append_header("x-m2n-subject", "kept").unwrap();
        identity.strip(&mut request);
        assert_eq!(request.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-m2n-subject"]);
    }
}
