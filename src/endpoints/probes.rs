//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{error_answer, not_found};
use crate::domain::host::{host_name, is_private};
use crate::telemetry::Metrics;

/// Whether the process is ready; otherwise, what it waits for.
pub type Readiness = Arc<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>;

#[derive(Clone)]
struct Probes {
    metrics: Arc<Metrics>,
    readiness: Readiness,
    hosts: Arc<[String]>,
}

/// The probes' router. The metrics may be called by `hosts`, IP addresses and private names.
pub fn router(metrics: Arc<Metrics>, readiness: Readiness, hosts: Vec<String>) -> Router {
    Router::new()
        // Some load balancers send OPTIONS.
        .route("/livez", get(livez).options(livez))
        .route("/readyz", get(readyz).options(readyz))
        .route("/metrics", get(scrape))
        .fallback(not_found)
        .with_state(Probes {
            metrics,
            readiness,
            hosts: hosts.into(),
        })
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(probes): State<Probes>) -> impl IntoResponse {
    match (probes.readiness)() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(missing) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {}\n", missing.join(", ")),
        ),
    }
}

async fn scrape(State(probes): State<Probes>, headers: HeaderMap) -> Response {
    if !probes.may_be_called(&headers) {
        let text = "call it by an IP address, a private name (`sidecar`, `sidecar.team.svc`), or a \
            host of `probes.hosts`";
        return error_answer(StatusCode::FORBIDDEN, "access_denied", text);
    }
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], probes.metrics.render()).into_response()
}

impl Probes {
    /// Whether the metrics are called by a name that no foreign DNS can point here: otherwise a web
    /// page could read them.
    fn may_be_called(&self, headers: &HeaderMap) -> bool {
        // Only HTTP/1.0 has no `Host`, and no browser uses it.
        let Some(host) = headers.get(header::HOST) else {
            return true;
        };
        let Ok(host) = host.to_str() else {
            return false;
        };
        let name = host_name(host);
        let is_listed = |listed: &String| {
            host.eq_ignore_ascii_case(listed) || name.eq_ignore_ascii_case(listed)
        };
        is_private(name) || self.hosts.iter().any(is_listed)
    }
}
