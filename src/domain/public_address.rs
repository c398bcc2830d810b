//! Which addresses are anybody's on the Internet: where a URL that a stranger names may lead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), length)
}

const fn v6(a: u16, b: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// Azure's host, as its virtual machines see it.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// What IANA's registry of special-purpose IPv4 addresses (RFC 6890) does not call globally
/// reachable, and what is no single host.
const NOT_PUBLIC_V4: &[Ipv4Net] = &[
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    Ipv4Net::new_assert(AZURE, 32),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

/// All that is given out. Loopback, link-local, unique local, multicast, IPv4-mapped and NAT64
/// addresses lie outside.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);
/// Within it: protocol assignments with Teredo, documentation, and 6to4, which leads to an IPv4
/// address.
const NOT_PUBLIC_V6: &[Ipv6Net] = &[
    v6(0x2001, 0, 23),
    v6(0x2001, 0xdb8, 32),
    v6(0x2002, 0, 16),
    v6(0x3fff, 0, 20),
];

/// Whether an address can only lead out: not to this machine, not into a private network, not to
/// many hosts at once.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    }
}

/// Whether two addresses that are not public lie in the same kind of network: both on this machine,
/// both link-local (where clouds answer their virtual machines), or both in some private network.
#[must_use]
pub fn is_same_inside(one: IpAddr, other: IpAddr) -> bool {
    let kind = |address: IpAddr| match address.to_canonical() {
        address if is_public(address) => None,
        address if address.is_loopback() || address.is_unspecified() => Some(0),
        IpAddr::V4(address) if address.is_link_local() || address == AZURE => Some(1),
        IpAddr::V6(address) if address.is_unicast_link_local() => Some(1),
        _ => Some(2),
    };
    kind(one).is_some() && kind(one) == kind(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_inside_is_not_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "3fff::1",
            "4000::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_leads_out_is_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "192.169.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn the_inside_has_three_parts() {
        let same =
            |one: &str, other: &str| is_same_inside(one.parse().unwrap(), other.parse().unwrap());
        for (one, other) in [
            ("127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::1"),
            ("::ffff:127.0.0.1", "0.0.0.0"),
            ("10.0.0.1", "192.168.0.1"),
            ("fd00::1", "172.16.0.1"),
            ("169.254.1.1", "fe80::1"),
        ] {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("1.1.1.1", "10.0.0.1"),
            ("1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", "127.0.0.1"),
            ("10.0.0.1", "169.254.169.254"),
            ("10.0.0.1", "168.63.129.16"),
            ("127.0.0.1", "169.254.169.254"),
            ("fd00::1", "::1"),
        ] {
            assert!(!same(one, other) && !same(other, one), "{one} {other}");
        }
    }
}
