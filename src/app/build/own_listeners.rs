//! The listeners with endpoints of the sidecar itself: issuer, local API, management API, probes.

use std::sync::Arc;

use axum::Router;
use ipnet::IpNet;

use super::authorities::Authorities;
use super::credentials::Credentials;
use super::issuer::OpenIssuer;
use super::listeners::{ListenerId, Planned, Service};
use super::{Build, local_introspection, readiness, status};
use crate::app::{ADMIN, ISSUER, LOCAL_API, PROBES};
use crate::domain::listen::Listen;
use crate::domain::oauth::GrantType;
use crate::endpoints;
use crate::endpoints::oauth::{self, Outcome, Placement};
use crate::endpoints::plgd::VerifyCaller;
use crate::endpoints::probes;
use crate::issuer::metadata::RequestedCertificates;
use crate::proxy::connection::{ClientSettings, ClientTimeouts};
use crate::proxy::local::{LocalService, Paths};
use crate::proxy::tls;
use crate::telemetry::{Metrics, Role};

impl Build<'_> {
    pub(super) fn issuer_listener(&mut self, open: Option<&OpenIssuer>, callers: &VerifyCaller) {
        let role = self.config.issuer.as_ref();
        let (Some(open), Some(role)) = (open, role) else {
            return;
        };
        let Some(listen) = role.listen.clone() else {
            return;
        };
        let (issuer, at) = (&open.issuer, Placement::OwnListener);
        let observer = token_observer(&self.process.metrics);
        let certificates = requested_certificates(role.tls.as_ref());
        let router =
            oauth::issuer_router(issuer.clone(), at, certificates, observer, callers.clone());
        let id = ListenerId::new(Role::Issuer, ISSUER);
        let timeouts = ClientTimeouts {
            keep_alive: role.keep_alive,
            ..ClientTimeouts::default()
        };
        let clients = ClientSettings {
            max_head: role.max_head,
            error_forms: oauth::error_forms(issuer.base_path(), issuer.profile(), at),
            ..self.clients(&id, timeouts)
        };
        self.own_listener(id, listen, clients, router, &role.trusted_proxies);
    }

    pub(super) fn local_api(&mut self, authorities: &Authorities, credentials: &Credentials) {
        if let Some(api) = &self.config.local_api {
            let audiences = self.config.local_audiences.as_ref();
            let introspect = audiences
                .map(|it| local_introspection::introspect(it, authorities, &self.process.clock));
            let sources = credentials.values().cloned();
            let router = endpoints::local_api::router(sources, introspect);
            self.plain_listener(Role::LocalApi, LOCAL_API, api.listen.clone(), router);
        }
    }

    pub(super) fn admin(
        &mut self,
        open: Option<&OpenIssuer>,
        authorities: &Authorities,
        credentials: &Credentials,
    ) {
        let Some(role) = &self.config.admin else {
            return;
        };
        let Some(guard) = self.guard(role) else {
            return;
        };
        let tls = status::TlsParts {
            listeners: self.tls.clone(),
            upstreams: self.secured.clone(),
            proxies: self.config.ways_out().into_iter().collect(),
        };
        let status = status::status(authorities, credentials, &self.process.addresses, tls);
        let issuer = open.map(|open| open.issuer.clone());
        let router = endpoints::admin::router(issuer, status, guard);
        self.plain_listener(Role::Admin, ADMIN, role.listen.clone(), router);
    }

    /// Readiness, for the probes and for the process itself.
    pub(super) fn readiness(
        &mut self,
        open: Option<&OpenIssuer>,
        authorities: Authorities,
        credentials: Credentials,
    ) {
        let conditions = readiness::Conditions {
            listeners: self.process.ready.clone(),
            store_up: open.map(|open| open.store_up.clone()),
            issuer: open.map(|open| open.issuer.clone()),
            authorities,
            credentials,
        };
        self.readiness = conditions.of(&self.config.readiness);
    }

    pub(super) fn probes(&mut self) {
        let Some(listener) = &self.config.probes else {
            return;
        };
        let router = probes::router(
            self.process.metrics.clone(),
            self.readiness.clone(),
            self.config.metrics_hosts.clone(),
        );
        self.plain_listener(Role::Probes, PROBES, listener.listen.clone(), router);
    }

    fn plain_listener(&mut self, role: Role, name: &str, listen: Listen, router: Router) {
        let id = ListenerId::new(role, name);
        let mut clients = self.clients(&id, ClientTimeouts::default());
        clients.peers.remote = role != Role::LocalApi;
        self.own_listener(id, listen, clients, router, &[]);
    }

    fn own_listener(
        &mut self,
        id: ListenerId,
        listen: Listen,
        clients: ClientSettings,
        router: Router,
        trusted_proxies: &[IpNet],
    ) {
        let metrics = self.metrics(&id);
        let paths = match id.role {
            Role::Admin => Paths::WithIds,
            _ => Paths::Normal,
        };
        let service = LocalService::new(router, metrics.clone(), paths).behind(trusted_proxies);
        self.listeners.push(Planned {
            service: Service::Own(self.switch(service)),
            id,
            listen,
            metrics,
            clients,
        });
    }
}

/// The client certificates that a listener requests.
pub(super) fn requested_certificates(tls: Option<&tls::Config>) -> RequestedCertificates {
    let clients = tls.and_then(|tls| tls.clients.as_ref());
    RequestedCertificates {
        verified: clients.is_some_and(|clients| clients.authorities.is_some()),
        self_signed: clients.is_some_and(|clients| clients.self_signed),
    }
}

/// Counts the token requests of the issuer.
pub(super) fn token_observer(metrics: &Arc<Metrics>) -> oauth::Observer {
    let metrics = metrics.clone();
    Arc::new(move |outcome: &Outcome| match outcome.error {
        None => {
            let grant_type = outcome.grant_type.map_or("other", GrantType::as_str);
            metrics.token_issued(outcome.client_id.as_deref().unwrap_or("other"), grant_type);
        }
        Some(error) => metrics.token_request_refused(error.as_str()),
    })
}
