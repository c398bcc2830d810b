//! The configuration of inbound listeners.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use url::Url;

use super::upstream_credential::CredentialConfig;
use crate::domain::error_form::ErrorForms;
use crate::domain::issuer_url::IssuerUrl;
use crate::domain::listen::Listen;
use crate::domain::path::Ordinary;
use crate::domain::settings::InboundSettings;
use crate::endpoints::protected_resource;
use crate::proxy::connection::{ClientTimeouts, MaxConnections};
use crate::proxy::response_fields::ResponseFields;
use crate::proxy::{tls, upstream};
use crate::telemetry::RequestMetrics;
use crate::{limits, verifier};

/// The configuration of an inbound listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `realm` of challenges and a metrics label.
    pub name: String,
    /// The listening address; port 0 takes a free port.
    pub listen: Listen,
    pub tls: Option<tls::Config>,
    pub client_timeouts: ClientTimeouts,
    pub max_connections: MaxConnections,
    pub settings: InboundSettings,
    /// Where the upstream gets the caller's token.
    pub upstream_authorization: UpstreamAuthorization,
    /// How long a WebSocket may carry no byte; `None`: no limit.
    pub websocket_idle: Option<Duration>,
    /// The services. The first one is for requests whose rule names none.
    pub upstreams: Vec<upstream::Config>,
    /// The route of each rule.
    pub routes: Vec<Route>,
    /// The identity headers, in the order of the verifier's forwarded claims.
    pub identity_headers: Vec<HeaderName>,
    /// Characters that are ordinary in a path.
    pub ordinary: Ordinary,
    /// Proxies that are trusted to report their clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Headers that only trusted proxies may send: names, or prefixes that end with `*`.
    pub removed_headers: Vec<String>,
    /// Largest forwarded body, in bytes; `None`: no limit.
    pub max_body: Option<u64>,
    /// Rate and concurrency limits; `None`: no limit.
    pub limits: Option<limits::Config>,
    pub verifier: verifier::Config,
    /// Fields that every response gets.
    pub response_fields: Option<Arc<ResponseFields>>,
    /// Largest request head, in bytes.
    pub max_head: usize,
    /// The URL that clients call. With it the listener serves its metadata (RFC 9728).
    pub public_url: Option<IssuerUrl>,
}

impl Config {
    /// The path of the listener's metadata, in normal form.
    #[must_use]
    pub fn metadata_path(&self) -> Option<String> {
        Some(protected_resource::path_of(self.public_url.as_ref()?.url()))
    }

    /// The URL of the listener's metadata.
    #[must_use]
    pub fn metadata_url(&self) -> Option<Url> {
        Some(protected_resource::url_of(self.public_url.as_ref()?.url()))
    }
}

/// The way of a rule's requests to a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The place of the service in [`Config::upstreams`].
    pub upstream: usize,
    /// How many segments at the beginning of the path the service does not get.
    pub stripped: usize,
    /// These segments, for the service.
    pub prefix: Option<HeaderValue>,
}

/// Where the upstream gets the caller's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAuthorization {
    /// Where the caller sent it.
    Keep,
    /// Nowhere.
    Strip,
    /// With the request for a WebSocket, in the cookie with this name. With other requests, where
    /// the caller sent it.
    Cookie(String),
    /// Nowhere. Requests with a verified token carry this credential of the sidecar instead.
    Credential(CredentialConfig),
}

impl UpstreamAuthorization {
    /// The headers of clients that the upstream must not get, in any spelling.
    pub(super) fn replaced(&self) -> Vec<HeaderName> {
        match self {
            Self::Credential(credential) => vec![AUTHORIZATION, credential.header.clone()],
            _ => Vec::new(),
        }
    }
}

/// Endpoints of the sidecar on a listener, at exactly these paths.
#[derive(Clone)]
pub struct OwnEndpoints {
    /// The paths, in normal form.
    pub paths: HashSet<String>,
    pub router: Router,
    /// Counts their requests apart from those for the upstream.
    pub metrics: Arc<RequestMetrics>,
    /// The error forms at and near these paths.
    pub error_forms: ErrorForms,
}
