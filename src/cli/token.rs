//! `token`: an access token by hand.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::Value;

use crate::domain::clock::{SharedClock, SystemClock};
use crate::domain::secret::ExposeSecret;
use crate::http_client::HttpClient;
use crate::jose::provider;
use crate::token_source;

/// Whose token.
#[derive(Args)]
pub struct Options {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "M2M_SIDECAR_CONFIG")]
    config: PathBuf,
    /// The credential's name in the configuration
    #[arg(long, value_name = "NAME")]
    credential: String,
    /// Print the token's header and claims instead of the token
    #[arg(long)]
    decode: bool,
}

/// Fetches a token once and prints it.
pub fn token(options: &Options) -> anyhow::Result<()> {
    let config = super::load(&options.config)?;
    let known = || config.credentials.iter().map(|each| each.name.as_str()).collect::<Vec<_>>().join(", ");
    let credential = config.credentials.iter().find(|each| each.name == options.credential);
    let Some(credential) = credential else {
        bail!("there is no credential `{}`; the configuration has: {}", options.credential, known());
    };
    provider::install();
    let client = HttpClient::new(token_source::http_options(None))?;
    let clock: SharedClock = Arc::new(SystemClock);
    let token = super::runtime()?
        .block_on(token_source::fetch_once(credential, &client, &clock))
        .with_context(|| format!("no token for credential `{}`", options.credential))?;
    // The token is this command's result.
    let token = token.secret().expose_secret();
    if options.decode {
        super::print(&decode(token).context("the token is opaque: it has no header and claims to show")?);
    } else {
        super::print(token);
    }
    Ok(())
}

/// Header and claims of a JWT, unverified: it came from the authority itself.
fn decode(token: &str) -> Option<String> {
    let mut parts = token.split('.').map(|part| {
        let json = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&json).ok()
    });
    let (header, claims) = (parts.next()??, parts.next()??);
    serde_json::to_string_pretty(&serde_json::json!({ "header": header, "claims": claims })).ok()
}
