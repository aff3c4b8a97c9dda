//! A wrong and jumping clock: no admission depends on it.
//!
//! Debian's libfaketime gives the gateway another time of day; that needs a dynamically linked
//! program, as cargo builds it. The monotonic clock stays right, as when NTP or a person sets the
//! time.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use support::client::{Device, Who};
use support::gateway::{code, Gateway, Plan, TOKEN};
use support::temp_dir::TempDir;

fn library() -> PathBuf {
    let dirs = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut found =
        dirs.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("libfaketime: install Debian's faketime")
}

fn set(clock: &Path, time: &str) {
    // the library may read it at any moment
    let new = clock.with_extension("new");
    fs::write(&new, format!("@{time}\n")).unwrap();
    fs::rename(new, clock).unwrap();
}

#[test]
fn admission_works_with_a_clock_in_1970_and_2099() {
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

    // also between the challenge and the response
    let mut socket = gateway.dial().open();
    let nonce = socket.challenge();
    set(&clock, "2099-12-31 12:00:00");
    socket
        .connect(Who::v4().device(&early).params(&nonce))
        .expect("the age of a nonce does not depend on the wall clock");
    join(&gateway, &late);
    gateway.logged(&["2099-12-31T12:", " admit "]);
    gateway
        .connect(&Who::v4().code(&good).device(&by_code))
        .expect("a setup code made a moment ago is still valid");
    gateway.connect(&Who::v4().code(&spent).device(&Device::new())).expect_err("spent is spent");
    admin.call("device.pair.list", json!({})).expect("no connection was closed");
    assert!(gateway.dial().is_ready());

    set(&clock, "1970-01-01 00:00:00");
    let process = gateway.pid();
    let gateway = gateway.kill().start();
    // files that the library keeps for a process and could not remove after the kill
    for kept in ["faketime_shm_", "sem.faketime_sem_"] {
        let _ = fs::remove_file(format!("/dev/shm/{kept}{process}"));
    }
    for device in [&early, &by_code, &late] {
        gateway.connect(&Who::v4().device(device)).expect("a known device").leave();
    }
    gateway.stop();
}
