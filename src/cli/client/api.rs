//! Calls of the management API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::Connection;
use crate::app::admin_token::kept_token;
use crate::cli::{self, Ended};
use crate::config::{self, Management, process_environment};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::http_client::{Egress, HttpAnswer, HttpClient, HttpError, HttpOptions};
use crate::jose::provider;

/// Where a token may be instead of in a file.
const TOKEN_VARIABLE: &str = "M2M_SIDECAR_ADMIN_TOKEN";

/// The management API of a sidecar.
pub(super) struct Api {
    client: HttpClient,
    base: Url,
    /// `None`: a socket in the file system needs none.
    authorization: Option<HeaderValue>,
}

impl Api {
    /// Finds out where it is, and its token. Nothing is sent yet.
    pub(super) fn open(connection: &Connection) -> anyhow::Result<Self> {
        let given = given_token(connection)?;
        let needs_config = connection.admin.is_none() || given.is_none();
        let config = match &connection.config {
            Some(file) if needs_config => Some(management(file)?),
            _ => None,
        };
        let base = match (&connection.admin, &config) {
            (Some(url), _) => url.clone(),
            (None, Some(config)) => configured_url(config)?,
            (None, None) => {
                bail!(Ended::Usage(
                    "say which sidecar: `--config FILE` or `--admin URL`".to_owned()
                ))
            }
        };
        let base = Url::parse(&base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        // A password in it would stand in process lists, and in the messages below.
        let base = base.filter(|url| url.username().is_empty() && url.password().is_none());
        let base = base.ok_or_else(|| {
            Ended::Usage(
                "`--admin` must be an http or https URL without user name and password".to_owned(),
            )
        })?;
        let is_socket = |config: &Management| config.place.listen.unix().is_some();
        let token = match (given, &config) {
            (Some(token), _) => Some(token),
            (None, Some(config)) if connection.admin.is_none() && is_socket(config) => None,
            (None, Some(config)) => Some(configured_token(config)?),
            (None, None) => bail!(Ended::Usage(format!(
                "there is no admin token: `--token-file FILE`, the variable {TOKEN_VARIABLE}, \
                 or `--config FILE`"
            ))),
        };
        provider::install();
        let options = HttpOptions {
            connect_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(35),
            ca_pem: None,
            identity_pem: None,
            max_body: 16 * 1024 * 1024,
            egress: Egress::default(),
        };
        Ok(Self {
            client: match &config {
                // The URL of an option may lead elsewhere.
                Some(config) if connection.admin.is_none() => {
                    cli::client_for(&config.place, options)?
                }
                _ => HttpClient::new(options)?,
            },
            base,
            authorization: token.as_ref().map(bearer).transpose()?,
        })
    }

    /// Sends a request; `target` is path and query. An answer without body is null.
    pub(super) async fn call(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let base = self.base.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{target}"))?;
        let authorization = self.authorization.clone();
        let headers = HeaderMap::from_iter(authorization.map(|it| (AUTHORIZATION, it)));
        let answer = self
            .client
            .send_json(method, &url, headers, body.map(Value::to_string))
            .await;
        let answer = answer.map_err(|failed| match failed.kind() {
            HttpError::Refused => {
                anyhow!("nothing listens at {base}: does the sidecar run, with `admin`?")
            }
            _ => anyhow!("no answer from the management API: {failed}"),
        })?;
        if answer.status.is_success() && answer.body.is_empty() {
            return Ok(Value::Null);
        }
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body)
                .context("the answer is no JSON: is this a sidecar?");
        }
        bail!("{}", refusal(&answer))
    }
}

/// The refusal in the words of the other side.
fn refusal(answer: &HttpAnswer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = body.get("error_description").and_then(Value::as_str);
    let mut text = match (answer.status, said) {
        (StatusCode::UNAUTHORIZED, _) => {
            "the admin token is not the one of this sidecar".to_owned()
        }
        (_, Some(said)) => said.to_owned(),
        (status, None) => {
            format!("the answer is {status}: is this the management API of a sidecar?")
        }
    };
    for detail in body
        .get("details")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let part = |name| detail.get(name).and_then(Value::as_str).unwrap_or_default();
        text.push_str("\n  ");
        text.push_str(part("field"));
        text.push_str(": ");
        text.push_str(part("problem"));
    }
    text
}

/// A path of these segments, whatever they hold.
pub(super) fn path(segments: &[&str]) -> String {
    segments
        .iter()
        .map(|segment| format!("/{}", utf8_percent_encode(segment, NON_ALPHANUMERIC)))
        .collect()
}

fn given_token(connection: &Connection) -> anyhow::Result<Option<SecretString>> {
    let Some(file) = &connection.token_file else {
        let variable = process_environment(TOKEN_VARIABLE).filter(|token| !token.is_empty());
        return Ok(variable.map(SecretString::from));
    };
    cli::read_secret(file).map(Some)
}

fn management(file: &Path) -> anyhow::Result<Management> {
    config::management(file, &process_environment)?
        .context("the configuration has no `admin.listen` to ask")
}

fn configured_url(config: &Management) -> anyhow::Result<String> {
    if (config.place.listen.address()).is_some_and(|address| address.port() == 0) {
        bail!("`admin.listen` takes any free port: name the one it got with `--admin`");
    }
    Ok(cli::base_url(&config.place))
}

fn configured_token(config: &Management) -> anyhow::Result<SecretString> {
    if let Some(file) = &config.token_file {
        return cli::read_secret(file);
    }
    let dir = config.state_dir.display();
    kept_token(&config.state_dir).with_context(|| {
        format!("cannot read the admin token in {dir}: has the sidecar been started?")
    })
}

fn bearer(token: &SecretString) -> anyhow::Result<HeaderValue> {
    let value = Zeroizing::new(["Bearer ", token.expose_secret()].concat());
    let mut value =
        HeaderValue::from_str(&value).context("the admin token cannot stand in a header")?;
    value.set_sensitive(true);
    Ok(value)
}
