//! The dashboard page: its size, and the time to serve it.

use flate2::read::GzDecoder;

use crate::client::{get, Failed};
use crate::gateway::Gateway;
use crate::relay::trips;
use crate::table::{bytes, ns, Goal, Section, Table};

/// Adds the rows of the page.
pub fn rows(table: &mut Table, gateway: &Gateway) -> Result<(), Failed> {
    let address = gateway.place.address;
    let files = page_files(&body(&get(address, "/")?)?)?;
    let mut size = 0.0;
    for path in &files {
        size += body(&get(address, path)?)?.len() as f64;
    }
    let note = format!("{} files, as they are sent", files.len());
    table.row(
        Section::Counts,
        "whole page, compressed",
        Goal::count(42.0 * 1024.0),
        size,
        bytes,
        &note,
    );
    let [p50, p99] = trips(TRIPS, || Ok(get(address, "/").map(drop)?))?;
    let note = format!("p99 {}", ns(p99));
    table.row(Section::Times, "/ alone, p50", Goal::NONE, p50, ns, &note);
    let [p50, p99] =
        trips(TRIPS, || files.iter().try_for_each(|path| Ok(get(address, path).map(drop)?)))?;
    let note =
        format!("p99 {}; {} files one after another, a connection each", ns(p99), files.len());
    table.row(
        Section::Times,
        "first page, / and all its files, p50",
        Goal::time(30e6),
        p50,
        ns,
        &note,
    );
    Ok(())
}

const TRIPS: usize = 2_000;

/// Returns the path `/` and the paths of the assets that it refers to.
fn page_files(index: &[u8]) -> Result<Vec<String>, Failed> {
    let text = std::io::read_to_string(GzDecoder::new(index))?;
    let named = text.split("=\"assets/").skip(1).filter_map(|rest| rest.split('"').next());
    let files: Vec<String> = std::iter::once("/".to_string())
        .chain(named.map(|name| ["/assets/", name].concat()))
        .collect();
    match files.len() {
        3.. => Ok(files),
        _ => Err("the page names no files".into()),
    }
}

/// Returns the body of a response with status 200.
fn body(answer: &[u8]) -> Result<Vec<u8>, Failed> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    match end {
        Some(end) if answer.starts_with(b"HTTP/1.1 200 ") => Ok(answer[end + 4..].to_vec()),
        _ => Err(format!("not a file of the page: {}", String::from_utf8_lossy(answer)).into()),
    }
}
