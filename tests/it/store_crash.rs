//! The pairing file under power cuts and disk errors: every record is its old or its new value,
//! acknowledged changes are present, and reading changes nothing.

use std::collections::hash_map::DefaultHasher;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::sync::OnceLock;

use gatelet::gate::device::{Device, Provenance};
use gatelet::gate::ids::{DeviceId, PublicKey, Role, Slot, TableAge, WallMs};
use gatelet::gate::scopes::Scopes;
use gatelet::gate::surface::Surface;
use gatelet::gate::text::clip;
use gatelet::store::{
    check, encode, Contents, Flaw, LoadedTable, OpenError, PairingFile, Shape, SlotContents,
    SlotPosition, Stamp, StdDisk, TableId,
};

use crate::mem_disk::{Lands, Loss, MemDisk, Random};

const CAPACITY: u16 = 3;
const LANDS: [Lands; 3] = [Lands::Nothing, Lands::Everything, Lands::Beginnings];

#[test]
fn power_cut_at_every_byte_leaves_each_record_old_or_new() {
    let total = run(&fresh_disk(), &scenario(), None).disk.counts().0;
    assert!(total > 10_000, "the scenario writes {total} bytes");
    let mut random = Random(1);
    let mut images = 0;
    let mut seen = HashSet::new();
    for cut in 0..=total {
        let ran = run(&fresh_disk(), &scenario(), Some(cut));
        for image in ran.disk.after_power_cut(Loss::Blocks, 64, &mut random) {
            images += 1;
            let hash = hash(&image);
            // most cuts leave the same image as the one before: checking once is enough, unless
            // more was acknowledged since
            if seen.insert((ran.acknowledged, hash)) {
                ran.model.must_match(&image, &format!("cut after {cut} bytes"));
            }
        }
    }
    assert!(images as u64 > 2 * total, "{images} images");
}

#[test]
fn power_cut_during_repair_of_replicas_loses_nothing() {
    let mut random = Random(2);
    let total = run(&fresh_disk(), &scenario(), None).disk.counts().0;
    for cut in (0..total).step_by(331) {
        let ran = run(&fresh_disk(), &scenario(), Some(cut));
        for image in ran.disk.after_power_cut(Loss::Blocks, 4, &mut random) {
            let seen = ran.model.must_match(&image, "first cut");
            let repair_bytes = repair_replicas(&MemDisk::new(&image));
            for second in (0..=repair_bytes).step_by(61) {
                let disk = MemDisk::new(&image);
                disk.cut_after(second);
                repair_replicas(&disk);
                for image in disk.after_power_cut(Loss::Blocks, 4, &mut random) {
                    ran.model.must_match(&image, &format!("cut after {cut}, again after {second}"));
                }
            }
            let repaired = MemDisk::new(&image);
            repair_replicas(&repaired);
            let (_, loaded) = open(&repaired.bytes()).unwrap();
            assert_eq!(
                (loaded.contents, loaded.unused),
                (seen, Vec::new()),
                "the repair changed something or left something"
            );
        }
    }
}

#[test]
fn power_cut_during_creation_leaves_no_table_or_a_complete_empty_one() {
    let shape = Shape { capacity: 1, ..shape() };
    let contents = Contents { shape, age: TableAge(0), devices: Vec::new() };
    let (mut random, mut tables, mut refused) = (Random(3), 0, 0);
    for cut in 0..=4096 {
        let disk = MemDisk::new(&[]);
        disk.cut_after(cut);
        let made = PairingFile::create(disk.clone(), &contents).is_ok();
        for image in disk.after_power_cut(Loss::Blocks, 4, &mut random) {
            match open(&image) {
                Ok((_, loaded)) => {
                    assert_eq!(loaded.contents, contents);
                    tables += 1;
                }
                Err(_) => {
                    assert!(!made, "a table that was made does not open");
                    refused += 1;
                }
            }
        }
    }
    assert!(tables > 100 && refused > 1000, "{tables} tables, {refused} refused");
}

