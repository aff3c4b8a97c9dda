//! How many instructions the program needs for one operation: counted by valgrind's callgrind, so that the figures are the same
//! on a busy machine and on an idle one. Each operation is done N and 2N times in a run of its own, and the difference of the
//! two runs is what N of them cost; so starting, pairing and stopping cancel out.

use std::path::Path;

use crate::accepted::Accepted;
use crate::broadcast::Crowd;
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
}

/// Who hears a broadcast, with whoever caused it.
const RECEIVERS: usize = 25;

pub const OPERATIONS: [Operation; 5] = [
    Operation { name: "handshake-v4", times: 100, dialect: Dialect::V4, work: handshakes, holds: 1 },
    Operation { name: "handshake-v3", times: 100, dialect: Dialect::V3, work: handshakes, holds: 1 },
    Operation { name: "health", times: 4_000, dialect: Dialect::V4, work: health, holds: 1 },
    Operation { name: "node.invoke", times: 1_000, dialect: Dialect::V4, work: invokes, holds: 1 },
    Operation { name: "broadcast-to-one", times: 400, dialect: Dialect::V4, work: broadcasts, holds: RECEIVERS },
];

/// Adds a row for each; gives how many need more than was accepted.
pub fn rows(table: &mut Table, binary: &Path, root: &Path) -> Result<usize, Failed> {
    if !Gateway::can_count() {
        table.absent(Section::Anywhere, "instructions of one operation", "not counted: there is no valgrind");
        return Ok(0);
    }
    let mut accepted = Accepted::read(binary)?;
    let mut grown = 0;
    for operation in &OPERATIONS {
        let most = accepted.most(operation.name).unwrap_or(f64::INFINITY);
        let mut counted = operation.cost(binary, root)?.total();
        // On a busy machine the program is woken more often for the same work; a second look is cheap.
        for _ in 0..2 {
            if counted > most {
                counted = operation.cost(binary, root)?.total().min(counted);
            }
        }
        let (goal, note) = match most.is_finite() {
            true => (Goal::AtMost(most), "more is a failure"),
            false => (Goal::None, "nothing accepted for this build"),
        };
        grown += usize::from(counted > most);
        if operation.name == "handshake-v4" {
            let alone = verification(root)?;
            let what = "instructions, handshake-v4 to its Ed25519 verification alone";
            table.ratio(
                Section::Anywhere,
                what,
                Goal::Never(2.0),
                [counted, alone],
                count,
                "without those of the kernel",
            );
        }
        accepted.put(operation.name, counted);
        table.row(Section::Anywhere, &format!("instructions, {}", operation.name), goal, counted, count, note);
    }
    if accepted.update()? {
        return Ok(0);
    }
    Ok(grown)
}

/// The same of a verification alone, by this program itself.
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
