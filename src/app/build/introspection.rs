//! Introspection: the clients that ask an authority about tokens, and the task that asks about
//! opaque ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::part::Life;
use crate::app::error::{StartError, unusable};
use crate::config::Config;
use crate::domain::oauth::BasicEncoding;
use crate::domain::secret::SharedSecret;
use crate::files;
use crate::http_client::HttpClient;
use crate::telemetry::Metrics;
use crate::token_source::{self, Authentication};
use crate::verifier::{
    Asked, Authority, AuthorityConfig, ConfiguredClient, Introspection, IntrospectionClient,
    IntrospectionClients, ObserveAsked, UnusableCertificates,
};

/// The clients that ask an authority about its tokens.
pub(in crate::app) struct Clients {
    pub clients: IntrospectionClients,
    pub(super) secrets: Vec<WatchedSecret>,
}

pub(super) struct WatchedSecret {
    file: PathBuf,
    secret: SharedSecret,
}

impl WatchedSecret {
    pub fn watch(self, life: &Life, authority: &str) {
        let (path, secret) = (self.file.clone(), self.secret);
        let what = format!("introspection secret of {authority}");
        life.watch_file(what, &self.file, move || {
            let read = files::read_secret(&path).map_err(|error| format!("the file {error}"))?;
            Ok(secret.replace(read))
        });
    }
}

/// The credentials of questions to an authority about its tokens, as a part of its identity.
pub(super) fn asking(
    config: &Config,
    authority: &AuthorityConfig,
) -> Vec<(String, Authentication)> {
    let names = names_of(authority).into_iter().flatten();
    let credentials = names.filter_map(|name| credential(config, name));
    credentials
        .map(|it| (it.client_id.clone(), it.authentication.clone()))
        .collect()
}

/// The names of the credentials for revocations and for opaque tokens.
fn names_of(authority: &AuthorityConfig) -> [Option<&str>; 2] {
    let opaque = authority.introspection.as_ref().map(|it| &it.client);
    let opaque = opaque.and_then(|client| match client {
        ConfiguredClient::Credential(name) => Some(name.as_str()),
        ConfiguredClient::Anonymous | ConfiguredClient::Secret { .. } => None,
    });
    [authority.revocation.credential.as_deref(), opaque]
}

fn credential<'c>(config: &'c Config, name: &str) -> Option<&'c token_source::Config> {
    config.credentials.iter().find(|it| it.name == *name)
}

/// The clients that ask an authority about its tokens.
///
/// # Errors
/// A credential does not exist, has no client secret, or its file cannot be read.
pub(in crate::app) fn clients(
    config: &Config,
    authority: &AuthorityConfig,
) -> Result<Clients, StartError> {
    let mut secrets = Vec::new();
    let [of_revocation, of_opaque_tokens] = names_of(authority);
    let mut client = |name: Option<&str>| -> Result<_, StartError> {
        let opened = name.map(|name| of_credential(config, authority, name));
        Ok(opened.transpose()?.map(|(client, secret)| {
            secrets.push(secret);
            client
        }))
    };
    let mut clients = IntrospectionClients {
        of_revocation: client(of_revocation)?,
        of_opaque_tokens: client(of_opaque_tokens)?,
    };
    let configured = authority.introspection.as_ref().map(|it| &it.client);
    if let Some(ConfiguredClient::Secret {
        client_id,
        secret_file,
    }) = configured
    {
        let basic = Some(BasicEncoding::Form);
        let (client, secret) = open(authority, client_id, secret_file, basic)?;
        secrets.push(secret);
        clients.of_opaque_tokens = Some(client);
    }
    Ok(Clients { clients, secrets })
}

fn of_credential(
    config: &Config,
    authority: &AuthorityConfig,
    name: &str,
) -> Result<(IntrospectionClient, WatchedSecret), StartError> {
    let credential = credential(config, name)
        .ok_or_else(|| unusable(&authority.name)("its credential does not exist"))?;
    let (basic, file) = match &credential.authentication {
        Authentication::SecretBasic {
            secret_file,
            encoding,
        } => (Some(*encoding), secret_file),
        Authentication::SecretPost { secret_file } => (None, secret_file),
        _ => {
            return Err(unusable(&authority.name)(
                "introspection needs a client secret, which its credential does not have",
            ));
        }
    };
    open(authority, &credential.client_id, file, basic)
}

fn open(
    authority: &AuthorityConfig,
    client_id: &str,
    file: &Path,
    basic: Option<BasicEncoding>,
) -> Result<(IntrospectionClient, WatchedSecret), StartError> {
    let secret = files::read_secret(file)
        .map_err(|error| unusable(&authority.name)(format!("its credential's secret {error}")))?;
    let secret = SharedSecret::new(secret);
    let client = IntrospectionClient {
        client_id: client_id.to_owned(),
        client_secret: secret.clone(),
        basic,
    };
    let file = file.to_owned();
    Ok((client, WatchedSecret { file, secret }))
}

/// The task that asks an authority about opaque tokens.
pub(super) struct Task {
    introspection: Arc<Introspection>,
    http: HttpClient,
}

/// The task of an authority, if it introspects opaque tokens.
///
/// # Errors
/// The authority's certificates cannot be used.
pub(super) fn task(authority: &Authority) -> Result<Option<Task>, UnusableCertificates> {
    let Some(introspection) = authority.introspection().cloned() else {
        return Ok(None);
    };
    let http = authority.introspection_client()?;
    Ok(Some(Task {
        introspection,
        http,
    }))
}

impl Task {
    pub fn begin(self, life: &Life, authority: &str) {
        let Self {
            introspection,
            http,
        } = self;
        let observe = observer(&life.metrics, authority);
        life.tasks
            .spawn(format!("introspection of {authority}"), move || {
                introspection.clone().run(http.clone(), observe.clone())
            });
    }
}

/// Counts the answers. Logs only when failures begin, change and end, because there can be many
/// answers.
fn observer(metrics: &Arc<Metrics>, authority: &str) -> ObserveAsked {
    let (metrics, authority) = (metrics.clone(), authority.to_owned());
    let is_failing = AtomicBool::new(false);
    Arc::new(move |asked: Asked<'_>| {
        metrics.introspected(&authority, asked.code());
        let fails = matches!(asked, Asked::Failed(_));
        match (asked, is_failing.swap(fails, Ordering::AcqRel)) {
            (Asked::Failed(error), false) => tracing::warn!(
                authority,
                error,
                "cannot introspect opaque tokens: their requests are refused with 503"
            ),
            (Asked::Active | Asked::Inactive, true) => {
                tracing::info!(authority, "opaque tokens are introspected again");
            }
            _ => {}
        }
    })
}
