//! `run`: runs the configured roles until a signal ends them.

use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{app, config, telemetry};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
SIGTERM, SIGINT and SIGQUIT shut the sidecar down: it reports not ready, waits for
`shutdown.delay`, accepts no more connections, and gives open requests `shutdown.gracePeriod`. A
second signal ends it at once. SIGHUP, SIGUSR1 and SIGUSR2 only log a warning. A changed
configuration needs a restart; the files that it names take effect without one.

Examples:
  m2m-sidecar run --config /etc/m2m-sidecar/sidecar.yaml
  M2M_SIDECAR_CONFIG=sidecar.yaml m2m-sidecar run";

/// Runs until SIGTERM, SIGINT or SIGQUIT, then shuts down in order. A second signal ends the
/// process at once.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let text = config::read(file)?;
    let name = file.display().to_string();
    let config = super::resolved(&text, &name)?;
    let _log = telemetry::start_logging(config.log);
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut running = app::start(config).await?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
        tokio::select! {
            () = signals.next() => {}
            () = running.follow_files(super::resolve_again(text, name)) => {}
        }
        tracing::info!("ending");
        tokio::select! {
            () = running.shutdown() => {}
            () = signals.next() => tracing::warn!("ended by a second signal"),
        }
        anyhow::Ok(())
    })?;
    // Only a name lookup or a hanging file operation can remain; neither is worth waiting for.
    runtime.shutdown_background();
    Ok(())
}

/// The signals that end the process, and those that are ignored.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Installs the handlers.
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

    /// Waits for the next signal that ends the process. By default the ignored ones would end it
    /// too, without a message.
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
                "the signal is ignored: the configuration is read at the start only; restart to \
                 use a changed one"
            );
        }
    }
}
