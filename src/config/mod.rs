//! Configuration: file and environment → a validated [`Config`].
//!
//! The stages: `yaml` (text → tree with positions), `environment` (`${NAME}` in values), `check`
//! (tree against the schema of `raw`), `resolve` (sections → the configurations of the roles). Each
//! stage continues after errors, so that one run reports all of them. Only the files of the
//! configuration are read.

mod address;
mod check;
mod editor;
mod environment;
mod files;
mod formats;
mod header;
mod import_plgd;
mod name;
mod not_yet;
mod places;
mod problem;
mod raw;
mod resolve;
mod token_text;
mod tree;
mod value;
mod ways_out;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use environment::{Environment, process_environment};
pub use import_plgd::import_plgd;
pub use places::{Item, Places};
pub use problem::{Problem, Problems};

pub use crate::domain::settings::Readiness;

use ipnet::IpNet;

use crate::domain::hash::sha256;
use crate::domain::listen::Listen;
use crate::domain::secret::SecretString;
use crate::proxy::connection::MaxConnections;
use crate::proxy::{decisions, inbound, outbound, tls};
use crate::{issuer, store, telemetry, token_source, verifier};
use problem::Findings;
use tree::KeyPath;

/// The most bytes of a file that is a part of the resolved configuration.
const MAX_RESOLVED: u64 = 1024 * 1024;

/// A file whose content is a part of the resolved configuration, so a change of it changes that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedFile {
    pub key: String,
    pub file: PathBuf,
    digest: Option<[u8; 32]>,
}

impl ResolvedFile {
    /// Notes the content of a key's file. To be called before the content is used, so that no later
    /// change is missed. Blocks.
    #[must_use]
    pub fn noted(key: String, file: PathBuf) -> Self {
        let content = crate::files::read(&file, MAX_RESOLVED);
        let digest = content.ok().map(|content| sha256(&content));
        Self { key, file, digest }
    }

    /// The file with its present content. Blocks.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::noted(self.key.clone(), self.file.clone())
    }
}

/// The configuration of one process.
#[derive(Clone, Debug)]
pub struct Config {
    /// The files whose changes make a new generation. Other files are read by their users.
    pub resolved_files: Vec<ResolvedFile>,
    pub log: telemetry::LogConfig,
    /// Worker threads; 0: one per core, at most 4.
    pub threads: usize,
    pub shutdown: Shutdown,
    /// The directory for state outside the store.
    pub state_dir: PathBuf,
    /// The store; opened only for an issuer.
    pub store: store::Config,
    /// Whether a missing store is an error.
    pub store_must_exist: bool,
    pub probes: Option<OwnListener>,
    /// Additional `Host` values for the metrics.
    pub metrics_hosts: Vec<String>,
    pub admin: Option<AdminRole>,
    /// The conditions of readiness. Running listeners are always required.
    pub readiness: Vec<Readiness>,
    pub issuer: Option<IssuerRole>,
    pub authorities: Vec<verifier::AuthorityConfig>,
    pub inbound: Vec<inbound::Config>,
    /// Listeners that decide for a proxy.
    pub decisions: Vec<decisions::Config>,
    pub credentials: Vec<token_source::Config>,
    pub outbound: Vec<outbound::Config>,
    /// The listener of the API that gives tokens to programs on this machine.
    pub local_api: Option<OwnListener>,
    /// The accepted audiences of tokens at its introspection; `None`: it has none.
    pub local_audiences: Option<verifier::Audiences>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnListener {
    pub listen: Listen,
    pub tls: Option<tls::Config>,
    pub max_connections: MaxConnections,
}

/// The place of a listener, for a command that calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub listen: Listen,
    /// The file with its certificate; `None` without TLS.
    pub certificate: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long the sidecar reports itself as not ready while it still serves.
    pub delay: Duration,
    /// How long requests in progress may then take.
    pub grace_period: Duration,
}

/// The management API: its listener and its token.
#[derive(Clone, Debug)]
pub struct AdminRole {
    pub listen: Listen,
    pub tls: Option<tls::Config>,
    pub max_connections: MaxConnections,
    /// The token; `None`: a token is generated in the state directory.
    pub token: Option<SecretString>,
    pub token_file: Option<PathBuf>,
    /// Accepted `Host` values in addition to IP addresses and `localhost`.
    pub hosts: Vec<String>,
}

