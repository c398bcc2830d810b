//! Streams: responses and requests that last longer than most.
//!
//! A policy can end them, for example when their token expires. Whether it does is asked only after
//! a while, so that other requests pay nothing.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pingora::http::RequestHeader;

use crate::domain::reason::Reason;

/// How long a response takes before its end is awaited.
pub(super) const LASTS: Duration = Duration::from_secs(2);

/// Begins to await the end of a stream, with its request as it was received.
pub(super) type Begin<'a> = dyn Fn(RequestHeader) -> BoxFuture<'a, Reason> + Send + Sync + 'a;

/// Whether the end of a stream is awaited.
pub(super) enum Lasting<'a> {
    /// It never is.
    Never,
    /// It is once the stream has lasted for [`LASTS`].
    Brief(&'a Begin<'a>),
    /// It is.
    Awaited(BoxFuture<'a, Reason>),
    /// It has ended.
    Ended,
}

impl<'a> Lasting<'a> {
    /// Whether [`begin`](Self::begin) is to be called after a while.
    pub fn is_brief(&self) -> bool {
        matches!(self, Self::Brief(_))
    }

    /// Whether the policy has ended the stream.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    pub fn begin(&mut self, request: RequestHeader) {
        if let Self::Brief(begin) = self {
            *self = Self::Awaited(begin(request));
        }
    }

    /// Ready with the reason when the stream has to end.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        let Self::Awaited(end) = self else {
            return Poll::Pending;
        };
        let ended = end.poll_unpin(cx);
        if ended.is_ready() {
            *self = Self::Ended;
        }
        ended
    }
}
