//! The head of a response in HTTP/2, as the relay reads it.

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use pingora::http::ResponseHeader;

use crate::domain::websocket;
use crate::proxy::http1::chunked::may_be_trailer;
use crate::proxy::http1::response::{HeadFault, MAX_FIELDS, settle_length};

/// Translates a head.
///
/// # Errors
/// [`HeadFault`] for what an HTTP/1.1 client could misread.
pub(super) fn translate(
    status: StatusCode,
    fields: &HeaderMap,
) -> Result<ResponseHeader, HeadFault> {
    if fields.len() > MAX_FIELDS {
        return Err(HeadFault::TooManyFields);
    }
    let malformed = |_| HeadFault::Malformed;
    let mut head = ResponseHeader::build(status, Some(fields.len())).map_err(malformed)?;
    head.set_version(Version::HTTP_2);
    for (name, value) in fields {
        head.append_header(name.clone(), value.clone())
            .map_err(malformed)?;
    }
    // The reader of frames refuses these; a client of HTTP/1.1 would act on them.
    if fields.contains_key(header::TRANSFER_ENCODING) || fields.contains_key(header::CONNECTION) {
        return Err(HeadFault::Malformed);
    }
    if fields.contains_key(header::CONTENT_LENGTH) {
        settle_length(&mut head)?;
    }
    Ok(head)
}

/// Translates the head that accepts the WebSocket of a request with this key (RFC 8441 §5), as
/// HTTP/1.1 accepts it.
///
/// # Errors
/// As [`translate`].
pub(super) fn switched(fields: &HeaderMap, key: &HeaderValue) -> Result<ResponseHeader, HeadFault> {
    let mut head = translate(StatusCode::SWITCHING_PROTOCOLS, fields)?;
    let accept = websocket::accept(key);
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, &accept),
    ] {
        head.insert_header(name, value)
            .map_err(|_| HeadFault::Malformed)?;
    }
    Ok(head)
}

/// The trailers without fields that may not be ones.
pub(super) fn permitted(trailers: HeaderMap) -> HeaderMap {
    if trailers.keys().all(may_be_trailer) {
        return trailers;
    }
    let kept = trailers.iter().filter(|(name, _)| may_be_trailer(name));
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
