//! The `oauth2` crate's client. jsonwebtoken verifies the tokens, and signs the assertion, which
//! the crate does not support.
//!
//! This program reads the metadata itself: the crate has no discovery.

use std::error::Error;
use std::fs::read_to_string;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use oauth2::basic::{BasicClient, BasicErrorResponseType, BasicTokenResponse};
use oauth2::{
    AccessToken, AuthType, ClientId, ClientSecret, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    HttpRequest, HttpResponse, IntrospectionUrl, RefreshToken, RequestTokenError, RevocationUrl,
    Scope, StandardRevocableToken, TokenIntrospectionResponse, TokenResponse, TokenUrl,
};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

type Client =
    BasicClient<EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointSet, EndpointSet>;

/// Sends a request. The crate requires https for revocation, but loopback has http only.
fn http(request: HttpRequest) -> std::result::Result<HttpResponse, ureq::Error> {
    let (mut head, body) = request.into_parts();
    let url = head.uri.to_string().replacen("https://", "http://", 1);
    head.uri = url.parse().map_err(|_| ureq::Error::BadUri(url))?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let (head, mut body) = agent.run(HttpRequest::from_parts(head, body))?.into_parts();
    Ok(HttpResponse::from_parts(head, body.read_to_vec()?))
}

fn get(url: &str) -> Result<Vec<u8>> {
    let request = oauth2::http::Request::get(url).body(Vec::new())?;
    Ok(http(request)?.into_body())
}

struct World {
    issuer: String,
    audience: String,
    parts: String,
    secret: String,
    metadata: Value,
}

impl World {
    fn discover() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
        let issuer = variable("M2M_ISSUER")?;
        let metadata: Value = serde_json::from_slice(&get(&format!(
            "{issuer}/.well-known/oauth-authorization-server"
        ))?)?;
        assert_eq!(metadata["issuer"], issuer.as_str());
        Ok(Self {
            issuer,
            audience: variable("M2M_AUDIENCE")?,
            parts: variable("M2M_PARTS")?,
            secret: read_to_string(variable("M2M_SECRET_FILE")?)?,
            metadata,
        })
    }

    fn tries(&self, part: &str) -> bool {
        self.parts.split(' ').any(|tried| tried == part)
    }

    fn url(&self, name: &str) -> Result<String> {
        Ok(self.metadata[name]
            .as_str()
            .ok_or(format!("no {name}"))?
            .to_owned())
    }

    fn client(&self, id: &str, secret: Option<&str>, auth: AuthType) -> Result<Client> {
        let client = BasicClient::new(ClientId::new(id.to_owned()));
        let client = match secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.to_owned())),
            None => client,
        };
        let introspection = self
            .url("introspection_endpoint")
            .ok()
            .map(IntrospectionUrl::new)
            .transpose()?;
        let revocation = self
            .url("revocation_endpoint")?
            .replacen("http://", "https://", 1);
        Ok(client
            .set_auth_type(auth)
            .set_introspection_url_option(introspection)
            .set_revocation_url(RevocationUrl::new(revocation)?)
            .set_token_uri(TokenUrl::new(self.url("token_endpoint")?)?))
    }

    fn legacy(&self, auth: AuthType) -> Result<Client> {
        self.client("legacy", Some(&self.secret), auth)
    }

    /// Verifies an access token as a resource server would.
    fn accept(&self, token: &AccessToken, client: &str) -> Result<()> {
        let keys: JwkSet = serde_json::from_slice(&get(&self.url("jwks_uri")?)?)?;
        let kid = decode_header(token.secret())?.kid.ok_or("no kid")?;
        let key = DecodingKey::from_jwk(keys.find(&kid).ok_or("an unknown kid")?)?;
        let mut wanted = Validation::new(Algorithm::ES256);
        wanted.set_audience(&[&self.audience]);
        wanted.set_issuer(&[&self.issuer]);
        wanted.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let claims = decode::<Value>(token.secret(), &key, &wanted)?.claims;
        assert_eq!(claims["client_id"], client);
        assert_eq!(claims["scope"], "devices:read");
        Ok(())
    }

    fn is_active(&self, client: &Client, token: &AccessToken) -> Result<bool> {
        Ok(client
            .introspect(token)?
            .set_token_type_hint("access_token")
            .request(&http)?
            .active())
    }
}

