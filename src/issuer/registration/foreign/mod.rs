//! Members that programs for other servers send: clients of RFC 7591, Hydra's command line,
//! Terraform providers, exports of Auth0 and Keycloak.
//!
//! A member without effect here is kept and shown. A member that asks for an unsupported feature
//! is refused with that reason. Another name of one of our members is read as that member.

mod table;

use serde_json::{Map, Value};
use url::Url;

use super::members::{FieldProblem, READ_ONLY};
use table::{Expected, OTHER_SERVERS, RFC_7591};

/// The most bytes of everything that is kept of one client, as JSON.
const MAX_KEPT: usize = 16 * 1024;
const MAX_TEXT: usize = 2048;

/// The meaning of a member of another server.
#[derive(Clone, Copy)]
pub enum Meaning {
    /// Another name of one of our members.
    Is(&'static str),
    /// The opposite of one of our members.
    IsNot(&'static str),
    /// Kept with any value.
    Any,
    /// Kept; a text.
    Text,
    /// Kept; a list of texts.
    Texts,
    /// Kept; an http or https URL.
    Link,
    /// Kept; an object.
    Object,
    /// Kept while it asks for nothing: empty, zero, `false` or `none`. Otherwise refused with this
    /// reason.
    Nothing(&'static str),
    /// Kept with this value. Otherwise refused with this reason.
    Only(Expected, &'static str),
}

/// The members of RFC 7591 §2 that are kept without effect.
pub fn kept_members() -> impl Iterator<Item = (&'static str, Meaning)> {
    let listed = RFC_7591
        .iter()
        .flat_map(|(meaning, names)| names.iter().map(|name| (*name, *meaning)));
    // The others belong to answers of a registration endpoint (§3.2.1), and to statements (§2.3).
    listed.filter(|(name, _)| !name.starts_with("registration_") && *name != "software_statement")
}

fn meaning(name: &str) -> Option<Meaning> {
    // RFC 7591 §2.2: a member for people may be repeated in other languages.
    let name = match name.split_once('#') {
        Some((name @ ("client_uri" | "logo_uri" | "tos_uri" | "policy_uri"), tag))
            if is_language(tag) =>
        {
            name
        }
        Some(("client_name", tag)) if is_language(tag) => return Some(Meaning::Text),
        Some(_) => return None,
        None => name,
    };
    let listed = RFC_7591
        .iter()
        .chain(OTHER_SERVERS)
        .find(|(_, names)| names.contains(&name));
    match listed {
        Some((meaning, _)) => Some(*meaning),
        // Hydra's lifetimes of grants that this server does not have.
        None if name.ends_with("_lifespan") && name.contains("_grant_") => Some(Meaning::Any),
        None => None,
    }
}

fn is_language(tag: &str) -> bool {
    matches!(tag.len(), 1..=35)
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A request with our own names of members.
pub(super) struct Translated {
    /// Our members.
    pub own: Map<String, Value>,
    /// Members that are kept as they are. Null removes one.
    pub kept: Map<String, Value>,
    pub problems: Vec<FieldProblem>,
}

/// Reads the members of other servers in a request; `known` are ours.
pub(super) fn translate(body: &Map<String, Value>, known: &[&str]) -> Translated {
    let mut read = Translated {
        own: Map::new(),
        kept: Map::new(),
        problems: Vec::new(),
    };
    for (name, value) in body {
        match meaning(name)
            .filter(|_| !known.contains(&name.as_str()) && !READ_ONLY.contains(&name.as_str()))
        {
            None => drop(read.own.insert(name.clone(), value.clone())),
            Some(Meaning::Is(member)) => read.is(name, member, value.clone(), body),
            Some(Meaning::IsNot(member)) => {
                let value = value
                    .as_bool()
                    .map_or_else(|| value.clone(), |flag| Value::Bool(!flag));
                read.is(name, member, value, body);
            }
            Some(meaning) => read.keep(name, value, meaning),
        }
    }
    read
}

impl Translated {
    fn is(&mut self, name: &str, member: &str, value: Value, body: &Map<String, Value>) {
        let other = body
            .get(member)
            .or_else(|| self.own.get(member))
            .filter(|other| !other.is_null());
        if value == "" || value.is_null() && other.is_some() {
            return;
        }
        if other.is_some_and(|other| *other != value) {
            let problem = format!("it is another name for `{member}`, which says something else");
            self.problems.push(FieldProblem::new(name, problem));
        } else {
            self.own.insert(member.to_owned(), value);
        }
    }

    fn keep(&mut self, name: &str, value: &Value, meaning: Meaning) {
        if let Err(problem) = check(value, meaning) {
            self.problems.push(FieldProblem::new(name, problem));
        } else {
            self.kept.insert(name.to_owned(), value.clone());
        }
    }
}

fn check(value: &Value, meaning: Meaning) -> Result<(), &'static str> {
    let is_text = |value: &Value| {
        let text = value.as_str();
        text.is_some_and(|text| text.len() <= MAX_TEXT && !text.chars().any(char::is_control))
    };
    let is_link = |value: &Value| {
        let url = value
            .as_str()
            .filter(|_| is_text(value))
            .and_then(|text| Url::parse(text).ok());
        url.is_some_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    let (is_good, problem) = match meaning {
        _ if asks_for_nothing(value) => (true, ""),
        Meaning::Is(_) | Meaning::IsNot(_) | Meaning::Any => (true, ""),
        Meaning::Text => (
            is_text(value),
            "it must be a text of at most 2048 bytes without control characters",
        ),
        Meaning::Link => (is_link(value), "it must be an http or https URL"),
        Meaning::Texts => {
            let good = value
                .as_array()
                .is_some_and(|items| items.len() <= 100 && items.iter().all(is_text));
            (good, "it must be a list of texts")
        }
        Meaning::Object => (value.is_object(), "it must be an object"),
        Meaning::Only(expected, reason) => (expected.is(value), reason),
        Meaning::Nothing(reason) => (false, reason),
    };
    if is_good { Ok(()) } else { Err(problem) }
}

/// Programs send all members of a client, with these values where nothing is set.
fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(true) => false,
    }
}

/// Whether the kept members of a client are small enough.
pub(super) fn is_small(kept: &Map<String, Value>) -> Result<(), FieldProblem> {
    match kept.keys().next() {
        Some(first) if Value::Object(kept.clone()).to_string().len() > MAX_KEPT => {
            let problem = format!(
                "all members that are kept as they are have at most {MAX_KEPT} bytes together"
            );
            Err(FieldProblem::new(first, problem))
        }
        _ => Ok(()),
    }
}

/// Why a client of this kind cannot be registered; `None`: it can.
pub(super) fn why_no_client_type(kind: &str) -> Option<&'static str> {
    let letters = kind.chars().filter(char::is_ascii_alphanumeric);
    let name = letters.collect::<String>().to_ascii_lowercase();
    match name.as_str() {
        "confidential" | "m2m" | "machine" | "machinetomachine" | "service" | "serviceaccount"
        | "noninteractive" | "server" | "backend" | "daemon" | "worker" => None,
        "public" | "spa" | "native" | "browser" | "frontend" | "web" | "regularweb" | "mobile"
        | "singlepage" | "singlepageapp" | "userfacing" | "device" => Some(
            "it asks for a client that logs people in or has no secret; every client here \
             is a machine: `confidential`, also called `m2m`, `machine_to_machine`, `service`, \
             `service_account` or `non_interactive`",
        ),
        _ => Some(
            "it must be `confidential`, also called `m2m`, `machine_to_machine`, `service`, \
             `service_account` or `non_interactive`",
        ),
    }
}

/// Why a grant cannot be registered.
pub(super) fn why_no_grant(name: &str) -> &'static str {
    match name {
        "authorization_code" => "`authorization_code` needs a login with redirects",
        "implicit" => "`implicit` needs a login with redirects",
        "password" => "`password` needs users with passwords",
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => {
            "the device grant needs a login"
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => "this grant is not supported yet",
        _ => "a grant is not known here",
    }
}

/// The reason against a method, for the end of an error; empty for an unknown method.
pub(super) fn why_no_method(name: &str) -> &'static str {
    match name {
        "none" => {
            "; `none` asks for a client without a secret, and every client here authenticates \
             itself"
        }
        "client_secret_jwt" => {
            "; `client_secret_jwt` needs the secret itself, and this server keeps a hash of it"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;
