//! The token that an issuer would give one of its clients, made without the issuer's store, keys
//! and secrets.
//!
//! The issuer's own code issues it: from the same configuration, with the one client, a store in
//! memory and a new key. So no network is used, and the token is of no use elsewhere.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use crate::config::Config;
use crate::domain::clock::SharedClock;
use crate::domain::oauth::GrantType;
use crate::domain::secret::{self, ExposeSecret, SecretString};
use crate::issuer::client::{Authentication, BoundAccessTokens, Secret};
use crate::issuer::{self, Client, Issuer, OpenError, SecretFiles, TokenError, TokenRequest};
use crate::store::{self, StoreError};
use crate::verifier::OwnIssuer;

/// A token, and what verifies it.
pub struct WouldIssue {
    pub token: SecretString,
    /// The issuer's URL, as `iss` has it.
    pub issuer: String,
    pub verifies: OwnIssuer,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum NoToken {
    #[error("the configuration has no `issuer`")]
    NoIssuer,
    /// The known ones follow.
    #[error(
        "`issuer.clients` has no client `{0}`; known are: {1}. Clients of the store are not read"
    )]
    UnknownClient(String, String),
    #[error(
        "the client exchanges tokens of others, so its tokens depend on them: explain one of its \
         tokens with `--token-file`"
    )]
    OfUser,
    /// The issuer refuses.
    #[error("{0}")]
    Refused(TokenError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The client with this id.
///
/// # Errors
/// [`NoToken`], if there is none whose tokens are known.
pub fn client<'c>(config: &'c Config, id: &str) -> Result<&'c Client, NoToken> {
    let role = config.issuer.as_ref().ok_or(NoToken::NoIssuer)?;
    let clients = &role.issuer.clients;
    let client = clients.iter().find(|client| client.id == id);
    let client = client.ok_or_else(|| {
        let known: Vec<_> = clients.iter().map(|client| client.id.as_str()).collect();
        NoToken::UnknownClient(id.escape_debug().to_string(), known.join(", "))
    })?;
    let only_exchanges = !client
        .allowed_grant_types
        .contains(&GrantType::ClientCredentials);
    match client.authentication {
        Authentication::Exchange(_) => Err(NoToken::OfUser),
        _ if only_exchanges => Err(NoToken::OfUser),
        _ => Ok(client),
    }
}

/// The token of a client that asks for these audiences and scopes; without any, for all that it is
/// allowed.
///
/// # Errors
/// [`NoToken`].
pub async fn would_issue(
    config: &Config,
    id: &str,
    (audiences, scopes): (&[String], &[String]),
    clock: SharedClock,
) -> Result<WouldIssue, NoToken> {
    let registered = client(config, id)?;
    let role = config.issuer.as_ref().ok_or(NoToken::NoIssuer)?;
    let secret = secret::generate("explain_");
    let issuer = open(&role.issuer, registered, &secret, clock).await?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    form.append_pair("client_id", id);
    form.append_pair("client_secret", secret.expose_secret());
    if !scopes.is_empty() {
        form.append_pair("scope", &scopes.join(" "));
    }
    for audience in audiences {
        form.append_pair("audience", audience);
    }
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, form_type)]);
    let body = form.finish();
    let form = (&issuer.profile(), issuer.claim_parameters());
    let request = TokenRequest::parse_in(form, &headers, None, body.as_bytes());
    let request = request.map_err(NoToken::Refused)?;
    let here = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let answer = issuer
        .issue(&request, here)
        .await
        .map_err(NoToken::Refused)?;
    Ok(WouldIssue {
        token: answer.access_token,
        issuer: issuer.url().to_owned(),
        verifies: OwnIssuer {
            keys: issuer.live_keys().clone(),
            revoked: issuer.revoked().clone(),
        },
    })
}

/// The issuer with this client alone, which proves itself by `secret`. Its tokens are bound to no
/// key and its network does not count, because there is no connection.
async fn open(
    config: &issuer::Config,
    registered: &Client,
    secret: &SecretString,
    clock: SharedClock,
) -> Result<Arc<Issuer>, NoToken> {
    let client = Client {
        authentication: Authentication::Secret,
        secrets: vec![Secret::configured(secret.clone())],
        bound_access_tokens: BoundAccessTokens::default(),
        allowed_networks: Vec::new(),
        ..registered.clone()
    };
    let config = issuer::Config {
        clients: vec![client],
        secret_files: SecretFiles::default(),
        private_key: None,
        encryption_key: None,
        ..config.clone()
    };
    let store = store::open(&store::Config::SqliteMemory).await?;
    Ok(Issuer::open(config, store, clock).await?)
}
