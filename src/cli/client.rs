//! `client`: the management API from a shell.

mod api;
mod shown;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueHint};
use http::Method;
use serde_json::{Map, Value, json};

use super::Ended;
use api::{Api, path};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
The sidecar is found in its configuration, or named by `--admin`; its admin token comes from `--token-file`, from the
variable M2M_SIDECAR_ADMIN_TOKEN, or from where the configuration says.

Examples:
  export M2M_SIDECAR_CONFIG=sidecar.yaml
  SECRET=$(m2m-sidecar client create --id meter --scope devices:read --secret-only)
  m2m-sidecar client list
  m2m-sidecar client update meter --scope 'devices:read devices:write'
  SECRET=$(m2m-sidecar client rotate-secret meter --grace 1h --secret-only)
  m2m-sidecar client delete meter --admin http://127.0.0.1:9901 --token-file admin-token";

/// Which sidecar, and what to do there.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

/// Where the management API is, and the token for it.
#[derive(Args)]
pub(super) struct Connection {
    /// The URL of the management API; without it, where the configuration says
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    admin: Option<String>,
    /// A file with the admin token
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// The sidecar's configuration file (YAML)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "M2M_SIDECAR_CONFIG",
        hide_env_values = true,
        value_hint = ValueHint::FilePath
    )]
    config: Option<PathBuf>,
    /// Print the answer of the management API (JSON) as it is
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Register a client and print its secret, this once
    Create(Create),
    /// List the clients
    List,
    /// Show a client
    Show(Whose),
    /// Change what is registered of a client
    Update(Update),
    /// Refuse a client from now on, and end its tokens
    Disable(Whose),
    /// Let a disabled client in again
    Enable(Whose),
    /// Delete a client, and end its tokens
    Delete(Whose),
    /// Give a client a new secret and print it, this once; the old ones live on for a while
    RotateSecret(Rotate),
    /// List a client's secrets, without themselves
    Secrets(Whose),
    /// Delete a secret of a client
    DeleteSecret(DeleteSecret),
    /// End every token that a client was issued so far, or up to a time
    Revoke(Revoke),
}

#[derive(Args)]
struct Whose {
    /// The client's id
    #[arg(value_name = "CLIENT_ID")]
    client_id: String,
}

#[derive(Args)]
struct Revoke {
    #[command(flatten)]
    whose: Whose,
    /// Only the access tokens that were issued up to this time (RFC 3339); refresh tokens end all the same
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
}

#[derive(Args)]
struct Create {
    /// The client's id; a generated one when left out
    #[arg(long, value_name = "CLIENT_ID")]
    id: Option<String>,
    #[command(flatten)]
    metadata: Metadata,
    /// A file with the client's secret, at least 16 bytes; a generated one when left out
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    secret_file: Option<PathBuf>,
    /// Print the secret and nothing else
    #[arg(long, conflicts_with = "json")]
    secret_only: bool,
}

#[derive(Args)]
struct Update {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    metadata: Metadata,
    /// Take a member of the registration away, such as `owner` (repeatable)
    #[arg(long, value_name = "MEMBER")]
    unset: Vec<String>,
}

#[derive(Args)]
struct Rotate {
    #[command(flatten)]
    whose: Whose,
    /// How long the old secrets live on; a day when left out
    #[arg(long, value_name = "DURATION")]
    grace: Option<String>,
    /// How long the new secret lives; for ever when left out
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
    /// A file with the new secret, at least 16 bytes; a generated one when left out
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    secret_file: Option<PathBuf>,
    /// Print the secret and nothing else
    #[arg(long, conflicts_with = "json")]
    secret_only: bool,
}

#[derive(Args)]
struct DeleteSecret {
    #[command(flatten)]
    whose: Whose,
    /// The secret's id, as `client secrets` shows it
    #[arg(value_name = "SECRET_ID")]
    secret_id: String,
    /// Also when no other secret of the client lives
    #[arg(long)]
    force: bool,
}

