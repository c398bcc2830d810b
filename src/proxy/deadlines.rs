//! The deadlines of one connection, behind a single timer.
//!
//! A request starts and stops several deadlines and almost always meets them. So starting one only
//! records a time: the timer stays armed for the earliest time that it was ever set to, and is set
//! again when it fires too early. So a warm request changes no timer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The event that a deadline limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The first byte of a request.
    Request,
    /// The rest of a request head.
    Head,
    /// The client, to send a part of a body.
    ClientRead,
    /// The client, to take a part of a response.
    ClientWrite,
    /// The upstream, to send a part of a response.
    UpstreamRead,
    /// The upstream, to take a part of a request.
    UpstreamWrite,
    /// Either side of a tunnel, to send a byte.
    Tunnel,
    /// A stream, until its end is awaited.
    Stream,
    /// The client of an HTTP/2 connection, to send a frame.
    Frame,
    /// The same, after it was asked by a PING frame.
    Pong,
    /// The client of an HTTP/2 connection, to end its side.
    End,
    /// The whole response to a gRPC call.
    Call,
}

const WAITS: [Wait; 12] = [
    Wait::Request,
    Wait::Head,
    Wait::ClientRead,
    Wait::ClientWrite,
    Wait::UpstreamRead,
    Wait::UpstreamWrite,
    Wait::Tunnel,
    Wait::Stream,
    Wait::Frame,
    Wait::Pong,
    Wait::End,
    Wait::Call,
];

/// The running deadlines of one connection.
#[derive(Default)]
pub struct Deadlines {
    ends: [Option<Instant>; WAITS.len()],
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadlines {
    /// Starts a deadline that is not running.
    pub fn start(&mut self, wait: Wait, time: Duration) {
        if let Some(end @ None) = self.ends.get_mut(wait as usize) {
            // A time beyond the clock's range has no end.
            *end = Instant::now().checked_add(time);
        }
    }

    /// Starts a deadline that ends at this time, unless it is running.
    pub fn start_at(&mut self, wait: Wait, at: Instant) {
        if let Some(end) = self.ends.get_mut(wait as usize) {
            end.get_or_insert(at);
        }
    }

    /// Stops a deadline.
    pub fn stop(&mut self, wait: Wait) {
        if let Some(end) = self.ends.get_mut(wait as usize) {
            *end = None;
        }
    }

    /// Stops every deadline.
    pub fn stop_all(&mut self) {
        self.ends = Default::default();
    }

    /// Ready with a deadline that has passed. Wakes the task when the earliest one passes.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Wait> {
        loop {
            let running = WAITS.into_iter().zip(self.ends);
            let earliest = running.filter_map(|(wait, end)| Some((end?, wait)));
            let Some((end, wait)) = earliest.min_by_key(|(end, _)| *end) else {
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            if timer.deadline() > end {
                timer.as_mut().reset(end);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if end <= Instant::now() {
                self.stop(wait);
                return Poll::Ready(wait);
            }
            timer.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_earliest_deadline_ends_first_however_they_were_started() {
        let mut deadlines = Deadlines::default();
        let began = Instant::now();
        deadlines.start(Wait::ClientRead, 5 * SECOND);
        deadlines.start(Wait::UpstreamRead, 2 * SECOND);
        // A running deadline is not started again.
        deadlines.start(Wait::UpstreamRead, 9 * SECOND);
        assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Wait::UpstreamRead);
        assert_eq!(began.elapsed(), 2 * SECOND);
        assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Wait::ClientRead);
        assert_eq!(began.elapsed(), 5 * SECOND);
        let nothing = tokio::time::timeout(SECOND, poll_fn(|cx| deadlines.poll(cx)));
        assert!(nothing.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_was_stopped_and_started_again_ends_at_the_later_time() {
        let mut deadlines = Deadlines::default();
        let began = Instant::now();
        for _ in 0..3 {
            deadlines.start(Wait::Head, 3 * SECOND);
            let early = tokio::time::timeout(SECOND, poll_fn(|cx| deadlines.poll(cx)));
            assert!(early.await.is_err());
            deadlines.stop(Wait::Head);
        }
        deadlines.start(Wait::Head, 3 * SECOND);
        deadlines.start(Wait::Request, Duration::MAX);
        assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Wait::Head);
        assert_eq!(began.elapsed(), 6 * SECOND);
    }
}
