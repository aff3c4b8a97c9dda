//! Blocking WebSocket on std alone, so that the bench does not depend on the code that it measures.
//! Supports unfragmented text messages, pings and close frames, as client and as server.

use std::io::ErrorKind::{ConnectionAborted, InvalidData};
use std::io::{self, Read, Write};
use std::net::TcpStream;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// Flag of the last frame of a message.
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Mask of every frame sent. RFC 6455 requires an unpredictable mask of browsers; a bench needs
/// none.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Size of one read, in bytes.
const READ: usize = 1 << 14;

/// Side of a connection. A client masks its frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// Open WebSocket.
pub struct WebSocket {
    pub stream: TcpStream,
    side: Side,
    /// Bytes of incomplete frames.
    input: Vec<u8>,
}

/// Position and length of the payload of a frame.
struct Head {
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// Offsets of the payload from the first byte of the frame.
    start: usize,
    end: usize,
}

impl WebSocket {
    /// Creates a WebSocket on a stream after the upgrade; `input` holds the bytes received after
    /// the upgrade.
    pub fn new(stream: TcpStream, side: Side, input: Vec<u8>) -> WebSocket {
        WebSocket { stream, side, input }
    }

    /// Sends a text message that consists of these parts.
    pub fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.write(TEXT, parts)
    }

    /// Waits for the next text message; answers pings meanwhile.
    ///
    /// # Errors
    ///
    /// `ConnectionAborted` with the reason of the peer if the connection was closed; `InvalidData`
    /// for a frame that this module does not support. An error of kind `WouldBlock` or `TimedOut`
    /// loses no data: the call can be repeated.
    pub fn read(&mut self) -> io::Result<String> {
        loop {
            let head = self.head()?;
            self.fill(head.end)?;
            let rest = self.input.split_off(head.end);
            let mut payload = std::mem::replace(&mut self.input, rest);
            payload.drain(..head.start);
            if let Some(mask) = head.mask {
                apply(mask, &mut payload);
            }
            match head.opcode {
                TEXT => {
                    return String::from_utf8(payload)
                        .map_err(|error| io::Error::new(InvalidData, error))
                }
                PING => self.write(PONG, &[&payload])?,
                PONG => {}
                CLOSE => {
                    let (code, reason) = payload.split_at_checked(2).unwrap_or((&[0, 0], &[]));
                    let code = u16::from_be_bytes([code[0], code[1]]);
                    let reason = format!("closed: {code} {}", String::from_utf8_lossy(reason));
                    return Err(io::Error::new(ConnectionAborted, reason));
                }
                other => {
                    return Err(io::Error::new(
                        InvalidData,
                        format!("no frame has the opcode {other} here"),
                    ))
                }
            }
        }
    }

    fn head(&mut self) -> io::Result<Head> {
        self.fill(2)?;
        let [first, second] = [self.input[0], self.input[1]];
        if first & FIN == 0 {
            return Err(io::Error::new(InvalidData, "a fragmented message was not expected"));
        }
        let more = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let keyed = second & MASKED != 0;
        let start = 2 + more + if keyed { 4 } else { 0 };
        self.fill(start)?;
        let length = match more {
            0 => usize::from(second & !MASKED),
            _ => self.input[2..2 + more]
                .iter()
                .fold(0, |length, byte| (length << 8) | usize::from(*byte)),
        };
        let mask = keyed.then(|| std::array::from_fn(|at| self.input[start - 4 + at]));
        Ok(Head { opcode: first & !FIN, mask, start, end: start + length })
    }

    /// Reads until there are at least `wanted` bytes.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.input.len() < wanted {
            let mut some = [0; READ];
            match self.stream.read(&mut some)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    self.input.reserve(wanted.saturating_sub(self.input.len()).max(count));
                    self.input.extend_from_slice(&some[..count]);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, opcode: u8, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut frame = Vec::with_capacity(length + 14);
        frame.push(FIN | opcode);
        let masked = if self.side == Side::Client { MASKED } else { 0 };
        match length {
            0..126 => frame.push(masked | length as u8),
            126..0x1_0000 => {
                frame.push(masked | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(masked | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if self.side == Side::Client {
            frame.extend(MASK);
        }
        let start = frame.len();
        parts.iter().for_each(|part| frame.extend_from_slice(part));
        if self.side == Side::Client {
            apply(MASK, &mut frame[start..]);
        }
        self.stream.write_all(&frame)
    }
}

/// Applies or removes the mask.
fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    for four in bytes.chunks_mut(4) {
        four.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
    }
}
