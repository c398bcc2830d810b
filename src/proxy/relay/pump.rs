//! Moves bytes between the client and the upstream, in both directions at once.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora::http::ResponseHeader;

use super::calls;
use super::lasting::{LASTS, Lasting};
use super::messages::{self, Messages};
use super::upload::{Turn, Upload, WINDOW, explain, late};
use super::{Broken, Waits};
use crate::domain::reason::Reason;
use crate::proxy::client::Client;
use crate::proxy::connection::ClientError;
use crate::proxy::deadlines::Wait;
use crate::proxy::fault::Fault;
use crate::proxy::upstream::{UpstreamConnection, UpstreamError};

/// How long a client may take for the trailers of a stream that the policy ends.
const LAST: Duration = Duration::from_secs(1);

/// One attempt of a request: both connections and the upload between them.
pub(super) struct Pump<'a, 'c, 's, 'p> {
    pub client: &'a mut Client<'c>,
    pub upstream: &'a mut UpstreamConnection,
    pub upload: &'a mut Upload<'p>,
    pub waits: Waits,
    /// The end of a stream.
    pub lasting: Lasting<'s>,
    /// The messages of a gRPC response.
    pub messages: Option<Messages>,
}

/// The state of a response's body.
#[derive(Default)]
struct Download {
    /// Whether the whole body is in the client's send buffer.
    is_whole: bool,
    /// Why the upstream's body ended early. The part that has arrived is still sent.
    broken: Option<UpstreamError>,
}

impl Pump<'_, '_, '_, '_> {
    /// Sends the request until a head of a response arrives, which may be an interim one.
    pub async fn until_head(
        &mut self,
        check: &mut (dyn FnMut(u64) -> Result<(), Fault> + Send),
    ) -> Result<ResponseHeader, Broken> {
        poll_fn(|cx| self.poll_head(cx, check)).await
    }

