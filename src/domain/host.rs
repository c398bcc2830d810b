//! The host of an HTTP request, as far as it says whether a browser may have been led here.

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

/// Whether a host is an IP literal or `localhost`: no name that a stranger's DNS could point at
/// this machine.
#[must_use]
pub fn is_beyond_dns(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

/// Ends of names that cannot be registered: RFC 6761, RFC 6762, `.internal` of ICANN, and the names
/// of Kubernetes' services.
const NEVER_PUBLIC: [&str; 5] = ["internal", "local", "localhost", "svc", "test"];

/// Whether a host is no name of public DNS, which a stranger could point at this machine: it has no
/// dot, is beyond DNS, or ends as no registered name does.
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

/// Whether a request says that a page of another site makes it (`Sec-Fetch-Site`).
#[must_use]
pub fn is_cross_site(headers: &http::HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.any(|site| matches!(site.as_bytes(), b"cross-site" | b"same-site"))
}
