//! The sidecar's own listening addresses, to which requests must not be sent: they would loop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use arc_swap::ArcSwap;

/// The addresses of the bound sockets, which differ from the configured ones for port 0.
pub type BoundAddresses = Arc<ArcSwap<Vec<SocketAddr>>>;

/// Addresses of the sidecar's listeners.
#[derive(Clone, Debug, Default)]
pub struct OwnAddresses {
    configured: Vec<SocketAddr>,
    bound: BoundAddresses,
}

impl OwnAddresses {
    #[must_use]
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            configured: addresses.into_iter().collect(),
            bound: BoundAddresses::default(),
        }
    }

    /// Adds the addresses of the bound sockets.
    #[must_use]
    pub fn and_bound(self, bound: BoundAddresses) -> Self {
        Self { bound, ..self }
    }

    /// Whether a connection to this address reaches one of them.
    #[must_use]
    pub fn contain(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        // Connecting to the unspecified address reaches this machine.
        let ip = match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let bound = self.bound.load();
        self.configured.iter().chain(bound.iter()).any(|own| {
            let mine = own.ip().to_canonical();
            own.port() == address.port()
                && (mine == ip || mine.is_unspecified() && is_this_machine(ip))
        })
    }
}

/// Whether an address belongs to this machine. The system uses such an address as the source for
/// itself; no packet is sent.
pub(super) fn is_this_machine(ip: IpAddr) -> bool {
    if ip.is_loopback() || ip.is_unspecified() {
        return true;
    }
    let any: IpAddr = if ip.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_at_each_of_its_addresses() {
        let own = OwnAddresses::new(
            ["127.0.0.1:9000", "0.0.0.0:9001"].map(|address| address.parse().unwrap()),
        );
        let contains = |address: &str| own.contain(address.parse().unwrap());
        assert!(
            contains("127.0.0.1:9000")
                && contains("[::ffff:127.0.0.1]:9000")
                && contains("0.0.0.0:9000")
        );
        assert!(
            !contains("127.0.0.2:9000")
                && !contains("127.0.0.1:9002")
                && !contains("192.0.2.1:9000")
        );
        assert!(
            contains("127.0.0.1:9001") && contains("127.0.0.2:9001") && contains("0.0.0.0:9001")
        );
        assert!(!contains("192.0.2.1:9001") && !contains("8.8.8.8:9001"));
    }
}
