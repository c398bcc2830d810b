//! `/tokens`: the access tokens that the store keeps.

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Admin;
use super::answer::{Refusal, json};
use super::audit::Change;
use super::openapi::{NotThere, Refused};
use super::query::{Query, cursor};
use super::wire::{Token, Tokens};
use crate::domain::clock::UnixTime;
use crate::endpoints::PeerAddress;
use crate::issuer::management::TokenQuery;

/// The kept access tokens, the newest first. Short-lived ones are kept only when they have a name
#[utoipa::path(
    get, path = "/tokens", operation_id = "list_tokens", tag = "tokens",
    params(
        ("client_id" = Option<String>, Query, description = "only this client's"),
        (
            "owner" = Option<String>,
            Query,
            description = "only those of owners of this name, of any issuer",
        ),
        (
            "active" = Option<bool>,
            Query,
            description = "only those that are (or are not) neither revoked nor expired",
        ),
        (
            "limit" = Option<u32>,
            Query,
            description = "the length of a page; 50 when left out",
            minimum = 1,
            maximum = 200,
        ),
        ("cursor" = Option<String>, Query, description = "the `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page of them", body = Tokens), Refused)
)]
pub(super) async fn list(
    State(admin): State<Admin>,
    RawQuery(raw): RawQuery,
) -> Result<Response, Refusal> {
    let clients = admin.clients()?;
    let mut query = Query::read(raw, &["client_id", "owner", "active", "limit", "cursor"]);
    let wanted = TokenQuery {
        client_id: query.text("client_id"),
        owner: query.text("owner"),
        active: query.flag("active"),
        after: query.cursor(|text| {
            let (issued_at, jti) = text.split_once(' ')?;
            Some((UnixTime(issued_at.parse().ok()?), jti.to_owned()))
        }),
    };
    let limit = query.limit();
    query.end()?;
    let page = clients.tokens(wanted, limit).await?;
    let next = page
        .next
        .map(|(issued_at, jti)| cursor(&format!("{} {jti}", issued_at.0)));
    let tokens = page
        .tokens
        .into_iter()
        .map(|token| Token::at(token, page.now))
        .collect();
    Ok(json(
        StatusCode::OK,
        &Tokens {
            tokens,
            next_cursor: next,
        },
    ))
}

/// Revoke a kept access token
#[utoipa::path(
    delete, path = "/tokens/{jti}", operation_id = "revoke_token", tag = "tokens",
    params(("jti" = String, Path)),
    responses((status = 204, description = "Done"), NotThere, Refused)
)]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Extension(peer): Extension<PeerAddress>,
    Path(jti): Path<String>,
) -> Result<Response, Refusal> {
    let ended = admin
        .clients()?
        .end_token(&jti)
        .await
        .map_err(Refusal::from);
    let client_id = ended.as_ref().ok().map(String::as_str);
    Change {
        action: "revoke_token",
        client_id,
        jti: Some(&jti),
        ..Change::default()
    }
    .record(&ended, peer);
    ended?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
