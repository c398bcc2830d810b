//! `healthcheck`: queries the probes of a sidecar on this machine, for an image without a shell.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueHint};
use http::HeaderMap;
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use crate::config::{self, Place};
use crate::http_client::{Egress, HttpClient, HttpOptions};
use crate::jose::provider;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Asks `/readyz` of the probes for at most 3 seconds.

Examples:
  m2m-sidecar healthcheck --wait 10
  HEALTHCHECK CMD [\"/m2m-sidecar\", \"healthcheck\"]";

#[derive(Args)]
pub struct Options {
    /// The configuration file, whose `probes.listen` is asked; without one it is 127.0.0.1:9900
    #[arg(
        long,
        value_name = "FILE",
        env = "M2M_SIDECAR_CONFIG",
        hide_env_values = true,
        value_hint = ValueHint::FilePath
    )]
    config: Option<PathBuf>,
    /// Wait until it is ready, for at most so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Succeeds when `/readyz` reports readiness.
pub fn healthcheck(options: &Options) -> anyhow::Result<()> {
    let place = match &options.config {
        None => Place {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9900)).into(),
            certificate: None,
        },
        Some(file) => {
            let probes = config::probes(file, &config::process_environment)?;
            probes.context("the configuration has no `probes.listen` to ask")?
        }
    };
    provider::install();
    let (wait, as_json) = (Duration::from_secs(options.wait), options.json);
    let second = Duration::from_secs(1);
    let options = HttpOptions {
        connect_timeout: second,
        total_timeout: second * 3,
        ca_pem: None,
        identity_pem: None,
        max_body: 4096,
        egress: Egress::default(),
    };
    let client = super::client_for(&place, options)?;
    let url = Url::parse(&format!("{}/readyz", super::base_url(&place)))?;
    let outcome = super::runtime()?.block_on(async {
        let deadline = Instant::now() + wait;
        loop {
            let outcome = ask(&client, &url).await;
            if outcome.is_ok() || Instant::now() >= deadline {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    if as_json {
        let reason = outcome.as_ref().err().map(|error| format!("{error:#}"));
        super::print_json(&json!({ "ready": outcome.is_ok(), "reason": reason }))?;
    }
    outcome
}

async fn ask(client: &HttpClient, url: &Url) -> anyhow::Result<()> {
    let answer = client.get(url, HeaderMap::new()).await;
    let answer = answer.context("no answer")?;
    if !answer.status.is_success() {
        bail!("{}", String::from_utf8_lossy(&answer.body).trim());
    }
    Ok(())
}
