//! Whether the tokens of a credential are bound by DPoP.

use crate::config::raw;
use crate::config::resolve::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::jose::Algorithm;

/// The algorithm of DPoP proofs; `None`: bearer tokens.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Credential,
) -> Option<Algorithm> {
    let algorithm = match raw.dpop {
        raw::CredentialDpop::Switch(false) => return None,
        raw::CredentialDpop::Switch(true) => raw::Algorithm::default(),
        raw::CredentialDpop::With(key) => key.algorithm,
    };
    let algorithm = Algorithm::from(algorithm);
    if !matches!(
        algorithm,
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA
    ) {
        let message = "it must be ES256, ES384 or EdDSA: each request needs a new proof, and RSA \
                       signs slowly";
        resolver.error(&path.key("dpop").key("algorithm"), message);
    }
    if raw.keep_token {
        let message = "it has no effect with `dpop`: the key of the tokens is made at each start, \
                       and a token without its key cannot be used";
        resolver.error(&path.key("keepToken"), message);
    }
    if raw.sink.is_some() {
        let message = "remove this key: a token that is bound by `dpop` cannot be used without its \
                       key, which stays in the sidecar. Let the program call an outbound listener";
        resolver.error(&path.key("sink"), message);
    }
    if raw.local_api {
        let message = "remove this key: a token that is bound by `dpop` cannot be used without its \
                       key, which stays in the sidecar. Let the program call an outbound listener";
        resolver.error(&path.key("localApi"), message);
    }
    Some(algorithm)
}
