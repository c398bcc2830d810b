//! The listeners of a configuration.

use std::sync::Arc;

use ipnet::IpNet;

pub(in crate::app) use crate::app::process::ListenerId;
use crate::app::{ADMIN, ISSUER, LOCAL_API, PROBES};
use crate::config::Config;
use crate::domain::listen::Listen;
use crate::proxy::connection::{ClientSettings, MaxConnections};
use crate::proxy::inbound::Inbound;
use crate::proxy::local::LocalService;
use crate::proxy::outbound::Outbound;
use crate::proxy::switch::Switch;
use crate::proxy::tls;
use crate::telemetry::{RequestMetrics, Role};

/// A listener, as the configuration has it.
pub(super) struct ListenerConfig {
    pub id: ListenerId,
    pub listen: Listen,
    pub max: MaxConnections,
    pub proxies: Vec<IpNet>,
    pub tls: Option<tls::Config>,
}

/// A listener of a generation, ready to be started.
pub(in crate::app) struct Planned {
    pub id: ListenerId,
    pub listen: Listen,
    pub metrics: Arc<RequestMetrics>,
    pub clients: ClientSettings,
    pub service: Service,
}

/// The service of a listener, which a later generation can replace.
pub(in crate::app) enum Service {
    Inbound(Switch<Inbound>),
    Outbound(Switch<Outbound>),
    Own(Switch<LocalService>),
}

impl Service {
    /// Serves with the service of `next` from now on.
    pub(in crate::app) fn replace(&self, next: &Self) {
        match (self, next) {
            (Self::Inbound(service), Self::Inbound(next)) => service.replace(next),
            (Self::Outbound(service), Self::Outbound(next)) => service.replace(next),
            (Self::Own(service), Self::Own(next)) => service.replace(next),
            _ => unreachable!("a listener keeps its role"),
        }
    }
}

/// The listeners of a configuration.
pub(super) fn of(config: &Config) -> Vec<ListenerConfig> {
    let own = |role, name: &str, listen, max, tls: &Option<tls::Config>| ListenerConfig {
        id: ListenerId::new(role, name),
        listen,
        max,
        proxies: Vec::new(),
        tls: tls.clone(),
    };
    let issuer = config.issuer.iter().filter_map(|role| {
        Some(ListenerConfig {
            proxies: role.trusted_proxies.clone(),
            ..own(
                Role::Issuer,
                ISSUER,
                role.listen?,
                role.max_connections,
                &role.tls,
            )
        })
    });
    let inbound = config.inbound.iter().map(|it| ListenerConfig {
        proxies: it.trusted_proxies.clone(),
        ..own(
            Role::Inbound,
            &it.name,
            it.listen,
            it.max_connections,
            &it.tls,
        )
    });
    let outbound = config.outbound.iter();
    let outbound = outbound.map(|it| {
        own(
            Role::Outbound,
            &it.name,
            it.listen,
            it.max_connections,
            &it.tls,
        )
    });
    let local_api = config.local_api.iter();
    let local_api = local_api.map(|it| {
        own(
            Role::LocalApi,
            LOCAL_API,
            it.listen,
            it.max_connections,
            &it.tls,
        )
    });
    let admin = config.admin.iter();
    let admin = admin.map(|it| own(Role::Admin, ADMIN, it.listen, it.max_connections, &it.tls));
    let probes = config.probes.iter();
    let probes = probes.map(|it| own(Role::Probes, PROBES, it.listen, it.max_connections, &it.tls));
    (issuer.chain(inbound).chain(outbound))
        .chain(local_api)
        .chain(admin)
        .chain(probes)
        .collect()
}
