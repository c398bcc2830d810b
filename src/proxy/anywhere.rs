//! Destinations of a forward proxy for requests without a token: any public address of the URL's
//! host.
//!
//! Addresses of this machine and of private networks are refused: a program that is tricked into
//! sending a request there could otherwise reach, through the sidecar, services that only the
//! sidecar can reach. The checked address is the one that is connected to, so a later change of the
//! name's resolution has no effect.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::upstreams::peer::HttpPeer;
use url::Host;

use super::own::{OwnAddresses, is_this_machine};
use super::upstream::connection::UpstreamConnection;
use super::upstream::pool::{Pool, PoolKey};
use super::upstream::{self, Timeouts, Tries, Unconnected};
use crate::domain::public_address::is_public;
use crate::domain::reason::Reason;

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
        self.permitted(found, protected)
    }

    fn permitted(
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
        // A public address may belong to this machine.
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
            anywhere.permitted(mixed, &[]),
            Ok(vec!["1.1.1.1:80".parse().unwrap()])
        );
    }
}
