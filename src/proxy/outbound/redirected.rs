//! Connections that the system redirected to a forward proxy (iptables or nftables `redirect`), for
//! programs that cannot be configured at all.
//!
//! The original destination comes from the system. A request gets a token only if its `Host` is
//! that of a target, and the target's host has this destination as an address. Otherwise a page
//! that a browser on this machine shows could name a target, and DNS of an attacker could lead to
//! its address.

use std::net::SocketAddr;

use url::Host;

use super::forward::{Forward, Urls};
use super::{Refused, Route};
use crate::domain::reason::Reason;
use crate::domain::tunnel_host;
use crate::proxy::fault::Fault;

const NO_TARGET: &str = "No target of the forward proxy has this host and port. Add one, set \
    `other: passThrough`, or do not redirect this destination.";
const WRONG_ADDRESS: &str = "The program connected to an address that the target's host does not \
    have, so the request gets no token.";

impl Forward {
    /// The target of a request, if the client of its connection called the target's address.
    pub(super) async fn redirected_to_target(
        &self,
        index: usize,
        path: Option<String>,
        to: SocketAddr,
    ) -> Result<Route, Refused> {
        let urls = self.targets.get(index).ok_or(Reason::Internal)?;
        let is_its_address = match &urls.host {
            Host::Domain(name) => self.names.has(name, to).await,
            host => tunnel_host::address(host).is_some_and(|ip| ip.to_canonical() == to.ip()),
        };
        if is_its_address {
            return Ok(Route::To(index, path));
        }
        let detail = format!(
            "the connection was redirected from {to}, which is not {}",
            urls.host
        );
        Err(Refused {
            fault: Fault::because(Reason::Destination, detail),
            text: Some(WRONG_ADDRESS),
        })
    }

    /// The destination of a request without a target: the original one.
    pub(super) fn redirected_elsewhere(&self, to: SocketAddr) -> Result<Route, Refused> {
        let Some(anywhere) = self.anywhere.as_ref().filter(|_| self.passes) else {
            return Err(Refused::because(Reason::Destination, NO_TARGET));
        };
        let protected: Vec<_> = self.targets.iter().filter_map(Urls::address).collect();
        Ok(Route::Elsewhere(anywhere.original(to, &protected)?))
    }
}
