//! The answer to the question about a request that may pass.

use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;

use crate::domain::reason::Reason;
use crate::domain::settings::OriginalRequest;
use crate::proxy::client::Client;
use crate::proxy::connection::{ClientError, Framing};
use crate::proxy::headers::IdentityHeaders;
use crate::proxy::relay::settle_connection;
use crate::verifier::Permit;

/// The headers that Envoy removes from the original request.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
const EMPTY: HeaderValue = HeaderValue::from_static("");

/// Answers that the request may pass. Every identity header is present, or Envoy is told to remove
/// it: some proxies replace a client's header only by one that they got.
pub(super) async fn permit(
    client: &mut Client<'_>,
    from: OriginalRequest,
    identity: &IdentityHeaders,
    permit: &Permit,
) -> Result<(), ClientError> {
    let mut head = head(from, identity, permit).map_err(|_| ClientError::Gone)?;
    settle_connection(client);
    client.write_head(&mut head, Framing::None);
    client.flush().await
}

fn head(
    from: OriginalRequest,
    identity: &IdentityHeaders,
    permit: &Permit,
) -> Result<ResponseHeader, Reason> {
    let broken = |_| Reason::Internal;
    let mut head = ResponseHeader::build(StatusCode::OK, Some(8)).map_err(broken)?;
    let fields = [
        (header::CONTENT_LENGTH, HeaderValue::from_static("0")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    for (name, value) in fields {
        head.insert_header(name, value).map_err(broken)?;
    }
    let mut absent = Vec::new();
    for (name, value) in identity.all(permit.token()) {
        let value = match value {
            Some(value) => HeaderValue::from_bytes(value).map_err(|_| Reason::Internal)?,
            None if from == OriginalRequest::Request => {
                absent.push(name.as_str());
                continue;
            }
            None => EMPTY,
        };
        head.insert_header(name.clone(), value).map_err(broken)?;
    }
    if !absent.is_empty() {
        let names = HeaderValue::try_from(absent.join(",")).map_err(|_| Reason::Internal)?;
        head.insert_header(TO_REMOVE, names).map_err(broken)?;
    }
    Ok(head)
}
