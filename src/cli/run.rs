//! `run`: the roles that a configuration names, until a signal ends them.

use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{app, telemetry};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
SIGTERM, SIGINT and SIGQUIT end the sidecar in order: not ready, `shutdown.delay`, then no new connections and at most
`shutdown.gracePeriod` for what is under way. A second one ends it at once. SIGHUP, SIGUSR1 and SIGUSR2 change nothing
and leave a warning in the log: a changed configuration needs a restart, changed secret files do not.

Examples:
  m2m-sidecar run --config /etc/m2m-sidecar/sidecar.yaml
  M2M_SIDECAR_CONFIG=sidecar.yaml m2m-sidecar run";

/// Runs until SIGTERM, SIGINT or SIGQUIT, then ends in order; a second signal ends at once.
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

/// The signals that end the process, and those that must not.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> anyhow::Result<Self> {
        let open = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
            quit: open(SignalKind::quit())?,
            hangup: open(SignalKind::hangup())?,
            user1: open(SignalKind::user_defined1())?,
            user2: open(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next signal that ends the process. By default the others would end it too,
    /// without a word.
    pub async fn next(&mut self) {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.quit.recv() => return,
                _ = self.hangup.recv() => "SIGHUP",
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::warn!(
                signal = ignored,
                "the signal is ignored: the configuration is read at the start only; restart to use a changed one"
            );
        }
    }
}
