//! The state that the services of an issuer share.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::client_auth::foreign::VerifyForeign;
use super::clients::Clients;
use super::forgetting::Forgetting;
use super::policy::Policy;
use super::revocations::Revocations;
use super::signing_keys::SigningKeys;
use crate::domain::clock::SharedClock;
use crate::jose::dpop::ReplayMemory;
use crate::store::Store;

/// The registered clients, the keys, the revocations and the store.
pub(super) struct State {
    pub(super) policy: Arc<Policy>,
    pub(super) clients: Arc<Clients>,
    pub(super) keys: Arc<SigningKeys>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) forgetting: Arc<Forgetting>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: SharedClock,
    /// The DPoP proofs that were used.
    pub(super) proofs: ReplayMemory,
    /// Verifies exchanged JWTs of trusted authorities.
    pub(super) verify_foreign: ArcSwapOption<VerifyForeign>,
}
