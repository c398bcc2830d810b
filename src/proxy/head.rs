//! Reads from a request head.

use http::{HeaderMap, header};
use pingora::http::RequestHeader;

use super::fault::Fault;

/// Whether a request asks for a WebSocket (RFC 6455 §4.2.1). Other upgrades, such as `h2c`, are
/// optional for the client and are ignored.
#[must_use]
pub fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let names = |header, wanted: &str| {
        let values = headers
            .get_all(header)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    names(header::UPGRADE, "websocket") && names(header::CONNECTION, "upgrade")
}

/// Path and query of the request target, in origin form (RFC 9112 §3.2.1) or absolute form
/// (§3.2.2).
///
/// # Errors
/// [`Reason::MalformedRequest`](crate::domain::reason::Reason) for any other form. `framing` has
/// already refused such targets.
pub fn target(head: &RequestHeader) -> Result<(&str, Option<&str>), Fault> {
    let malformed = || Fault::malformed("the target is neither a path nor an http URL");
    let raw = std::str::from_utf8(head.raw_path()).map_err(|_| malformed())?;
    let origin = if raw.starts_with('/') {
        raw
    } else {
        behind_authority(raw).ok_or_else(malformed)?
    };
    let (path, query) = origin
        .split_once('?')
        .map_or((origin, None), |(path, query)| (path, Some(query)));
    Ok((if path.is_empty() { "/" } else { path }, query))
}

/// The part of an absolute target after scheme and authority. `framing` has already copied the
/// authority into `Host`.
fn behind_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    rest.find(['/', '?'])
        .map_or(Some(""), |end| rest.get(end..))
}
