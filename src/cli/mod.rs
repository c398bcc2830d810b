//! The command line: one file per command. Results go to standard output, everything else to standard error.
//!
//! Exit codes: 0 done, 1 refused (bad configuration, not ready, no token), 2 wrong usage.

mod check;
mod demo;
mod healthcheck;
mod keygen;
mod run;
mod token;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config};

/// Issues, verifies and injects machine-to-machine OAuth tokens beside a service.
#[derive(Parser)]
#[command(name = "m2m-sidecar", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the roles that a configuration names
    Run(ConfigFile),
    /// Load and validate a configuration as `run` would, without sockets or network
    Check(ConfigFile),
    /// Show the three roles on this machine, one real exchange of each
    Demo(demo::Options),
    /// Acquire an access token and print it
    Token(token::Options),
    /// Print a new private key (PKCS#8, PEM)
    Keygen(keygen::Options),
    /// Exit with 0 when a sidecar on this machine is ready
    Healthcheck(healthcheck::Options),
}

/// Which configuration.
#[derive(Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "M2M_SIDECAR_CONFIG")]
    config: PathBuf,
}

/// Parses the process's arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(file) => run::run(&file.config),
        Command::Check(file) => check::check(&file.config),
        Command::Demo(options) => demo::demo(&options),
        Command::Token(options) => token::token(&options),
        Command::Keygen(options) => keygen::keygen(&options),
        Command::Healthcheck(options) => healthcheck::healthcheck(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `{:#}` joins the causes; no error of ours holds a secret.
            let _ = writeln!(std::io::stderr(), "m2m-sidecar: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Loads a configuration; its warnings go to standard error.
fn load(file: &Path) -> anyhow::Result<Config> {
    let loaded = config::load(file, &config::process_environment)?;
    for warning in &loaded.warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    Ok(loaded.config)
}

/// Writes a result. A reader that is gone is no error worth a message.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The runtime for everything that is not the serving of requests.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("quiet")
        .enable_all()
        .build()?)
}
