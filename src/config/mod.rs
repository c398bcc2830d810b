//! Configuration: file and environment → a validated [`Config`].
//!
//! The stages: `yaml` (text → tree with positions), `environment` (`${NAME}` in values), `check`
//! (the tree against the schema derived from `raw`), `resolve` (sections → the roles' own
//! configurations). Each goes on past its errors, so that one run reports all of them. Apart from
//! the files that a configuration names, nothing is read or opened.

mod address;
mod check;
mod editor;
mod environment;
mod files;
mod formats;
mod import_plgd;
mod name;
mod not_yet;
mod problem;
mod raw;
mod resolve;
mod tree;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use environment::{Environment, process_environment};
pub use import_plgd::import_plgd;
pub use problem::{Problem, Problems};

pub use crate::domain::settings::Readiness;

use ipnet::IpNet;

use crate::domain::listen::Listen;
use crate::domain::secret::SecretString;
use crate::proxy::connection::MaxConnections;
use crate::proxy::{inbound, outbound};
use crate::{issuer, store, telemetry, token_source, verifier};
use problem::Findings;
use tree::KeyPath;

/// A file that is read at the start only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedFile {
    /// The key that names it.
    pub key: String,
    /// The file.
    pub file: PathBuf,
}

/// What one process runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The files whose changes need a restart. All others are taken over when they change.
    pub fixed_files: Vec<FixedFile>,
    /// How logs are written.
    pub log: telemetry::LogConfig,
    /// Worker threads; 0: one per core, at most 4.
    pub threads: usize,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// Where the sidecar keeps what is not in the store.
    pub state_dir: PathBuf,
    /// The store; opened only when there is an issuer.
    pub store: store::Config,
    /// Whether a store that is not there is an error.
    pub store_must_exist: bool,
    /// Where health and metrics are served.
    pub probes: Option<OwnListener>,
    /// By which further hosts the metrics may be called.
    pub metrics_hosts: Vec<String>,
    /// The management API.
    pub admin: Option<AdminRole>,
    /// What must be there before the sidecar says that it is ready, beside its listeners.
    pub readiness: Vec<Readiness>,
    /// The authorization server.
    pub issuer: Option<IssuerRole>,
    /// The issuers whose tokens are trusted.
    pub authorities: Vec<verifier::AuthorityConfig>,
    /// Listeners that verify tokens.
    pub inbound: Vec<inbound::Config>,
    /// How tokens for others are acquired.
    pub credentials: Vec<token_source::Config>,
    /// Listeners that attach tokens.
    pub outbound: Vec<outbound::Config>,
    /// Where programs on this machine get tokens themselves.
    pub local_api: Option<OwnListener>,
}

/// A listener for endpoints of the sidecar's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnListener {
    /// Where it listens.
    pub listen: Listen,
    /// How many client connections it holds.
    pub max_connections: MaxConnections,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long it reports itself as not ready while it still serves.
    pub delay: Duration,
    /// How long requests may then take to end.
    pub grace_period: Duration,
}

/// The management API's listener, and who may use it.
#[derive(Clone, Debug)]
pub struct AdminRole {
    /// Where it is served.
    pub listen: Listen,
    /// How many client connections it holds.
    pub max_connections: MaxConnections,
    /// The token; none: one is generated and kept in the state directory.
    pub token: Option<SecretString>,
    /// The file it was read from.
    pub token_file: Option<PathBuf>,
    /// Names by which it may be called, beside IP addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// The issuer and its own listener.
#[derive(Clone, Debug)]
pub struct IssuerRole {
    /// Its own listener; none when inbound listeners answer for it.
    pub listen: Option<Listen>,
    /// How long that keeps an idle client connection.
    pub keep_alive: Duration,
    /// How many client connections that holds.
    pub max_connections: MaxConnections,
    /// The issuer.
    pub issuer: issuer::Config,
    /// Names of the authorities whose users may call the tokens API.
    pub authorities: Vec<String>,
    /// The largest request head of its own listener, in bytes.
    pub max_head: usize,
    /// Proxies in front of its own listener.
    pub trusted_proxies: Vec<IpNet>,
}

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is probably not meant.
    pub warnings: Vec<Problem>,
}

/// Loads a configuration file.
///
/// # Errors
/// Every problem of the file at once.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Loaded, Problems> {
    parse(&read(path)?, &path.display().to_string(), environment)
}

fn read(path: &Path) -> Result<String, Problems> {
    files::read_config(path).map_err(|error| {
        let mut findings = Findings::default();
        findings.error(&KeyPath::default(), format!("the file {error}"));
        Problems(findings.locate(&path.display().to_string(), None).0)
    })
}

