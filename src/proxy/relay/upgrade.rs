//! Requests that ask for another protocol, and `101 Switching Protocols` (RFC 9110 §7.8).

use http::{HeaderMap, HeaderValue, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::domain::websocket;
use crate::proxy::client::Client;
use crate::proxy::framing::is_token;
use crate::proxy::upstream::RequestBody;

/// The protocol that a request asks for.
#[derive(Clone)]
pub(super) struct Asked {
    protocol: HeaderValue,
    /// The key of a WebSocket, which its server answers.
    key: Option<HeaderValue>,
}

impl Asked {
    pub fn protocol(&self) -> &[u8] {
        self.protocol.as_bytes()
    }

    /// Whether it is a WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.protocol().eq_ignore_ascii_case(websocket::PROTOCOL)
    }
}

/// The protocol that a request asks for: exactly one, not in HTTP/1.0, without a body. Any other
/// request is served without its upgrade. In HTTP/2 only an extended CONNECT asks.
pub(super) fn asked(head: &RequestHeader, client: &Client<'_>) -> Option<Asked> {
    let protocol = only_protocol(&head.headers)?;
    let may_switch = client.version() != Version::HTTP_10
        && client.request_body() == RequestBody::None
        && names_upgrade(&head.headers);
    may_switch.then(|| Asked {
        protocol: protocol.clone(),
        key: head.headers.get(header::SEC_WEBSOCKET_KEY).cloned(),
    })
}

/// Asks the upstream for this protocol.
///
/// # Errors
/// When the request cannot hold another field.
pub(super) fn ask(head: &mut RequestHeader, asked: &Asked) -> pingora::Result<()> {
    head.insert_header(header::CONNECTION, HeaderValue::from_static("Upgrade"))?;
    head.insert_header("Upgrade", asked.protocol.clone())
}

/// Whether a `101` response switches to this protocol.
pub(super) fn agrees(response: &ResponseHeader, asked: &Asked) -> bool {
    only_protocol(&response.headers)
        .is_some_and(|agreed| agreed.as_bytes().eq_ignore_ascii_case(asked.protocol()))
}

/// Whether a response that switches to a WebSocket comes from a WebSocket server.
pub(super) fn is_proven(response: &ResponseHeader, asked: &Asked) -> bool {
    let is_accepted = |key| websocket::is_accepted(key, &response.headers);
    !asked.is_websocket() || asked.key.as_ref().is_some_and(is_accepted)
}

/// Announces the switch to the client.
///
/// # Errors
/// When the response cannot hold another field.
pub(super) fn announce(response: &mut ResponseHeader, asked: Asked) -> pingora::Result<()> {
    response.insert_header(header::CONNECTION, HeaderValue::from_static("Upgrade"))?;
    response.insert_header("Upgrade", asked.protocol)
}

/// The protocol of `Upgrade` if it names one, as a name with an optional version.
fn only_protocol(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let protocol = protocols.next()?;
    let is_name = |name: &[u8]| !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    let mut parts = protocol.as_bytes().split(|byte| *byte == b'/');
    let is_valid = parts.clone().count() <= 2 && parts.all(is_name);
    (is_valid && protocols.next().is_none()).then_some(protocol)
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}
