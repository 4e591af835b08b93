//! Where a request comes from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Bits of an IPv6 address that tell one subscriber from another: each has at least a /64 to itself
/// (RFC 6177), so its further addresses are no other caller's.
const SUBSCRIBER_BITS: u32 = 64;

/// The client behind `peer`. What `forwarded` says, the entries of `X-Forwarded-For` in their order,
/// counts only where a trusted proxy has written it: read from its end, the client is the first entry
/// that is no trusted proxy itself. Everything before it the client may have made up.
#[must_use]
pub fn client<'a>(peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    let mut entries = forwarded.rev();
    while is_trusted(&client) {
        match entries.next().and_then(entry) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// The address as limits count it.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - SUBSCRIBER_BITS))).into(),
    }
}

/// Reads an address with or without a port.
fn entry(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(peer: &str, forwarded: &str, trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let entries = forwarded.split(',').filter(|entry| !entry.is_empty()).collect::<Vec<_>>();
        client(peer.parse().unwrap(), entries.into_iter(), &trusted).to_string()
    }

    #[test]
    fn a_strangers_header_changes_nothing() {
        assert_eq!(behind("203.0.113.9", "198.51.100.1", &[]), "203.0.113.9");
        assert_eq!(behind("203.0.113.9", "198.51.100.1", &["10.0.0.0/8"]), "203.0.113.9");
    }

    #[test]
    fn behind_proxies_the_last_address_that_is_none_counts() {
        let trusted = ["10.0.0.0/8", "::1/128"];
        assert_eq!(behind("10.0.0.1", "198.51.100.1", &trusted), "198.51.100.1");
        assert_eq!(behind("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", &trusted), "198.51.100.1");
        assert_eq!(behind("::ffff:10.0.0.1", "198.51.100.1:4711", &trusted), "198.51.100.1");
        assert_eq!(behind("::1", "[2001:db8::7]:80", &trusted), "2001:db8::7");
        assert_eq!(behind("::1", "[2001:db8::7]", &trusted), "2001:db8::7");
        // Nothing to go by: the proxy itself.
        assert_eq!(behind("10.0.0.1", "", &trusted), "10.0.0.1");
        assert_eq!(behind("10.0.0.1", "6.6.6.6, unknown", &trusted), "10.0.0.1");
    }

    #[test]
    fn the_addresses_of_one_subscriber_are_one() {
        let subscriber = |text: &str| subscriber(text.parse().unwrap()).to_string();
        assert_eq!(subscriber("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(subscriber("2001:db8:1:2::"), subscriber("2001:db8:1:2:ffff::1"));
        assert_eq!(subscriber("::ffff:192.0.2.1"), "192.0.2.1");
        assert_ne!(subscriber("192.0.2.1"), subscriber("192.0.2.2"));
    }
}
