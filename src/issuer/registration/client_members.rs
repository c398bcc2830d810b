//! The members of a client's metadata in a request.

use serde_json::{Map, Value, json};
use url::Url;

use super::certificate_members::{
    SAN_DNS, SAN_EMAIL, SAN_IP, SAN_URI, SUBJECT_DN, certificate_name,
};
use super::members::{MAX_ITEMS, MAX_TEXT, Members, YEAR};
use super::metadata::{AuthMethod, ClientMetadata};
use super::{federated_member, foreign};
use crate::domain::name::{is_audience, is_claim_name};
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::issuer::client::read_key_set;
use crate::issuer::client_secret::MIN_BYTES as MIN_SECRET;
use crate::issuer::{RESERVED_CLAIMS, why_no_claim};

/// The scopes, audiences and claims of a client stand in each of its tokens, which must fit into a
/// header.
const MAX_JOINED: usize = 2048;

impl Members<'_> {
    pub(super) fn lifetime(&mut self) -> Option<u64> {
        let lifetime = self.seconds("access_token_lifetime")?;
        if lifetime.as_secs() == 0 || lifetime > YEAR {
            self.problem("access_token_lifetime", "it must be from 1s to 366d");
        }
        Some(lifetime.as_secs())
    }

    pub(super) fn grant_types(&mut self) -> Vec<String> {
        let default = || vec![GrantType::ClientCredentials.as_str().to_owned()];
        let Some(names) = self.list("grant_types") else {
            return default();
        };
        if names.is_empty() {
            self.problem(
                "grant_types",
                format!("it must name at least one grant: {}", supported_grants()),
            );
        }
        let mut known: Vec<String> = Vec::new();
        for name in names {
            if GrantType::parse(name).is_none() {
                let problem = format!(
                    "{}; this server has {}",
                    foreign::why_no_grant(name),
                    supported_grants()
                );
                self.problem("grant_types", problem);
                return default();
            }
            if !known.iter().any(|known| known == name) {
                known.push(name.to_owned());
            }
        }
        known
    }

    /// The response types of an authorization endpoint (RFC 7591 §2). This server has none, so the
    /// member has no effect, except when it is all that the request says about the client's use.
    pub(super) fn response_types(&mut self) -> Vec<String> {
        let Some(types) = self.list("response_types") else {
            return Vec::new();
        };
        let is_known = |kind: &str| {
            kind.split(' ')
                .all(|part| matches!(part, "code" | "token" | "id_token" | "none"))
                && !kind.is_empty()
        };
        if !types.iter().all(|kind| is_known(kind)) {
            self.problem(
                "response_types",
                "it must be a list of `code`, `token`, `id_token` and `none`",
            );
        } else if types.iter().any(|kind| *kind != "none")
            && self.get("grant_types").is_none()
            && self.get("client_type").is_none()
        {
            let problem = "it asks for a login (authorization code or implicit grant), and this \
                           server has no authorization endpoint; a machine says \
                           `grant_types: [\"client_credentials\"]`";
            self.problem("response_types", problem);
        }
        types.into_iter().map(str::to_owned).collect()
    }

    /// `scope`, as RFC 7591 has it, or `scopes`, a list.
    pub(super) fn scope(&mut self) -> ScopeSet {
        // An empty text is a value here: no scope.
        let joined = match self.get("scope") {
            None => None,
            Some(Value::String(text)) => Some(ScopeSet::parse(text)),
            Some(_) => self.list("scope").map(ScopeSet::from_tokens),
        };
        let listed = self.list("scopes").map(ScopeSet::from_tokens);
        for (name, scopes) in [("scope", &joined), ("scopes", &listed)] {
            match scopes {
                Some(Err(why)) => self.problem(name, why.to_string()),
                Some(Ok(set))
                    if set.to_string().len() > MAX_JOINED || set.iter().count() > MAX_ITEMS =>
                {
                    self.problem(
                        name,
                        format!("at most {MAX_ITEMS} scopes, of {MAX_JOINED} bytes together"),
                    );
                }
                _ => {}
            }
        }
        match (joined, listed) {
            (Some(Ok(joined)), Some(Ok(listed))) => {
                if !joined.is_same_as(&listed) {
                    self.problem(
                        "scopes",
                        "`scope` and `scopes` say different things; one of them is enough",
                    );
                }
                joined
            }
            (Some(Ok(scopes)), _) | (_, Some(Ok(scopes))) => scopes,
            _ => ScopeSet::default(),
        }
    }

    /// A list, or one text as Auth0's grants have it.
    pub(super) fn audience(&mut self) -> Vec<String> {
        let Some(list) = self.list_or_joined("audience") else {
            return Vec::new();
        };
        if !list.iter().all(|audience| is_audience(audience)) {
            self.problem(
                "audience",
                "an audience is not empty and holds no white space",
            );
        }
        if list.iter().map(|audience| audience.len()).sum::<usize>() > MAX_JOINED {
            self.problem("audience", format!("at most {MAX_JOINED} bytes together"));
        }
        let mut audiences: Vec<String> = Vec::new();
        for audience in list {
            if !audiences.iter().any(|known| known == audience) {
                audiences.push(audience.to_owned());
            }
        }
        audiences
    }

    pub(super) fn claims(&mut self) -> Map<String, Value> {
        let claims = match self.get("claims") {
            None => return Map::new(),
            Some(Value::Object(claims)) => claims,
            Some(_) => {
                self.problem("claims", "it must be an object");
                return Map::new();
            }
        };
        for name in claims.keys() {
            if let Some(why) = why_no_claim(name) {
                self.problem(&format!("claims.{name}"), why);
            } else if RESERVED_CLAIMS.contains(&name.as_str()) {
                self.problem(
                    &format!("claims.{name}"),
                    "the issuer sets this claim itself",
                );
            } else if !is_claim_name(name) {
                self.problem(
                    "claims",
                    "the name of a claim has 1 to 128 bytes, none of them a control character",
                );
            }
        }
        if Value::Object(claims.clone()).to_string().len() > MAX_JOINED {
            self.problem("claims", format!("at most {MAX_JOINED} bytes as JSON"));
        }
        claims.clone()
    }

    /// A secret that the caller chose.
    pub(in crate::issuer) fn secret(&mut self) -> Option<SecretString> {
        match self.get("client_secret")?.as_str() {
            Some("") => None,
            // RFC 6749 appendix A.2.
            Some(secret)
                if (MIN_SECRET..=MAX_TEXT).contains(&secret.len())
                    && secret.bytes().all(|byte| matches!(byte, b' '..=b'~')) =>
            {
                Some(SecretString::from(secret))
            }
            _ => {
                let problem = format!(
                    "it must be a text of {MIN_SECRET} to {MAX_TEXT} printable ASCII \
                     characters; leave it out for a generated one"
                );
                self.problem("client_secret", problem);
                None
            }
        }
    }

    pub(super) fn jwks(&mut self) -> Option<Value> {
        let jwks = self
            .get("jwks")
            .filter(|jwks| jwks.as_object().is_none_or(|set| !set.is_empty()))?;
        let keys = jwks.get("keys").and_then(Value::as_array);
        if let Err(why) = read_key_set(jwks.to_string().as_bytes()) {
            self.problem("jwks", format!("it {why}"));
        }
        // Other members of the set have no effect.
        Some(json!({ "keys": keys }))
    }

    pub(super) fn jwks_uri(&mut self) -> Option<String> {
        let uri = self.text_or_empty("jwks_uri", 2048)?;
        let is_usable = Url::parse(&uri).is_ok_and(|url| {
            url.scheme() == "https"
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        });
        if !is_usable {
            self.problem(
                "jwks_uri",
                "it must be an https URL without user, password and fragment",
            );
        }
        Some(uri)
    }

    /// The members that name the certificate, in otherwise empty metadata.
    pub(super) fn certificate_names(&mut self) -> ClientMetadata {
        let named = ClientMetadata {
            tls_client_auth_subject_dn: self.text_or_empty(SUBJECT_DN, 1024),
            tls_client_auth_san_dns: self.text_or_empty(SAN_DNS, MAX_TEXT),
            tls_client_auth_san_uri: self.text_or_empty(SAN_URI, 1024),
            tls_client_auth_san_ip: self.text_or_empty(SAN_IP, 64),
            tls_client_auth_san_email: self.text_or_empty(SAN_EMAIL, MAX_TEXT),
            ..ClientMetadata::default()
        };
        for (place, (member, text)) in named.certificate_names().enumerate() {
            if let Err(problem) = certificate_name(member, text) {
                self.problem(member, problem);
            } else if place > 0 {
                self.problem(
                    member,
                    "a client has one `tls_client_auth_` member (RFC 8705 §2.1)",
                );
            }
        }
        named
    }

    /// The method, which must fit the keys and the names of a certificate.
    pub(super) fn auth_method(
        &mut self,
        jwks: Option<&Value>,
        jwks_uri: Option<&str>,
        named: &ClientMetadata,
    ) -> Option<AuthMethod> {
        const NAME: &str = "token_endpoint_auth_method";
        let member = named.certificate_names().next().map(|(member, _)| member);
        let has_keys = jwks.is_some() || jwks_uri.is_some();
        if jwks.is_some() && jwks_uri.is_some() {
            let problem = "a client has either `jwks` or `jwks_uri` (RFC 7591 §2)";
            self.problem("jwks_uri", problem);
        }
        let text = self.text_or_empty(NAME, MAX_TEXT);
        let method = text.as_deref().map(AuthMethod::parse);
        if let Some(member) = member
            && (has_keys || !matches!(method, None | Some(Some(AuthMethod::TlsClientAuth))))
        {
            let problem = "it is for `tls_client_auth`, without `jwks` and `jwks_uri`";
            self.problem(member, problem);
        }
        let (text, method) = (text?, method?);
        match method {
            Some(AuthMethod::TlsClientAuth) if member.is_none() => {
                let problem = "`tls_client_auth` needs the name of the client's certificate: one \
                               of `tls_client_auth_subject_dn`, `tls_client_auth_san_dns`, \
                               `tls_client_auth_san_uri`, `tls_client_auth_san_ip` and \
                               `tls_client_auth_san_email`";
                self.problem(NAME, problem);
            }
            Some(AuthMethod::SelfSignedTlsClientAuth) if !has_keys => {
                let problem = "`self_signed_tls_client_auth` needs `jwks` or `jwks_uri`";
                self.problem(NAME, problem);
            }
            Some(AuthMethod::PrivateKeyJwt) if !has_keys => {
                self.problem(NAME, "`private_key_jwt` needs `jwks` or `jwks_uri`");
            }
            Some(AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost) if has_keys => {
                let problem = "a client with keys uses them: it must be `private_key_jwt` or \
                               `self_signed_tls_client_auth`";
                self.problem(NAME, problem);
            }
            Some(_) => {}
            None => {
                let problem = format!(
                    "it must be `client_secret_basic`, `client_secret_post`, `private_key_jwt`, \
                     `tls_client_auth` or `self_signed_tls_client_auth`{}",
                    foreign::why_no_method(&text)
                );
                self.problem(NAME, problem);
            }
        }
        method
    }
}

impl Members<'_> {
    /// Checks that a federated client has no other way to authenticate itself.
    pub(super) fn check_federated(&mut self, metadata: &ClientMetadata) {
        let method = metadata.token_endpoint_auth_method;
        if metadata.federated.is_empty() {
            if method == Some(AuthMethod::FederatedJwt) {
                let problem = "`federated_jwt` needs `federated`";
                self.problem("token_endpoint_auth_method", problem);
            }
            return;
        }
        let has_keys = metadata.jwks.is_some() || metadata.jwks_uri.is_some();
        let has_name = metadata.certificate_names().next().is_some();
        if has_keys || has_name || !matches!(method, None | Some(AuthMethod::FederatedJwt)) {
            let problem = "it is for `federated_jwt`, without `jwks`, `jwks_uri` and the name of \
                           a certificate";
            self.problem(federated_member::MEMBER, problem);
        }
    }
}

fn supported_grants() -> String {
    GrantType::ALL
        .map(|grant| format!("`{}`", grant.as_str()))
        .join(", ")
}
