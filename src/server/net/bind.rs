//! Listening sockets: the addresses of `gateway.bind`, and how they are opened.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use crate::config::Bind;
use crate::gate::net;

/// Listening sockets, all on the same port.
pub struct Listeners {
    pub sockets: Vec<TcpListener>,
    pub port: u16,
}

impl Listeners {
    /// Iterates over the addresses of the sockets.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok())
    }

    /// Returns the address at which programs on this machine reach the gateway.
    pub fn own_address(&self) -> SocketAddr {
        let mut bound: Vec<IpAddr> = self.addresses().map(|address| address.ip()).collect();
        // stable: the first listener is preferred among equal ones
        bound.sort_by_key(|address| !net::is_loopback(*address) && !address.is_unspecified());
        let address = bound.first().copied().filter(|address| !address.is_unspecified());
        let address = address.unwrap_or(LOOPBACK[0]);
        SocketAddr::from((address, self.port))
    }
}

/// Opens all listeners for `bind`. They always include one for loopback, which the command line
/// uses.
///
/// Error: a text that says what to do. Optional addresses (`[::1]`) may be missing, unless their
/// port is in use.
pub fn open(bind: Bind, port: u16, in_image: bool) -> Result<Listeners, String> {
    let (first, others) = addresses(bind, in_image)?;
    let has_others = !others.is_empty();
    let socket = listen(first, port, has_others).map_err(|error| explain(first, port, &error))?;
    let port = socket.local_addr().map_err(|error| explain(first, port, &error))?.port();
    let mut sockets = vec![socket];
    for address in others {
        match listen(address, port, has_others) {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                return Err(explain(address, port, &error))
            }
            Err(error) => log::debug!("not listening on {address}: {error}"),
        }
    }
    Ok(Listeners { sockets, port })
}

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
const ALL: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// Returns the address of the first listener and those of the others.
fn addresses(bind: Bind, in_image: bool) -> Result<(IpAddr, Vec<IpAddr>), String> {
    let [loopback4, loopback6] = LOOPBACK;
    match bind {
        Bind::Auto if !in_image => Ok((loopback4, vec![loopback6])),
        Bind::Loopback => Ok((loopback4, vec![loopback6])),
        Bind::Lan | Bind::Auto => Ok((ALL[0], vec![ALL[1]])),
        Bind::Tailnet => {
            let address = tailnet_address().ok_or(
                "cannot listen on the Tailscale address: this machine has none; start Tailscale, or set gateway.bind: \"lan\"",
            )?;
            Ok((address, LOOPBACK.to_vec()))
        }
        Bind::Custom(address) if address == ALL[1] && !cfg!(unix) => Ok((address, vec![ALL[0]])),
        Bind::Custom(address) if address.is_unspecified() => Ok((address, Vec::new())),
        Bind::Custom(address) => {
            Ok((address, LOOPBACK.into_iter().filter(|one| *one != address).collect()))
        }
    }
}

/// Returns whether a gateway with this `bind` listens for other machines.
pub fn listens_far(bind: Bind, in_image: bool) -> bool {
    addresses(bind, in_image).is_ok_and(|(first, _)| !net::is_loopback(first))
}

/// Returns the address of this machine at which others reach a gateway with this `bind`; `None` if
/// only this machine can.
pub fn far_address(bind: Bind, in_image: bool) -> Option<IpAddr> {
    let (first, _) =
        addresses(bind, in_image).ok().filter(|(first, _)| !net::is_loopback(*first))?;
    if first.is_unspecified() {
        lan_address()
    } else {
        Some(first)
    }
}

/// Opens a listener. `[::]` accepts IPv4 as well, unless there are other listeners.
fn listen(address: IpAddr, port: u16, has_others: bool) -> io::Result<TcpListener> {
    #[cfg(unix)]
    if address == ALL[1] {
        return listen_on_ipv6(port, has_others);
    }
    let _ = has_others;
    TcpListener::bind((address, port))
}

/// Opens a listener on `[::]`. Unless `ipv6_only` is set, it accepts IPv4 as well, and a listener
/// on `0.0.0.0` then fails.
#[cfg(unix)]
fn listen_on_ipv6(port: u16, ipv6_only: bool) -> io::Result<TcpListener> {
    use rustix::net::{self, sockopt, AddressFamily, SocketType};

    let socket = net::socket(AddressFamily::INET6, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    sockopt::set_ipv6_v6only(&socket, ipv6_only)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    net::listen(&socket, 1024)?;
    Ok(socket.into())
}

/// Returns the error text for a listener that cannot be opened.
fn explain(address: IpAddr, port: u16, error: &io::Error) -> String {
    let shown = SocketAddr::from((address, port));
    match error.kind() {
        ErrorKind::AddrInUse => {
            let process = super::port_owner::process_on(port);
            let process = process.map_or(String::new(), |process| format!(" by {process}"));
            format!(
                "cannot listen on {shown}: the port is in use{process}; stop that program, or choose another port with --port"
            )
        }
        ErrorKind::AddrNotAvailable => {
            format!("cannot listen on {shown}: this machine does not have that address; see gateway.bind and gateway.customBindHost")
        }
        ErrorKind::PermissionDenied => {
            format!(
                "cannot listen on {shown}: permission denied; choose a port above 1023 with --port"
            )
        }
        _ => format!("cannot listen on {shown}: {error}"),
    }
}

/// Returns the address of this machine in the tailnet, if any, by the routing table. Sends nothing.
fn tailnet_address() -> Option<IpAddr> {
    source_address([100, 100, 100, 100]).filter(|address| net::is_cgnat(*address))
}

/// Returns the address at which machines in the local network reach this one, if any. Sends
/// nothing.
fn lan_address() -> Option<IpAddr> {
    source_address([192, 0, 2, 1])
        .filter(|address| !address.is_unspecified() && !net::is_loopback(*address))
}

/// Returns the local address of the route to `towards`. Takes an address and no name: the resolver
/// alone would add 20 kB to a static binary.
fn source_address(towards: [u8; 4]) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).ok()?;
    socket.connect(SocketAddr::from((towards, 9))).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_address_is_an_address_that_the_gateway_listens_on() {
        let near: IpAddr = "127.0.0.9".parse().unwrap();
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        for (bind, in_image, expected) in [
            (Bind::Loopback, true, None),
            (Bind::Auto, false, None),
            (Bind::Auto, true, lan_address()),
            (Bind::Lan, false, lan_address()),
            (Bind::Tailnet, false, tailnet_address()),
            (Bind::Custom(near), false, None),
            (Bind::Custom(far), false, Some(far)),
            (Bind::Custom(ALL[0]), false, lan_address()),
        ] {
            assert_eq!(far_address(bind, in_image), expected, "{bind:?}");
        }
    }
}
