//! The signing keys of the issuer.

use std::time::Duration;

use super::{YEAR, is_in_memory};
use crate::config::resolve::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::config::value::GoDuration;
use crate::config::{files, raw};
use crate::domain::secret::SecretString;
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;

/// With one key an hour, each is published for a quarter of an hour before it signs. Key sets may
/// be cached for five minutes.
const LEAST_ROTATION: Duration = Duration::from_hours(1);

/// The resolved section `issuer.signing`.
pub(super) struct Signing {
    pub algorithm: Algorithm,
    pub private_key: Option<SecretString>,
    /// How long a key signs; `None`: keys are not rotated.
    pub rotate_every: Option<Duration>,
}

/// Resolves `issuer.signing`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Signing,
) -> Option<Signing> {
    let algorithm = raw.algorithm.into();
    let key_path = path.key("privateKeyFile");
    let private_key = match &raw.private_key_file {
        None => None,
        Some(file) => {
            resolver.resolved(&key_path, file);
            Some(resolver.secret(&key_path, file, files::read_secret_lines)?)
        }
    };
    if let Some(pem) = &private_key {
        if SigningKey::from_pem(pem, algorithm).is_err() {
            let message = format!("the file holds no private key (PEM) for {algorithm:?}");
            resolver.error(&key_path, message);
        }
        if is_in_memory(resolver) {
            let message = "the key is kept after a restart, but the store is not: revoked tokens \
                           become valid again";
            resolver.warn(&key_path, message);
        }
    }
    let path = path.key("rotateEvery");
    let rotate_every = rotate_every(resolver, &path, raw.rotate_every, private_key.is_some());
    Some(Signing {
        algorithm,
        private_key,
        rotate_every,
    })
}

fn rotate_every(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    every: GoDuration,
    has_own_key: bool,
) -> Option<Duration> {
    if every.0.is_zero() {
        return None;
    }
    if has_own_key && resolver.tree.find(path).is_some() {
        let message = "the key in `privateKeyFile` is not rotated: replace the file to change it";
        resolver.warn(path, message);
    }
    if every.0 < LEAST_ROTATION || every.0 > YEAR {
        resolver.error(path, "it must be 0s, or from 1h to 366d");
    }
    Some(every.0)
}
