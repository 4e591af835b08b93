//! The modes of a terminal that outlive what it shows.

use std::fmt::{Display, Formatter, Result};

/// Mouse reports; one that is set takes the place of the one before.
const MOUSE_MODES: [u16; 4] = [9, 1000, 1002, 1003];
/// How mouse reports are written; as above.
const MOUSE_ENCODINGS: [u16; 4] = [1005, 1006, 1015, 1016];
const FOCUS_REPORTS: u16 = 1004;
const BRACKETED_PASTE: u16 = 2004;
const CURSOR_KEYS: u16 = 1;
const ORIGIN: u16 = 6;
const WRAP: u16 = 7;
const CURSOR_SHOWN: u16 = 25;
const ALTERNATE_SCREEN: [u16; 3] = [47, 1047, 1049];
/// No sequence that sets modes is longer; a longer one is none.
const SEQUENCE_BYTES_MAX: usize = 64;

/// The modes that are set, as far as a program's output tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a mode of its own, and any may be set beside any other")]
pub struct Modes {
    mouse: Option<u16>,
    mouse_encoding: Option<u16>,
    focus_reports: bool,
    bracketed_paste: bool,
    keypad: bool,
    cursor_style: Option<u16>,
    /// The model of the screen draws these itself, unless it starts over.
    cursor_keys: bool,
    origin: bool,
    no_wrap: bool,
    cursor_hidden: bool,
    alternate: bool,
}

impl Modes {
    /// Takes in the sequence `ESC` `end`.
    pub fn escape(&mut self, end: u8) {
        match end {
            b'=' => self.keypad = true,
            b'>' => self.keypad = false,
            b'c' => *self = Self::default(),
            _ => {}
        }
    }

    /// Takes in the sequence `ESC [` `parameters` `end`.
    pub fn control(&mut self, parameters: &[u8], end: u8) {
        match (parameters, end) {
            ([b'?', modes @ ..], b'h' | b'l') => {
                for mode in modes.split(|byte| *byte == b';') {
                    if let Some(mode) = number(mode) {
                        self.set(mode, end == b'h');
                    }
                }
            }
            ([style @ .., b' '], b'q') => self.cursor_style = number(style),
            // A soft reset (DECSTR).
            (b"!", b'p') => {
                *self = Self {
                    keypad: false,
                    cursor_keys: false,
                    origin: false,
                    no_wrap: false,
                    cursor_hidden: false,
                    cursor_style: None,
                    ..*self
                }
            }
            _ => {}
        }
    }

    /// Whether the private mode is set, where it is one that is known.
    #[must_use]
    pub fn is_set(&self, mode: u16) -> Option<bool> {
        Some(match mode {
            CURSOR_KEYS => self.cursor_keys,
            ORIGIN => self.origin,
            WRAP => !self.no_wrap,
            CURSOR_SHOWN => !self.cursor_hidden,
            FOCUS_REPORTS => self.focus_reports,
            BRACKETED_PASTE => self.bracketed_paste,
            mode if MOUSE_MODES.contains(&mode) => self.mouse == Some(mode),
            mode if MOUSE_ENCODINGS.contains(&mode) => self.mouse_encoding == Some(mode),
            mode if ALTERNATE_SCREEN.contains(&mode) => self.alternate,
            _ => return None,
        })
    }

    /// The style of the cursor (DECSCUSR), if one was chosen.
    #[must_use]
    pub fn cursor_style(&self) -> Option<u16> {
        self.cursor_style
    }

    /// Whether cursor keys are sent in application mode.
    #[must_use]
    pub fn cursor_keys(&self) -> bool {
        self.cursor_keys
    }

    /// Brings a blank terminal into those modes that the model of a screen otherwise draws itself.
    pub(crate) fn on_blank(&self) -> String {
        let modes = [
            (self.alternate, "\u{1b}[?1049h"),
            (self.cursor_keys, "\u{1b}[?1h"),
            (self.no_wrap, "\u{1b}[?7l"),
            (self.cursor_hidden, "\u{1b}[?25l"),
        ];
        modes.iter().filter(|(on, _)| *on).map(|(_, sequence)| *sequence).collect()
    }

