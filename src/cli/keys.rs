//! `keys`: the signing keys of a running sidecar's issuer.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::client::{Connection, Management, shown};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
The sidecar is located as by `client`.

Examples:
  m2m-sidecar keys list --config sidecar.yaml
  m2m-sidecar keys rotate
  m2m-sidecar keys rotate --now --withdraw";

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the signing keys: the one that signs first
    List,
    /// Publish a new key, which signs when verifiers know it
    Rotate(Rotate),
}

#[derive(Args)]
struct Rotate {
    /// Sign with the new key at once: verifiers that keep the key set refuse its tokens until they
    /// fetch it again
    #[arg(long)]
    now: bool,
    /// Take every earlier key back at once: nothing that was signed before is good any more
    #[arg(long)]
    withdraw: bool,
}

pub fn keys(options: &Options) -> anyhow::Result<()> {
    let api = Management::open(&options.connection)?;
    super::runtime()?.block_on(async {
        let keys = match &options.action {
            Action::List => api.call(Method::GET, "/keys", None).await?,
            Action::Rotate(Rotate { now, withdraw }) => {
                let body = json!({ "now": now, "withdraw": withdraw });
                api.call(Method::POST, "/keys/rotate", Some(&body)).await?
            }
        };
        if options.connection.json {
            return super::print_json(&keys);
        }
        let columns = [
            "kid",
            "algorithm",
            "state",
            "signs_from",
            "retired_at",
            "published_until",
        ];
        super::print(&shown::list(&keys, "keys", &columns))
    })
}
