//! Tracks frame boundaries in a byte stream (RFC 6455, section 5.2).
//!
//! A WebSocket library that is given one frame at a time has an empty buffer after each message.
//! Its buffers can be replaced there, and a changed limit applies exactly from the next frame on. A
//! length over the limit is rejected when the frame head is complete, before the library gets it.
//! All other protocol checks are left to the library.

use crate::gate::limits;

/// Position in a stream of frames. Does no I/O.
#[derive(Clone, Copy)]
pub struct FrameMeter {
    /// Maximum payload of a frame, and of all frames of a message together, in bytes.
    limit: usize,
    /// Bytes of the current frame, of head and payload, that were not passed on yet.
    remaining: u64,
    /// Payload bytes of the frames of the current message so far, the current one included.
    message: u64,
    /// Whether more frames of the current message follow.
    is_partial: bool,
}

/// Error: the frame, or the message that it continues, is larger than the limit.
#[derive(PartialEq, Eq, Debug)]
pub struct TooLarge;

impl FrameMeter {
    /// Creates a meter at the start of a frame.
    pub fn new(limit: usize) -> FrameMeter {
        FrameMeter { limit, remaining: 0, message: 0, is_partial: false }
    }

    /// Sets the limit for frames whose head was not passed on yet.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Returns how many of `bytes` to pass on, and counts them as passed. `bytes` must follow those
    /// passed on before. The result is at most `max` and does not exceed the frame. It is 0 if
    /// `max` is 0, or if `bytes` is the start of a head that is not complete.
    pub fn pass(&mut self, bytes: &[u8], max: usize) -> Result<usize, TooLarge> {
        if self.remaining == 0 {
            let Some(head) = FrameHead::read(bytes) else { return Ok(0) };
            self.start_frame(&head)?;
        }
        let count = self.within_frame(bytes.len().min(max));
        self.remaining -= count as u64;
        Ok(count)
    }

    /// Returns how many bytes to reserve before the frame at the start of `bytes` is passed on: the
    /// size of its message. For a message in several frames it is twice the size, because the
    /// library copies each frame, or twice a bound if more frames follow. 0 if there is no complete
    /// head, and for messages of at most [`limits::BUFFER_KEPT`] bytes. `bytes` must follow those
    /// passed on.
    pub fn reservation(&self, bytes: &[u8]) -> Result<usize, TooLarge> {
        if self.remaining > 0 {
            return Ok(0);
        }
        let Some(head) = FrameHead::read(bytes) else { return Ok(0) };
        let message = self.message_with(&head)?;
        if head.opcode >= FIRST_CONTROL || message <= limits::BUFFER_KEPT as u64 {
            return Ok(0);
        }
        let (message, ordinary) = (message as usize, limits::FRAME_ORDINARY.min(self.limit));
        Ok(match head.is_last {
            true if !self.is_partial => message,
            true => 2 * message,
            false if message <= ordinary => 2 * ordinary,
            false => 2 * self.limit,
        })
    }

    /// Number of bytes received of the current message, about.
    pub fn received(&self) -> u64 {
        self.message.saturating_sub(self.remaining)
    }

    /// Returns `len`, or the rest of the current frame if that is less. 0 between two frames.
    pub fn within_frame(&self, len: usize) -> usize {
        usize::try_from(self.remaining).map_or(len, |remaining| remaining.min(len))
    }

    /// Returns whether the last frame was passed on completely, or none was begun.
    pub fn is_between_frames(&self) -> bool {
        self.remaining == 0
    }

    /// Returns whether the last message was passed on completely, or none was begun.
    pub fn is_between_messages(&self) -> bool {
        self.remaining == 0 && !self.is_partial
    }

    fn start_frame(&mut self, head: &FrameHead) -> Result<(), TooLarge> {
        let message = self.message_with(head)?;
        // control frames may occur between the frames of a message
        if head.opcode < FIRST_CONTROL {
            (self.message, self.is_partial) = (message, !head.is_last);
        }
        self.remaining = head.len + head.payload;
        Ok(())
    }

