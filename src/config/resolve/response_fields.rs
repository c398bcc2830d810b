//! The fields that a listener sets on every response.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::resolver::Resolver;
use crate::config::header::{HeaderText, ResponseHeader};
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::domain::settings::CorsPreflight;
use crate::proxy::response_fields::{Cors, Origins, ResponseFields};

const DAY: Duration = Duration::from_hours(24);
/// Stands for all origins or header fields.
const ALL: &str = "*";

/// Resolves `responseHeaders` and `cors` of a listener.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    headers: BTreeMap<ResponseHeader, HeaderText>,
    cors: Option<raw::Cors>,
    preflight: CorsPreflight,
) -> Option<Arc<ResponseFields>> {
    let cors_path = path.key("cors");
    if cors.is_some() && preflight == CorsPreflight::Pass {
        let message = "the listener answers preflights itself: remove `corsPreflight: pass`";
        resolver.error(&cors_path, message);
    }
    let cors = cors.and_then(|cors| resolve_cors(resolver, &cors_path, cors));
    let set = headers.into_iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.0.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(&value.0).ok()?))
    });
    ResponseFields::new(set.collect(), cors)
}

fn resolve_cors(resolver: &mut Resolver<'_>, path: &KeyPath, raw: raw::Cors) -> Option<Cors> {
    let origins: Vec<&str> = raw.origins.iter().map(|origin| origin.0.as_str()).collect();
    let has_all = alone(resolver, &path.key("origins"), &origins);
    let headers: Vec<&str> = raw.headers.iter().map(|name| name.0.as_str()).collect();
    let has_all_headers = alone(resolver, &path.key("headers"), &headers);
    if has_all && raw.credentials {
        let message = "with cookies, any page could act for its visitor: list the origins";
        resolver.error(&path.key("credentials"), message);
    }
    let max_age = raw.max_age;
    resolver.duration(&path.key("maxAge"), max_age, Duration::ZERO, DAY);
    let methods: Vec<&str> = raw.methods.iter().map(|method| method.0.as_str()).collect();
    let exposed: Vec<&str> = (raw.expose_headers.iter())
        .map(|name| name.0.as_str())
        .collect();
    let list = |names: &[&str]| HeaderValue::from_str(&names.join(", ")).ok();
    Some(Cors {
        origins: if has_all {
            Origins::Any
        } else {
            let listed = origins.iter().filter_map(|origin| origin.parse().ok());
            Origins::Listed(listed.collect())
        },
        methods: list(&methods)?,
        headers: if has_all_headers {
            None
        } else {
            Some(list(&headers)?)
        },
        exposed: list(&exposed).filter(|value| !value.is_empty()),
        credentials: raw.credentials,
        max_age: max_age.0,
    })
}

/// Whether a list is `*`. Reports other items beside it.
fn alone(resolver: &mut Resolver<'_>, path: &KeyPath, items: &[&str]) -> bool {
    let has_all = items.contains(&ALL);
    if has_all && items.len() > 1 {
        resolver.error(path, "`*` allows all: remove the other items, or `*`");
    }
    has_all
}
