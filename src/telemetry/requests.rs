//! The metrics of one listener.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{
    ClosedLabels, HandshakeLabels, InboundLabels, ListenerLabels, OutboundLabels, Role,
};
use super::{Metrics, Reading};
use crate::domain::reason::Reason;

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Forwarded.
    Allow,
    /// Refused.
    Deny,
    /// Forwarded, although an enforcing listener would have refused it.
    Shadow,
    /// Answered by one of the sidecar's own endpoints.
    Answered,
    /// Failed: the upstream, the client's connection or the sidecar itself.
    Error,
}

impl Decision {
    pub(super) const COUNT: usize = 5;

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Shadow => "shadow",
            Self::Answered => "answered",
            Self::Error => "error",
        }
    }
}

/// Why the sidecar closed a connection without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedConnection {
    /// The longest idle one, closed for a new connection.
    MadeRoom,
    /// No byte arrived in time.
    Silent,
    /// New, while the listener was full and no connection was idle.
    Refused,
    /// New, while its address was at its limit and no connection was idle.
    RefusedAddress,
    /// New, from a peer that may not connect.
    RefusedPeer,
}

impl ClosedConnection {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::MadeRoom => "made_room",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::RefusedAddress => "refused_address",
            Self::RefusedPeer => "refused_peer",
        }
    }
}

/// The metrics of one listener; each counter is looked up once.
pub struct RequestMetrics {
    pub(super) metrics: Arc<Metrics>,
    pub(super) role: Role,
    pub(super) listener: String,
    pub(super) duration: Histogram,
    pub(super) by_reason: Vec<[OnceLock<Counter>; Decision::COUNT]>,
}

impl RequestMetrics {
    /// Counts a request that has ended.
    pub fn ended(&self, decision: Decision, reason: Reason, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
        // Discriminants are the indices of `Reason::ALL`.
        if let Some(cells) = self.by_reason.get(reason as usize) {
            let cell = &cells[decision as usize];
            cell.get_or_init(|| self.counter(decision, reason)).inc();
        }
    }

    /// Counts a closed or refused connection.
    pub fn connection_closed(&self, why: ClosedConnection) {
        let labels = ClosedLabels {
            role: self.role,
            listener: self.listener.clone(),
            reason: why.as_str(),
        };
        self.metrics.connections_closed.get_or_create(&labels).inc();
    }

    /// Counts a failed accept.
    pub fn accept_failed(&self) {
        self.metrics
            .accept_errors
            .get_or_create(&self.labels())
            .inc();
    }

    /// Counts the end of a TLS handshake; `result` is `ok` or the code of its failure.
    pub fn handshake_ended(&self, result: &'static str) {
        let labels = HandshakeLabels {
            role: self.role,
            listener: self.listener.clone(),
            result,
        };
        self.metrics.tls_handshakes.get_or_create(&labels).inc();
    }

    /// Reports the number of open connections in each scrape.
    pub fn show_connections(&self, open: impl Fn() -> usize + Send + Sync + 'static) -> Reading {
        let labels = self.labels();
        let removed = labels.clone();
        self.metrics.read_at_scrape(
            move |metrics| {
                let open = i64::try_from(open()).unwrap_or(i64::MAX);
                metrics.connections.get_or_create(&labels).set(open);
            },
            move |metrics| {
                metrics.connections.remove(&removed);
            },
        )
    }

    pub(super) fn labels(&self) -> ListenerLabels {
        ListenerLabels {
            role: self.role,
            listener: self.listener.clone(),
        }
    }

    pub(super) fn counter(&self, decision: Decision, reason: Reason) -> Counter {
        let listener = self.listener.clone();
        match self.role {
            Role::Inbound | Role::Decisions => {
                self.metrics.inbound.get_or_create_owned(&InboundLabels {
                    listener,
                    decision: decision.as_str(),
                    reason: reason.code(),
                })
            }
            Role::Outbound => self.metrics.outbound.get_or_create_owned(&OutboundLabels {
                listener,
                result: reason.code(),
            }),
            // The sidecar's own endpoints have their own metrics; their requests only a duration.
            Role::Issuer | Role::Admin | Role::LocalApi | Role::Local | Role::Probes => {
                Counter::default()
            }
        }
    }

    /// The listener's name.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The listener's role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }
}