#[test]
fn failed_sync_is_an_error_and_not_hidden_by_a_later_sync() {
    each_failure(|disk, at, variant| {
        disk.fail_sync_after(at, LANDS[variant]);
    });
}

#[test]
fn full_disk_fails_only_the_commit_that_hits_it() {
    each_failure(|disk, at, variant| disk.fail_write_after(at, [0, 100, 700][variant]));
}

#[test]
fn restart_after_a_failed_sync_survives_a_later_power_cut() {
    let mut random = Random(5);
    let syncs = run(&fresh_disk(), &scenario(), None).disk.counts().1;
    for (at, lands) in (0..syncs).flat_map(|at| LANDS.map(|lands| (at, lands))) {
        let restarted = || {
            let disk = fresh_disk();
            disk.fail_sync_after(at, lands);
            let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
            let mut model = Model::new();
            let failed = scenario().into_iter().find(|op| {
                let done = op.commit(&mut file).is_ok();
                model.apply(op, done);
                !done
            });
            (disk, model, failed.unwrap())
        };
        for (repaired, cut) in (0..4200).step_by(97).flat_map(|cut| [(false, cut), (true, cut)]) {
            let (disk, mut model, failed) = restarted();
            disk.cut_after(cut);
            let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
            if repaired {
                let _ = file.repair_replicas();
            }
            model.apply(&failed, failed.commit(&mut file).is_ok());
            for image in disk.after_power_cut(Loss::Sectors, 16, &mut random) {
                model.must_match(
                    &image,
                    &format!("sync {at} failed, {lands:?} landed, then cut after {cut}"),
                );
            }
        }
    }
}

/// Runs the scenario with one failure at each possible point, retries, and cuts power at each point
/// afterwards.
fn each_failure(plan: impl Fn(&MemDisk, u64, usize)) {
    let mut random = Random(4);
    let whole = run(&fresh_disk(), &scenario(), None);
    let steps = whole.disk.writes().len() as u64;
    let mut met = 0;
    for at in 0..steps {
        for variant in 0..3 {
            let disk = fresh_disk();
            plan(&disk, at, variant);
            let ran = run(&disk, &scenario(), None);
            met += u64::from(ran.failed > 0);
            assert!(ran.failed <= 1, "one failure of the disk is one failed commit");
            for image in disk.after_power_cut(Loss::Sectors, 64, &mut random) {
                ran.model.must_match(&image, &format!("failure at {at}, variant {variant}"));
            }
            for cut in (0..ran.disk.counts().0).step_by(499) {
                let disk = fresh_disk();
                plan(&disk, at, variant);
                let ran = run(&disk, &scenario(), Some(cut));
                for image in disk.after_power_cut(Loss::Sectors, 16, &mut random) {
                    ran.model.must_match(
                        &image,
                        &format!("failure at {at}, variant {variant}, cut after {cut}"),
                    );
                }
            }
        }
    }
    assert!(met >= 3 * 14, "{met} runs met the failure");
}

