//! The ways out: the proxy of each request, and the authentication at it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use url::Url;
use zeroize::Zeroizing;

use super::tunnel::ProxyFault;
use crate::domain::form::{WrongForm, require};
use crate::domain::no_proxy::{Straight, is_always_straight};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files::{blocking, read_secret};

/// The ways out of requests. The default uses no proxy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Egress {
    http: Option<Arc<EgressProxy>>,
    https: Option<Arc<EgressProxy>>,
    straight: Arc<[Straight]>,
}

/// A proxy that requests go through: absolute form for `http://`, `CONNECT` for `https://`.
#[derive(Clone, Debug, PartialEq)]
pub struct EgressProxy {
    /// Scheme, host and port.
    url: Url,
    user: Option<String>,
    password: ProxyPassword,
}

/// The password at a proxy (RFC 7617).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ProxyPassword {
    #[default]
    None,
    /// Of a variable of the environment.
    Known(SecretString),
    /// Read for each connection.
    File(PathBuf),
}

impl Egress {
    /// The proxies of `http://` and `https://` URLs, and the hosts that are reached without them.
    #[must_use]
    pub fn new(
        http: Option<EgressProxy>,
        https: Option<EgressProxy>,
        straight: Vec<Straight>,
    ) -> Self {
        Self {
            http: http.map(Arc::new),
            https: https.map(Arc::new),
            straight: straight.into(),
        }
    }

    /// The proxy of a URL; `None`: it is reached directly.
    #[must_use]
    pub fn way_to(&self, url: &Url) -> Option<&Arc<EgressProxy>> {
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        self.way(url.scheme() == "https", host, port)
    }

    /// The same for a scheme, host and port.
    #[must_use]
    pub fn way(&self, https: bool, host: &str, port: u16) -> Option<&Arc<EgressProxy>> {
        let proxy = if https { &self.https } else { &self.http };
        let proxy = proxy.as_ref()?;
        let host = bare(host);
        let is_straight = is_always_straight(&host)
            || self.straight.iter().any(|entry| entry.covers(&host, port));
        (!is_straight).then_some(proxy)
    }

    /// Its proxies and exceptions for people; `None`: there is no proxy.
    #[must_use]
    pub fn described(&self) -> Option<String> {
        let mut text = match (&self.http, &self.https) {
            (None, None) => return None,
            (Some(http), Some(https)) if http == https => https.to_string(),
            (Some(http), Some(https)) => format!("{https} for https, {http} for http"),
            (None, Some(https)) => format!("{https} for https"),
            (Some(http), None) => format!("{http} for http"),
        };
        if !self.straight.is_empty() {
            let names: Vec<_> = self.straight.iter().map(Straight::as_str).collect();
            text.push_str(&format!("; not for {}", names.join(", ")));
        }
        Some(text)
    }
}

