//! Instructions that the program needs for one operation, counted by callgrind, so that the figures
//! do not depend on the load of the machine. Each operation is done N times in one run and 2N times
//! in another; the difference of the runs is the cost of N operations, without start, pairing and
//! stop.

use std::path::Path;

use crate::broadcast::Crowd;
use crate::builds::Builds;
use crate::client::{Client, Device, Failed, Place, Protocol};
use crate::gateway::{counting, fresh, Gateway};
use crate::profile::Profile;
use crate::relay;
use crate::table::{count, Goal, Section, Table};

/// Operation whose instructions are counted.
pub struct Operation {
    pub name: &'static str,
    times: usize,
    protocol: Protocol,
    /// Repeats the operation the given number of times.
    work: fn(&Place, usize) -> Result<(), Failed>,
    /// Number of counted units in one operation.
    holds: usize,
    /// Bound relative to the instructions of the old build.
    goal: Goal,
}

/// Number of clients that receive a broadcast, including the one that caused it.
const RECEIVERS: usize = 25;

/// Bound relative to the accepted instructions; the tolerance covers different memory copy routines
/// of other machines.
const ACCEPTED: Goal = Goal::count_ratio(1.05);

pub const OPERATIONS: [Operation; 5] = [
    Operation {
        name: "handshake-v4",
        times: 100,
        protocol: Protocol::V4,
        work: handshakes,
        holds: 1,
        goal: Goal::count_ratio(0.65),
    },
    Operation {
        name: "handshake-v3",
        times: 100,
        protocol: Protocol::V3,
        work: handshakes,
        holds: 1,
        goal: Goal::count_ratio(0.65),
    },
    Operation {
        name: "health",
        times: 4_000,
        protocol: Protocol::V4,
        work: health,
        holds: 1,
        goal: Goal::count_ratio(1.1),
    },
    Operation {
        name: "node.invoke",
        times: 1_000,
        protocol: Protocol::V4,
        work: invokes,
        holds: 1,
        goal: Goal::count_ratio(1.05),
    },
    Operation {
        name: "broadcast-to-one",
        times: 50,
        protocol: Protocol::V4,
        work: broadcasts,
        holds: RECEIVERS,
        goal: Goal::count_ratio(1.1),
    },
];

/// Adds two rows for each operation: compared with the old build, and with the accepted count.
pub fn rows(table: &mut Table, builds: &mut Builds, root: &Path) -> Result<(), Failed> {
    if !Gateway::can_count() {
        table.absent(
            Section::Builds,
            "instructions of one operation",
            "not counted: there is no valgrind",
        );
        return Ok(());
    }
    for operation in &OPERATIONS {
        let counted = |binary: &Path| Ok::<f64, Failed>(operation.cost(binary, root)?.total());
        let (mut new, old) = builds.each(|_, binary| counted(binary))?;
        let old = builds.old_count(operation.name, old);
        // On a busy machine the program is woken more often for the same work, so a high count is
        // measured again.
        for _ in 0..2 {
            if new > operation.goal.most(old).min(ACCEPTED.most(builds.accepted(operation.name))) {
                new = counted(&builds.new)?.min(new);
            }
        }
        builds.note(operation.name, new);
        let what = format!("instructions, {}", operation.name);
        table.pair(Section::Builds, &what, operation.goal, (new, old), count, "");
        let what = format!("{what}, to what was accepted");
        let accepted = builds.accepted(operation.name);
        table.pair(Section::Counts, &what, ACCEPTED, (new, accepted), count, "UPDATE=1 accepts");
        if operation.name == "handshake-v4" {
            let what = "instructions, handshake-v4 to an Ed25519 verification alone";
            let figures = (new, Some(verification(root)?));
            table.pair(
                Section::Counts,
                what,
                Goal::NONE,
                figures,
                count,
                "without those of the kernel",
            );
        }
    }
    Ok(())
}

/// Returns the instructions of one signature verification, done by this program itself.
fn verification(root: &Path) -> Result<f64, Failed> {
    const TIMES: usize = 100;
    let counted = |times: usize| {
        let out = root.join(format!("callgrind.verify.{times}"));
        let status = counting(&out)
            .arg(std::env::current_exe()?)
            .args(["verify", &times.to_string()])
            .status()?;
        if !status.success() {
            return Err(format!("the verifications ended with {status}").into());
        }
        Profile::read(&out)
    };
    Ok(counted(2 * TIMES)?.less(&counted(TIMES)?, TIMES as f64).total())
}

impl Operation {
    /// Returns the instructions of one operation by function and file.
    pub fn cost(&self, binary: &Path, root: &Path) -> Result<Profile, Failed> {
        let once = self.run(binary, root, self.times)?;
        let twice = self.run(binary, root, 2 * self.times)?;
        Ok(twice.less(&once, (self.times * self.holds) as f64))
    }

    fn run(&self, binary: &Path, root: &Path, times: usize) -> Result<Profile, Failed> {
        let dir = fresh(root, "counted")?;
        let out = root.join(format!("callgrind.{}.{times}", self.name));
        let gateway = Gateway::start_counted(binary, &dir, &out, self.protocol)?;
        (self.work)(&gateway.place, times)?;
        gateway.end()?;
        Profile::read(&out)
    }
}

fn handshakes(place: &Place, times: usize) -> Result<(), Failed> {
    let device = Device::new(1);
    (0..=times).try_for_each(|_| Client::connect(place, &device).map(drop))
}

fn health(place: &Place, times: usize) -> Result<(), Failed> {
    let mut client = Client::connect(place, &Device::new(1))?;
    (0..times).try_for_each(|_| client.call("health", b"{}").map(drop))
}

fn invokes(place: &Place, times: usize) -> Result<(), Failed> {
    let node = Device::new(11);
    Client::serve(place, &node, relay::SMALL.to_vec())?;
    let (mut client, call) = (Client::connect(place, &Device::new(1))?, relay::call(&node));
    (0..times).try_for_each(|_| client.call("node.invoke", &call).map(drop))
}

fn broadcasts(place: &Place, times: usize) -> Result<(), Failed> {
    let mut crowd = Crowd::new(place, RECEIVERS - 1)?;
    crowd.events(times).map(drop)
}
