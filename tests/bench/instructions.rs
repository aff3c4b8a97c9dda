//! How many instructions the program needs for one operation: counted by valgrind's callgrind, so that the figures are the same
//! on a busy machine and on an idle one. Each operation is done N and 2N times in a run of its own, and the difference of the
//! two runs is what N of them cost; so starting, pairing and stopping cancel out.

use std::path::Path;

use crate::broadcast::Crowd;
use crate::builds::Builds;
use crate::client::{Client, Device, Dialect, Failed, Place};
use crate::gateway::{counting, fresh, Gateway};
use crate::profile::Profile;
use crate::relay;
use crate::table::{count, Goal, Section, Table};

/// One kind of work.
pub struct Operation {
    pub name: &'static str,
    times: usize,
    dialect: Dialect,
    /// Does it that often.
    work: fn(&Place, usize) -> Result<(), Failed>,
    /// How many of what is counted one round of the work is.
    holds: usize,
    /// What it may need of the old build's instructions.
    goal: Goal,
}

/// How many clients receive a broadcast, the one that caused it included.
const RECEIVERS: usize = 25;

/// What an operation may need of the instructions that were accepted: other machines have other routines for copying memory.
const ACCEPTED: Goal = Goal::count_ratio(1.05);

pub const OPERATIONS: [Operation; 5] = [
    Operation {
        name: "handshake-v4",
        times: 100,
        dialect: Dialect::V4,
        work: handshakes,
        holds: 1,
        goal: Goal::count_ratio(0.65),
    },
    Operation {
        name: "handshake-v3",
        times: 100,
        dialect: Dialect::V3,
        work: handshakes,
        holds: 1,
        goal: Goal::count_ratio(0.65),
    },
    Operation {
        name: "health",
        times: 4_000,
        dialect: Dialect::V4,
        work: health,
        holds: 1,
        goal: Goal::count_ratio(1.1),
    },
    Operation {
        name: "node.invoke",
        times: 1_000,
        dialect: Dialect::V4,
        work: invokes,
        holds: 1,
        goal: Goal::count_ratio(1.05),
    },
    Operation {
        name: "broadcast-to-one",
        times: 400,
        dialect: Dialect::V4,
        work: broadcasts,
        holds: RECEIVERS,
        goal: Goal::count_ratio(1.1),
    },
];

/// Adds two rows for each operation: beside the old build, and beside the count that was accepted.
pub fn rows(table: &mut Table, builds: &mut Builds, root: &Path) -> Result<(), Failed> {
    if !Gateway::can_count() {
        table.absent(Section::Builds, "instructions of one operation", "not counted: there is no valgrind");
        return Ok(());
    }
    for operation in &OPERATIONS {
        let counted = |binary: &Path| Ok::<f64, Failed>(operation.cost(binary, root)?.total());
        let (mut new, old) = builds.each(|_, binary| counted(binary))?;
        let old = builds.old_count(operation.name, old);
        // On a busy machine the program is woken more often for the same work; a second look is cheap.
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
            table.pair(Section::Counts, what, Goal::NONE, figures, count, "without those of the kernel");
        }
    }
    Ok(())
}

/// Instructions of one verification of a signature, done by this program itself.
fn verification(root: &Path) -> Result<f64, Failed> {
    const TIMES: usize = 100;
    let counted = |times: usize| {
        let out = root.join(format!("callgrind.verify.{times}"));
        let status = counting(&out).arg(std::env::current_exe()?).args(["verify", &times.to_string()]).status()?;
        if !status.success() {
            return Err(format!("the verifications ended with {status}").into());
        }
        Profile::read(&out)
    };
    Ok(counted(2 * TIMES)?.less(&counted(TIMES)?, TIMES as f64).total())
}

impl Operation {
    /// Where the instructions of one operation are.
    pub fn cost(&self, binary: &Path, root: &Path) -> Result<Profile, Failed> {
        let once = self.run(binary, root, self.times)?;
        let twice = self.run(binary, root, 2 * self.times)?;
        Ok(twice.less(&once, (self.times * self.holds) as f64))
    }

    fn run(&self, binary: &Path, root: &Path, times: usize) -> Result<Profile, Failed> {
        let dir = fresh(root, "counted")?;
        let out = root.join(format!("callgrind.{}.{times}", self.name));
        let gateway = Gateway::start_counted(binary, &dir, &out, self.dialect)?;
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
