//! The description of the API, as far as it is not said beside each handler.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder};
use utoipa::{IntoParams, IntoResponses};

use super::wire::{Client, ErrorBody};

const DESCRIPTION: &str = "Clients, their secrets and tokens. Every request carries `Authorization: Bearer <admin token>`; \
                           `Host` must be an IP address, `localhost` or one of `admin.hosts`; writes are JSON. Bodies are \
                           at most 64 KiB.";
const TOKEN: &str = "adminToken";

/// What stands around the handlers' own descriptions.
pub(super) fn beginning() -> OpenApi {
    let info = InfoBuilder::new()
        .title("m2m-sidecar: management API")
        .description(Some(DESCRIPTION))
        .version(env!("CARGO_PKG_VERSION"))
        .license(Some(License::new("Apache-2.0")))
        .build();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    OpenApiBuilder::new()
        .info(info)
        .components(Some(ComponentsBuilder::new().security_scheme(TOKEN, token).build()))
        .security(Some([SecurityRequirement::new(TOKEN, Vec::<String>::new())]))
        .build()
}

/// The document as it is served.
pub(super) fn text(document: OpenApi) -> String {
    // Cannot fail: there are no maps with other keys than texts.
    document.to_pretty_json().unwrap_or_default()
}

/// Where a page begins, and how much it has.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by `query`")]
pub(super) struct Page {
    /// How many a page has; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A client that was made.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "a description")]
pub(super) enum Created {
    /// The client with its secret, this once
    #[response(status = 201)]
    Client(Client),
}

/// Done; nothing is left to say.
#[derive(IntoResponses)]
pub(super) enum Done {
    /// Done
    #[response(status = 204)]
    #[expect(dead_code, reason = "a description")]
    Nothing,
}

/// What was asked for is not there.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "a description")]
pub(super) enum NotThere {
    /// It is not there
    #[response(status = 404)]
    NotFound(ErrorBody),
}

/// What may happen to a write.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "a description")]
pub(super) enum Failed {
    /// It contradicts what is there
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// The body is too large
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// The body is not JSON
    #[response(status = 415)]
    ContentType(ErrorBody),
}

/// What may happen to every request.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "a description")]
pub(super) enum Refused {
    /// A member or parameter is wrong
    #[response(status = 400)]
    Invalid(ErrorBody),
    /// The admin token is missing or wrong
    #[response(status = 401)]
    Token(ErrorBody),
    /// A page of another site asks
    #[response(status = 403)]
    CrossSite(ErrorBody),
    /// The `Host` is a name that is not known here
    #[response(status = 421)]
    Host(ErrorBody),
    /// Too many wrong admin tokens came from this address
    #[response(status = 429)]
    TooMany(ErrorBody),
    /// The store does not answer
    #[response(status = 503)]
    Unavailable(ErrorBody),
}
