//! The listeners of a configuration.

use std::sync::Arc;

use ipnet::IpNet;

pub(in crate::app) use crate::app::process::ListenerId;
use crate::app::{ADMIN, ISSUER, LOCAL_API, PROBES};
use crate::config::Config;
use crate::domain::listen::Listen;
use crate::proxy::connection::{ClientSettings, MaxConnections};
use crate::proxy::decisions::Decisions;
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
    Decisions(Switch<Decisions>),
    Outbound(Switch<Outbound>),
    Own(Switch<LocalService>),
}

impl Service {
    /// Serves with the service of `next` from now on.
    pub(in crate::app) fn replace(&self, next: &Self) {
        match (self, next) {
            (Self::Inbound(service), Self::Inbound(next)) => service.replace(next),
            (Self::Decisions(service), Self::Decisions(next)) => service.replace(next),
            (Self::Outbound(service), Self::Outbound(next)) => service.replace(next),
            (Self::Own(service), Self::Own(next)) => service.replace(next),
            _ => unreachable!("a listener keeps its role"),
        }
    }
}

/// A listener of a section of the configuration.
macro_rules! listener {
    ($role:expr, $name:expr, $section:expr) => {
        ListenerConfig {
            id: ListenerId::new($role, $name),
            listen: $section.listen.clone(),
            max: $section.max_connections,
            proxies: Vec::new(),
            tls: $section.tls.clone(),
        }
    };
}

/// The listeners of a configuration.
pub(super) fn of(config: &Config) -> Vec<ListenerConfig> {
    let issuer = config.issuer.iter().filter_map(|role| {
        Some(ListenerConfig {
            id: ListenerId::new(Role::Issuer, ISSUER),
            listen: role.listen.clone()?,
            max: role.max_connections,
            proxies: role.trusted_proxies.clone(),
            tls: role.tls.clone(),
        })
    });
    let inbound = config.inbound.iter().map(|it| ListenerConfig {
        proxies: it.trusted_proxies.clone(),
        ..listener!(Role::Inbound, &it.name, it)
    });
    let decisions = config.decisions.iter().map(|it| &it.listener);
    let decisions = decisions.map(|it| ListenerConfig {
        proxies: it.trusted_proxies.clone(),
        ..listener!(Role::Decisions, &it.name, it)
    });
    let outbound = config.outbound.iter();
    let outbound = outbound.map(|it| listener!(Role::Outbound, &it.name, it));
    let local_api = config.local_api.iter();
    let local_api = local_api.map(|it| listener!(Role::LocalApi, LOCAL_API, it));
    let admin = config.admin.iter();
    let admin = admin.map(|it| listener!(Role::Admin, ADMIN, it));
    let probes = config.probes.iter();
    let probes = probes.map(|it| listener!(Role::Probes, PROBES, it));
    (issuer.chain(inbound).chain(decisions).chain(outbound))
        .chain(local_api)
        .chain(admin)
        .chain(probes)
        .collect()
}
