//! The clients of plgd's server.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::ReadFile;
use super::authorities::{Authorities, OWN};
use super::signing::file_path;
use super::source::Source;
use crate::config::name::{Audience, ClientId, Scope};
use crate::config::tree::{KeyPath, Node};
use crate::config::value::{FilePath, GoDuration};
use crate::domain::secret::ExposeSecret;
use crate::files::{self, ReadError};
use crate::issuer::{self, client_secret};

pub(super) struct Client {
    pub id: String,
    pub proof: Proof,
    pub owner: Option<String>,
    /// `None`: its tokens never expire.
    pub lifetime: Option<GoDuration>,
    pub audiences: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Map<String, Value>,
    /// The reason why it is disabled: its secret cannot be used.
    pub disabled: Option<&'static str>,
}

pub(super) enum Proof {
    Secret(String),
    Assertion(Vec<String>),
}

const MOST: Duration = Duration::from_hours(366 * 24);

const UNREAD: &str = "the file cannot be read here, so check it: the sidecar requires a secret of \
                      one line and at least 16 bytes, but plgd's server does not";
const EMPTY: &str = "its secret file is empty (plgd accepts it without a secret)";
const BLANK: &str = "its secret file contains only a line break";
const LINES: &str = "its secret file has several lines, which plgd uses as one secret";
const NO_TEXT: &str = "its secret file contains characters that a secret cannot have";
const SHORT: &str = "its secret is shorter than 16 bytes, so it can be guessed";
const NO_OWNER: &str = "plgd's server requires an owner, although its Helm chart omits it: add \
                        `owner` to this client, or its tokens carry no owner claim";
const OWNER_UNUSED: &str = "not imported: the owner comes from the assertion. plgd's server uses \
                            this owner for requests without an assertion, which it does not \
                            authenticate; the sidecar refuses such requests";
const SECRET_UNUSED: &str = "not imported: with `jwtPrivateKey`, plgd does not use the secret \
                             either";
const OWN_ASSERTION: &str = "not imported: a client could exchange this issuer's tokens for new \
                             ones without end";
const CLAIMS: &str = "as in plgd, the token carries every claim of the assertion in \
                      `originalTokenClaims`, including names and addresses of people: list the \
                      claims that programs read in `jwtPrivateKey.copyClaims`, or set \
                      `copyClaims: []` for none";
const REQUIRED_SCOPE: &str = "not imported: with this claim, a token passes the scope check of \
                              plgd's services without the scope, so the sidecar refuses it";
const NO_AUTHORITY: &str = "the client is not imported: no authority for its assertions remains";
const NO_PROOF: &str = "the client is not imported: it has neither `secretFile` nor \
                        `jwtPrivateKey`";
const ENDLESS: &str = "its tokens never expire, as in plgd, so a stolen token is valid until it \
                       is revoked: set a lifetime if no program needs such tokens";

/// Reads the clients. A client that plgd refuses is omitted with a message.
pub(super) fn clients(
    source: &mut Source<'_>,
    path: &KeyPath,
    authorities: &mut Authorities,
    read: ReadFile<'_>,
) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for place in source.items(path) {
        let id = source.text(&place.key("id"));
        let id = id.filter(|id| id.parse::<ClientId>().is_ok());
        let client = match id {
            None => Err(
                "the client is not imported: an id consists of 1 to 256 printable ASCII \
                         characters",
            ),
            Some(id) if clients.iter().any(|known| known.id == id) => Err(
                "the client is not imported: another client already has this id, and plgd uses \
                 the first one",
            ),
            Some(id) => client(source, &place, id, authorities, read),
        };
        match client {
            Ok(client) => clients.push(client),
            Err(why) => {
                source.lost(&place, why);
                // Its other problems are irrelevant.
                source.pass(&place);
            }
        }
    }
    clients
}

fn client(
    source: &mut Source<'_>,
    path: &KeyPath,
    id: String,
    authorities: &mut Authorities,
    read: ReadFile<'_>,
) -> Result<Client, &'static str> {
    let obsolete = path.key("requireOwner");
    source.pass_lost(&obsolete, "not imported: plgd no longer uses this key");
    source.pass_lost(
        &path.key("secret"),
        "not imported: plgd does not use this key; put the secret into a file and set `secretFile`",
    );
    let (proof, disabled) = proof(source, path, &id, authorities, read)?;
    let owner = owner(source, &path.key("owner"), &proof);
    grants(source, &path.key("allowedGrantTypes"));
    let inserted = path.key("insertTokenClaims");
    let claims = source.mapping(&inserted).map(Node::to_json);
    let mut claims = claims
        .and_then(|claims| claims.as_object().cloned())
        .unwrap_or_default();
    if claims.remove(issuer::REQUIRED_SCOPE).is_some() {
        source.lost(&inserted.key(issuer::REQUIRED_SCOPE), REQUIRED_SCOPE);
    }
    Ok(Client {
        proof,
        owner,
        lifetime: lifetime(source, &path.key("accessTokenLifetime")),
        audiences: allowed::<Audience>(source, &path.key("allowedAudiences"), "an audience"),
        scopes: allowed::<Scope>(source, &path.key("allowedScopes"), "a scope"),
        claims,
        disabled,
        id,
    })
}

