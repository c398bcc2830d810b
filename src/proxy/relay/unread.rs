//! The rest of a request body whose response has been sent.

use std::time::Duration;

use crate::proxy::client::Client;
use crate::proxy::framing::Unread;

/// How many bytes are discarded, so that the connection can carry another request. Beyond this, a
/// new connection is cheaper.
const MOST_DISCARDED: u64 = 256 * 1024;
/// How long discarding may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Decides whether the connection can carry another request when the response may precede the end
/// of the request. It can when the rest of the body is small enough to discard and certain to
/// arrive.
pub(in crate::proxy) fn settle_connection(client: &mut Client<'_>) {
    if client.is_body_done() {
        return;
    }
    // RFC 9110 §10.1.1: a client that waits for `100 Continue` may now omit its body, so the next
    // bytes could be a body or a request.
    let may_keep_back = client.expects_continue() && !client.has_begun_body();
    if may_keep_back || matches!(client.unread(), Unread::Bytes(bytes) if bytes > MOST_DISCARDED) {
        client.end_after_response();
    }
}

/// Discards the rest of an answered request's body, so that the connection can carry another
/// request. Closes the connection when that takes too long or the body is broken.
pub(super) async fn discard_body(client: &mut Client<'_>) {
    let discard = async {
        let mut left = MOST_DISCARDED;
        loop {
            match client.read_body().await {
                Ok(None) => return true,
                Ok(Some(part)) if part.len() as u64 <= left => left -= part.len() as u64,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    };
    let is_discarded = tokio::time::timeout(DISCARD_TIMEOUT, discard).await;
    if !is_discarded.unwrap_or(false) {
        client.end_after_response();
    }
}
