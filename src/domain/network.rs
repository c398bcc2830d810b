//! Networks of addresses, as configurations and requests write them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Parses a network such as `10.0.0.0/8`, or one address.
///
/// # Errors
/// The fault of the text.
pub fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network = text
        .parse::<IpNet>()
        .map_err(|_| "it must be an IP address, `/` and a number of bits")?;
    // `10.1.2.3/8` could mean one machine or sixteen million.
    if network.addr() == network.network() {
        Ok(network)
    } else {
        Err("the address has bits outside the network mask")
    }
}

/// Whether an address is in one of the networks. An IPv4 address that is written as IPv6
/// (`::ffff:10.0.0.1`) is the IPv4 address.
#[must_use]
pub fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_a_range_without_host_bits() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), shown);
        }
        for text in ["", "10.0.0.0/33", "10.1.2.3/8", "host", "10.0.0.0/8 "] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_is_the_ipv4_address() {
        let networks = [parse_network("10.0.0.0/8").unwrap()];
        for (address, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(is_in(&networks, address.parse().unwrap()), expected);
        }
    }
}
