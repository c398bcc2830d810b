//! The response of a stream, on its way to the client.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason as Code, SendStream};
use http::{HeaderMap, Response, header};
use pingora::http::ResponseHeader;

use super::frames::{A_HEAD, A_RESPONSE, Watch, gain};
use super::scan::UNDONE;
use crate::proxy::connection::{ClientError, date_value};
use crate::proxy::h2_bytes::poll_room;

/// A part that the client's window cuts off below this length pays for no frame of the client.
const DRIBBLE: usize = 1024;

/// The state of a response.
pub(super) struct Sending {
    watch: Arc<Watch>,
    way: Way,
    /// Parts of the body that wait for the client's window.
    queue: VecDeque<Bytes>,
    queued: usize,
    /// The end of the response, when it waits behind the queue.
    end: Option<Option<HeaderMap>>,
    /// The code for a response that is not whole.
    pub reset_code: Code,
}

/// How the rest of a response is sent.
enum Way {
    /// The head follows.
    Head(SendResponse<Bytes>),
    /// The body follows.
    Body(SendStream<Bytes>),
    /// Nothing follows.
    Ended(SendStream<Bytes>),
    /// The client is gone.
    Broken,
}

impl Sending {
    pub fn new(respond: SendResponse<Bytes>, watch: Arc<Watch>) -> Self {
        Self {
            watch,
            way: Way::Head(respond),
            queue: VecDeque::new(),
            queued: 0,
            end: None,
            reset_code: Code::INTERNAL_ERROR,
        }
    }

    /// Sends as many of the bytes as the client's window permits. Returns their number.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gone = || Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        let Way::Body(sending) = &mut self.way else {
            return gone();
        };
        let Ok(room) = ready!(poll_room(sending, bytes.len(), cx)) else {
            self.way = Way::Broken;
            return gone();
        };
        let part = bytes.get(..room).unwrap_or(bytes);
        if part.len() == bytes.len() || part.len() >= DRIBBLE {
            self.watch.earn(gain(part.len()));
        }
        if sending
            .send_data(Bytes::copy_from_slice(part), false)
            .is_err()
        {
            self.way = Way::Broken;
            return gone();
        }
        Poll::Ready(Ok(part.len()))
    }

    pub fn interim(&mut self, head: &ResponseHeader) {
        if let Way::Head(respond) = &mut self.way {
            // A failure shows with the final response.
            let _ = respond.send_informational(response(head));
        }
    }

    pub fn head(&mut self, head: &ResponseHeader, is_whole: bool) {
        let Way::Head(respond) = &mut self.way else {
            return;
        };
        let mut response = response(head);
        if !head.headers.contains_key(header::DATE)
            && let Some(date) = date_value()
        {
            response.headers_mut().insert(header::DATE, date);
        }
        self.way = match respond.send_response(response, is_whole) {
            Ok(sending) if is_whole => {
                self.watch.earn(A_HEAD + A_RESPONSE);
                Way::Ended(sending)
            }
            Ok(sending) => {
                self.watch.earn(A_HEAD);
                Way::Body(sending)
            }
            Err(_) => Way::Broken,
        };
    }

    /// Puts a part of the body into the queue. Returns its length, or 0 if the client is gone.
    pub fn data(&mut self, data: Bytes) -> usize {
        let length = data.len();
        if !matches!(self.way, Way::Body(_)) || length == 0 {
            return 0;
        }
        self.queued += length;
        self.queue.push_back(data);
        length
    }

    pub fn end(&mut self, trailers: Option<&HeaderMap>) {
        if matches!(self.way, Way::Body(_)) {
            let trailers = trailers.filter(|trailers| !trailers.is_empty());
            self.end = Some(trailers.cloned());
        }
    }

    /// How many bytes wait, with 1 for the end of the response.
    pub fn unsent(&self) -> usize {
        self.queued + usize::from(self.end.is_some())
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.way, Way::Ended(_))
    }

    pub fn is_inside_body(&self) -> bool {
        matches!(self.way, Way::Body(_))
    }

    /// Ready when the client resets the stream or the connection breaks.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.way {
            Way::Head(respond) => respond.poll_reset(cx),
            Way::Body(sending) | Way::Ended(sending) => sending.poll_reset(cx),
            Way::Broken => return Poll::Ready(()),
        };
        let reset = ready!(reset);
        let is_made = matches!(
            reset,
            Ok(Code::PROTOCOL_ERROR | Code::FLOW_CONTROL_ERROR | Code::STREAM_CLOSED)
        );
        if is_made && matches!(self.way, Way::Head(_)) {
            // The client made this side reset the stream, by an error of its own.
            self.watch.charge(UNDONE);
        }
        self.way = Way::Broken;
        Poll::Ready(())
    }

    /// Hands the queue and the end of the response to the connection, as far as the client's window
    /// permits.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let sending = match &mut self.way {
            Way::Body(sending) => sending,
            Way::Broken => return Poll::Ready(Err(ClientError::Gone)),
            Way::Head(_) | Way::Ended(_) => return Poll::Ready(Ok(())),
        };
        let sent = ready!(poll_parts(
            sending,
            &mut self.queue,
            &mut self.queued,
            &mut self.end,
            &self.watch,
            cx
        ));
        match sent {
            Ok(false) => {}
            Ok(true) => {
                self.watch.earn(A_RESPONSE);
                if let Way::Body(sending) = std::mem::replace(&mut self.way, Way::Broken) {
                    self.way = Way::Ended(sending);
                }
            }
            Err(_) => {
                self.way = Way::Broken;
                return Poll::Ready(Err(ClientError::Gone));
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends what waits. Returns whether that ended the response.
fn poll_parts(
    sending: &mut SendStream<Bytes>,
    queue: &mut VecDeque<Bytes>,
    queued: &mut usize,
    end: &mut Option<Option<HeaderMap>>,
    watch: &Watch,
    cx: &mut Context<'_>,
) -> Poll<Result<bool, h2::Error>> {
    while let Some(first) = queue.front_mut() {
        let room = ready!(poll_room(sending, *queued, cx))?;
        let part = first.split_to(room.min(first.len()));
        if first.is_empty() {
            queue.pop_front();
            watch.earn(gain(part.len()));
        } else if part.len() >= DRIBBLE {
            watch.earn(gain(part.len()));
        }
        *queued -= part.len();
        let is_last = queue.is_empty() && *end == Some(None);
        sending.send_data(part, is_last)?;
        if is_last {
            *end = None;
            return Poll::Ready(Ok(true));
        }
    }
    match end.take() {
        None => return Poll::Ready(Ok(false)),
        Some(None) => sending.send_data(Bytes::new(), true)?,
        Some(Some(trailers)) => sending.send_trailers(trailers)?,
    }
    Poll::Ready(Ok(true))
}

impl Drop for Sending {
    /// Tells the client about a response that is not whole.
    fn drop(&mut self) {
        match &mut self.way {
            Way::Head(respond) => respond.send_reset(self.reset_code),
            Way::Body(sending) => sending.send_reset(self.reset_code),
            Way::Ended(_) | Way::Broken => {}
        }
    }
}

/// A response without the fields of an HTTP/1.1 connection (RFC 9113 §8.2.2).
fn response(head: &ResponseHeader) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    headers.clone_from(&head.headers);
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
    response
}
