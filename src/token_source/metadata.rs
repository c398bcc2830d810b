//! Finds an authority's token endpoint in its metadata (RFC 8414, OpenID Connect Discovery 1.0).

use http::StatusCode;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::answer::{retry_after, without_byte_order_mark};
use super::error::{Failure, FetchError};
use crate::domain::claims::Claims;
use crate::domain::issuer_url::metadata_urls;
use crate::http_client::{HttpAnswer, HttpClient};

/// The metadata of token requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub token_endpoint: Url,
    /// The issuer in its own spelling: the `aud` of an assertion.
    pub issuer: String,
}

pub(super) fn accept_json() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))])
}

/// Finds an authority's token endpoint in its metadata; with `by_certificate` the one for clients
/// with certificates.
///
/// Nearly every authority serves the first URL, that of OpenID Connect. If both fail, the first
/// failure is reported, unless the second one says more than "not found".
pub(super) async fn discover(
    http: &HttpClient,
    authority: &Url,
    by_certificate: bool,
) -> Result<Found, Failure> {
    let mut failure = None;
    for url in metadata_urls(authority) {
        let found = async {
            let answer = http.get(&url, accept_json()).await;
            let answer =
                answer.map_err(|failed| Failure::unanswered(FetchError::Metadata, &failed))?;
            parse(&answer, authority, by_certificate)
                .map_err(|failure| failure.answered(&url, &answer, &[]))
        };
        match found.await {
            Ok(found) => return Ok(found),
            // An authority that is down or busy gets no second request.
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

fn parse(answer: &HttpAnswer, authority: &Url, by_certificate: bool) -> Result<Found, Failure> {
    if answer.status != StatusCode::OK {
        let error = FetchError::MetadataStatus(answer.status.as_u16());
        return Err(Failure {
            retry_after: retry_after(&answer.headers),
            ..error.into()
        });
    }
    let document = without_byte_order_mark(&answer.body);
    let metadata = Claims::parse(document).map_err(|_| FetchError::MetadataMalformed)?;
    let text = |member| metadata.string(member).ok().flatten();
    // RFC 8414 §3.3: otherwise foreign metadata could redirect our secret.
    let issuer = text("issuer")
        .filter(|issuer| Url::parse(issuer).is_ok_and(|issuer| is_same_issuer(&issuer, authority)))
        .ok_or(FetchError::MetadataIssuer)?;
    // RFC 8705 §5: clients with certificates may have another endpoint.
    let alias = metadata
        .get("mtls_endpoint_aliases")
        .and_then(|aliases| aliases.get("token_endpoint"));
    let alias = alias
        .and_then(serde_json::Value::as_str)
        .filter(|_| by_certificate);
    match alias
        .or(text("token_endpoint"))
        .and_then(|text| Url::parse(text).ok())
    {
        Some(token_endpoint) if is_acceptable_endpoint(&token_endpoint, authority) => Ok(Found {
            token_endpoint,
            issuer: issuer.to_owned(),
        }),
        _ => Err(FetchError::MetadataEndpoint.into()),
    }
}

/// Whether two issuers are the same, except for one trailing slash.
fn is_same_issuer(issuer: &Url, authority: &Url) -> bool {
    let trimmed = |url: &Url| {
        let text = url.as_str();
        text.strip_suffix('/').unwrap_or(text).to_owned()
    };
    trimmed(issuer) == trimmed(authority)
}

/// Whether the secret may be sent to an endpoint: it must be protected at least as well as the
/// metadata, and its URL must not hold credentials.
fn is_acceptable_endpoint(endpoint: &Url, authority: &Url) -> bool {
    let protected = match endpoint.scheme() {
        "https" => true,
        "http" => authority.scheme() == "http",
        _ => false,
    };
    let bare = endpoint.username().is_empty()
        && endpoint.password().is_none()
        && endpoint.fragment().is_none();
    protected && bare && endpoint.has_host()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_client_with_a_certificate_uses_the_endpoint_alias() {
        let body = r#"{"issuer":"https://a.example","token_endpoint":"https://a.example/t",
            "mtls_endpoint_aliases":{"token_endpoint":"https://mtls.a.example/t"}}"#;
        let answer = |body: &'static str| HttpAnswer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.into(),
        };
        let found = |by_certificate| {
            parse(&answer(body), &url("https://a.example/"), by_certificate).unwrap()
        };
        assert_eq!(
            found(true).token_endpoint.as_str(),
            "https://mtls.a.example/t"
        );
        assert_eq!(found(false).token_endpoint.as_str(), "https://a.example/t");
        assert_eq!(
            found(false).issuer,
            "https://a.example",
            "in its own spelling"
        );
        let without = r#"{"issuer":"https://a.example","token_endpoint":"https://a.example/t"}"#;
        let found = parse(&answer(without), &url("https://a.example/"), true).unwrap();
        assert_eq!(found.token_endpoint.as_str(), "https://a.example/t");
    }

    #[test]
    fn issuers_are_equal_up_to_one_trailing_slash() {
        let same = |a: &str, b: &str| is_same_issuer(&url(a), &url(b));
        assert!(same("https://a.example", "https://a.example/"));
        assert!(same("https://a.example/b/", "https://a.example/b"));
        assert!(same("https://A.example:443/b", "https://a.example/b"));
        for other in [
            "http://a.example/b",
            "https://a.example/B",
            "https://a.example/b//",
            "https://a.example/b?x",
        ] {
            assert!(!same(other, "https://a.example/b"), "{other}");
        }
    }

    #[test]
    fn a_token_endpoint_is_never_less_protected_than_its_authority() {
        let accepted = |endpoint: &str, authority: &str| {
            is_acceptable_endpoint(&url(endpoint), &url(authority))
        };
        assert!(accepted("https://b.example/t", "https://a.example"));
        assert!(accepted("https://b.example/t", "http://a.example"));
        assert!(accepted("http://b.example/t", "http://a.example"));
        assert!(!accepted("http://b.example/t", "https://a.example"));
        for bad in [
            "ftp://b.example/t",
            "file:///t",
            "https://u:p@b.example/t",
            "https://b.example/t#x",
            "data:x",
        ] {
            assert!(!accepted(bad, "https://a.example"), "{bad}");
        }
    }
}
