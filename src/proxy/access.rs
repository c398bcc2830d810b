//! One line, and one count, per request: what was asked, what was decided and why, and how long it took.
//!
//! The path is written without its query, and nothing of the headers is written: a token can be in either. Probes that
//! find all well are written only when the log level is debug.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use pingora::proxy::Session;
use tokio::time::Instant;
use tracing::Level;

use super::connection::ConnectionState;
use super::fault::Fault;
use crate::domain::reason::Reason;
use crate::telemetry::{Decision, RequestMetrics, Role};

/// How much of a path is logged, in bytes.
const LONGEST_PATH: usize = 256;

/// What is known of one request when it ends.
pub struct Access {
    /// When its head had been read.
    began: Instant,
    /// The check that decided, or what went wrong after it.
    pub reason: Reason,
    /// Whether it was let through.
    pub decision: Decision,
    /// The client by a trusted proxy's word, where that is another than the connection's peer.
    pub client: Option<IpAddr>,
    /// More than the reason says: constants, and places in the request.
    pub detail: Option<Cow<'static, str>>,
    /// The token's client.
    pub client_id: Option<String>,
    /// From the last try of an upstream to the head of its answer.
    pub upstream_time: Option<Duration>,
    upstream_began: Option<Instant>,
}

impl Access {
    /// A request has begun.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            reason: Reason::Internal,
            decision: Decision::Deny,
            client: None,
            detail: None,
            client_id: None,
            upstream_time: None,
            upstream_began: None,
        }
    }

    /// It may pass.
    pub fn allow(&mut self, reason: Reason) {
        self.decision = Decision::Allow;
        self.reason = reason;
    }

    /// It passes, though a listener that enforces would refuse it.
    pub fn shadow(&mut self, reason: Reason) {
        self.decision = Decision::Shadow;
        self.reason = reason;
    }

    /// It may not, or it failed.
    pub fn deny(&mut self, reason: Reason) {
        self.decision = Decision::Deny;
        self.reason = reason;
    }

    /// It may not, or it failed, because of this fault.
    pub fn refuse(&mut self, fault: &Fault) {
        self.deny(fault.reason);
        self.detail = fault.detail();
    }

    /// An upstream is being tried.
    pub fn upstream_begins(&mut self) {
        self.upstream_began = Some(Instant::now());
    }

    /// The head of the upstream's answer is there.
    pub fn upstream_answered(&mut self) {
        self.upstream_time = self.upstream_began.map(|began| began.elapsed());
    }

    /// Counts the request and writes its line.
    pub fn end_session(&self, metrics: &RequestMetrics, session: &Session) {
        let took = self.began.elapsed();
        metrics.ended(self.decision, self.reason, took);
        if !tracing::enabled!(target: "access", Level::INFO) {
            return;
        }
        let answer = session.response_written().filter(|answer| !answer.status.is_informational());
        let status = answer.map(|answer| answer.status.as_u16());
        let is_well = metrics.role() == Role::Probes && status.is_some_and(|status| status < 400);
        if is_well && !tracing::enabled!(target: "access", Level::DEBUG) {
            return;
        }
        let address = session.client_addr();
        let peer = self.client.map(|client| client.to_string()).or_else(|| address.map(ToString::to_string));
        let head = session.req_header();
        let method = head.method.as_str();
        tracing::info!(
            target: "access",
            role = metrics.role().as_str(),
            listener = metrics.listener(),
            peer = peer.map(tracing::field::display),
            via = self.client.and(address).map(tracing::field::display),
            method = method.get(..32).unwrap_or(method),
            path = shortened(head.uri.path()),
            status,
            decision = self.decision.as_str(),
            reason = self.reason.code(),
            detail = self.detail.as_deref(),
            client_id = self.client_id.as_deref(),
            bytes = session.body_bytes_sent(),
            ms = milliseconds(took),
            upstream_ms = self.upstream_time.map(milliseconds),
        );
    }
}

/// Counts and logs what was no request.
pub fn refused_head(metrics: &RequestMetrics, connection: &ConnectionState, fault: &Fault) {
    metrics.ended(Decision::Deny, fault.reason, Duration::ZERO);
    tracing::info!(
        target: "access",
        role = metrics.role().as_str(),
        listener = metrics.listener(),
        peer = %connection.peer,
        request_target = fault.target(),
        decision = Decision::Deny.as_str(),
        reason = fault.reason.code(),
        detail = fault.detail().as_deref(),
    );
}

/// A path as it goes into the log: its length is a stranger's choice.
fn shortened(path: &str) -> &str {
    path.get(..path.floor_char_boundary(LONGEST_PATH)).unwrap_or(path)
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
