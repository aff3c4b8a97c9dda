//! Shares of connections: one device cannot take those of others, whatever it opens, and a place is
//! left for a new device, the command line and the probes.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gatelet::gate::limits;
use serde_json::json;
use support::client::{Device, Session, Who};
use support::gateway::{Gateway, Plan, TOKEN};
use support::runner::until;
use support::SetOnDrop;

use crate::nodes::invoke::{approve, invoke, node};

const SHARE: usize = limits::OPERATOR_CONNECTIONS;

/// Returns a read-only client with this paired device.
fn reader(gateway: &Gateway, protocol: u32, device: &Device) -> Who {
    let who = Who::of(protocol).device(device).scopes(&["read"]).name("Kitchen tablet");
    gateway.connect(&who.clone().token(TOKEN)).unwrap().leave();
    who
}

fn connections(gateway: &Gateway, role: &str) -> u64 {
    gateway.admin().status()[role].as_u64().unwrap()
}

fn is_replaced(session: &mut Session) {
    let (code, reason) = session.closed();
    assert_eq!(
        (code, reason.as_str()),
        (1013, "this device has its whole share of connections; a newer one replaced this")
    );
}

fn answers(session: &mut Session) {
    session.call("health", json!({})).expect("an open connection");
}

#[test]
fn a_device_that_opens_more_connections_loses_its_most_idle_ones() {
    for protocol in [3, 4] {
        let gateway = Gateway::new();
        let other = Who::of(protocol).token(TOKEN).device(&Device::new());
        let mut other = gateway.connect(&other).unwrap();
        let device = Device::new();
        let who = reader(&gateway, protocol, &device);
        until(|| connections(&gateway, "operators") == 2, || "a reader is left".into());
        let connect = |_| gateway.connect(&who).unwrap();
        let mut sessions: Vec<Session> = (0..SHARE).map(connect).collect();
        // the most idle ones are then the second to the ninth
        answers(&mut sessions[0]);
        sessions.extend((0..8).map(connect));
        sessions[1..9].iter_mut().for_each(is_replaced);
        sessions.drain(1..9);
        assert_eq!(sessions.len(), SHARE);
        sessions.iter_mut().for_each(answers);
        answers(&mut other);
        assert_eq!(connections(&gateway, "operators"), SHARE as u64 + 2);
        let id = device.id.as_str();
        let line = gateway.logged(&["warn", "Kitchen tablet", "32 as operator", "devices revoke"]);
        assert!(line.contains(id), "{line}");
        assert_eq!(gateway.log().matches("all connections that one device may have").count(), 1);
    }
}

#[test]
fn a_connection_with_an_unanswered_call_is_evicted_last() {
    let gateway = Gateway::new();
    let (device, host) = (Device::new(), Device::new());
    let mut host_session = node(&gateway, 4, &host);
    approve(&gateway, &host);
    let who = Who::v4().token(TOKEN).device(&device);
    let mut caller = gateway.connect(&who).unwrap();
    caller.start("node.invoke", invoke(&host, "system.which", json!({})));
    host_session.event("node.invoke.request");
    let mut rest: Vec<Session> = (0..SHARE).map(|_| gateway.connect(&who).unwrap()).collect();
    is_replaced(&mut rest[0]);
    answers(&mut caller);
}

#[test]
fn a_third_connection_of_a_node_replaces_the_first() {
    for protocol in [3, 4] {
        let gateway = Gateway::new();
        let (device, command_line) = (Device::new(), Device::new());
        let first_is_gone = |sessions: &mut Vec<Session>| is_replaced(&mut sessions.remove(0));
        let mut nodes = vec![node(&gateway, protocol, &device), node(&gateway, protocol, &device)];
        for _ in 0..5 {
            nodes.push(node(&gateway, protocol, &device));
            first_is_gone(&mut nodes);
            assert_eq!(connections(&gateway, "nodes"), 2);
        }
        // an operator on the same device, and a node on another, have places of their own
        let operator = Who::of(protocol).token(TOKEN).device(&device);
        let mut operator = gateway.connect(&operator).unwrap();
        nodes.push(node(&gateway, protocol, &command_line));
        answers(&mut operator);
        assert_eq!(connections(&gateway, "nodes"), 3);
        approve(&gateway, &device);
        operator.start("node.invoke", invoke(&device, "system.which", json!({})));
        nodes[1].event("node.invoke.request");
    }
}

