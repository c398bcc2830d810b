//! The limits on client connections, as the file has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The limits on client connections. A new connection beyond the limit closes an idle one: the
/// longest idle connection of the address with the most connections. If none is idle, the new
/// connection gets 503 `too_many_connections`. A new connection is closed if its first byte does
/// not arrive within 10s.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::config) struct MaxConnections {
    /// The number of connections at the same time. Default: the listener's share of the file
    /// descriptors (`ulimit -Hn`), at most 16384. The sidecar reserves some for itself, the probes,
    /// the management API and upstreams. For the probes, the management API and the local API the
    /// default is 64.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// The number of connections from one address; for IPv6, from one /64. Default: three quarters
    /// of `total`. It does not apply to `trustedProxies`, whose connections serve many clients.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_address: Option<u32>,
}
