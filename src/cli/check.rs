//! `check`: validates a configuration as `run` does.

use std::path::Path;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{ConfigFile, Ended};
use crate::config::{self, Config, Loaded, Problem, Problems};
use crate::verifier::{AuthorityConfig, KeySource};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Prints every error at once, each with file, line and key. The configured files must be readable,
and the variables in the file must be set. For each authority it prints the source of the keys and
the revocation method, and for each part the egress proxy that its requests use. Hints recommend
keys; they are no errors.

Examples:
  m2m-sidecar check --config sidecar.yaml && systemctl restart m2m-sidecar";

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the result as JSON: every error and warning with file, line, column and key
    #[arg(long)]
    json: bool,
}

/// Loads the configuration and prints that it is valid, or every error in it.
pub fn check(options: &Options) -> anyhow::Result<()> {
    let file = &options.file.config;
    if options.json {
        return check_as_json(file);
    }
    let config = super::load(file)?;
    let (issuer, credentials) = (
        usize::from(config.issuer.is_some()),
        config.credentials.len(),
    );
    let parts = [
        (issuer, "issuer"),
        (config.inbound.len(), "inbound"),
        (config.decisions.len(), "decisions"),
        (config.outbound.len(), "outbound"),
        (credentials, "credentials"),
    ];
    let said: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut text = format!("{}: ok ({})", file.display(), said.join(", "));
    for authority in &config.authorities {
        text.push_str(&format!(
            "\nauthority {}: {}",
            authority.name,
            described(authority)
        ));
    }
    for (part, proxy) in config.ways_out() {
        text.push_str(&format!("\n{part}: through the proxy {proxy}"));
    }
    if let Some(hint) = hint(&config.authorities) {
        text.push_str(&format!("\nhint: {hint}"));
    }
    super::print(&text)
}

/// A recommendation, if a key that protects is missing.
fn hint(authorities: &[AuthorityConfig]) -> Option<String> {
    let is_unlimited = |it: &&AuthorityConfig| {
        it.keys != KeySource::OwnIssuer && it.require_expiry && it.max_token_lifetime.is_none()
    };
    let unlimited = authorities.iter().filter(is_unlimited);
    let names: Vec<_> = unlimited.map(|it| format!("`{}`", it.name)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "tokens of {} may live for any time: set `maxTokenLifetime` of the authority to the \
             longest lifetime that it gives, such as 24h",
            names.join(", ")
        )
    })
}

/// The source of an authority's keys, and its revocation method.
fn described(authority: &AuthorityConfig) -> String {
    let tenants = match authority.tenants.len() {
        0 => String::new(),
        count => format!(", for each of {count} tenants"),
    };
    let keys = match &authority.keys {
        KeySource::OwnIssuer => "of the sidecar's own issuer, in process".to_owned(),
        KeySource::Discovery => format!("by discovery of {}{tenants}", authority.issuer),
        KeySource::Url(url) => format!("from {}{}", url.origin().ascii_serialization(), url.path()),
        KeySource::File(file) => format!("from the file {}", file.display()),
    };
    format!(
        "keys {keys}; revocation: {}",
        authority.revocation.described(&authority.keys)
    )
}

fn check_as_json(file: &Path) -> anyhow::Result<()> {
    let (errors, warnings, config) = match config::load(file, &config::process_environment) {
        Ok(Loaded { warnings, config }) => (Vec::new(), warnings, Some(config)),
        Err(Problems(errors)) => (errors, Vec::new(), None),
    };
    let hints = config.as_ref().and_then(|config| hint(&config.authorities));
    let authorities: Map<String, Value> = config
        .iter()
        .flat_map(|config| &config.authorities)
        .map(|authority| (authority.name.clone(), described(authority).into()))
        .collect();
    let proxies = config.iter().flat_map(Config::ways_out);
    let proxies: Map<String, Value> = proxies.map(|(part, it)| (part, it.into())).collect();
    let shown = |problems: &[Problem]| problems.iter().map(problem).collect::<Vec<_>>();
    let ok = errors.is_empty();
    super::print_json(&json!({
        "ok": ok, "errors": shown(&errors), "warnings": shown(&warnings),
        "authorities": authorities, "egressProxies": proxies, "hints": hints.as_slice(),
    }))?;
    if ok {
        Ok(())
    } else {
        Err(Ended::Refused.into())
    }
}

fn problem(of: &Problem) -> Value {
    json!({
        "file": of.file, "line": of.line, "column": of.column,
        "key": of.key_path, "message": of.message,
    })
}
