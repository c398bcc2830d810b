//! How a challenge asks for a token.

use std::sync::LazyLock;

use crate::domain::reason::Reason;
use crate::jose::{ALGORITHMS, algorithm_name};

/// How a challenge asks for a token.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// Whether the token needs a proof (RFC 9449 §7.1).
    pub dpop: bool,
    /// The nonce for proofs, if they need one.
    pub nonce: Option<String>,
    /// The URL of the listener's metadata (RFC 9728 §5.1).
    pub metadata: Option<&'a str>,
}

/// The algorithms of proofs, for challenges.
pub(super) static ALGORITHM_NAMES: LazyLock<String> = LazyLock::new(|| {
    ALGORITHMS
        .iter()
        .copied()
        .map(algorithm_name)
        .collect::<Vec<_>>()
        .join(" ")
});

impl Asked<'_> {
    /// Whether the challenge asks for a token with a proof: the request has one, or should.
    pub(super) fn needs_proof(&self, reason: Reason) -> bool {
        use Reason as R;
        let is_about_proof = matches!(
            reason,
            R::ProofMissing
                | R::ProofInvalid
                | R::ProofReplayed
                | R::ProofNonce
                | R::ProofKey
                | R::TokenBinding
        );
        self.dpop || is_about_proof
    }
}