#[test]
fn read_only_disk_can_be_opened_and_rejects_commits() {
    let bytes = run(&fresh_disk(), &scenario(), None).disk.bytes();
    let disk = MemDisk::new(&bytes);
    disk.read_only();
    let (mut file, loaded) = PairingFile::open(disk.clone()).unwrap();
    assert_eq!(loaded.unused, []);
    assert_eq!(file.commit(Slot(0), None).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(file.commit_age(TableAge(9)).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(disk.bytes(), bytes);
}

#[test]
fn commit_writes_only_the_two_slots_of_its_record() {
    let disk = fresh_disk();
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    let half = disk.bytes().len() as u64 / 2;
    file.commit_age(TableAge(1)).unwrap();
    for _ in 0..3 {
        for slot in 0..CAPACITY {
            let before = disk.writes().len();
            let syncs = disk.counts().1;
            file.commit(Slot(slot), Some(&device(slot, 1))).unwrap();
            let mut written = disk.writes()[before..].to_vec();
            written.sort_unstable();
            let own = (u64::from(slot) + 1) * 1024;
            assert_eq!(written, [(own, 1024), (half + own, 1024)]);
            assert_eq!(disk.counts().1, syncs + 2);
        }
    }
}

#[test]
fn replicas_of_a_record_never_share_a_4_kib_block() {
    for capacity in [1, 3, 4, 5, 256] {
        let disk = MemDisk::new(&[]);
        let contents = Contents {
            shape: Shape { capacity, ..shape() },
            age: TableAge(0),
            devices: Vec::new(),
        };
        PairingFile::create(disk.clone(), &contents).unwrap();
        assert_eq!(disk.bytes().len() % (2 * 4096), 0, "capacity {capacity}");
    }
}

#[test]
fn replica_in_doubt_is_repaired_by_the_next_commit_of_any_record() {
    for good_syncs in 0..3 {
        let disk = fresh_disk();
        let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
        disk.fail_sync_after(good_syncs, Lands::Beginnings);
        assert!(file.commit(Slot(0), Some(&device(0, 1))).is_err());
        file.commit(Slot(1), Some(&device(1, 1))).unwrap();
        let durable = disk.after_power_cut(Loss::Sectors, 1, &mut Random(0)).remove(0);
        assert!(open(&durable).unwrap().1.unused.is_empty());
    }
}

#[test]
fn batch_of_records_needs_two_syncs() {
    let disk = fresh_disk();
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    file.commit_age(TableAge(1)).unwrap();
    let syncs = disk.counts().1;
    let batch: Vec<_> = (0..CAPACITY).map(|slot| (Slot(slot), Some(device(slot, 1)))).collect();
    file.commit_all(&batch).unwrap();
    assert_eq!(disk.counts().1, syncs + 2);
    assert_eq!(open(&disk.bytes()).unwrap().1.contents.devices.len(), usize::from(CAPACITY));
}

#[test]
fn acknowledged_commit_leaves_no_older_version_of_the_record() {
    let disk = fresh_disk();
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    let mut one = device(1, 1);
    file.commit(Slot(1), Some(&one)).unwrap();
    for round in 0..4 {
        one.tokens[0].rotate();
        one.seen_age = TableAge(round);
        file.commit(Slot(1), Some(&one)).unwrap();
        for line in check(&disk).unwrap() {
            assert_eq!(line.replicas[0], line.replicas[1]);
        }
    }
    one.revoke(Role::Operator);
    file.commit(Slot(1), Some(&one)).unwrap();
    let bytes = disk.bytes();
    for half in [0, bytes.len() / 2] {
        let mut lost = bytes.clone();
        lost[half + 2048..half + 3072].fill(0);
        let (_, loaded) = open(&lost).unwrap();
        assert_eq!(
            loaded.contents.devices,
            [(Slot(1), one.clone())],
            "a lost replica does not restore an older version"
        );
        assert_eq!(loaded.unused.len(), 1);
    }
}

#[test]
fn unencodable_records_are_rejected_before_writing() {
    let disk = fresh_disk();
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    let before = disk.bytes();
    let mut unused = device(0, 1);
    unused.tokens[0].floor = 9;
    let batch = [(Slot(1), None), (Slot(1), Some(device(1, 1)))];
    let refused = [
        file.commit(Slot(0), Some(&unused)),
        file.commit(Slot(CAPACITY), None),
        file.commit_all(&batch),
        file.commit_all(&[(Slot(0), Some(device(0, 1))), (Slot(1), Some(unused.clone()))]),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(disk.bytes(), before);
    for capacity in [0, u16::MAX] {
        let contents = Contents {
            shape: Shape { capacity, ..shape() },
            age: TableAge(0),
            devices: Vec::new(),
        };
        assert!(PairingFile::create(MemDisk::new(&[]), &contents).is_err());
    }
    let contents = Contents { shape: shape(), age: TableAge(0), devices: Vec::new() };
    let taken = PairingFile::create(MemDisk::new(b"x"), &contents);
    assert_eq!(taken.err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
}

#[test]
fn interrupted_update_is_reported() {
    let disk = fresh_disk();
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    disk.cut_after(1024);
    assert!(file.commit(Slot(2), Some(&device(2, 1))).is_err());
    let (_, loaded) = open(&disk.bytes()).unwrap();
    assert_eq!(loaded.contents.devices.len(), 1);
    let unused: Vec<_> = loaded.unused.iter().map(|unused| (unused.place, unused.flaw)).collect();
    assert_eq!(unused, [(SlotPosition::Record(Slot(2)), Flaw::Behind)]);
    assert!(loaded.unused[0].to_string().contains("record 2: an update did not reach copy"));
}

#[test]
fn loaded_contents_survive_power_cuts_during_repair() {
    let mut random = Random(6);
    let torn = fresh_disk();
    let (mut file, _) = PairingFile::open(torn.clone()).unwrap();
    torn.cut_after(1024);
    assert!(file.commit(Slot(0), Some(&device(0, 1))).is_err());
    let shown = open(&torn.bytes()).unwrap().1.contents;
    assert_eq!(shown.devices.len(), 1);
    survives_cuts_while_mended(&torn.bytes(), &shown, (1, Loss::Sectors), "torn", &mut random);
}

#[test]
fn contents_loaded_from_cache_survive_a_power_cut_and_another_during_repair() {
    let mut random = Random(8);
    let disk = fresh_disk();
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    // killed when both replicas were written and only the first was synced
    disk.cut_after(2048);
    assert!(file.commit(Slot(0), Some(&device(0, 1))).is_err());
    disk.heal();
    let (mut file, loaded) = PairingFile::open(disk.clone()).unwrap();
    assert_eq!(
        (loaded.contents.devices.len(), loaded.unused),
        (1, Vec::new()),
        "both replicas are read from the cache"
    );
    file.repair_replicas().unwrap();
    for image in disk.after_power_cut(Loss::Blocks, 16, &mut random) {
        survives_cuts_while_mended(
            &image,
            &loaded.contents,
            (31, Loss::Blocks),
            "killed",
            &mut random,
        );
    }
}

#[test]
fn data_dropped_by_a_failed_sync_is_not_trusted() {
    let mut random = Random(9);
    // the sync before the commit, that of the first replica, that of the second
    for (good, devices) in [(0, 0), (1, 0), (2, 1)] {
        let disk = fresh_disk();
        let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
        disk.fail_sync_after(good, Lands::Nothing);
        assert!(file.commit(Slot(0), Some(&device(0, 1))).is_err());
        let (mut file, loaded) = PairingFile::open(disk.clone()).unwrap();
        assert_eq!(
            (loaded.contents.devices.len(), loaded.unused.is_empty()),
            (devices, good == 0),
            "sync {good}"
        );
        file.repair_replicas().unwrap();
        for image in disk.after_power_cut(Loss::Blocks, 16, &mut random) {
            let what = format!("sync {good}");
            survives_cuts_while_mended(
                &image,
                &loaded.contents,
                (31, Loss::Blocks),
                &what,
                &mut random,
            );
        }
    }
}

/// Repairs the replicas of this image with a power cut after each number of bytes; asserts that the
/// contents shown before always remain.
fn survives_cuts_while_mended(
    image: &[u8],
    shown: &Contents,
    (step, loss): (usize, Loss),
    what: &str,
    random: &mut Random,
) {
    for cut in (0..=2048).step_by(step) {
        let disk = MemDisk::new(image);
        disk.cut_after(cut);
        repair_replicas(&disk);
        for image in disk.after_power_cut(loss, 16, random) {
            assert_eq!(open(&image).unwrap().1.contents, *shown, "{what}, cut after {cut}");
        }
    }
}

#[test]
fn commit_after_two_failed_syncs_and_a_restart_keeps_an_intact_replica() {
    let mut random = Random(7);
    for (first, second) in (0..3).flat_map(|first| (0..5).map(move |second| (first, second))) {
        for cut in (0..2100).step_by(41) {
            let disk = fresh_disk();
            let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
            disk.fail_sync_after(first, Lands::Beginnings);
            assert!(file.commit(Slot(0), Some(&device(0, 1))).is_err());
            disk.fail_sync_after(second, Lands::Beginnings);
            let _ = file.repair_replicas();
            disk.heal();
            let (mut file, loaded) = PairingFile::open(disk.clone()).unwrap();
            let mut model = Model::new();
            model.apply(&Op::One(Slot(0), Box::new(Some(device(0, 1)))), false);
            model.must_allow(&loaded.contents, "restart");
            disk.cut_after(cut);
            let op = Op::One(Slot(0), Box::new(Some(device(0, 2))));
            model.apply(&op, op.commit(&mut file).is_ok());
            for image in disk.after_power_cut(Loss::Sectors, 16, &mut random) {
                model.must_match(
                    &image,
                    &format!("syncs {first} and {second} failed, cut after {cut}"),
                );
            }
        }
    }
}

#[test]
fn pairing_file_is_send() {
    fn is_send<T: Send>() {}
    is_send::<PairingFile<StdDisk>>();
}

/// Random commits, failures, crashes, restarts with and without a reboot, for many seeds, against a
/// model of the allowed contents. `SEED=n` repeats one run, `SEEDS=n` sets their number.
#[test]
fn random_commits_failures_and_crashes_lose_no_acknowledged_change() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(300),
    };
    for seed in seeds {
        let life = std::panic::catch_unwind(|| live(seed));
        if let Err(panic) = life {
            eprintln!("SEED={seed} repeats it");
            std::panic::resume_unwind(panic);
        }
    }
}

fn live(seed: u64) {
    let mut random = Random(seed);
    // both kinds of loss at once are two independent faults, which two replicas cannot survive
    let loss = if seed.is_multiple_of(2) { Loss::Sectors } else { Loss::Blocks };
    let mut disk = fresh_disk();
    let mut model = Model::new();
    for _ in 0..12 {
        let (mut file, loaded) =
            PairingFile::open(disk.clone()).unwrap_or_else(|error| panic!("{error}"));
        model.must_allow(&loaded.contents, "restart");
        if random.once_in(2) && file.repair_replicas().is_ok() {
            model.pin(&loaded.contents);
        }
        if random.once_in(2) {
            disk.cut_after(random.below(6000) as u64);
        }
        for round in 0..random.below(8) {
            if loss == Loss::Sectors && random.once_in(3) {
                plan_failure(&disk, &mut random);
            }
            let op = random_op(&mut random, seed.wrapping_mul(1000) + round as u64);
            model.apply(&op, op.commit(&mut file).is_ok());
        }
        drop(file);
        if random.once_in(2) {
            let images = disk.after_power_cut(loss, 8, &mut random);
            let at = random.below(images.len());
            disk = MemDisk::new(&images[at]);
        } else {
            disk.heal();
        }
    }
}

fn plan_failure(disk: &MemDisk, random: &mut Random) {
    let lands = LANDS[random.below(LANDS.len())];
    match random.once_in(2) {
        true => disk.fail_sync_after(random.below(4) as u64, lands),
        false => disk.fail_write_after(random.below(4) as u64, random.below(1025)),
    }
}

fn random_op(random: &mut Random, version: u64) -> Op {
    let slot = random.below(CAPACITY.into()) as u16;
    let some = |slot, random: &mut Random| {
        (!random.once_in(4)).then(|| device(slot, version + random.below(99) as u64))
    };
    match random.below(5) {
        0 => Op::Age(random.next() as u32),
        1 => Op::Batch((0..CAPACITY).map(|slot| (Slot(slot), some(slot, random))).collect()),
        _ => Op::One(Slot(slot), Box::new(some(slot, random))),
    }
}

#[derive(Clone)]
enum Op {
    One(Slot, Box<Option<Device>>),
    Batch(Vec<(Slot, Option<Device>)>),
    Age(u32),
}

impl Op {
    fn commit(&self, file: &mut PairingFile<MemDisk>) -> std::io::Result<()> {
        match self {
            Op::One(slot, device) => file.commit(*slot, device.as_ref().as_ref()),
            Op::Batch(changes) => file.commit_all(changes),
            Op::Age(age) => file.commit_age(TableAge(*age)),
        }
    }
}

/// Allowed contents of each record: one value if the last commit was acknowledged, several
/// otherwise.
struct Model {
    ages: Vec<u32>,
    records: Vec<Vec<Option<Device>>>,
}

impl Model {
    fn new() -> Model {
        Model { ages: vec![0], records: vec![vec![None]; CAPACITY.into()] }
    }

    fn apply(&mut self, op: &Op, acknowledged: bool) {
        match op {
            Op::One(slot, device) => {
                note(&mut self.records[usize::from(slot.0)], device, acknowledged)
            }
            Op::Batch(changes) => changes.iter().for_each(|(slot, device)| {
                note(&mut self.records[usize::from(slot.0)], device, acknowledged)
            }),
            Op::Age(age) => note(&mut self.ages, age, acknowledged),
        }
    }

    fn pin(&mut self, contents: &Contents) {
        self.ages = vec![contents.age.0];
        self.records = states(contents).into_iter().map(|state| vec![state]).collect();
    }

    fn must_allow(&self, contents: &Contents, context: &str) {
        assert!(
            self.ages.contains(&contents.age.0),
            "{context}: age {} is none of {:?}",
            contents.age.0,
            self.ages
        );
        for (at, (state, allowed)) in states(contents).iter().zip(&self.records).enumerate() {
            assert!(
                allowed.contains(state),
                "{context}: record {at} is {state:?}, allowed are {allowed:?}"
            );
        }
    }

    fn must_match(&self, image: &[u8], context: &str) -> Contents {
        let (_, loaded) = open(image).unwrap_or_else(|error| panic!("{context}: {error}"));
        self.must_allow(&loaded.contents, context);
        loaded.contents
    }
}

fn note<T: Clone>(allowed: &mut Vec<T>, value: &T, acknowledged: bool) {
    if acknowledged {
        allowed.clear();
    }
    allowed.push(value.clone());
}

fn states(contents: &Contents) -> Vec<Option<Device>> {
    let mut states = vec![None; usize::from(contents.shape.capacity)];
    for (slot, device) in &contents.devices {
        states[usize::from(slot.0)] = Some(device.clone());
    }
    states
}

struct Ran {
    disk: MemDisk,
    model: Model,
    failed: u32,
    acknowledged: u32,
}

/// Commits every step, retrying each failure once, until power is gone.
fn run(disk: &MemDisk, ops: &[Op], cut: Option<u64>) -> Ran {
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    cut.into_iter().for_each(|bytes| disk.cut_after(bytes));
    let mut ran = Ran { disk: disk.clone(), model: Model::new(), failed: 0, acknowledged: 0 };
    for op in ops {
        let first = op.commit(&mut file).is_ok();
        ran.model.apply(op, first);
        ran.acknowledged += u32::from(first);
        if !first {
            ran.failed += 1;
            let second = op.commit(&mut file).is_ok();
            ran.model.apply(op, second);
            if !second {
                break;
            }
        }
    }
    ran
}

fn hash(image: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    hasher.finish()
}

fn scenario() -> Vec<Op> {
    let mut revoked = device(0, 2);
    revoked.revoke(Role::Operator);
    let batch = vec![(Slot(0), None), (Slot(1), Some(device(1, 3))), (Slot(2), Some(device(2, 1)))];
    vec![
        Op::One(Slot(0), Box::new(Some(device(0, 1)))),
        Op::One(Slot(1), Box::new(Some(device(1, 1)))),
        Op::One(Slot(0), Box::new(Some(revoked))),
        Op::Age(7),
        Op::One(Slot(1), Box::new(Some(device(1, 2)))),
        Op::Batch(batch),
        Op::One(Slot(2), Box::new(None)),
    ]
}

fn repair_replicas(disk: &MemDisk) -> u64 {
    let (mut file, _) = PairingFile::open(disk.clone()).unwrap();
    let _ = file.repair_replicas();
    disk.counts().0
}

/// Opens a copy on a disk that rejects every write.
fn open(image: &[u8]) -> Result<(PairingFile<MemDisk>, LoadedTable), OpenError> {
    let disk = MemDisk::new(image);
    disk.read_only();
    let opened = PairingFile::open(disk.clone());
    assert_eq!(disk.bytes(), image);
    opened
}

fn fresh_disk() -> MemDisk {
    static FRESH: OnceLock<Vec<u8>> = OnceLock::new();
    MemDisk::new(FRESH.get_or_init(|| {
        let disk = MemDisk::new(&[]);
        PairingFile::create(
            disk.clone(),
            &Contents { shape: shape(), age: TableAge(0), devices: Vec::new() },
        )
        .unwrap();
        disk.bytes()
    }))
}

fn shape() -> Shape {
    Shape { id: TableId([0xa5; 16]), capacity: CAPACITY }
}

fn device(slot: u16, version: u64) -> Device {
    let mut device = Device::new(
        DeviceId([slot as u8 + 1; 32]),
        PublicKey([slot as u8 + 7; 32]),
        Provenance::Token,
    );
    device.approve(Role::Operator, Scopes::ALL, WallMs(version));
    device.name = clip(&format!("version {version} of the device in record {slot}"));
    // so that a record alternates between formats
    if version % 2 == 1 {
        let mut surface = Surface::NONE;
        assert_eq!(
            (surface.add_command("system.run"), surface.add_cap(&device.name)),
            (Ok(()), Ok(()))
        );
        assert_eq!(device.approve_surface(&surface, WallMs(version)), Ok(()));
    }
    device
}

/// One below the highest generation that is readable, in both replicas or one: no update can follow
/// it.
#[test]
fn record_at_the_highest_generation_is_left_unchanged() {
    const LAST: u64 = (1 << 62) - 1;
    for torn in [false, true] {
        let disk = MemDisk::new(b"");
        let shape = Shape { id: TableId([3; 16]), capacity: 3 };
        let contents = Contents { shape, age: TableAge(1), devices: vec![(Slot(1), device(1, 1))] };
        PairingFile::create(disk.clone(), &contents).unwrap();
        let mut bytes = disk.bytes();
        for copy in 0..2 {
            let stamp =
                Stamp { shape, place: SlotPosition::Record(Slot(1)), copy, generation: LAST };
            let at = copy * bytes.len() / 2 + 2 * 1024;
            bytes[at..at + 1024]
                .copy_from_slice(&encode(&stamp, &SlotContents::Device(Box::new(device(1, 1)))));
        }
        if torn {
            bytes[2 * 1024 + 100] ^= 1;
        }
        let disk = MemDisk::new(&bytes);
        let (mut file, loaded) = PairingFile::open(disk.clone()).unwrap();
        assert_eq!(loaded.contents, contents);
        assert_eq!(
            file.repair_replicas().err().map(|error| error.kind()),
            torn.then_some(ErrorKind::InvalidInput)
        );
        assert_eq!(file.commit(Slot(1), None).unwrap_err().kind(), ErrorKind::InvalidInput);
        file.commit(Slot(2), Some(&device(2, 1))).unwrap();
        let devices = PairingFile::open(disk).unwrap().1.contents.devices;
        assert_eq!(devices, [(Slot(1), device(1, 1)), (Slot(2), device(2, 1))]);
    }
}
