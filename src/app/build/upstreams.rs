//! Upstreams, whose names are kept resolved.

use std::net::SocketAddr;
use std::sync::Arc;

use super::super::part::{Life, Part};
use super::Build;
use super::listeners::ListenerId;
use super::parts::UpstreamIdentity;
use crate::app::error::{StartError, unusable};
use crate::proxy::listener::check_platform_certificates;
use crate::proxy::own::OwnAddresses;
use crate::proxy::upstream::{self, Upstream};
use crate::telemetry::Role;

impl Build<'_> {
    /// Checks that the platform's certificates are readable if an upstream needs them.
    pub(super) fn platform_certificates(&mut self) {
        let needs = |upstream: &upstream::Config| upstream.tls && upstream.ca_pem.is_none();
        let config = self.config;
        let targets = || config.outbound.iter().flat_map(|it| it.targets());
        if config
            .inbound
            .iter()
            .flat_map(|it| &it.upstreams)
            .any(needs)
            || targets().any(|it| needs(&it.upstream))
        {
            let checked = check_platform_certificates();
            self.note(checked.map_err(unusable(
                "the platform's certificates (SSL_CERT_FILE, SSL_CERT_DIR)",
            )));
        }
    }

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
            let listener = key.listener.name.clone();
            let (run, task) = (upstream.clone(), format!("upstream of {listener}"));
            let (renewed, files) = (upstream.clone(), key.config.identity.clone());
            Ok(Part::new(upstream, move |life: &mut Life| {
                life.tasks.spawn(task, move || run.clone().run());
                if let Some(files) = files {
                    let what = format!("client certificate of {}", listener);
                    let renewed = renewed.clone();
                    let files = [files.certificate, files.key];
                    life.watch_files(what, &files, move || renewed.renew_identity());
                }
            }))
        };
        let part = self
            .parts
            .upstreams
            .take(&self.before.upstreams, key, make)?;
        Ok((**part).clone())
    }
}