fn proof(
    source: &mut Source<'_>,
    path: &KeyPath,
    id: &str,
    authorities: &mut Authorities,
    read: ReadFile<'_>,
) -> Result<(Proof, Option<&'static str>), &'static str> {
    let assertion = path.key("jwtPrivateKey");
    let authorization = assertion.key("authorization");
    let secret = path.key("secretFile");
    if source.flag(&assertion.key("enabled")) {
        source.pass_lost(&secret, SECRET_UNUSED);
        let mut names = authorities.read(source, &authorization);
        if names.iter().any(|name| name == OWN) {
            names.retain(|name| name != OWN);
            source.lost(
                &authorization,
                format!("the authority `{OWN}` is {OWN_ASSERTION}"),
            );
        }
        if names.is_empty() {
            return Err(NO_AUTHORITY);
        }
        source.lost_once(&assertion, CLAIMS);
        return Ok((Proof::Assertion(names), None));
    }
    source.pass(&authorization);
    secret_proof(source, &secret, id, read)
}

fn secret_proof(
    source: &mut Source<'_>,
    path: &KeyPath,
    id: &str,
    read: ReadFile<'_>,
) -> Result<(Proof, Option<&'static str>), &'static str> {
    let Some(value) = source.text(path) else {
        return Err(NO_PROOF);
    };
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') {
            c
        } else {
            '_'
        }
    };
    let instead = format!("{}-secret", id.chars().map(plain).collect::<String>());
    match file_path(&value, &instead) {
        Ok(file) => {
            if file.parse::<FilePath>().is_err() {
                source.refuse(path, "expected a file path");
            }
            let text = read(Path::new(&file));
            let unusable = text
                .as_ref()
                .and_then(|text| unusable(text.expose_secret()));
            match (&text, unusable) {
                (None, _) => source.lost_once(path, UNREAD),
                (Some(_), Some(why)) => {
                    let message = format!(
                        "{why}. The client is therefore disabled: write a new secret into the file \
                         (for example by `openssl rand -base64 32`), give it to the client and \
                         remove `disabled: true`"
                    );
                    source.lost(path, message);
                }
                (Some(_), None) => {}
            }
            Ok((Proof::Secret(file), unusable))
        }
        Err(file) => {
            let message = format!(
                "the secret is part of the configuration: write it to {file}, readable only by \
                 the sidecar"
            );
            source.lost(path, message);
            Ok((Proof::Secret(file), None))
        }
    }
}

/// The reason why the content of a secret file cannot be used; `None` if it can.
fn unusable(text: &str) -> Option<&'static str> {
    match files::one_line(text.as_bytes()) {
        Ok(secret) if secret.expose_secret().len() < client_secret::MIN_BYTES => Some(SHORT),
        Ok(_) => None,
        Err(_) if text.is_empty() => Some(EMPTY),
        Err(ReadError::Empty) => Some(BLANK),
        Err(ReadError::SeveralLines) => Some(LINES),
        Err(_) => Some(NO_TEXT),
    }
}

fn owner(source: &mut Source<'_>, path: &KeyPath, proof: &Proof) -> Option<String> {
    match (source.text(path), proof) {
        (Some(_), Proof::Assertion(_)) => {
            source.lost(path, OWNER_UNUSED);
            None
        }
        (None, Proof::Secret(_)) => {
            source.lost(path, NO_OWNER);
            None
        }
        (owner, _) => owner,
    }
}

fn lifetime(source: &mut Source<'_>, path: &KeyPath) -> Option<GoDuration> {
    let asked = if source.has(path) {
        source.duration(path)?
    } else {
        Duration::ZERO
    };
    if asked.is_zero() {
        source.lost_once(path, ENDLESS);
        return None;
    }
    let given = asked.clamp(Duration::from_secs(1), MOST);
    if given != asked {
        source.lost(
            path,
            format!("it must be from 1s to 366d; {} is used", GoDuration(given)),
        );
    }
    Some(GoDuration(given))
}

fn grants(source: &mut Source<'_>, path: &KeyPath) {
    for (place, grant) in source.texts(path) {
        if grant != "client_credentials" {
            source.lost(
                &place,
                "not imported: plgd's server does not support this grant type",
            );
        }
    }
}

/// The texts of a list that are valid here.
fn allowed<T: std::str::FromStr>(
    source: &mut Source<'_>,
    path: &KeyPath,
    what: &str,
) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for (place, text) in source.texts(path) {
        if text.parse::<T>().is_err() {
            source.lost(
                &place,
                format!(
                    "not imported: {what} is one word, because plgd splits requested values at \
                     spaces"
                ),
            );
        } else if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}
