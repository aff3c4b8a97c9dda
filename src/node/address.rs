//! Address of a gateway as the user gives it: an IP address or a name.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use super::NodeError;
use crate::client::clean;
use crate::gate::limits;

/// Host and port of a gateway. A name is resolved for each connection, because its addresses may
/// change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GatewayAddress {
    Ip(SocketAddr),
    Name(String, u16),
}

impl GatewayAddress {
    /// Parses `HOST`, `HOST:PORT`, or one of these in a URL. The host is an IP address or a name.
    pub fn parse(host: &str, port: u16) -> Result<GatewayAddress, NodeError> {
        if host.starts_with("wss://") || host.starts_with("https://") {
            return Err(NodeError::InvalidArgument(
                "a node does not support TLS; give the gateway's own address, on a trusted \
                 network or through a tunnel"
                    .to_string(),
            ));
        }
        let bare =
            host.strip_prefix("ws://").or_else(|| host.strip_prefix("http://")).unwrap_or(host);
        let bare = bare.split('/').next().unwrap_or_default();
        let ip = bare
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .map(|ip| SocketAddr::new(ip, port));
        if let Ok(address) = bare.parse().or(ip) {
            return Ok(GatewayAddress::Ip(address));
        }
        let (name, port) = match bare.split_once(':') {
            Some((name, text)) => (name, text.parse().ok()),
            None => (bare, Some(port)),
        };
        match port.filter(|_| is_name(name)) {
            // a gateway on loopback listens on this address whatever the system's resolver says
            Some(port) if name == "localhost" => {
                Ok(GatewayAddress::Ip(SocketAddr::from(([127, 0, 0, 1], port))))
            }
            Some(port) => Ok(GatewayAddress::Name(name.to_string(), port)),
            None => Err(NodeError::InvalidArgument(format!(
                "`{}` is neither an IP address nor a host name, with or without a port",
                clean(bare)
            ))),
        }
    }

    /// Returns the addresses to try, in this order; at least one.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let (name, port) = match self {
            GatewayAddress::Ip(address) => return Ok(vec![*address]),
            GatewayAddress::Name(name, port) => (name, *port),
        };
        let found = (name.as_str(), port).to_socket_addrs();
        let failed = |what: String| io::Error::other(format!("cannot resolve the name: {what}"));
        let found: Vec<SocketAddr> = found
            .map_err(|error| failed(error.to_string()))?
            .take(limits::NODE_ADDRESSES)
            .collect();
        match found.is_empty() {
            true => Err(failed("it has no address".to_string())),
            false => Ok(found),
        }
    }
}

/// Returns whether the text is a host name. A name whose last label is a number is none: resolvers
/// read it as an incomplete IPv4 address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let whole = text.strip_suffix('.').unwrap_or(text);
    let last = whole.rsplit('.').next().unwrap_or_default();
    whole.len() <= 253
        && whole.split('.').all(is_label)
        && !last.starts_with(|first: char| first.is_ascii_digit())
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayAddress::Ip(address) => write!(f, "{address}"),
            GatewayAddress::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_accepts_ip_name_port_and_url() {
        for (host, expected) in [
            ("192.168.1.5", "192.168.1.5:7"),
            ("192.168.1.5:80", "192.168.1.5:80"),
            ("ws://10.0.0.1:80/", "10.0.0.1:80"),
            ("http://10.0.0.1:80/#token=x", "10.0.0.1:80"),
            ("localhost", "127.0.0.1:7"),
            ("ws://localhost:99", "127.0.0.1:99"),
            ("::1", "[::1]:7"),
            ("[::1]", "[::1]:7"),
            ("[::1]:80", "[::1]:80"),
            ("raspberrypi.local", "raspberrypi.local:7"),
            ("raspberrypi.local.", "raspberrypi.local.:7"),
            ("http://raspberrypi.local:80/", "raspberrypi.local:80"),
            ("ws://my-pi_2", "my-pi_2:7"),
            ("localhoster:1", "localhoster:1"),
            ("ws://wss:1", "wss:1"),
            ("http://https", "https:7"),
        ] {
            let parsed = GatewayAddress::parse(host, 7).unwrap();
            assert_eq!(parsed.to_string(), expected, "{host}");
            assert_eq!(GatewayAddress::parse(expected, 9).unwrap(), parsed, "as it is stored");
        }
        for (host, words) in [
            ("wss://10.0.0.1", "TLS"),
            ("https://raspberrypi.local", "TLS"),
            ("", "neither an IP address nor a host name"),
            ("192.168.1", "`192.168.1` is neither"),
            ("192.168.1.500", "is neither"),
            ("0x7f.1", "is neither"),
            ("a..b", "is neither"),
            ("pi.local:", "is neither"),
            ("pi.local:99999", "is neither"),
            ("user@pi.local", "is neither"),
            ("pi local", "is neither"),
            ("pi\n.local", "is neither"),
        ] {
            let Err(refused) = GatewayAddress::parse(host, 7) else { panic!("{host}") };
            assert!(
                matches!(&refused, NodeError::InvalidArgument(text) if text.contains(words)),
                "{host}: {refused:?}"
            );
        }
        assert!(GatewayAddress::parse(&"a".repeat(64), 7).is_err());
        assert!(GatewayAddress::parse(&"a.".repeat(128), 7).is_err());
    }
}
