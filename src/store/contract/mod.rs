//! The tests that every store must pass, run against each store.

mod clients;
mod keys;
mod lists;
mod refresh_tokens;
mod revisions;
mod rotation;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::tokens::{
    ClientNotBefore, Ended, NotedTime, OwnerFilter, RefreshToken, Revocations, RevokedToken,
    Rotation, TokenCount, TokenFilter, TokenRecord,
};
use super::{
    Config, DeletedSecret, KeyChange, Revisions, SecretsOf, Store, StoredClient, StoredSecret,
};
use crate::domain::clock::UnixTime;
use crate::domain::proven_time::{Claim, ProvenTime};
use crate::domain::revoked::EndMark;
use crate::domain::secret::{ExposeSecret, SecretString};

/// A fresh, empty store of each kind, and what keeps it alive.
async fn stores() -> Vec<(Arc<dyn Store>, Option<tempfile::TempDir>)> {
    let directory = tempfile::tempdir().unwrap();
    let file = Config::SqliteFile(directory.path().join("m2m.db"));
    vec![
        (super::open(&file).await.unwrap(), Some(directory)),
        (super::open(&Config::SqliteMemory).await.unwrap(), None),
    ]
}

fn secret(id: &str, created_at: i64) -> StoredSecret {
    StoredSecret {
        secret_id: id.to_owned(),
        hash: SecretString::from(format!("hash of {id}")),
        last_four: (id != "supplied").then(|| "abcd".to_owned()),
        created_at: UnixTime(created_at),
        expires_at: None,
        last_used_at: None,
    }
}

fn client(id: &str, document: Value, secrets: &[StoredSecret]) -> StoredClient {
    StoredClient {
        client_id: id.to_owned(),
        document,
        version: 1,
        created_at: UnixTime(1),
        updated_at: UnixTime(1),
        secrets: secrets.to_vec(),
    }
}

fn token(jti: &str, client_id: &str, issued_at: i64, expires_at: Option<i64>) -> TokenRecord {
    TokenRecord {
        jti: jti.to_owned(),
        client_id: client_id.to_owned(),
        owner: Some(format!("owner of {client_id}")),
        owner_issuer: Some("https://idp.example".to_owned()),
        subject: client_id.to_owned(),
        name: Some("näme".to_owned()),
        scope: vec!["a".to_owned(), "b:c".to_owned()],
        audience: vec!["https://x".to_owned(), "y z".to_owned()],
        issued_at: UnixTime(issued_at),
        expires_at: expires_at.map(UnixTime),
        revoked_at: None,
        original_claims: json!({"n": [1, {"x": null}]}).as_object().cloned(),
        after_end: None,
    }
}

/// An access token that is not kept.
fn unkept(issued_at: i64) -> TokenRecord {
    token("not kept", "c", issued_at, None)
}

fn end(client_id: &str, until: i64, expires_at: i64) -> ClientNotBefore {
    let (until, expires_at, revoked_at) =
        (UnixTime(until), UnixTime(expires_at), UnixTime(until + 10));
    let mark = EndMark::of(&until.0.to_be_bytes());
    ClientNotBefore {
        client_id: client_id.to_owned(),
        until,
        expires_at,
        revoked_at,
        mark,
    }
}

fn revoked(jti: &str, client_id: &str, expires_at: i64, revoked_at: i64) -> RevokedToken {
    let (jti, client_id) = (jti.to_owned(), client_id.to_owned());
    RevokedToken {
        jti,
        client_id,
        expires_at: UnixTime(expires_at),
        revoked_at: UnixTime(revoked_at),
    }
}

fn refresh(number: u8, family: &str, client_id: &str) -> RefreshToken {
    RefreshToken {
        hash: [number; 32],
        family_id: family.to_owned(),
        client_id: client_id.to_owned(),
        grant: json!({"scope": "a"}),
        expires_at: UnixTime(1000),
        used_at: None,
        access_jti: format!("access-{number}"),
        access_expires_at: UnixTime(500),
    }
}

fn jtis(tokens: &[TokenRecord]) -> Vec<&str> {
    tokens.iter().map(|token| token.jti.as_str()).collect()
}

async fn list(store: &dyn Store, filter: TokenFilter) -> Vec<String> {
    jtis(&store.tokens(&filter).await.unwrap())
        .into_iter()
        .map(str::to_owned)
        .collect()
}
