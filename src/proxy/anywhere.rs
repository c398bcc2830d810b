//! Destinations of a forward proxy for requests without a token: any public address of the URL's
//! host. The operator can permit tunnels to others.
//!
//! Addresses of this machine and of private networks are refused: a program that is tricked into
//! sending a request there could otherwise reach, through the sidecar, services that only the
//! sidecar can reach. The checked address is the one that is connected to, so a later change of the
//! name's resolution has no effect.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pingora::upstreams::peer::HttpPeer;
use url::Host;

use super::own::{OwnAddresses, is_this_machine};
use super::upstream::connection::UpstreamConnection;
use super::upstream::pool::{Pool, PoolKey};
use super::upstream::{self, Timeouts, Tries, Unconnected};
use crate::domain::public_address::{is_in_private_network, is_public};
use crate::domain::reason::Reason;
use crate::domain::tunnel_host::Reach;

pub struct Anywhere {
    template: HttpPeer,
    timeouts: Timeouts,
    own: Arc<OwnAddresses>,
}

impl Anywhere {
    /// Permits every public address except `own`.
    #[must_use]
    pub fn new(timeouts: Timeouts, own: Arc<OwnAddresses>) -> Self {
        Self {
            template: upstream::plain_template(&timeouts),
            timeouts,
            own,
        }
    }

    /// The addresses of a host to which requests may go. `protected` are addresses that other rules
    /// cover.
    ///
    /// # Errors
    /// [`Reason::Destination`] when none is public, [`Reason::Loop`] when they are the sidecar's
    /// own, [`Reason::UpstreamUnreachable`] when the name has no address.
    pub async fn resolve(
        &self,
        host: &Host,
        port: u16,
        reach: Reach,
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
        self.permitted(found, reach, protected)
    }

    /// The original destination of a redirected connection, if requests may go there: to this
    /// machine and its link they may not.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn original(
        &self,
        to: SocketAddr,
        protected: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, Reason> {
        self.permitted(vec![to], Reach::PrivateNetworks, protected)
    }

    fn permitted(
        &self,
        found: Vec<SocketAddr>,
        reach: Reach,
        protected: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, Reason> {
        if found.is_empty() {
            return Err(Reason::UpstreamUnreachable);
        }
        if found.iter().all(|address| self.own.contain(*address)) {
            return Err(Reason::Loop);
        }
        let is_reached = |ip: IpAddr| match reach {
            Reach::Listed => true,
            // A public or private address may belong to this machine.
            Reach::PrivateNetworks => {
                (is_public(ip) || is_in_private_network(ip)) && !is_this_machine(ip)
            }
            Reach::Public => is_public(ip) && !is_this_machine(ip),
        };
        let may_go = |address: &SocketAddr| {
            is_reached(address.ip()) && !self.own.contain(*address) && !protected.contains(address)
        };
        let allowed: Vec<_> = found.into_iter().filter(may_go).collect();
        if allowed.is_empty() {
            Err(Reason::Destination)
        } else {
            Ok(allowed)
        }
    }

    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// A connection for the next attempt of a request: a kept one, unless `tries` requires a new
    /// one, or a new one at the first address that answers.
    ///
    /// # Errors
    /// [`Unconnected::Refused`] with [`Reason::UpstreamUnreachable`] when every address has been
    /// tried, [`Unconnected::Failed`] when none answers.
    pub async fn connect(
        &self,
        pool: &Pool,
        addresses: &[SocketAddr],
        tries: &mut Tries,
    ) -> Result<UpstreamConnection, Unconnected> {
        while tries.may_try() {
            let address = tries
                .next_of(addresses)
                .ok_or(Unconnected::Refused(Reason::UpstreamUnreachable))?;
            tries.begin(address);
            let settings = upstream::PLAIN;
            let key = PoolKey { address, settings };
            let kept = (!tries.needs_new_connection()).then(|| pool.take(&key));
            if let Some(kept) = kept.flatten() {
                return Ok(kept);
            }
            match Box::pin(upstream::open_plain(&self.template, address)).await {
                Ok(stream) => {
                    return Ok(UpstreamConnection::http1(stream, key, self.timeouts.idle));
                }
                Err(error) if !tries.failed(addresses) || !tries.may_try() => {
                    return Err(Unconnected::Failed(error));
                }
                Err(_) => {}
            }
        }
        Err(Unconnected::Refused(Reason::UpstreamUnreachable))
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
                .resolve(&Host::parse(host).unwrap(), port, Reach::Public, &[])
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
            .resolve(
                &Host::parse("1.1.1.1").unwrap(),
                80,
                Reach::Public,
                &protected,
            )
            .await;
        assert_eq!(of, Err(Reason::Destination), "its own rules hold for it");
        // One private address among public ones is left out.
        let mixed = ["10.0.0.1:80", "1.1.1.1:80"]
            .map(|address| address.parse().unwrap())
            .to_vec();
        assert_eq!(
            anywhere.permitted(mixed, Reach::Public, &[]),
            Ok(vec!["1.1.1.1:80".parse().unwrap()])
        );
    }

    #[test]
    fn a_listed_name_reaches_private_networks_and_only_a_listed_address_this_machine() {
        let anywhere = anywhere();
        let reaches = |reach, address: &str| {
            let found = vec![address.parse().unwrap()];
            anywhere.permitted(found, reach, &[]).is_ok()
        };
        for (address, private, listed) in [
            ("1.1.1.1:443", true, true),
            ("10.255.255.254:443", true, true),
            ("127.0.0.1:443", false, true),
            ("[::1]:443", false, true),
            ("0.0.0.0:443", false, true),
            ("169.254.169.254:80", false, true),
            ("[::ffff:127.0.0.1]:443", false, true),
            // The listener's own address.
            ("8.8.8.8:3128", false, false),
        ] {
            assert_eq!(
                reaches(Reach::PrivateNetworks, address),
                private,
                "{address}"
            );
            assert_eq!(reaches(Reach::Listed, address), listed, "{address}");
        }
    }
}
