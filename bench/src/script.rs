//! What terminals print in the scenarios: lines that say where they stand, so that whoever reads them knows what is missing.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use bytes::Bytes;

/// One line, with its line break: half text and colours, half box drawing of three bytes each. No character lies across the
/// middle, so that pieces of any even fraction are text.
const LINE_BYTES: usize = 128;
/// Lines before they repeat themselves: 8 MiB, more than anybody falls behind.
const LINES: usize = 65_536;
/// Everything before it repeats itself.
pub(crate) const SCRIPT_BYTES: usize = LINE_BYTES * LINES;

/// All lines, made once.
pub(crate) struct Script(Bytes);

impl Script {
    pub(crate) fn new() -> Self {
        let mut text = String::with_capacity(SCRIPT_BYTES);
        for number in 0..LINES {
            let line = format!("#{number:08x} \u{1b}[32mok\u{1b}[0m some words on what was just done");
            write!(text, "{line:<64}\u{1b}[1m{}\u{1b}[0m {:<23}\r\n", "─".repeat(10), "\u{1b}[33m75%\u{1b}[0m of it")
                .expect("writing to a string cannot fail");
        }
        Self(text.into())
    }

    /// The piece of this length that follows `position`, as far as it goes before the repetition.
    pub(crate) fn piece(&self, position: u64, length: usize) -> Bytes {
        let from = place(position);
        self.0.slice(from..SCRIPT_BYTES.min(from + length))
    }

    /// How much of `text` is what follows `position`.
    fn agreement(&self, position: u64, text: &[u8]) -> usize {
        let mut agreed = 0;
        while agreed < text.len() {
            let expected = self.piece(position + agreed as u64, text.len() - agreed);
            let found = &text[agreed..agreed + expected.len()];
            if expected != found {
                return agreed + expected.iter().zip(found).take_while(|(one, other)| one == other).count();
            }
            agreed += expected.len();
        }
        agreed
    }