/// What is registered of a client.
#[derive(Args)]
struct Metadata {
    /// What people call the client
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// The scopes it may ask for, with spaces between them
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// An audience it may ask for (repeatable)
    #[arg(long, value_name = "AUDIENCE")]
    audience: Vec<String>,
    /// The `typ` header of its tokens for these audiences: at+jwt or JWT
    #[arg(long, value_name = "TYPE", requires = "audience")]
    token_type: Option<String>,
    /// The algorithm that signs its tokens for these audiences, such as RS256
    #[arg(long, value_name = "ALGORITHM", requires = "audience")]
    algorithm: Option<String>,
    /// A claim that carries the scopes of its tokens for these audiences: scope or scp (repeatable)
    #[arg(long, value_name = "CLAIM", requires = "audience")]
    scope_claim: Vec<String>,
    /// How long its tokens for these audiences live at most
    #[arg(long, value_name = "DURATION", requires = "audience")]
    audience_lifetime: Option<String>,
    /// A grant it may use (repeatable)
    #[arg(long, value_name = "GRANT")]
    grant_type: Vec<String>,
    /// The owner claim's value in its tokens
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// How long its access tokens live
    #[arg(long, value_name = "DURATION")]
    lifetime: Option<String>,
    /// From this time on it is refused, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expiry: Option<String>,
    /// A further claim of its tokens: a JSON value or a text (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    claim: Vec<String>,
    /// A file with its public keys (JWKS): it then has no secret
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "jwks_uri")]
    jwks_file: Option<PathBuf>,
    /// Where its public keys are: it then has no secret
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    jwks_uri: Option<String>,
}

impl Metadata {
    fn members(&self) -> anyhow::Result<Map<String, Value>> {
        let mut members = Map::new();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        let texts = [
            ("client_name", &self.name),
            ("scope", &self.scope),
            ("owner", &self.owner),
            ("access_token_lifetime", &self.lifetime),
            ("expiry", &self.expiry),
            ("jwks_uri", &self.jwks_uri),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                set(name, text.as_str().into());
            }
        }
        for (name, list) in [("audience", &self.audience), ("grant_types", &self.grant_type)] {
            if !list.is_empty() {
                set(name, list.clone().into());
            }
        }
        if let Some(settings) = self.audience_settings() {
            let of_each = self.audience.iter().map(|audience| (audience.clone(), settings.clone().into()));
            set("audience_settings", Value::Object(of_each.collect()));
        }
        if !self.claim.is_empty() {
            set("claims", Value::Object(self.claims()?));
        }
        if let Some(file) = &self.jwks_file {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let keys =
                serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
            set("jwks", keys);
        }
        Ok(members)
    }

    /// What the verifiers of the audiences need; `None` when no option says it.
    fn audience_settings(&self) -> Option<Map<String, Value>> {
        let mut settings = Map::new();
        let texts = [
            ("token_type", &self.token_type),
            ("algorithm", &self.algorithm),
            ("access_token_lifetime", &self.audience_lifetime),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                settings.insert(name.to_owned(), text.as_str().into());
            }
        }
        if !self.scope_claim.is_empty() {
            settings.insert("scope_claims".to_owned(), self.scope_claim.clone().into());
        }
        (!settings.is_empty()).then_some(settings)
    }

    fn claims(&self) -> anyhow::Result<Map<String, Value>> {
        let claims = self.claim.iter().map(|claim| {
            let usage = || Ended::Usage(format!("`--claim {claim}`: it must be NAME=VALUE"));
            let (name, value) = claim.split_once('=').ok_or_else(usage)?;
            Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
        });
        claims.collect()
    }
}

