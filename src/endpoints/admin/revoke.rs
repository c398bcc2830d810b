//! `/clients/{client_id}/revoke`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Admin;
use super::answer::{Object, Refusal, json};
use super::audit::Change;
use super::openapi::{Failed, NotThere, Refused};
use super::query::ClientId;
use super::wire::Revoked;
use crate::endpoints::PeerAddress;
use crate::issuer::management::RevokeRequest;

/// End every token that a client was issued before now, or before a time; and all of its refresh
/// tokens
#[utoipa::path(
    post, path = "/clients/{client_id}/revoke", operation_id = "revoke_client", tag = "clients",
    params(("client_id" = String, Path)),
    request_body = RevokeRequest,
    responses(
        (status = 200, description = "They have ended", body = Revoked),
        NotThere,
        Failed,
        Refused,
    )
)]
pub(super) async fn revoke(
    State(admin): State<Admin>,
    Extension(peer): Extension<PeerAddress>,
    ClientId(client_id): ClientId,
    Object(body): Object,
) -> Result<Response, Refusal> {
    let ended = admin
        .clients()?
        .end_tokens(&client_id, &body)
        .await
        .map_err(Refusal::from);
    let until = ended.as_ref().ok().and_then(|until| until.to_rfc3339());
    Change {
        action: "revoke_client",
        client_id: Some(&client_id),
        until: until.as_deref(),
        ..Change::default()
    }
    .record(&ended, peer);
    let not_before = ended?.to_rfc3339();
    Ok(json(
        StatusCode::OK,
        &Revoked {
            client_id,
            not_before,
        },
    ))
}
