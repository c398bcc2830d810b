//! One token request: find the token endpoint, authenticate, ask (RFC 6749 §4.4).

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::access_token::{Grant, Moment};
use super::answer::{self, retry_after};
use super::error::{Failure, FetchError};
use super::{Config, TokenEndpoint};
use crate::domain::claims::Claims;
use crate::domain::clock::SharedClock;
use crate::domain::oauth::{ClientAuthMethod, GrantType, basic_authorization};
use crate::domain::secret::ExposeSecret;
use crate::http_client::{HttpAnswer, HttpClient, HttpError};

/// Asks one authority for tokens, and remembers where its token endpoint is.
pub(super) struct TokenClient<'a> {
    config: &'a Config,
    http: &'a HttpClient,
    clock: &'a SharedClock,
    discovered: ArcSwapOption<Url>,
}

impl<'a> TokenClient<'a> {
    pub fn new(config: &'a Config, http: &'a HttpClient, clock: &'a SharedClock) -> Self {
        Self { config, http, clock, discovered: ArcSwapOption::empty() }
    }

    /// One token request, preceded by discovery when the endpoint is not known yet.
    pub async fn fetch(&self) -> Result<Grant, Failure> {
        let endpoint = self.endpoint().await?;
        let requested = Moment { monotonic: Instant::now(), wall: self.clock.now() };
        let answer = match self.request(&endpoint).await {
            Ok(answer) => answer,
            Err(error) => {
                // An authority that cannot be reached there may have moved.
                if error == FetchError::Http(HttpError::Connect) {
                    self.discovered.store(None);
                }
                return Err(error.into());
            }
        };
        if answer.status == StatusCode::NOT_FOUND {
            self.discovered.store(None);
        }
        let answer::TokenAnswer { token, lifetime } = answer::parse(&answer, requested.wall)?;
        Ok(Grant { token, lifetime, requested })
    }

    async fn request(&self, endpoint: &Url) -> Result<HttpAnswer, FetchError> {
        let mut headers = accept_json();
        if self.config.auth_method == ClientAuthMethod::ClientSecretBasic {
            let basic = basic_authorization(&self.config.client_id, &self.config.client_secret);
            headers.insert(AUTHORIZATION, basic.ok_or(FetchError::Request)?);
        }
        let scope = self.config.scopes.to_string();
        self.http.post_form(endpoint, headers, &form(self.config, &scope)).await.map_err(FetchError::Http)
    }

    async fn endpoint(&self) -> Result<Arc<Url>, Failure> {
        let authority = match &self.config.endpoint {
            TokenEndpoint::Url(url) => return Ok(Arc::new(url.clone())),
            TokenEndpoint::Discovery(authority) => authority,
        };
        if let Some(known) = self.discovered.load_full() {
            return Ok(known);
        }
        let endpoint = Arc::new(discover(self.http, authority).await?);
        self.discovered.store(Some(Arc::clone(&endpoint)));
        Ok(endpoint)
    }
}

fn accept_json() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))])
}

/// The form of RFC 6749 §4.4.2. `scope` is the joined text of the configured scopes.
fn form<'a>(config: &'a Config, scope: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![("grant_type", GrantType::ClientCredentials.as_str())];
    if config.auth_method == ClientAuthMethod::ClientSecretPost {
        form.push(("client_id", &config.client_id));
        form.push(("client_secret", config.client_secret.expose_secret()));
    }
    if !scope.is_empty() {
        form.push(("scope", scope));
    }
    form.extend(config.audiences.iter().map(|audience| ("audience", audience.as_str())));
    form.extend(config.resources.iter().map(|resource| ("resource", resource.as_str())));
    form.extend(config.extra_parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    form
}

/// Finds an authority's token endpoint in its metadata.
///
/// Two places are customary. The first is OpenID Connect's, which nearly every authority serves. When both fail, the
/// first failure is told, unless the second found more than "not here".
async fn discover(http: &HttpClient, authority: &Url) -> Result<Url, Failure> {
    let mut failure = None;
    for url in metadata_urls(authority) {
        let found = async {
            let answer = http.get(&url, accept_json()).await.map_err(FetchError::Metadata)?;
            parse_metadata(&answer, authority)
        };
        match found.await {
            Ok(endpoint) => return Ok(endpoint),
            // No second question to an authority that is down or busy.
            Err(next) if next.error.is_transient() => return Err(next),
            Err(next) => {
                let absent = matches!(next.error, FetchError::MetadataStatus(_));
                if failure.is_none() || !absent {
                    failure = Some(next);
                }
            }
        }
    }
    Err(failure.unwrap_or_else(|| FetchError::MetadataMalformed.into()))
}

