//! The quota of a user of a shared client: tokens that are live or revoked and have not expired.
//!
//! Many users share a client that exchanges JWTs, and the revocation list names each of their
//! revoked tokens. Without a limit one user could fill the list; with a limit per client one user
//! could end the tokens of all others. So each user has a quota.

use std::time::Duration;

use super::grants::Granted;
use crate::domain::clock::UnixTime;
use crate::issuer::error::TokenError;
use crate::issuer::policy::Identity;
use crate::issuer::state::State;

/// Divides the quota of revoked tokens while many users have used up theirs.
const CROWDED: u64 = 10;
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Whether a user may have one more token of a shared client. Concurrent requests may exceed the
/// quota by their number.
///
/// # Errors
/// [`TokenError::TooManyTokens`], or if the store does not answer.
pub(super) async fn check_quota(
    granted: &Granted,
    state: &State,
    now: UnixTime,
) -> Result<(), TokenError> {
    let client = granted.client();
    let identity = Identity::of(client, granted.choice(), &state.policy);
    let Some(owner) = identity.owner.filter(|_| client.exchanged().is_some()) else {
        return Ok(());
    };
    let limits = &state.policy.profile.limits;
    let share = if state.revocations.is_crowded() {
        CROWDED
    } else {
        1
    };
    // The owner's issuer is that of the exchanged JWT.
    let issuers = state
        .policy
        .spellings(identity.owner_issuer.unwrap_or_default());
    let client_id = &client.registration().id;
    let kept = state
        .store
        .count_tokens(client_id, (owner, &issuers), now)
        .await?;
    if kept.all < limits.tokens_per_owner && kept.revoked < limits.revoked_per_owner / share {
        return Ok(());
    }
    let first_end = kept.first_end.map(|end| now.until(end));
    let wait = first_end.unwrap_or(MAX_RETRY_AFTER).min(MAX_RETRY_AFTER);
    let retry_after = u16::try_from(wait.as_secs()).unwrap_or(u16::MAX).max(1);
    Err(TokenError::TooManyTokens { retry_after })
}
