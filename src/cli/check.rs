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
