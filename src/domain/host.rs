//! The host of an HTTP request, and whether DNS rebinding could have led a browser there.

use std::net::IpAddr;

/// The host of `host[:port]`, without brackets.
#[must_use]
pub fn host_name(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether a host is an IP literal or `localhost`, which public DNS cannot point at this machine.
#[must_use]
pub fn is_beyond_dns(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

/// Suffixes that cannot be registered: RFC 6761, RFC 6762, ICANN's `.internal`, and the names of
/// Kubernetes services.
const NEVER_PUBLIC: [&str; 5] = ["internal", "local", "localhost", "svc", "test"];

/// Whether a host is not a name of public DNS, which an attacker could point at this machine. Such
/// hosts have no dot, are IP literals, or end with a suffix that cannot be registered.
#[must_use]
pub fn is_private(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_never_public = |end: &str| {
        NEVER_PUBLIC
            .iter()
            .any(|name| end.eq_ignore_ascii_case(name))
    };
    match host.rsplit_once('.') {
        None => !host.is_empty(),
        Some((_, end)) => is_never_public(end) || is_beyond_dns(host),
    }
}

/// Whether `Sec-Fetch-Site` shows that a page of another site sent the request.
#[must_use]
pub fn is_cross_site(headers: &http::HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.any(|site| matches!(site.as_bytes(), b"cross-site" | b"same-site"))
}
