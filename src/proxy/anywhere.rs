//! Where a forward proxy sends what gets no token: to whatever public address a URL's host has.
//!
//! Addresses of this machine and of private networks are no destination: a program that was led to
//! send a request there could otherwise reach through us what only we can reach. What is judged is
//! what is connected to, so a name that resolves to something else the next time changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::upstreams::peer::HttpPeer;
use url::Host;

use super::own::{OwnAddresses, is_this_machine};
use super::upstream::{self, Timeouts, Tries};
use crate::domain::public_address::is_public;
use crate::domain::reason::Reason;

/// Every public address.
pub struct Anywhere {
    template: HttpPeer,
    timeouts: Timeouts,
    own: Arc<OwnAddresses>,
}

impl Anywhere {
    /// Every public address but `own`.
    #[must_use]
    pub fn new(timeouts: Timeouts, own: Arc<OwnAddresses>) -> Self {
        Self {
            template: upstream::plain_template(&timeouts),
            timeouts,
            own,
        }
    }

    /// The addresses of a host that requests may go to; `protected` are those that other rules hold
    /// for.
    ///
    /// # Errors
    /// [`Reason::Destination`] when it has none that is public, [`Reason::Loop`] when they are
    /// ours, [`Reason::UpstreamUnreachable`] when it has none at all.
    pub async fn resolve(
        &self,
        host: &Host,
        port: u16,
        protected: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, Reason> {
        let found = match host {
            Host::Ipv4(address) => vec![SocketAddr::new((*address).into(), port)],
            Host::Ipv6(address) => vec![SocketAddr::new((*address).into(), port)],
            Host::Domain(name) => {
                let looked = tokio::time::timeout(
                    self.timeouts.connect,
                    tokio::net::lookup_host((name.as_str(), port)),
                );
                match looked.await {
                    Ok(Ok(found)) => found.collect(),
                    _ => return Err(Reason::UpstreamUnreachable),
                }
            }
        };
        self.judge(found, protected)
    }

    fn judge(
        &self,
        found: Vec<SocketAddr>,
        protected: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, Reason> {
        if found.is_empty() {
            return Err(Reason::UpstreamUnreachable);
        }
        if found.iter().all(|address| self.own.contain(*address)) {
            return Err(Reason::Loop);
        }
        // A public address may be one of this machine's own.
        let may_go = |address: &SocketAddr| {
            is_public(address.ip())
                && !is_this_machine(address.ip())
                && !protected.contains(address)
        };
        let allowed: Vec<_> = found.into_iter().filter(may_go).collect();
        if allowed.is_empty() {
            Err(Reason::Destination)
        } else {
            Ok(allowed)
        }
    }

    /// Where to send the next try of a request.
    ///
    /// # Errors
    /// [`Reason::UpstreamUnreachable`] when every address was tried.
    pub fn peer(
        &self,
        addresses: &[SocketAddr],
        tries: &mut Tries,
    ) -> Result<Box<HttpPeer>, Reason> {
        let address = tries
            .next_of(addresses)
            .ok_or(Reason::UpstreamUnreachable)?;
        let mut peer = self.template.clone();
        peer._address = address.into();
        if tries.is_anew() {
            upstream::connect_anew(&mut peer);
        }
        Ok(Box::new(peer))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn anywhere() -> Anywhere {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts {
            connect: second,
            read: second,
            write: second,
            idle: second,
        };
        Anywhere::new(
            timeouts,
            Arc::new(OwnAddresses::new(["8.8.8.8:3128".parse().unwrap()])),
        )
    }

    #[tokio::test]
    async fn only_public_addresses_are_destinations_and_our_own_is_none() {
        let anywhere = anywhere();
        let of = async |host: &str, port| {
            anywhere
                .resolve(&Host::parse(host).unwrap(), port, &[])
                .await
        };
        assert_eq!(
            of("1.1.1.1", 80).await,
            Ok(vec!["1.1.1.1:80".parse().unwrap()])
        );
        for host in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "[::1]",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
        ] {
            assert_eq!(of(host, 80).await, Err(Reason::Destination), "{host}");
        }
        assert_eq!(of("8.8.8.8", 3128).await, Err(Reason::Loop));
        assert!(of("8.8.8.8", 80).await.is_ok());
        assert_eq!(
            of("no-such-host.invalid", 80).await,
            Err(Reason::UpstreamUnreachable)
        );
        let protected = ["1.1.1.1:80".parse().unwrap()];
        let of = anywhere
            .resolve(&Host::parse("1.1.1.1").unwrap(), 80, &protected)
            .await;
        assert_eq!(of, Err(Reason::Destination), "its own rules hold for it");
        // One private address among public ones is left out.
        let mixed = ["10.0.0.1:80", "1.1.1.1:80"]
            .map(|address| address.parse().unwrap())
            .to_vec();
        assert_eq!(
            anywhere.judge(mixed, &[]),
            Ok(vec!["1.1.1.1:80".parse().unwrap()])
        );
    }
}
