//! The body of a request, on its way to the upstream.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::{Broken, Waits, request};
use crate::domain::reason::Reason;
use crate::proxy::client::Client;
use crate::proxy::deadlines::Wait;
use crate::proxy::fault::Fault;
use crate::proxy::upstream::{UpstreamConnection, UpstreamError};

/// How many bytes of a body are kept, so that the request can be repeated.
const MOST_KEPT: usize = 64 * 1024;
/// How many parts are kept apart. A part of one byte costs 32 bytes of bookkeeping, so more of them
/// are joined.
const MOST_PARTS: usize = 256;
/// Kept parts below this length are copied.
const COPIED: usize = 4 * 1024;

/// How many bytes wait for the upstream before no more are read from the client.
pub(super) const WINDOW: usize = 64 * 1024;

/// Whether the policy permits a trailer with this name.
pub(super) type Permits<'p> = &'p (dyn Fn(&HeaderName) -> bool + Send + Sync);

/// The upload of one request, over all its attempts.
pub(super) struct Upload<'p> {
    permits: Permits<'p>,
    /// The trailers that the head announces. HTTP/1.1 upstreams get no others.
    announced: Vec<HeaderName>,
    /// The permitted trailers, when the body is complete.
    trailers: HeaderMap,
    /// The parts of the body so far, as long as all of them are kept.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    /// How many kept parts this attempt has sent.
    resent: usize,
    /// How many bytes the client has sent.
    received: u64,
    /// Whether the request had no body from the start.
    pub is_empty: bool,
    /// Whether this attempt has passed on the whole body.
    pub is_ended: bool,
    /// Why the upstream takes no more of it. A response may still arrive.
    pub failed: Option<UpstreamError>,
}

/// The side that an upload waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The client, to send more of the body.
    Client,
    /// The upstream, to take more of the body.
    UpstreamWrite,
    /// Nothing: it is the upstream's turn to answer.
    Upstream,
}

impl<'p> Upload<'p> {
    pub fn new(client: &Client<'_>, keeps: bool, permits: Permits<'p>) -> Self {
        Self {
            permits,
            announced: Vec::new(),
            trailers: HeaderMap::new(),
            kept: keeps.then(Vec::new),
            kept_bytes: 0,
            resent: 0,
            received: 0,
            is_empty: client.is_body_done(),
            is_ended: false,
            failed: None,
        }
    }

    /// Keeps the body from now on if none of it has arrived.
    pub fn keep_all(&mut self) {
        if self.received == 0 {
            self.kept.get_or_insert_default();
        }
    }

    /// Notes the permitted trailers that a head announces.
    pub fn announce(&mut self, head: &HeaderMap) {
        let permits = |name: &HeaderName| request::may_trail(name) && (self.permits)(name);
        self.announced = request::announced(head)
            .into_iter()
            .filter(permits)
            .collect();
    }

    pub fn announced(&self) -> &[HeaderName] {
        &self.announced
    }

    /// Ends the upstream's request.
    fn end(&mut self, client: &mut Client<'_>, upstream: &mut UpstreamConnection) {
        if let Some(trailers) = client.take_trailers() {
            let permits = |name: &HeaderName| request::may_trail(name) && (self.permits)(name);
            let permitted = trailers.iter().filter(|(name, _)| permits(name));
            self.trailers =
                (permitted.map(|(name, value)| (name.clone(), value.clone()))).collect();
        }
        let is_http2 = upstream.is_http2();
        let is_sent = |name: &HeaderName| is_http2 || self.announced.contains(name);
        let sent = self.trailers.iter().filter(|(name, _)| is_sent(name));
        let sent: HeaderMap = sent
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        upstream.end(Some(sent).filter(|sent| !sent.is_empty()));
        self.is_ended = true;
    }

    /// Begins another attempt.
    pub fn restart(&mut self) {
        self.resent = 0;
        self.is_ended = false;
        self.failed = None;
    }

    /// Whether another attempt can send everything that this one has sent.
    pub fn can_restart(&self) -> bool {
        self.received == 0 || self.kept.is_some()
    }

    /// Whether the client has sent the whole body and all of it is kept, or holds it back.
    pub fn can_be_sent_again(&self, client: &Client<'_>) -> bool {
        self.can_restart() && (client.is_body_done() || client.holds_body_back())
    }

