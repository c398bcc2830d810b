//! The upstream's response timeout for requests with a body.
//!
//! Pingora's read timeout of an upstream also runs while the client sends its body, so a slow
//! upload would end with 504 although the upstream waits for it. Here the time starts at the end of
//! the body, or when the client waits for `100 Continue`. Pingora reads from the client while it
//! waits for the upstream, so the client's connection can keep the time.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// The timeout as set by the phases.
#[derive(Default)]
pub(super) struct AnswerWait {
    /// In milliseconds; 0: no limit.
    wait: AtomicU64,
    /// Counts the changes of `wait`.
    round: AtomicU64,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub is_for_continue: AtomicBool,
    /// Whether the timeout has expired.
    pub is_late: AtomicBool,
}

impl AnswerWait {
    /// Starts the timeout again.
    pub fn set(&self, wait: Option<Duration>, is_for_continue: bool) {
        let wait = wait.map_or(0, |wait| {
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
        });
        self.wait.store(wait, Ordering::Relaxed);
        self.round.fetch_add(1, Ordering::Relaxed);
        self.is_for_continue
            .store(is_for_continue, Ordering::Relaxed);
        self.is_late.store(false, Ordering::Relaxed);
    }
}

/// The timer of the connection.
#[derive(Default)]
pub(super) struct AnswerDeadline {
    round: u64,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl AnswerDeadline {
    /// Restarts the timer, because a part of the response has arrived.
    pub fn restart(&mut self, answer: &AnswerWait) {
        self.deadline = None;
        answer.is_for_continue.store(false, Ordering::Relaxed);
    }

    /// Ready when the timeout has expired.
    pub fn poll_late(&mut self, cx: &mut Context<'_>, answer: &AnswerWait) -> Poll<()> {
        let round = answer.round.load(Ordering::Relaxed);
        if round != self.round {
            self.round = round;
            self.deadline = None;
        }
        let wait = answer.wait.load(Ordering::Relaxed);
        if wait == 0 {
            return Poll::Pending;
        }
        let sleep = || Box::pin(tokio::time::sleep(Duration::from_millis(wait)));
        let late = self.deadline.get_or_insert_with(sleep).as_mut().poll(cx);
        if late.is_ready() {
            answer.is_late.store(true, Ordering::Relaxed);
        }
        late
    }
}
