//! IP addresses: canonical form, ranges, classification, and the client address behind a proxy.
//!
//! An address is never a credential; it can only make the admission rules stricter. Every function
//! first converts IPv4-mapped IPv6 addresses to IPv4, so `::ffff:10.0.0.1` and `10.0.0.1` are the
//! same address everywhere.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Source of the client address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// The socket's peer; no X-Forwarded-For or X-Real-IP header.
    Direct,
    /// Headers of a trusted proxy.
    TrustedProxy,
    /// The socket's peer, which sent proxy headers without being trusted. The client counts as
    /// remote even if the address is a loopback address.
    UntrustedProxy,
}

/// Address of a client and its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientAddress {
    /// IPv4 if the address was IPv4-mapped IPv6.
    pub address: IpAddr,
    pub via: Via,
}

/// Determines the client address behind `peer`.
///
/// `xff` is X-Forwarded-For (several header lines joined by commas) and `real_ip` is X-Real-IP;
/// `None` if the request has no such header. If the peer is trusted, `xff` is read from right to
/// left past trusted hops up to the first untrusted one; an entry that is not an address ends the
/// search at the hop before it. X-Real-IP is used only with `allow_real_ip` and without
/// X-Forwarded-For. Without either header, the client address is that of the peer, trusted or not.
pub fn client_address(
    peer: IpAddr,
    xff: Option<&str>,
    real_ip: Option<&str>,
    trusted: &[Cidr],
    allow_real_ip: bool,
) -> ClientAddress {
    let peer = fold(peer);
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    if xff.is_none() && real_ip.is_none() {
        return ClientAddress { address: peer, via: Via::Direct };
    }
    if !is_trusted(peer) {
        return ClientAddress { address: peer, via: Via::UntrustedProxy };
    }
    let mut address = peer;
    match xff {
        Some(list) => {
            for entry in list.rsplit(',') {
                let Some(hop) = hop(entry) else { break };
                address = hop;
                if !is_trusted(hop) {
                    break;
                }
            }
        }
        None if allow_real_ip => address = real_ip.and_then(hop).unwrap_or(peer),
        None => {}
    }
    ClientAddress { address, via: Via::TrustedProxy }
}

/// Parses one entry of a proxy header: an address, optionally with brackets, a port or a zone.
fn hop(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim_ascii();
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(fold(address));
    }
    if let Ok(socket) = entry.parse::<SocketAddr>() {
        return Some(fold(socket.ip()));
    }
    let bare = entry.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(entry);
    let bare = bare.split_once('%').map_or(bare, |(address, _zone)| address);
    bare.parse::<Ipv6Addr>().ok().map(|address| fold(IpAddr::V6(address)))
}

/// Converts an IPv4-mapped IPv6 address to IPv4; returns any other address unchanged.
pub fn fold(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Returns the key by which clients of one network are counted together: the IPv4 address, or the
/// /64 prefix of an IPv6 address, since one subscriber usually controls all of it.
pub fn network(address: IpAddr) -> [u8; 8] {
    let mut network = [0; 8];
    match fold(address) {
        IpAddr::V4(v4) => network[4..].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => network.copy_from_slice(&v6.octets()[..8]),
    }
    network
}

/// Returns whether the address is loopback: 127.0.0.0/8 or ::1.
pub fn is_loopback(address: IpAddr) -> bool {
    fold(address).is_loopback()
}

/// Returns whether the address belongs to a private network: RFC 1918, link-local, or unique local
/// IPv6. Does not include loopback and [`is_cgnat`].
pub fn is_private(address: IpAddr) -> bool {
    match fold(address) {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Returns whether the address is in 100.64.0.0/10, used by carrier-grade NAT and by Tailscale.
pub fn is_cgnat(address: IpAddr) -> bool {
    match fold(address) {
        IpAddr::V4(v4) => v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        IpAddr::V6(_) => false,
    }
}

/// An address range. An IPv4 range contains no IPv6 addresses and vice versa.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Parses `10.0.0.0/8`, `fd00::/8` or a single address.
    ///
    /// Bits after the prefix are cleared; an IPv4-mapped IPv6 range becomes an IPv4 range.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(digits(prefix)?)),
            None => (text.trim(), None),
        };
        let address = address.parse::<IpAddr>().ok()?;
        let base = fold(address);
        let folded = if address.is_ipv6() && base.is_ipv4() { 96 } else { 0 };
        let prefix = match prefix {
            Some(prefix) => prefix.checked_sub(folded)?,
            None => width(base),
        };
        if prefix > width(base) {
            return None;
        }
        Some(Cidr { base: mask(base, prefix), prefix })
    }

    /// Returns whether the range contains the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = fold(address);
        address.is_ipv4() == self.base.is_ipv4() && mask(address, self.prefix) == self.base
    }

    /// Returns the prefix length in bits; 0 covers every address of the family.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == width(self.base) {
            return write!(f, "{}", self.base);
        }
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

