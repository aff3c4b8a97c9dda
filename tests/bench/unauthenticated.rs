//! Sockets that connect and send nothing: their cost, and their effect on an admitted client.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use gatelet::gate::limits;
use rustix::net::{bind, connect, socket, AddressFamily, SocketType};

use crate::client::{Client, Device, Failed};
use crate::gateway::{room, Gateway, SETTLE};
use crate::relay::trips;
use crate::table::{bytes, count, ns, Goal, Section, Table};

const SOCKETS: usize = 10_000;
/// Number of source addresses.
const ADDRESSES: usize = 50;
const AT_ONCE: usize = 200;
const TRIPS: usize = 2_000;

/// Adds the rows of silent sockets.
pub fn rows(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let mut admitted = Client::connect(&gateway.place, &Device::new(1))?;
    std::thread::sleep(SETTLE);
    let quiet = trips(TRIPS, || admitted.call("health", b"{}").map(drop))?;
    let (before, descriptors) = (gateway.rss(), gateway.descriptors());
    let many = SOCKETS.min(room());
    let mut sockets = Vec::new();
    while sockets.len() < many {
        sockets.push(silent(gateway, sockets.len())?);
        if sockets.len() % AT_ONCE == 0 {
            // The backlog of the listener is limited, and a connection beyond it is retried only
            // after a second.
            admitted.call("health", b"{}")?;
        }
    }
    std::thread::sleep(SETTLE);
    let held = gateway.descriptors() - descriptors;
    let loud = trips(TRIPS, || admitted.call("health", b"{}").map(drop))?;
    let first = sockets.first_mut().ok_or("there are sockets")?;
    first.set_read_timeout(Some(SETTLE))?;
    if !first.read(&mut [0]).is_ok_and(|count| count == 0) {
        return Err("the oldest silent socket was not closed".into());
    }
    let whose = format!("{many} silent sockets from {ADDRESSES} addresses");
    let most = Goal::count(limits::UNAUTHENTICATED as f64);
    table.row(Section::Counts, &format!("descriptors of {whose}"), most, held as f64, count, "");
    let [now, peak] = [gateway.rss() - before, gateway.peak() - before];
    let note = format!("peak {}", bytes(peak));
    table.row(
        Section::Counts,
        "memory of all of them",
        Goal::count(4.0 * 1024.0 * 1024.0),
        now,
        bytes,
        &note,
    );
    let what = "p99 of an admitted client meanwhile, to before";
    table.pair(
        Section::Ratios,
        what,
        Goal::time_ratio(2.0),
        (loud[1], Some(quiet[1])),
        ns,
        "health",
    );
    Ok(())
}

/// Connects from one of the loopback addresses reserved for silent sockets.
fn silent(gateway: &Gateway, number: usize) -> Result<TcpStream, Failed> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let from = Ipv4Addr::new(127, 0, 1 + (number % ADDRESSES) as u8, 1);
    bind(&socket, &SocketAddr::from((from, 0)))?;
    connect(&socket, &gateway.place.address)?;
    Ok(TcpStream::from(socket))
}
