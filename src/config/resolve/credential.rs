//! Credentials: the access tokens of other services.

mod dpop;
mod login;
mod rotation;
mod sink;
mod sources;

use std::path::Path;

pub(super) use self::sink::check as check_sinks;
use super::connections::is_open;
use super::resolver::Resolver;
use super::throttle;
use crate::config::files;
use crate::config::raw::{self, AuthMethod as Method};
use crate::config::tree::KeyPath;
use crate::config::value::{FilePath, Percent};
use crate::domain::encryption::EncryptionKey;
use crate::domain::oauth::BasicEncoding;
use crate::domain::scope::ScopeSet;
use crate::token_source::{
    self, AudienceParameter, Authentication, CredentialGrant, KeptAt, PrivateKeyJwt, TokenEndpoint,
    check_client_certificate,
};

/// Resolves a member of `credentials`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    name: &str,
    raw: raw::Credential,
    state_dir: &Path,
    encryption_key: Option<&EncryptionKey>,
) -> Option<token_source::Config> {
    if raw.token_file.is_some() || raw.login.is_some() {
        let kept_at = kept_at(resolver, path, name, &raw, state_dir, encryption_key);
        return sources::resolve(resolver, path, name, raw, kept_at);
    }
    check_keys(resolver, path, &raw);
    check_parameters(resolver, path, &raw);
    check_grant(resolver, path, &raw);
    let endpoint = endpoint(resolver, path, &raw);
    let ca = resolver.certificates(&path.key("caFile"), raw.ca_file.as_ref());
    let timeouts = resolver.fetch_timeouts(&path.key("timeouts"), raw.timeouts);
    let authentication = authentication(resolver, path, &raw);
    let dpop = dpop::resolve(resolver, path, &raw);
    let rotation = raw.rotate_secret.as_ref().map(|rotate| {
        let note_file = state_dir.join(format!("rotation-{name}"));
        rotation::resolve(resolver, &path.key("rotateSecret"), &raw, rotate, note_file)
    });
    let kept_at = kept_at(resolver, path, name, &raw, state_dir, encryption_key);
    let sink = raw
        .sink
        .map(|raw| sink::resolve(resolver, &path.key("sink"), raw));
    let throttle = throttle::resolve(resolver, path, raw.throttle);
    let egress = resolver.own_egress(path, raw.egress_proxy);
    ca?;
    let rotation = rotation.map_or(Some(None), |rotation| rotation.map(Some))?;
    Some(token_source::Config {
        name: name.to_owned(),
        endpoint: endpoint?,
        grant: raw.grant,
        client_id: raw.client_id?.into(),
        authentication: authentication?,
        ca_file: raw.ca_file.map(|file| file.0),
        timeouts,
        egress,
        scopes: ScopeSet::from_tokens(raw.scopes.into_iter().map(|scope| scope.0)).ok()?,
        audiences: raw.audiences.into_iter().map(Into::into).collect(),
        audience_parameter: raw.audience_parameter,
        resources: raw.resource.into_iter().map(Into::into).collect(),
        dpop,
        extra_parameters: raw
            .extra_parameters
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect(),
        refresh_at: raw.refresh_at.0,
        prefetch: raw.prefetch || sink.is_some(),
        kept_at,
        local_api: raw.local_api,
        rotation,
        sink,
        throttle,
    })
}

/// The file that stores the token over a restart.
fn kept_at(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    name: &str,
    raw: &raw::Credential,
    state_dir: &Path,
    encryption_key: Option<&EncryptionKey>,
) -> Option<KeptAt> {
    // Other keys explain why these have no token to keep.
    let is_bound = !matches!(raw.dpop, raw::CredentialDpop::Switch(false));
    if raw.keep_token && encryption_key.is_none() && !is_bound && raw.token_file.is_none() {
        let message = "tokens are only kept encrypted: set `store.encryptionKeyFile`";
        resolver.error(&path.key("keepToken"), message);
    }
    encryption_key.filter(|_| raw.keep_token).map(|key| KeptAt {
        file: state_dir.join(format!("token-{name}")),
        key: key.clone(),
    })
}

