//! `store`: backs up, restores and verifies the issuer's store.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};
use serde_json::json;

use super::ConfigFile;
use crate::config;
use crate::store::backup::{self, Contents};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Only `store.url` is read from the configuration. A backup is one file with clients, hashes of their
secrets, signing keys, tokens and revocations. The keys are encrypted if `store.encryptionKeyFile`
is set; store that key elsewhere. Otherwise anyone with read access to the backup can sign tokens.

Examples:
  m2m-sidecar store backup /backup/m2m-$(date +%F).db --config sidecar.yaml
  m2m-sidecar store verify /backup/m2m-2027-01-01.db
  systemctl stop m2m-sidecar && m2m-sidecar store restore /backup/m2m-2027-01-01.db --config \
  sidecar.yaml";

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Copy the store into a new file; sidecars may be using it
    Backup(Backup),
    /// Put a copy in the place of the store; refused while a sidecar uses it
    Restore(Restore),
    /// Read a copy: whether it is whole and sound, and what is in it
    Verify(Verify),
}

#[derive(Args)]
struct Backup {
    /// The file to write, readable for this user only
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
    /// Replace the file when it exists
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
struct Restore {
    /// A file that `store backup` has written
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Args)]
struct Verify {
    /// A file that `store backup` has written
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

pub fn store(options: &Options) -> anyhow::Result<()> {
    let store = |file: &ConfigFile| config::store(&file.config, &config::process_environment);
    super::runtime()?.block_on(async {
        let (done, file, contents) = match &options.action {
            Action::Backup(Backup {
                file,
                config,
                force,
            }) => (
                "backed up",
                file,
                backup::backup(&store(config)?, file, *force).await?,
            ),
            Action::Restore(Restore { file, config }) => (
                "restored",
                file,
                backup::restore(&store(config)?, file).await?,
            ),
            Action::Verify(Verify { file }) => ("sound", file, backup::verify(file).await?),
        };
        if options.json {
            print_json(done, file, contents)
        } else {
            super::print(&shown(done, file, contents))
        }
    })
}

fn shown(done: &str, file: &Path, of: Contents) -> String {
    let counts = [
        (of.clients, "client"),
        (of.signing_keys, "signing key"),
        (of.tokens, "kept token"),
        (of.revocations, "revocation"),
    ];
    let counts =
        counts.map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }));
    format!(
        "{}: {done} ({}; {} KiB)",
        file.display(),
        counts.join(", "),
        of.bytes.div_ceil(1024)
    )
}

fn print_json(done: &str, file: &Path, of: Contents) -> anyhow::Result<()> {
    super::print_json(&json!({
        "file": file.display().to_string(),
        "result": done,
        "clients": of.clients,
        "signing_keys": of.signing_keys,
        "tokens": of.tokens,
        "revocations": of.revocations,
        "bytes": of.bytes,
    }))
}
