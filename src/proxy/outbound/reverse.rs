//! A listener in front of one upstream: decides which requests are meant for it.

use std::net::SocketAddr;

use http::{HeaderMap, header};
use pingora::http::RequestHeader;

use crate::domain::host::{host_name, is_beyond_dns};
use crate::domain::reason::Reason;

/// The settings of a listener with one upstream.
pub(super) struct Reverse {
    /// Whether the upstream receives the client's `Host`.
    pub preserve_host: bool,
    /// Accepted `Host` values besides IP literals, `localhost` and the upstream's.
    pub hosts: Vec<String>,
    /// Whether URLs of the upstream in response heads are replaced by URLs of the listener.
    pub map_location: bool,
}

/// The names of the upstream in a request.
pub(super) struct Called<'a> {
    pub host: &'a str,
    /// Host and port, as in `Host`.
    pub authority: &'a str,
}

impl Reverse {
    /// Refuses requests that are not meant for the upstream.
    pub fn check(
        &self,
        request: &RequestHeader,
        upstream: &Called<'_>,
        local: SocketAddr,
    ) -> Result<(), Reason> {
        guard(&request.headers, upstream.host, &self.hosts)?;
        if request.raw_path().starts_with(b"/") {
            return Ok(());
        }
        self.check_destination(request, upstream.authority, local)
    }

    /// Checks a target in absolute form (RFC 9112 §3.2.2). A program whose HTTP proxy is this
    /// listener also sends requests for other servers here; they must not reach this upstream.
    /// `framing` has already copied the target's authority into `Host`.
    fn check_destination(
        &self,
        request: &RequestHeader,
        upstream: &str,
        local: SocketAddr,
    ) -> Result<(), Reason> {
        let is_http = request
            .raw_path()
            .get(..7)
            .is_some_and(|s| s.eq_ignore_ascii_case(b"http://"));
        let host = request
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        match host {
            Some(host) if is_http && is_destination(host, upstream, &self.hosts, local) => Ok(()),
            _ => Err(Reason::Host),
        }
    }
}

/// Refuses names that an attacker's DNS could point at this listener (DNS rebinding).
fn guard(headers: &HeaderMap, upstream: &str, hosts: &[String]) -> Result<(), Reason> {
    let is_known = |name: &str| {
        is_beyond_dns(name)
            || name.eq_ignore_ascii_case(upstream)
            || hosts
                .iter()
                .any(|accepted| name.eq_ignore_ascii_case(host_name(accepted)))
    };
    // Only HTTP/1.0 omits `Host`, and browsers do not use HTTP/1.0.
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if host.is_none_or(|host| is_known(host_name(host))) {
        Ok(())
    } else {
        Err(Reason::Host)
    }
}

/// Whether the authority of an `http` URL is the upstream, an accepted host, or the listener
/// itself.
fn is_destination(authority: &str, upstream: &str, hosts: &[String], local: SocketAddr) -> bool {
    let without_80 = |authority: &'_ str| {
        authority
            .strip_suffix(":80")
            .unwrap_or(authority)
            .to_ascii_lowercase()
    };
    let is = |accepted: &str| without_80(authority) == without_80(accepted);
    is(upstream)
        || hosts
            .iter()
            .any(|accepted| is(accepted) || host_name(authority).eq_ignore_ascii_case(accepted))
        || is(&local.to_string())
        || is(&format!("localhost:{}", local.port()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn checked(pairs: &[(&'static str, &'static str)]) -> Result<(), Reason> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        guard(&headers, "hub.example", &["alias:8080".to_owned()])
    }

    #[test]
    fn programs_on_this_machine_may_pass() {
        for host in [
            "127.0.0.1:9000",
            "127.0.0.1",
            "[::1]:9000",
            "localhost:9000",
            "LOCALHOST",
            "hub.example",
            "Hub.Example:443",
            "alias",
        ] {
            assert_eq!(checked(&[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn rebound_names_may_not() {
        for host in [
            "evil.example",
            "evil.example:9000",
            "hub.example.evil",
            "localhost.evil:1",
            "1.2.3.4.evil",
        ] {
            assert_eq!(checked(&[("host", host)]), Err(Reason::Host), "{host}");
        }
    }

    #[test]
    fn a_url_is_meant_for_the_upstream_or_for_no_one() {
        let local = SocketAddr::from(([127, 0, 0, 1], 9000));
        let hosts = ["alias", "other:8080", "port-80:80"].map(str::to_owned);
        for (authority, upstream, expected) in [
            ("127.0.0.1:8081", "127.0.0.1:8081", true),
            ("127.0.0.1:8082", "127.0.0.1:8081", false),
            ("127.0.0.2:8081", "127.0.0.1:8081", false),
            ("Hub.Example:80", "hub.example", true),
            ("hub.example:8080", "hub.example", false),
            ("hub.example", "hub.example:8443", false),
            ("[::1]:8081", "[::1]:8081", true),
            ("alias:1234", "hub.example", true),
            ("other:8080", "hub.example", true),
            ("other", "hub.example", false),
            ("127.0.0.1:9000", "hub.example", true),
            ("localhost:9000", "hub.example", true),
            ("localhost:9001", "hub.example", false),
            ("hub.example", "hub.example:80", true),
            ("port-80", "hub.example", true),
            ("port-80:80", "hub.example", true),
            ("port-80:81", "hub.example", false),
            ("localhost", "hub.example", false),
        ] {
            assert_eq!(
                is_destination(authority, upstream, &hosts, local),
                expected,
                "{authority} {upstream}"
            );
        }
    }
}
