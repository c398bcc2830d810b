//! `import-plgd`: converts a configuration of plgd's m2m-oauth-server.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::json;

use crate::config;
use crate::jose::provider;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
FILE is the configuration of the m2m-oauth-server of a plgd hub (2.x), the output of `helm
template` or `kubectl get configmap -o yaml` that contains it, or values of the Helm chart
(`global.m2mOAuthServer`, `m2moauthserver`). `-` is standard input. The converted configuration
goes to standard output. Everything that cannot be converted goes to standard error, one line each:
file, line, key, meaning and remedy. Configured files are read where possible, and never changed.

Examples:
  m2m-sidecar import-plgd m2m-oauth-server.yaml > sidecar.yaml && m2m-sidecar check --config \
  sidecar.yaml
  kubectl get configmap NAME -o yaml | m2m-sidecar import-plgd -
  helm template plgd-hub -f values.yaml | m2m-sidecar import-plgd -";

#[derive(Args)]
pub struct Options {
    /// The configuration of an m2m-oauth-server (YAML); `-` for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Print our configuration and what it lacks as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the converted configuration and the missing parts. Lists every reason when nothing can be
/// converted.
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