fn digits(text: &str) -> Option<u8> {
    if text.is_empty() || text.len() > 3 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & kept))
        }
        IpAddr::V6(v6) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & kept))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ask(peer: &str, xff: Option<&str>, trusted: &[&str]) -> ClientAddress {
        client_address(ip(peer), xff, None, &ranges(trusted), false)
    }

    fn ranges(texts: &[&str]) -> heapless::Vec<Cidr, 8> {
        texts.iter().map(|text| Cidr::parse(text).unwrap()).collect()
    }

    fn client(address: &str, via: Via) -> ClientAddress {
        ClientAddress { address: ip(address), via }
    }

    #[test]
    fn range_contains_exactly_its_addresses() {
        for (range, first, last, before, after) in [
            ("172.18.0.0/16", "172.18.0.0", "172.18.255.255", "172.17.255.255", "172.19.0.0"),
            ("172.18.0.1/16", "172.18.0.0", "172.18.255.255", "172.17.255.255", "172.19.0.0"),
            ("192.0.2.7", "192.0.2.7", "::ffff:192.0.2.7", "192.0.2.6", "192.0.2.8"),
            ("192.0.2.6/31", "192.0.2.6", "192.0.2.7", "192.0.2.5", "192.0.2.8"),
            ("fd00::/8", "fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fcff::", "fe00::"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::1", "2001:db8::", "2001:db8::2"),
            ("::ffff:10.0.0.0/104", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
        ] {
            let cidr = Cidr::parse(range).unwrap();
            assert!(cidr.contains(ip(first)) && cidr.contains(ip(last)), "{range}");
            assert!(!cidr.contains(ip(before)) && !cidr.contains(ip(after)), "{range}");
        }
    }

    #[test]
    fn zero_prefix_range_stays_in_its_address_family() {
        let v4 = Cidr::parse("0.0.0.0/0").unwrap();
        let v6 = Cidr::parse("::/0").unwrap();
        assert!(
            v4.contains(ip("203.0.113.9"))
                && v4.contains(ip("::ffff:1.2.3.4"))
                && !v4.contains(ip("::1"))
        );
        assert!(v6.contains(ip("2001:db8::1")) && !v6.contains(ip("1.2.3.4")));
        assert!(
            !Cidr::parse("fd00::/64").unwrap().contains(ip("10.0.0.1")),
            "a prefix longer than the address"
        );
    }

    #[test]
    fn invalid_ranges_are_rejected() {
        for bad in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/-1",
            "localhost",
            "10.0.0.0/0008",
            "10.0.0.0/999",
            "::ffff:10.0.0.0/64",
            "[::1]",
            "10.0.0.256",
            "1.2.3.4:80",
        ] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn loopback_private_and_cgnat_addresses_are_classified() {
        for (text, loopback, private, cgnat) in [
            ("127.0.0.1", true, false, false),
            ("127.9.9.9", true, false, false),
            ("::1", true, false, false),
            ("::ffff:127.0.0.1", true, false, false),
            ("10.1.2.3", false, true, false),
            ("172.18.0.1", false, true, false),
            ("172.32.0.1", false, false, false),
            ("::ffff:192.168.1.1", false, true, false),
            ("169.254.1.1", false, true, false),
            ("fd7a:115c:a1e0::1", false, true, false),
            ("fe80::1", false, true, false),
            ("febf::1", false, true, false),
            ("fec0::1", false, false, false),
            ("100.64.0.1", false, false, true),
            ("100.127.255.255", false, false, true),
            ("100.128.0.1", false, false, false),
            ("100.200.0.1", false, false, false),
            ("::ffff:100.100.1.1", false, false, true),
            ("203.0.113.1", false, false, false),
            ("2001:db8::1", false, false, false),
            ("::", false, false, false),
        ] {
            let address = ip(text);
            assert_eq!(
                (is_loopback(address), is_private(address), is_cgnat(address)),
                (loopback, private, cgnat),
                "{text}"
            );
        }
    }

    #[test]
    fn client_address_is_resolved_right_to_left_past_trusted_hops() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        for (xff, expected) in [
            ("203.0.113.5", "203.0.113.5"),
            ("198.51.100.1, 203.0.113.5", "203.0.113.5"),
            ("198.51.100.1, 203.0.113.5, 10.0.0.7", "203.0.113.5"),
            ("203.0.113.5,10.0.0.7 ,fd00::7", "203.0.113.5"),
            ("203.0.113.5:51234, [fd00::7]:443", "203.0.113.5"),
            ("[2001:db8::5]:51234", "2001:db8::5"),
            ("[2001:db8::5]", "2001:db8::5"),
            ("fe80::5%eth0", "fe80::5"),
            ("::ffff:203.0.113.5", "203.0.113.5"),
            ("10.0.0.8, 10.0.0.7", "10.0.0.8"),
            ("203.0.113.5, unknown, 10.0.0.7", "10.0.0.7"),
            ("203.0.113.5, , 10.0.0.7", "10.0.0.7"),
            ("garbage", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(
                ask("10.0.0.1", Some(xff), &trusted),
                client(expected, Via::TrustedProxy),
                "{xff}"
            );
        }
    }

    #[test]
    fn headers_of_an_untrusted_peer_only_set_the_flag() {
        assert_eq!(
            ask("127.0.0.1", Some("10.0.0.5"), &[]),
            client("127.0.0.1", Via::UntrustedProxy)
        );
        assert_eq!(
            ask("::ffff:172.18.0.1", Some("127.0.0.1"), &["10.0.0.0/8"]),
            client("172.18.0.1", Via::UntrustedProxy)
        );
        let real = client_address(ip("172.18.0.1"), None, Some("127.0.0.1"), &[], true);
        assert_eq!(real, client("172.18.0.1", Via::UntrustedProxy));
    }

    #[test]
    fn peer_without_headers_is_the_client() {
        assert_eq!(ask("10.0.0.1", None, &["10.0.0.0/8"]), client("10.0.0.1", Via::Direct));
        assert_eq!(ask("::ffff:10.0.0.1", None, &[]), client("10.0.0.1", Via::Direct));
    }

    #[test]
    fn x_real_ip_must_be_enabled_and_x_forwarded_for_takes_precedence() {
        let trusted = ranges(&["10.0.0.1"]);
        let ask =
            |xff, real, allow| client_address(ip("10.0.0.1"), xff, real, &trusted, allow).address;
        assert_eq!(ask(None, Some("203.0.113.5"), true), ip("203.0.113.5"));
        assert_eq!(ask(None, Some("203.0.113.5"), false), ip("10.0.0.1"));
        assert_eq!(ask(None, Some("nonsense"), true), ip("10.0.0.1"));
        assert_eq!(ask(Some("198.51.100.1"), Some("203.0.113.5"), true), ip("198.51.100.1"));
    }

    #[test]
    fn ranges_print_in_canonical_form() {
        for (given, shown) in [
            ("172.18.0.1/16", "172.18.0.0/16"),
            ("::1", "::1"),
            ("::ffff:10.0.0.9/128", "10.0.0.9"),
        ] {
            let mut out = heapless::String::<64>::new();
            fmt::write(&mut out, format_args!("{}", Cidr::parse(given).unwrap())).unwrap();
            assert_eq!(out, shown);
        }
    }
}
