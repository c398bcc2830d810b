//! Writes the log.

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::domain::settings::Encoding;

/// How many log lines may wait to be written.
pub(super) const LINES_IN_FLIGHT: usize = 16 * 1024;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The lowest written level.
    pub level: tracing::Level,
    pub encoding: Encoding,
}

/// Selects the messages of this crate at a level. Messages of dependencies may contain secrets.
#[must_use]
pub fn targets(level: tracing::Level) -> Targets {
    Targets::new()
        .with_target("m2m_sidecar", level)
        .with_target("access", level)
        .with_target("audit", level)
        .with_default(LevelFilter::OFF)
}

/// Starts logging. The guard writes out what is pending when it is dropped. A second call in one
/// process changes nothing and gives `None`.
#[must_use]
pub fn start_logging(config: LogConfig) -> Option<WorkerGuard> {
    // Bounded: what a slow terminal cannot take is dropped rather than kept in memory.
    let (writer, guard): (NonBlocking, _) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_IN_FLIGHT)
        .finish(std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let registry = tracing_subscriber::registry().with(targets(config.level));
    let started = match config.encoding {
        Encoding::Text => registry.with(lines.with_ansi(false)).try_init(),
        Encoding::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.ok().map(|()| guard)
}
