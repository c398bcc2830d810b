//! The command line, one file per command. Results go to standard output, everything else to
//! standard error.
//!
//! Exit codes: 0 success, 1 refused (invalid configuration, not ready, no token), 2 wrong usage.

mod check;
mod client;
mod completions;
mod demo;
mod exec;
mod explain;
mod healthcheck;
mod import_plgd;
mod keygen;
mod keys;
mod man;
mod run;
mod schema;
mod status;
mod store;
mod token;

use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};

use crate::app::explain::reachable;
use crate::config::{self, Config, Place};
use crate::domain::secret::SecretString;
use crate::files;
use crate::http_client::{HttpClient, HttpOptions};

/// Issues, verifies and injects machine-to-machine OAuth tokens beside a service.
#[derive(Parser)]
#[command(name = "m2m-sidecar", version, about, propagate_version = true, after_help = AFTER_HELP)]
#[command(subcommand_value_name = "COMMAND")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  refused: a bad configuration, not ready, no token, a request that would be denied; standard \
  error says why
  2  wrong usage

Results go to standard output, errors and warnings to standard error.";

#[derive(Subcommand)]
enum Command {
    /// Run the roles that a configuration names, until SIGTERM, SIGINT or SIGQUIT
    #[command(after_help = run::AFTER_HELP)]
    Run(ConfigFile),
    /// Run one command with the sidecar beside it, and end with its exit code
    #[command(after_help = exec::AFTER_HELP)]
    Exec(exec::Options),
    /// Load and validate a configuration as `run` would, without sockets or network
    #[command(after_help = check::AFTER_HELP)]
    Check(check::Options),
    /// Show the three roles on this machine, one real exchange of each
    #[command(after_help = demo::AFTER_HELP)]
    Demo(demo::Options),
    /// Acquire an access token and print it; list and revoke the tokens that an issuer keeps
    #[command(after_help = token::AFTER_HELP)]
    Token(Box<token::Options>),
    /// Manage the clients of a running sidecar's issuer
    #[command(after_help = client::AFTER_HELP)]
    Client(Box<client::Options>),
    /// List and rotate the signing keys of a running sidecar's issuer
    #[command(after_help = keys::AFTER_HELP)]
    Keys(keys::Options),
    /// Show how the parts of a running sidecar are doing
    #[command(after_help = status::AFTER_HELP)]
    Status(status::Options),
    /// Back up, restore and verify the issuer's store
    #[command(after_help = store::AFTER_HELP)]
    Store(store::Options),
    /// Say which rule and which check decide about a request, and why
    #[command(after_help = explain::AFTER_HELP)]
    Explain(explain::Options),
    /// Print a new private key (PKCS#8, PEM)
    #[command(after_help = keygen::AFTER_HELP)]
    Keygen(keygen::Options),
    /// Turn a configuration of plgd's m2m-oauth-server into one of ours
    #[command(after_help = import_plgd::AFTER_HELP)]
    ImportPlgd(import_plgd::Options),
    /// Exit with 0 when a sidecar on this machine is ready
    #[command(after_help = healthcheck::AFTER_HELP)]
    Healthcheck(healthcheck::Options),
    /// Print the JSON Schema of a configuration file, for editors
    #[command(after_help = schema::AFTER_HELP)]
    Schema,
    /// Print a script that completes commands and options in a shell
    #[command(after_help = completions::AFTER_HELP)]
    Completions(completions::Options),
    /// Print the manual page (roff)
    #[command(after_help = man::AFTER_HELP)]
    Man,
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration file (YAML)
    #[arg(
        long,
        value_name = "FILE",
        env = "M2M_SIDECAR_CONFIG",
        hide_env_values = true,
        value_hint = ValueHint::FilePath
    )]
    config: PathBuf,
}