    /// The first position from `least` on where the line of this number begins.
    fn position_of(number: u64, least: u64) -> u64 {
        let (place, lap) = (number * LINE_BYTES as u64, SCRIPT_BYTES as u64);
        let begun = least / lap * lap + place;
        if begun < least { begun + lap } else { begun }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below 2^23")]
fn place(position: u64) -> usize {
    (position % SCRIPT_BYTES as u64) as usize
}

/// What stands before a run's lines.
pub(crate) fn beginning(run: u32) -> String {
    format!("BEGINNING-OF-RUN-{run:04}\r\n")
}

/// What stands behind them.
pub(crate) fn end(run: u32) -> String {
    format!("END-OF-RUN-{run:04}\r\n")
}

enum Place {
    /// The run's beginning was not seen yet; the last that came is kept, in case it is cut.
    Before(String),
    At(u64),
    /// The server made the viewer start over. The position is the last that was seen.
    Lost(u64, String),
    /// What came is the beginning of the end.
    Ending(String),
    Ended,
}

/// Follows one run as a viewer sees it, byte by byte.
pub(crate) struct Reader<'a> {
    script: &'a Script,
    beginning: String,
    end: String,
    place: Place,
    /// Bytes of the script that came.
    pub(crate) delivered: u64,
    /// How often the server made the viewer start over.
    pub(crate) resyncs: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(script: &'a Script, run: u32) -> Self {
        Self { script, beginning: beginning(run), end: end(run), place: Place::Before(String::new()), delivered: 0, resyncs: 0 }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        matches!(self.place, Place::Ended)
    }

    /// Where in the run the viewer is.
    pub(crate) fn position(&self) -> u64 {
        match self.place {
            Place::Before(_) => 0,
            Place::At(position) | Place::Lost(position, _) => position,
            Place::Ending(_) | Place::Ended => u64::MAX,
        }
    }

    /// The server told the viewer to start over.
    pub(crate) fn clear(&mut self) {
        if let Place::Before(_) | Place::At(_) | Place::Lost(..) = self.place {
            self.place = Place::Lost(self.position(), String::new());
            self.resyncs += 1;
        }
    }

    /// Takes output in.
    ///
    /// Errors: it is not what was printed.
    pub(crate) fn take(&mut self, text: &str) -> Result<()> {
        match &mut self.place {
            Place::Before(kept) => {
                kept.push_str(text);
                if let Some(at) = kept.find(&self.beginning) {
                    let rest = kept.split_off(at + self.beginning.len());
                    self.place = Place::At(0);
                    return if rest.is_empty() { Ok(()) } else { self.take(&rest) };
                }
                keep_last(kept, self.beginning.len());
            }
            Place::At(position) => {
                let agreed = self.script.agreement(*position, text.as_bytes());
                *position += agreed as u64;
                self.delivered += agreed as u64;
                if agreed < text.len() {
                    let at = *position;
                    self.place = Place::Ending(String::new());
                    let Some(rest) = text.get(agreed..) else { bail!("a character was cut at position {at}") };
                    self.end_with(rest, at)?;
                }
            }
            Place::Lost(position, kept) => {
                let position = *position;
                kept.push_str(text);
                if kept.contains(&self.end) {
                    self.place = Place::Ended;
                    return Ok(());
                }
                keep_last(kept, self.end.len());
                if let Some((from, begins)) = locate(text, position)
                    && self.script.agreement(from, &text.as_bytes()[begins..]) == text.len() - begins
                {
                    let came = (text.len() - begins) as u64;
                    self.delivered += came;
                    self.place = Place::At(from + came);
                }
            }
            Place::Ending(_) => self.end_with(text, 0)?,
            Place::Ended => bail!("something came behind the end: {text:?}"),
        }
        Ok(())
    }

    fn end_with(&mut self, text: &str, position: u64) -> Result<()> {
        let Place::Ending(came) = &mut self.place else { return Ok(()) };
        came.push_str(text);
        if !self.end.starts_with(came.as_str()) {
            let shown: String = came.chars().take(80).collect();
            bail!("what came at position {position} is not what was printed: {shown:?}");
        }
        if *came == self.end {
            self.place = Place::Ended;
        }
        Ok(())
    }
}

/// The position of the first line that begins in `text`, and where there; it is the next such line after `least`.
fn locate(text: &str, least: u64) -> Option<(u64, usize)> {
    let begins = text.find("\n#")? + 1;
    let number = u64::from_str_radix(text.get(begins + 1..begins + 9)?, 16).ok()?;
    Some((Script::position_of(number, least), begins))
}

/// Forgets all but the end of a text, of at most this many bytes.
pub(crate) fn keep_last(text: &mut String, length: usize) {
    let mut from = text.len().saturating_sub(length);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.drain(..from);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(script: &Script, position: u64, length: usize) -> String {
        String::from_utf8(script.piece(position, length).to_vec()).unwrap()
    }

    #[test]
    fn every_line_is_as_long_as_it_says_and_its_halves_are_text() {
        let script = Script::new();
        assert_eq!(script.0.len(), SCRIPT_BYTES);
        for position in [0, 64, 128, 64 * 1001, SCRIPT_BYTES as u64 - 64] {
            printed(&script, position, 64);
        }
        assert!(printed(&script, 128 * 171, 128).starts_with("#000000ab "));
    }

    #[test]
    fn a_run_is_followed_to_its_end_however_it_is_cut() {
        let script = Script::new();
        let all = format!("before{}{}{}", beginning(7), printed(&script, 0, 1280), end(7));
        for length in [1, 7, 64, 5000] {
            let mut reader = Reader::new(&script, 7);
            let mut rest = all.as_str();
            while !rest.is_empty() {
                let mut at = rest.len().min(length);
                while !rest.is_char_boundary(at) {
                    at += 1;
                }
                reader.take(&rest[..at]).unwrap();
                rest = &rest[at..];
            }
            assert!(reader.is_at_end());
            assert_eq!((reader.delivered, reader.resyncs), (1280, 0));
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_noticed() {
        let script = Script::new();
        let mut reader = Reader::new(&script, 1);
        reader.take(&beginning(1)).unwrap();
        reader.take(&printed(&script, 0, 100)).unwrap();
        assert!(reader.take(&printed(&script, 102, 80)).is_err());
    }

    #[test]
    fn after_a_resync_the_place_is_found_again_and_only_what_came_counts() {
        let script = Script::new();
        let mut reader = Reader::new(&script, 1);
        reader.take(&beginning(1)).unwrap();
        reader.take(&printed(&script, 0, 256)).unwrap();
        reader.clear();
        reader.take(&format!("\u{1b}[0m\r\n{}", printed(&script, 1280, 300))).unwrap();
        reader.take(&printed(&script, 1580, 84)).unwrap();
        assert_eq!((reader.position(), reader.delivered, reader.resyncs), (1664, 256 + 384, 1));
        reader.take(&end(1)).unwrap();
        assert!(reader.is_at_end());
    }
}
