//! Headers: what of the client's is taken away, what the upstream sees instead.

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use crate::domain::reason::Reason;
use crate::verifier::VerifiedToken;

/// The beginning of the sidecar's own headers. All of them are taken from a client, not only those that this listener
/// sets: an upstream may read one that another listener in front of it would set.
const OWN_PREFIX: &[u8] = b"x-m2m-";

/// Names that say where a request ends, whom it is for, who sent it or by which id logs know it. A spelling that folds to one of them is read as it
/// by some upstreams, and was judged by nobody.
const IMITATED: &[&str] = &["content-length", "transfer-encoding", "proxy-authorization", "x-request-id"];

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

/// Whether a name is read as another, which is in small letters, by upstreams that take all marks for one.
pub(super) fn folds_to(name: &str, folded: &str) -> bool {
    name.len() == folded.len() && name.bytes().map(fold_byte).eq(folded.bytes())
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
