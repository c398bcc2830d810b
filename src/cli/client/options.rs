//! The options of `client`, and the members that they set.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueHint};
use serde_json::{Map, Value};

use crate::cli::Ended;

#[derive(Args)]
pub(super) struct Named {
    /// The client's id
    #[arg(value_name = "CLIENT_ID")]
    pub(super) client_id: String,
}

#[derive(Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    pub(super) client: Named,
    /// Only the access tokens that were issued up to this time (RFC 3339); refresh tokens all end
    #[arg(long, value_name = "TIME")]
    pub(super) before: Option<String>,
}

#[derive(Args)]
pub(super) struct Create {
    /// The client's id; a generated one when left out
    #[arg(long, value_name = "CLIENT_ID")]
    pub(super) id: Option<String>,
    #[command(flatten)]
    pub(super) metadata: Metadata,
    /// A file with the client's secret, at least 16 bytes; a generated one when left out
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) secret_file: Option<PathBuf>,
    /// Print the secret and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(super) secret_only: bool,
}

#[derive(Args)]
pub(super) struct Update {
    #[command(flatten)]
    pub(super) client: Named,
    #[command(flatten)]
    pub(super) metadata: Metadata,
    /// Remove a member of the registration, such as `owner` (repeatable)
    #[arg(long, value_name = "MEMBER")]
    pub(super) unset: Vec<String>,
}

#[derive(Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    pub(super) client: Named,
    /// How long the old secrets stay valid; a day when left out
    #[arg(long, value_name = "DURATION")]
    pub(super) grace: Option<String>,
    /// The lifetime of the new secret; without end when left out
    #[arg(long, value_name = "DURATION")]
    pub(super) expires_in: Option<String>,
    /// A file with the new secret, at least 16 bytes; a generated one when left out
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) secret_file: Option<PathBuf>,
    /// Print the secret and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(super) secret_only: bool,
}

#[derive(Args)]
pub(super) struct DeleteSecret {
    #[command(flatten)]
    pub(super) client: Named,
    /// The secret's id, as `client secrets` shows it
    #[arg(value_name = "SECRET_ID")]
    pub(super) secret_id: String,
    /// Also when it is the client's last valid secret
    #[arg(long)]
    pub(super) force: bool,
}

/// The metadata of a client.
#[derive(Args)]
pub(super) struct Metadata {
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    pub(super) name: Option<String>,
    /// The scopes it may ask for, with commas or spaces between them (repeatable)
    #[arg(long, value_name = "SCOPES")]
    pub(super) scope: Vec<String>,
    /// An audience it may ask for (repeatable, or with commas between them)
    #[arg(long, value_name = "AUDIENCE", value_delimiter = ',')]
    pub(super) audience: Vec<String>,
    /// The `typ` header of its tokens for these audiences: at+jwt or JWT
    #[arg(long, value_name = "TYPE", requires = "audience")]
    pub(super) token_type: Option<String>,
    /// The algorithm that signs its tokens for these audiences, such as RS256
    #[arg(long, value_name = "ALGORITHM", requires = "audience")]
    pub(super) algorithm: Option<String>,
    /// A claim that carries the scopes of its tokens for these audiences: scope or scp (repeatable)
    #[arg(long, value_name = "CLAIM", requires = "audience")]
    pub(super) scope_claim: Vec<String>,
    /// The longest lifetime of its tokens for these audiences
    #[arg(long, value_name = "DURATION", requires = "audience")]
    pub(super) audience_lifetime: Option<String>,
    /// A grant it may use (repeatable, or with commas between them)
    #[arg(long, value_name = "GRANT", value_delimiter = ',')]
    pub(super) grant_type: Vec<String>,
    /// The owner claim's value in its tokens
    #[arg(long, value_name = "TEXT")]
    pub(super) owner: Option<String>,
    /// An owner that its token requests may choose: one, `prefix*`, or `*` (repeatable)
    #[arg(long, value_name = "OWNER")]
    pub(super) allowed_owner: Vec<String>,
    /// Whether its token requests may choose a device
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(super) allow_device_id: Option<bool>,
    /// The lifetime of its access tokens: seconds, or a duration such as 15m
    #[arg(long, value_name = "DURATION")]
    pub(super) lifetime: Option<String>,
    /// Whether it may introspect every token of this issuer, not only its own and those made for it
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(super) allow_introspection: Option<bool>,
    /// The tokens that it may exchange (RFC 8693), as JSON; it needs that grant, too
    #[arg(long, value_name = "JSON")]
    pub(super) exchange: Option<String>,
    /// The time from which it is refused, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(super) expiry: Option<String>,
    /// A network or address that its requests may come from, such as 10.0.0.0/8 (repeatable, or
    /// with commas between them)
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub(super) allowed_network: Vec<String>,
    /// The `aud` of its assertions: issuer, or legacy for the token endpoint and lists too
    #[arg(long, value_name = "issuer|legacy")]
    pub(super) assertion_audiences: Option<String>,
    /// A further claim of its tokens: a JSON value or a text (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) claim: Vec<String>,
    /// A file with its public keys (JWKS), instead of a secret
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "jwks_uri")]
    pub(super) jwks_file: Option<PathBuf>,
    /// The URL of its public keys, instead of a secret
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(super) jwks_uri: Option<String>,
    /// A JWT of its platform, instead of a secret (repeatable): JSON such as {"authority": "ci",
    /// "subject": "a/*"}
    #[arg(long, value_name = "JSON")]
    pub(super) federated: Vec<String>,
    #[command(flatten)]
    pub(super) certificate: Certificate,
    /// Whether its access tokens are bound to a key by DPoP
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(super) dpop_bound: Option<bool>,
}

