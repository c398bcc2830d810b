//! The paths of the issuer's endpoints, and the router that serves them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{self, MethodRouter, get, post};

use super::body::MAX_BODY;
use super::error::token_error_answer;
use super::introspection::introspect;
use super::metadata::{jwks, metadata, no_login};
use super::revocation::{revocations, revoke};
use super::token::{Observer, TokenEndpoint, token};
use crate::domain::error_form::ErrorForms;
use crate::endpoints::plgd::{self, TokensApi, VerifyCaller};
use crate::endpoints::{in_form_of_path, method_not_allowed, not_found};
use crate::issuer::metadata::{
    AUTHORIZATION_SERVER_PATH, AUTHORIZE_PATH, INTROSPECT_PATH, JWKS_PATH,
    OPENID_CONFIGURATION_PATH, REVOCATIONS_PATH, REVOKE_PATH, RequestedCertificates, TOKEN_PATH,
    TOKENS_PATH,
};
use crate::issuer::{Issuer, ProfilePolicy};

/// The base paths of the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The path of the issuer's URL: an inbound listener whose root belongs to its upstream.
    BasePath,
    /// The root too: an inbound listener that is configured so.
    BasePathAndRoot,
    /// The root too, with further paths of the token endpoint: the issuer's own listener.
    OwnListener,
}

/// The issuer's endpoints: exactly [`issuer_paths`]. The listener requests these `certificates` of
/// its clients. `callers` authenticates the callers of plgd's tokens API.
#[expect(clippy::needless_pass_by_value, reason = "the router keeps them")]
pub fn issuer_router(
    issuer: Arc<Issuer>,
    at: Placement,
    certificates: RequestedCertificates,
    observer: Observer,
    callers: VerifyCaller,
) -> Router {
    // The paths are literal: the issuer's URL may have what axum 0.7 took for a capture.
    let mut router = Router::new().without_v07_checks();
    for (path, endpoint) in endpoints(issuer.base_path(), issuer.profile(), at) {
        let route = endpoint.route(&issuer, certificates, &observer, &callers);
        router = router.route(&path, route);
    }
    let forms = error_forms(issuer.base_path(), issuer.profile(), at);
    router
        .fallback(not_found)
        .layer(from_fn_with_state(forms, in_form_of_path))
}

/// Which errors of a listener with these endpoints have the form that plgd's clients read.
#[must_use]
pub fn error_forms(base_path: &str, profile: ProfilePolicy, at: Placement) -> ErrorForms {
    if !profile.status_errors {
        return ErrorForms::default();
    }
    match at {
        Placement::OwnListener => ErrorForms::of_issuer(base_path),
        Placement::BasePath | Placement::BasePathAndRoot => {
            let paths = paths_below(base_path, profile, Placement::BasePath);
            ErrorForms::of_shared(base_path, &paths.into_iter().collect())
        }
    }
}

/// The exact paths, in normal form, that [`issuer_router`] serves.
#[must_use]
pub fn issuer_paths(issuer: &Issuer, at: Placement) -> Vec<String> {
    paths_below(issuer.base_path(), issuer.profile(), at)
}

/// The same, for the path of an issuer's URL (without a slash at its end) and its profile.
#[must_use]
pub fn paths_below(base_path: &str, profile: ProfilePolicy, at: Placement) -> Vec<String> {
    endpoints(base_path, profile, at).into_keys().collect()
}

#[derive(Clone, Copy)]
enum Endpoint {
    /// With the requests and errors of this profile.
    Token(ProfilePolicy),
    Introspect,
    /// plgd's tokens API.
    Tokens,
    Revoke,
    Revocations,
    Jwks,
    Metadata,
    Authorize,
}

impl Endpoint {
    fn route(
        self,
        issuer: &Arc<Issuer>,
        certificates: RequestedCertificates,
        observer: &Observer,
        callers: &VerifyCaller,
    ) -> MethodRouter {
        let tokens = |profile: ProfilePolicy| TokenEndpoint {
            issuer: issuer.clone(),
            observer: observer.clone(),
            profile,
            error_answer: if profile.status_errors {
                plgd::token_error_answer
            } else {
                token_error_answer
            },
        };
        // The bridge already caps the body; the limit is repeated so that the endpoint is safe
        // wherever it is mounted.
        let limit = DefaultBodyLimit::max(MAX_BODY);
        let state = issuer.clone();
        let route = match self {
            // These two answer every method themselves.
            Self::Authorize => return routing::any(no_login),
            Self::Tokens => {
                let tokens = tokens(ProfilePolicy::PLGD);
                return plgd::tokens_api(TokensApi {
                    tokens,
                    callers: callers.clone(),
                })
                .layer(limit);
            }
            Self::Token(profile) => post(token).layer(limit).with_state(tokens(profile)),
            Self::Introspect => post(introspect).layer(limit).with_state(state),
            Self::Revoke => post(revoke).layer(limit).with_state(state),
            Self::Revocations => get(revocations).with_state(state),
            Self::Jwks => get(jwks).with_state(state),
            Self::Metadata => get(metadata).with_state((state, certificates)),
        };
        route.fallback(method_not_allowed)
    }
}

/// The endpoint of each path. The root has the RFCs' shapes whatever the profile, unless it is the
/// base path too.
fn endpoints(base: &str, profile: ProfilePolicy, at: Placement) -> BTreeMap<String, Endpoint> {
    let mut endpoints = BTreeMap::new();
    if at != Placement::BasePath {
        endpoints.extend(endpoints_below("", ProfilePolicy::STANDARD, at));
    }
    endpoints.extend(endpoints_below(base, profile, at));
    endpoints.insert(
        format!("{AUTHORIZATION_SERVER_PATH}{base}"),
        Endpoint::Metadata,
    );
    endpoints
}

fn endpoints_below(
    base: &str,
    profile: ProfilePolicy,
    at: Placement,
) -> BTreeMap<String, Endpoint> {
    let token = Endpoint::Token(profile);
    let mut paths = vec![
        (TOKEN_PATH, token),
        (INTROSPECT_PATH, Endpoint::Introspect),
        (REVOKE_PATH, Endpoint::Revoke),
        (REVOCATIONS_PATH, Endpoint::Revocations),
        (JWKS_PATH, Endpoint::Jwks),
        (AUTHORIZE_PATH, Endpoint::Authorize),
        (OPENID_CONFIGURATION_PATH, Endpoint::Metadata),
        (AUTHORIZATION_SERVER_PATH, Endpoint::Metadata),
    ];
    if at == Placement::OwnListener {
        paths.extend([("/token", token), ("/oauth2/token", token)]);
    }
    if profile.tokens_api {
        paths.push((TOKENS_PATH, Endpoint::Tokens));
    }
    let slashes: &[&str] = if profile.tokens_api {
        &plgd::SLASHES
    } else {
        &[""]
    };
    let with_slash = |(path, endpoint): (&str, Endpoint)| {
        slashes
            .iter()
            .map(move |slash| (format!("{path}{slash}"), endpoint))
            .collect::<Vec<_>>()
    };
    paths
        .into_iter()
        .flat_map(with_slash)
        .map(|(path, endpoint)| (format!("{base}{path}"), endpoint))
        .collect()
}