/// Parses the process's arguments and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(file) => run::run(&file.config),
        Command::Exec(options) => exec::exec(&options),
        Command::Check(options) => check::check(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Token(options) => token::token(&options),
        Command::Client(options) => client::client(&options),
        Command::Keys(options) => keys::keys(&options),
        Command::Status(options) => status::status(&options),
        Command::Store(options) => store::store(&options),
        Command::Explain(options) => explain::explain(&options),
        Command::Keygen(options) => keygen::keygen(&options),
        Command::ImportPlgd(options) => import_plgd::import_plgd(&options),
        Command::Healthcheck(options) => healthcheck::healthcheck(&options),
        Command::Schema => schema::schema(),
        Command::Completions(options) => completions::completions(&options, &mut Cli::command()),
        Command::Man => man::man(Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The command's result has reported it.
        Err(error) if matches!(error.downcast_ref(), Some(Ended::Refused)) => ExitCode::FAILURE,
        Err(error) => {
            // `{:#}` joins the causes; the errors contain no secret.
            let say = || report(&format!("{error:#}"));
            match error.downcast_ref() {
                Some(Ended::Command(code)) => ExitCode::from(*code),
                Some(Ended::NoCommand { code, .. }) => {
                    say();
                    ExitCode::from(*code)
                }
                Some(Ended::Usage(_)) => {
                    say();
                    ExitCode::from(2)
                }
                _ => {
                    say();
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// An end of a command other than success or failure.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// The answer is negative.
    #[error("refused")]
    Refused,
    /// An argument names something that does not exist.
    #[error("{0}")]
    Usage(String),
    /// The command of `exec` has ended with this code.
    #[error("the command ended with {0}")]
    Command(u8),
    /// The command of `exec` cannot be run.
    #[error("cannot run {name}: {error}")]
    NoCommand {
        name: String,
        error: std::io::Error,
        code: u8,
    },
}

/// Loads a configuration; prints its warnings to standard error.
fn load(file: &Path) -> anyhow::Result<Config> {
    resolved(&config::read(file)?, &file.display().to_string())
}

/// The configuration of a text; prints its warnings.
fn resolved(text: &str, name: &str) -> anyhow::Result<Config> {
    let loaded = config::parse(text, name, &config::process_environment)?;
    for warning in &loaded.warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    Ok(loaded.config)
}

/// Resolves the same text again, with the present content of the files that it names.
fn resolve_again(
    text: String,
    name: String,
) -> impl Fn() -> Result<Config, String> + Clone + Send + 'static {
    move || {
        let loaded = config::parse(&text, &name, &config::process_environment);
        Ok(loaded.map_err(|problems| problems.to_string())?.config)
    }
}

/// Writes a result; returns write errors.
fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// Whether standard output is discarded. A program that starts without one gets /dev/null.
fn is_discarded() -> bool {
    let device = |path: &str| std::fs::metadata(path).ok().map(|found| found.rdev());
    let null = device("/dev/null");
    null.is_some() && device("/dev/stdout") == null
}

/// Writes to standard error.
fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "m2m-sidecar: {text}");
}

/// The single secret in a file, which may be a pipe.
fn read_secret(file: &Path) -> anyhow::Result<SecretString> {
    let shown = file.display();
    files::read_secret_stream(file)
        .map_err(|error| Ended::Usage(format!("the file {shown} {error}")).into())
}

/// Writes a result. A closed pipe is ignored; a full disk is an error.
fn print(text: &str) -> anyhow::Result<()> {
    match write(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("the result cannot be written")
        }
        _ => Ok(()),
    }
}

/// Writes a result as JSON.
fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// The URL of a listener of a sidecar on this machine.
fn base_url(place: &Place) -> String {
    let scheme = if place.certificate.is_some() {
        "https"
    } else {
        "http"
    };
    match place.listen.address() {
        Some(address) => format!("{scheme}://{}", reachable(address)),
        // The socket is named by its path, and the host is free.
        None => format!("{scheme}://localhost"),
    }
}

/// A client for a listener of a sidecar on this machine. Over TLS it accepts only the certificate
/// of the configuration.
fn client_for(place: &Place, options: HttpOptions) -> anyhow::Result<HttpClient> {
    let read = |file: &PathBuf| {
        let certificate = files::read(file, files::MAX_PUBLIC);
        certificate.map_err(|error| anyhow!("the file {} {error}", file.display()))
    };
    let certificate = place.certificate.as_ref().map(read).transpose()?;
    let socket = place.listen.unix().map(|socket| socket.path.as_path());
    let client = HttpClient::for_server(&options, certificate.as_deref(), socket);
    client.context("the certificate of the configuration cannot be used")
}

/// The runtime for all work except requests.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("quiet")
        .enable_all()
        .build()?)
}
