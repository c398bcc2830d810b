//! Reads from a request head.

use pingora::http::RequestHeader;

use super::fault::Fault;

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
