//! Differences that come with many exchanges. Each has a name, a reason, and covers one place.

use serde_json::{Value, json};

use super::differences::Difference;
use super::vectors::Vector;
use super::world::RECORDED_USERS;

pub struct Rule {
    pub name: &'static str,
    pub reason: &'static str,
    covers: fn(&Vector, &Difference) -> bool,
}

impl Rule {
    pub fn covers(&self, vector: &Vector, difference: &Difference) -> bool {
        (self.covers)(vector, difference)
    }
}

/// The members of discovery beside plgd's four: RFC 8414 §2, OpenID Connect Discovery 1.0 §3,
/// RFC 9449 §5.1, and the list of revoked tokens.
const DISCOVERED: [&str; 15] = [
    "authorization_endpoint",
    "grant_types_supported",
    "id_token_signing_alg_values_supported",
    "dpop_signing_alg_values_supported",
    "introspection_endpoint",
    "introspection_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_signing_alg_values_supported",
    "response_types_supported",
    "revocation_endpoint",
    "revocation_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_signing_alg_values_supported",
    "revocation_list_uri",
    "subject_types_supported",
    "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported",
];

const ISSUER: &str = "https://localhost:20013/m2m-oauth-server";

/// A refusal of both.
fn refused(vector: &Vector) -> bool {
    vector.plgd.status >= 400
}

fn at_token_endpoint(vector: &Vector) -> bool {
    vector
        .request
        .path
        .starts_with("/m2m-oauth-server/oauth/token")
}

fn ours(difference: &Difference) -> &Value {
    difference.ours.as_ref().unwrap_or(&Value::Null)
}

pub const RULES: &[Rule] = &[
    Rule {
        name: "not stored",
        reason: "RFC 6749 §5.1: an answer with a token is not to be cached; plgd's says nothing of \
            it.",
        covers: |_, it| {
            it.plgd.is_none()
                && match it.place.as_str() {
                    "header cache-control" => *ours(it) == "no-store",
                    "header pragma" => *ours(it) == "no-cache",
                    _ => false,
                }
        },
    },
    Rule {
        name: "not sniffed",
        reason: "Safer: plgd's sends this header with some of its errors, ours with all of them.",
        covers: |vector, it| {
            refused(vector) && it.place == "header x-content-type-options" && *ours(it) == "nosniff"
        },
    },
    Rule {
        name: "message",
        reason: "The text of an error is for people. plgd's names its own functions and what the \
            caller sent; ours is a constant.",
        covers: |vector, it| {
            refused(vector)
                && (it.place == "json.message" || it.place == "json.error.message")
                && it.plgd.is_some()
                && ours(it).is_string()
        },
    },
    Rule {
        name: "RFC 6749's members",
        reason: "RFC 6749 §5.2: an error of the token endpoint has `error`; plgd's own members \
            stand beside it.",
        covers: |vector, it| {
            refused(vector)
                && at_token_endpoint(vector)
                && it.plgd.is_none()
                && ["json.error", "json.error_description"].contains(&it.place.as_str())
                && ours(it).is_string()
        },
    },
    Rule {
        name: "details",
        reason: "An empty list and its absence mean the same in the JSON of a google.rpc.Status; \
            plgd's errors have it at some places.",
        covers: |vector, it| {
            refused(vector)
                && it.plgd.is_none()
                && it.place == "json.details"
                && *ours(it) == json!([])
        },
    },
    Rule {
        name: "audience",
        reason: "RFC 7519 §4.1.3: `aud` is a list of audiences. plgd joins them with a space, and \
            writes an empty one where there is none; ours is this issuer then (RFC 9068 §3).",
        covers: |_, it| {
            let list = |value: &Value| match value.as_array().map(Vec::as_slice) {
                Some([Value::String(joined)]) if joined.is_empty() => json!([ISSUER]),
                Some([Value::String(joined)]) => joined.split(' ').collect(),
                _ => Value::Null,
            };
            it.place == "token.claims.aud"
                && it.plgd.as_ref().is_some_and(|plgd| list(plgd) == *ours(it))
                || it.place == "token.claims.aud[0]"
                    && it.plgd == Some("".into())
                    && *ours(it) == ISSUER
        },
    },
    Rule {
        name: "issued 10 s ago",
        reason: "Better: plgd's services allow no difference of clocks, so a token from a clock \
            that is ahead would be refused at first.",
        covers: |_, it| it.place == "token.claims.iat" && *ours(it) == "<now-10>",
    },
    Rule {
        name: "entry's audience",
        reason: "The entry says what the token's `aud` says, and that names this issuer where no \
            audience was asked for.",
        covers: |_, it| {
            it.place.starts_with("line")
                && it.place.ends_with(".result.audience")
                && it.plgd.as_ref().is_none_or(|plgd| *plgd == json!([]))
                && *ours(it) == json!([ISSUER])
        },
    },
    Rule {
        name: "owner's issuer",
        reason: "Safer: a user `1` of another authority is another user; the claim says whose user \
            the owner is.",
        covers: |_, it| {
            it.plgd.is_none() && it.place == "token.claims.owner_iss" && *ours(it) == RECORDED_USERS
        },
    },
    Rule {
        name: "published for a while",
        reason: "Better: keys and discovery say how long they may be kept; plgd's say nothing of \
            it.",
        covers: |vector, it| {
            vector
                .request
                .path
                .starts_with("/m2m-oauth-server/.well-known/")
                && it.plgd.is_none()
                && it.place == "header cache-control"
                && *ours(it) == "public, max-age=300"
        },
    },
    Rule {
        name: "discovery",
        reason: "RFC 8414 §2: what clients of others need to find; plgd's validators read their \
            four members and ignore the rest.",
        covers: |vector, it| {
            vector.request.path == "/m2m-oauth-server/.well-known/openid-configuration"
                && it.plgd.is_none()
                && it
                    .place
                    .strip_prefix("json.")
                    .is_some_and(|name| DISCOVERED.contains(&name))
        },
    },
    Rule {
        name: "use of a key",
        reason: "RFC 7517 §4.2: a key says that it is for signatures; plgd's validators take no \
            notice.",
        covers: |_, it| it.plgd.is_none() && it.place == "json.keys[0].use" && *ours(it) == "sig",
    },
    Rule {
        name: "empty list",
        reason: "Better: an empty list has the content type of one with entries; plgd's has none.",
        covers: |vector, it| {
            vector.plgd.text.as_deref() == Some("")
                && it.place == "header content-type"
                && it.plgd.is_none()
                && (*ours(it) == "application/json" || *ours(it) == "application/jsonpb")
        },
    },
    Rule {
        name: "passed on at once",
        reason: "Better: nginx passes each entry on as it comes, as plgd's clients need it; its \
            buffers would join entries.",
        covers: |vector, it| {
            vector
                .request
                .path
                .starts_with("/m2m-oauth-server/api/v1/tokens")
                && vector.plgd.status == 200
                && it.plgd.is_none()
                && it.place == "header x-accel-buffering"
                && *ours(it) == "no"
        },
    },
    Rule {
        name: "challenge",
        reason: "RFC 9110 §11.6.1: `WWW-Authenticate` holds a challenge. plgd's has none, or an \
            error's text.",
        covers: |vector, it| {
            vector.plgd.status == 401
                && it.place == "header www-authenticate"
                && (*ours(it) == "Bearer" || *ours(it) == r#"Basic realm="m2m-sidecar""#)
        },
    },
];
