//! Public addresses: where a URL from an untrusted source may lead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), length)
}

const fn v6(a: u16, b: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// The Azure host, as its virtual machines see it.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// The IPv4 addresses that IANA's special-purpose registry (RFC 6890) does not call globally
/// reachable, and those of more than one host.
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

/// All assigned addresses. Loopback, link-local, unique local, multicast, IPv4-mapped and NAT64
/// addresses are outside.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);
/// Exceptions: protocol assignments with Teredo, documentation, and 6to4, which leads to IPv4.
const NOT_PUBLIC_V6: &[Ipv6Net] = &[
    v6(0x2001, 0, 23),
    v6(0x2001, 0xdb8, 32),
    v6(0x2002, 0, 16),
    v6(0x3fff, 0, 20),
];

/// Whether an address is certainly outside: not this machine, not a private network, not many hosts
/// at once.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    }
}

/// Addresses in private networks at which clouds answer their virtual machines.
const CLOUDS_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const CLOUDS_V6: &[Ipv6Net] = &[v6(0xfd00, 0xec2, 32), v6(0xfd20, 0xce, 32)];
const PRIVATE_V4: &[Ipv4Net] = &[
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(172, 16, 0, 12),
    v4(192, 168, 0, 16),
];
const PRIVATE_V6: Ipv6Net = v6(0xfc00, 0, 7);

/// Whether an address belongs to another machine of a private network (RFC 1918, RFC 4193, RFC
/// 6598). Addresses at which clouds answer their virtual machines do not count.
#[must_use]
pub fn is_in_private_network(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address != CLOUDS_V4 && PRIVATE_V4.iter().any(|net| net.contains(&address))
        }
        IpAddr::V6(address) => {
            PRIVATE_V6.contains(&address) && !CLOUDS_V6.iter().any(|net| net.contains(&address))
        }
    }
}

/// Whether two private addresses are in the same kind of network: this machine, link-local (where
/// clouds answer their virtual machines), or a private network.
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
mod tests;
