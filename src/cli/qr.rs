//! QR codes in a terminal: two rows of modules in each line, by half blocks.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code; readers want some.
const QUIET: i32 = 2;

/// The text as a QR code; `None` if it is too long for one. With colours the code is dark on light in any terminal, without
/// them it is right on a dark background.
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

/// Light is drawn, dark is left out.
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
    use super::*;

    #[test]
    fn every_module_is_drawn_and_the_drawing_reads_back() {
        let text = "oc-pair://eyJ1cmwiOiJ3czovLzEyNy4wLjAuMSJ9";
        let code = QrCode::encode_text(text, QrCodeEcc::Low).unwrap();
        let lines = lines(text, false).unwrap();
        let light = |x: i32, y: i32| {
            let (column, row) = (x + QUIET, y + QUIET);
            let drawn = lines.lines().nth(row as usize / 2).unwrap().chars().nth(column as usize).unwrap();
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

    #[test]
    fn what_fits_no_code_gives_none() {
        assert!(lines(&"x".repeat(5000), true).is_none());
    }
}
