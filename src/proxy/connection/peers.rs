//! The peers that may connect to a listener.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::LocalPeer;

/// The peers that may connect to a listener. Its address restricts them too; this check also holds
/// where the system redirects connections from other machines to loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Whether other machines may connect.
    pub remote: bool,
    /// The users whose processes may connect to a socket in the file system; `None`: those that its
    /// mode permits.
    pub users: Option<Arc<[u32]>>,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            remote: true,
            users: None,
        }
    }
}

impl Peers {
    /// Whether a connection between these addresses may carry requests. `process` is the other end
    /// of a socket in the file system.
    #[must_use]
    pub fn permit(
        &self,
        (peer, local): (SocketAddr, SocketAddr),
        process: Option<LocalPeer>,
    ) -> bool {
        match (process, &self.users) {
            (Some(process), Some(users)) => users.contains(&process.user),
            (Some(_), None) => true,
            (None, _) => self.remote || is_local(peer.ip(), local.ip()),
        }
    }
}

/// Whether the peer is a program on this machine. A connection of the machine with itself has the
/// same address at both ends; the system drops such packets from outside.
fn is_local(peer: IpAddr, local: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || peer == local.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_permission() {
        let permits = |remote, peer: &str, local: &str| {
            let peers = Peers {
                remote,
                ..Peers::default()
            };
            peers.permit((peer.parse().unwrap(), local.parse().unwrap()), None)
        };
        for (peer, local, expected) in [
            ("127.0.0.1:1", "127.0.0.1:80", true),
            ("127.9.0.1:1", "127.0.0.1:80", true),
            ("[::1]:1", "[::1]:80", true),
            ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:80", true),
            ("192.0.2.1:1", "192.0.2.1:80", true),
            ("[::ffff:192.0.2.1]:1", "192.0.2.1:80", true),
            ("192.0.2.2:1", "192.0.2.1:80", false),
            ("[::ffff:192.0.2.2]:1", "[::ffff:192.0.2.1]:80", false),
            ("[2001:db8::2]:1", "[2001:db8::1]:80", false),
            ("[fe80::1%1]:1", "[::1]:80", false),
            ("10.0.0.1:1", "127.0.0.1:80", false),
        ] {
            assert_eq!(permits(false, peer, local), expected, "{peer} {local}");
            assert!(permits(true, peer, local));
        }
    }

    #[test]
    fn only_listed_users_may_connect_to_a_socket() {
        let here = "127.0.0.1:0".parse().unwrap();
        let permits = |users: Option<&[u32]>, user| {
            let peers = Peers {
                remote: false,
                users: users.map(Into::into),
            };
            let process = LocalPeer {
                user,
                process: None,
            };
            peers.permit((here, here), Some(process))
        };
        assert!(permits(None, 1000));
        assert!(permits(Some(&[1000, 33]), 33));
        assert!(!permits(Some(&[1000, 33]), 34));
        assert!(!permits(Some(&[1000]), 0), "not even the superuser");
    }
}