    fn set(&mut self, mode: u16, on: bool) {
        match mode {
            CURSOR_KEYS => self.cursor_keys = on,
            ORIGIN => self.origin = on,
            WRAP => self.no_wrap = !on,
            CURSOR_SHOWN => self.cursor_hidden = !on,
            FOCUS_REPORTS => self.focus_reports = on,
            BRACKETED_PASTE => self.bracketed_paste = on,
            mode if MOUSE_MODES.contains(&mode) => self.mouse = on.then_some(mode),
            mode if MOUSE_ENCODINGS.contains(&mode) => self.mouse_encoding = on.then_some(mode),
            mode if ALTERNATE_SCREEN.contains(&mode) => self.alternate = on,
            _ => {}
        }
    }
}

/// The sequences that bring another terminal into those modes that the model of a screen does not draw itself.
impl Display for Modes {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        let private =
            [self.mouse, self.focus_reports.then_some(FOCUS_REPORTS), self.mouse_encoding, self.bracketed_paste.then_some(BRACKETED_PASTE)];
        for mode in private.into_iter().flatten() {
            write!(formatter, "\u{1b}[?{mode}h")?;
        }
        if self.keypad {
            formatter.write_str("\u{1b}=")?;
        }
        match self.cursor_style {
            Some(style) => write!(formatter, "\u{1b}[{style} q"),
            None => Ok(()),
        }
    }
}

/// Finds the sequences that change modes in text that comes in pieces.
#[derive(Default)]
pub(crate) struct ModeReader {
    pub(crate) modes: Modes,
    state: State,
    /// What stands between `ESC [`, or U+009B, and the end of a sequence.
    parameters: Vec<u8>,
}

/// Where in an escape sequence the reading is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// After the first byte of U+0080 to U+00BF, of which U+009B means `ESC [`.
    Lead,
    Sequence,
}

impl ModeReader {
    pub(crate) fn starting_in(modes: Modes) -> Self {
        Self { modes, ..Self::default() }
    }

    pub(crate) fn read(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        loop {
            if self.state == State::Text {
                // Text without any escape is the usual case and is passed over at once.
                let Some(escape) = memchr::memchr2(0x1b, 0xc2, rest) else { return };
                rest = &rest[escape..];
            }
            let Some((byte, after)) = rest.split_first() else { return };
            rest = after;
            self.state = self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) -> State {
        match (self.state, byte) {
            (_, 0x1b) => State::Escape,
            (_, 0xc2) => State::Lead,
            (State::Escape, b'[') | (State::Lead, 0x9b) => {
                self.parameters.clear();
                State::Sequence
            }
            (State::Escape, end) => {
                self.modes.escape(end);
                State::Text
            }
            (State::Sequence, b'@'..=b'~') => {
                self.modes.control(&self.parameters, byte);
                State::Text
            }
            (State::Sequence, byte) if self.parameters.len() < SEQUENCE_BYTES_MAX => {
                self.parameters.push(byte);
                State::Sequence
            }
            (State::Sequence | State::Lead | State::Text, _) => State::Text,
        }
    }
}

/// A decimal number; nothing stands for zero, as in every parameter of a sequence.
fn number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() {
        return Some(0);
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Modes {
        let mut reader = ModeReader::default();
        for char in text.chars() {
            reader.read(char.encode_utf8(&mut [0; 4]));
        }
        let mut at_once = ModeReader::default();
        at_once.read(text);
        assert_eq!(reader.modes, at_once.modes);
        reader.modes
    }

    #[test]
    fn the_mouse_mode_that_was_set_last_counts() {
        assert_eq!(read("\u{1b}[?1003h\u{1b}[?1000;1006h").to_string(), "\u{1b}[?1000h\u{1b}[?1006h");
        assert_eq!(read("\u{1b}[?1003;1006h\u{1b}[?1000l").to_string(), "\u{1b}[?1006h");
    }

    #[test]
    fn a_control_of_one_code_point_begins_a_sequence_too() {
        assert_eq!(read("\u{ab}\u{9b}?1006h\u{a0}[?2004h").to_string(), "\u{1b}[?1006h");
    }

    #[test]
    fn resets_end_what_they_end() {
        let set = "\u{1b}[?1;25;2004h\u{1b}[?25l\u{1b}=\u{1b}[4 q";
        let modes = read(set);
        assert_eq!(
            [1, 25, 2004, 7, 1049, 9999].map(|mode| modes.is_set(mode)),
            [Some(true), Some(false), Some(true), Some(true), Some(false), None]
        );
        assert_eq!(read(&format!("{set}\u{1b}[!p")).to_string(), "\u{1b}[?2004h");
        assert_eq!(read(&format!("{set}\u{1b}c")), Modes::default());
    }
}
