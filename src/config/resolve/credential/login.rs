//! Logins that are not OAuth.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::{Map, Value};

use super::Resolver;
use crate::config::files;
use crate::config::header::UpstreamHeader;
use crate::config::raw::{self, LoginMethod, LoginValue};
use crate::config::resolve::connections::is_open;
use crate::config::token_text::TokenPlaceText;
use crate::config::tree::KeyPath;
use crate::config::value::FilePath;
use crate::token_source::{Field, Login, LoginBody, TokenEndpoint, TokenPlace};

/// The member of a JSON object that stands for the content of a file.
const VALUE_FILE: &str = "valueFile";

/// Resolves `login`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Login,
) -> Option<TokenEndpoint> {
    if is_open(&raw.url.0) {
        let message = "plain http to another machine: an attacker on the network can read the \
                       login and the token";
        resolver.warn(&path.key("url"), message);
    }
    if let Some(lifetime) = raw.lifetime {
        let (least, most) = (Duration::from_secs(1), Duration::from_hours(24));
        resolver.duration(&path.key("lifetime"), lifetime, least, most);
    }
    let headers = headers(resolver, &path.key("headers"), raw.headers);
    let body = match raw.body {
        None => Some(LoginBody::None),
        Some(raw_body) => body(resolver, &path.key("body"), raw.method, raw_body),
    };
    Some(TokenEndpoint::Login(Box::new(Login {
        url: raw.url.0,
        method: match raw.method {
            LoginMethod::Post => Method::POST,
            LoginMethod::Put => Method::PUT,
            LoginMethod::Get => Method::GET,
        },
        headers: headers?,
        body: body?,
        token: token_place(&raw.token)?,
        expires_in: raw.expires_in.map(Into::into),
        lifetime: raw.lifetime.map(|lifetime| lifetime.0),
    })))
}

fn token_place(text: &TokenPlaceText) -> Option<TokenPlace> {
    match text.0.strip_prefix("header ") {
        Some(name) => HeaderName::from_bytes(name.as_bytes())
            .ok()
            .map(TokenPlace::Header),
        None => Some(TokenPlace::Member(text.0.clone())),
    }
}

fn headers(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: BTreeMap<UpstreamHeader, LoginValue>,
) -> Option<Vec<(HeaderName, Field)>> {
    let headers: Vec<_> = raw
        .into_iter()
        .map(|(name, value)| {
            let field = field(resolver, &path.key(&name.0), value)?;
            Some((HeaderName::from_bytes(name.0.as_bytes()).ok()?, field))
        })
        .collect();
    headers.into_iter().collect()
}

fn field(resolver: &mut Resolver<'_>, path: &KeyPath, raw: LoginValue) -> Option<Field> {
    match raw {
        LoginValue::Text(text) => Some(Field::Text(text)),
        LoginValue::File(raw) => {
            let path = path.key(VALUE_FILE);
            resolver.secret(&path, &raw.value_file, files::read_secret)?;
            Some(Field::File(raw.value_file.0))
        }
    }
}

fn body(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    method: LoginMethod,
    raw: raw::LoginBody,
) -> Option<LoginBody> {
    if method == LoginMethod::Get {
        resolver.error(
            path,
            "a GET has no body: remove this key, or use another `method`",
        );
        return None;
    }
    match (raw.json, raw.form) {
        (Some(json), None) => json_body(resolver, &path.key("json"), json),
        (None, Some(_)) if method == LoginMethod::Put => {
            resolver.error(&path.key("form"), "a form is sent with `method: POST`");
            None
        }
        (None, Some(form)) => {
            let path = path.key("form");
            let fields: Vec<_> = form
                .into_iter()
                .map(|(name, value)| {
                    Some((name.clone(), field(resolver, &path.key(&name), value)?))
                })
                .collect();
            let fields: Option<Vec<_>> = fields.into_iter().collect();
            fields.map(LoginBody::Form)
        }
        _ => {
            resolver.error(path, "set either `json` or `form`");
            None
        }
    }
}

fn json_body(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    json: Map<String, Value>,
) -> Option<LoginBody> {
    let (mut json, mut files) = (Value::Object(json), Vec::new());
    take_files(&mut json, String::new(), path, &mut files);
    let mut is_usable = true;
    for (_, path, file) in &files {
        let file = FilePath(file.clone());
        is_usable &= resolver.secret(path, &file, files::read_secret).is_some();
    }
    let files = files.into_iter().map(|(pointer, _, file)| (pointer, file));
    is_usable.then(|| LoginBody::Json(json, files.collect()))
}

/// Takes the objects with the one member `valueFile` out of a JSON value: the pointer, the path in
/// the configuration, and the file of each.
fn take_files(
    value: &mut Value,
    pointer: String,
    path: &KeyPath,
    files: &mut Vec<(String, KeyPath, PathBuf)>,
) {
    match value {
        Value::Object(members) => {
            if members.len() == 1
                && let Some(Value::String(file)) = members.get(VALUE_FILE)
            {
                files.push((pointer, path.key(VALUE_FILE), PathBuf::from(file)));
                *value = Value::Null;
                return;
            }
            for (name, member) in members {
                let token = name.replace('~', "~0").replace('/', "~1");
                take_files(member, format!("{pointer}/{token}"), &path.key(name), files);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let path = path.index(index);
                take_files(item, format!("{pointer}/{index}"), &path, files);
            }
        }
        _ => {}
    }
}
