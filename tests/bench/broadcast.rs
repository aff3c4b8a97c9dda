//! Broadcast of one event to many operators: time until the last one has received it, and memory
//! and processor time per operator.

use std::time::{Duration, Instant};

use crate::client::{Client, ClientRole, Device, Failed, Place};
use crate::gateway::{room, Gateway};
use crate::table::{bytes, median, ns, quantile, Goal, Section, Table};

const OPERATORS: usize = 1_000;
const EVENTS: usize = 50;
/// Longer than the time in which the gateway sends one presence event at most.
const PRESENCE_PACE: Duration = Duration::from_millis(260);

/// Adds the rows of the broadcast.
pub fn rows(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let operators = OPERATORS.min(room());
    let mut crowd = Crowd::new(&gateway.place, operators)?;
    crowd.event()?;
    let (before, cpu) = (gateway.peak(), gateway.usage());
    let mut took = crowd.events(EVENTS)?;
    let each = gateway.cpu_since(&cpu) / (EVENTS * operators) as f64;
    let note = format!(
        "p99 {}; one core each; peak {} more",
        ns(quantile(&mut took, 0.99)),
        bytes(gateway.peak() - before)
    );
    let what = format!("an event until the last of {operators} operators has it, p50");
    table.row(Section::Times, &what, Goal::NONE, median(&mut took), ns, &note);
    table.row(
        Section::Times,
        "the same, processor time of the server for each",
        Goal::NONE,
        each,
        ns,
        "",
    );
    Ok(())
}

/// Connected operators, and one client that triggers events.
pub struct Crowd {
    owner: Client,
    others: Vec<Client>,
}

impl Crowd {
    /// Connects `many` operators.
    pub fn new(place: &Place, many: usize) -> Result<Crowd, Failed> {
        let mut others = Vec::new();
        Client::gather(place, &mut others, many)?;
        let owner = Client::connect_as(place, &Device::new(99), ClientRole::Owner)?;
        Ok(Crowd { owner, others })
    }

    /// Returns the duration of each of `many` events, in nanoseconds.
    pub fn events(&mut self, many: usize) -> Result<Vec<f64>, Failed> {
        (0..many).map(|_| self.event()).collect()
    }

    /// Returns the nanoseconds from the call that triggers the event until the last operator
    /// received it.
    pub fn event(&mut self) -> Result<f64, Failed> {
        std::thread::sleep(PRESENCE_PACE);
        let began = Instant::now();
        self.owner.send("system-event", br#"{"text":"here"}"#)?;
        for operator in &mut self.others {
            operator.event("presence")?;
        }
        let took = began.elapsed().as_nanos() as f64;
        self.owner.event("presence")?;
        Ok(took)
    }
}