    /// Passes on as much of the body as both sides permit. `check` sees the bytes that have arrived
    /// so far.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<'_>,
        upstream: &mut UpstreamConnection,
        waits: Waits,
        check: &mut dyn FnMut(u64) -> Result<(), Fault>,
    ) -> Result<Turn, Broken> {
        loop {
            if self.failed.is_some() {
                return Ok(Turn::Upstream);
            }
            let waits_for_client = self.fill(cx, client, upstream, check)?;
            let before = upstream.sent();
            let sent = if upstream.has_unsent() {
                upstream.poll_send(cx)
            } else {
                Poll::Ready(Ok(()))
            };
            if sent.is_ready() || upstream.sent() != before {
                client.deadlines().stop(Wait::UpstreamWrite);
            }
            match sent {
                Poll::Pending => {
                    client.deadlines().stop(Wait::ClientRead);
                    client.deadlines().start(Wait::UpstreamWrite, waits.write);
                    return Ok(Turn::UpstreamWrite);
                }
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Ready(Ok(())) if self.is_ended => return Ok(Turn::Upstream),
                Poll::Ready(Ok(())) if waits_for_client => {
                    // RFC 9110 §10.1.1: the client waits for the upstream's `100 Continue`.
                    if client.expects_continue() && !client.has_begun_body() {
                        return Ok(Turn::Upstream);
                    }
                    let wait = client.timeouts().read;
                    client.deadlines().start(Wait::ClientRead, wait);
                    return Ok(Turn::Client);
                }
                Poll::Ready(Ok(())) => {}
            }
        }
    }

    /// Moves parts of the body to the upstream's send buffer until it is full. Returns whether the
    /// client has sent no more.
    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<'_>,
        upstream: &mut UpstreamConnection,
        check: &mut dyn FnMut(u64) -> Result<(), Fault>,
    ) -> Result<bool, Broken> {
        while !self.is_ended && upstream.unsent() < WINDOW {
            let kept = self.kept.as_ref().and_then(|kept| kept.get(self.resent));
            if let Some(part) = kept {
                upstream.send(part.clone());
                self.resent += 1;
                continue;
            }
            match client.poll_body(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(read) => {
                    client.deadlines().stop(Wait::ClientRead);
                    let Some(part) = read? else {
                        self.end(client, upstream);
                        break;
                    };
                    self.received += part.len() as u64;
                    check(self.received)?;
                    self.keep(&part);
                    upstream.send(part);
                }
            }
        }
        Ok(false)
    }

    fn keep(&mut self, part: &Bytes) {
        self.kept_bytes += part.len();
        match &mut self.kept {
            Some(kept) if self.kept_bytes <= MOST_KEPT => {
                if kept.len() == MOST_PARTS {
                    *kept = vec![kept.concat().into()];
                }
                // A slice of a small part would keep its whole read buffer.
                kept.push(if part.len() < COPIED {
                    Bytes::copy_from_slice(part)
                } else {
                    part.clone()
                });
                self.resent = kept.len();
            }
            kept => *kept = None,
        }
    }
}

/// The error that explains a failed attempt best: why the upstream took no more of the request, if
/// it did not answer.
pub(super) fn explain(failed: Option<UpstreamError>, error: UpstreamError) -> Broken {
    match failed {
        Some(failed) if error.has_swallowed() => Broken::Upstream(failed),
        _ => Broken::Upstream(error),
    }
}

/// The fault of a deadline that has passed.
pub(super) fn late(wait: Wait) -> Broken {
    use crate::proxy::connection::ClientError;
    match wait {
        Wait::ClientRead => ClientError::Silent.into(),
        Wait::ClientWrite => ClientError::Stalled.into(),
        Wait::UpstreamRead | Wait::Call => Broken::Upstream(UpstreamError::ReadTimeout),
        Wait::UpstreamWrite => Broken::Upstream(UpstreamError::WriteTimeout),
        Wait::Request
        | Wait::Head
        | Wait::Tunnel
        | Wait::Stream
        | Wait::Frame
        | Wait::Pong
        | Wait::End => Reason::Internal.into(),
    }
}
