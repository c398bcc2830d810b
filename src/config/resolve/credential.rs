//! Credentials: how tokens for others are acquired.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Resolver, is_open};
use crate::config::tree::KeyPath;
use crate::config::value::FilePath;
use crate::config::{files, raw};
use crate::domain::encryption::EncryptionKey;
use crate::domain::oauth::BasicEncoding;
use crate::domain::scope::ScopeSet;
use crate::token_source::{
    self, AudienceParameter, Authentication, KeptAt, PrivateKeyJwt, RotationConfig, TokenEndpoint,
    check_client_certificate,
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Resolves a member of `credentials`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    name: &str,
    raw: raw::Credential,
    state_dir: &Path,
    encryption_key: Option<&EncryptionKey>,
) -> Option<token_source::Config> {
    check_keys(resolver, path, &raw);
    let endpoint = endpoint(resolver, path, &raw);
    if !(0.10..=0.95).contains(&raw.refresh_at.0) {
        resolver
            .findings
            .error(&path.key("refreshAt"), "it must be from 10% to 95%");
    }
    let ca = resolver.certificates(&path.key("caFile"), raw.ca_file.as_ref());
    let timeouts = resolver.fetch_timeouts(&path.key("timeouts"), raw.timeouts);
    let authentication = authentication(resolver, path, &raw);
    let rotation = raw.rotate_secret.as_ref().map(|rotate| {
        let note_file = state_dir.join(format!("rotation-{name}"));
        rotation(resolver, path, &raw, rotate, note_file)
    });
    if raw.keep_token && encryption_key.is_none() {
        let message = "a token is kept encrypted only: `store.encryptionKeyFile` is missing";
        resolver.findings.error(&path.key("keepToken"), message);
    }
    let kept_at = encryption_key.filter(|_| raw.keep_token).map(|key| KeptAt {
        file: state_dir.join(format!("token-{name}")),
        key: key.clone(),
    });
    let (_, rotation) = (
        ca?,
        rotation.map_or(Some(None), |rotation| rotation.map(Some))?,
    );
    Some(token_source::Config {
        name: name.to_owned(),
        endpoint: endpoint?,
        client_id: raw.client_id.0,
        authentication: authentication?,
        ca_file: raw.ca_file.map(|file| file.0),
        timeouts,
        scopes: ScopeSet::from_tokens(raw.scopes.into_iter().map(|scope| scope.0)).ok()?,
        audiences: raw
            .audiences
            .into_iter()
            .map(|audience| audience.0)
            .collect(),
        audience_parameter: raw.audience_parameter,
        resources: raw
            .resource
            .into_iter()
            .map(|resource| resource.0)
            .collect(),
        extra_parameters: raw
            .extra_parameters
            .into_iter()
            .map(|(name, value)| (name.0, value))
            .collect(),
        refresh_at: raw.refresh_at.0,
        prefetch: raw.prefetch,
        kept_at,
        local_api: raw.local_api,
        rotation,
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
    let endpoint = match (&raw.authority, &raw.token_url) {
        (Some(authority), None) => TokenEndpoint::Discovery(authority.url().clone()),
        (None, Some(url)) => TokenEndpoint::Url(url.0.clone()),
        (Some(_), Some(_)) => {
            resolver.findings.error(
                &path.key("tokenUrl"),
                "either `authority` or `tokenUrl`, not both",
            );
            return None;
        }
        (None, None) => {
            resolver
                .findings
                .error(path, "either `authority` or `tokenUrl` is required");
            return None;
        }
    };
    let (TokenEndpoint::Discovery(url) | TokenEndpoint::Url(url)) = &endpoint;
    if raw.auth_method == raw::AuthMethod::TlsClientAuth && url.scheme() != "https" {
        let key = if raw.authority.is_some() {
            "authority"
        } else {
            "tokenUrl"
        };
        resolver
            .findings
            .error(&path.key(key), "a certificate can only be shown over https");
    } else if is_open(url) {
        let message =
            "plain http to another machine: what we authenticate with can be read on the way";
        resolver.findings.warning(path, message);
    }
    Some(endpoint)
}

/// Which keys belong to which methods. One that would be ignored is an error: somebody relies on
/// it.
fn check_keys(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Credential) {
    use raw::AuthMethod as M;
    const SECRET: &[M] = &[
        M::ClientSecretBasic,
        M::ClientSecretBasicRaw,
        M::ClientSecretPost,
    ];
    const JWT: &[M] = &[M::PrivateKeyJwt];
    const TLS: &[M] = &[M::TlsClientAuth];
    let key_file = raw.private_key_file.is_some();
    for (key, given, methods, needed) in [
        (
            "clientSecretFile",
            raw.client_secret_file.is_some(),
            SECRET,
            true,
        ),
        (
            "privateKeyFile",
            key_file,
            JWT,
            raw.assertion_file.is_none(),
        ),
        ("assertionFile", raw.assertion_file.is_some(), JWT, false),
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
    ] {
        let fits = methods.contains(&raw.auth_method);
        if given && !fits {
            resolver.findings.error(
                &path.key(key),
                "it does not belong to this credential's `authMethod`",
            );
        } else if !given && fits && needed {
            let or = if key == "privateKeyFile" {
                " (or `assertionFile`)"
            } else {
                ""
            };
            resolver
                .findings
                .error(path, format!("`{key}`{or} is required"));
        }
    }
    if raw.auth_method == M::ClientSecretBasicRaw && raw.client_id.0.contains(':') {
        let message = "with `authMethod: client_secret_basic_raw` the first colon ends the client id, so the id must not hold one: use \
                       `client_secret_post`";
        resolver.findings.error(&path.key("clientID"), message);
    }
    let names_audiences =
        raw.audience_parameter == AudienceParameter::Aud && !raw.audiences.is_empty();
    let aud = raw
        .extra_parameters
        .keys()
        .find(|name| names_audiences && name.0 == "aud");
    if let Some(aud) = aud {
        let message = "`audiences` sets this parameter, because of `audienceParameter: aud`";
        resolver
            .findings
            .error(&path.key("extraParameters").key(&aud.0), message);
    }
    if raw.assertion_file.is_some() {
        for (key, given) in [
            ("privateKeyFile", key_file),
            ("keyID", raw.key_id.is_some()),
            ("algorithm", raw.algorithm.is_some()),
            ("assertionAudience", raw.assertion_audience.is_some()),
        ] {
            if given {
                resolver.findings.error(
                    &path.key(key),
                    "the assertion in `assertionFile` is sent as it is",
                );
            }
        }
    }
}

fn authentication(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Credential,
) -> Option<Authentication> {
    match raw.auth_method {
        raw::AuthMethod::ClientSecretBasic
        | raw::AuthMethod::ClientSecretBasicRaw
        | raw::AuthMethod::ClientSecretPost => {
            let file = raw.client_secret_file.as_ref()?;
            resolver.secret(&path.key("clientSecretFile"), file, files::read_secret)?;
            let secret_file = file.0.clone();
            Some(match raw.auth_method {
                raw::AuthMethod::ClientSecretPost => Authentication::SecretPost { secret_file },
                raw::AuthMethod::ClientSecretBasicRaw => Authentication::SecretBasic {
                    secret_file,
                    encoding: BasicEncoding::Raw,
                },
                _ => Authentication::SecretBasic {
                    secret_file,
                    encoding: BasicEncoding::Form,
                },
            })
        }
        raw::AuthMethod::PrivateKeyJwt => match &raw.assertion_file {
            Some(file) => {
                resolver.secret(&path.key("assertionFile"), file, files::check_assertion)?;
                Some(Authentication::Assertion {
                    file: file.0.clone(),
                })
            }
            None => private_key_jwt(resolver, path, raw),
        },
        raw::AuthMethod::TlsClientAuth => {
            let (cert, key) = (raw.cert_file.as_ref()?, raw.key_file.as_ref()?);
            certificate(resolver, path, cert, key)
        }
    }
}

fn private_key_jwt(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Credential,
) -> Option<Authentication> {
    let file = raw.private_key_file.as_ref()?;
    let of = PrivateKeyJwt {
        key_file: file.0.clone(),
        algorithm: raw.algorithm.map(Into::into),
        kid: raw.key_id.as_ref().map(|kid| kid.0.clone()),
        audience: raw
            .assertion_audience
            .as_ref()
            .map(|audience| audience.0.clone()),
    };
    let key_path = path.key("privateKeyFile");
    let pem = resolver.secret(&key_path, file, files::read_secret_lines)?;
    if files::check_private_key(&pem, of.algorithm).is_err() {
        let shown = resolver.shown(&key_path, &file.0.to_string_lossy());
        let message = match raw.algorithm {
            Some(_) => "holds no private key (PEM) for this `algorithm`",
            None => {
                "holds no private key that can sign: PEM (PKCS#8, SEC1 or PKCS#1) of a P-256, P-384, Ed25519 or RSA key of 2048 bits or more"
            }
        };
        resolver
            .findings
            .error(&key_path, format!("the file `{shown}` {message}"));
        return None;
    }
    Some(Authentication::PrivateKeyJwt(of))
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
        let message = "certificate and private key (PEM) cannot be used together";
        resolver.findings.error(&path.key("certFile"), message);
        return None;
    }
    Some(Authentication::Certificate {
        cert_file: cert.0.clone(),
        key_file: key.0.clone(),
    })
}

fn rotation(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Credential,
    rotate: &raw::RotateSecret,
    note_file: PathBuf,
) -> Option<RotationConfig> {
    let path = path.key("rotateSecret");
    resolver.duration(&path.key("every"), rotate.every, HOUR, DAY * 366);
    resolver.duration(&path.key("grace"), rotate.grace, Duration::ZERO, DAY * 30);
    if rotate.grace.0 >= rotate.every.0 {
        resolver
            .findings
            .error(&path.key("grace"), "it must be shorter than `every`");
    }
    if is_open(&rotate.admin.0) {
        let message =
            "plain http to another machine: admin token and new secret can be read on the way";
        resolver.findings.warning(&path.key("admin"), message);
    }
    resolver.secret(
        &path.key("adminTokenFile"),
        &rotate.admin_token_file,
        files::read_secret,
    )?;
    Some(RotationConfig {
        admin: rotate.admin.0.clone(),
        admin_token_file: rotate.admin_token_file.0.clone(),
        secret_file: raw.client_secret_file.as_ref()?.0.clone(),
        every: rotate.every.0,
        grace: rotate.grace.0,
        note_file,
    })
}
