//! The description of the API, as far as it is not said beside each handler.

use axum::extract::State;
use axum::response::Response;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder};
use utoipa::{IntoParams, IntoResponses};

use super::Admin;
use super::answer::json_text;
use super::wire::{Client, ErrorBody, ErrorDetail};

const DESCRIPTION: &str = "Clients, their secrets and tokens. Every request carries `Authorization: Bearer <admin token>`; \
                           `Host` must be an IP address, `localhost` or one of `admin.hosts`; writes are JSON. Bodies are \
                           at most 64 KiB. A client id stands percent-encoded in the path (`/` is `%2F`); everything below \
                           `/clients/{client_id}` is also there as `/client?client_id=…`, `/client/secrets?client_id=…`, \
                           `/client/secrets/{secret_id}?client_id=…` and `/client/revoke?client_id=…`. Members that other \
                           servers' clients send are understood as docs/clients.md says.";
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
    // What only the descriptions of refusals name is not found by itself.
    let components = ComponentsBuilder::new()
        .schema_from::<ErrorBody>()
        .schema_from::<ErrorDetail>();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components.security_scheme(TOKEN, token).build()))
        .security(Some([SecurityRequirement::new(
            TOKEN,
            Vec::<String>::new(),
        )]))
        .build()
}

/// The document as it is served.
pub(super) fn text(document: OpenApi) -> String {
    // Cannot fail: there are no maps with other keys than texts.
    document.to_pretty_json().unwrap_or_default()
}

/// This description
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "describe", tag = "description",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"), Refused)
)]
pub(super) async fn serve(State(admin): State<Admin>) -> Response {
    json_text(admin.description.to_string())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::endpoints::admin::openapi_document;
    use crate::issuer::registration::request::MEMBERS;

    #[test]
    fn what_a_registration_may_say_is_described_and_nothing_else() {
        let document: Value = serde_json::from_str(&openapi_document()).unwrap();
        let request = &document["components"]["schemas"]["ClientRequest"];
        let described: BTreeSet<_> = request["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(described, BTreeSet::from(MEMBERS));
        assert_eq!(request["additionalProperties"], false);
    }

    #[test]
    fn every_schema_that_is_named_is_there_and_every_operation_has_a_name_of_its_own() {
        let text = openapi_document();
        let document: Value = serde_json::from_str(&text).unwrap();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
        let operations = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|path| path.as_object().unwrap().values());
        let names: Vec<_> = operations
            .map(|operation| operation["operationId"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            names.len(),
            names.iter().collect::<BTreeSet<_>>().len(),
            "{names:?}"
        );
        assert!(names.len() >= 12);
    }
}
