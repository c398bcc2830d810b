//! `import-plgd`: a configuration of plgd's m2m-oauth-server as one of ours.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::json;

use crate::config;
use crate::jose::provider;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
FILE is the configuration that the m2m-oauth-server of a plgd hub (2.x) is started with; or what `helm template` or
`kubectl get configmap -o yaml` print, in which it is found; or values of the Helm chart (`global.m2mOAuthServer`, `m2moauthserver`).
`-` is standard input. Ours goes to standard output. What
could not be carried over goes to standard error, one line each: file, line, key, what it means and what to do. Files
that the configuration names are looked at where they can be read, and never changed.

Examples:
  m2m-sidecar import-plgd m2m-oauth-server.yaml > sidecar.yaml && m2m-sidecar check --config sidecar.yaml
  kubectl get configmap NAME -o yaml | m2m-sidecar import-plgd -
  helm template plgd-hub -f values.yaml | m2m-sidecar import-plgd -";

/// What is imported.
#[derive(Args)]
pub struct Options {
    /// The configuration of an m2m-oauth-server (YAML); `-` for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Print our configuration and what it lacks as JSON
    #[arg(long)]
    json: bool,
}

/// Prints our configuration, and what it lacks; a file that yields none is refused with every
/// reason.
pub fn import_plgd(options: &Options) -> anyhow::Result<()> {
    provider::install();
    let imported = config::import_plgd(&options.file);
    if options.json {
        let yaml = imported.yaml?;
        let lost = imported
            .lost
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        return super::print_json(&json!({ "yaml": yaml, "lost": lost }));
    }
    for lost in &imported.lost {
        let _ = writeln!(std::io::stderr(), "warning: {lost}");
    }
    super::print(imported.yaml?.trim_end())
}