/// A host in small letters without brackets.
fn bare(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

impl EgressProxy {
    /// Reads `[http://|https://][user[:password]@]host[:port]`.
    ///
    /// # Errors
    /// Why it is no proxy. The text holds nothing of it.
    pub fn parse(text: &str) -> Result<Self, WrongForm> {
        let text = text.trim();
        require(
            !text.to_ascii_lowercase().starts_with("socks"),
            "SOCKS proxies are not supported: name an HTTP proxy (`http://proxy.example:3128`)",
        )?;
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let mut url = Url::parse(&with_scheme)
            .map_err(|_| WrongForm("it is no URL: write it as `http://proxy.example:3128`"))?;
        require(
            matches!(url.scheme(), "http" | "https"),
            "it must begin with `http://` or `https://`",
        )?;
        let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
        require(
            !has_more,
            "remove path, query and fragment: a proxy has none",
        )?;
        require(url.port() != Some(0), "the port must not be 0")?;
        let decoded = |text: &str| {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
            let decoded = decoded.map(std::borrow::Cow::into_owned);
            decoded.map_err(|_| WrongForm("user and password must be UTF-8 text"))
        };
        let user = decoded(url.username())?;
        let password = url.password().map(decoded).transpose()?;
        require(
            !user.contains(':'),
            "the user must not contain a colon (RFC 7617)",
        )?;
        let is_sent = |text: &str| !text.chars().any(char::is_control);
        require(
            is_sent(&user) && password.as_deref().is_none_or(is_sent),
            "user and password must not contain control characters (RFC 7617)",
        )?;
        // An http URL with a host accepts both.
        let _ = (url.set_username(""), url.set_password(None));
        Ok(Self {
            url,
            user: Some(user).filter(|user| !user.is_empty() || password.is_some()),
            password: password.map_or(ProxyPassword::None, |it| ProxyPassword::Known(it.into())),
        })
    }

    /// The same proxy with its password in a file.
    #[must_use]
    pub fn with_password_file(mut self, file: PathBuf) -> Self {
        self.password = ProxyPassword::File(file);
        self
    }

    /// Whether the URL had a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password != ProxyPassword::None
    }

    /// Whether the URL had a user.
    #[must_use]
    pub fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the proxy itself speaks TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Its host without brackets, and its port.
    #[must_use]
    pub fn place(&self) -> (String, u16) {
        let host = bare(self.url.host_str().unwrap_or_default());
        (host, self.url.port_or_known_default().unwrap_or_default())
    }

    /// The value of `Proxy-Authorization`. Reads the file.
    pub(crate) async fn authorization(&self) -> Result<Option<HeaderValue>, ProxyFault> {
        let Some(user) = &self.user else {
            return Ok(None);
        };
        let password = match &self.password {
            ProxyPassword::None => SecretString::from(""),
            ProxyPassword::Known(password) => password.clone(),
            ProxyPassword::File(file) => {
                let path = file.clone();
                let read = blocking(move || read_secret(&path)).await;
                read.map_err(|why| ProxyFault::Password(file.clone(), why.to_string()))?
            }
        };
        let both = Zeroizing::new([user, ":", password.expose_secret()].concat());
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(both.as_bytes())));
        let mut value = HeaderValue::from_str(&text).map_err(|_| ProxyFault::Unsendable)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl fmt::Display for EgressProxy {
    /// Scheme, host and port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_parsed_with_its_user_and_never_shown_with_its_password() {
        let proxy = EgressProxy::parse("http://ann%40x:s%20ecret@Proxy.example:3128/").unwrap();
        assert_eq!(proxy.to_string(), "http://proxy.example:3128");
        assert_eq!(proxy.user.as_deref(), Some("ann@x"));
        assert!(proxy.has_password() && !format!("{proxy:?}").contains("ecret"));
        let plain = EgressProxy::parse("proxy.example").unwrap();
        assert_eq!(plain.place(), ("proxy.example".to_owned(), 80));
        assert_eq!(
            EgressProxy::parse("https://[2001:db8::1]")
                .unwrap()
                .place()
                .1,
            443
        );
        for (text, why) in [
            ("socks5://proxy:1080", "SOCKS"),
            ("SOCKS5H://proxy:1080", "SOCKS"),
            ("ftp://proxy", "must begin"),
            ("http://proxy/path", "remove path"),
            ("http://proxy/?q", "remove path"),
            ("http://", "no URL"),
            ("http://proxy:0", "port"),
            ("http://a%0ab:c@proxy", "control"),
            ("http://a%3ab:c@proxy", "colon"),
            ("http://%ff@proxy", "UTF-8"),
        ] {
            let error = EgressProxy::parse(text).unwrap_err();
            assert!(error.0.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy_and_some_hosts_have_none() {
        let proxy = |text: &str| EgressProxy::parse(text).ok();
        let straight = vec!["inside.example".parse().unwrap(), "*:8443".parse().unwrap()];
        let egress = Egress::new(proxy("one.example"), proxy("https://two.example"), straight);
        let way = |url: &str| {
            let way = egress.way_to(&Url::parse(url).unwrap());
            way.map(|proxy| proxy.to_string())
        };
        assert_eq!(
            way("http://a.example").as_deref(),
            Some("http://one.example")
        );
        assert_eq!(
            way("https://a.example").as_deref(),
            Some("https://two.example")
        );
        for url in [
            "https://a.inside.example",
            "https://a.example:8443",
            "http://localhost:1",
            "https://127.0.0.1",
            "http://169.254.169.254",
            "http://[::1]:8080",
            "http://[fe80::1]",
        ] {
            assert_eq!(way(url), None, "{url}");
        }
        assert_eq!(
            egress.described().unwrap(),
            "https://two.example for https, http://one.example for http; not for \
             inside.example, *:8443"
        );
        assert_eq!(Egress::default().described(), None);
    }
}
