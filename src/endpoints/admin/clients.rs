//! `/clients` and `/clients/{client_id}`.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::Value;

use super::Admin;
use super::answer::{Object, Refusal, json};
use super::audit::Change;
use super::openapi::{Failed, NotThere, Refused};
use super::query::{ClientId, Query, cursor};
use super::wire::{Client, Clients};
use crate::domain::name::is_client_id;
use crate::endpoints::PeerAddress;
use crate::issuer::management::ManagementError;
use crate::issuer::registration::ClientRequest;

/// The clients of store and configuration, by id
#[utoipa::path(
    get, path = "/clients", operation_id = "list_clients", tag = "clients",
    params(
        ("client_id" = Option<String>, Query, description = "only the one of this id"),
        (
            "limit" = Option<u32>,
            Query,
            description = "the length of a page; 50 when left out",
            minimum = 1,
            maximum = 200,
        ),
        ("cursor" = Option<String>, Query, description = "the `next_cursor` of the page before")
    ),
    responses((status = 200, description = "A page of them", body = Clients), Refused)
)]
pub(super) async fn list(
    State(admin): State<Admin>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let clients = admin.clients()?;
    let mut query = Query::read(raw, &["client_id", "limit", "cursor"]);
    let (limit, after) = (query.limit(), query.cursor(|text| Some(text.to_owned())));
    let only = query.text("client_id");
    query.end()?;
    if let Some(client_id) = only {
        let found = match clients.get(&client_id).await {
            Ok(record) => vec![Client::from(&record)],
            Err(ManagementError::NotFound(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        return Ok(json(
            StatusCode::OK,
            &Clients {
                clients: found,
                next_cursor: None,
            },
        ));
    }
    let page = clients.page(after.as_deref(), limit).await?;
    let clients = page.clients.iter().map(Client::from).collect();
    Ok(json(
        StatusCode::OK,
        &Clients {
            clients,
            next_cursor: page.next.as_deref().map(cursor),
        },
    ))
}

/// Register a client; its secret is in this answer and in no other
#[utoipa::path(
    post, path = "/clients", operation_id = "create_client", tag = "clients",
    request_body = ClientRequest,
    responses(
        (status = 201, description = "The client with its secret, this once", body = Client),
        Failed,
        Refused
    )
)]
pub(super) async fn create(
    State(admin): State<Admin>,
    Extension(peer): Extension<PeerAddress>,
    Object(body): Object,
) -> Result<Response, Refusal> {
    let created = admin.clients()?.create(&body).await.map_err(Refusal::from);
    // Of a refused one the id that was asked for, if it is one.
    let asked = body
        .get("client_id")
        .and_then(Value::as_str)
        .filter(|id| is_client_id(id));
    let client_id = created
        .as_ref()
        .ok()
        .map(|created| created.client.client_id.as_str())
        .or(asked);
    Change {
        action: "create_client",
        client_id,
        ..Change::default()
    }
    .record(&created, peer);
    Ok(json(StatusCode::CREATED, &Client::from(&created?)))
}

/// The same as `POST /clients`
#[utoipa::path(
    post, path = "/client", operation_id = "create_client_alias", tag = "clients",
    request_body = ClientRequest,
    responses(
        (status = 201, description = "The client with its secret, this once", body = Client),
        Failed,
        Refused
    )
)]
pub(super) async fn create_alias(
    admin: State<Admin>,
    peer: Extension<PeerAddress>,
    body: Object,
) -> Result<Response, Refusal> {
    create(admin, peer, body).await
}

/// One client
#[utoipa::path(
    get, path = "/clients/{client_id}", operation_id = "show_client", tag = "clients",
    params(("client_id" = String, Path)),
    responses(
        (status = 200, description = "The client as it is now", body = Client),
        NotThere,
        Failed,
        Refused,
    )
)]
pub(super) async fn show(
    State(admin): State<Admin>,
    ClientId(client_id): ClientId,
) -> Result<Response, Refusal> {
    let record = admin.clients()?.get(&client_id).await?;
    Ok(json(StatusCode::OK, &Client::from(&record)))
}

/// Change a client by a merge patch (RFC 7396): null removes a member
#[utoipa::path(
    patch, path = "/clients/{client_id}", operation_id = "update_client", tag = "clients",
    params(("client_id" = String, Path)),
    request_body(
        content(
            (ClientRequest = "application/json"),
            (ClientRequest = "application/merge-patch+json"),
        ),
    ),
    responses(
        (status = 200, description = "The client as it is now", body = Client),
        NotThere,
        Failed,
        Refused,
    )
)]
pub(super) async fn update(
    State(admin): State<Admin>,
    Extension(peer): Extension<PeerAddress>,
    ClientId(client_id): ClientId,
    Object(patch): Object,
) -> Result<Response, Refusal> {
    let updated = admin
        .clients()?
        .update(&client_id, &patch)
        .await
        .map_err(Refusal::from);
    let changed = updated
        .as_ref()
        .ok()
        .map(|updated| updated.changed.as_slice());
    let turns = changed.is_some_and(|names| names.iter().any(|name| name == "disabled"));
    let action = match &updated {
        Ok(updated) if turns && updated.client.metadata.disabled => "disable_client",
        Ok(_) if turns => "enable_client",
        _ => "update_client",
    };
    Change {
        action,
        client_id: Some(&client_id),
        changed,
        ..Change::default()
    }
    .record(&updated, peer);
    Ok(json(StatusCode::OK, &Client::from(&updated?.client)))
}

/// Delete a client; its tokens end
#[utoipa::path(
    delete, path = "/clients/{client_id}", operation_id = "delete_client", tag = "clients",
    params(("client_id" = String, Path)),
    responses((status = 204, description = "Done"), NotThere, Failed, Refused)
)]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Extension(peer): Extension<PeerAddress>,
    ClientId(client_id): ClientId,
) -> Result<Response, Refusal> {
    let deleted = admin
        .clients()?
        .delete(&client_id)
        .await
        .map_err(Refusal::from);
    Change {
        action: "delete_client",
        client_id: Some(&client_id),
        ..Change::default()
    }
    .record(&deleted, peer);
    deleted?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
