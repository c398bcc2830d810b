//! DPoP (RFC 9449): proofs that the sender of a request holds the key of its token.
//!
//! [`Proof::verify`] checks a proof, [`ReplayMemory`] accepts each one once, [`Nonces`] makes and
//! recognises the nonces of a server, and [`NewProof`] makes a proof.

mod making;
mod nonces;
mod proof;
mod replay;
mod target;
pub mod thumbprint;

use std::time::Duration;

use http::HeaderName;

pub use making::NewProof;
pub use nonces::Nonces;
pub use proof::{Expected, InvalidProof, Proof, sent_proof};
pub use replay::{NotFirst, ReplayMemory};
pub use target::TargetUri;

/// The header that carries a proof.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The header in which a server gives a nonce.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// The scheme of `Authorization`, and the `token_type`, of tokens that need a proof.
pub const SCHEME: &str = "DPoP";

/// The `typ` of a proof.
const TYPE: &str = "dpop+jwt";
/// By how much `iat` may differ from the time, to either side: clients make a proof for each
/// request, so the difference is that of the clocks.
pub const MAX_AGE: Duration = Duration::from_mins(1);
/// The longest proof, in bytes. One with an RSA key of 8192 bits has about 4 KiB.
pub const MAX_PROOF_SIZE: usize = 8 * 1024;
/// The longest `jti`, in bytes.
pub const MAX_ID_SIZE: usize = 256;

/// The state of a process that verifies proofs. All of its servers share it, or a proof could be
/// used once at each.
#[derive(Default)]
pub struct ServerState {
    pub replays: ReplayMemory,
    pub nonces: Nonces,
}

#[cfg(test)]
mod tests;
