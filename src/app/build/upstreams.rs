//! Upstreams, whose names are kept resolved.

use std::net::SocketAddr;
use std::sync::Arc;

use super::super::part::{Life, Part};
use super::Build;
use super::listeners::ListenerId;
use super::parts::UpstreamIdentity;
use crate::app::error::{StartError, unusable};
use crate::proxy::own::OwnAddresses;
use crate::proxy::upstream::{self, Upstream};
use crate::telemetry::Role;

impl Build<'_> {
    /// An upstream of a listener; a request must not go to one of `own`, which would send it back.
    pub(super) fn upstream(
        &mut self,
        listener: &ListenerId,
        config: &upstream::Config,
        own: &[SocketAddr],
    ) -> Result<Arc<Upstream>, StartError> {
        let key = UpstreamIdentity {
            listener: listener.clone(),
            config: config.clone(),
            own: own.to_vec(),
        };
        let bound = self.process.outbound.clone();
        let make = |key: &UpstreamIdentity| {
            let own = OwnAddresses::new(key.own.iter().copied());
            let own = Arc::new(match key.listener.role {
                Role::Outbound => own.and_bound(bound),
                _ => own,
            });
            let upstream = Upstream::new(key.config.clone(), own);
            let upstream = upstream.map_err(unusable(&key.listener.name))?;
            let (run, task) = (
                upstream.clone(),
                format!("upstream of {}", key.listener.name),
            );
            Ok(Part::new(upstream, move |life: &mut Life| {
                life.tasks.spawn(task, move || run.clone().run());
            }))
        };
        let part = self
            .parts
            .upstreams
            .take(&self.before.upstreams, key, make)?;
        Ok((**part).clone())
    }
}
