//! A token written by hand, member by member, so that it can be wrong in ways no library writes.

use crate::support::keys::{Alg, TestKey, base64url};
use crate::support::{AUDIENCE, logs, now};

type Members = Vec<(String, String)>;

/// A token in the making. Begins as a valid one; every value is JSON as it will stand in the token.
#[derive(Clone)]
pub struct Draft {
    key: TestKey,
    alg: Alg,
    header: Members,
    claims: Members,
    /// Instead of the claims.
    payload: Option<Vec<u8>>,
}

impl Draft {
    /// A valid token of this issuer.
    pub fn new(issuer: &str, key: &TestKey) -> Self {
        let quoted = |text: &str| format!("\"{text}\"");
        let now = now();
        let members =
            |all: Vec<(&str, String)>| all.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
        Self {
            key: key.clone(),
            alg: key.alg,
            header: members(vec![
                ("alg", quoted(&key.alg.name())),
                ("kid", quoted(&key.kid)),
                ("typ", quoted("at+jwt")),
            ]),
            claims: members(vec![
                ("iss", quoted(issuer)),
                ("sub", quoted("tester")),
                ("aud", format!("[\"{AUDIENCE}\"]")),
                ("client_id", quoted("tester")),
                ("scope", quoted("devices:read")),
                ("iat", (now - 10).to_string()),
                ("exp", (now + 3600).to_string()),
                ("jti", quoted(&uuid::Uuid::new_v4().to_string())),
            ]),
            payload: None,
        }
    }

    /// Sets a header member.
    pub fn header(mut self, name: &str, json: &str) -> Self {
        set(&mut self.header, name, json);
        self
    }

    /// Removes a header member.
    pub fn no_header(mut self, name: &str) -> Self {
        self.header.retain(|(member, _)| member != name);
        self
    }

    /// Sets a claim.
    pub fn claim(mut self, name: &str, json: &str) -> Self {
        set(&mut self.claims, name, json);
        self
    }

    /// Adds a claim, also when it is there.
    pub fn and_claim(mut self, name: &str, json: &str) -> Self {
        self.claims.push((name.to_owned(), json.to_owned()));
        self
    }

    /// Removes a claim.
    pub fn no_claim(mut self, name: &str) -> Self {
        self.claims.retain(|(member, _)| member != name);
        self
    }

    /// Takes this as the payload, whatever it is.
    pub fn payload(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.payload = Some(payload.as_ref().to_vec());
        self
    }

    /// Signs with this key; the header stays.
    pub fn by(mut self, key: &TestKey) -> Self {
        self.key = key.clone();
        self.alg = key.alg;
        self
    }

    /// Signs with this algorithm; the header stays.
    pub fn with(mut self, alg: Alg) -> Self {
        self.alg = alg;
        self
    }

    /// The claims as JSON.
    pub fn claims_json(&self) -> String {
        json(&self.claims)
    }

    /// Header and payload, encoded.
    pub fn message(&self) -> String {
        let payload = self
            .payload
            .clone()
            .unwrap_or_else(|| self.claims_json().into_bytes());
        format!("{}.{}", base64url(json(&self.header)), base64url(payload))
    }

    /// The token.
    pub fn sign(&self) -> String {
        let (message, signature) = self.signed();
        written(&message, &signature)
    }

    /// The message, and its right signature.
    pub fn signed(&self) -> (String, Vec<u8>) {
        let message = self.message();
        let signature = self.key.sign(self.alg, message.as_bytes());
        (message, signature)
    }

    /// The token, its header these bytes.
    pub fn sign_with_header(&self, header: impl AsRef<[u8]>) -> String {
        let message = self.message();
        let (_, payload) = message.split_once('.').expect("two parts");
        let message = format!("{}.{payload}", base64url(header));
        written(&message, &self.key.sign(self.alg, message.as_bytes()))
    }
}

/// Message and signature as a token, which must show in no log.
pub fn written(message: &str, signature: &[u8]) -> String {
    let token = format!("{message}.{}", base64url(signature));
    logs::remember_secret(&token);
    token
}

fn set(members: &mut Members, name: &str, json: &str) {
    match members.iter_mut().find(|(member, _)| member == name) {
        Some((_, value)) => json.clone_into(value),
        None => members.push((name.to_owned(), json.to_owned())),
    }
}

fn json(members: &Members) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}
