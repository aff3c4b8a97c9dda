//! How many instructions the program needs for one operation: counted by valgrind's callgrind, so that the figures are the same
//! on a busy machine and on an idle one. Each operation is done N and 2N times in a run of its own, and the difference of the
//! two runs is what N of them cost; so starting, pairing and stopping cancel out.

use std::path::Path;

use crate::accepted::Accepted;
use crate::client::{Client, Device, Dialect, Failed, Place};
use crate::gateway::{fresh, Gateway};
use crate::profile::Profile;
use crate::relay;
use crate::table::{count, Goal, Table};

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

/// Who hears a broadcast.
const RECEIVERS: usize = 25;

pub const OPERATIONS: [Operation; 5] = [
    Operation { name: "handshake-v4", times: 100, dialect: Dialect::V4, work: handshakes, holds: 1 },
    Operation { name: "handshake-v3", times: 100, dialect: Dialect::V3, work: handshakes, holds: 1 },
    Operation { name: "health", times: 1_000, dialect: Dialect::V4, work: health, holds: 1 },
    Operation { name: "node.invoke", times: 1_000, dialect: Dialect::V4, work: invokes, holds: 1 },
    Operation { name: "broadcast-to-one", times: 100, dialect: Dialect::V4, work: broadcasts, holds: RECEIVERS },
];

/// Adds a row for each; gives how many need more than was accepted.
pub fn rows(table: &mut Table, binary: &Path, root: &Path) -> Result<usize, Failed> {
    if !Gateway::can_count() {
        table.absent("instructions of one operation", "not counted: there is no valgrind");
        return Ok(0);
    }
    let mut accepted = Accepted::read(binary)?;
    let mut grown = 0;
    for operation in &OPERATIONS {
        let counted = operation.cost(binary, root)?.total();
        let (goal, note) = match accepted.most(operation.name) {
            Some(most) => (Goal::AtMost(most), ""),
            None => (Goal::None, "nothing accepted for this build"),
        };
        grown += usize::from(accepted.most(operation.name).is_some_and(|most| counted > most));
        accepted.put(operation.name, counted);
        table.row(&format!("instructions, {}", operation.name), goal, counted, count, note);
    }
    if accepted.update()? {
        return Ok(0);
    }
    Ok(grown)
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
    let mut owner = Client::connect_as(place, &Device::new(99), crate::client::As::Owner)?;
    let device = Device::new(1);
    let mut receivers = (0..RECEIVERS - 1).map(|_| Client::connect(place, &device)).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..times {
        owner.call("system-event", br#"{"text":"here"}"#)?;
        receivers.iter_mut().try_for_each(|receiver| receiver.event("presence").map(drop))?;
    }
    Ok(())
}