    /// Returns the size of the message that this frame begins or continues, up to its end.
    fn message_with(&self, head: &FrameHead) -> Result<u64, TooLarge> {
        let message = match head.opcode {
            CONTINUATION if self.is_partial => self.message.saturating_add(head.payload),
            _ => head.payload,
        };
        if message > self.limit as u64 {
            return Err(TooLarge);
        }
        Ok(message)
    }
}

/// Opcode of a frame that continues a message.
const CONTINUATION: u8 = 0;
/// Lowest opcode of control frames.
const FIRST_CONTROL: u8 = 8;

/// Part of a frame head that is needed to compute lengths.
struct FrameHead {
    opcode: u8,
    is_last: bool,
    len: u64,
    payload: u64,
}

impl FrameHead {
    /// Reads the head at the start of `bytes`; `None` if its length field is not complete.
    fn read(bytes: &[u8]) -> Option<FrameHead> {
        let [first, second, rest @ ..] = bytes else { return None };
        let (extended, payload) = match second & 0x7f {
            126 => (2, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
            127 => (8, u64::from_be_bytes(*rest.first_chunk()?)),
            short => (0, u64::from(short)),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        Some(FrameHead {
            opcode: first & 0x0f,
            is_last: first & 0x80 != 0,
            len: 2 + extended + mask,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 65_536;
    /// Number of bytes with which any head can be read: two, and the longest length field.
    const READABLE: usize = 10;
    const PIECES: [usize; 12] = [1, 2, 3, 7, 13, 125, 1000, 1024, 1025, 4096, 65_536, usize::MAX];

    /// Returns a frame with this first byte, masked as clients send it or not.
    fn frame(first: u8, len: usize, masked: bool) -> Vec<u8> {
        let mut frame = head(first, len as u64, masked);
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.resize(frame.len() + len, 0xaa);
        frame
    }

    fn head(first: u8, len: u64, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        match len {
            0..126 => vec![first, mask | len as u8],
            126..65_536 => [&[first, mask | 126][..], &(len as u16).to_be_bytes()].concat(),
            _ => [&[first, mask | 127][..], &len.to_be_bytes()].concat(),
        }
    }

    /// Passes `bytes` on in pieces of `piece` bytes, at most `most` at once. Returns the positions
    /// at which frames and messages ended.
    fn ends(
        meter: &mut FrameMeter,
        bytes: &[u8],
        piece: usize,
        most: usize,
    ) -> Result<(Vec<usize>, Vec<usize>), TooLarge> {
        let (mut frames, mut messages) = (Vec::new(), Vec::new());
        let (mut passed, mut received) = (0, 0);
        while passed < bytes.len() {
            let count = meter.pass(&bytes[passed..received], most)?;
            passed += count;
            if count == 0 {
                assert!(
                    received < bytes.len(),
                    "stuck at {passed} of {received} with pieces of {piece}"
                );
                assert!(received - passed < READABLE, "a readable head was not read");
                received = received.saturating_add(piece).min(bytes.len());
            } else if meter.is_between_frames() {
                frames.push(passed);
                if meter.is_between_messages() {
                    messages.push(passed);
                }
            }
        }
        Ok((frames, messages))
    }

    #[test]
    fn frame_and_message_ends_do_not_depend_on_the_piece_size() {
        // text, ping, text in three frames (ping and pong after the first), binary, three texts,
        // close
        let parts = [
            (0x81, 5, true),
            (0x89, 125, true),
            (0x01, 126, true),
            (0x89, 0, true),
            (0x8a, 3, true),
            (0x00, 30_000, true),
            (0x80, 0, true),
            (0x82, 65_535, true),
            (0x81, 65_536, true),
            (0x81, 0, false),
            (0x81, 127, false),
            (0x88, 2, true),
        ];
        let whole_messages =
            [true, true, false, false, false, false, true, true, true, true, true, true];
        let (mut bytes, mut frames, mut messages) = (Vec::new(), Vec::new(), Vec::new());
        for ((first, len, masked), message) in parts.into_iter().zip(whole_messages) {
            bytes.extend(frame(first, len, masked));
            frames.push(bytes.len());
            if message {
                messages.push(bytes.len());
            }
        }
        for piece in PIECES {
            for most in PIECES {
                let mut meter = FrameMeter::new(LIMIT);
                let ended = ends(&mut meter, &bytes, piece, most);
                assert_eq!(
                    ended,
                    Ok((frames.clone(), messages.clone())),
                    "pieces of {piece}, at most {most}"
                );
                assert!(meter.is_between_messages());
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_rejected_at_the_frame_head() {
        for (first, masked) in
            [(0x81, true), (0x82, false), (0x01, true), (0x89, true), (0x88, true), (0x8a, false)]
        {
            for len in [LIMIT as u64 + 1, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX] {
                let bytes = head(first, len, masked);
                for piece in PIECES {
                    let mut meter = FrameMeter::new(LIMIT);
                    assert_eq!(
                        ends(&mut meter, &bytes, piece, usize::MAX),
                        Err(TooLarge),
                        "{first:#x} {len} {piece}"
                    );
                    assert!(meter.is_between_frames(), "nothing of it was passed on");
                }
            }
            let mut meter = FrameMeter::new(LIMIT);
            let bytes = frame(first, LIMIT, masked);
            assert_eq!(
                meter.pass(&bytes, usize::MAX),
                Ok(bytes.len()),
                "a frame of the limit itself"
            );
        }
    }

    #[test]
    fn the_limit_applies_to_all_fragments_but_not_to_control_frames() {
        let half = LIMIT / 2;
        let mut message =
            [frame(0x01, half, true), frame(0x89, 125, true), frame(0x00, half, true)].concat();
        for piece in PIECES {
            let mut meter = FrameMeter::new(LIMIT);
            let good =
                [message.as_slice(), &frame(0x80, 0, true), &frame(0x81, LIMIT, true)].concat();
            assert!(
                ends(&mut meter, &good, piece, usize::MAX).is_ok(),
                "a complete message no longer counts"
            );
            let mut meter = FrameMeter::new(LIMIT);
            let bad = [message.as_slice(), &head(0x80, 1, true)].concat();
            assert_eq!(
                ends(&mut meter, &bad, piece, usize::MAX),
                Err(TooLarge),
                "one byte too many in its last frame"
            );
        }
        // the sum of lengths saturates instead of wrapping to a small number
        message.extend(head(0x00, u64::MAX, true));
        assert_eq!(ends(&mut FrameMeter::new(LIMIT), &message, 1, usize::MAX), Err(TooLarge));
    }

    #[test]
    fn a_changed_limit_applies_from_the_next_frame() {
        let next = frame(0x81, LIMIT + 1, true);
        let bytes = [frame(0x81, 900, true), next.clone()].concat();
        for piece in PIECES {
            let mut meter = FrameMeter::new(LIMIT);
            // the first piece ends at the second frame or anywhere in it
            let received = piece.min(bytes.len()).max(908);
            assert_eq!(meter.pass(&bytes[..received], usize::MAX), Ok(908));
            let mut rejected = meter;
            assert_eq!(rejected.pass(&bytes[908..], usize::MAX), Err(TooLarge));
            meter.set_limit(2 * LIMIT);
            assert_eq!(ends(&mut meter, &bytes[908..], piece, usize::MAX).unwrap().1, [next.len()]);
            meter.set_limit(LIMIT);
            assert_eq!(
                meter.pass(&next, usize::MAX),
                Err(TooLarge),
                "the lower limit applies again"
            );
        }
    }
}
