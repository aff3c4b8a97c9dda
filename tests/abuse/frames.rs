//! Large frames: begun ones share a budget and a time, and a client that may call nothing that
//! needs a large frame may not send one.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::attacks::{begun_frames, large_parameters, request};
use support::client::{Got, Who};

use super::site::Site;
use super::{is_long, time_of_one};

const KIB: usize = 1024;

#[test]
fn begun_frames_cost_bounded_memory_which_is_given_back() {
    let site = Site::new();
    // more than the time in which all are sent
    let time = Duration::from_secs(5).max(time_of_one(1));
    println!("begun frames: {}", site.under(&[begun_frames], time));
    site.holds_memory("begun frames");
    site.gives_back("begun frames");
}

#[test]
fn large_parameters_cost_bounded_memory_and_stop_no_other_client() {
    let site = Site::new();
    println!("large parameters: {}", site.under(&[large_parameters], time_of_one(1)));
    site.holds_memory("large parameters");
}

/// Returns whether a request with this text is answered with success.
fn succeeds(site: &Site, who: &Who, size: usize) -> bool {
    let (_, mut session) = site.gateway.join(who);
    let text: Value = json!({ "text": "x".repeat(size) });
    session.start("health", text);
    loop {
        match session.socket.receive() {
            Got::Frame(frame) if frame["type"] == "res" => return frame["ok"] == true,
            Got::Frame(_) => {}
            Got::Closed(..) => return false,
        }
    }
}

#[test]
fn the_size_of_a_frame_follows_from_what_the_caller_may_do() {
    let site = Site::new();
    for protocol in [3, 4] {
        let reader = Who::of(protocol).scopes(&["read"]);
        assert!(succeeds(&site, &reader, 400 * KIB), "400 KiB of a read-only device");
        assert!(!succeeds(&site, &reader, 600 * KIB), "600 KiB of a read-only device");
        assert!(!succeeds(&site, &reader, 24_000 * KIB), "24 MB of a read-only device");
    }
}

#[test]
fn a_begun_frame_ends_after_a_minute() {
    if !is_long() {
        println!("a begun frame has a minute: only in the long form (ABUSE_SECONDS)");
        return;
    }
    let site = Site::new();
    for who in [Who::v4().scopes(&["admin"]), Who::v3().node()] {
        let (_, session) = site.gateway.join(&who);
        let mut stream = session.socket.ws.get_ref().0.try_clone().unwrap();
        let (frame, begun) = (request("health", &"1".repeat(KIB * KIB)), Instant::now());
        let mut bytes = frame.chunks(16);
        // pings are not answered, so the gateway may close for that reason as well
        while std::io::Write::write_all(&mut stream, bytes.next().unwrap()).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(100), "a begun frame is never ended");
            thread::sleep(Duration::from_millis(500));
        }
    }
}
