//! The management API, as the file has it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{MaxConnections, ServerTls};
use crate::config::address::ListenAddress;
use crate::config::name::HostValue;
use crate::config::value::FilePath;

/// The management API: clients, their secrets and tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Admin {
    /// The address of the API. Beyond loopback set `tls`: others can read the admin token. Or
    /// `unix:/path` as for `inbound`, by default with mode 0600: it needs no token.
    pub listen: ListenAddress,
    /// TLS of the listener. Default: plain HTTP.
    pub tls: Option<ServerTls>,
    /// A file with the admin token: one line of at least 16 bytes. The line ending (LF or CRLF) is
    /// not part of the token. Default: a generated token in `admin-token` of `stateDir`.
    pub token_file: Option<FilePath>,
    /// The limits on client connections.
    #[serde(default)]
    pub max_connections: MaxConnections,
    /// Accepted `Host` values in addition to IP addresses and `localhost`, with or without a port.
    #[serde(default)]
    pub hosts: Vec<HostValue>,
}
