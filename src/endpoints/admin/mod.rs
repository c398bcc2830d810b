//! The management API, on a listener of its own.
//!
//! `guard` stands before every handler. Answers are JSON, errors have one form, and the description
//! of both is made from the handlers themselves.

mod answer;
mod audit;
mod clients;
mod guard;
mod keys;
mod openapi;
mod query;
mod revoke;
mod secrets;
mod status;
mod tokens;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, patch, post};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use answer::Refusal;
pub use guard::{Guard, MIN_ADMIN_TOKEN, is_admin_token};
pub use status::{
    Authority, Certificate, Credential, Introspection, KeyLeftOut, Listener, ListenerTls,
    RefusedIssuer, Revocation, Status, StatusOf, Tenants, UpstreamTls,
};

use crate::issuer::{ClientAdmin, Issuer};

/// The state of the handlers.
#[derive(Clone)]
struct Admin {
    issuer: Option<Arc<Issuer>>,
    status: StatusOf,
    /// What `/openapi.json` serves.
    description: Arc<str>,
}

impl Admin {
    fn issuer(&self) -> Result<&Issuer, Refusal> {
        self.issuer.as_deref().ok_or(Refusal::NoIssuer)
    }

    fn clients(&self) -> Result<&ClientAdmin, Refusal> {
        self.issuer().map(Issuer::client_admin)
    }
}

/// The router of the listener. Without an issuer there are no clients to manage, and it says so.
pub fn router(issuer: Option<Arc<Issuer>>, status: StatusOf, guard: Arc<Guard>) -> Router {
    let (router, document) = documented().split_for_parts();
    router
        .merge(by_parameter())
        .method_not_allowed_fallback(no_such_method)
        .fallback(no_such_endpoint)
        .with_state(Admin {
            issuer,
            status,
            description: openapi::text(document).into(),
        })
        .layer(from_fn_with_state(guard, guard::check))
}

/// The description of the management API (OpenAPI), as `/openapi.json` serves it.
#[must_use]
pub fn openapi_document() -> String {
    openapi::text(documented().split_for_parts().1)
}

fn documented() -> OpenApiRouter<Admin> {
    OpenApiRouter::with_openapi(openapi::beginning())
        .routes(routes!(clients::list, clients::create))
        .routes(routes!(clients::create_alias))
        .routes(routes!(clients::show, clients::update, clients::delete))
        .routes(routes!(secrets::list, secrets::create))
        .routes(routes!(secrets::delete))
        .routes(routes!(revoke::revoke))
        .routes(routes!(tokens::list))
        .routes(routes!(tokens::delete))
        .routes(routes!(keys::list))
        .routes(routes!(keys::rotate))
        .routes(routes!(status::show))
        .routes(routes!(openapi::serve))
}

/// The endpoints below `/clients/{client_id}`, for ids that programs and proxies change in a path:
/// `/client?client_id=…`.
fn by_parameter() -> Router<Admin> {
    Router::new()
        .route(
            "/client",
            get(clients::show)
                .patch(clients::update)
                .delete(clients::delete),
        )
        .route("/client/secrets", get(secrets::list).post(secrets::create))
        .route(
            "/client/secrets/{secret_id}",
            axum::routing::delete(secrets::delete),
        )
        .route("/client/revoke", post(revoke::revoke))
        .route("/clients", patch(clients::update).delete(clients::delete))
}

async fn no_such_endpoint() -> Response {
    super::not_found().await
}

/// axum adds `Allow`.
async fn no_such_method() -> Response {
    super::method_not_allowed().await
}
