//! The proxies of a configuration, for people.

use super::Config;
use crate::proxy::upstream;

impl Config {
    /// The parts whose requests go through a proxy, each with the proxy without credentials.
    #[must_use]
    pub fn ways_out(&self) -> Vec<(String, String)> {
        let mut ways = Vec::new();
        for authority in &self.authorities {
            let proxy = authority.proxy().map(ToString::to_string);
            ways.extend(proxy.map(|proxy| (format!("authority {}", authority.name), proxy)));
        }
        for credential in &self.credentials {
            let proxy = credential.proxy().map(ToString::to_string);
            ways.extend(proxy.map(|proxy| (format!("credential {}", credential.name), proxy)));
        }
        for listener in &self.inbound {
            let proxy = first_proxy(listener.upstreams.iter());
            ways.extend(proxy.map(|proxy| (format!("inbound {}", listener.name), proxy)));
        }
        for listener in &self.outbound {
            let targets = listener.targets().into_iter();
            let proxy = first_proxy(targets.map(|target| &target.upstream));
            ways.extend(proxy.map(|proxy| (format!("outbound {}", listener.name), proxy)));
        }
        ways
    }
}

/// The proxy of a listener: its upstreams have the same one, or none.
fn first_proxy<'c>(mut upstreams: impl Iterator<Item = &'c upstream::Config>) -> Option<String> {
    upstreams.find_map(|upstream| upstream.proxy.as_ref().map(ToString::to_string))
}