/// OpenID Connect Discovery 1.0 §4 appends its path to the issuer's; RFC 8414 §3.1 inserts its own before it.
fn metadata_urls(authority: &Url) -> [Url; 2] {
    let path = authority.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = authority.clone();
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        url
    };
    [
        at(format!("{path}/.well-known/openid-configuration")),
        at(format!("/.well-known/oauth-authorization-server{path}")),
    ]
}

fn parse_metadata(answer: &HttpAnswer, authority: &Url) -> Result<Url, Failure> {
    if answer.status != StatusCode::OK {
        let error = FetchError::MetadataStatus(answer.status.as_u16());
        return Err(Failure { error, retry_after: retry_after(&answer.headers) });
    }
    let metadata = Claims::parse(&answer.body).map_err(|_| FetchError::MetadataMalformed)?;
    let url = |member| metadata.string(member).ok().flatten().and_then(|text| Url::parse(text).ok());
    // RFC 8414 §3.3: otherwise anyone whose metadata we can be led to receives our secret.
    if url("issuer").is_none_or(|issuer| !is_same_issuer(&issuer, authority)) {
        return Err(FetchError::MetadataIssuer.into());
    }
    match url("token_endpoint") {
        Some(endpoint) if is_acceptable_endpoint(&endpoint, authority) => Ok(endpoint),
        _ => Err(FetchError::MetadataEndpoint.into()),
    }
}

/// Whether two issuers are the same, one trailing slash apart tolerated: people write it either way.
fn is_same_issuer(issuer: &Url, authority: &Url) -> bool {
    let trimmed = |url: &Url| {
        let text = url.as_str();
        text.strip_suffix('/').unwrap_or(text).to_owned()
    };
    trimmed(issuer) == trimmed(authority)
}