/// Where a configuration's probes listen, and nothing else of it. A health check must not fail
/// because a file is being changed that the running process has read long ago.
///
/// # Errors
/// Every problem of the section `probes`, and what makes the file no YAML.
pub fn probes(path: &Path, environment: Environment<'_>) -> Result<Option<Listen>, Problems> {
    section(path, environment, &["probes"], resolve::probes)
}

/// Where a configuration's store is, and nothing else of it: a copy is put back also where the
/// other files are not.
///
/// # Errors
/// Every problem of the section `store`, and what makes the file no YAML.
pub fn store(path: &Path, environment: Environment<'_>) -> Result<store::Config, Problems> {
    section(path, environment, &["store"], resolve::store)
}

/// Where the management API of a sidecar is, and where its token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// Where it is served.
    pub listen: Listen,
    /// The file with its token; none: a generated one is kept in the state directory.
    pub token_file: Option<PathBuf>,
    /// The state directory.
    pub state_dir: PathBuf,
}

/// The management API of a configuration, and nothing else of it: whoever manages clients need not
/// be able to read the sidecar's other files. No file but the configuration is read.
///
/// # Errors
/// Every problem of the sections `admin` and `stateDir`, and what makes the file no YAML.
pub fn management(
    path: &Path,
    environment: Environment<'_>,
) -> Result<Option<Management>, Problems> {
    section(
        path,
        environment,
        &["admin", "stateDir"],
        resolve::management,
    )
}

/// Some sections of a configuration.
fn section<T>(
    path: &Path,
    environment: Environment<'_>,
    keys: &[&str],
    resolve: impl FnOnce(&tree::Node, &mut Findings) -> T,
) -> Result<T, Problems> {
    let (text, file_name) = (read(path)?, path.display().to_string());
    let mut findings = Findings::default();
    let Some(mut tree) = yaml::parse(&text, &mut findings) else {
        return Err(Problems(findings.locate(&file_name, None).0));
    };
    tree.keep_only(keys);
    environment::interpolate(&mut tree, &KeyPath::default(), environment, &mut findings);
    check::check(&mut tree, &json_schema(), &mut findings);
    let resolved = resolve(&tree, &mut findings);
    let (errors, _) = findings.locate(&file_name, Some(&tree));
    if errors.is_empty() {
        Ok(resolved)
    } else {
        Err(Problems(errors))
    }
}

/// Reads a configuration from its text. `file_name` only stands in messages.
///
/// # Errors
/// Every problem of the text at once.
pub fn parse(
    text: &str,
    file_name: &str,
    environment: Environment<'_>,
) -> Result<Loaded, Problems> {
    let mut findings = Findings::default();
    let Some(mut tree) = yaml::parse(text, &mut findings) else {
        return Err(Problems(findings.locate(file_name, None).0));
    };
    environment::interpolate(&mut tree, &KeyPath::default(), environment, &mut findings);
    check::check(&mut tree, &json_schema(), &mut findings);
    let config = resolve::resolve(&tree, &mut findings);
    certificates_of_the_environment(environment, &mut findings);
    let (errors, warnings) = findings.locate(file_name, Some(&tree));
    if errors.is_empty() {
        Ok(Loaded { config, warnings })
    } else {
        Err(Problems(errors))
    }
}

/// Judges the files that replace the platform's certificates: every TLS client of the process reads
/// them at start.
fn certificates_of_the_environment(environment: Environment<'_>, findings: &mut Findings) {
    let root = KeyPath::default();
    if let Some(file) = environment("SSL_CERT_FILE")
        && let Err(why) = files::read_certificates(Path::new(&file))
    {
        let message = format!(
            "the variable SSL_CERT_FILE names `{}`, which {why}; unset it, or name a file of certificates (PEM)",
            file.escape_debug()
        );
        findings.error(&root, message);
    }
    if let Some(dir) = environment("SSL_CERT_DIR")
        && let Err(error) = std::fs::read_dir(&dir)
    {
        let message = format!(
            "the variable SSL_CERT_DIR names `{}`, which cannot be read: {error}; unset it, or name a directory",
            dir.escape_debug()
        );
        findings.error(&root, message);
    }
}

/// The JSON Schema of a configuration file (draft 2020-12).
#[must_use]
pub fn json_schema() -> serde_json::Value {
    raw::json_schema()
}

/// The same as editors want it: every value may be a `${NAME}`, and each form is explained.
#[must_use]
pub fn editor_schema() -> serde_json::Value {
    editor::schema(json_schema())
}

/// What a text of a `format` in the schema looks like, for people.
#[must_use]
pub fn shape(format: &str) -> Option<&'static str> {
    formats::find(format).map(|format| format.shape)
}

/// Keys, and values of other keys, that are promised but refused so far.
pub fn not_served_yet() -> impl Iterator<Item = (&'static str, Vec<String>)> {
    not_yet::all()
}
