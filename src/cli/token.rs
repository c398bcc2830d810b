//! `token`: an access token by hand.

use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::Value;

use super::ConfigFile;
use crate::domain::clock::{SharedClock, SystemClock};
use crate::domain::secret::ExposeSecret;
use crate::jose::provider;
use crate::token_source;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
The token is fetched anew each time, and only the token is printed.

Examples:
  TOKEN=$(m2m-sidecar token --config sidecar.yaml --credential hub)
  curl -H \"Authorization: Bearer $TOKEN\" https://hub.example/api/v1/devices
  m2m-sidecar token --config sidecar.yaml --credential hub --decode";

/// Whose token.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// The credential's name: its key below `credentials` in the configuration
    #[arg(long, value_name = "NAME")]
    credential: String,
    /// Print the token's header and claims (JSON, not verified) instead of the token
    #[arg(long)]
    decode: bool,
}

/// Fetches a token once and prints it.
pub fn token(options: &Options) -> anyhow::Result<()> {
    let config = super::load(&options.file.config)?;
    let known = || config.credentials.iter().map(|each| each.name.as_str()).collect::<Vec<_>>().join(", ");
    let credential = config.credentials.iter().find(|each| each.name == options.credential);
    let Some(credential) = credential else {
        bail!("there is no credential `{}`; the configuration has: {}", options.credential, known());
    };
    provider::install();
    let clock: SharedClock = Arc::new(SystemClock);
    let token = super::runtime()?
        .block_on(token_source::fetch_once(credential, &clock))
        .with_context(|| format!("no token for credential `{}`", options.credential))?;
    // The token is this command's result.
    let token = token.secret().expose_secret();
    if options.decode {
        super::print(&decode(token).context("the token is opaque: it has no header and claims to show")?)?;
    } else {
        super::print(token)?;
    }
    Ok(())
}

/// Header and claims of a JWT, unverified: it came from the authority itself.
fn decode(token: &str) -> Option<String> {
    let (header, claims) = parts(token)?;
    serde_json::to_string_pretty(&serde_json::json!({ "header": header, "claims": claims })).ok()
}

/// Header and claims of a JWT, whoever made it.
pub(super) fn parts(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.').map(|part| {
        let json = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&json).ok()
    });
    Some((parts.next()??, parts.next()??))
}
