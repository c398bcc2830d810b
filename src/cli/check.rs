//! `check`: a configuration, validated as `run` would.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::{ConfigFile, Ended};
use crate::config::{self, Loaded, Problem, Problems};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Every error is printed at once, each with file, line and key. The files that the configuration names are read,
and the variables that it uses must be set.

Examples:
  m2m-sidecar check --config sidecar.yaml && systemctl restart m2m-sidecar";

/// Which configuration.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the result as JSON: every error and warning with file, line, column and key
    #[arg(long)]
    json: bool,
}

/// Loads the configuration and says that it is good, or every error in it.
pub fn check(options: &Options) -> anyhow::Result<()> {
    let file = &options.file.config;
    if options.json {
        return check_as_json(file);
    }
    let config = super::load(file)?;
    let (issuer, credentials) = (usize::from(config.issuer.is_some()), config.credentials.len());
    let parts = [
        (issuer, "issuer"),
        (config.inbound.len(), "inbound"),
        (config.outbound.len(), "outbound"),
        (credentials, "credentials"),
    ];
    let said: Vec<_> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    super::print(&format!("{}: ok ({})", file.display(), said.join(", ")))
}

fn check_as_json(file: &Path) -> anyhow::Result<()> {
    let (errors, warnings) = match config::load(file, &config::process_environment) {
        Ok(Loaded { warnings, .. }) => (Vec::new(), warnings),
        Err(Problems(errors)) => (errors, Vec::new()),
    };
    let shown = |problems: &[Problem]| problems.iter().map(problem).collect::<Vec<_>>();
    let ok = errors.is_empty();
    super::print_json(&json!({ "ok": ok, "errors": shown(&errors), "warnings": shown(&warnings) }))?;
    if ok { Ok(()) } else { Err(Ended::Refused.into()) }
}

fn problem(of: &Problem) -> Value {
    json!({ "file": of.file, "line": of.line, "column": of.column, "key": of.key_path, "message": of.message })
}
