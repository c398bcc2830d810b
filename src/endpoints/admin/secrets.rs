//! `/clients/{client_id}/secrets`.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Admin;
use super::answer::{Object, Refusal, json};
use super::audit::Change;
use super::openapi::{Failed, NotThere, Refused};
use super::query::{ClientId, Query};
use super::wire::{Secret, Secrets};
use crate::endpoints::PeerAddress;
use crate::issuer::management::SecretRequest;

/// A client's secrets, without themselves
#[utoipa::path(
    get, path = "/clients/{client_id}/secrets", operation_id = "list_secrets", tag = "secrets",
    params(("client_id" = String, Path)),
    responses(
        (status = 200, description = "All of them", body = Secrets),
        NotThere,
        Failed,
        Refused,
    )
)]
pub(super) async fn list(
    State(admin): State<Admin>,
    ClientId(client_id): ClientId,
) -> Result<Response, Refusal> {
    let secrets = admin.clients()?.secrets(&client_id).await?;
    Ok(json(
        StatusCode::OK,
        &Secrets {
            secrets: secrets.iter().map(Secret::from).collect(),
        },
    ))
}

/// Give a client a new secret; the others stay valid for `grace`
#[utoipa::path(
    post, path = "/clients/{client_id}/secrets", operation_id = "create_secret", tag = "secrets",
    params(("client_id" = String, Path)),
    request_body = SecretRequest,
    responses(
        (status = 201, description = "the new secret, this once", body = Secret),
        NotThere,
        Failed,
        Refused,
    )
)]
pub(super) async fn create(
    State(admin): State<Admin>,
    Extension(peer): Extension<PeerAddress>,
    ClientId(client_id): ClientId,
    Object(body): Object,
) -> Result<Response, Refusal> {
    let created = admin
        .clients()?
        .create_secret(&client_id, &body)
        .await
        .map_err(Refusal::from);
    let secret_id = created
        .as_ref()
        .ok()
        .map(|created| created.record.stored.secret_id.as_str());
    Change {
        action: "create_secret",
        client_id: Some(&client_id),
        secret_id,
        ..Change::default()
    }
    .record(&created, peer);
    Ok(json(StatusCode::CREATED, &Secret::from(&created?)))
}

/// Delete a secret; the last live one only with `force=true`
#[utoipa::path(
    delete, path = "/clients/{client_id}/secrets/{secret_id}", operation_id = "delete_secret",
    tag = "secrets",
    params(
        ("client_id" = String, Path),
        ("secret_id" = String, Path),
        (
            "force" = Option<bool>,
            Query,
            description = "also when it is the client's last valid secret",
        ),
    ),
    responses((status = 204, description = "Done"), NotThere, Failed, Refused)
)]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Extension(peer): Extension<PeerAddress>,
    ClientId(client_id): ClientId,
    Path(named): Path<HashMap<String, String>>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let clients = admin.clients()?;
    let secret_id = named.get("secret_id").cloned().unwrap_or_default();
    let mut query = Query::read(raw, &["force", "client_id"]);
    let force = query.flag("force").unwrap_or(false);
    query.end()?;
    let deleted = clients
        .delete_secret(&client_id, &secret_id, force)
        .await
        .map_err(Refusal::from);
    let (client_id, secret_id) = (Some(client_id.as_str()), Some(secret_id.as_str()));
    Change {
        action: "delete_secret",
        client_id,
        secret_id,
        ..Change::default()
    }
    .record(&deleted, peer);
    deleted?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
