//! `exec`: runs the configured roles for the lifetime of one command, for Kubernetes Jobs, CI and
//! entrypoints.

mod child;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueHint};
use rustix::process::Signal;
use tokio::time::Instant;

use self::child::{Child, Signals, code_of_signal};
use super::{ConfigFile, Ended};
use crate::app::Running;
use crate::app::explain::reachable;
use crate::config::{self, Config};
use crate::proxy::outbound::Kind;
use crate::{app, telemetry};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Starts the sidecar, waits until it is ready (as `/readyz` reports it), and runs the command with
the same standard input, output and error. The sidecar writes only to standard error. The signals
TERM, INT, QUIT, HUP, USR1, USR2, ALRM and WINCH are passed to the command. When the command ends,
the sidecar drains for at most `shutdown.gracePeriod` and ends too. As process 1 of a container it
also removes ended orphans from the process table.

The environment of the command is unchanged, unless `--set-url` or `--set-proxy` changes it.

Exit codes:
  the code of the command; 128 + n if signal n ended it
  1    the sidecar has not started, or was not ready in time; standard error says why
  126  the command cannot be executed
  127  the command was not found

Examples:
  m2m-sidecar exec --config sidecar.yaml -- ./import --hub http://127.0.0.1:9000
  m2m-sidecar exec --config sidecar.yaml --set-url HUB_URL=hub -- ./import
  m2m-sidecar exec --config sidecar.yaml --set-proxy forward -- ./legacy";

/// How often readiness is looked at.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// Wait until the sidecar is ready, for at most so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// Set a variable of the command to the URL of an outbound listener; repeatable
    #[arg(long, value_name = "NAME=LISTENER", value_parser = variable)]
    set_url: Vec<Variable>,
    /// Set the command's `http_proxy` and `HTTP_PROXY` to an outbound listener; those of https too
    /// if it has `tunnels`
    #[arg(long, value_name = "LISTENER")]
    set_proxy: Option<String>,
    /// The command and its arguments
    #[arg(
        required = true,
        last = true,
        value_name = "COMMAND",
        value_hint = ValueHint::CommandWithArguments
    )]
    command: Vec<OsString>,
}

/// A variable of the command that is set to a listener's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    listener: String,
}

fn variable(text: &str) -> Result<Variable, String> {
    match text.split_once('=') {
        Some((name, listener)) if !name.is_empty() && !listener.is_empty() => Ok(Variable {
            name: name.to_owned(),
            listener: listener.to_owned(),
        }),
        _ => Err("it must be NAME=LISTENER".to_owned()),
    }
}

/// The command, after the sidecar is ready.
enum Beside {
    Runs(Child),
    /// A signal ended the sidecar before, with this exit code.
    Ended(u8),
}

/// Runs the command beside the sidecar.
pub fn exec(options: &Options) -> anyhow::Result<()> {
    let file = &options.file.config;
    let (text, name) = (config::read(file)?, file.display().to_string());
    let config = super::resolved(&text, &name)?;
    let variables = options.variables(&config);
    let schemes = schemes(&config, &variables)?;
    let _log = telemetry::start_logging(config.log);
    let runtime = super::runtime()?;
    let code = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut running = app::start(config).await?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
        let started = options.beside(&running, &variables, &schemes, &mut signals);
        let result = match started.await {
            Ok(Beside::Runs(child)) => tokio::select! {
                code = child.until_end(&mut signals) => Ok(code),
                () = running.follow_files(super::resolve_again(text, name)) => Ok(0),
            },
            Ok(Beside::Ended(code)) => Ok(code),
            Err(error) => Err(error),
        };
        tracing::info!("ending");
        tokio::select! {
            () = running.drain() => {}
            signal = signals.next_end() => {
                tracing::warn!("ended by the signal {}", signal.as_raw());
            }
        }
        result
    });
    // Only a name lookup or a hanging file operation can remain; neither is worth waiting for.
    runtime.shutdown_background();
    match code? {
        0 => Ok(()),
        code => Err(Ended::Command(code).into()),
    }
}

