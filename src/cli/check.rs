//! `check`: a configuration, validated as `run` would.

use std::path::Path;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Every error is printed at once, each with file, line and key. The files that the configuration names are read,
and the variables that it uses must be set.

Examples:
  m2m-sidecar check --config sidecar.yaml && systemctl restart m2m-sidecar";

/// Loads the configuration and says that it is good, or every error in it.
pub fn check(file: &Path) -> anyhow::Result<()> {
    let config = super::load(file)?;
    let listeners = config.inbound.len() + config.outbound.len();
    let issuer = if config.issuer.is_some() { "an issuer and " } else { "" };
    super::print(&format!("{}: ok ({issuer}{listeners} proxy listener(s))", file.display()))?;
    Ok(())
}
