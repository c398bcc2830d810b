//! The state of the process, which outlives every generation.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::tasks::Tasks;
use crate::domain::clock::SharedClock;
use crate::domain::listen::BoundAddress;
use crate::jose::dpop::ServerState;
use crate::proxy::own::BoundAddresses;
use crate::telemetry::{Metrics, Role};

/// Two listeners may share a name: those of the proxies are the operator's, and one may be
/// `issuer`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ListenerId {
    pub role: Role,
    pub name: String,
}

impl ListenerId {
    pub(super) fn new(role: Role, name: &str) -> Self {
        Self {
            role,
            name: name.to_owned(),
        }
    }
}

/// The listener and the address of each socket in use.
pub(super) type Addresses = Arc<ArcSwap<Vec<(ListenerId, BoundAddress)>>>;

/// The process, as every part sees it.
#[derive(Clone)]
pub(super) struct Process {
    pub clock: SharedClock,
    pub metrics: Arc<Metrics>,
    pub tasks: Tasks,
    /// Work after everything else has ended, such as closing the store.
    pub last_work: TaskTracker,
    /// The runtime for everything but requests.
    pub runtime: Handle,
    /// Whether the listeners are up and stay up.
    pub ready: Arc<AtomicBool>,
    pub addresses: Addresses,
    /// The addresses of the outbound listeners.
    pub outbound: BoundAddresses,
    /// How many file descriptors the process may have.
    pub descriptors: usize,
    /// How many workers serve requests.
    pub threads: usize,
    /// The used proofs and the nonces of all servers.
    pub dpop: Arc<ServerState>,
}

#[cfg(test)]
impl Process {
    /// A process in a test's runtime.
    pub(super) fn for_tests() -> Self {
        Self {
            clock: Arc::new(crate::domain::clock::SystemClock),
            metrics: Arc::new(Metrics::new()),
            tasks: Tasks::new(),
            last_work: TaskTracker::new(),
            runtime: Handle::current(),
            ready: Arc::default(),
            addresses: Arc::default(),
            outbound: Arc::default(),
            descriptors: 1024,
            threads: 1,
            dpop: Arc::default(),
        }
    }
}
