//! QR codes: in a terminal with half blocks, two rows of modules per line, and as a picture for a
//! page.

use crc::{Crc, CRC_32_ISO_HDLC};
use qrcodegen::{QrCode, QrCodeEcc};

use crate::wire::base64;

/// Number of light modules around a code in a terminal, where space is short; scanners need some.
const QUIET: i32 = 2;

/// Number of light modules around a code in a picture, as the standard requires.
const MARGIN: i32 = 4;

/// Maximum side of a picture in pixels, unless there are more modules. It keeps the URL below the
/// 16384 characters of protocol 4.
const SIDE: i32 = 292;

/// Returns the text as a QR code in a `data:image/png` URL, dark on white; `None` if it is too long
/// for one.
///
/// The picture is not compressed, so that no compressor is needed: at one bit per pixel it is small
/// enough.
pub fn data_url(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    Some(format!("data:image/png;base64,{}", base64::encode(&png(&code))))
}

fn png(code: &QrCode) -> Vec<u8> {
    let modules = code.size() + 2 * MARGIN;
    let scale = (SIDE / modules).max(1);
    let side = modules * scale;
    let mut rows = Vec::new();
    for y in 0..modules {
        // Everything outside of the code is light.
        let light = (0..modules).map(|x| !code.get_module(x - MARGIN, y - MARGIN));
        let row = row(light, scale as usize, side as usize);
        (0..scale).for_each(|_| rows.extend_from_slice(&row));
    }
    // One stored block without compression: at most 292 rows of 38 bytes.
    let len = rows.len() as u16;
    let data =
        [b"\x78\x01\x01", &len.to_le_bytes()[..], &(!len).to_le_bytes(), &rows, &adler32(&rows)]
            .concat();
    let side = side.to_be_bytes();
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    // Grayscale with one bit per pixel.
    chunk(&mut out, b"IHDR", &[&side[..], &side, b"\x01\0\0\0\0"].concat());
    chunk(&mut out, b"IDAT", &data);
    chunk(&mut out, b"IEND", b"");
    out
}

/// Returns a row of pixels without a filter, `scale` pixels for each module; the rest of the last
/// byte is light.
fn row(light: impl Iterator<Item = bool>, scale: usize, side: usize) -> Vec<u8> {
    let mut row = vec![0; 1 + side.div_ceil(8)];
    let pixels = light.flat_map(|light| std::iter::repeat_n(light, scale));
    for (x, light) in pixels.chain(std::iter::repeat(true)).take(8 * (row.len() - 1)).enumerate() {
        row[1 + x / 8] |= u8::from(light) << (7 - x % 8);
    }
    row
}

static CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    out.extend((data.len() as u32).to_be_bytes());
    let start = out.len();
    out.extend(kind);
    out.extend(data);
    let sum = CHECKSUM.checksum(&out[start..]);
    out.extend(sum.to_be_bytes());
}

/// Returns the Adler-32 checksum of zlib (RFC 1950).
fn adler32(bytes: &[u8]) -> [u8; 4] {
    let (mut a, mut b) = (1_u32, 0_u32);
    // a remainder for every byte would take longer; the sums of so many bytes fit
    for part in bytes.chunks(5552) {
        for byte in part {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % 65521, b % 65521);
    }
    (b << 16 | a).to_be_bytes()
}

/// Returns the text as a QR code for a terminal; `None` if it is too long for one. With `colour`
/// the code is dark on light in any terminal; without it, only in one with a dark background.
pub fn lines(text: &str, colour: bool) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let range = -QUIET..code.size() + QUIET;
    let mut out = String::new();
    for y in range.clone().step_by(2) {
        if colour {
            out.push_str("\x1b[97;40m");
        }
        for x in range.clone() {
            let below = y + 1 < range.end && !code.get_module(x, y + 1);
            out.push(half_block(!code.get_module(x, y), below));
        }
        out.push_str(if colour { "\x1b[0m\n" } else { "\n" });
    }
    Some(out)
}

/// Returns the block for two modules: light is drawn, dark is left out.
fn half_block(above: bool, below: bool) -> char {
    match (above, below) {
        (true, true) => '\u{2588}',
        (true, false) => '\u{2580}',
        (false, true) => '\u{2584}',
        (false, false) => ' ',
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;

    use super::*;

    #[test]
    fn terminal_code_draws_every_module() {
        let text = "oc-pair://eyJ1cmwiOiJ3czovLzEyNy4wLjAuMSJ9";
        let code = QrCode::encode_text(text, QrCodeEcc::Low).unwrap();
        let lines = lines(text, false).unwrap();
        let light = |x: i32, y: i32| {
            let (column, row) = (x + QUIET, y + QUIET);
            let drawn =
                lines.lines().nth(row as usize / 2).unwrap().chars().nth(column as usize).unwrap();
            match drawn {
                '\u{2588}' => true,
                '\u{2580}' => row % 2 == 0,
                '\u{2584}' => row % 2 == 1,
                _ => false,
            }
        };
        for y in -QUIET..code.size() + QUIET {
            for x in -QUIET..code.size() + QUIET {
                assert_eq!(light(x, y), !code.get_module(x, y), "{x} {y}");
            }
        }
    }

    /// Returns side and rows of a picture, after comparing every length and checksum.
    fn read_png(mut png: &[u8]) -> (usize, Vec<u8>) {
        let mut take = |n: usize| {
            let (front, rest) = png.split_at(n);
            png = rest;
            front
        };
        let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
        assert_eq!(take(8), b"\x89PNG\r\n\x1a\n");
        let (mut side, mut rows) = (0, Vec::new());
        loop {
            let len = word(take(4));
            let chunk = take(4 + len);
            let sum = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(chunk);
            assert_eq!(word(take(4)), sum as usize);
            match chunk.split_at(4) {
                (b"IHDR", about) => {
                    side = word(&about[..4]);
                    assert_eq!((word(&about[4..8]), &about[8..]), (side, &[1, 0, 0, 0, 0][..]));
                }
                (b"IDAT", data) => {
                    ZlibDecoder::new(data).read_to_end(&mut rows).unwrap();
                }
                _ => return (side, rows),
            }
        }
    }

    #[test]
    fn picture_has_every_module_a_margin_and_fits_the_protocol() {
        let (small, large) = ("oc-pair://eyJ1cmwiOiJ3czovLzEyNy4wLjAuMSJ9", "x".repeat(2953));
        for text in [small, &large] {
            let code = QrCode::encode_text(text, QrCodeEcc::Low).unwrap();
            let url = data_url(text).unwrap();
            assert!(
                url.starts_with("data:image/png;base64,") && url.len() <= 16384,
                "{}",
                url.len()
            );
            let (side, rows) = read_png(&png(&code));
            let modules = code.size() as usize + 8;
            let (scale, width) = (side / modules, side.div_ceil(8) + 1);
            assert_eq!((rows.len(), side % modules), (width * side, 0));
            for (at, row) in rows.chunks(width).enumerate() {
                assert_eq!(row[0], 0, "no filter");
                for x in 0..side {
                    let light = row[1 + x / 8] << (x % 8) & 0x80 != 0;
                    let (x, y) = ((x / scale) as i32 - 4, (at / scale) as i32 - 4);
                    assert_eq!(light, !code.get_module(x, y), "{x} {y}");
                }
            }
        }
    }

    #[test]
    fn too_long_text_gives_none() {
        assert!(lines(&"x".repeat(5000), true).is_none());
        assert!(data_url(&"x".repeat(5000)).is_none());
    }
}
