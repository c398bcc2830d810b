//! `/keys`: the signing keys.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Admin;
use super::answer::{Object, Refusal, json};
use super::audit::Change;
use super::openapi::{Failed, NotThere, Refused};
use super::wire::{Key, Keys};
use crate::endpoints::PeerAddress;
use crate::issuer::RotateNow;

/// The signing keys: the one that signs first, then the newest first
#[utoipa::path(
    get, path = "/keys", operation_id = "list_keys", tag = "keys",
    responses((status = 200, description = "All of them", body = Keys), NotThere, Refused)
)]
pub(super) async fn list(State(admin): State<Admin>) -> Result<Response, Refusal> {
    let keys = admin.issuer()?.keys();
    Ok(json(
        StatusCode::OK,
        &Keys {
            keys: keys.iter().map(Key::from).collect(),
        },
    ))
}

/// Rotate the signing keys: without members a new key is published, and signs once verifiers have
/// it
#[utoipa::path(
    post, path = "/keys/rotate", operation_id = "rotate_keys", tag = "keys",
    request_body = RotateNow,
    responses(
        (status = 200, description = "The keys as they are now", body = Keys),
        NotThere,
        Failed,
        Refused,
    )
)]
pub(super) async fn rotate(
    State(admin): State<Admin>,
    Extension(peer): Extension<PeerAddress>,
    Object(body): Object,
) -> Result<Response, Refusal> {
    let rotated = admin
        .clients()?
        .rotate_keys(&body)
        .await
        .map_err(Refusal::from);
    Change {
        action: "rotate_keys",
        ..Change::default()
    }
    .record(&rotated, peer);
    Ok(json(
        StatusCode::OK,
        &Keys {
            keys: rotated?.iter().map(Key::from).collect(),
        },
    ))
}
