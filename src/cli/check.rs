//! `check`: a configuration, validated as `run` would.

use std::path::Path;

/// Loads the configuration and says that it is good, or every error in it.
pub fn check(file: &Path) -> anyhow::Result<()> {
    let config = super::load(file)?;
    let listeners = config.inbound.len() + config.outbound.len();
    let issuer = if config.issuer.is_some() { "an issuer and " } else { "" };
    super::print(&format!("{}: ok ({issuer}{listeners} proxy listener(s))", file.display()));
    Ok(())
}
