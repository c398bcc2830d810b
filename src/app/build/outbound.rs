//! The outbound listeners, and the destinations of their requests.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Build;
use super::credentials::Credentials;
use super::listeners::{ListenerId, Planned, Service};
use super::parts::Throttled;
use crate::app::error::unusable;
use crate::app::part::{Life, Part};
use crate::limits::throttle::{self, Outcome, Throttle};
use crate::proxy::anywhere::Anywhere;
use crate::proxy::connection::{ClientSettings, Peers};
use crate::proxy::outbound::{self, Destination, Kind, Outbound};
use crate::proxy::own::OwnAddresses;
use crate::telemetry::Role;

impl Build<'_> {
    pub(super) fn outbound(&mut self, credentials: &Credentials) {
        let config = self.config;
        let own = config.outbound.iter().flat_map(|it| it.listen.addresses());
        let own: Vec<_> = own.collect();
        for listener in &config.outbound {
            let planned = self.outbound_listener(listener, credentials, &own);
            self.listeners.extend(planned);
        }
    }

    fn outbound_listener(
        &mut self,
        listener: &outbound::Config,
        credentials: &Credentials,
        own: &[SocketAddr],
    ) -> Option<Planned> {
        let id = ListenerId::new(Role::Outbound, &listener.name);
        let targets = listener.targets();
        let throttle = self.throttle(Throttled::Listener(id.name.clone()), listener.throttle);
        let found = targets.iter().map(|target| {
            let upstream = self.upstream(&id, &target.upstream, own);
            let credential = credentials.get(&target.credential).cloned();
            let credential =
                credential.ok_or_else(|| unusable(&id.name)("its credential does not exist"));
            let (upstream, credential) = (self.note(upstream), self.note(credential));
            let credential = credential?;
            let key = Throttled::Credential(target.credential.clone());
            Some(Destination {
                upstream: upstream?,
                nonce: Arc::default(),
                throttle: self.throttle(key, credential.config().throttle),
                credential,
            })
        });
        // All of them first: every reason is noted.
        let destinations: Vec<_> = found.collect();
        let destinations = destinations.into_iter().collect::<Option<Vec<_>>>()?;
        let anywhere = match &listener.kind {
            Kind::Forward(forward) if forward.pass_through || !forward.tunnels.is_empty() => {
                let own = OwnAddresses::new(own.iter().copied());
                let own = Arc::new(own.and_bound(self.process.outbound.clone()));
                Some(Arc::new(Anywhere::new(forward.timeouts, own)))
            }
            _ => None,
        };
        let metrics = self.metrics(&id);
        let observed = (metrics.clone(), self.mark(&id));
        let service = Outbound::new(listener, destinations, anywhere, observed);
        let service = service.throttled(throttle);
        Some(Planned {
            listen: listener.listen.clone(),
            metrics,
            clients: ClientSettings {
                peers: Peers {
                    remote: listener.allow_remote,
                    ..Peers::default()
                },
                tunnels: matches!(&listener.kind, Kind::Forward(it) if !it.transparent),
                redirected: matches!(&listener.kind, Kind::Forward(it) if it.transparent),
                ..self.clients(&id, listener.client_timeouts)
            },
            service: Service::Outbound(self.switch(service)),
            id,
        })
    }

    /// The counters of a quota, which several listeners may share.
    fn throttle(
        &mut self,
        of: Throttled,
        config: Option<throttle::Config>,
    ) -> Option<Arc<Throttle>> {
        let key = (of, config?);
        let known = self.parts.throttles.find(&key);
        if let Some(part) = known {
            return Some((**part).clone());
        }
        let part = self.before.throttles.find(&key);
        let part = part.unwrap_or_else(|| self.new_throttle(&key));
        Some((**self.parts.throttles.put(key, part)).clone())
    }

    fn new_throttle(
        &self,
        (of, config): &(Throttled, throttle::Config),
    ) -> Arc<Part<Arc<Throttle>>> {
        let (kind, name) = match of {
            Throttled::Listener(name) => ("listener", name.clone()),
            Throttled::Credential(name) => ("credential", name.clone()),
        };
        let (metrics, counted) = (self.process.metrics.clone(), name.clone());
        let observer = Box::new(move |outcome| {
            let result = match outcome {
                Outcome::Waited => "waited",
                Outcome::Refused => "refused",
            };
            metrics.throttled(kind, &counted, result);
        });
        let throttle = Arc::new(Throttle::new(*config, observer));
        let read = throttle.clone();
        Part::new(throttle, move |life: &mut Life| {
            let removed = name.clone();
            let reading = life.metrics.read_at_scrape(
                move |metrics| metrics.throttle_waiting(kind, &name, Some(read.waiting())),
                move |metrics| metrics.throttle_waiting(kind, &removed, None),
            );
            life.keep(reading);
        })
    }
}
