//! Turns an upstream's response into an HTTP/1.1 response that the client can read.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::ResponseHeader;

use super::Broken;
use crate::domain::reason::Reason;
use crate::proxy::client::Client;
use crate::proxy::connection::Framing;

/// Removes the fields of the upstream's connection and settles the framing of the body.
/// `is_complete`: the response has no body.
///
/// # Errors
/// When the response cannot hold another field.
pub(super) fn settle(
    answer: &mut ResponseHeader,
    client: &Client<'_>,
    is_complete: bool,
) -> Result<Framing, Broken> {
    answer.set_version(Version::HTTP_11);
    remove_hop_by_hop(answer);
    settle_body(answer, client, is_complete).map_err(|_| Reason::Internal.into())
}

fn settle_body(
    answer: &mut ResponseHeader,
    client: &Client<'_>,
    is_complete: bool,
) -> pingora::Result<Framing> {
    if answer.status.is_informational() || answer.status == StatusCode::NO_CONTENT {
        answer.remove_header(&header::CONTENT_LENGTH);
        answer.remove_header(&header::TRANSFER_ENCODING);
        return Ok(Framing::None);
    }
    merge_lengths(answer)?;
    let has_no_body = *client.method() == Method::HEAD || answer.status == StatusCode::NOT_MODIFIED;
    let mut coding = answer.headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = coding.next_back().map(is_chunked);
    let is_1_0 = client.version() == Version::HTTP_10;
    let is_2 = client.version() == Version::HTTP_2;
    // RFC 9112 §6.1: HTTP/1.0 has no chunked encoding. The end of the connection ends the response.
    // HTTP/2 has its own (RFC 9113 §8.1).
    if is_1_0 || is_2 {
        answer.remove_header(&header::TRANSFER_ENCODING);
    }
    let framing = match is_chunked {
        _ if has_no_body || is_complete && is_2 => Framing::None,
        Some(_) if is_2 => Framing::Chunked,
        Some(true) if !is_1_0 => Framing::Chunked,
        Some(_) => Framing::UntilClose,
        None if answer.headers.contains_key(header::CONTENT_LENGTH) => Framing::Length,
        None if is_complete => {
            answer.insert_header(header::CONTENT_LENGTH, HeaderValue::from(0))?;
            Framing::Length
        }
        None if is_1_0 => Framing::UntilClose,
        None if is_2 => Framing::Chunked,
        None => {
            let chunked = HeaderValue::from_static("chunked");
            answer.insert_header(header::TRANSFER_ENCODING, chunked)?;
            Framing::Chunked
        }
    };
    Ok(framing)
}

fn is_chunked(coding: &HeaderValue) -> bool {
    let last = coding.as_bytes().rsplit(|byte| *byte == b',').next();
    last.unwrap_or_default()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked")
}

/// Removes the hop-by-hop fields of the upstream connection (RFC 9110 §7.6.1), from interim
/// responses too. `Transfer-Encoding` stays, because it frames the body.
fn remove_hop_by_hop(answer: &mut ResponseHeader) {
    let is_own = |name: &HeaderName| {
        matches!(
            name.as_str(),
            "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "upgrade"
        )
    };
    let mut names: Vec<HeaderName> = Vec::new();
    for name in answer.headers.keys().filter(|name| is_own(name)) {
        names.push(name.clone());
    }
    if names.is_empty() {
        return;
    }
    let nominated = answer
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name));
    names.extend(nominated);
    for name in names {
        answer.remove_header(&name);
    }
}

/// Merges equal lengths into one (RFC 9110 §8.6). Lengths that differ have been refused before.
fn merge_lengths(answer: &mut ResponseHeader) -> pingora::Result<()> {
    let mut lengths = answer.headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    if lengths.next().is_none() && !length.as_bytes().contains(&b',') {
        return Ok(());
    }
    let length = length
        .as_bytes()
        .split(|byte| *byte == b',')
        .next()
        .unwrap_or_default()
        .trim_ascii()
        .to_vec();
    answer.insert_header(header::CONTENT_LENGTH, length)
}

/// The trailers of a response that reach the client (RFC 9110 §6.5.1). The decoder of chunks has
/// removed those of framing, routing and authentication; fields that control caches or pages, and
/// the sidecar's own, belong in the head as well.
pub(super) fn permitted_trailers(mut trailers: HeaderMap) -> HeaderMap {
    let refused: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !may_trail(name.as_str()))
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
    trailers
}

fn may_trail(name: &str) -> bool {
    let controls_caches_or_clients = matches!(
        name,
        "age"
            | "cache-control"
            | "date"
            | "expires"
            | "location"
            | "retry-after"
            | "vary"
            | "warning"
    );
    let is_own = name.starts_with("x-m2m-") || name.starts_with("access-control-");
    !controls_caches_or_clients && !is_own
}
