//! The inbound listeners.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::part::{Life, Part};
use super::Build;
use super::authorities::Authorities;
use super::issuer::OpenIssuer;
use super::listeners::{ListenerId, Planned, Service};
use super::own_listeners::{requested_certificates, token_observer};
use super::parts::LimitsIdentity;
use super::resource;
use crate::app::error::{StartError, unusable};
use crate::domain::clock::SharedClock;
use crate::domain::error_form::ErrorForms;
use crate::endpoints::oauth::{self, Placement};
use crate::endpoints::plgd::VerifyCaller;
use crate::endpoints::protected_resource;
use crate::limits::Limits;
use crate::proxy::connection::ClientSettings;
use crate::proxy::inbound::{
    self, CredentialConfig, Inbound, OwnEndpoints, UpstreamAuthorization, UpstreamCredential,
};
use crate::telemetry::Role;
use crate::verifier::{Authority, Gate, Mode, ObserveCache};

impl Build<'_> {
    pub(super) fn inbound(
        &mut self,
        issuer: Option<&OpenIssuer>,
        authorities: &Authorities,
        callers: &VerifyCaller,
    ) {
        for listener in &self.config.inbound {
            let issuer = issuer.filter(|_| listener.settings.issuer);
            let own = issuer.map(|issuer| self.own_endpoints(listener, issuer, callers));
            let own = self.with_metadata(listener, own);
            let planned = self.inbound_listener(listener, own, authorities);
            self.listeners.extend(planned);
        }
    }

    fn inbound_listener(
        &mut self,
        listener: &inbound::Config,
        own: Option<OwnEndpoints>,
        authorities: &Authorities,
    ) -> Option<Planned> {
        let id = ListenerId::new(Role::Inbound, &listener.name);
        let here: Vec<_> = listener.listen.addresses().collect();
        let mut upstreams = Vec::new();
        for config in &listener.upstreams {
            let upstream = self.upstream(&id, config, &here);
            upstreams.extend(self.note(upstream));
        }
        let gate = self.gate(listener, authorities)?;
        if upstreams.len() < listener.upstreams.len() {
            return None;
        }
        let clients = ClientSettings {
            max_head: listener.max_head,
            error_forms: error_forms(listener, own.as_ref()),
            ..self.clients(&id, listener.client_timeouts)
        };
        let metrics = self.metrics(&id);
        let observed = (metrics.clone(), self.mark(&id));
        let limits = self.limits(listener);
        let credential = self.upstream_credential(&id, listener);
        let credential = self.note(credential)?;
        let service = Inbound::new(listener, gate, upstreams, own, limits, observed);
        let service = service.with_credential(credential);
        Some(Planned {
            listen: listener.listen.clone(),
            metrics,
            clients,
            service: Service::Inbound(self.switch(service)),
            id,
        })
    }

    /// The gate of a listener, which announces its mode.
    pub(super) fn gate(
        &mut self,
        listener: &inbound::Config,
        authorities: &Authorities,
    ) -> Option<Arc<Gate>> {
        let names = listener.verifier.authorities.iter();
        let trusted = names.filter_map(|name| authorities.get(name).cloned());
        let (clock, observe) = (self.process.clock.clone(), self.cache_observer());
        let gate = self.note(gate(listener, trusted.collect(), clock, observe))?;
        self.announce_mode(listener, &gate);
        Some(Arc::new(gate.sharing(self.process.dpop.clone())))
    }

    /// The credential that a listener's upstream gets instead of the caller's token.
    fn upstream_credential(
        &mut self,
        id: &ListenerId,
        listener: &inbound::Config,
    ) -> Result<Option<Arc<UpstreamCredential>>, StartError> {
        let UpstreamAuthorization::Credential(config) = &listener.upstream_authorization else {
            return Ok(None);
        };
        let key = (id.clone(), config.clone());
        let make = |(id, config): &(ListenerId, CredentialConfig)| {
            let credential = UpstreamCredential::open(config.clone());
            let credential = credential.map_err(|error| {
                unusable(&id.name)(format!("the file of its upstream's credential {error}"))
            })?;
            let (renewed, file) = (credential.clone(), config.file.clone());
            let what = format!("upstream credential of {}", id.name);
            Ok(Part::new(credential, move |life: &mut Life| {
                life.watch_file(what, &file, move || {
                    renewed.renew().map_err(|error| format!("the file {error}"))
                });
            }))
        };
        let part =
            (self.parts.upstream_credentials).take(&self.before.upstream_credentials, key, make)?;
        Ok(Some((**part).clone()))
    }

    fn cache_observer(&self) -> ObserveCache {
        let (hits, misses) = self.process.metrics.verified_token_cache();
        Arc::new(move |hit: bool| {
            let counter = if hit { &hits } else { &misses };
            counter.inc();
        })
    }

    fn announce_mode(&mut self, listener: &inbound::Config, gate: &Gate) {
        if gate.mode() == Mode::Shadow {
            let listener = listener.name.clone();
            return self.at_start(move || {
                tracing::warn!(
                    listener,
                    "the listener is in shadow mode: it lets requests pass that it would refuse"
                );
            });
        }
        let rules = listener.verifier.rules.iter().zip(1..);
        let in_shadow = rules.filter(|(rule, _)| rule.mode == Some(Mode::Shadow));
        let rules: Vec<_> = in_shadow.map(|(_, number)| number.to_string()).collect();
        if !rules.is_empty() {
            let (listener, rules) = (listener.name.clone(), rules.join(", "));
            self.at_start(move || {
                tracing::warn!(
                    listener,
                    rules,
                    "rules of the listener are in shadow mode: they let requests pass that they \
                     would refuse"
                );
            });
        }
    }

    pub(super) fn limits(&mut self, listener: &inbound::Config) -> Option<Arc<Limits>> {
        let key = LimitsIdentity {
            listener: listener.name.clone(),
            config: listener.limits?,
            authorities: listener.verifier.authorities.clone(),
        };
        let part = self.before.limits.find(&key).unwrap_or_else(|| {
            let limits = Arc::new(Limits::new(key.config));
            let (run, task) = (limits.clone(), format!("limits of {}", key.listener));
            Part::new(limits, move |life: &mut Life| {
                life.tasks.spawn(task, move || run.clone().run());
            })
        });
        let limits = (**part).clone();
        self.parts.limits.put(key, part);
        Some(limits)
    }

    /// The endpoints of a listener, with its metadata if it has a public URL.
    fn with_metadata(
        &self,
        listener: &inbound::Config,
        own: Option<OwnEndpoints>,
    ) -> Option<OwnEndpoints> {
        let Some((path, url)) = listener.metadata_path().zip(listener.public_url.as_ref()) else {
            return own;
        };
        let metadata = resource::metadata(listener, url.as_str(), &self.config.authorities);
        let router = protected_resource::router(&path, &metadata);
        let id = ListenerId::new(Role::Inbound, &listener.name);
        Some(match own {
            Some(mut own) => {
                // An issuer's endpoint at the same path has it.
                if own.paths.insert(path) {
                    own.router = own.router.merge(router);
                }
                own
            }
            None => OwnEndpoints {
                paths: HashSet::from([path]),
                router,
                metrics: self.metrics(&id),
                error_forms: ErrorForms::default(),
            },
        })
    }

    /// The issuer's endpoints on an inbound listener.
    fn own_endpoints(
        &self,
        listener: &inbound::Config,
        OpenIssuer { issuer, .. }: &OpenIssuer,
        callers: &VerifyCaller,
    ) -> OwnEndpoints {
        let role = self.config.issuer.as_ref();
        let at = if role.is_some_and(|role| role.issuer.root_paths) {
            Placement::BasePathAndRoot
        } else {
            Placement::BasePath
        };
        let observer = token_observer(&self.process.metrics);
        OwnEndpoints {
            paths: oauth::issuer_paths(issuer, at).into_iter().collect(),
            router: oauth::issuer_router(
                issuer.clone(),
                at,
                requested_certificates(listener.tls.as_ref()),
                observer,
                callers.clone(),
            ),
            metrics: Arc::new(self.process.metrics.requests(Role::Issuer, &listener.name)),
            error_forms: oauth::error_forms(issuer.base_path(), issuer.profile(), at),
        }
    }
}

/// The error forms of a listener.
pub(super) fn error_forms(listener: &inbound::Config, own: Option<&OwnEndpoints>) -> ErrorForms {
    let form = listener.settings.error_format.into();
    match own {
        Some(own) => own.error_forms.clone().elsewhere(form, &own.paths),
        None => ErrorForms::default().elsewhere(form, &HashSet::new()),
    }
}

/// The gate of a listener.
///
/// # Errors
/// The listener's rules or audiences are unusable.
pub(in crate::app) fn gate(
    listener: &inbound::Config,
    authorities: Vec<Arc<Authority>>,
    clock: SharedClock,
    observe: ObserveCache,
) -> Result<Gate, StartError> {
    let gate = Gate::new(&listener.verifier, authorities, clock, observe);
    gate.map_err(unusable(&listener.name))
}