fn endpoint(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Credential,
) -> Option<TokenEndpoint> {
    if let Some(authority) = &raw.authority {
        resolver.check_issuer(&path.key("authority"), authority.as_str());
    }
    if let Some(url) = &raw.token_url {
        resolver.check_no_metadata(&path.key("tokenUrl"), &url.0, "authority");
    }
    let (key, url, endpoint) = match (&raw.authority, &raw.token_url) {
        (Some(issuer), None) => (
            "authority",
            issuer.url(),
            TokenEndpoint::Discovery(issuer.url().clone()),
        ),
        (None, Some(url)) => ("tokenUrl", &url.0, TokenEndpoint::Url(url.0.clone())),
        (Some(_), Some(_)) => {
            let message = "set either `authority` or `tokenUrl`, not both";
            resolver.error(&path.key("tokenUrl"), message);
            return None;
        }
        (None, None) => {
            resolver.error(path, "set `authority`, `tokenUrl`, `tokenFile` or `login`");
            return None;
        }
    };
    if is_by_certificate(raw.auth_method) && url.scheme() != "https" {
        resolver.error(&path.key(key), "a client certificate needs https");
    } else if is_open(url) {
        let message = "plain http to another machine: an attacker on the network can read the \
                       client authentication";
        resolver.warn(path, message);
    }
    Some(endpoint)
}

/// The methods by a secret, by a JWT of our own, by a JWT in a file, and by a certificate.
const SECRET: &[Method] = &[
    Method::ClientSecretBasic,
    Method::ClientSecretBasicRaw,
    Method::ClientSecretPost,
];
const JWT: &[Method] = &[Method::PrivateKeyJwt];
const FILE: &[Method] = &[Method::PrivateKeyJwt, Method::SpiffeJwt];
const TLS: &[Method] = &[Method::TlsClientAuth, Method::SelfSignedTlsClientAuth];

/// Checks that each key fits `authMethod`. An ignored key is an error, because the operator relies
/// on it.
fn check_keys(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Credential) {
    let has_assertion = raw.assertion_file.is_some();
    let is_svid = raw.auth_method == Method::SpiffeJwt;
    // An unknown key may be a misspelt one.
    if raw.client_id.is_none() && !resolver.has_findings(path) {
        resolver.error(&path.key("clientID"), "this key is required");
    }
    // Key, whether it is set, the methods that use it, whether they require it.
    let keys = [
        (
            "clientSecretFile",
            raw.client_secret_file.is_some(),
            SECRET,
            true,
        ),
        (
            "privateKeyFile",
            raw.private_key_file.is_some(),
            JWT,
            !has_assertion,
        ),
        ("assertionFile", has_assertion, FILE, is_svid),
        ("keyID", raw.key_id.is_some(), JWT, false),
        ("algorithm", raw.algorithm.is_some(), JWT, false),
        (
            "assertionAudience",
            raw.assertion_audience.is_some(),
            JWT,
            false,
        ),
        ("certFile", raw.cert_file.is_some(), TLS, true),
        ("keyFile", raw.key_file.is_some(), TLS, true),
        ("rotateSecret", raw.rotate_secret.is_some(), SECRET, false),
    ];
    for (key, is_set, methods, is_required) in keys {
        let fits = methods.contains(&raw.auth_method);
        if is_set && !fits {
            resolver.error(
                &path.key(key),
                "this credential's `authMethod` does not use this key",
            );
        } else if is_set && has_assertion && methods == JWT {
            let message = "remove this key: the assertion in `assertionFile` is sent unchanged";
            resolver.error(&path.key(key), message);
        } else if !is_set && fits && is_required {
            let or = if key == "privateKeyFile" {
                " (or `assertionFile`)"
            } else {
                ""
            };
            resolver.error(path, format!("`{key}`{or} is required"));
        }
    }
}

fn is_by_certificate(method: Method) -> bool {
    matches!(
        method,
        Method::TlsClientAuth | Method::SelfSignedTlsClientAuth
    )
}

fn check_refresh(resolver: &mut Resolver<'_>, path: &KeyPath, refresh_at: Percent) {
    if !(0.10..=0.95).contains(&refresh_at.0) {
        resolver.error(&path.key("refreshAt"), "it must be from 10% to 95%");
    }
}

fn check_parameters(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Credential) {
    check_refresh(resolver, path, raw.refresh_at);
    let has_colon = raw.client_id.as_ref().is_some_and(|id| id.0.contains(':'));
    if raw.auth_method == Method::ClientSecretBasicRaw && has_colon {
        let message = "the client id must not contain a colon with `authMethod: \
                       client_secret_basic_raw`, because the first colon ends it: use \
                       `client_secret_post`";
        resolver.error(&path.key("clientID"), message);
    }
    let sets_aud = raw.audience_parameter == AudienceParameter::Aud && !raw.audiences.is_empty();
    if sets_aud && raw.extra_parameters.keys().any(|name| name.0 == "aud") {
        let message = "`audiences` already sets this parameter, because of `audienceParameter: \
                       aud`";
        resolver.error(&path.key("extraParameters").key("aud"), message);
    }
}