/// Does what is asked for.
pub fn client(options: &Options) -> anyhow::Result<()> {
    let api = Api::open(&options.connection)?;
    let as_json = options.connection.json;
    super::runtime()?.block_on(async {
        match &options.action {
            Action::Create(create) => create_client(&api, create, as_json).await,
            Action::List => list(&api, as_json).await,
            Action::Show(whose) => {
                let client = api.call(Method::GET, &path(&["clients", &whose.client_id]), None).await?;
                print(&client, as_json)
            }
            Action::Update(update) => {
                let mut patch = update.metadata.members()?;
                if let Some(both) = update.unset.iter().find(|member| patch.contains_key(*member)) {
                    bail!(Ended::Usage(format!("`{both}` is both set and taken away")));
                }
                patch.extend(update.unset.iter().map(|member| (member.clone(), Value::Null)));
                if patch.is_empty() {
                    bail!(Ended::Usage("there is nothing to change: no option names a member".to_owned()));
                }
                change(&api, &update.whose, patch, as_json).await
            }
            Action::Disable(whose) => change(&api, whose, disabled(true), as_json).await,
            Action::Enable(whose) => change(&api, whose, disabled(false), as_json).await,
            Action::Delete(whose) => {
                api.call(Method::DELETE, &path(&["clients", &whose.client_id]), None).await.map(drop)
            }
            Action::RotateSecret(rotate) => rotate_secret(&api, rotate, as_json).await,
            Action::Secrets(whose) => {
                let secrets = path(&["clients", &whose.client_id, "secrets"]);
                let secrets = api.call(Method::GET, &secrets, None).await?;
                if as_json { print(&secrets, true) } else { super::print(&shown::secrets(&secrets)) }
            }
            Action::DeleteSecret(delete) => {
                let target = path(&["clients", &delete.whose.client_id, "secrets", &delete.secret_id]);
                let target = if delete.force { format!("{target}?force=true") } else { target };
                api.call(Method::DELETE, &target, None).await.map(drop)
            }
            Action::Revoke(Revoke { whose, before }) => {
                let target = path(&["clients", &whose.client_id, "revoke"]);
                let body: Map<_, _> =
                    before.iter().map(|time| ("before".to_owned(), time.as_str().into())).collect();
                let revoked = api.call(Method::POST, &target, Some(&Value::Object(body))).await?;
                print(&revoked, as_json)
            }
        }
    })
}

fn disabled(disabled: bool) -> Map<String, Value> {
    Map::from_iter([("disabled".to_owned(), disabled.into())])
}

async fn create_client(api: &Api, create: &Create, as_json: bool) -> anyhow::Result<()> {
    let mut body = create.metadata.members()?;
    if let Some(id) = &create.id {
        body.insert("client_id".to_owned(), id.as_str().into());
    }
    if let Some(file) = &create.secret_file {
        body.insert("client_secret".to_owned(), secret(file)?);
    }
    let client = api.call(Method::POST, "/clients", Some(&Value::Object(body))).await?;
    if create.secret_only { print_secret(&client) } else { print(&client, as_json) }
}

async fn change(api: &Api, whose: &Whose, patch: Map<String, Value>, as_json: bool) -> anyhow::Result<()> {
    let target = path(&["clients", &whose.client_id]);
    let client = api.call(Method::PATCH, &target, Some(&Value::Object(patch))).await?;
    print(&client, as_json)
}

async fn rotate_secret(api: &Api, rotate: &Rotate, as_json: bool) -> anyhow::Result<()> {
    let mut body = Map::new();
    for (name, value) in [("grace", &rotate.grace), ("expires_in", &rotate.expires_in)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.as_str().into());
        }
    }
    if let Some(file) = &rotate.secret_file {
        body.insert("client_secret".to_owned(), secret(file)?);
    }
    let target = path(&["clients", &rotate.whose.client_id, "secrets"]);
    let secret = api.call(Method::POST, &target, Some(&Value::Object(body))).await?;
    if rotate.secret_only { print_secret(&secret) } else { print(&secret, as_json) }
}

/// Every page, as one.
async fn list(api: &Api, as_json: bool) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    let mut target = "/clients?limit=200".to_owned();
    loop {
        let mut page = api.call(Method::GET, &target, None).await?;
        if let Some(Value::Array(more)) = page.get_mut("clients").map(Value::take) {
            clients.extend(more);
        }
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(cursor) => target = format!("/clients?limit=200&cursor={cursor}"),
            None => break,
        }
    }
    let clients = json!({ "clients": clients });
    if as_json { print(&clients, true) } else { super::print(&shown::clients(&clients)) }
}

/// The text of a file without one newline at its end.
fn secret(file: &PathBuf) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).into())
}

fn print(answer: &Value, as_json: bool) -> anyhow::Result<()> {
    super::print(&if as_json { serde_json::to_string_pretty(answer)? } else { shown::members(answer) })
}

fn print_secret(answer: &Value) -> anyhow::Result<()> {
    let secret = answer.get("client_secret").and_then(Value::as_str);
    super::print(secret.context("the client was made, but has keys and no secret")?)
}
