//! The table in a real directory: first start, later starts, and repair.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use gatelet::gate::device::{Device, Provenance};
use gatelet::gate::ids::{DeviceId, PublicKey, Role, Slot, TableAge, WallMs};
use gatelet::gate::scopes::Scopes;
use gatelet::store::tokens::{device_token, TableKey};
use gatelet::store::{
    check_at, replace_private, write_private, Fault, Flaw, Opened, Repaired, StoreError,
};

use super::runner::patience;

fn open_at(dir: &Path, capacity: u16) -> Result<Opened, StoreError> {
    unless_busy(|| gatelet::store::open_at(dir, capacity))
}

fn repair_at(dir: &Path, capacity: u16) -> Result<Repaired, StoreError> {
    unless_busy(|| gatelet::store::repair_at(dir, capacity))
}

/// Retries while the lock is busy: a child process of another test inherits it between fork and
/// exec.
fn unless_busy<T>(work: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let begun = std::time::Instant::now();
    loop {
        match work() {
            Err(StoreError::Busy { .. }) if begun.elapsed() < patience() => {
                std::thread::yield_now()
            }
            done => return done,
        }
    }
}

#[test]
fn first_start_creates_table_and_key_and_later_starts_load_them() {
    let temp = Temp::new();
    let dir = temp.path().join("a/state");
    let first = open_at(&dir, 8).unwrap();
    assert!(first.created && first.loaded.contents.devices.is_empty());
    assert_eq!((first.file.capacity(), first.loaded.contents.shape.capacity), (8, 8));
    let token = token_of(&first.key);
    drop(first);
    let second = open_at(&dir, 99).unwrap();
    assert!(!second.created);
    assert_eq!(second.file.capacity(), 8, "the capacity is chosen once");
    assert_eq!(token_of(&second.key), token);
    assert_eq!(names(&dir), ["pairing.lock", "pairing.table", "table.key"]);
}

#[cfg(unix)]
#[test]
fn created_files_have_owner_only_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let temp = Temp::new();
    let dir = temp.path().join("state");
    drop(open_at(&dir, 4).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for name in names(&dir) {
        assert_eq!(mode(&dir.join(&name)), 0o600, "{name}");
    }
}

#[test]
fn commits_survive_a_restart() {
    let temp = Temp::new();
    let mut opened = open_at(temp.path(), 4).unwrap();
    opened.file.commit(Slot(3), Some(&device(3))).unwrap();
    opened.file.commit_age(TableAge(5)).unwrap();
    drop(opened);
    let contents = open_at(temp.path(), 4).unwrap().loaded.contents;
    assert_eq!((contents.age, contents.devices), (TableAge(5), vec![(Slot(3), device(3))]));
}

#[test]
fn second_process_gets_a_busy_error() {
    let temp = Temp::new();
    let first = open_at(temp.path(), 4).unwrap();
    let (open, repair) = (gatelet::store::open_at, gatelet::store::repair_at);
    for result in [
        open(temp.path(), 4).err(),
        check_at(temp.path()).err(),
        repair(temp.path(), 4).map(drop).err(),
    ] {
        let error = result.unwrap();
        assert!(matches!(error, StoreError::Busy { .. }));
        assert!(error.to_string().starts_with("another gatelet process uses "), "{error}");
    }
    drop(first);
    assert!(open_at(temp.path(), 4).is_ok());
}

#[test]
fn power_cut_during_first_start_is_followed_by_a_first_start() {
    let temp = Temp::new();
    fs::write(temp.path().join("pairing.table.new"), [1; 700]).unwrap();
    fs::write(temp.path().join("table.key.new"), [1; 7]).unwrap();
    assert!(open_at(temp.path(), 4).unwrap().created);
    fs::remove_file(temp.path().join("table.key")).unwrap();
    let table = fs::read(temp.path().join("pairing.table")).unwrap();
    assert!(!open_at(temp.path(), 4).unwrap().created, "the table was made, the key was not");
    assert_eq!(fs::read(temp.path().join("pairing.table")).unwrap(), table);
    assert_eq!(names(temp.path()), ["pairing.lock", "pairing.table", "table.key"]);
}

