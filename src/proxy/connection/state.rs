//! The state that a connection shares with the phases of its requests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::admission::{AWAITING_HEAD, Admitted};
use super::answer_wait::AnswerWait;
use super::clients::{ClientSettings, ClientTimeouts, Clients};
use crate::domain::error_form::ErrorForms;
use crate::proxy::fault::Fault;

/// The state that the connection shares with the phases.
pub struct ConnectionState {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub(super) clients: Arc<Clients>,
    pub(super) settings: Arc<ClientSettings>,
    pub(super) seat: Admitted,
    /// Whether the first byte was missing when its deadline passed.
    pub(super) is_silent: AtomicBool,
    /// Whether a request is in progress.
    pub(super) is_busy: AtomicBool,
    /// Why a head was refused before any phase saw it.
    pub(super) refused: OnceLock<Fault>,
    /// The framing fault of the current request's body.
    pub(super) broken_body: OnceLock<Fault>,
    /// Whether the client paused for too long while it read a response.
    pub(super) stalled: AtomicBool,
    /// The response timeout of the upstream, and whether it has expired.
    pub(super) answer: AnswerWait,
}

impl ConnectionState {
    /// How many seconds an idle connection is kept. At least 1: Pingora takes 0 as no limit.
    #[must_use]
    pub fn keep_alive(&self) -> u64 {
        self.settings.timeouts.keep_alive.as_secs().max(1)
    }

    /// The error forms for the client.
    #[must_use]
    pub fn error_forms(&self) -> &ErrorForms {
        &self.settings.error_forms
    }

    #[must_use]
    pub fn timeouts(&self) -> &ClientTimeouts {
        &self.settings.timeouts
    }

    /// Sets how long the upstream may pause in its response. The time starts at the end of the
    /// request body, or now if the client waits for `100 Continue`. `None` for a request whose body
    /// is complete.
    pub fn await_answer(&self, wait: Option<Duration>, is_for_continue: bool) {
        self.answer.set(wait, is_for_continue);
    }

    /// Whether the client waits for the upstream's `100 Continue`.
    #[must_use]
    pub fn awaits_continue(&self) -> bool {
        self.answer.is_for_continue.load(Ordering::Relaxed)
    }

    /// Whether the upstream's response timeout has expired.
    #[must_use]
    pub fn is_answer_late(&self) -> bool {
        self.answer.is_late.load(Ordering::Relaxed)
    }

    /// Whether the client paused for too long while it read a response.
    #[must_use]
    pub fn has_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Prepares for another request.
    pub fn await_head(&self) {
        self.request_is_over();
        self.answer.set(None, false);
        if self.seat.phase() != AWAITING_HEAD {
            self.seat.becomes_idle(AWAITING_HEAD);
        }
    }

    /// Whether the connection was closed because it sent nothing in time.
    #[must_use]
    pub fn was_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Pingora has parsed the head; it and the phases write the responses from now on.
    pub fn head_is_read(&self) {
        if !self.is_busy.swap(true, Ordering::Relaxed) {
            self.clients.request_begins();
        }
        self.seat.is_read();
    }

    /// Why a head was refused before any phase saw it.
    #[must_use]
    pub fn refused(&self) -> Option<&Fault> {
        self.refused.get()
    }

    /// The framing fault of the current request's body.
    #[must_use]
    pub fn broken_body(&self) -> Option<&Fault> {
        self.broken_body.get()
    }

    pub(super) fn request_is_over(&self) {
        if self.is_busy.swap(false, Ordering::Relaxed) {
            self.clients.request_ends();
        }
    }
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        self.request_is_over();
    }
}
