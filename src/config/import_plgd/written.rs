//! The text of an imported configuration.
//!
//! Scalars are written plain where nobody could read them as something else, in JSON's quotes
//! otherwise, which YAML shares.

use serde_json::Value;

use super::Target;
use super::authorities::{Authority, OWN};
use super::clients::{Client, Proof};
use crate::config::yaml::resolve_plain;

/// The configuration as YAML.
pub(super) fn yaml(target: &Target) -> String {
    let mut out = Lines::default();
    out.line(
        0,
        "# Made by `m2m-sidecar import-plgd` from a configuration of plgd's m2m-oauth-server.",
    );
    out.line(
        0,
        "# What could not be carried over stands in what the command wrote to standard error.",
    );
    log(&mut out, target);
    out.line(0, "");
    out.line(
        0,
        "# A directory that belongs to the sidecar alone: it keeps what it has issued and revoked there.",
    );
    out.line(0, "stateDir: /var/lib/m2m-sidecar");
    out.line(0, r#"store: { url: "sqlite:/var/lib/m2m-sidecar/m2m.db" }"#);
    out.line(0, "");
    issuer(&mut out, target);
    out.line(0, "");
    out.line(0, "# `profile: plgd`: slashes at the end of an issuer's name do not count. `requireExpiry: false`: plgd accepts tokens that never");
    out.line(
        0,
        "# expire, and the users of its bundle have such; take it out where an authority issues none.",
    );
    out.line(0, "authorities:");
    for authority in &target.authorities {
        write_authority(&mut out, authority);
    }
    out.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, indent: usize, text: &str) {
        self.0.extend(std::iter::repeat_n(' ', indent));
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// A key with a text as its value.
    fn text(&mut self, indent: usize, key: &str, value: &str) {
        self.line(indent, &format!("{key}: {}", scalar(value)));
    }

    /// A key with a list of texts; nothing for an empty one.
    fn list(&mut self, indent: usize, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.line(indent, &format!("{key}: {}", list(values)));
        }
    }
}

fn log(out: &mut Lines, target: &Target) {
    let level = target.log_level.map(|level| format!("level: {level}"));
    let encoding = target
        .log_encoding
        .map(|encoding| format!("encoding: {encoding}"));
    let both: Vec<_> = level.into_iter().chain(encoding).collect();
    if !both.is_empty() {
        out.line(0, "");
        out.line(0, &format!("log: {{ {} }}", both.join(", ")));
    }
}

fn issuer(out: &mut Lines, target: &Target) {
    out.line(0, "issuer:");
    out.line(
        2,
        "# The `iss` of every token so far, and where plgd's services look: it must stay.",
    );
    out.text(2, "url", &target.url);
    out.line(
        2,
        "# Plain HTTP: what ends TLS for that URL passes requests on to here, with their paths.",
    );
    out.text(2, "listen", &target.listen);
    out.line(2, "# What ends TLS on this machine. It must set `X-Forwarded-For` itself, as the bundle's nginx does: wrong secrets are counted for");
    out.line(2, "# the address that it names.");
    out.line(2, "trustedProxies: [127.0.0.1, \"::1\"]");
    out.line(2, "profile: plgd");
    out.text(2, "ownerClaim", &target.owner_claim);
    if let Some(claim) = &target.device_id_claim {
        out.text(2, "deviceIDClaim", claim);
    }
    if let Some(file) = &target.private_key_file {
        out.line(
            2,
            "# The same key under the same `kid`: verifiers notice nothing.",
        );
        out.line(2, "signing:");
        if let Some(algorithm) = target.algorithm {
            out.text(4, "algorithm", algorithm);
        }
        out.text(4, "privateKeyFile", file);
    }
    out.line(2, "# Whose tokens may list and revoke an owner's tokens.");
    out.list(2, "authorities", &target.trusted);
    if !target.clients.is_empty() {
        out.line(2, "clients:");
    }
    for client in &target.clients {
        write_client(out, client);
    }
}

fn write_client(out: &mut Lines, client: &Client) {
    out.text(4, "- id", &client.id);
    if let Some(why) = client.disabled {
        out.line(
            6,
            &format!(
                "# Disabled: {why}. Put one of 16 bytes or more into the file, then remove `disabled: true`."
            ),
        );
        out.line(6, "disabled: true");
    }
    match &client.proof {
        Proof::Secret(file) => out.text(6, "secretFile", file),
        Proof::Assertion(authorities) => {
            out.line(
                6,
                "# A token of a user, exchanged for an M2M token of its owner.",
            );
            out.line(
                6,
                &format!("jwtPrivateKey: {{ authorities: {} }}", list(authorities)),
            );
        }
    }
    if let Some(owner) = &client.owner {
        // In quotes always: an owner is a text, also when it looks like a number.
        out.line(6, &format!("owner: {}", quoted(owner)));
    }
    match client.lifetime {
        Some(lifetime) => out.line(6, &format!("accessTokenLifetime: {lifetime}")),
        None => out.line(6, "accessTokenLifetime: 0s  # no expiry"),
    }
    out.list(6, "allowedAudiences", &client.audiences);
    out.list(6, "allowedScopes", &client.scopes);
    if !client.claims.is_empty() {
        out.line(6, "insertTokenClaims:");
        for (claim, value) in &client.claims {
            out.line(8, &format!("{}: {}", key(claim), json(value)));
        }
    }
}

fn write_authority(out: &mut Lines, authority: &Authority) {
    out.line(2, &format!("{}:", key(&authority.name)));
    if authority.name == OWN {
        out.line(4, "# This issuer: its keys are read in process.");
    }
    out.text(4, "issuer", &authority.issuer);
    if let Some(file) = &authority.ca_file {
        out.text(4, "caFile", file);
    }
    out.line(4, "profile: plgd");
    out.line(4, "requireExpiry: false");
    match authority.max_age {
        _ if !authority.is_m2m => {
            out.line(4, "# As with plgd, whose services ask only m2m-oauth-servers. `auto` where this authority can say what it has revoked.");
            out.line(4, "revocation: none");
        }
        Some(max_age) => out.line(
            4,
            &format!("revocation: {{ kind: auto, maxAge: {max_age} }}"),
        ),
        None => {}
    }
}

fn list(values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(|value| scalar(value)).collect();
    format!("[{}]", values.join(", "))
}

/// Whether every reader of YAML takes it for this very text.
fn is_plain(text: &str) -> bool {
    let old_truth =
        ["yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '@' | ':'))
        && !text.ends_with(':')
        && !old_truth
        && resolve_plain(text).is_none()
}

/// A text as a value.
pub(super) fn scalar(text: &str) -> String {
    // The only addresses among the texts: everybody reads them as such.
    if is_plain(text)
        || text
            .parse::<std::net::SocketAddr>()
            .is_ok_and(|address| address.is_ipv4())
    {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A text as a value, in quotes. `${NAME}` in a value is a variable here, but is none in plgd's
/// configuration.
fn quoted(text: &str) -> String {
    Value::from(text.replace("${", "$${")).to_string()
}

/// A text as a key, where there are no variables.
fn key(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

/// Any value, written as JSON.
pub(super) fn json(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(json).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), json(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        plain => plain.to_string(),
    }
}
