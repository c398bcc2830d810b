//! `client`: the management API from a shell.

mod api;
pub(super) mod shown;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueHint};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::Ended;
use crate::domain::secret::ExposeSecret;
use api::{Api, path};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
The sidecar is found in its configuration, or named by `--admin`; its admin token comes from `--token-file`, from the
variable M2M_SIDECAR_ADMIN_TOKEN, or from where the configuration says.

Examples:
  export M2M_SIDECAR_CONFIG=sidecar.yaml
  SECRET=$(m2m-sidecar client create --id meter --scope devices:read --secret-only)
  m2m-sidecar client list
  m2m-sidecar client update meter --scope devices:read,devices:write
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
    pub(super) json: bool,
}

/// The management API of the sidecar that a connection names.
pub(super) struct Management(Api);

impl Management {
    /// Finds out where it is, and its token. Nothing is sent yet.
    pub(super) fn open(connection: &Connection) -> anyhow::Result<Self> {
        Api::open(connection).map(Self)
    }

    /// Sends a request; `target` is path and query. An answer without body is null.
    pub(super) async fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        self.0.call(method, target, body).await
    }

    /// Every item of a list, page by page; `target` has a query, and `name` is the list's member.
    pub(super) async fn all(&self, target: &str, name: &str) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut next) = (Vec::new(), target.to_owned());
        loop {
            let mut page = self.call(Method::GET, &next, None).await?;
            if let Some(Value::Array(more)) = page.get_mut(name).map(Value::take) {
                items.extend(more);
            }
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(cursor) => next = format!("{target}&cursor={cursor}"),
                None => return Ok(items),
            }
        }
    }
}

/// What stands below a client, whatever its id holds: ids such as `..` are no path segments.
fn of_client(below: &str, client_id: &str) -> String {
    format!(
        "/client{below}?client_id={}",
        utf8_percent_encode(client_id, NON_ALPHANUMERIC)
    )
}

impl Connection {
    /// The configuration that was named.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }
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
    /// Only the access tokens that were issued up to this time (RFC 3339); refresh tokens end all
    /// the same
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
    /// The scopes it may ask for, with commas or spaces between them (repeatable)
    #[arg(long, value_name = "SCOPES")]
    scope: Vec<String>,
    /// An audience it may ask for (repeatable, or with commas between them)
    #[arg(long, value_name = "AUDIENCE", value_delimiter = ',')]
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
    /// A grant it may use (repeatable, or with commas between them)
    #[arg(long, value_name = "GRANT", value_delimiter = ',')]
    grant_type: Vec<String>,
    /// The owner claim's value in its tokens
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// How long its access tokens live: seconds, or a duration such as 15m
    #[arg(long, value_name = "DURATION")]
    lifetime: Option<String>,
    /// Whether it may introspect every token of this issuer, not only its own and those made for it
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_introspection: Option<bool>,
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
        if !self.scope.is_empty() {
            set("scope", scopes(&self.scope).into());
        }
        if let Some(allowed) = self.allow_introspection {
            set("allow_introspection", allowed.into());
        }
        for (name, list) in [
            ("audience", &self.audience),
            ("grant_types", &self.grant_type),
        ] {
            if !list.is_empty() {
                set(name, list.clone().into());
            }
        }
        if let Some(settings) = self.audience_settings() {
            let of_each = self
                .audience
                .iter()
                .map(|audience| (audience.clone(), settings.clone().into()));
            set("audience_settings", Value::Object(of_each.collect()));
        }
        if !self.claim.is_empty() {
            set("claims", Value::Object(self.claims()?));
        }
        if let Some(file) = &self.jwks_file {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let keys = serde_json::from_str(&text)
                .with_context(|| format!("{} is not JSON", file.display()))?;
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
            Ok((
                name.to_owned(),
                serde_json::from_str(value).unwrap_or_else(|_| value.into()),
            ))
        });
        claims.collect()
    }
}

/// A comma may stand in a scope (RFC 6749 §3.3), but on a command line it stands between two.
fn scopes(options: &[String]) -> String {
    let scopes = options
        .iter()
        .flat_map(|option| option.split([',', ' ']))
        .filter(|scope| !scope.is_empty());
    scopes.collect::<Vec<_>>().join(" ")
}

