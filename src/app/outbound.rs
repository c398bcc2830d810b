//! The outbound listeners, and where their requests go.

use std::collections::HashMap;
use std::sync::Arc;

use super::sockets::{Socket, Sockets};
use super::{Listeners, Parts, StartError, unusable};
use crate::config::Config;
use crate::proxy::anywhere::Anywhere;
use crate::proxy::connection::Clients;
use crate::proxy::listener::{BoundSocket, Workers};
use crate::proxy::loop_mark::LoopMark;
use crate::proxy::outbound::{self, Destination, Kind, Outbound};
use crate::proxy::own::OwnAddresses;
use crate::proxy::upstream::{self, Upstream};
use crate::telemetry::Role;
use crate::token_source::TokenSource;

impl Parts {
    pub(super) fn outbound(
        &self,
        config: &Config,
        sockets: &Sockets,
        workers: &Workers,
        credentials: &HashMap<String, TokenSource>,
    ) -> Result<Listeners, StartError> {
        let socket =
            |listener: &outbound::Config| sockets.get(&Socket::Proxy(listener.name.clone()));
        let sockets = config
            .outbound
            .iter()
            .map(socket)
            .collect::<Result<Vec<_>, StartError>>()?;
        let own = Arc::new(OwnAddresses::new(
            sockets.into_iter().flat_map(BoundSocket::addresses),
        ));
        let mut listeners = Vec::new();
        for listener in &config.outbound {
            let destinations = self.destinations(listener, credentials, &own)?;
            let elsewhere = match &listener.kind {
                Kind::Forward(forward) if forward.pass_through => {
                    Some(Arc::new(Anywhere::new(forward.timeouts, own.clone())))
                }
                _ => None,
            };
            let metrics = Arc::new(self.metrics.requests(Role::Outbound, &listener.name));
            let capacity = self.shares.of(&Socket::Proxy(listener.name.clone()));
            let clients = Clients::new(listener.client_timeouts, capacity);
            let mark = Arc::new(LoopMark::default());
            let serve = || {
                let observed = (metrics.clone(), mark.clone());
                Outbound::new(listener, destinations.clone(), elsewhere.clone(), observed)
            };
            let served = workers.listen(socket(listener)?, &metrics, clients, serve);
            let served = served.map_err(StartError::Workers)?;
            listeners.push((listener.name.clone(), served));
        }
        Ok(listeners)
    }

    fn destinations(
        &self,
        listener: &outbound::Config,
        credentials: &HashMap<String, TokenSource>,
        own: &Arc<OwnAddresses>,
    ) -> Result<Vec<Destination>, StartError> {
        let destination = |target: &outbound::Target| {
            let credential = credentials.get(&target.credential).ok_or_else(|| {
                unusable(&listener.name)("its credential does not exist".to_owned())
            })?;
            let upstream = self.upstream(&listener.name, &target.upstream, own.clone())?;
            Ok(Destination {
                upstream,
                credential: credential.clone(),
            })
        };
        listener.targets().into_iter().map(destination).collect()
    }

    /// An upstream of a listener, whose name is kept resolved.
    pub(super) fn upstream(
        &self,
        listener: &str,
        config: &upstream::Config,
        own: Arc<OwnAddresses>,
    ) -> Result<Arc<Upstream>, StartError> {
        let upstream = Upstream::new(config.clone(), own)
            .map_err(|error| unusable(listener)(error.to_string()))?;
        let run = upstream.clone();
        self.tasks
            .spawn(format!("upstream of {listener}"), move || run.clone().run());
        Ok(upstream)
    }
}
