//! The URL of an issuer, parsed once: the text that tokens carry, its path and its metadata.

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::form::{WrongForm, require};
use super::path::NormalPath;

/// An issuer identifier (RFC 8414 §2). Other parties compare it as a text, so the text is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUrl {
    text: String,
    url: Url,
}

impl IssuerUrl {
    /// The text, as the claim `iss` carries it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The path that the endpoints start with: normal form, without a slash at the end.
    #[must_use]
    pub fn base_path(&self) -> &str {
        self.url.path().trim_end_matches('/')
    }
}

impl FromStr for IssuerUrl {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let url = http_url(text)?;
        require(url.query().is_none(), "remove the query")?;
        // The URL parser tolerates other spellings, but other parties compare the text.
        let is_canonical = text.starts_with("http://") || text.starts_with("https://");
        require(is_canonical, SCHEME)?;
        require(
            text.bytes().all(|byte| byte.is_ascii_graphic()),
            "it must consist of printable ASCII characters without spaces",
        )?;
        let path = text
            .splitn(4, '/')
            .nth(3)
            .map_or("/".to_owned(), |path| format!("/{path}"));
        require(
            NormalPath::parse(&path).is_ok_and(|normal| normal.as_str() == path),
            "its path must be in normal form: no `.`, `..` or empty segments, no needless escapes",
        )?;
        Ok(Self {
            text: text.to_owned(),
            url,
        })
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The two locations of an issuer's metadata: OpenID Connect Discovery 1.0 §4 appends its path to
/// the issuer's, RFC 8414 §3.1 inserts its own before it.
#[must_use]
pub fn metadata_urls(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    [
        format!("{path}/.well-known/openid-configuration"),
        format!("/.well-known/oauth-authorization-server{path}"),
    ]
    .map(|path| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        url
    })
}

/// The rule about the beginning of an HTTP URL.
pub const SCHEME: &str = "it must begin with `http://` or `https://`";

/// Parses an http or https URL without credentials and fragment.
///
/// # Errors
/// The reason, which never shows the text.
pub fn http_url(text: &str) -> Result<Url, WrongForm> {
    let url = Url::parse(text).map_err(|why| match why {
        url::ParseError::RelativeUrlWithoutBase => WrongForm(SCHEME),
        _ => WrongForm("it is not a URL"),
    })?;
    require(matches!(url.scheme(), "http" | "https"), SCHEME)?;
    require(url.host().is_some(), "the host is missing")?;
    require(
        url.username().is_empty() && url.password().is_none(),
        "remove user name and password from the URL",
    )?;
    require(url.fragment().is_none(), "remove the fragment")?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_path_is_the_path_without_its_last_slash() {
        for (url, path) in [
            ("http://127.0.0.1:8080", ""),
            ("http://127.0.0.1:8080/", ""),
            ("https://a/m2m-oauth-server", "/m2m-oauth-server"),
            ("https://a/x/~y/", "/x/~y"),
            ("https://a/:t", "/:t"),
        ] {
            let issuer = url.parse::<IssuerUrl>().unwrap();
            assert_eq!((issuer.base_path(), issuer.as_str()), (path, url));
        }
    }

    #[test]
    fn ambiguous_issuers_are_refused() {
        for url in [
            "issuer",
            "ftp://a",
            "HTTPS://a",
            "https://a?q",
            "https://a/?q",
            "https://a/#f",
            "https://u:p@a/",
            "https://a/b/../c",
            "https://a//b",
            "https://a/%41",
            "https://a/%2e%2e%2fb",
            "https://a/;b",
            "https://a/{x}",
            " https://a",
            "https://a/\u{e9}",
            "https://b\u{fc}cher.example",
        ] {
            assert!(url.parse::<IssuerUrl>().is_err(), "{url}");
        }
    }

    #[test]
    fn metadata_is_at_the_locations_of_both_standards() {
        for (issuer, path) in [
            ("https://a.example", ""),
            ("https://a.example/", ""),
            ("https://a.example/b", "/b"),
            ("https://a.example/b/", "/b"),
        ] {
            let [openid, oauth] = metadata_urls(&Url::parse(issuer).unwrap());
            let expected = format!("https://a.example{path}/.well-known/openid-configuration");
            assert_eq!(openid.as_str(), expected);
            let expected =
                format!("https://a.example/.well-known/oauth-authorization-server{path}");
            assert_eq!(oauth.as_str(), expected);
        }
    }
}
