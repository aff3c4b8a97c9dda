//! The parts of JSON writing that look at each byte: strings, and the commas and keys between them.

use alloc::vec::Vec;

use crate::plain;

/// Appends `text` as a JSON string, in quotes.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// Appends the key of a member and its colon, after a comma unless the member is the first.
pub fn write_key(out: &mut Vec<u8>, key: &str) {
    write_comma(out);
    write_string(out, key);
    out.push(b':');
}

/// Appends a comma unless the member or element is the first. The last byte shows which, because no
/// value ends in an opening bracket.
pub fn write_comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{' | b'[')) {
        out.push(b',');
    }
}

/// Appends `text` as the inside of a JSON string, without the quotes.
pub fn escape(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        let (plain, odd) = rest.split_at(plain(rest));
        out.extend_from_slice(plain);
        let Some((byte, behind)) = odd.split_first() else { return };
        rest = behind;
        let short = match byte {
            b'"' | b'\\' => *byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            _ => b'u',
        };
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[
                b'0',
                b'0',
                b'0' + (byte >> 4),
                b"0123456789abcdef"[usize::from(byte & 15)],
            ]);
        }
    }
}