/// A credential of token exchange has no token of its own.
fn check_grant(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Credential) {
    if raw.grant != CredentialGrant::TokenExchange {
        return;
    }
    for (key, is_set) in [
        ("prefetch", raw.prefetch),
        ("keepToken", raw.keep_token),
        ("sink", raw.sink.is_some()),
    ] {
        if is_set {
            let message = "remove this key: with `grant: tokenExchange` there is no token before a \
                           caller sends its own";
            resolver.error(&path.key(key), message);
        }
    }
    let of_exchange = [
        "grant_type",
        "subject_token",
        "subject_token_type",
        "actor_token",
        "actor_token_type",
    ];
    for name in raw.extra_parameters.keys() {
        if of_exchange.contains(&name.0.as_str()) {
            let message = "the exchange sets this parameter itself";
            resolver.error(&path.key("extraParameters").key(&name.0), message);
        }
    }
}

fn authentication(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Credential,
) -> Option<Authentication> {
    match (raw.auth_method, &raw.assertion_file) {
        (Method::PrivateKeyJwt | Method::SpiffeJwt, Some(file)) => {
            resolver.secret(&path.key("assertionFile"), file, files::check_assertion)?;
            Some(Authentication::Assertion {
                file: file.0.clone(),
                is_svid: raw.auth_method == Method::SpiffeJwt,
            })
        }
        (Method::SpiffeJwt, None) => None,
        (Method::PrivateKeyJwt, None) => private_key_jwt(resolver, path, raw),
        (Method::TlsClientAuth | Method::SelfSignedTlsClientAuth, _) => certificate(
            resolver,
            path,
            raw.cert_file.as_ref()?,
            raw.key_file.as_ref()?,
        ),
        (method, _) => {
            let file = raw.client_secret_file.as_ref()?;
            resolver.secret(&path.key("clientSecretFile"), file, files::read_secret)?;
            let secret_file = file.0.clone();
            Some(match method {
                Method::ClientSecretPost => Authentication::SecretPost { secret_file },
                Method::ClientSecretBasicRaw => Authentication::SecretBasic {
                    secret_file,
                    encoding: BasicEncoding::Raw,
                },
                _ => Authentication::SecretBasic {
                    secret_file,
                    encoding: BasicEncoding::Form,
                },
            })
        }
    }
}

fn private_key_jwt(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Credential,
) -> Option<Authentication> {
    let file = raw.private_key_file.as_ref()?;
    let settings = PrivateKeyJwt {
        key_file: file.0.clone(),
        algorithm: raw.algorithm.map(Into::into),
        kid: raw.key_id.as_ref().map(|kid| kid.0.clone()),
        audience: raw
            .assertion_audience
            .as_ref()
            .map(|audience| audience.0.clone()),
    };
    if raw.token_url.is_some() && settings.audience.is_none() {
        let message = "the issuer is not known, so assertions have this URL as their `aud`. \
                       Authorities that follow RFC 7523bis refuse it: set `authority` instead, or \
                       `assertionAudience` to the issuer";
        resolver.warn(&path.key("tokenUrl"), message);
    }
    let path = path.key("privateKeyFile");
    let pem = resolver.secret(&path, file, files::read_secret_lines)?;
    if files::check_private_key(&pem, settings.algorithm).is_err() {
        let problem = match raw.algorithm {
            Some(_) => "holds no private key (PEM) for this `algorithm`",
            None => {
                "holds no private key that can sign: use PEM (PKCS#8, SEC1 or PKCS#1) of a P-256, \
                 P-384 or Ed25519 key, or of an RSA key of at least 2048 bits"
            }
        };
        resolver.file_error(&path, file, problem);
        return None;
    }
    Some(Authentication::PrivateKeyJwt(settings))
}

fn certificate(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    cert: &FilePath,
    key: &FilePath,
) -> Option<Authentication> {
    let certificates = resolver.file(&path.key("certFile"), cert, files::read_secret_lines);
    let private = resolver.secret(&path.key("keyFile"), key, files::read_secret_lines);
    let (certificates, private) = (certificates?, private?);
    if check_client_certificate(&certificates, &private).is_err() {
        let message = "`certFile` and `keyFile` do not match, or one of them is not PEM";
        resolver.error(&path.key("certFile"), message);
        return None;
    }
    Some(Authentication::Certificate {
        cert_file: cert.0.clone(),
        key_file: key.0.clone(),
    })
}
