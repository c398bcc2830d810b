//! `run`: the roles that a configuration names, until a signal ends them.

use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{app, telemetry};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
A first signal ends the sidecar in peace: not ready, `shutdown.delay`, then no new connections and at most
`shutdown.gracePeriod` for what is under way. A second one ends it at once.

Examples:
  m2m-sidecar run --config /etc/m2m-sidecar/sidecar.yaml
  M2M_SIDECAR_CONFIG=sidecar.yaml m2m-sidecar run";

/// Runs until SIGTERM or SIGINT, then ends in peace; a second signal ends at once.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let config = super::load(file)?;
    let _log = telemetry::start_logging(config.log);
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let running = app::start(config).await?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
        signals.next().await;
        tracing::info!("ending");
        tokio::select! {
            () = running.shutdown() => {}
            () = signals.next() => tracing::warn!("ended by a second signal"),
        }
        anyhow::Ok(())
    })?;
    // What is left is a lookup or a file that hangs: not worth waiting for.
    runtime.shutdown_background();
    Ok(())
}

/// The signals that end the process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> anyhow::Result<Self> {
        let open = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: open(SignalKind::terminate())?, interrupt: open(SignalKind::interrupt())? })
    }

    /// The next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
