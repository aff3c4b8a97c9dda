//! One event for many operators: how long until the last one has it, and what each of them costs.

use std::time::Instant;

use crate::client::{As, Client, Device, Failed, Place};
use crate::gateway::{room, Gateway};
use crate::table::{bytes, median, ns, quantile, Goal, Section, Table};

const OPERATORS: usize = 1_000;
const EVENTS: usize = 50;

/// All rows about it.
pub fn rows(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let operators = OPERATORS.min(room());
    let mut crowd = Crowd::new(&gateway.place, operators)?;
    crowd.event()?;
    let (before, cpu) = (gateway.peak(), gateway.usage());
    let mut took = crowd.events(EVENTS)?;
    let each = gateway.cpu_since(&cpu) / (EVENTS * operators) as f64;
    let note =
        format!("p99 {}; one core each; peak {} more", ns(quantile(&mut took, 0.99)), bytes(gateway.peak() - before));
    let what = format!("an event until the last of {operators} operators has it, p50");
    table.row(Section::Times, &what, Goal::NONE, median(&mut took), ns, &note);
    table.row(Section::Times, "the same, processor time of the server for each", Goal::NONE, each, ns, "");
    Ok(())
}

/// Operators that are connected, and one that says something.
pub struct Crowd {
    owner: Client,
    others: Vec<Client>,
}

impl Crowd {
    /// That many.
    pub fn new(place: &Place, many: usize) -> Result<Crowd, Failed> {
        let mut others = Vec::new();
        Client::gather(place, &mut others, many)?;
        let owner = Client::connect_as(place, &Device::new(99), As::Owner)?;
        Ok(Crowd { owner, others })
    }

    /// Nanoseconds of each of some events.
    pub fn events(&mut self, many: usize) -> Result<Vec<f64>, Failed> {
        (0..many).map(|_| self.event()).collect()
    }

    /// From the call that is told to all until the last one was told.
    pub fn event(&mut self) -> Result<f64, Failed> {
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
