//! Logs and metrics.

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// What is written: this level and those above it.
    pub level: tracing::Level,
    /// In which form.
    pub encoding: Encoding,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