/// Whether the secret may be sent there: never with less protection than the metadata had, and with no
/// credentials of the authority's choosing in the URL.
fn is_acceptable_endpoint(endpoint: &Url, authority: &Url) -> bool {
    let protected = match endpoint.scheme() {
        "https" => true,
        "http" => authority.scheme() == "http",
        _ => false,
    };
    let bare =
        endpoint.username().is_empty() && endpoint.password().is_none() && endpoint.fragment().is_none();
    protected && bare && endpoint.has_host()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::domain::clock::SystemClock;
    use crate::domain::scope::ScopeSet;
    use crate::token_source::http_options;
    use crate::token_source::testing::{self, Authority, config};

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    async fn fetch_all(config: &Config, times: usize) -> Vec<Result<String, FetchError>> {
        let http = HttpClient::new(http_options(None)).unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
        let client = TokenClient::new(config, &http, &clock);
        let mut results = Vec::new();
        for _ in 0..times {
            let result = client.fetch().await;
            results.push(result.map(|g| g.token.expose_secret().to_owned()).map_err(|f| f.error));
        }
        results
    }

    fn metadata(authority: &Authority, issuer_path: &str, endpoint: &str) -> String {
        let body = format!(r#"{{"issuer":"{}","token_endpoint":"{endpoint}"}}"#, authority.url(issuer_path));
        testing::answer(200, &body)
    }

    #[tokio::test]
    async fn basic_authentication_encodes_id_and_secret() {
        let authority = Authority::start().await;
        authority.script([testing::token("t1", 60)]);
        let config = Config {
            client_id: "id:x".into(),
            client_secret: "p@ss wörd".into(),
            scopes: ScopeSet::parse("a b").unwrap(),
            audiences: vec!["https://a.example".into(), "b".into()],
            resources: vec!["https://r.example".into()],
            extra_parameters: vec![("x".into(), "1&2".into())],
            ..config(&authority)
        };
        assert_eq!(fetch_all(&config, 1).await, [Ok("t1".to_owned())]);
        let [request] = authority.requests().try_into().unwrap();
        let basic = STANDARD.encode("id%3Ax:p%40ss+w%C3%B6rd");
        assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nauthorization: Basic {basic}\r\n")), "{request}");
        assert!(request.contains("\r\naccept: application/json\r\n"), "{request}");
        let body = "grant_type=client_credentials&scope=a+b&audience=https%3A%2F%2Fa.example&audience=b\
                    &resource=https%3A%2F%2Fr.example&x=1%262";
        assert!(request.ends_with(&format!("\r\n\r\n{body}")), "{request}");
    }

    #[tokio::test]
    async fn post_authentication_stands_in_the_form_only() {
        let authority = Authority::start().await;
        authority.script([testing::token("t1", 60)]);
        let config = Config { auth_method: ClientAuthMethod::ClientSecretPost, ..config(&authority) };
        fetch_all(&config, 1).await;
        let [request] = authority.requests().try_into().unwrap();
        assert!(
            request.ends_with("\r\n\r\ngrant_type=client_credentials&client_id=legacy&client_secret=hunter2")
        );
        assert!(!request.contains("authorization:"), "{request}");
    }

    #[tokio::test]
    async fn discovery_is_remembered_until_the_endpoint_is_gone() {
        let authority = Authority::start().await;
        let found = metadata(&authority, "/realm", &authority.url("/elsewhere"));
        authority.script([
            found.clone(),
            testing::token("t1", 60),
            testing::token("t2", 60),
            testing::answer(404, ""),
            found,
            testing::token("t3", 60),
        ]);
        let endpoint = TokenEndpoint::Discovery(url(&authority.url("/realm/")));
        let results = fetch_all(&Config { endpoint, ..config(&authority) }, 4).await;
        let expected = [Ok("t1".into()), Ok("t2".into()), Err(FetchError::Status(404)), Ok("t3".into())];
        assert_eq!(results, expected);
        let asked = authority.requested_paths();
        let well_known = "/realm/.well-known/openid-configuration";
        assert_eq!(asked, [well_known, "/elsewhere", "/elsewhere", "/elsewhere", well_known, "/elsewhere"]);
    }

    #[tokio::test]
    async fn rfc_8414_is_the_second_place_to_look() {
        let authority = Authority::start().await;
        let found = metadata(&authority, "/realm", &authority.url("/token"));
        authority.script([testing::answer(404, ""), found, testing::token("t1", 60)]);
        let endpoint = TokenEndpoint::Discovery(url(&authority.url("/realm")));
        assert_eq!(fetch_all(&Config { endpoint, ..config(&authority) }, 1).await, [Ok("t1".to_owned())]);
        assert_eq!(authority.requested_paths()[1], "/.well-known/oauth-authorization-server/realm");
    }

    #[tokio::test]
    async fn no_secret_is_sent_when_metadata_is_not_the_authoritys() {
        let authority = Authority::start().await;
        let endpoint = TokenEndpoint::Discovery(url(&authority.url("/realm")));
        let config = Config { endpoint, ..config(&authority) };
        let other = metadata(&authority, "/other", &authority.url("/token"));
        for (first, second, error) in [
            (other.clone(), other, FetchError::MetadataIssuer),
            (testing::answer(200, "<html>"), testing::answer(404, ""), FetchError::MetadataMalformed),
            (testing::answer(404, ""), testing::answer(403, ""), FetchError::MetadataStatus(404)),
            (
                testing::answer(404, ""),
                metadata(&authority, "/realm", "nonsense"),
                FetchError::MetadataEndpoint,
            ),
        ] {
            authority.script([first, second]);
            assert_eq!(fetch_all(&config, 1).await, [Err(error)]);
        }
        assert!(authority.requests().iter().all(|request| request.starts_with("GET ")));
    }

    #[tokio::test]
    async fn a_busy_authority_is_not_asked_in_the_second_place() {
        let authority = Authority::start().await;
        authority.script([testing::answer(503, "")]);
        let endpoint = TokenEndpoint::Discovery(url(&authority.url("")));
        let results = fetch_all(&Config { endpoint, ..config(&authority) }, 1).await;
        assert_eq!(results, [Err(FetchError::MetadataStatus(503))]);
        assert_eq!(authority.requests().len(), 1);
    }

    #[test]
    fn metadata_places_follow_both_standards() {
        for (authority, path) in
            [("https://a.example", ""), ("https://a.example/", ""), ("https://a.example/b/", "/b")]
        {
            let [oidc, oauth] = metadata_urls(&url(authority));
            assert_eq!(oidc.as_str(), format!("https://a.example{path}/.well-known/openid-configuration"));
            assert_eq!(
                oauth.as_str(),
                format!("https://a.example/.well-known/oauth-authorization-server{path}")
            );
        }
    }

    #[test]
    fn issuers_are_equal_up_to_one_trailing_slash() {
        let same = |a: &str, b: &str| is_same_issuer(&url(a), &url(b));
        assert!(same("https://a.example", "https://a.example/"));
        assert!(same("https://a.example/b/", "https://a.example/b"));
        assert!(same("https://A.example:443/b", "https://a.example/b"));
        for other in
            ["http://a.example/b", "https://a.example/B", "https://a.example/b//", "https://a.example/b?x"]
        {
            assert!(!same(other, "https://a.example/b"), "{other}");
        }
    }

    #[test]
    fn a_token_endpoint_is_never_less_protected_than_its_authority() {
        let accepted =
            |endpoint: &str, authority: &str| is_acceptable_endpoint(&url(endpoint), &url(authority));
        assert!(accepted("https://b.example/t", "https://a.example"));
        assert!(accepted("https://b.example/t", "http://a.example"));
        assert!(accepted("http://b.example/t", "http://a.example"));
        assert!(!accepted("http://b.example/t", "https://a.example"));
        for bad in
            ["ftp://b.example/t", "file:///t", "https://u:p@b.example/t", "https://b.example/t#x", "data:x"]
        {
            assert!(!accepted(bad, "https://a.example"), "{bad}");
        }
    }
}
