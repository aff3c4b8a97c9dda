//! A clock that is wrong and jumps: nobody is let in or kept out by it.
//!
//! Debian's libfaketime gives the gateway another time of day, which takes a program that is linked dynamically, as cargo's is; the
//! clock that only counts stays right, as it does when NTP or a person sets the time.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::client::{Device, Who};
use super::gateway::{code, Gateway, Plan, TempDir, TOKEN};

fn library() -> PathBuf {
    let dirs = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut found = dirs.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("libfaketime: install Debian's faketime")
}

fn set(clock: &Path, time: &str) {
    // it may be read at any moment
    let new = clock.with_extension("new");
    fs::write(&new, format!("@{time}\n")).unwrap();
    fs::rename(new, clock).unwrap();
}

#[test]
fn the_clock_may_stand_in_1970_and_jump_to_2099_and_back() {
    let dir = TempDir::new();
    let clock = dir.0.join("clock");
    set(&clock, "1970-01-01 00:01:00");
    let preload = format!("LD_PRELOAD={}", library().display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", clock.display());
    let fake = [&preload, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "TZ=UTC"];
    let gateway = Plan::new().prefix(&[&["env"], &fake[..]].concat()).start();
    gateway.logged(&["1970-01-01T00:0", " listening on "]);
    let mut admin = gateway.admin();
    let (early, by_code, late) = (Device::new(), Device::new(), Device::new());
    let join = |gateway: &Gateway, device: &Device| {
        gateway.connect(&Who::v4().token(TOKEN).device(device)).unwrap().token();
    };
    join(&gateway, &early);
    let (good, spent) = (code(&mut admin, "full"), code(&mut admin, "full"));
    gateway.connect(&Who::v4().code(&spent).device(&Device::new())).unwrap();

    // between the challenge and its answer, too
    let mut socket = gateway.dial().open();
    let nonce = socket.challenge();
    set(&clock, "2099-12-31 12:00:00");
    socket.connect(Who::v4().device(&early).params(&nonce)).expect("a nonce is as old as it is");
    join(&gateway, &late);
    gateway.logged(&["2099-12-31T12:", " admit "]);
    gateway.connect(&Who::v4().code(&good).device(&by_code)).expect("a code of ten minutes, a moment ago");
    gateway.connect(&Who::v4().code(&spent).device(&Device::new())).expect_err("spent is spent");
    admin.call("device.pair.list", json!({})).expect("and nobody was thrown out");
    assert!(gateway.dial().get("/readyz").starts_with("HTTP/1.1 200 "));

    set(&clock, "1970-01-01 00:00:00");
    let process = gateway.pid();
    let gateway = gateway.kill().start();
    // what the library keeps for a process, which that could not remove
    for kept in ["faketime_shm_", "sem.faketime_sem_"] {
        let _ = fs::remove_file(format!("/dev/shm/{kept}{process}"));
    }
    for device in [&early, &by_code, &late] {
        gateway.connect(&Who::v4().device(device)).expect("a known device").leave();
    }
    gateway.stop();
}
