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

/// Whether a host is an IP literal or `localhost`: no name that a stranger's DNS could point at this machine.
#[must_use]
pub fn is_beyond_dns(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

/// Whether a page in a browser makes a request, other than one of a host that is known: by `Sec-Fetch-Site`, which browsers send
/// to trustworthy addresses only, or by `Origin`.
#[must_use]
pub fn is_of_a_page(headers: &http::HeaderMap, is_known: impl Fn(&str) -> bool) -> bool {
    let is_foreign = |origin: &http::HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        // `null`, and what is no origin, is nobody's.
        authority.is_empty() || !is_known(host_name(authority))
    };
    is_cross_site(headers) || headers.get_all(http::header::ORIGIN).iter().any(is_foreign)
}

/// Whether a request says that a page of another site makes it (`Sec-Fetch-Site`).
#[must_use]
pub fn is_cross_site(headers: &http::HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.any(|site| matches!(site.as_bytes(), b"cross-site" | b"same-site"))
}
