//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::not_found;
use crate::telemetry::Metrics;

/// Whether the process is ready; what it still waits for.
pub type Readiness = Arc<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>;

#[derive(Clone)]
struct Probes {
    metrics: Arc<Metrics>,
    readiness: Readiness,
}

/// The probes' router.
pub fn router(metrics: Arc<Metrics>, readiness: Readiness) -> Router {
    Router::new()
        // Some load balancers ask with OPTIONS.
        .route("/livez", get(livez).options(livez))
        .route("/readyz", get(readyz).options(readyz))
        .route("/metrics", get(scrape))
        .fallback(not_found)
        .with_state(Probes { metrics, readiness })
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(probes): State<Probes>) -> impl IntoResponse {
    match (probes.readiness)() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join(", "))),
    }
}

async fn scrape(State(probes): State<Probes>) -> impl IntoResponse {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], probes.metrics.render())
}
