//! The listeners that decide for a proxy.

use super::Build;
use super::authorities::Authorities;
use super::inbound::error_forms;
use super::listeners::{ListenerId, Planned, Service};
use crate::proxy::connection::ClientSettings;
use crate::proxy::decisions::{Config, Decisions};
use crate::proxy::inbound::Inbound;
use crate::telemetry::Role;

impl Build<'_> {
    pub(super) fn decisions(&mut self, authorities: &Authorities) {
        for config in &self.config.decisions {
            let planned = self.decisions_listener(config, authorities);
            self.listeners.extend(planned);
        }
    }

    fn decisions_listener(
        &mut self,
        config: &Config,
        authorities: &Authorities,
    ) -> Option<Planned> {
        let listener = &config.listener;
        let id = ListenerId::new(Role::Decisions, &listener.name);
        let gate = self.gate(listener, authorities)?;
        let clients = ClientSettings {
            max_head: listener.max_head,
            // A gRPC call that is refused has status 200, which a proxy reads as a permit.
            error_forms: error_forms(listener, None).always_http(),
            ..self.clients(&id, listener.client_timeouts)
        };
        let metrics = self.metrics(&id);
        let observed = (metrics.clone(), self.mark(&id));
        let limits = self.limits(listener);
        let inbound = Inbound::new(listener, gate, Vec::new(), None, limits, observed);
        Some(Planned {
            listen: listener.listen.clone(),
            metrics,
            clients,
            service: Service::Decisions(self.switch(Decisions::new(config, inbound))),
            id,
        })
    }
}
