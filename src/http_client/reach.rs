//! Restricts the destinations of URLs that clients and authorities name.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::error::Unresolved;
use crate::domain::public_address::{is_public, is_same_inside};

/// The permitted destinations of a client for URLs from others, and its resolver.
#[derive(Debug)]
pub(super) struct Reach {
    /// Hosts that may have any address.
    pub hosts: Vec<String>,
    /// A host whose kind of private address is permitted.
    pub home: Option<String>,
    pub https_only: bool,
}

impl Reach {
    /// Whether the host of a URL may be contacted. Names are checked when they are resolved.
    pub async fn allows(&self, url: &Url) -> bool {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return true,
            None => return false,
        };
        if self.names(url.host_str().unwrap_or_default()) {
            return true;
        }
        self.reachable(vec![SocketAddr::new(address, 0)])
            .await
            .len()
            == 1
    }

    /// How a proxy is asked for the host of a URL: by its name (`None`) or by an address that was
    /// checked here. The proxy would resolve a name by itself, so only a name of `hosts` is left to
    /// it.
    ///
    /// # Errors
    /// The host is not in `hosts`, and has no permitted address here or is asked without TLS.
    pub async fn through_proxy(&self, url: &Url) -> Result<Option<IpAddr>, String> {
        let Some(Host::Domain(name)) = url.host() else {
            // `allows` has checked an address.
            return Ok(None);
        };
        if self.names(name) {
            return Ok(None);
        }
        if url.scheme() != "https" {
            let why = "through a proxy, the host of another party's URL needs https";
            return Err(why.to_owned());
        }
        let found = tokio::net::lookup_host((name, 0)).await;
        let found = found.map_err(|error| {
            format!(
                "its name cannot be resolved here: {error}. A proxy is not asked for a name that \
                 another party chose"
            )
        })?;
        let permitted = self.reachable(found.collect()).await;
        let first = permitted.first().map(SocketAddr::ip);
        first
            .map(Some)
            .ok_or_else(|| Unresolved::NoPublicAddress.to_string())
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| bare(known) == bare(host))
    }

    /// The permitted ones of these addresses.
    async fn reachable(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let home = match &self.home {
            Some(home) if addresses.iter().any(|found| !is_public(found.ip())) => {
                tokio::net::lookup_host((bare(home), 0))
                    .await
                    .map(Iterator::collect)
                    .unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let is_beside =
            |address: IpAddr| home.iter().any(|home| is_same_inside(home.ip(), address));
        addresses.retain(|found| is_public(found.ip()) || is_beside(found.ip()));
        addresses
    }
}

/// A host in lower case without brackets.
fn bare(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let anywhere = self.names(name.as_str());
        let reach = Self {
            hosts: Vec::new(),
            home: self.home.clone(),
            https_only: self.https_only,
        };
        Box::pin(async move {
            let found = lookup(&name).await?;
            let found = if anywhere {
                found
            } else {
                reach.reachable(found).await
            };
            if found.is_empty() {
                return Err(Unresolved::NoPublicAddress.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The system's resolver.
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move { Ok(Box::new(lookup(&name).await?.into_iter()) as Addrs) })
    }
}

async fn lookup(name: &Name) -> Result<Vec<SocketAddr>, Unresolved> {
    Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect())
}
