//! Addresses at which browsers and apps reach the gateway. One computation for the start, the
//! status, setup codes and the command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::net::bind;
use crate::config::{Bind, Config, Paths, Published};
use crate::gate::net;

/// URLs of the gateway, with the base path and without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// URL for browsers on this machine, or on the host of this container.
    pub near: String,
    /// URLs for other devices, the best first. Empty if they cannot connect, or if the address at
    /// which they can is not known.
    pub far: Vec<String>,
    /// The gateway listens on an address that is not loopback.
    pub listens_far: bool,
}

impl Addresses {
    /// Returns the addresses of a gateway that listens on this port with this `bind`, on a machine
    /// of this name.
    pub fn of(
        config: &Config,
        (bind, port): (Bind, u16),
        paths: &Paths,
        machine: &str,
    ) -> Addresses {
        let base = &config.control_ui.base_path;
        let listens_far = bind::listens_far(bind, paths.in_image);
        let loopback = origin(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let (near, far) = match (listens_far, paths.in_container) {
            (false, _) => (loopback, Vec::new()),
            (true, true) => published(paths.published, port),
            (true, false) => {
                (loopback, lan(bind::far_address(bind, paths.in_image), bind, port, machine))
            }
        };
        let far = config.public_origin.iter().cloned().chain(far);
        Addresses {
            near: format!("{near}{base}"),
            far: far.map(|origin| format!("{origin}{base}")).collect(),
            listens_far,
        }
    }

    /// Returns all URLs of the page, each once: at the public origin if there is one, on this
    /// machine, then the others.
    pub fn pages(&self, config: &Config) -> Vec<String> {
        let (public, others) = self.far.split_at(usize::from(config.public_origin.is_some()));
        let mut pages: Vec<String> = Vec::new();
        for url in public.iter().chain([&self.near]).chain(others) {
            let page = format!("{url}/");
            if !pages.contains(&page) {
                pages.push(page);
            }
        }
        pages
    }
}

/// Returns the origin on the host, and that for other machines. A port that is published on one
/// address is not reachable by the host's loopback address. The container's own address is never an
/// origin: only the host can use it.
fn published(published: Published, port: u16) -> (String, Vec<String>) {
    let port = published.port.unwrap_or(port);
    let address = published.address.filter(|address| !address.is_unspecified());
    let far = address.filter(|address| !net::is_loopback(*address));
    let near = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    (origin(near, port), far.map(|address| origin(address, port)).into_iter().collect())
}

/// Returns the origin of the address, and that of the name which mDNS announces if the gateway
/// listens on all interfaces.
fn lan(address: Option<IpAddr>, bind: Bind, port: u16, machine: &str) -> Vec<String> {
    let Some(address) = address else { return Vec::new() };
    let is_label = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let everywhere = match bind {
        Bind::Custom(address) => address.is_unspecified(),
        bind => bind != Bind::Tailnet,
    };
    let name = machine.split('.').next().filter(|name| everywhere && is_label(name));
    let name = name.map(|name| format!("http://{}.local:{port}", name.to_ascii_lowercase()));
    [origin(address, port)].into_iter().chain(name).collect()
}

fn origin(address: IpAddr, port: u16) -> String {
    format!("http://{}", SocketAddr::from((address, port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_lan_address_comes_with_the_name_that_mdns_announces() {
        let far: IpAddr = "192.168.1.20".parse().unwrap();
        let all = Bind::Custom("0.0.0.0".parse().unwrap());
        for (address, bind, machine, expected) in [
            (None, Bind::Loopback, "Pi", &[][..]),
            (Some(far), Bind::Lan, "Pi", &["http://192.168.1.20:1", "http://pi.local:1"]),
            (Some(far), Bind::Lan, "pi.lan", &["http://192.168.1.20:1", "http://pi.local:1"]),
            (Some(far), all, "pi", &["http://192.168.1.20:1", "http://pi.local:1"]),
            (Some(far), Bind::Lan, "", &["http://192.168.1.20:1"]),
            (Some(far), Bind::Lan, "a b", &["http://192.168.1.20:1"]),
            (Some(far), Bind::Tailnet, "pi", &["http://192.168.1.20:1"]),
            (Some(far), Bind::Custom(far), "pi", &["http://192.168.1.20:1"]),
        ] {
            assert_eq!(lan(address, bind, 1, machine), expected, "{bind:?} {machine}");
        }
    }

    #[test]
    fn a_container_offers_the_address_of_its_host_if_it_is_known() {
        for (address, port, expected) in [
            (None, None, ("http://127.0.0.1:9", &[][..])),
            (None, Some(8080), ("http://127.0.0.1:8080", &[])),
            (Some("127.0.0.1"), Some(8080), ("http://127.0.0.1:8080", &[])),
            (Some("127.0.0.2"), Some(8080), ("http://127.0.0.2:8080", &[])),
            (Some("::1"), Some(8080), ("http://[::1]:8080", &[])),
            (Some("0.0.0.0"), Some(8080), ("http://127.0.0.1:8080", &[])),
            (
                Some("192.168.1.20"),
                Some(8080),
                ("http://192.168.1.20:8080", &["http://192.168.1.20:8080"]),
            ),
            (Some("fd00::1"), None, ("http://[fd00::1]:9", &["http://[fd00::1]:9"])),
        ] {
            let address = address.map(|text| text.parse().unwrap());
            let (near, far) = published(Published { address, port }, 9);
            assert_eq!(near, expected.0);
            assert_eq!(far, expected.1);
        }
    }
    #[test]
    fn each_page_is_listed_once_and_the_public_origin_first() {
        for (public, near, far, expected) in [
            (None, "near", &[][..], &["near/"][..]),
            (None, "near", &["far", "name"], &["near/", "far/", "name/"]),
            (None, "far", &["far", "name"], &["far/", "name/"]),
            (Some("far"), "near", &["far", "name"], &["far/", "near/", "name/"]),
            (Some("near"), "near", &["near"], &["near/"]),
            (Some("far"), "name", &["far", "name"], &["far/", "name/"]),
        ] {
            let mut config = config::in_force(std::iter::empty()).unwrap();
            config.public_origin = public.map(String::from);
            let far = far.iter().map(|url| url.to_string()).collect();
            let addresses = Addresses { near: near.to_string(), far, listens_far: true };
            assert_eq!(addresses.pages(&config), expected, "{public:?} {near}");
        }
    }
}
