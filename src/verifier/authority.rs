//! A trusted issuer: its keys, and the rules its tokens obey.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;
use url::Url;

use super::revocation::{IntrospectionClient, Revocation};
use super::{AuthorityConfig, KeySource, Profile};
use crate::domain::claims::Claims;
use crate::domain::clock::SharedClock;
use crate::domain::hash::sha256_parts;
use crate::domain::revoked::RevokedNow;
use crate::http_client::{HttpAnswer, HttpClient, HttpError, HttpOptions};
use crate::jose::Algorithm;
use crate::jose::key_set::KeySet;
use crate::jose::live_keys::{Fetch, Fetched, KeptAt, LiveKeys};

/// The largest discovery document or JWKS that is read.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// The largest revocation list: some 200,000 tokens.
const MAX_REVOCATION_ANSWER: usize = 8 * 1024 * 1024;
/// To connect, and in all.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// The same where a request waits for the answer.
const REVOCATION_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// A file is looked at again this often; what `Cache-Control` is to a URL.
const FILE_LIFETIME: Duration = Duration::from_secs(60);

/// A trusted issuer.
pub struct Authority {
    pub(super) issuer: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) clock_skew: Duration,
    pub(super) require_expiry: bool,
    pub(super) profile: Profile,
    keys: Arc<LiveKeys>,
    revocation: Arc<Revocation>,
    source: KeySource,
    ca_pem: Option<Vec<u8>>,
}

/// The authority's HTTP client could not be made: its `caFile` holds no usable certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authority's certificates cannot be used")]
pub struct UnusableCertificates;

/// What our own issuer hands over in process.
#[derive(Clone)]
pub struct OwnIssuer {
    /// Its keys.
    pub keys: Arc<LiveKeys>,
    /// What it has revoked.
    pub revoked: RevokedNow,
}

impl Authority {
    /// An authority whose keys are fetched as [`Authority::fetching`] says, or, when it is our own issuer, are those of
    /// `own`. `introspection` is what `revocation.credential` names.
    #[must_use]
    pub fn new(
        config: AuthorityConfig,
        clock: SharedClock,
        own: Option<OwnIssuer>,
        introspection: Option<IntrospectionClient>,
    ) -> Arc<Self> {
        let own = own.filter(|_| config.keys == KeySource::OwnIssuer);
        let (keys, revoked) = match own {
            Some(own) => (own.keys, Some(own.revoked)),
            None => (LiveKeys::fetched(clock, config.max_stale), None),
        };
        let revocation = Revocation::new(
            config.revocation,
            (config.issuer.clone(), config.algorithms.clone()),
            keys.clone(),
            introspection,
            revoked,
            config.keys == KeySource::Discovery,
        );
        Arc::new(Self {
            issuer: config.issuer,
            algorithms: config.algorithms,
            clock_skew: config.clock_skew,
            require_expiry: config.require_expiry,
            profile: config.profile,
            keys,
            revocation: Arc::new(revocation),
            source: config.keys,
            ca_pem: config.ca_pem,
        })
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<LiveKeys> {
        &self.keys
    }

    /// What is known of its tokens' revocation.
    #[must_use]
    pub fn revocation(&self) -> &Arc<Revocation> {
        &self.revocation
    }

    /// The client that [`Revocation::run`] asks with.
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn revocation_client(&self) -> Result<HttpClient, UnusableCertificates> {
        self.client(REVOCATION_TIMEOUTS, MAX_REVOCATION_ANSWER)
    }

    /// How its keys are fetched and where the last good ones are kept; `None` for our own issuer's.
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn fetching(
        &self,
        state_dir: &std::path::Path,
    ) -> Result<Option<(Fetch, Option<KeptAt>)>, UnusableCertificates> {
        let client = || self.client(TIMEOUTS, MAX_DOCUMENT);
        let (fetch, source): (Fetch, String) = match &self.source {
            KeySource::OwnIssuer => return Ok(None),
            KeySource::File(file) => {
                let file = file.clone();
                return Ok(Some((Arc::new(move || Box::pin(read_file(file.clone()))), None)));
            }
            KeySource::Url(url) => {
                let (client, source) = (client()?, url.to_string());
                let url = url.clone();
                let fetch: Fetch = Arc::new(move || {
                    let (client, url) = (client.clone(), url.clone());
                    Box::pin(async move { fetch_key_set(&client, url).await })
                });
                (fetch, source)
            }
            KeySource::Discovery => {
                let discovery = Arc::new(Discovery { client: client()?, issuer: self.issuer.clone() });
                let fetch: Fetch = Arc::new(move || {
                    let discovery = discovery.clone();
                    Box::pin(async move { discovery.fetch().await })
                });
                (fetch, "discovery".to_owned())
            }
        };
        let identity = format!("{} {source}", self.issuer);
        let id =
            sha256_parts(&[identity.as_bytes()])[..8].iter().map(|b| format!("{b:02x}")).collect::<String>();
        let file = state_dir.join(format!("jwks-{id}.json"));
        Ok(Some((fetch, Some(KeptAt { file, identity }))))
    }

    fn client(
        &self,
        (connect_timeout, total_timeout): (Duration, Duration),
        max_body: usize,
    ) -> Result<HttpClient, UnusableCertificates> {
        let options = HttpOptions { connect_timeout, total_timeout, ca_pem: self.ca_pem.clone(), max_body };
        HttpClient::new(options).map_err(|_| UnusableCertificates)
    }
}

async fn read_file(file: PathBuf) -> Result<Fetched, &'static str> {
    let document = tokio::fs::read(file).await.map_err(|_| "the JWKS file cannot be read")?;
    let keys = KeySet::parse(&document).map_err(|_| "the JWKS file holds no usable key")?;
    Ok(Fetched { document, keys, metadata: None, max_age: Some(FILE_LIFETIME) })
}

