//! Memory of large messages: peak while a message is relayed, and release while all connections
//! stay open.

use std::path::Path;
use std::time::Duration;

use crate::builds::{Age, Builds};
use crate::client::{Client, Device, Failed};
use crate::gateway::{fresh, Gateway, SETTLE};
use crate::relay::{call, call_with, text, LARGEST, SMALL};
use crate::table::{bytes, times, Goal, Section, Table};

const MIB: f64 = 1024.0 * 1024.0;
const OPERATORS: usize = 10;
/// Size of a large message in bytes.
const LARGE: usize = 20_000_000;
/// Time between the last large message and the reading of the memory.
const GIVEN_BACK: Duration = Duration::from_secs(5);

/// Direction of the large text.
#[derive(Clone, Copy)]
enum Way {
    ToNode,
    FromNode,
}

/// Memory before, at the peak, and at the end, in bytes.
struct Usage {
    before: f64,
    peak: f64,
    after: f64,
}

/// Adds the rows of memory.
pub fn rows(table: &mut Table, builds: &mut Builds, root: &Path) -> Result<(), Failed> {
    let ways = [
        (Way::FromNode, "ten node.invoke with answers of 20 MB", "kept-answers"),
        (Way::ToNode, "ten node.invoke with parameters of 20 MB", "kept-parameters"),
    ];
    for (way, what, name) in ways {
        let (new, old) = builds.each(|age, binary| given_back(&start(binary, root, age)?, way))?;
        let kept = |usage: &Usage| usage.after - usage.before;
        let note = format!(
            "before {}, peak {}, 5 s after {}",
            bytes(new.before),
            bytes(new.peak),
            bytes(new.after)
        );
        let figures = (kept(&new), builds.old_count(name, old.as_ref().map(kept)));
        table.pair(
            Section::Builds,
            &format!("RSS kept 5 s after {what}"),
            Goal::count(MIB),
            figures,
            bytes,
            &note,
        );
    }
    let (new, old) = builds.each(|age, binary| largest(&start(binary, root, age)?))?;
    let payloads = |usage: &Usage| (usage.peak - usage.before) / LARGEST as f64;
    // Counts are recorded as integers, therefore in bytes.
    let recorded =
        builds.old_count("peak-largest", old.as_ref().map(|usage| usage.peak - usage.before));
    let note = format!(
        "peak {}, 5 s after {} more than before",
        bytes(new.peak),
        bytes(new.after - new.before)
    );
    table.pair(
        Section::Builds,
        "peak memory of 25 MiB through node.invoke, in payloads",
        // the bound is 3.0; the peak is counted in whole pages
        Goal::count(3.02),
        (payloads(&new), recorded.map(|peak| peak / LARGEST as f64)),
        times,
        &note,
    );
    Ok(())
}

fn start(binary: &Path, root: &Path, age: Age) -> Result<Gateway, Failed> {
    Gateway::start(binary, &fresh(root, if age == Age::New { "memory-new" } else { "memory-old" })?)
}

/// Measures ten operators that call a node with large texts, one after another; all stay connected.
fn given_back(gateway: &Gateway, way: Way) -> Result<Usage, Failed> {
    let (small, large) = (Device::new(11), Device::new(12));
    Client::serve(&gateway.place, &small, SMALL.to_vec())?;
    Client::serve(&gateway.place, &large, text(LARGE))?;
    let device = Device::new(1);
    let operators = (0..OPERATORS).map(|_| Client::connect(&gateway.place, &device));
    let mut operators = operators.collect::<Result<Vec<_>, _>>()?;
    let few = call(&small);
    operators.iter_mut().try_for_each(|operator| operator.call("node.invoke", &few).map(drop))?;
    let much = match way {
        Way::FromNode => call(&large),
        Way::ToNode => {
            call_with(&small, &[br#"{"text":""#, "x".repeat(LARGE).as_bytes(), br#""}"#].concat())
        }
    };
    watched(gateway, || {
        operators.iter_mut().try_for_each(|operator| operator.call("node.invoke", &much).map(drop))
    })
}

/// Measures one operator that receives the largest payload.
fn largest(gateway: &Gateway) -> Result<Usage, Failed> {
    let node = Device::new(12);
    Client::serve(&gateway.place, &node, text(LARGEST))?;
    let mut operator = Client::connect(&gateway.place, &Device::new(1))?;
    let call = call(&node);
    watched(gateway, || {
        let answer = operator.call("node.invoke", &call)?;
        match answer.len() < LARGEST {
            true => Err(format!("the payload did not arrive: {} bytes", answer.len()).into()),
            false => Ok(()),
        }
    })
}

/// Returns the memory before, during and after `work`.
fn watched(gateway: &Gateway, work: impl FnOnce() -> Result<(), Failed>) -> Result<Usage, Failed> {
    std::thread::sleep(SETTLE);
    gateway.reset_peak()?;
    let before = gateway.rss();
    work()?;
    std::thread::sleep(GIVEN_BACK);
    Ok(Usage { before, peak: gateway.peak(), after: gateway.rss() })
}
