//! The parts' status, for `/status`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::authorities::{Authorities, oldest, widest_skew};
use super::credentials::Credentials;
use super::listeners::ListenerId;
use crate::app::process::Addresses;
use crate::endpoints::admin::{
    Authority as AuthorityStatus, Certificate, Credential, Introspection as IntrospectionStatus,
    KeyLeftOut, Listener, ListenerTls, RefusedIssuer, Revocation as RevocationStatus, Status,
    StatusOf, Tenants, UpstreamTls,
};
use crate::http_client::place;
use crate::jose::key_set::LeftOut;
use crate::jose::live_keys::Keys;
use crate::proxy::tls::{Expiring, ServerTls};
use crate::proxy::upstream::Upstream;
use crate::verifier::{Authority, TenantsState};

/// How many keys that are not used are shown for an authority; a set has no more.
const SHOWN_KEYS: usize = 256;
/// How many tenants without keys are shown for an authority.
const SHOWN_TENANTS: usize = 20;

/// The status of these parts at the time of each request.
pub(super) fn status(
    authorities: &Authorities,
    credentials: &Credentials,
    addresses: &Addresses,
    tls: TlsParts,
) -> StatusOf {
    let mut authorities: Vec<_> = authorities.values().cloned().collect();
    authorities.sort_by(|a, b| a.name().cmp(b.name()));
    let mut credentials: Vec<_> = credentials.values().cloned().collect();
    credentials.sort_by(|a, b| a.name().cmp(b.name()));
    let addresses = addresses.clone();
    Arc::new(move || Status {
        version: env!("CARGO_PKG_VERSION"),
        credentials: credentials.iter().map(Credential::from).collect(),
        authorities: authorities
            .iter()
            .map(|authority| of_authority(authority))
            .collect(),
        listeners: listeners(&addresses, &tls),
    })
}

/// The parts with TLS files, by listener.
pub(super) struct TlsParts {
    pub listeners: HashMap<ListenerId, Arc<ServerTls>>,
    pub upstreams: HashMap<ListenerId, Vec<Arc<Upstream>>>,
    /// The proxies towards upstreams, by role and name.
    pub proxies: HashMap<String, String>,
}

fn listeners(addresses: &Addresses, tls: &TlsParts) -> Vec<Listener> {
    let addresses = addresses.load();
    let listeners = addresses.iter().map(|(id, address)| Listener {
        name: id.name.clone(),
        address: address.to_string(),
        tls: tls.listeners.get(id).map(|tls| of_tls(tls)),
        egress_proxy: (tls.proxies)
            .get(&format!("{} {}", id.role.as_str(), id.name))
            .cloned(),
        upstreams: (tls.upstreams.get(id).into_iter().flatten())
            .map(|upstream| of_upstream(upstream))
            .collect(),
    });
    let mut listeners: Vec<_> = listeners.collect();
    listeners.sort_by(|a, b| a.name.cmp(&b.name));
    listeners
}

fn of_tls(tls: &ServerTls) -> ListenerTls {
    ListenerTls {
        certificates: tls.expiring().into_iter().map(of_certificate).collect(),
        errors: tls.faults(),
    }
}

fn of_upstream(upstream: &Upstream) -> UpstreamTls {
    UpstreamTls {
        url: upstream.to_string(),
        certificates: upstream
            .expiring()
            .into_iter()
            .map(of_certificate)
            .collect(),
        errors: upstream.faults(),
    }
}

fn of_certificate(expiring: Expiring) -> Certificate {
    Certificate {
        name: expiring.name,
        not_after: expiring.not_after.to_rfc3339(),
    }
}

fn of_authority(authority: &Authority) -> AuthorityStatus {
    let sets = authority.key_sets();
    let current = sets.iter().filter_map(|keys| match keys.current() {
        Keys::Usable(set) => Some(set),
        Keys::Unavailable => None,
    });
    let current: Vec<_> = current.collect();
    let left_out = |key: &LeftOut| KeyLeftOut {
        key: key.key.clone(),
        why: key.why.clone(),
    };
    let left_out = current.iter().flat_map(|set| set.left_out()).map(left_out);
    let errors = sets.iter().filter_map(|keys| keys.last_error());
    AuthorityStatus {
        name: authority.name().to_owned(),
        has_keys: authority.has_keys(),
        keys: current.iter().map(|set| set.len()).sum(),
        keys_left_out: left_out.take(SHOWN_KEYS).collect(),
        keys_unread: current.iter().map(|set| set.unread()).sum(),
        keys_age_seconds: oldest(&sets).map(|age| age.as_secs()),
        last_error: errors.map(Cow::into_owned).next(),
        tenants: authority.tenants().map(of_tenants),
        refused_issuer: authority.refused_issuer().map(|refused| RefusedIssuer {
            iss: refused.iss,
            tokens: refused.count,
        }),
        clock_skew_seconds: widest_skew(&sets),
        revocation: of_revocation(authority),
        egress_proxy: authority.proxy().map(str::to_owned),
        introspection: authority.introspection().map(|it| IntrospectionStatus {
            endpoint: place(it.url()),
            last_error: it.last_error(),
            known_tokens: it.known(),
        }),
    }
}

fn of_tenants(mut state: TenantsState) -> Tenants {
    state.without_keys.truncate(SHOWN_TENANTS);
    Tenants {
        allowed: state.allowed,
        used: state.used,
        without_keys: state.without_keys,
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