fn grant(client: &Client) -> Result<BasicTokenResponse> {
    let scope = Scope::new("devices:read".to_owned());
    Ok(client
        .exchange_client_credentials()
        .add_scope(scope)
        .request(&http)?)
}

/// The error code of a token request that is refused.
fn refused<T>(
    answer: std::result::Result<T, oauth2::basic::BasicRequestTokenError<ureq::Error>>,
) -> Result<BasicErrorResponseType> {
    match answer {
        Ok(_) => Err("granted".into()),
        Err(RequestTokenError::ServerResponse(answer)) => Ok(answer.error().clone()),
        Err(error) => Err(error.into()),
    }
}

/// A JWT that proves the client `signer` (RFC 7523 §3).
fn assertion(world: &World) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let claims = json!({
        "iss": "signer", "sub": "signer", "aud": world.issuer,
        "jti": format!("rust-{}", now.as_nanos()),
        "iat": now.as_secs(), "exp": now.as_secs() + 60,
    });
    let key = EncodingKey::from_ec_pem(read_to_string(std::env::var("M2M_KEY_FILE")?)?.as_bytes())?;
    Ok(encode(&Header::new(Algorithm::ES256), &claims, &key)?)
}

fn main() -> Result<()> {
    let world = World::discover()?;
    for auth in [AuthType::BasicAuth, AuthType::RequestBody] {
        let client = world.legacy(auth)?;
        let token = grant(&client)?;
        assert_eq!(token.expires_in().map(|life| life.as_secs()), Some(900));
        world.accept(token.access_token(), "legacy")?;
        let wrong = client
            .exchange_client_credentials()
            .add_scope(Scope::new("admin".to_owned()))
            .request(&http);
        assert_eq!(refused(wrong)?, BasicErrorResponseType::InvalidScope);
    }
    let unknown = world.client("unknown-of-rust", Some("wrong"), AuthType::BasicAuth)?;
    assert_eq!(
        refused(unknown.exchange_client_credentials().request(&http))?,
        BasicErrorResponseType::InvalidClient
    );

    if world.tries("private_key_jwt") {
        let signer = world.client("signer", None, AuthType::RequestBody)?;
        let token = signer
            .exchange_client_credentials()
            .add_scope(Scope::new("devices:read".to_owned()))
            .add_extra_param("client_assertion_type", ASSERTION_TYPE)
            .add_extra_param("client_assertion", assertion(&world)?)
            .request(&http)?;
        world.accept(token.access_token(), "signer")?;
    }

    let client = world.legacy(AuthType::BasicAuth)?;
    let token = grant(&client)?.access_token().clone();
    if world.tries("introspection") {
        assert!(world.is_active(&client, &token)?);
    }
    client
        .revoke_token(StandardRevocableToken::AccessToken(token.clone()))?
        .request(&http)?;
    if world.tries("introspection") {
        assert!(!world.is_active(&client, &token)?);
    }

    if world.tries("refresh") {
        let first = grant(&client)?
            .refresh_token()
            .ok_or("no refresh token")?
            .clone();
        let second = client.exchange_refresh_token(&first).request(&http)?;
        world.accept(second.access_token(), "legacy")?;
        assert_ne!(
            second.refresh_token().ok_or("no refresh token")?.secret(),
            first.secret()
        );
        let nonsense = RefreshToken::new("nonsense".to_owned());
        let answer = client.exchange_refresh_token(&nonsense).request(&http);
        assert_eq!(refused(answer)?, BasicErrorResponseType::InvalidGrant);
    }
    println!("oauth2 (Rust): accepted");
    Ok(())
}