/// Finds the JWKS through the issuer's metadata, anew each time: a key set that moves is found at its new place.
struct Discovery {
    client: HttpClient,
    issuer: String,
}

impl Discovery {
    async fn fetch(&self) -> Result<Fetched, &'static str> {
        let (url, metadata) = self.discover().await?;
        let fetched = fetch_key_set(&self.client, url).await?;
        Ok(Fetched { metadata: Some(metadata), ..fetched })
    }

    /// Tries OpenID Connect Discovery 1.0 §4, then RFC 8414 §3. The document must name this very issuer, or anyone
    /// who can answer for a path could lend it foreign keys (RFC 8414 §3.3).
    async fn discover(&self) -> Result<(Url, Claims), &'static str> {
        let mut error = "the authority's metadata cannot be fetched";
        for url in metadata_urls(&self.issuer) {
            match self.read_metadata(url).await {
                Ok(found) => return Ok(found),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    async fn read_metadata(&self, url: Url) -> Result<(Url, Claims), &'static str> {
        let secure = url.scheme() == "https";
        let answer = get(&self.client, url).await?;
        let metadata = Claims::parse(&answer.body).map_err(|_| "the authority's metadata is not JSON")?;
        let text = |name| metadata.get(name).and_then(serde_json::Value::as_str);
        if text("issuer") != Some(&self.issuer) {
            return Err("the authority's metadata names another issuer");
        }
        let jwks_uri =
            text("jwks_uri").and_then(|uri| Url::parse(uri).ok()).ok_or("the metadata has no jwks_uri")?;
        if jwks_uri.scheme() != "https" && (secure || jwks_uri.scheme() != "http") {
            return Err("the metadata's jwks_uri is not https");
        }
        Ok((jwks_uri, metadata))
    }
}

/// The places of an issuer's metadata.
fn metadata_urls(issuer: &str) -> Vec<Url> {
    let appended = Url::parse(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')));
    let inserted = Url::parse(issuer).map(|mut url| {
        let path = format!("/.well-known/oauth-authorization-server{}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    });
    appended.into_iter().chain(inserted).collect()
}

async fn get(client: &HttpClient, url: Url) -> Result<HttpAnswer, &'static str> {
    let answer = client.get(&url, HeaderMap::new()).await.map_err(why)?;
    if answer.status == http::StatusCode::OK {
        Ok(answer)
    } else {
        Err("the authority answered with an error status")
    }
}

fn why(error: HttpError) -> &'static str {
    match error {
        HttpError::Timeout => "the authority did not answer in time",
        HttpError::Connect => "the authority cannot be reached",
        HttpError::Tls => "the authority's certificate or name is not trusted",
        HttpError::TooLarge => "the authority's answer is too large",
        HttpError::Broken => "the authority's answer broke off or is no HTTP",
    }
}

async fn fetch_key_set(client: &HttpClient, url: Url) -> Result<Fetched, &'static str> {
    let answer = get(client, url).await?;
    let keys = KeySet::parse(&answer.body).map_err(|_| "the authority's JWKS holds no usable key")?;
    Ok(Fetched { max_age: max_age(&answer.headers), keys, metadata: None, document: answer.body.to_vec() })
}

/// RFC 9111 §5.2.2: `max-age`, unless the answer is not to be stored.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives =
        headers.get_all(CACHE_CONTROL).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let mut age = None;
    for directive in directives {
        let directive = directive.trim().to_ascii_lowercase();
        if directive == "no-store" || directive == "no-cache" {
            return None;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            age = seconds.trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_both_standards_put_it() {
        let urls = |issuer| metadata_urls(issuer).iter().map(Url::to_string).collect::<Vec<_>>();
        assert_eq!(
            urls("https://idp.example/realms/iot"),
            [
                "https://idp.example/realms/iot/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server/realms/iot"
            ]
        );
        assert_eq!(
            urls("https://idp.example/"),
            [
                "https://idp.example/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server"
            ]
        );
        assert!(urls("not a url").is_empty());
    }

    #[test]
    fn cache_control_gives_the_lifetime_unless_it_forbids_storing() {
        let age = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, value.parse().unwrap());
            max_age(&headers)
        };
        assert_eq!(age("public, max-age=300"), Some(Duration::from_secs(300)));
        assert_eq!(age("Max-Age=\"60\""), Some(Duration::from_secs(60)));
        assert_eq!(age("no-store, max-age=300"), None);
        assert_eq!(age("max-age=x"), None);
        assert_eq!(age("public"), None);
    }
}