/// Does what is asked for.
pub fn client(options: &Options) -> anyhow::Result<()> {
    let api = Management::open(&options.connection)?;
    let as_json = options.connection.json;
    super::runtime()?.block_on(async {
        match &options.action {
            Action::Create(create) => create_client(&api, create, as_json).await,
            Action::List => list(&api, as_json).await,
            Action::Show(whose) => {
                let client = api
                    .call(Method::GET, &of_client("", &whose.client_id), None)
                    .await?;
                print(&client, as_json)
            }
            Action::Update(update) => {
                let mut patch = update.metadata.members()?;
                if let Some(both) = update
                    .unset
                    .iter()
                    .find(|member| patch.contains_key(*member))
                {
                    bail!(Ended::Usage(format!("`{both}` is both set and taken away")));
                }
                patch.extend(
                    update
                        .unset
                        .iter()
                        .map(|member| (member.clone(), Value::Null)),
                );
                if patch.is_empty() {
                    bail!(Ended::Usage(
                        "there is nothing to change: no option names a member".to_owned()
                    ));
                }
                change(&api, &update.whose, patch, as_json).await
            }
            Action::Disable(whose) => change(&api, whose, disabled(true), as_json).await,
            Action::Enable(whose) => change(&api, whose, disabled(false), as_json).await,
            Action::Delete(whose) => {
                api.call(Method::DELETE, &of_client("", &whose.client_id), None)
                    .await?;
                done(
                    as_json,
                    &json!({ "client_id": whose.client_id, "deleted": true }),
                )
            }
            Action::RotateSecret(rotate) => rotate_secret(&api, rotate, as_json).await,
            Action::Secrets(whose) => {
                let secrets = of_client("/secrets", &whose.client_id);
                let secrets = api.call(Method::GET, &secrets, None).await?;
                if as_json {
                    print(&secrets, true)
                } else {
                    super::print(&shown::secrets(&secrets))
                }
            }
            Action::DeleteSecret(delete) => {
                let client_id = &delete.whose.client_id;
                let target = of_client(&path(&["secrets", &delete.secret_id]), client_id);
                let target = if delete.force {
                    format!("{target}&force=true")
                } else {
                    target
                };
                api.call(Method::DELETE, &target, None).await?;
                done(
                    as_json,
                    &json!({ "client_id": client_id, "id": delete.secret_id, "deleted": true }),
                )
            }
            Action::Revoke(Revoke { whose, before }) => {
                let target = of_client("/revoke", &whose.client_id);
                let body: Map<_, _> = before
                    .iter()
                    .map(|time| ("before".to_owned(), time.as_str().into()))
                    .collect();
                let revoked = api
                    .call(Method::POST, &target, Some(&Value::Object(body)))
                    .await?;
                print(&revoked, as_json)
            }
        }
    })
}

fn disabled(disabled: bool) -> Map<String, Value> {
    Map::from_iter([("disabled".to_owned(), disabled.into())])
}

async fn create_client(api: &Management, create: &Create, as_json: bool) -> anyhow::Result<()> {
    let mut body = create.metadata.members()?;
    if let Some(id) = &create.id {
        body.insert("client_id".to_owned(), id.as_str().into());
    }
    if let Some(file) = &create.secret_file {
        body.insert("client_secret".to_owned(), secret(file)?);
    }
    let client = api
        .call(Method::POST, "/clients", Some(&Value::Object(body)))
        .await?;
    let id = client
        .get("client_id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    print_new_secret(
        &client,
        id,
        create.secret_only,
        as_json,
        create.secret_file.is_some(),
    )
}

async fn change(
    api: &Management,
    whose: &Whose,
    patch: Map<String, Value>,
    as_json: bool,
) -> anyhow::Result<()> {
    let target = of_client("", &whose.client_id);
    let client = api
        .call(Method::PATCH, &target, Some(&Value::Object(patch)))
        .await?;
    print(&client, as_json)
}

async fn rotate_secret(api: &Management, rotate: &Rotate, as_json: bool) -> anyhow::Result<()> {
    let mut body = Map::new();
    for (name, value) in [("grace", &rotate.grace), ("expires_in", &rotate.expires_in)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.as_str().into());
        }
    }
    if let Some(file) = &rotate.secret_file {
        body.insert("client_secret".to_owned(), secret(file)?);
    }
    let target = of_client("/secrets", &rotate.whose.client_id);
    let secret = api
        .call(Method::POST, &target, Some(&Value::Object(body)))
        .await?;
    let id = &rotate.whose.client_id;
    print_new_secret(
        &secret,
        id,
        rotate.secret_only,
        as_json,
        rotate.secret_file.is_some(),
    )
}

/// Every page, as one.
async fn list(api: &Management, as_json: bool) -> anyhow::Result<()> {
    let clients = json!({ "clients": api.all("/clients?limit=200", "clients").await? });
    if as_json {
        print(&clients, true)
    } else {
        super::print(&shown::clients(&clients))
    }
}

/// The secret in a file, for the body of a request.
fn secret(file: &Path) -> anyhow::Result<Value> {
    Ok(super::read_secret(file)?.expose_secret().into())
}

fn print(answer: &Value, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        super::print_json(answer)
    } else {
        super::print(&shown::members(answer))
    }
}

/// Of a command whose success is all there is to say: only JSON says more.
pub(super) fn done(as_json: bool, result: &Value) -> anyhow::Result<()> {
    if as_json {
        super::print_json(result)
    } else {
        Ok(())
    }
}

/// Prints an answer that shows a secret this once. The client or secret was made: a reader that is
/// gone makes it no failure, but a generated secret is lost then, so that standard error says how
/// to get another.
fn print_new_secret(
    answer: &Value,
    client_id: &str,
    secret_only: bool,
    as_json: bool,
    was_supplied: bool,
) -> anyhow::Result<()> {
    let secret = answer.get("client_secret").and_then(Value::as_str);
    let text = match secret {
        Some(secret) if secret_only => secret.to_owned(),
        None if secret_only => {
            return Err(anyhow::anyhow!(
                "the client was made, but has keys and no secret"
            ));
        }
        _ if as_json => serde_json::to_string_pretty(answer)?,
        _ => shown::members(answer),
    };
    let written = super::write(&text);
    let why = match &written {
        Err(error) => error.to_string(),
        Ok(()) if super::is_discarded() => "standard output is /dev/null".to_owned(),
        Ok(()) => return Ok(()),
    };
    if secret.is_some() && !was_supplied {
        let shown = shell_word(client_id);
        super::report(&format!(
            "the secret was made but could not be shown ({why}), and cannot be shown again; make another one: \
             m2m-sidecar client rotate-secret {shown} --grace 0"
        ));
    }
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("the result cannot be written")
        }
        _ => Ok(()),
    }
}

/// A text as a shell takes it for one word.
fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
