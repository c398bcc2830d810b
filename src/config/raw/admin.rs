//! The management API, as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::MaxConnections;
use crate::config::address::ListenAddress;
use crate::config::name::HostValue;
use crate::config::value::FilePath;

/// The management API: clients, their secrets and tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Admin {
    /// Where it is served. Over plain HTTP, so beyond loopback the admin token can be read on the
    /// way.
    pub listen: ListenAddress,
    /// A file that holds the admin token, at least 16 bytes; one line, whose line end (LF or CRLF)
    /// is not part of it. When left out, a token is generated and kept in `admin-token` of
    /// `stateDir`.
    pub token_file: Option<FilePath>,
    /// How many client connections it holds.
    #[serde(default)]
    pub max_connections: MaxConnections,
    /// `Host` values accepted beside IP addresses and `localhost`, with or without port.
    #[serde(default)]
    pub hosts: Vec<HostValue>,
}