/// The issuer and its own listener.
#[derive(Clone, Debug)]
pub struct IssuerRole {
    /// Its own listener; `None`: only inbound listeners answer for it.
    pub listen: Option<Listen>,
    /// TLS of its own listener.
    pub tls: Option<tls::Config>,
    /// How long its own listener keeps an idle client connection.
    pub keep_alive: Duration,
    pub max_connections: MaxConnections,
    pub issuer: issuer::Config,
    /// The names of the authorities whose users may call the tokens API.
    pub authorities: Vec<String>,
    /// The maximum size of a request head of its own listener, in bytes.
    pub max_head: usize,
    /// Proxies in front of its own listener.
    pub trusted_proxies: Vec<IpNet>,
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Probable mistakes.
    pub warnings: Vec<Problem>,
}

/// Loads a configuration file.
///
/// # Errors
/// All errors of the file.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Loaded, Problems> {
    parse(&read(path)?, &path.display().to_string(), environment)
}

/// Reads the text of a configuration file, for [`parse`].
///
/// # Errors
/// That it cannot be read.
pub fn read(path: &Path) -> Result<String, Problems> {
    files::read_config(path).map_err(|error| {
        let mut findings = Findings::default();
        findings.error(&KeyPath::default(), format!("the file {error}"));
        Problems(findings.locate(&path.display().to_string(), None).0)
    })
}

/// The place of a configuration's probes. Other sections are ignored: a health check must not
/// fail because a file is edited that the running process has already read.
///
/// # Errors
/// All errors of the section `probes`, and invalid YAML.
pub fn probes(path: &Path, environment: Environment<'_>) -> Result<Option<Place>, Problems> {
    section(path, environment, &["probes"], resolve::probes)
}

/// The store of a configuration. Other sections are ignored: a backup can be restored on a machine
/// without the other files.
///
/// # Errors
/// All errors of the section `store`, and invalid YAML.
pub fn store(path: &Path, environment: Environment<'_>) -> Result<store::Config, Problems> {
    section(path, environment, &["store"], resolve::store)
}

/// The management API of a sidecar, and the location of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    pub place: Place,
    /// The file with its token; `None`: a generated token in the state directory.
    pub token_file: Option<PathBuf>,
    pub state_dir: PathBuf,
}

/// The management API of a configuration. Other sections are ignored, and no other file is read: an
/// operator who manages clients may lack access to the sidecar's files.
///
/// # Errors
/// All errors of the sections `admin` and `stateDir`, and invalid YAML.
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

/// Resolves some sections of a configuration.
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

/// Parses a configuration. `file_name` is used only in messages.
///
/// # Errors
/// All errors of the text.
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
    let config = resolve::resolve(&tree, environment, &mut findings);
    certificates_of_the_environment(environment, &mut findings);
    let (errors, warnings) = findings.locate(file_name, Some(&tree));
    if errors.is_empty() {
        Ok(Loaded { config, warnings })
    } else {
        Err(Problems(errors))
    }
}

/// Checks the files that replace the platform's certificates. Connections read them later, when
/// they first need them.
fn certificates_of_the_environment(environment: Environment<'_>, findings: &mut Findings) {
    let root = KeyPath::default();
    if let Some(file) = environment("SSL_CERT_FILE")
        && let Err(why) = files::read_certificates(Path::new(&file))
    {
        let message = format!(
            "the file `{}` of the variable SSL_CERT_FILE {why}; unset the variable, or name a file \
             of certificates (PEM)",
            file.escape_debug()
        );
        findings.error(&root, message);
    }
    if let Some(dir) = environment("SSL_CERT_DIR")
        && let Err(error) = std::fs::read_dir(&dir)
    {
        let message = format!(
            "the directory `{}` of the variable SSL_CERT_DIR cannot be read: {error}; unset the \
             variable, or name a directory",
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

/// The JSON Schema for editors: every value may be a `${NAME}`, and each form is explained.
#[must_use]
pub fn editor_schema() -> serde_json::Value {
    editor::schema(json_schema())
}

/// The form of a `format` in the schema, for people.
#[must_use]
pub fn shape(format: &str) -> Option<&'static str> {
    formats::find(format).map(|format| format.shape)
}

/// Planned keys and values that are refused so far.
pub fn not_served_yet() -> impl Iterator<Item = (&'static str, Vec<String>)> {
    not_yet::all()
}
