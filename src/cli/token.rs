//! `token`: fetches an access token, and lists or revokes the tokens that an issuer keeps.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand, ValueHint};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::Ended;
use super::client::{Connection, Management, done, shown};
use crate::domain::clock::{SharedClock, SystemClock};
use crate::domain::oauth::MAX_TOKEN_SIZE;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::jose::provider;
use crate::token_source::{self, CredentialGrant};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Without a subcommand a new token is fetched and only the token is printed; this requires --config
and --credential. The subcommands contact a running sidecar's issuer, which is located as by
`client`.

Examples:
  TOKEN=$(m2m-sidecar token --config sidecar.yaml --credential hub)
  curl -H \"Authorization: Bearer $TOKEN\" https://hub.example/api/v1/devices
  m2m-sidecar token --config sidecar.yaml --credential hub --decode
  m2m-sidecar token list --client meter
  m2m-sidecar token revoke 5f0c2a0e-8b1c-4a53-9d61-3c1d8f0f2f3a";

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    connection: Connection,
    /// The credential's name: its key below `credentials` in the configuration
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// Print the token's header and claims (JSON, not verified) instead of the token
    #[arg(long)]
    decode: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// List the access tokens that the issuer keeps: named ones and long-lived ones
    List(List),
    /// Revoke an access token that the issuer keeps
    Revoke(Revoke),
}

#[derive(Args)]
struct List {
    /// Only those of this client
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<String>,
    /// Only those of this owner
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Also those that are revoked or have expired
    #[arg(long)]
    all: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Revoke {
    /// The token's `jti`, as `token list` shows it
    #[arg(value_name = "JTI")]
    jti: Option<String>,
    /// A file with the token itself; `-` for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
}

/// Fetches a token once and prints it, or runs the subcommand.
pub fn token(options: &Options) -> anyhow::Result<()> {
    let Some(action) = &options.action else {
        return fetch(options);
    };
    if options.credential.is_some() || options.decode {
        bail!(Ended::Usage(
            "`--credential` and `--decode` acquire a token: no command goes with them".to_owned()
        ));
    }
    let api = Management::open(&options.connection)?;
    let as_json = options.connection.json;
    super::runtime()?.block_on(async {
        match action {
            Action::List(wanted) => list(&api, wanted, as_json).await,
            Action::Revoke(which) => {
                let jti = match (&which.jti, &which.file) {
                    (Some(jti), _) => jti.clone(),
                    (None, Some(file)) => jti_of(file)?,
                    (None, None) => {
                        bail!(Ended::Usage("say which token: JTI or `--file`".to_owned()))
                    }
                };
                let revoked = api
                    .call(
                        Method::DELETE,
                        &format!("/tokens/{}", utf8_percent_encode(&jti, NON_ALPHANUMERIC)),
                        None,
                    )
                    .await;
                revoked.with_context(|| {
                    format!("the token `{}` was not revoked", jti.escape_debug())
                })?;
                done(as_json, &json!({ "jti": jti, "revoked": true }))
            }
        }
    })
}

async fn list(api: &Management, wanted: &List, as_json: bool) -> anyhow::Result<()> {
    let mut target = "/tokens?limit=200".to_owned();
    for (name, value) in [("client_id", &wanted.client), ("owner", &wanted.owner)] {
        if let Some(value) = value {
            target.push_str(&format!(
                "&{name}={}",
                utf8_percent_encode(value, NON_ALPHANUMERIC)
            ));
        }
    }
    if !wanted.all {
        target.push_str("&active=true");
    }
    let tokens = json!({ "tokens": api.all(&target, "tokens").await? });
    if as_json {
        return super::print_json(&tokens);
    }
    let columns = [
        "jti",
        "client_id",
        "owner",
        "name",
        "scope",
        "issued_at",
        "expires_at",
        "revoked_at",
    ];
    super::print(&shown::list(&tokens, "tokens", &columns))
}

/// The `jti` of the token in a file.
fn jti_of(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let most = 2 * MAX_TOKEN_SIZE as u64;
    let read = if file == Path::new("-") {
        std::io::stdin().take(most).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    let text = SecretString::from(text);
    read.with_context(|| format!("the token file {} cannot be read", file.display()))?;
    let claims = parts(text.expose_secret().trim())
        .map(|(_, claims)| claims)
        .unwrap_or_default();
    let jti = claims.get("jti").and_then(Value::as_str);
    jti.map(str::to_owned)
        .with_context(|| format!("{} contains no JWT with a `jti`", file.display()))
}

/// Whether a token of the credential can be printed.
fn check_usable(credential: &token_source::Config, is_decoded: bool) -> anyhow::Result<()> {
    let name = &credential.name;
    if credential.grant == CredentialGrant::TokenExchange {
        bail!(
            "the tokens of credential `{name}` are exchanged for those of callers \
             (`grant: tokenExchange`): send a request with a caller's token to the outbound \
             listener"
        );
    }
    if credential.dpop.is_some() && !is_decoded {
        bail!(
            "the tokens of credential `{name}` are bound by `dpop` to a key that stays in the \
             sidecar: without a proof nothing accepts them. `--decode` shows their claims"
        );
    }
    Ok(())
}

fn fetch(options: &Options) -> anyhow::Result<()> {
    let usage = |missing: &str| {
        Ended::Usage(format!(
            "{missing} is missing: a token needs --config and --credential"
        ))
    };
    let file = options
        .connection
        .config()
        .ok_or_else(|| usage("--config"))?;
    let name = options
        .credential
        .as_deref()
        .ok_or_else(|| usage("--credential"))?;
    let config = super::load(file)?;
    let known = || {
        config
            .credentials
            .iter()
            .map(|each| each.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let credential = config.credentials.iter().find(|each| each.name == name);
    let Some(credential) = credential else {
        bail!(
            "there is no credential `{name}`; the configuration has: {}",
            known()
        );
    };
    check_usable(credential, options.decode)?;
    provider::install();
    let clock: SharedClock = Arc::new(SystemClock);
    let token = super::runtime()?
        .block_on(token_source::fetch_once(credential, &clock))
        .with_context(|| format!("no token for credential `{name}`"))?;
    let expires_at = token.expires_at().to_rfc3339();
    // The token is this command's result.
    let token = token.secret().expose_secret();
    if options.decode {
        super::print(
            &decode(token).context("the token is opaque: it has no header and claims to show")?,
        )
    } else if options.connection.json {
        super::print_json(
            &json!({ "access_token": token, "token_type": "Bearer", "expires_at": expires_at }),
        )
    } else {
        super::print(token)
    }
}

/// Header and claims of a JWT, unverified: it came from the authority itself.
fn decode(token: &str) -> Option<String> {
    let (header, claims) = parts(token)?;
    serde_json::to_string_pretty(&serde_json::json!({ "header": header, "claims": claims })).ok()
}

/// Header and claims of a JWT, unverified.
pub(super) fn parts(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.').map(|part| {
        let json = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&json).ok()
    });
    Some((parts.next()??, parts.next()??))
}
