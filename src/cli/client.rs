//! `client`: the management API from a shell.

mod api;
mod options;
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
use options::{Create, DeleteSecret, Named, Revoke, Rotate, Update};

/// Shown below the options.
pub const AFTER_HELP: &str = "\
`--admin` or the configuration names the sidecar. Its admin token comes from `--token-file`, from
the variable M2M_SIDECAR_ADMIN_TOKEN, or from the configuration.

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

/// The target below a client, by a parameter: an id such as `..` cannot be a path segment.
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
    Show(Named),
    /// Change what is registered of a client
    Update(Update),
    /// Refuse a client from now on, and end its tokens
    Disable(Named),
    /// Accept a disabled client again
    Enable(Named),
    /// Delete a client, and end its tokens
    Delete(Named),
    /// Give a client a new secret and print it, this once; the old ones stay valid for a while
    RotateSecret(Rotate),
    /// List a client's secrets, without the secrets themselves
    Secrets(Named),
    /// Delete a secret of a client
    DeleteSecret(DeleteSecret),
    /// End every token that a client was issued so far, or up to a time
    Revoke(Revoke),
}

/// Runs the command.
pub fn client(options: &Options) -> anyhow::Result<()> {
    let api = Management::open(&options.connection)?;
    let as_json = options.connection.json;
    super::runtime()?.block_on(async {
        match &options.action {
            Action::Create(create) => create_client(&api, create, as_json).await,
            Action::List => list(&api, as_json).await,
            Action::Show(named) => {
                let client = api
                    .call(Method::GET, &of_client("", &named.client_id), None)
                    .await?;
                print(&client, as_json)
            }
            Action::Update(update) => change(&api, &update.client, patch(update)?, as_json).await,
            Action::Disable(named) => change(&api, named, disabled(true), as_json).await,
            Action::Enable(named) => change(&api, named, disabled(false), as_json).await,
            Action::Delete(named) => {
                api.call(Method::DELETE, &of_client("", &named.client_id), None)
                    .await?;
                done(
                    as_json,
                    &json!({ "client_id": named.client_id, "deleted": true }),
                )
            }
            Action::RotateSecret(rotate) => rotate_secret(&api, rotate, as_json).await,
            Action::Secrets(named) => {
                let secrets = of_client("/secrets", &named.client_id);
                let secrets = api.call(Method::GET, &secrets, None).await?;
                if as_json {
                    print(&secrets, true)
                } else {
                    super::print(&shown::secrets(&secrets))
                }
            }
            Action::DeleteSecret(delete) => delete_secret(&api, delete, as_json).await,
            Action::Revoke(Revoke {
                client: named,
                before,
            }) => {
                let target = of_client("/revoke", &named.client_id);
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

/// The merge patch of `update`.
fn patch(update: &Update) -> anyhow::Result<Map<String, Value>> {
    let mut patch = update.metadata.members()?;
    if let Some(both) = update
        .unset
        .iter()
        .find(|member| patch.contains_key(*member))
    {
        bail!(Ended::Usage(format!("`{both}` is both set and removed")));
    }
    let removed = update.unset.iter();
    patch.extend(removed.map(|member| (member.clone(), Value::Null)));
    if patch.is_empty() {
        bail!(Ended::Usage(
            "there is nothing to change: no option names a member".to_owned()
        ));
    }
    Ok(patch)
}

async fn delete_secret(
    api: &Management,
    delete: &DeleteSecret,
    as_json: bool,
) -> anyhow::Result<()> {
    let (client_id, id) = (&delete.client.client_id, &delete.secret_id);
    let mut target = of_client(&path(&["secrets", id]), client_id);
    if delete.force {
        target.push_str("&force=true");
    }
    api.call(Method::DELETE, &target, None).await?;
    let result = json!({ "client_id": client_id, "id": id, "deleted": true });
    done(as_json, &result)
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
    named: &Named,
    patch: Map<String, Value>,
    as_json: bool,
) -> anyhow::Result<()> {
    let target = of_client("", &named.client_id);
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
    let target = of_client("/secrets", &rotate.client.client_id);
    let secret = api
        .call(Method::POST, &target, Some(&Value::Object(body)))
        .await?;
    let id = &rotate.client.client_id;
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

/// Prints the result of a command without output: only JSON shows it.
pub(super) fn done(as_json: bool, result: &Value) -> anyhow::Result<()> {
    if as_json {
        super::print_json(result)
    } else {
        Ok(())
    }
}

/// Prints an answer that shows a secret this once. A closed standard output is no failure, because
/// the client or secret exists. A generated secret is then lost: standard error says how to make
/// another one.
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
            "the secret was made but could not be shown ({why}), and cannot be shown again; \
             make another one: \
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

/// A text, quoted as one word for a shell.
fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
