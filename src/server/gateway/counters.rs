//! Counters of the gateway state, which `GET /metrics` prints.

use crate::gate::no_connect::NoConnect;
use crate::gate::refusal::{Refusal, Rule};
use crate::server::net::send_queue::Lost;
use crate::wire::http::Bad;

/// Counters since the start.
pub(crate) struct Counters {
    /// Admissions by rule, except those of this machine's commands.
    pub admitted: [u64; Rule::ALL.len()],
    /// Admissions of commands with the control token.
    pub commands: u64,
    /// Refusals by rule.
    pub refused: [u64; Rule::ALL.len()],
    /// Refusals by code. Those with the same code are counted at the index of the first of them.
    pub codes: [u64; Refusal::ALL.len()],
    /// Rejected requests that were meant to open a WebSocket, by [`Bad::CAUSES`].
    pub requests: [u64; Bad::CAUSES.len()],
    /// WebSockets that ended without a connect request, by [`NoConnect::ALL`].
    pub no_connect: [u64; NoConnect::ALL.len()],
    /// Losses on connections that are closed.
    pub lost: Lost,
}

impl Counters {
    pub const NONE: Counters = Counters {
        admitted: [0; Rule::ALL.len()],
        commands: 0,
        refused: [0; Rule::ALL.len()],
        codes: [0; Refusal::ALL.len()],
        requests: [0; Bad::CAUSES.len()],
        no_connect: [0; NoConnect::ALL.len()],
        lost: Lost::NONE,
    };

    /// Counts an admission.
    pub fn admitted(&mut self, rule: Rule) {
        self.admitted[rule as usize] += 1;
    }

    /// Counts a refusal.
    pub fn refused(&mut self, rule: Rule, refusal: Refusal) {
        self.refused[rule as usize] += 1;
        self.codes[first(refusal.words().code)] += 1;
    }

    /// Returns the counts by code, each code once.
    pub fn by_code(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let codes = Refusal::ALL.iter().map(|refusal| refusal.words().code);
        let counts = codes.zip(self.codes).enumerate();
        counts.filter(|(index, (code, _))| first(code) == *index).map(|(_, count)| count)
    }

    /// Adds the losses of a closed connection.
    pub fn add_lost(&mut self, lost: Lost) {
        self.lost = self.lost.and(lost);
    }
}

/// Returns the index of the first refusal with this code.
fn first(code: &str) -> usize {
    Refusal::ALL.iter().position(|one| one.words().code == code).unwrap_or(0)
}
