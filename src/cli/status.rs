//! `status`: shows the state of a running sidecar's parts.

use clap::Args;
use http::Method;

use super::client::{Connection, Management, shown};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
The sidecar is found as `client` finds it. Nothing secret is shown.

Examples:
  m2m-sidecar status --config sidecar.yaml
  m2m-sidecar status --json | jq '.credentials[] | select(.has_token | not)'";

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    connection: Connection,
}

/// Prints the content of `/status`.
pub fn status(options: &Options) -> anyhow::Result<()> {
    let api = Management::open(&options.connection)?;
    let status = super::runtime()?.block_on(api.call(Method::GET, "/status", None))?;
    if options.connection.json {
        return super::print_json(&status);
    }
    let lists = [
        ("listeners", &["name", "address"][..]),
        (
            "authorities",
            &[
                "name",
                "has_keys",
                "keys_age_seconds",
                "clock_skew_seconds",
                "last_error",
            ][..],
        ),
        (
            "credentials",
            &[
                "name",
                "has_token",
                "expires_at",
                "last_refresh",
                "fetches",
                "failures",
                "last_error_at",
                "last_error",
            ][..],
        ),
    ];
    let parts = lists.into_iter().filter(|(name, _)| {
        status[*name]
            .as_array()
            .is_some_and(|list| !list.is_empty())
    });
    let parts =
        parts.map(|(name, columns)| format!("{name}\n{}", shown::list(&status, name, columns)));
    let version = status["version"]
        .as_str()
        .map(|version| format!("m2m-sidecar {version}"));
    let all: Vec<_> = version.into_iter().chain(parts).collect();
    super::print(&all.join("\n\n"))
}
