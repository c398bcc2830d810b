//! How long tokens may be: each authority has a limit of its own.

use super::{BearerToken, Verifier};
use crate::jose::verify::Jws;

impl Verifier {
    /// The longest token of any of the authorities that is accepted, in bytes.
    pub(super) fn longest_token(&self) -> usize {
        self.authorities
            .iter()
            .map(|authority| authority.max_token_size)
            .max()
            .unwrap_or_default()
    }

    /// The limit that a token has exceeded.
    pub(super) fn token_limit(&self, bearer: &BearerToken) -> usize {
        let longest = self.longest_token();
        if bearer.text().len() > longest {
            return longest;
        }
        let jws = Jws::parse(bearer.text()).ok();
        jws.and_then(|jws| Some(self.authority_of(jws.claimed_issuer())?.1.max_token_size))
            .unwrap_or(longest)
    }
}
