//! The language of session inputs: one step per line, selected by its first byte. Other lines do
//! nothing, so that every input is a valid script.
//!
//! ```text
//! o V LINES      a connection with an upgrade; V: where from (0 this machine, 1 a trusted proxy,
//!                2 a remote address, 3 a range of nodes); LINES of the head, with | for line ends
//! h V LINES      a connection with this request
//! r BYTES        these bytes, with \n \r \\ \xHH
//! c ABCD FIELDS  connect, in response to the challenge: A role and protocol (o, n: protocol 4;
//!                O, N: protocol 3), B the secret (t right, w wrong, p the right one as password,
//!                d the device token received last, c the setup code received last, - none), C the
//!                number of the key or -, D signed by itself (s), by another key (x), for another
//!                nonce (o); FIELDS merged over it, JSON
//! m NAME PARAMS  a request of that method; $r $i $a $t $c $s $d in PARAMS are the values last seen
//!                of request, invocation, approval, token, code, setup, and the id of a node
//! f TEXT         a text frame
//! w XX BYTES     a frame with this first byte, in hexadecimal
//! u N            the following steps are for connection N
//! t MS           time advances; T MS: the wall clock is set back by this
//! d X            the disk: - fails, + works, h holds writes, g continues
//! l X            the client: - reads nothing, + reads
//! p N            the following is sent in pieces of N bytes (0: as a whole)
//! x              the client closes; e: it closes only its sending half
//! q              a request to stop
//! ```

/// One step.
#[derive(Debug)]
pub enum Step<'a> {
    Open { from: u8, lines: &'a [u8] },
    Head { from: u8, lines: &'a [u8] },
    Raw(Vec<u8>),
    Connect { kind: [u8; 4], fields: &'a [u8] },
    Call { method: &'a [u8], params: &'a [u8] },
    Frame { first: u8, payload: &'a [u8] },
    Use(usize),
    Time { ms: u64, back: bool },
    Disk(u8),
    Reads(bool),
    Pieces(usize),
    Close { half: bool },
    Stop,
}

/// Returns the steps of an input, at most [`MOST`].
pub fn steps(script: &[u8]) -> impl Iterator<Item = Step<'_>> {
    script.split(|byte| *byte == b'\n').filter_map(step).take(MOST)
}

/// Limit of steps: more would only take longer.
const MOST: usize = 48;

fn step(line: &[u8]) -> Option<Step<'_>> {
    let (kind, rest) = line.split_first()?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let first = rest.first().copied().unwrap_or(b'0');
    let behind = rest.get(2..).unwrap_or_default();
    Some(match kind {
        b'o' => Step::Open { from: first, lines: behind },
        b'h' => Step::Head { from: first, lines: behind },
        b'r' => Step::Raw(unescaped(rest)),
        b'c' => {
            let kind = *rest.first_chunk()?;
            Step::Connect { kind, fields: rest.get(5..).unwrap_or_default() }
        }
        b'm' => {
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            Step::Call { method: &rest[..end], params: rest.get(end + 1..).unwrap_or(b"{}") }
        }
        b'f' => Step::Frame { first: 0x81, payload: rest },
        b'w' => {
            let first = u8::from_str_radix(core::str::from_utf8(rest.get(..2)?).ok()?, 16).ok()?;
            Step::Frame { first, payload: rest.get(3..).unwrap_or_default() }
        }
        b'u' => Step::Use(usize::from(first.wrapping_sub(b'0'))),
        b't' | b'T' => Step::Time { ms: number(rest), back: *kind == b'T' },
        b'd' => Step::Disk(first),
        b'l' => Step::Reads(first != b'-'),
        b'p' => Step::Pieces(number(rest) as usize),
        b'x' | b'e' => Step::Close { half: *kind == b'e' },
        b'q' => Step::Stop,
        _ => return None,
    })
}

/// Parses a number, at most a week in milliseconds.
fn number(digits: &[u8]) -> u64 {
    core::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.trim().parse().ok())
        .unwrap_or(0)
        .min(604_800_000)
}

fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let Some((which, behind)) = rest.split_first() else { break };
        rest = behind;
        out.push(match which {
            b'n' => b'\n',
            b'r' => b'\r',
            b'x' => {
                let digits = rest.get(..2).and_then(|two| core::str::from_utf8(two).ok());
                let value = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
                rest = &rest[value.map_or(0, |_| 2)..];
                value.unwrap_or(0)
            }
            other => *other,
        });
    }
    out
}
