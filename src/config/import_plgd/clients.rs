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

/// A client of ours.
pub(super) struct Client {
    pub id: String,
    pub proof: Proof,
    pub owner: Option<String>,
    /// None: its tokens never expire.
    pub lifetime: Option<GoDuration>,
    pub audiences: Vec<String>,
    pub scopes: Vec<String>,
    pub claims: Map<String, Value>,
    /// Why it comes out disabled: its secret cannot be used here.
    pub disabled: Option<&'static str>,
}

/// How a client proves who it is.
pub(super) enum Proof {
    /// `secretFile`.
    Secret(String),
    /// `jwtPrivateKey.authorities`.
    Assertion(Vec<String>),
}

const MOST: Duration = Duration::from_hours(366 * 24);

const UNREAD: &str = "the file cannot be read here, so look yourself: the sidecar needs a secret of one line and at least 16 bytes, \
     with which plgd's server does without";
const EMPTY: &str = "its secret file is empty, with which plgd lets it in without a secret";
const BLANK: &str = "its secret file holds nothing but the end of a line";
const LINES: &str = "its secret file has several lines, which plgd takes as one secret";
const NO_TEXT: &str = "its secret file holds characters that no secret can have";
const SHORT: &str = "its secret is shorter than 16 bytes, so it can be guessed";
const NO_OWNER: &str = "plgd's server does not start without an owner (its Helm chart leaves it out): add `owner` to this client, \
     or its tokens carry no owner claim";
const OWNER_UNUSED: &str = "left out: the owner comes from the assertion. plgd's server takes this one when a request brings no \
     assertion, and then asks for no proof at all; the sidecar refuses such a request";
const SECRET_UNUSED: &str = "left out: with `jwtPrivateKey` plgd never reads the secret either";
const OWN_ASSERTION: &str = "left out: a token of this issuer is not exchanged for another one of it, which could be \
     renewed without end";
const CLAIMS: &str = "as with plgd, the token carries every claim of the assertion in `originalTokenClaims`, people's names and addresses \
     included: name in `jwtPrivateKey.copyClaims` those that a program reads there, or write `copyClaims: []` for none";
const REQUIRED_SCOPE: &str = "left out: a token with this claim passes the scope check of plgd's services whatever its scopes are, so the \
     sidecar refuses it";
const NO_AUTHORITY: &str =
    "the client is left out: no authority remains whose assertions it could bring";
const NO_PROOF: &str = "the client is left out: it has neither `secretFile` nor `jwtPrivateKey`";
const FOREVER: &str = "its tokens never expire, as with plgd: a stolen one is good until it is revoked; set a lifetime when nothing \
     keeps a token for longer";

/// Reads the clients; what plgd refuses as a whole is left out one by one, and said.
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
            None => Err("the client is left out: an id has 1 to 256 printable ASCII characters"),
            Some(id) if clients.iter().any(|known| known.id == id) => Err(
                "the client is left out: another one has this id already, and plgd takes the first",
            ),
            Some(id) => client(source, &place, id, authorities, read),
        };
        match client {
            Ok(client) => clients.push(client),
            Err(why) => {
                source.lost(&place, why);
                // Whatever else is wrong with it does not matter any more.
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
    source.pass_lost(&obsolete, "plgd reads this key no longer: left out");
    source.pass_lost(
        &path.key("secret"),
        "plgd reads no secret from here: left out; `secretFile` names a file with it",
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
    let Some(value) = source.text(&secret) else {
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
                source.refuse(&secret, "expected a file path");
            }
            let text = read(Path::new(&file));
            let unusable = text
                .as_ref()
                .and_then(|text| unusable(text.expose_secret()));
            match (&text, unusable) {
                (None, _) => source.lost_once(&secret, UNREAD),
                (Some(_), Some(why)) => {
                    let message = format!(
                        "{why}: the client comes out disabled. Put a secret into the file, `openssl rand -base64 32` for instance, \
                         give it to the client and remove `disabled: true`"
                    );
                    source.lost(&secret, message);
                }
                (Some(_), None) => {}
            }
            Ok((Proof::Secret(file), unusable))
        }
        Err(file) => {
            let message = format!(
                "the secret stands in the configuration itself; write it to {file}, readable by the sidecar alone"
            );
            source.lost(&secret, message);
            Ok((Proof::Secret(file), None))
        }
    }
}

/// Why a secret, as it stands in its file, cannot be used here; none when it can.
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
        source.lost_once(path, FOREVER);
        return None;
    }
    let given = asked.clamp(Duration::from_secs(1), MOST);
    if given != asked {
        source.lost(
            path,
            format!("it must be 1s to 366d; {} is written", GoDuration(given)),
        );
    }
    Some(GoDuration(given))
}

fn grants(source: &mut Source<'_>, path: &KeyPath) {
    for (place, grant) in source.texts(path) {
        if grant != "client_credentials" {
            source.lost(&place, "plgd's server has no such grant type: left out");
        }
    }
}

/// The texts of a list that can stand in ours.
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
                    "left out: {what} is one word, and plgd splits what is asked for at spaces"
                ),
            );
        } else if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}
