//! How long an upstream may pause in its answer to a request with a body.
//!
//! Pingora's read timeout of an upstream runs while the client still sends its body: a client that
//! pauses for longer than that gets 504 although its upstream waits for nothing else than the rest.
//! Here the time runs when the body has come, and while the client waits for `100 Continue`.
//! Pingora reads from the client for as long as it waits for the upstream, so the client's
//! connection can keep the time.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// What the phases tell the connection.
#[derive(Default)]
pub(super) struct AnswerWait {
    /// In milliseconds; 0: without a limit.
    wait: AtomicU64,
    /// Counts the changes of `wait`.
    round: AtomicU64,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub is_for_continue: AtomicBool,
    /// Whether the time was over.
    pub is_late: AtomicBool,
}

impl AnswerWait {
    /// Begins anew.
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

/// The connection's clock for it.
#[derive(Default)]
pub(super) struct AnswerDeadline {
    round: u64,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl AnswerDeadline {
    /// A part of the answer has come.
    pub fn restart(&mut self, answer: &AnswerWait) {
        self.deadline = None;
        answer.is_for_continue.store(false, Ordering::Relaxed);
    }

    /// Ready when the upstream has paused for too long.
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
