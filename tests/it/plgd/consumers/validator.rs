//! The validator that every service of plgd has: discovery at its start, keys when they are needed,
//! and for a token of an issuer with a tokens endpoint the question whether it is trusted.

use std::collections::HashMap;

use aws_lc_rs::signature;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use m2m_sidecar::for_tests::domain::clock::Clock;
use serde::Deserialize;
use serde_json::Value;

use super::go_body::GoBody;
use super::status::{message, token_entry};
use super::target;
use crate::plgd::front::{self, Request};
use crate::plgd::replay::world::World;
use crate::plgd::replay::{claims, header};

/// How long a service trusts a token before it asks again, in seconds: plgd's `cacheExpiration`.
pub const CACHED: i64 = 30;

/// The members of a discovery document that plgd reads. They must have their types.
#[derive(Deserialize)]
#[allow(dead_code, reason = "their types are what matters")]
struct Discovery {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    end_session_endpoint: Option<String>,
    plgd_tokens_endpoint: Option<String>,
}

/// Slashes collapsed, the last one trimmed.
fn canonical(issuer: &str) -> String {
    let (scheme, rest) = issuer.split_once("://").unwrap_or(("", issuer));
    let rest: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    format!("{scheme}://{}", rest.join("/"))
}

/// The result of a token's look-up: until when, and why it is refused.
struct Kept {
    until: i64,
    refused: Option<String>,
}

pub struct Validator<'a> {
    world: &'a World,
    issuer: String,
    jwks_uri: String,
    tokens_endpoint: Option<String>,
    keys: Option<Vec<Value>>,
    kept: HashMap<String, Kept>,
    /// Fetches of the keys.
    pub key_fetches: usize,
    /// Questions about tokens.
    pub look_ups: usize,
}

impl<'a> Validator<'a> {
    /// Reads the discovery document, once, as a service does at its start.
    pub async fn new(world: &'a World, authority: &str) -> Result<Self, String> {
        let url = format!("{authority}/.well-known/openid-configuration");
        let answer = world.front.get(target(&url)?, &[]).await;
        // The status is not looked at.
        let found: Discovery = serde_json::from_slice(&answer.body)
            .map_err(|e| format!("cannot get openId configuration: {e}"))?;
        Ok(Self {
            world,
            issuer: canonical(&found.issuer),
            jwks_uri: found.jwks_uri,
            tokens_endpoint: found.plgd_tokens_endpoint.filter(|url| !url.is_empty()),
            keys: None,
            kept: HashMap::new(),
            key_fetches: 0,
            look_ups: 0,
        })
    }