impl Options {
    /// The variables that are set to the URLs of listeners.
    fn variables(&self, config: &Config) -> Vec<Variable> {
        let proxy = self.set_proxy.iter().flat_map(|listener| {
            let names: &[&str] = match opens_tunnels(config, listener) {
                true => &["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"],
                false => &["http_proxy", "HTTP_PROXY"],
            };
            names.iter().map(|name| Variable {
                name: (*name).to_owned(),
                listener: listener.clone(),
            })
        });
        proxy.chain(self.set_url.iter().cloned()).collect()
    }

    /// Starts the command when the sidecar is ready.
    async fn beside(
        &self,
        running: &Running,
        variables: &[Variable],
        schemes: &[&str],
        signals: &mut Signals,
    ) -> anyhow::Result<Beside> {
        tokio::select! {
            ready = self.ready(running) => ready?,
            signal = signals.next_end() => {
                return Ok(Beside::Ended(code_of_signal(signal.as_raw())));
            }
        }
        let Some((name, arguments)) = self.command.split_first() else {
            bail!("there is no command");
        };
        let mut command = Command::new(name);
        command.args(arguments);
        for (Variable { name, listener }, scheme) in variables.iter().zip(schemes) {
            if let Some(address) = running.address(listener) {
                command.env(name, format!("{scheme}://{}", reachable(address)));
            }
        }
        let child = Child::start(&mut command).map_err(|error| Ended::NoCommand {
            name: name.to_string_lossy().into_owned(),
            code: match error.kind() {
                ErrorKind::NotFound => 127,
                _ => 126,
            },
            error,
        })?;
        Ok(Beside::Runs(child))
    }

    /// Waits until the sidecar is ready.
    async fn ready(&self, running: &Running) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(self.wait);
        loop {
            let Err(missing) = running.readiness() else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                bail!(
                    "the sidecar is not ready after {} s, so the command was not run: {}",
                    self.wait,
                    missing.join(", ")
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether a listener opens tunnels to other hosts than targets, so that it serves `https://` URLs.
fn opens_tunnels(config: &Config, listener: &str) -> bool {
    let found = config.outbound.iter().find(|it| it.name == listener);
    let is_open = |kind: &Kind| matches!(kind, Kind::Forward(it) if !it.tunnels.is_empty());
    found.is_some_and(|listener| is_open(&listener.kind))
}

/// The scheme of each variable's URL.
///
/// # Errors
/// No outbound listener has the name, or it has no URL.
fn schemes(config: &Config, variables: &[Variable]) -> anyhow::Result<Vec<&'static str>> {
    let scheme = |variable: &Variable| {
        let name = &variable.listener;
        let listener = config.outbound.iter().find(|it| it.name == *name);
        match listener {
            None => Err(Ended::Usage(format!(
                "no listener of `outbound` has the name {name}"
            ))),
            Some(listener) if listener.listen.unix().is_some() => Err(Ended::Usage(format!(
                "the listener {name} is a socket in the file system and has no URL"
            ))),
            Some(listener) if listener.tls.is_some() => Ok("https"),
            Some(_) => Ok("http"),
        }
    };
    Ok(variables.iter().map(scheme).collect::<Result<_, _>>()?)
}

impl Signals {
    /// Waits for a signal that ends a process by default.
    async fn next_end(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if matches!(
                signal,
                Signal::TERM | Signal::INT | Signal::QUIT | Signal::HUP
            ) {
                return signal;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_name_and_a_listener() {
        let expected = Variable {
            name: "HUB".to_owned(),
            listener: "hub=1".to_owned(),
        };
        assert_eq!(variable("HUB=hub=1"), Ok(expected));
        for text in ["", "HUB", "=hub", "HUB="] {
            assert!(variable(text).is_err(), "{text}");
        }
    }
}
