//! The configuration of introspection, and the reports of its questions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

/// How an authority's opaque tokens are introspected.
#[derive(Clone, Debug, PartialEq)]
pub struct IntrospectionConfig {
    /// The endpoint.
    pub url: Url,
    /// How the sidecar authenticates there.
    pub client: ConfiguredClient,
    /// The beginning of the tokens; `None`: every token that is not a JWT.
    pub prefix: Option<String>,
    /// How long an answer about an active token is used.
    pub cache: Duration,
}

/// The configured credentials for an introspection endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfiguredClient {
    /// None: the endpoint is protected in another way.
    Anonymous,
    /// The client of this credential.
    Credential(String),
    /// This client, with its secret in a file.
    Secret {
        client_id: String,
        secret_file: PathBuf,
    },
}

/// The result of a question, for the log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    Active,
    Inactive,
    /// The URL and the cause, and nothing of the token.
    Failed(&'a str),
}

impl Asked<'_> {
    /// One word, for the metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Failed(_) => "error",
        }
    }
}

/// Called after each question.
pub type ObserveAsked = Arc<dyn Fn(Asked<'_>) + Send + Sync>;
