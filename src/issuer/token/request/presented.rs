//! The parts of a malformed request that can be found: only for the audit log.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;

use super::credentials::{SecretCredentials, basic_credentials};

/// The parts that were found.
#[derive(Debug, Default)]
pub(in crate::issuer) struct Presented {
    pub(in crate::issuer) client_id: Option<String>,
    pub(in crate::issuer) scope: Vec<String>,
    pub(in crate::issuer) audiences: Vec<String>,
}

impl Presented {
    /// Searches headers and body.
    pub(in crate::issuer) fn find(headers: &HeaderMap, body: &[u8]) -> Self {
        let mut found = serde_json::from_slice(body)
            .map_or_else(|_| Self::in_form(body), |json| Self::in_json(&json));
        let basic = headers
            .get(AUTHORIZATION)
            .and_then(|value| basic_credentials(value.as_bytes()));
        let of_basic = basic
            .and_then(SecretCredentials::parse_basic)
            .map(|basic| basic.client_id().to_owned());
        found.client_id = of_basic.or(found.client_id).filter(|id| !id.is_empty());
        found
    }

    fn in_form(body: &[u8]) -> Self {
        let mut found = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "client_id" if found.client_id.is_none() => {
                    found.client_id = Some(value.into_owned())
                }
                "scope" => found.scope.push(value.into_owned()),
                "audience" | "aud" | "resource" => found.audiences.push(value.into_owned()),
                _ => {}
            }
        }
        found
    }

    fn in_json(body: &Value) -> Self {
        Self {
            client_id: texts(body.get("client_id")).into_iter().next(),
            scope: texts(body.get("scope")),
            audiences: [texts(body.get("audience")), texts(body.get("resource"))].concat(),
        }
    }
}

/// A text or a list of texts.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}
