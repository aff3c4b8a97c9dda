//! Conversion between bytes and values: JSON, frames, connect, hello, HTTP heads.
//!
//! The input may come from unauthenticated clients: what is kept of it is bounded by
//! `gate::limits`, and no input causes a panic. This module makes no decisions, does no I/O, reads
//! no clock and keeps no state between calls.

#[cfg(test)]
mod agreement;
pub mod base64;
#[allow(clippy::question_mark)] // in code that the derive generates
pub mod connect;
#[allow(clippy::question_mark)]
pub mod frames;
pub mod hello;
pub mod http;
pub mod json;
mod json_write;
pub mod message;
pub mod schema;

#[cfg(test)]
pub(crate) mod testing {
    pub use super::agreement::hold;

    /// Pseudo-random numbers, the same in every run (xorshift64*).
    pub struct Random(u64);

    impl Random {
        pub fn new(seed: u64) -> Random {
            Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        }

        pub fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
        }

        /// Returns up to `most` bytes, each taken from `alphabet`.
        pub fn bytes_of(&mut self, alphabet: &[u8], most: usize) -> Vec<u8> {
            (0..self.below(most + 1)).map(|_| alphabet[self.below(alphabet.len())]).collect()
        }

        /// Returns `text` with a few bytes changed, removed, duplicated or cut off.
        pub fn damaged(&mut self, text: &[u8]) -> Vec<u8> {
            let mut text = text.to_vec();
            for _ in 0..1 + self.below(3) {
                let at = self.below(text.len());
                match self.below(4) {
                    _ if text.is_empty() => {}
                    0 => text[at] = self.below(256) as u8,
                    1 => drop(text.remove(at)),
                    2 => text.insert(at, text[at]),
                    _ => text.truncate(at),
                }
            }
            text
        }
    }
}
