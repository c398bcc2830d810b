//! Access tokens: JWTs as RFC 9068 or plgd's M2M server defines them.

use std::time::Duration;

use serde_json::{Map, Value};

use super::grants::{Delegation, Granted};
use crate::domain::actors;
use crate::domain::clock::UnixTime;
use crate::domain::revoked::{AFTER_END, EndMark};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::issuer::claim_names::{ORIGINAL_CLAIMS, OWNER_ISSUER};
use crate::issuer::client_auth::exchange::Exchanged;
use crate::issuer::error::TokenError;
use crate::issuer::policy::{BACKDATED, Identity, Policy};
use crate::issuer::signing_keys::SigningKeys;
use crate::issuer::token_format::{ScopeClaim, TokenFormat};
use crate::jose::sign::SigningKeyError;
use crate::store::tokens::TokenRecord;

/// A signed access token, and the row that the registry may keep of it.
pub(super) struct Signed {
    pub(super) access_token: SecretString,
    pub(super) record: TokenRecord,
}

/// Writes and signs the token that was granted. `after_end` marks a token that was issued after
/// that end of its client's tokens, although its `iat` lies before it.
///
/// # Errors
/// [`TokenError::Signing`] if the key does not sign, [`TokenError::KeyNotReady`] if there is no key
/// yet, [`TokenError::LongToken`] if a user's claims make the token too long for its verifiers.
pub(super) fn sign(
    granted: &Granted,
    policy: &Policy,
    keys: &SigningKeys,
    after_end: Option<EndMark>,
    now: UnixTime,
) -> Result<Signed, TokenError> {
    let record = record(granted, policy, after_end, now);
    let claims = claims(granted, policy, &record);
    // The key of an endless token is never deleted.
    let lifetime = record
        .expires_at
        .map_or(Duration::MAX, |end| now.until(end));
    let TokenFormat {
        algorithm,
        token_type,
        ..
    } = *granted.format();
    let access_token = keys
        .sign_with(algorithm, token_type.as_str(), &claims, lifetime)
        .map_err(|error| match error {
            SigningKeyError::Unsupported => TokenError::KeyNotReady,
            _ => TokenError::Signing,
        })?;
    let size = access_token.expose_secret().len();
    let has_others = record.original_claims.is_some() || granted.delegation().is_some();
    if has_others && size > policy.max_token_size {
        return Err(TokenError::LongToken);
    }
    Ok(Signed {
        access_token,
        record,
    })
}

fn record(
    granted: &Granted,
    policy: &Policy,
    after_end: Option<EndMark>,
    now: UnixTime,
) -> TokenRecord {
    let client = granted.client();
    let identity = match granted.delegation() {
        Some(delegation) => of_subject(delegation, policy),
        None => Identity::of(client, granted.choice(), policy),
    };
    let copied = client.exchanged().map(Exchanged::copied);
    TokenRecord {
        jti: uuid::Uuid::new_v4().to_string(),
        client_id: client.registration().id.clone(),
        owner: identity.owner.map(str::to_owned),
        owner_issuer: identity.owner_issuer.map(str::to_owned),
        subject: identity.subject.to_owned(),
        name: granted.token_name().map(str::to_owned),
        scope: granted.scope().iter().map(str::to_owned).collect(),
        audience: granted.audiences().to_vec(),
        issued_at: now.minus(BACKDATED),
        expires_at: granted.expires_at(),
        revoked_at: None,
        original_claims: copied.filter(|copied| !copied.is_empty()).cloned(),
        after_end,
    }
}

/// The identity of the party for which a client acts.
fn of_subject<'a>(delegation: &'a Delegation, policy: &Policy) -> Identity<'a> {
    let subject = delegation.subject.as_str();
    let is_owner = policy.owner_claim == "sub";
    Identity {
        subject,
        owner: delegation.owner.as_deref().or(is_owner.then_some(subject)),
        owner_issuer: delegation.owner_issuer.as_deref(),
    }
}

fn claims(granted: &Granted, policy: &Policy, record: &TokenRecord) -> Map<String, Value> {
    let client = granted.client();
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("iss", policy.issuer.as_str().into());
    set("sub", record.subject.as_str().into());
    set("aud", granted.audiences().into());
    if let Some(expires_at) = record.expires_at {
        set("exp", expires_at.0.into());
    }
    set("iat", record.issued_at.0.into());
    set("jti", record.jti.as_str().into());
    set("client_id", record.client_id.as_str().into());
    if !granted.scope().is_empty() || policy.profile.empty_scope {
        for claim in &granted.format().scope_claims {
            let value = match claim {
                ScopeClaim::Scope => granted.scope().to_string().into(),
                ScopeClaim::Scp => granted.scope().iter().collect::<Vec<_>>().into(),
            };
            set(claim.as_str(), value);
        }
    }
    if let Some(owner) = &record.owner {
        set(&policy.owner_claim, owner.as_str().into());
    }
    let owner_issuer = record.owner_issuer.as_deref();
    if let Some(issuer) = owner_issuer.filter(|issuer| *issuer != policy.issuer) {
        set(OWNER_ISSUER, issuer.into());
    }
    let chosen_device = granted.choice().device_id.as_deref();
    if let Some(device) = chosen_device.or(policy.copied_device_id(client)) {
        set(&policy.device_id_claim, device.into());
    }
    if let Some(keys) = granted.confirmation().claim() {
        set("cnf", keys);
    }
    if let Some(act) = granted
        .delegation()
        .and_then(|it| actors::claim(&it.actors))
    {
        set("act", act);
    }
    if let Some(mark) = record.after_end {
        set(AFTER_END, mark.to_string().into());
    }
    if let Some(original) = &record.original_claims {
        set(ORIGINAL_CLAIMS, original.clone().into());
    }
    insert_others(&mut claims, granted, policy);
    claims
}

/// Adds the claims that the operator inserts, and the name of the token.
fn insert_others(claims: &mut Map<String, Value>, granted: &Granted, policy: &Policy) {
    // The rest never replaces a claim. The token's name comes last, so that a client can set
    // neither its owner nor a claim that the operator inserts.
    for (name, value) in &granted.client().registration().insert_token_claims {
        if !policy.is_own_claim(name) {
            claims.entry(name).or_insert_with(|| value.clone());
        }
    }
    if let Some(name) = granted
        .token_name()
        .filter(|_| !policy.is_own_claim("name"))
    {
        claims.entry("name").or_insert_with(|| name.into());
    }
}