/// The certificate of a client.
#[derive(Args)]
pub(super) struct Certificate {
    /// The subject of its certificate (RFC 4514), instead of a secret
    #[arg(long, value_name = "DN")]
    pub(super) tls_subject_dn: Option<String>,
    /// A DNS name of its certificate, instead of a secret
    #[arg(long, value_name = "NAME")]
    pub(super) tls_san_dns: Option<String>,
    /// A URI of its certificate, instead of a secret
    #[arg(long, value_name = "URI")]
    pub(super) tls_san_uri: Option<String>,
    /// An IP address of its certificate, instead of a secret
    #[arg(long, value_name = "ADDRESS")]
    pub(super) tls_san_ip: Option<String>,
    /// An email address of its certificate, instead of a secret
    #[arg(long, value_name = "ADDRESS")]
    pub(super) tls_san_email: Option<String>,
    /// Its public keys are those of self-signed certificates
    #[arg(long)]
    pub(super) tls_self_signed: bool,
    /// Whether its access tokens are bound to its certificate
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(super) certificate_bound: Option<bool>,
}

impl Metadata {
    pub(super) fn members(&self) -> anyhow::Result<Map<String, Value>> {
        let mut members = Map::new();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        let certificate = &self.certificate;
        let texts = [
            ("client_name", &self.name),
            ("owner", &self.owner),
            ("access_token_lifetime", &self.lifetime),
            ("expiry", &self.expiry),
            ("jwks_uri", &self.jwks_uri),
            ("assertion_audiences", &self.assertion_audiences),
            ("tls_client_auth_subject_dn", &certificate.tls_subject_dn),
            ("tls_client_auth_san_dns", &certificate.tls_san_dns),
            ("tls_client_auth_san_uri", &certificate.tls_san_uri),
            ("tls_client_auth_san_ip", &certificate.tls_san_ip),
            ("tls_client_auth_san_email", &certificate.tls_san_email),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                set(name, text.as_str().into());
            }
        }
        if !self.scope.is_empty() {
            set("scope", scopes(&self.scope).into());
        }
        for (name, value) in self.flags() {
            set(name, value);
        }
        for (name, list) in [
            ("audience", &self.audience),
            ("grant_types", &self.grant_type),
            ("allowed_owners", &self.allowed_owner),
            ("allowed_networks", &self.allowed_network),
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
        for (name, value) in [
            ("exchange", self.exchange()?),
            ("federated", self.federations()?),
            ("jwks", self.keys()?),
        ] {
            if let Some(value) = value {
                set(name, value);
            }
        }
        if !self.claim.is_empty() {
            set("claims", Value::Object(self.claims()?));
        }
        Ok(members)
    }

    fn keys(&self) -> anyhow::Result<Option<Value>> {
        let Some(file) = &self.jwks_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let keys = serde_json::from_str(&text);
        keys.map(Some)
            .with_context(|| format!("{} is not JSON", file.display()))
    }

    /// The members with the options that are switches.
    fn flags(&self) -> impl Iterator<Item = (&'static str, Value)> {
        const METHOD: &str = "token_endpoint_auth_method";
        let certificate = &self.certificate;
        let flags = [
            ("allow_introspection", self.allow_introspection),
            ("allow_device_id", self.allow_device_id),
            (
                "tls_client_certificate_bound_access_tokens",
                certificate.certificate_bound,
            ),
            ("dpop_bound_access_tokens", self.dpop_bound),
        ];
        let flags = flags.into_iter();
        let flags = flags.filter_map(|(name, flag)| Some((name, flag?.into())));
        let method = certificate.tls_self_signed;
        flags.chain(method.then(|| (METHOD, "self_signed_tls_client_auth".into())))
    }

    /// The settings of the audiences; `None` without an option of them.
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

    fn exchange(&self) -> anyhow::Result<Option<Value>> {
        let read = |text: &String| {
            let usage = || Ended::Usage("`--exchange`: it must be a JSON object".to_owned());
            let value: Value = serde_json::from_str(text).map_err(|_| usage())?;
            value.is_object().then_some(value).ok_or_else(usage)
        };
        Ok(self.exchange.as_ref().map(read).transpose()?)
    }

    fn federations(&self) -> anyhow::Result<Option<Value>> {
        let entries = self.federated.iter().map(|entry| {
            serde_json::from_str::<Value>(entry)
                .map_err(|why| Ended::Usage(format!("`--federated`: it is not JSON: {why}")))
        });
        let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        Ok((!entries.is_empty()).then_some(Value::Array(entries)))
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