    #[inline(never)]
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        check: &mut dyn FnMut(u64) -> Result<(), Fault>,
    ) -> Poll<Result<ResponseHeader, Broken>> {
        let turn = self.poll_upload(cx, check)?;
        // An interim response is sent at once.
        if self.client.unsent() > 0
            && let Poll::Ready(Err(error)) = self.client.poll_flush(cx)
        {
            return Poll::Ready(Err(error.into()));
        }
        // A client that takes no interim responses stops the upstream.
        if self.client.unsent() >= WINDOW {
            self.client.deadlines().stop(Wait::UpstreamRead);
            return self.poll_end(cx, turn);
        }
        match self.upstream.poll_head(cx) {
            Poll::Ready(head) => {
                self.client.deadlines().stop(Wait::UpstreamRead);
                let explain = |error| explain(self.upload.failed.take(), error);
                return Poll::Ready(head.map_err(explain));
            }
            Poll::Pending => self.await_upstream(turn),
        }
        self.poll_end(cx, turn)
    }

    /// Passes on the rest of the response, and of the request meanwhile. Ends when the client has
    /// the whole response.
    pub async fn until_end(
        &mut self,
        check: &mut (dyn FnMut(u64) -> Result<(), Fault> + Send),
    ) -> Result<(), Broken> {
        let mut download = Download::default();
        poll_fn(|cx| self.poll_body(cx, check, &mut download)).await
    }

    #[inline(never)]
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        check: &mut dyn FnMut(u64) -> Result<(), Fault>,
        download: &mut Download,
    ) -> Poll<Result<(), Broken>> {
        let turn = self.poll_upload(cx, check)?;
        loop {
            let waits_for_upstream = self.fill(cx, turn, download);
            let sent = if self.client.unsent() > 0 {
                self.client.poll_flush(cx)?
            } else {
                Poll::Ready(())
            };
            match sent {
                Poll::Ready(()) if download.is_whole => {
                    let broken = download.broken.take().map(Broken::Upstream);
                    return Poll::Ready(broken.map_or(Ok(()), Err));
                }
                Poll::Ready(()) if !waits_for_upstream => {}
                _ => return self.poll_end(cx, turn),
            }
        }
    }

    /// The reason why a gRPC response of HTTP/2 ends early, if its trailers can say so: it is
    /// between two messages, and the policy or the client's deadline has ended it.
    fn reason_in_trailers(&self, broken: &Broken) -> Option<Reason> {
        let is_between = self.messages.as_ref().is_some_and(Messages::is_between);
        if !is_between || !matches!(self.client, Client::Http2(_)) {
            return None;
        }
        match broken {
            Broken::Fault(fault) if self.lasting.has_ended() => Some(fault.reason),
            // The upstream of a call has no other deadline.
            Broken::Upstream(UpstreamError::ReadTimeout) => Some(Reason::UpstreamTimeout),
            _ => None,
        }
    }

    /// Ends a call early: with a status, unless the client does not take it soon, or with a reset.
    pub async fn end_call(&mut self, broken: &Broken) {
        if let Client::Http2(stream) = &mut *self.client {
            stream.set_reset_code(calls::reset_code(broken));
        }
        if let Some(reason) = self.reason_in_trailers(broken) {
            self.client.end_body(Some(&messages::trailers(reason)));
            let _ = tokio::time::timeout(LAST, self.client.flush()).await;
        }
    }

    /// Moves parts of the body to the client's send buffer until it is full. Returns whether the
    /// upstream has sent no more.
    fn fill(&mut self, cx: &mut Context<'_>, turn: Turn, download: &mut Download) -> bool {
        while !download.is_whole && self.client.unsent() < WINDOW {
            let Poll::Ready(read) = self.upstream.poll_body(cx) else {
                self.await_upstream(turn);
                return true;
            };
            self.client.deadlines().stop(Wait::UpstreamRead);
            match read {
                Ok(Some(data)) => {
                    if let Some(messages) = &mut self.messages {
                        messages.pass(&data);
                    }
                    self.client.write_body(data);
                }
                Ok(None) => {
                    let trailers = self.upstream.trailers();
                    let trailers = trailers.filter(|_| self.client.takes_trailers());
                    let trailers = trailers.map(super::response::permitted_trailers);
                    self.client.end_body(trailers.as_ref());
                    download.is_whole = true;
                }
                Err(error) => {
                    download.broken = Some(error);
                    download.is_whole = true;
                }
            }
        }
        false
    }

    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        check: &mut dyn FnMut(u64) -> Result<(), Fault>,
    ) -> Result<Turn, Broken> {
        if self.upload.is_ended && !self.upstream.has_unsent() {
            return Ok(Turn::Upstream);
        }
        let (client, upstream) = (&mut *self.client, &mut *self.upstream);
        self.upload.poll(cx, client, upstream, self.waits, check)
    }

    /// Starts the upstream's timeout once it is its turn: before, it may wait for the rest
    /// of a slow upload.
    fn await_upstream(&mut self, turn: Turn) {
        match self.waits.read {
            Some(wait) if turn == Turn::Upstream => {
                self.client.deadlines().start(Wait::UpstreamRead, wait);
            }
            _ => self.client.deadlines().stop(Wait::UpstreamRead),
        }
    }

    /// Ends the request when its client is gone, a deadline has passed, or the policy says so.
    fn poll_end<T>(&mut self, cx: &mut Context<'_>, turn: Turn) -> Poll<Result<T, Broken>> {
        // While the client's body is awaited, its read reports the end.
        if turn != Turn::Client && self.client.poll_departure(cx).is_ready() {
            return Poll::Ready(Err(ClientError::Gone.into()));
        }
        if self.lasting.is_brief() {
            self.client.deadlines().start(Wait::Stream, LASTS);
        }
        loop {
            if let Poll::Ready(reason) = self.lasting.poll(cx) {
                return Poll::Ready(Err(reason.into()));
            }
            match ready!(self.client.deadlines().poll(cx)) {
                Wait::Stream => self.lasting.begin(self.client.received_head()?),
                wait => return Poll::Ready(Err(late(wait))),
            }
        }
    }
}
