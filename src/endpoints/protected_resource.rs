//! The metadata of a protected resource (RFC 9728): where clients get tokens for it, and how they
//! send them.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use serde::Serialize;
use url::Url;

use super::method_not_allowed;

/// The beginning of the path (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// RFC 9728 §2. A member that is false is left out.
#[derive(Clone, Debug, Serialize)]
pub struct ResourceMetadata {
    pub resource: String,
    pub authorization_servers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes_supported: Vec<String>,
    pub bearer_methods_supported: Vec<&'static str>,
    pub dpop_signing_alg_values_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dpop_bound_access_tokens_required: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_client_certificate_bound_access_tokens: bool,
}

/// The path at which the metadata of a resource is: that of its URL, behind the well-known one.
#[must_use]
pub fn path_of(resource: &Url) -> String {
    match resource.path() {
        "/" => WELL_KNOWN.to_owned(),
        path => format!("{WELL_KNOWN}{path}"),
    }
}

/// The URL at which the metadata of a resource is, for challenges (RFC 9728 §5.1).
#[must_use]
pub fn url_of(resource: &Url) -> Url {
    let mut url = resource.clone();
    url.set_path(&path_of(resource));
    url
}

/// Serves the metadata at this path.
pub fn router(path: &str, metadata: &ResourceMetadata) -> Router {
    let document = Bytes::from(serde_json::to_vec(metadata).unwrap_or_default());
    let answer = get(move || {
        let document = document.clone();
        async move {
            let json = HeaderValue::from_static("application/json");
            let age = HeaderValue::from_static("max-age=300");
            let fields = [(header::CONTENT_TYPE, json), (header::CACHE_CONTROL, age)];
            (fields, document).into_response()
        }
    });
    // The path is literal: axum 0.7 took parts of some paths for captures.
    let router = Router::new().without_v07_checks();
    router.route(path, answer.fallback(method_not_allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_path_is_inserted_before_that_of_the_resource() {
        for (resource, expected) in [
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://a.example:8443/x/y",
                "https://a.example:8443/.well-known/oauth-protected-resource/x/y",
            ),
        ] {
            let resource = resource.parse().unwrap();
            assert_eq!(url_of(&resource).as_str(), expected);
            assert!(expected.ends_with(&path_of(&resource)));
        }
    }
}
