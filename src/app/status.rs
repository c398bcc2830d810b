//! What `/status` says, from the parts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::sockets::Sockets;
use crate::endpoints::admin::{
    Authority as AuthorityStatus, Credential, KeyLeftOut, Listener, RefusedIssuer,
    Revocation as RevocationStatus, Status, StatusOf,
};
use crate::jose::key_set::LeftOut;
use crate::jose::live_keys::Keys;
use crate::token_source::TokenSource;
use crate::verifier::Authority;

/// Looks at these parts each time.
pub(super) fn status(
    authorities: &HashMap<String, Arc<Authority>>,
    credentials: &HashMap<String, TokenSource>,
    sockets: &Sockets,
) -> StatusOf {
    let listener = |(name, address): (&str, std::net::SocketAddr)| Listener {
        name: name.to_owned(),
        address: address.to_string(),
    };
    let mut listeners: Vec<_> = sockets.addresses().map(listener).collect();
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    let mut authorities: Vec<_> = authorities.values().cloned().collect();
    authorities.sort_by(|a, b| a.name().cmp(b.name()));
    let mut credentials: Vec<_> = credentials.values().cloned().collect();
    credentials.sort_by(|a, b| a.name().cmp(b.name()));
    Arc::new(move || Status {
        version: env!("CARGO_PKG_VERSION"),
        credentials: credentials.iter().map(Credential::from).collect(),
        authorities: authorities
            .iter()
            .map(|authority| of_authority(authority))
            .collect(),
        listeners: listeners.clone(),
    })
}

fn of_authority(authority: &Authority) -> AuthorityStatus {
    let keys = authority.keys();
    let set = match keys.current() {
        Keys::Usable(set) => set,
        Keys::Unavailable => Arc::default(),
    };
    let left_out = |key: &LeftOut| KeyLeftOut {
        key: key.key.clone(),
        why: key.why.clone(),
    };
    AuthorityStatus {
        name: authority.name().to_owned(),
        has_keys: keys.is_usable(),
        keys: set.len(),
        keys_left_out: set.left_out().iter().map(left_out).collect(),
        keys_unread: set.unread(),
        keys_age_seconds: keys.age().map(|age| age.as_secs()),
        last_error: keys.last_error().map(Cow::into_owned),
        refused_issuer: authority.refused_issuer().map(|refused| RefusedIssuer {
            iss: refused.iss,
            tokens: refused.count,
        }),
        clock_skew_seconds: keys.clock_skew(),
        revocation: of_revocation(authority),
    }
}

fn of_revocation(authority: &Authority) -> RevocationStatus {
    let revocation = authority.revocation();
    let method = revocation.method();
    RevocationStatus {
        method: method.code(),
        description: method.to_string(),
        age_seconds: revocation.age().map(|age| age.as_secs()),
        max_stale_seconds: revocation.max_stale().as_secs(),
    }
}
