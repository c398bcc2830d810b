//! The listeners of a configuration.

use std::sync::Arc;

use ipnet::IpNet;

use crate::app::{ADMIN, ISSUER, LOCAL_API, PROBES};
use crate::config::Config;
use crate::domain::listen::Listen;
use crate::proxy::connection::{ClientSettings, MaxConnections};
use crate::proxy::inbound::Inbound;
use crate::proxy::local::LocalService;
use crate::proxy::outbound::Outbound;
use crate::proxy::switch::Switch;
use crate::telemetry::{RequestMetrics, Role};

/// Two listeners may share a name: those of the proxies are the operator's, and one may be
/// `issuer`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::app) struct ListenerId {
    pub role: Role,
    pub name: String,
}

impl ListenerId {
    pub(super) fn new(role: Role, name: &str) -> Self {
        Self {
            role,
            name: name.to_owned(),
        }
    }
}

/// A listener, as the configuration has it.
pub(super) struct ListenerConfig {
    pub id: ListenerId,
    pub listen: Listen,
    pub max: MaxConnections,
    pub proxies: Vec<IpNet>,
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
    let own = |role, name: &str, listen, max| ListenerConfig {
        id: ListenerId::new(role, name),
        listen,
        max,
        proxies: Vec::new(),
    };
    let issuer = config.issuer.iter().filter_map(|role| {
        Some(ListenerConfig {
            proxies: role.trusted_proxies.clone(),
            ..own(Role::Issuer, ISSUER, role.listen?, role.max_connections)
        })
    });
    let inbound = config.inbound.iter().map(|it| ListenerConfig {
        proxies: it.trusted_proxies.clone(),
        ..own(Role::Inbound, &it.name, it.listen, it.max_connections)
    });
    let outbound = config.outbound.iter();
    let outbound = outbound.map(|it| own(Role::Outbound, &it.name, it.listen, it.max_connections));
    let local_api = config.local_api.iter();
    let local_api =
        local_api.map(|it| own(Role::LocalApi, LOCAL_API, it.listen, it.max_connections));
    let admin = config.admin.iter();
    let admin = admin.map(|role| own(Role::Admin, ADMIN, role.listen, role.max_connections));
    let probes = config.probes.iter();
    let probes = probes.map(|it| own(Role::Probes, PROBES, it.listen, it.max_connections));
    (issuer.chain(inbound).chain(outbound))
        .chain(local_api)
        .chain(admin)
        .chain(probes)
        .collect()
}
