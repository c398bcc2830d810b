//! A slow check of a token: every rule of the documentation in a line of its own.

use ed25519_dalek::{Signature, VerifyingKey};

use crate::json::{Json, object};

pub const NOW: i64 = 1_700_000_000;
pub const AUDIENCE: &str = "https://api.example";
/// The first issues standard tokens, the second plgd's, with or without `exp`.
pub const ISSUERS: [&str; 2] = ["https://a.example", "https://b.example"];
pub const FORWARDED: [&str; 4] = ["sub", "client_id", "scope", "roles"];

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The allowed difference of clocks, in seconds.
const SKEW: f64 = 60.0;

/// Base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * n) & 63) as usize]));
        }
    }
    out
}

/// The bytes of a text that could not have been written otherwise.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for c in chunk {
            bits = bits << 6 | u32::try_from(ALPHABET.iter().position(|known| known == c)?).ok()?;
        }
        bits <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    (base64url(&out) == text).then_some(out)
}

fn require(condition: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if condition { Ok(()) } else { Err(otherwise) }
}

/// Why a token must not be accepted.
pub fn recheck(token: &str, keys: &[VerifyingKey; 2]) -> Result<(), &'static str> {
    require(token.len() <= 8192, "too long")?;
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return Err("not three parts");
    };
    let json = |part| decode(part).and_then(|bytes| object(std::str::from_utf8(&bytes).ok()?));
    let header_json = json(header).ok_or("the header is no JSON object")?;
    let claims = json(payload).ok_or("the payload is no JSON object")?;

    check_header(&header_json)?;
    let issuer = claims.get("iss").and_then(Json::text).ok_or("no issuer")?;
    let issuer = ISSUERS
        .iter()
        .position(|known| *known == issuer)
        .ok_or("an unknown issuer")?;
    let signature = decode(signature)
        .and_then(|bytes| Signature::from_slice(&bytes).ok())
        .ok_or("no signature")?;
    let message = format!("{header}.{payload}");
    keys[issuer]
        .verify_strict(message.as_bytes(), &signature)
        .map_err(|_| "a wrong signature")?;
    check_times(&claims, issuer == 0)?;
    check_audience(&claims, issuer == 1)?;
    check_others(&claims)
}

fn check_header(header: &Json) -> Result<(), &'static str> {
    let alg = header.get("alg").and_then(Json::text);
    require(
        matches!(alg, Some("EdDSA" | "Ed25519")),
        "an algorithm that is not the key's",
    )?;
    require(
        header.get("crit").is_none() && header.get("b64").is_none(),
        "a critical header",
    )?;
    require(
        header
            .get("kid")
            .is_none_or(|kid| kid.text() == Some("key")),
        "another key id",
    )?;
    let typ = |typ: &Json| {
        let typ = typ.text().unwrap_or_default().to_ascii_lowercase();
        ["at+jwt", "application/at+jwt", "jwt"].contains(&typ.as_str())
    };
    require(header.get("typ").is_none_or(typ), "another type of token")
}

fn check_times(claims: &Json, must_expire: bool) -> Result<(), &'static str> {
    let time = |name| match claims.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => number
            .parse::<f64>()
            .map(Some)
            .map_err(|_| "a time that is no number"),
        Some(_) => Err("a time that is no number"),
    };
    let now = NOW as f64;
    match time("exp")? {
        None => require(!must_expire, "no expiry")?,
        Some(exp) => require(exp > now - SKEW, "expired")?,
    }
    for name in ["nbf", "iat"] {
        // Fractions of a second are cut off.
        require(
            time(name)?.is_none_or(|time| time < now + SKEW + 1.0),
            "not valid yet",
        )?;
    }
    Ok(())
}

fn texts(value: Option<&Json>) -> Result<Vec<&str>, &'static str> {
    match value {
        None => Ok(Vec::new()),
        Some(Json::Text(text)) => Ok(vec![text]),
        Some(Json::List(items)) => items
            .iter()
            .map(|item| item.text().ok_or("a list of other than texts"))
            .collect(),
        Some(_) => Err("neither text nor list"),
    }
}

fn check_audience(claims: &Json, joined: bool) -> Result<(), &'static str> {
    let audiences = texts(claims.get("aud"))?;
    let found = match audiences[..] {
        [only] if joined => only.split(' ').any(|part| part == AUDIENCE),
        _ => audiences.contains(&AUDIENCE),
    };
    require(found, "for another audience")
}

fn check_others(claims: &Json) -> Result<(), &'static str> {
    require(claims.get("cnf").is_none(), "bound to a key")?;
    for name in ["sub", "client_id", "azp", "jti"] {
        require(
            claims.get(name).is_none_or(|value| value.text().is_some()),
            "an identity that is no text",
        )?;
    }
    let scopes = |name| -> Result<Option<Vec<&str>>, &'static str> {
        let Some(value) = claims.get(name) else {
            return Ok(None);
        };
        let texts = texts(Some(value))?;
        let mut scopes: Vec<_> = texts
            .into_iter()
            .flat_map(|t| t.split(' '))
            .filter(|s| !s.is_empty())
            .collect();
        scopes.sort_unstable();
        scopes.dedup();
        Ok(Some(scopes))
    };
    if let (Some(scope), Some(scp)) = (scopes("scope")?, scopes("scp")?) {
        require(scope == scp, "two lists of scopes")?;
    }
    if let Some(Json::List(roles)) = claims.get("roles") {
        let clear = |role: &Json| {
            role.text()
                .is_none_or(|role| !role.is_empty() && !role.contains([' ', '\t']))
        };
        let plain = |role: &Json| !matches!(role, Json::Null | Json::List(_) | Json::Object(_));
        require(
            !roles.iter().all(plain) || roles.iter().all(clear),
            "a role that looks like two",
        )?;
    }
    Ok(())
}
