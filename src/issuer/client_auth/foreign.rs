//! JWTs of trusted authorities: verified by a function of `app`, with the authorities' live keys.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{AssertionFault, ClientAuth, TokenError};
use crate::domain::claims::Claims;
use crate::domain::reason::Reason;
use crate::domain::secret::SecretString;

/// Verifies a JWT with the live keys of one of the named authorities: signature, issuer, algorithm,
/// times, revocation. Gives its claims, or the failed check. The audience is not checked.
pub type VerifyForeign = Arc<
    dyn Fn(
            Vec<String>,
            SecretString,
        ) -> Pin<Box<dyn Future<Output = Result<ForeignClaims, Reason>> + Send>>
        + Send
        + Sync,
>;

/// A verified JWT.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignClaims {
    /// All its claims.
    pub claims: Claims,
    /// The authority's issuer in canonical spelling, whatever the spelling of `iss`.
    pub issuer: String,
    /// The name of the authority.
    pub authority: String,
}

impl ClientAuth {
    /// The claims of a JWT of one of these authorities. Counts the tried keys in `tried`.
    pub(super) async fn verify_by_authority(
        &self,
        authorities: Vec<String>,
        jwt: &SecretString,
        tried: &AtomicUsize,
    ) -> Result<ForeignClaims, TokenError> {
        let verify = self
            .verify_foreign
            .load_full()
            .ok_or(TokenError::ClientKeysUnavailable)?;
        let verified = verify(authorities, jwt.clone()).await;
        // Other reasons come before the signature: no key was tried.
        if matches!(verified, Ok(_) | Err(Reason::Signature)) {
            tried.fetch_add(1, Ordering::Relaxed);
        }
        verified.map_err(|reason| match reason {
            // No fault of the client.
            Reason::Busy
            | Reason::KeysUnavailable
            | Reason::RevocationUnavailable
            | Reason::Internal => TokenError::ClientKeysUnavailable,
            reason => AssertionFault::Foreign(reason).into(),
        })
    }
}