    /// The token's claims.
    pub async fn verify(&mut self, token: &str) -> Result<Value, String> {
        if token.is_empty() {
            return Err("missing token".to_owned());
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [first, second, third] = parts[..] else {
            return Err("could not parse token".to_owned());
        };
        let (header, claims) = (header(token), claims(token));
        if claims["iss"].as_str().map(canonical) != Some(self.issuer.clone()) {
            return Err(format!("unknown issuer {}", claims["iss"]));
        }
        let key = self.key(&header).await?;
        verify_signature(&key, &format!("{first}.{second}"), third)?;
        self.verify_times(&claims)?;
        if self.tokens_endpoint.is_some() {
            self.verify_trust(token, &claims).await?;
        }
        Ok(claims)
    }

    /// The first key of this id, whose algorithm must be the token's.
    async fn key(&mut self, header: &Value) -> Result<Value, String> {
        let kid = header["kid"].as_str().ok_or("missing kid")?;
        let found = |keys: &[Value]| {
            let key = keys.iter().find(|key| key["kid"] == *kid)?;
            (key["alg"] == header["alg"]).then(|| key.clone())
        };
        if let Some(key) = self.keys.as_deref().and_then(found) {
            return Ok(key);
        }
        self.key_fetches += 1;
        let answer = self.world.front.get(target(&self.jwks_uri)?, &[]).await;
        let keys = key_set(&answer.json())?;
        let key = found(&keys).ok_or("could not find JWK")?;
        self.keys = Some(keys);
        Ok(key)
    }

    /// Without any leeway.
    fn verify_times(&self, claims: &Value) -> Result<(), String> {
        let now = self.world.clock.now().0;
        let time = |name: &str| match &claims[name] {
            Value::Null => Ok(None),
            value => value
                .as_i64()
                .map(Some)
                .ok_or(format!("invalid type for claim {name}")),
        };
        match (time("exp")?, time("nbf")?, time("iat")?) {
            (Some(exp), ..) if now >= exp => Err("token is expired".to_owned()),
            (_, Some(nbf), _) if now < nbf => Err("token is not valid yet".to_owned()),
            (.., Some(iat)) if now < iat => Err("token used before issued".to_owned()),
            _ => Ok(()),
        }
    }

    async fn verify_trust(&mut self, token: &str, claims: &Value) -> Result<(), String> {
        let jti = claims["jti"].as_str().unwrap_or_default().to_owned();
        uuid::Uuid::parse_str(&jti).map_err(|_| "invalid jti")?;
        let now = self.world.clock.now().0;
        if let Some(kept) = self.kept.get(&jti).filter(|kept| now < kept.until) {
            return kept.refused.clone().map_or(Ok(()), Err);
        }
        // Errors are not kept.
        let found = self.look_up(token, &jti).await;
        let (blacklisted, _) =
            found.map_err(|why| format!("could not verify token trust: {why}"))?;
        let kept = if blacklisted {
            let until = claims["exp"].as_i64().unwrap_or(i64::MAX);
            Kept {
                until,
                refused: Some("token is blacklisted".to_owned()),
            }
        } else {
            Kept {
                until: now + CACHED,
                refused: None,
            }
        };
        let refused = kept.refused.clone();
        self.kept.insert(jti, kept);
        refused.map_or(Ok(()), Err)
    }

    /// Asks with the token itself, and reads the first JSON value of the answer.
    async fn look_up(&mut self, token: &str, jti: &str) -> Result<(bool, i64), String> {
        self.look_ups += 1;
        let endpoint = self.tokens_endpoint.as_deref().unwrap_or_default();
        let url = format!("{endpoint}?idFilter={jti}&includeBlacklisted=true");
        let authorization = format!("bearer {token}");
        let headers = [
            ("Accept", "application/protojson"),
            ("Authorization", authorization.as_str()),
        ];
        let request = Request {
            method: "GET",
            target: target(&url)?,
            headers: &headers,
            body: None,
        };
        let mut body = GoBody::ask(self.world.front.open().await, &front::bytes(&request)).await?;
        let first = body.decode().await?.ok_or("EOF")?;
        token_entry(&message(body.status, &first)?)
    }
}

/// A key set as jwx reads it: a key of a kind that it does not know makes the whole set unreadable.
fn key_set(set: &Value) -> Result<Vec<Value>, String> {
    let keys = set["keys"].as_array().ok_or("no keys")?;
    for key in keys {
        match (key["kty"].as_str(), key["crv"].as_str()) {
            (Some("EC"), Some("P-256" | "P-384" | "P-521")) | (Some("OKP"), Some("Ed25519")) => {}
            (Some("RSA"), None) => {}
            other => return Err(format!("failed to unmarshal JWK set: {other:?}")),
        }
    }
    Ok(keys.clone())
}

/// Of an ES256 key, which the replayed issuer has.
fn verify_signature(key: &Value, message: &str, signature: &str) -> Result<(), String> {
    assert_eq!(key["alg"], "ES256", "the issuer's key");
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|e| e.to_string());
    let coordinate = |name: &str| decode(key[name].as_str().unwrap_or_default());
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    let public = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
    let right = public.verify(message.as_bytes(), &decode(signature)?);
    right.map_err(|_| "token signature is invalid".to_owned())
}

/// The owner: a claim that must be a text.
pub fn owner(claims: &Value, claim: &str) -> Result<String, String> {
    claims[claim]
        .as_str()
        .map(str::to_owned)
        .ok_or(format!("invalid type for claim {claim}"))
}

/// Scopes: a text or a list; a list of one is split at spaces.
pub fn scopes(claims: &Value) -> Result<Vec<String>, String> {
    let split = |text: &str| {
        text.split(' ')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    };
    match &claims["scope"] {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(split(text)),
        Value::Array(all) => match all.as_slice() {
            [Value::String(one)] => Ok(split(one)),
            all => all
                .iter()
                .map(|it| {
                    it.as_str()
                        .map(str::to_owned)
                        .ok_or("invalid scope".to_owned())
                })
                .collect(),
        },
        _ => Err("invalid type for claim scope".to_owned()),
    }
}
