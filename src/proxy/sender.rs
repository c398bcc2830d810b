//! The properties of a request that bound tokens are compared with.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};

use super::tls::TlsPeer;
use crate::verifier::Sender;

/// The scheme and host that a client called.
pub struct CalledUrl {
    pub scheme: Cow<'static, str>,
    /// The host that a trusted proxy reports; `None`: that of the `Host` header.
    pub host: Option<String>,
}

impl CalledUrl {
    /// The sender of a request with this path, over a connection with this TLS.
    #[must_use]
    pub fn sender<'r>(
        &'r self,
        headers: &'r HeaderMap,
        path: &'r str,
        tls: Option<&'r TlsPeer>,
    ) -> Sender<'r> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().filter(|_| hosts.next().is_none());
        let host = host.map(HeaderValue::to_str).and_then(Result::ok);
        let certificate = tls.and_then(|tls| tls.certificate.as_ref());
        Sender {
            certificate: certificate.map(|it| it.thumbprint.as_str()),
            scheme: &self.scheme,
            host: self.host.as_deref().or(host),
            path,
        }
    }
}