#[test]
fn lost_table_is_not_treated_as_a_first_start() {
    let temp = Temp::new();
    drop(open_at(temp.path(), 4).unwrap());
    fs::rename(temp.path().join("pairing.table"), temp.path().join("backup")).unwrap();
    let errors = [
        open_at(temp.path(), 4).err(),
        check_at(temp.path()).err(),
        repair_at(temp.path(), 4).map(drop).err(),
    ];
    for error in errors {
        let error = error.unwrap();
        assert!(
            matches!(error, StoreError::Lost { .. }) && error.to_string().contains("put the table"),
            "{error}"
        );
    }
    assert!(!temp.path().join("pairing.table").exists());
    fs::rename(temp.path().join("backup"), temp.path().join("pairing.table")).unwrap();
    assert!(!open_at(temp.path(), 4).unwrap().created);
}

#[test]
fn damaged_table_is_rejected_kept_and_reported_with_the_repair_command() {
    let temp = filled();
    let table = temp.path().join("pairing.table");
    let good = fs::read(&table).unwrap();
    let mut torn = good.clone();
    (0..2).for_each(|half| torn[half * good.len() / 2 + 1100] ^= 1);
    for bad in
        [Vec::new(), vec![0; good.len()], good[..good.len() / 2].to_vec(), b"[]".to_vec(), torn]
    {
        fs::write(&table, &bad).unwrap();
        let error = open_at(temp.path(), 4).err().unwrap();
        assert!(matches!(error, StoreError::Table { .. }), "{error}");
        assert!(error.to_string().contains("`gatelet table repair`"), "{error}");
        assert_eq!(fs::read(&table).unwrap(), bad);
        let check = check_at(temp.path()).unwrap();
        assert!(check.verdict.is_err() && check.key);
        assert_eq!(fs::read(&table).unwrap(), bad);
    }
}

#[test]
fn unreadable_table_is_not_treated_as_a_first_start() {
    let temp = Temp::new();
    fs::create_dir(temp.path().join("pairing.table")).unwrap();
    assert!(matches!(open_at(temp.path(), 4).err(), Some(StoreError::Io { .. })));
    let no_directory = temp.path().join("pairing.lock");
    assert!(
        matches!(check_at(&no_directory).err(), Some(StoreError::Io { .. })),
        "not the same as no table"
    );
    assert!(matches!(
        check_at(&temp.path().join("nowhere")).err(),
        Some(StoreError::Absent { .. })
    ));
}

#[test]
fn repair_keeps_intact_devices_and_a_backup_of_the_damaged_file() {
    let temp = filled();
    let table = temp.path().join("pairing.table");
    let mut bad = fs::read(&table).unwrap();
    let half = bad.len() / 2;
    [0, half].iter().for_each(|at| bad[at + 1100] ^= 1);
    fs::write(&table, &bad).unwrap();
    let repaired = repair_at(temp.path(), 99).unwrap();
    assert_eq!(
        (repaired.devices, &repaired.lost[..], repaired.empty, repaired.new_key),
        (2, &[Slot(0)][..], false, false)
    );
    assert_eq!(fs::read(repaired.table_copy.unwrap()).unwrap(), bad);
    let opened = open_at(temp.path(), 99).unwrap();
    assert_eq!(opened.loaded.contents.devices, [(Slot(1), device(1)), (Slot(2), device(2))]);
    assert!(opened.loaded.unused.is_empty());
    drop(opened);
    fs::write(&table, b"").unwrap();
    let again = repair_at(temp.path(), 5).unwrap();
    assert!(again.empty && again.devices == 0, "nothing to salvage from an empty file");
    assert!(again.table_copy.unwrap().ends_with("pairing.table.damaged-2"));
    assert_eq!(open_at(temp.path(), 99).unwrap().file.capacity(), 5);
}