#[test]
fn clients_of_one_device_do_not_replace_each_other_for_ever() {
    for protocol in [3, 4] {
        let gateway = Gateway::new();
        let who = reader(&gateway, protocol, &Device::new());
        let most = SHARE + limits::EVICTIONS_AT_ONCE as usize;
        let mut sessions: Vec<Session> =
            (0..most).map(|_| gateway.connect(&who).unwrap()).collect();
        for _ in 0..10 {
            let refused = gateway.connect(&who).unwrap_err();
            assert_eq!((refused.close, refused.code()), (1013, "TOO_MANY_CONNECTIONS_OF_DEVICE"));
            assert_eq!(
                (&refused.error["retryable"], &refused.error["retryAfterMs"]),
                (&json!(true), &json!(limits::EVICTION_EVERY_MS))
            );
        }
        sessions[most - SHARE..].iter_mut().for_each(answers);
        drop(sessions);
        until(|| gateway.connect(&who).is_ok(), || "no place after all have left".into());
    }
}

/// Gateway whose process may open 512 descriptors.
fn small() -> Gateway {
    Plan::new().prefix(&["prlimit", "--nofile=512:512", "--"]).start()
}

/// The owner, at any moment: lists and revokes devices from the command line, probes, and pairs a
/// new device.
struct Owner<'g> {
    gateway: &'g Gateway,
    admin: Session,
}

impl Owner<'_> {
    fn new(gateway: &Gateway) -> Owner<'_> {
        let (_, admin) = gateway.join(&Who::v4());
        Owner { gateway, admin }
    }

    fn works(&mut self) {
        let gateway = self.gateway;
        assert!(gateway.dial().get("/healthz").contains(r#""ok":true"#));
        assert!(gateway.dial().is_ready());
        let (device, mut new) = gateway.join(&Who::v4().name("New phone"));
        answers(&mut new);
        assert!(gateway.plan.good(&["devices", "list"]).contains("New phone"));
        gateway.plan.good(&["devices", "revoke", &device.id]);
        assert_eq!(new.closed().0, 4001);
        gateway.plan.good(&["devices", "remove", &device.id]);
        answers(&mut self.admin);
        let open = gateway.descriptors();
        assert!(open < 512 - 16, "{open} descriptors are open");
    }
}

#[test]
fn one_device_cannot_keep_out_the_owner() {
    let gateway = small();
    let mut owner = Owner::new(&gateway);
    let who = reader(&gateway, 4, &Device::new());
    let (mut held, over) = (Vec::new(), AtomicBool::new(false));
    for _ in 0..4 {
        held.extend((0..150).filter_map(|_| gateway.connect(&who).ok()));
        owner.works();
    }
    // and while it connects as fast as it can
    thread::scope(|scope| {
        let ends = SetOnDrop(&over);
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = gateway.connect(&who);
                }
            });
        }
        (0..3).for_each(|_| owner.works());
        drop(ends);
    });
    let open =
        held.iter_mut().rev().take(SHARE).filter_map(|one| one.call("health", json!({})).ok());
    assert!(open.count() > 0, "the device keeps its share");
    assert!(!gateway.log().contains("cannot accept"), "{}", gateway.log());
}

#[test]
fn silent_connections_cannot_keep_out_the_owner() {
    let gateway = small();
    let mut owner = Owner::new(&gateway);
    let mut silent: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        silent.extend((0..200).map(|_| gateway.dial().tcp()));
        owner.works();
    }
    assert!(!gateway.log().contains("cannot accept"), "{}", gateway.log());
}

#[test]
fn clients_without_a_device_and_many_devices_cannot_keep_out_the_owner() {
    let gateway = small();
    let mut owner = Owner::new(&gateway);
    let (keyless, mut held) = (Who::v3().token(TOKEN), Vec::new());
    held.extend((0..10).flat_map(|_| {
        let who = reader(&gateway, 3, &Device::new());
        (0..20).filter_map(|_| gateway.connect(&who).ok()).collect::<Vec<_>>()
    }));
    owner.works();
    let mut first = gateway.connect(&keyless).unwrap();
    for _ in 0..3 {
        held.extend((0..100).map(|_| gateway.connect(&keyless).unwrap()));
        owner.works();
    }
    // all without a device are one holder, so they replaced each other
    let (code, reason) = first.closed();
    assert_eq!((code, reason.contains("all connections it can have")), (1013, true), "{reason}");
    assert!(!gateway.log().contains("cannot accept"), "{}", gateway.log());
}
