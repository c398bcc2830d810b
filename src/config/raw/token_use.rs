//! The use of tokens: files that get them and calls that need them, as the configuration has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::config::token_text::{FileMode, FileOwner};
use crate::config::value::{FilePath, GoDuration};
use crate::domain::token_use::{SinkFormat, WhenThrottled};

/// A file with the current token, for programs that read it there. It is replaced as a whole before
/// the old token ends, and stays when the sidecar ends. The token is fetched at start.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Sink {
    /// The file. The sidecar must be able to write its directory, which should be in memory
    /// (tmpfs).
    pub path: FilePath,
    /// The permissions of the file, octal and in quotes.
    #[serde(default = "default_mode")]
    pub mode: FileMode,
    /// The owner of the file: `user`, `user:group` or `:group`, names or numbers. Default: the user
    /// and group of the sidecar. Another user needs the capability `CAP_CHOWN`.
    pub owner: Option<FileOwner>,
    /// The format of the file.
    #[serde(default)]
    pub format: SinkFormat,
}

fn default_mode() -> FileMode {
    FileMode("0600".to_owned())
}

/// A quota of calls to the upstream: the sidecar makes at most `requests` calls in any time `per`.
/// A request that is sent again after a 401 counts twice.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Throttle {
    /// The number of calls in `per`.
    #[schemars(range(min = 1, max = 100_000))]
    pub requests: u32,
    /// The time of the quota: 1s to 24h.
    pub per: GoDuration,
    /// The treatment of a request beyond the quota.
    #[serde(default)]
    pub mode: WhenThrottled,
    /// `mode: wait`: how long a request waits at most, 1s to 10m. A request that would wait for
    /// longer is refused at once. Default: 30s.
    pub max_wait: Option<GoDuration>,
}

impl Throttle {
    /// The value of `maxWait`, or its default.
    pub fn longest_wait(&self) -> GoDuration {
        self.max_wait.unwrap_or(seconds(30))
    }
}
