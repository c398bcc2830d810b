//! The parts of the API description that no handler declares.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response as Answer;
use utoipa::IntoResponses;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, Object, ObjectBuilder, OneOf, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, Ref, RefOr,
    Response, ResponseBuilder,
};

use super::Admin;
use super::answer::json_text;
use super::wire::{ErrorBody, ErrorDetail};
use crate::issuer::registration::{Meaning, kept_members};

const DESCRIPTION: &str = "Clients, their secrets and tokens. Every request carries \
    `Authorization: Bearer <admin token>`; `Host` must be an IP address, `localhost` or one of \
    `admin.hosts`; writes are JSON. Bodies are at most 64 KiB. A client id is percent-encoded in \
    the path (`/` is `%2F`); everything below `/clients/{client_id}` is also available as \
    `/client?client_id=…`, `/client/secrets?client_id=…`, \
    `/client/secrets/{secret_id}?client_id=…` and `/client/revoke?client_id=…`. docs/clients.md \
    lists the members of other servers' clients that are accepted too.";
const TOKEN: &str = "adminToken";

type Schemas = BTreeMap<String, RefOr<Schema>>;
type Responses = BTreeMap<String, RefOr<Response>>;

/// The document before the handlers' own descriptions.
pub(super) fn beginning() -> OpenApi {
    let info = InfoBuilder::new()
        .title("m2m-sidecar: management API")
        .description(Some(DESCRIPTION))
        .version(env!("CARGO_PKG_VERSION"))
        .license(Some(License::new("Apache-2.0")))
        .build();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    // No handler names them.
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
pub(super) fn text(mut document: OpenApi) -> String {
    if let Some(components) = &mut document.components {
        complete(&mut components.schemas);
    }
    // Cannot fail: every key of a map is a text.
    document.to_pretty_json().unwrap_or_default()
}

/// Puts the client's metadata into its request and its answer, and lets requests leave out or
/// null any member.
fn complete(schemas: &mut Schemas) {
    let names: Vec<_> = schemas
        .keys()
        .filter(|name| *name == "Client" || name.ends_with("Request"))
        .cloned()
        .collect();
    for name in names {
        let mut object = flat(schemas, &schemas[&name]);
        if name == "ClientRequest" {
            let kept = kept_members().map(|(name, meaning)| (name.to_owned(), kept(meaning)));
            object.properties.extend(kept);
            let limits = ObjectBuilder::new().description(Some("Not supported yet."));
            object.properties.insert("limits".to_owned(), limits.into());
        }
        if name != "Client" {
            object.required.clear();
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            for property in object.properties.values_mut() {
                *property = nullable(std::mem::take(property));
            }
        }
        schemas.insert(name, RefOr::T(Schema::Object(object)));
    }
    schemas.remove("ClientMetadata");
}

/// A schema as one object, with the parts of an `allOf` merged.
fn flat(schemas: &Schemas, schema: &RefOr<Schema>) -> Object {
    match schema {
        RefOr::T(Schema::Object(object)) => object.clone(),
        RefOr::T(Schema::AllOf(all)) => {
            let mut whole = Object::new();
            whole.description.clone_from(&all.description);
            for part in all.items.iter().map(|item| flat(schemas, item)) {
                whole.properties.extend(part.properties);
                whole.required.extend(part.required);
                let additional = part.additional_properties;
                whole.additional_properties = whole.additional_properties.or(additional);
                whole.description = whole.description.or(part.description);
            }
            whole
        }
        RefOr::Ref(named) => {
            let name = named.ref_location.rsplit('/').next().unwrap_or_default();
            schemas
                .get(name)
                .map_or_else(Object::new, |schema| flat(schemas, schema))
        }
        RefOr::T(_) => Object::new(),
    }
}

/// A schema that also accepts null.
fn nullable(schema: RefOr<Schema>) -> RefOr<Schema> {
    let with_null = |schema_type: SchemaType| match schema_type {
        SchemaType::Type(one) => SchemaType::Array(vec![one, Type::Null]),
        other => other,
    };
    let null = || RefOr::from(ObjectBuilder::new().schema_type(Type::Null));
    RefOr::T(match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.schema_type = with_null(object.schema_type);
            Schema::Object(object)
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.schema_type = with_null(array.schema_type);
            Schema::Array(array)
        }
        RefOr::T(Schema::OneOf(mut one_of)) => {
            let is_null = null();
            if !one_of.items.contains(&is_null) {
                one_of.items.push(is_null);
            }
            Schema::OneOf(one_of)
        }
        other => Schema::OneOf(OneOf {
            items: vec![other, null()],
            ..OneOf::new()
        }),
    })
}

/// The schema of a member that is kept without effect.
fn kept(meaning: Meaning) -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    match meaning {
        Meaning::Link => text()
            .max_length(Some(2048))
            .format(Some(SchemaFormat::Custom("uri".to_owned())))
            .into(),
        Meaning::Texts => ArrayBuilder::new()
            .items(text())
            .max_items(Some(100))
            .into(),
        Meaning::Nothing(reason) => ArrayBuilder::new()
            .items(text())
            .max_items(Some(0))
            .description(Some(format!("Must be empty: {reason}.")))
            .into(),
        Meaning::Object => ObjectBuilder::new().into(),
        _ => text().max_length(Some(2048)).into(),
    }
}

/// This description
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "describe", tag = "description",
    responses(
        (
            status = 200,
            description = "OpenAPI 3.1",
            body = Object,
            content_type = "application/json",
        ),
        Refused
    )
)]
pub(super) async fn serve(State(admin): State<Admin>) -> Answer {
    json_text(admin.description.to_string())
}

/// The requested object does not exist.
pub(super) enum NotThere {}

impl IntoResponses for NotThere {
    fn responses() -> Responses {
        errors(&[("404", "It is not there")])
    }
}

/// The errors of a write.
pub(super) enum Failed {}

impl IntoResponses for Failed {
    fn responses() -> Responses {
        errors(&[
            ("409", "It contradicts existing data"),
            ("413", "The body is too large"),
            ("415", "The body is not JSON"),
        ])
    }
}

/// The errors of every request.
pub(super) enum Refused {}

impl IntoResponses for Refused {
    fn responses() -> Responses {
        errors(&[
            ("400", "A member or parameter is wrong"),
            ("401", "The admin token is missing or wrong"),
            ("403", "A page of another site sends the request"),
            ("421", "The `Host` is not a name of this API"),
            ("429", "Too many wrong admin tokens came from this address"),
            ("503", "The store does not answer"),
        ])
    }
}

fn errors(described: &[(&str, &str)]) -> Responses {
    let body = || {
        ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("ErrorBody")))
            .build()
    };
    let response = |description: &str| {
        ResponseBuilder::new()
            .description(description)
            .content("application/json", body())
            .build()
    };
    described
        .iter()
        .map(|(status, description)| ((*status).to_owned(), response(description).into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::endpoints::admin::openapi_document;
    use crate::issuer::registration::{MEMBERS, kept_members};

    #[test]
    fn every_member_of_a_client_request_is_described_and_no_other() {
        let document: Value = serde_json::from_str(&openapi_document()).unwrap();
        let request = &document["components"]["schemas"]["ClientRequest"];
        let described: BTreeSet<_> = request["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let kept = kept_members().map(|(name, _)| name);
        assert_eq!(described, MEMBERS.into_iter().chain(kept).collect());
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
