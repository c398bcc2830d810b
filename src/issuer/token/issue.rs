//! Issues what was granted: signs the access token, and stores what must be kept of it.
//!
//! The JWT of the standard profile leaves no row: its signature proves it. Rows are kept of named
//! tokens, of exchanged ones (each user has a quota), and of all in the plgd profile. They are
//! stored before the answer, so that the holder of a token can always find it.

use std::time::Duration;

use super::access_token::sign;
use super::grants::{Delegation, Granted, Refresh};
use super::quota::check_quota;
use super::{ExchangedFor, TokenResponse};
use crate::domain::actors;
use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;
use crate::issuer::error::TokenError;
use crate::issuer::refresh_tokens;
use crate::issuer::state::State;
use crate::store::tokens::{Rotation, TokenRecord};

/// How long a used refresh token may be used once more, by a client that lost the answer. Any other
/// second use means that two parties have the token: it ends the family.
const GRACE: Duration = Duration::from_secs(30);

/// Issues a token.
///
/// # Errors
/// [`TokenError::InvalidClient`] if the client ended meanwhile, [`TokenError::TooManyTokens`],
/// [`TokenError::Signing`], or [`TokenError::StoreUnavailable`]: then nothing was stored.
pub(in crate::issuer) async fn issue(
    granted: &Granted,
    state: &State,
    now: UnixTime,
) -> Result<TokenResponse, TokenError> {
    let registration = granted.client().registration();
    // The client may have been deleted while its secret was hashed or its keys were fetched, and
    // its id may be another client's now.
    let registered = state.clients.get(&registration.id);
    if !registered.is_some_and(|it| it.is_usable(now) && registration.is_still(&it)) {
        return Err(TokenError::InvalidClient { basic: false });
    }
    check_quota(granted, state, now).await?;
    let after_end = state.revocations.mark_for(&registration.id, now);
    let signed = sign(granted, &state.policy, &state.keys, after_end, now)?;
    let refresh_token = store(granted, &signed.record, state, now).await?;
    Ok(TokenResponse {
        access_token: signed.access_token,
        token_type: granted.confirmation().token_type(),
        expires_in: granted.expires_at().map(|end| now.until(end)),
        scope: granted.scope().clone(),
        jti: signed.record.jti,
        chosen: granted.choice().clone(),
        refresh_token,
        exchanged: granted.delegation().map(exchanged),
    })
}

fn exchanged(delegation: &Delegation) -> ExchangedFor {
    ExchangedFor {
        issued_token_type: delegation.issued.as_str(),
        subject: delegation.subject.clone(),
        subject_jti: delegation.subject_jti.clone(),
        actors: actors::shown(&delegation.actors),
    }
}

/// Stores what is kept of an access token, and gives its refresh token.
async fn store(
    granted: &Granted,
    access: &TokenRecord,
    state: &State,
    now: UnixTime,
) -> Result<Option<SecretString>, TokenError> {
    let (client, is_kept) = (granted.client(), granted.is_kept());
    match granted.refresh() {
        Refresh::None => {
            if is_kept {
                state.store.insert_token(access).await?;
            }
            Ok(None)
        }
        Refresh::First => {
            let device_id = granted.choice().device_id.as_deref();
            let (token, row) = refresh_tokens::first(client, access, device_id, now)?;
            state
                .store
                .insert_refresh_token(&row, access, is_kept)
                .await?;
            Ok(Some(token))
        }
        Refresh::Replaces(used) => {
            let (token, row) = refresh_tokens::successor(used, client, access)?;
            let (kept, times) = (is_kept.then_some(access), (now, state.forgetting.time()));
            let rotation = state
                .store
                .rotate_refresh_token(&used.hash, &row, kept, times, GRACE);
            match rotation.await? {
                Rotation::Done => Ok(Some(token)),
                Rotation::Unknown => Err(TokenError::InvalidGrant),
                Rotation::Reused => {
                    state.revocations.catch_up_or_warn().await;
                    Err(TokenError::RefreshTokenReused)
                }
            }
        }
    }
}