#[test]
fn repair_of_an_intact_table_only_fixes_replicas() {
    let temp = filled();
    let table = temp.path().join("pairing.table");
    let good = fs::read(&table).unwrap();
    let untouched = repair_at(temp.path(), 4).unwrap();
    assert_eq!((untouched.table_copy, untouched.devices), (None, 3));
    assert_eq!(fs::read(&table).unwrap(), good);
    let mut odd = good.clone();
    odd[1100] ^= 1;
    fs::write(&table, &odd).unwrap();
    let opened = open_at(temp.path(), 4).unwrap();
    assert_eq!(opened.loaded.unused[0].flaw, Flaw::Torn(Fault::Checksum));
    assert_eq!(opened.loaded.contents.devices.len(), 3);
    drop(opened);
    assert_eq!(fs::read(&table).unwrap(), odd, "opening writes nothing");
    repair_at(temp.path(), 4).unwrap();
    assert!(open_at(temp.path(), 4).unwrap().loaded.unused.is_empty());
}

#[test]
fn lost_key_prevents_the_start_only_if_devices_need_it() {
    let temp = filled();
    let key = temp.path().join("table.key");
    let bytes = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = open_at(temp.path(), 4).err().unwrap();
    assert!(matches!(error, StoreError::Key { missing: true, .. }));
    assert!(
        error.to_string().contains("is missing, and no device token can be checked without it"),
        "{error}"
    );
    assert!(!key.exists(), "no key is made while a table has devices");
    let mut flipped = bytes.clone();
    flipped[3] ^= 1;
    for bad in [&bytes[..9], &[], &[0; 36], &flipped] {
        fs::write(&key, bad).unwrap();
        assert!(matches!(
            open_at(temp.path(), 4).err(),
            Some(StoreError::Key { missing: false, .. })
        ));
        assert_eq!(fs::read(&key).unwrap(), bad);
    }
    let repaired = repair_at(temp.path(), 4).unwrap();
    assert!(repaired.new_key && repaired.table_copy.is_none());
    assert_eq!(fs::read(temp.path().join("table.key.damaged-1")).unwrap(), flipped);
    assert_eq!(open_at(temp.path(), 4).unwrap().loaded.contents.devices.len(), 3);
    fs::remove_file(&key).unwrap();
    assert!(repair_at(temp.path(), 4).unwrap().new_key);

    let empty = Temp::new();
    drop(open_at(empty.path(), 4).unwrap());
    fs::remove_file(empty.path().join("table.key")).unwrap();
    assert!(open_at(empty.path(), 4).is_ok());
}

#[test]
fn private_files_are_written_atomically_and_never_overwrite() {
    let temp = Temp::new();
    let path = temp.path().join("token");
    fs::write(temp.path().join("token.new"), "left over").unwrap();
    write_private(&path, b"one").unwrap();
    assert_eq!(write_private(&path, b"two").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"one");
    replace_private(&path, b"three").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"three");
    assert_eq!(names(temp.path()), ["token"]);
}

fn filled() -> Temp {
    let temp = Temp::new();
    let mut opened = open_at(temp.path(), 4).unwrap();
    (0..3).for_each(|slot| opened.file.commit(Slot(slot), Some(&device(slot))).unwrap());
    temp
}

fn device(slot: u16) -> Device {
    let mut device =
        Device::new(DeviceId([slot as u8 + 1; 32]), PublicKey([9; 32]), Provenance::Owner);
    device.approve(Role::Operator, Scopes::ALL, WallMs(1));
    device
}

fn token_of(key: &TableKey) -> String {
    device_token(key, &DeviceId([1; 32]), Role::Operator, 1).as_str().to_owned()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Directory that is removed with its test.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Temp {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("gatelet-store-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Temp(dir)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
