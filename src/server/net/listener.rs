//! Tasks that accept connections.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;

use async_net::TcpStream;
use smol::future::yield_now;

use super::connection;
use crate::gate::limits;
use crate::gate::net;
use crate::server::runtime::{sleep, spawn_for};
use crate::server::shared::Shared;
use crate::server::turns::TurnHolder;

/// Starts a task for each listener that accepts connections. Each connection is served in its own
/// task.
pub fn accept_all(shared: &Rc<Shared>, sockets: Vec<TcpListener>) -> io::Result<()> {
    for socket in sockets {
        let listener = async_net::TcpListener::try_from(socket)?;
        spawn_for(TurnHolder::Unauthenticated, accept(shared.clone(), listener)).detach();
    }
    Ok(())
}

async fn accept(shared: Rc<Shared>, listener: async_net::TcpListener) {
    let (mut last_warning, mut failures) = (None, 0);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => start(&shared, stream, net::fold(peer.ip())),
            // closed before it was accepted, as Windows and some Unixes report it
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
                ) => {}
            Err(error) => {
                // Out of descriptors: the handshake timeout frees some. Retrying at once would only
                // use processor time.
                let now = shared.now().at;
                failures += 1;
                if last_warning.is_none_or(|at| now.since(at) >= limits::ACCEPT_WARNING_MS) {
                    log::warn!("cannot accept a connection: {error} ({failures} failed attempts)");
                    (last_warning, failures) = (Some(now), 0);
                }
                sleep(100).await;
            }
        }
        yield_now().await;
    }
}

/// Starts the task of an accepted connection.
fn start(shared: &Rc<Shared>, stream: TcpStream, address: IpAddr) {
    let _ = stream.set_nodelay(true);
    let conn = shared.next_conn();
    shared.pre_auth.add(conn, address);
    let reached = stream.local_addr().ok().map(|reached| reached.ip());
    let serving = connection::serve(shared.clone(), conn, stream, address, reached);
    let task = spawn_for(TurnHolder::Unauthenticated, serving);
    shared.pre_auth.set_task(conn, task);
}
