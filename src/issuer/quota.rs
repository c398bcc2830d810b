//! How many tokens one user of a shared client may have: live ones, and revoked ones that have not
//! expired.
//!
//! The tokens of a client that exchanges JWTs are those of many users, and every revoked one is
//! named in the list of revoked tokens. Without a bound one user could fill the list; with a bound
//! per client one user could end the tokens of all others. So each user has a quota, and gets no
//! further token beyond it.

use std::time::Duration;

use super::client_auth::AuthenticatedClient;
use super::policy::Identity;
use super::{Issuer, TokenError};
use crate::domain::clock::UnixTime;

/// What of it is left when many owners have used up theirs.
const CROWDED: u64 = 10;
/// The longest that an owner is told to wait.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

impl Issuer {
    /// Whether an owner may have one more token of a shared client. Requests that come at the same
    /// moment may exceed the quota by their number.
    ///
    /// # Errors
    /// [`TokenError::TooManyTokens`], or when the store does not answer.
    pub(super) async fn check_quota(
        &self,
        client: &AuthenticatedClient,
        now: UnixTime,
    ) -> Result<(), TokenError> {
        let identity = Identity::of(client, &self.policy);
        let Some(owner) = identity.owner.filter(|_| client.exchanged().is_some()) else {
            return Ok(());
        };
        let limits = &self.policy.profile.limits;
        let share = if self.revocations.is_crowded() {
            CROWDED
        } else {
            1
        };
        let most_revoked = limits.revoked_per_owner / share;
        // A client that brought a JWT has the issuer of that JWT.
        let issuers = self
            .policy
            .spellings(identity.owner_issuer.unwrap_or_default());
        let kept = self
            .store
            .count_tokens(&client.registration().id, (owner, &issuers), now)
            .await?;
        if kept.all < limits.tokens_per_owner && kept.revoked < most_revoked {
            return Ok(());
        }
        let left = kept
            .first_end
            .map_or(LONGEST_WAIT, |end| now.until(end).min(LONGEST_WAIT));
        let retry_after = u16::try_from(left.as_secs()).unwrap_or(u16::MAX).max(1);
        Err(TokenError::TooManyTokens { retry_after })
    }
}
