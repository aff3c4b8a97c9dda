//! Decompresses the embedded page for clients that do not accept gzip. Slow and small: such clients
//! are rare, and the program holds the page only in its compressed form.

/// Order in which a block lists the lengths of its length codes (RFC 1951, section 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const CODE_LEN: usize = 15;
/// Symbol that ends a block; greater ones are lengths of copies.
const END: usize = 256;

/// Decompresses data in the format of RFC 1951. Returns `None` if it is invalid; bytes after its
/// end are ignored.
pub fn inflate(data: &[u8]) -> Option<Vec<u8>> {
    let (mut bits, mut out) = (Bits { data, at: 0 }, Vec::new());
    loop {
        let is_last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => bits.stored(&mut out)?,
            1 => {
                let lengths = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
                bits.block(&mut out, &Codes::of(&lengths), &Codes::of(&[5; 30]))?;
            }
            2 => {
                let (symbols, distances) = bits.codes()?;
                bits.block(&mut out, &symbols, &distances)?;
            }
            _ => return None,
        }
        if is_last {
            return Some(out);
        }
    }
}

/// Reader of bits, the lowest of each byte first.
struct Bits<'a> {
    data: &'a [u8],
    /// Number of bits that were read.
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<usize> {
        let mut value = 0;
        for place in 0..count {
            let byte = *self.data.get(self.at / 8)?;
            value |= usize::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Some(value)
    }

    /// Copies a block without compression.
    fn stored(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.at = self.at.next_multiple_of(8);
        let (len, inverse) = (self.take(16)?, self.take(16)?);
        let start = self.at / 8;
        out.extend_from_slice(self.data.get(start..start + len)?);
        self.at += 8 * len;
        (len ^ inverse == 0xffff).then_some(())
    }

    /// Reads the codes of a block: those of symbols and those of distances.
    fn codes(&mut self) -> Option<(Codes, Codes)> {
        let symbols = self.take(5)? + 257;
        let (all, listed) = (symbols + self.take(5)? + 1, self.take(4)? + 4);
        let mut lengths = [0; ORDER.len()];
        for place in ORDER.into_iter().take(listed) {
            lengths[place] = self.take(3)? as u8;
        }
        let codes = Codes::of(&lengths);
        let mut lengths = Vec::new();
        while lengths.len() < all {
            let (length, count) = match codes.symbol(self)? {
                16 => (*lengths.last()?, 3 + self.take(2)?),
                17 => (0, 3 + self.take(3)?),
                18 => (0, 11 + self.take(7)?),
                length => (length as u8, 1),
            };
            lengths.resize(lengths.len() + count, length);
        }
        let (symbols, distances) = lengths.get(..all)?.split_at(symbols);
        Some((Codes::of(symbols), Codes::of(distances)))
    }

    /// Decompresses a block.
    fn block(&mut self, out: &mut Vec<u8>, symbols: &Codes, distances: &Codes) -> Option<()> {
        loop {
            let symbol = symbols.symbol(self)?;
            if symbol == END {
                return Some(());
            }
            if symbol < END {
                out.push(symbol as u8);
                continue;
            }
            let len = self.copy_len(symbol)?;
            let distance = self.distance(distances)?;
            let start = out.len().checked_sub(distance)?;
            // byte by byte, because a copy may contain what it writes
            for at in start..start + len {
                out.push(out[at]);
            }
        }
    }

    /// Returns the length of a copy: 3 to 258.
    fn copy_len(&mut self, symbol: usize) -> Option<usize> {
        match symbol {
            0..=264 => Some(symbol - 254),
            265..=284 => {
                let (group, place) = ((symbol - 261) / 4, (symbol - 261) % 4);
                Some(((4 + place) << group) + 3 + self.take(group)?)
            }
            285 => Some(258),
            _ => None,
        }
    }

    /// Returns how far back a copy starts: 1 to 32,768.
    fn distance(&mut self, distances: &Codes) -> Option<usize> {
        match distances.symbol(self)? {
            symbol @ 0..=3 => Some(symbol + 1),
            symbol @ 4..=29 => {
                let group = symbol / 2 - 1;
                Some(((2 + symbol % 2) << group) + 1 + self.take(group)?)
            }
            _ => None,
        }
    }
}

/// Codes of symbols, given by the length of each.
struct Codes {
    /// Number of codes of each length.
    counts: [usize; CODE_LEN + 1],
    /// Symbols, ordered by the length of their codes.
    symbols: Vec<usize>,
}

impl Codes {
    fn of(lengths: &[u8]) -> Codes {
        let (mut counts, mut symbols) = ([0; CODE_LEN + 1], Vec::new());
        for (length, count) in counts.iter_mut().enumerate().skip(1) {
            let before = symbols.len();
            let of_length = |(_, one): &(usize, &u8)| usize::from(**one) == length;
            symbols.extend(lengths.iter().enumerate().filter(of_length).map(|(symbol, _)| symbol));
            *count = symbols.len() - before;
        }
        Codes { counts, symbols }
    }

    /// Reads a code and returns its symbol.
    fn symbol(&self, bits: &mut Bits<'_>) -> Option<usize> {
        // the first code of the current length, and the number of shorter ones
        let (mut code, mut first, mut shorter) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.take(1)?;
            if code < first + count {
                return self.symbols.get(shorter + (code - first)).copied();
            }
            shorter += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::DeflateEncoder;
    use flate2::Compression;

    use super::*;

    fn deflated(data: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Returns data that repeats itself: literals, short and long copies, and all distances.
    fn sample(random: &mut fastrand::Rng) -> Vec<u8> {
        let mut data: Vec<u8> = Vec::new();
        let letters = random.u8(1..=255);
        for _ in 0..random.usize(0..60) {
            if data.is_empty() || random.bool() {
                data.extend((0..random.usize(1..900)).map(|_| random.u8(0..=letters)));
            } else {
                let start = random.usize(0..data.len());
                let end = data.len().min(start + random.usize(1..3000));
                data.extend_from_within(start..end);
            }
        }
        data
    }

    #[test]
    fn compressed_data_is_restored_at_every_level() {
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..300 {
            let data = sample(&mut random);
            let packed = deflated(&data, round % 11);
            assert!(inflate(&packed).as_ref() == Some(&data), "round {round}");
            let longer = [&packed[..], b"more"].concat();
            assert!(inflate(&longer).as_ref() == Some(&data), "round {round}");
        }
        // a block of the fixed codes
        assert_eq!(inflate(&deflated(b"aaaaaaaaaaaaaaaaab", 9)).unwrap(), b"aaaaaaaaaaaaaaaaab");
        assert_eq!(inflate(&deflated(b"", 9)).unwrap(), b"");
    }

    #[test]
    fn damaged_data_is_an_error_or_other_data() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..2000 {
            let mut packed = deflated(&sample(&mut random), 9);
            packed.truncate(random.usize(0..=packed.len()));
            for _ in 0..random.usize(0..4).min(packed.len()) {
                let at = random.usize(0..packed.len());
                packed[at] = random.u8(..);
            }
            let _ = inflate(&packed);
        }
        for packed in [&[][..], &[7], &[1, 0, 0, 0, 0], &[3], &[5, 0xff, 0xff]] {
            assert_eq!(inflate(packed), None, "{packed:?}");
        }
    }
}
