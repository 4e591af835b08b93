//! What of a terminal's output may reach an emulator: everything but what makes one answer or reach outside.
//!
//! Device queries are taken out of the stream, so that no viewer's emulator types an answer, neither now nor when
//! the output is shown again. The terminal's owner answers each once instead, while it is live. Writing to the
//! clipboard (OSC 52) and links (OSC 8) to anything but web and mail are taken out in the same way.
//!
//! What is taken out keeps its length, so that positions mean the same on both sides: the byte that ends the sequence
//! becomes CAN, which every emulator takes as the end of a sequence that does not count. The filter reads the stream as
//! the strictest and the most lenient emulator do at once: where they differ over whether something is a query, it is one.

use std::{collections::VecDeque, ops::Range};

use bytes::{Bytes, BytesMut};
use terminal_screen::Modes;

use super::ring::RING_BYTES;
use crate::model::terminal::Size;

/// Cancels a sequence (ECMA-48 leaves it to the terminal; DEC, xterm and all that follow them agree).
const CAN: u8 = 0x18;
const NUL: u8 = 0;
const ENQ: u8 = 0x05;
const BEL: u8 = 0x07;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;
/// The first byte of U+0080 to U+00BF in UTF-8, of which those up to U+009F are controls.
const C1_LEAD: u8 = 0xc2;

/// Parameters of a control sequence that are looked at, in bytes; longer ones are no query that anybody means.
const PARAMETERS_MAX: usize = 64;
/// Bytes between two positions at which a model may start in the middle of the stream: where the program puts the cursor, or
/// begins a line.
const RESTART_EVERY: u64 = 16 * 1024;
/// Where a program does neither for so many bytes, anywhere outside of a sequence will do.
const RESTART_LATE: u64 = 2 * RESTART_EVERY;
/// Such positions that the ring can hold.
const RESTARTS_MAX: usize = RING_BYTES / 16 / 1024 + 2;

/// The addresses that a link may have.
const LINK_SCHEMES: [&[u8]; 3] = [b"http://", b"https://", b"mailto:"];

/// A question that the terminal answers in place of an emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// DA1.
    Attributes,
    /// DA2.
    Version,
    /// XTVERSION.
    Name,
    /// DSR 5.
    Health,
    /// DSR 6; DEC's form of it has a mark in the answer.
    CursorPosition { private: bool },
    /// DECRQM, and whether the mode is set.
    Mode { private: bool, number: u16, set: Option<bool> },
    /// The color of text (OSC 10), background (11) or cursor (12); the answer ends as the question does.
    Color { of: u16, bell: bool },
    /// XTWINOPS 18.
    Size,
    /// DECRQSS, of which nothing is told.
    Setting,
    /// XTGETTCAP, likewise.
    Capability,
}

/// Where an answer is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Position right behind the question.
    pub(super) position: u64,
    pub(super) query: Query,
}

impl Query {
    /// The answer, where the cursor is in this column and row, counted from one.
    pub(super) fn answer(self, cursor: (u16, u16), size: Size) -> String {
        match self {
            Self::Attributes => "\u{1b}[?1;2c".to_owned(),
            Self::Version => "\u{1b}[>0;276;0c".to_owned(),
            Self::Name => concat!("\u{1b}P>|raven-agents(", env!("CARGO_PKG_VERSION"), ")\u{1b}\\").to_owned(),
            Self::Health => "\u{1b}[0n".to_owned(),
            Self::CursorPosition { private } => format!("\u{1b}[{}{};{}R", if private { "?" } else { "" }, cursor.1, cursor.0),
            Self::Mode { private, number, set } => {
                let value = set.map_or(0, |set| if set { 1 } else { 2 });
                format!("\u{1b}[{}{number};{value}$y", if private { "?" } else { "" })
            }
            Self::Color { of, bell } => {
                // Light on dark, as the console shows it.
                let color = if of == 11 { "0000/0000/0000" } else { "ffff/ffff/ffff" };
                format!("\u{1b}]{of};rgb:{color}{}", if bell { "\u{7}" } else { "\u{1b}\\" })
            }
            Self::Size => format!("\u{1b}[8;{};{}t", size.rows(), size.cols()),
            Self::Setting => "\u{1b}P0$r\u{1b}\\".to_owned(),
            Self::Capability => "\u{1b}P0+r\u{1b}\\".to_owned(),
        }
    }

    /// Whether the answer depends on what the screen shows.
    pub(super) fn needs_cursor(self) -> bool {
        matches!(self, Self::CursorPosition { .. })
    }
}

/// Reads a terminal's output in pieces that may be cut anywhere.
#[derive(Default)]
pub(super) struct Filter {
    state: State,
    /// The last byte was [`C1_LEAD`].
    after_lead: bool,
    /// A string that was taken out ended in an escape character: what that began is taken out too.
    muted: bool,
    /// What stands between the introducer of a sequence and its end, as far as it is looked at.
    parameters: Vec<u8>,
    overlong: bool,
    string: Text,
    modes: Modes,
    /// Positions outside of any sequence, with the modes there, and from where on the next is noted.
    restarts: VecDeque<(u64, Modes)>,
    restart_due: u64,
}

/// Where in the stream's grammar the reading is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After `ESC`, and maybe intermediate bytes.
    Escape {
        intermediate: bool,
    },
    /// After `ESC [`.
    Control,
    /// After `ESC ]`.
    Command,
    /// After `ESC P`, before the byte that says what follows.
    DeviceIntroducer,
    Device {
        query: Option<Query>,
    },
    /// After `ESC X`, `ESC ^` or `ESC _`: nobody reads it.
    Ignored,
}

/// What an operating system command says, as far as it was read.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that was read, beside any other")]
struct Text {
    number: u16,
    /// The number is none.
    nonsense: bool,
    /// Semicolons so far.
    fields: u32,
    /// Bytes of the field so far.
    length: usize,
    /// The field is a question mark so far.
    question: bool,
    /// A field was one.
    asks: bool,
    /// Which of [`LINK_SCHEMES`] the address may still begin with, as bits.
    schemes: u8,
    /// It has begun with one of them.
    linked: bool,
}

impl Filter {
    /// What of `bytes`, which begin at `position`, goes on, and what they ask.
    pub(super) fn pass(&mut self, position: u64, bytes: Bytes) -> (Bytes, Vec<Asked>) {
        let (mut changes, mut asked) = (Vec::new(), Vec::new());
        if self.state == State::Text && !self.after_lead && bytes.first().is_some_and(|byte| byte & 0b1100_0000 != 0b1000_0000) {
            self.note_late_restart(position);
        }
        let mut index = 0;
        while index < bytes.len() {
            if self.state == State::Text && !self.after_lead {
                let next = memchr::memchr3(ESC, ENQ, C1_LEAD, &bytes[index..]);
                self.note_line(position, &bytes, index..next.map_or(bytes.len(), |next| index + next));
                let Some(next) = next else { break };
                index += next;
                if bytes[index] == ESC {
                    let harmless = harmless_control(&bytes[index..]);
                    if harmless > 0 && matches!(bytes[index + harmless - 1], b'H' | b'f') {
                        self.note_restart(position + index as u64);
                    } else {
                        self.note_late_restart(position + index as u64);
                    }
                    if harmless > 0 {
                        index += harmless;
                        continue;
                    }
                }
            }
            let (change, query) = self.step(bytes[index]);
            if let Some(change) = change {
                changes.push((index, change));
            }
            index += 1;
            asked.extend(query.map(|query| Asked { position: position + index as u64, query }));
        }
        (changed(bytes, &changes), asked)
    }

    /// Goes on at `position`, where what lay between is lost.
    pub(super) fn skip_to(&mut self, position: u64) {
        *self = Self { modes: self.modes, restarts: std::mem::take(&mut self.restarts), ..Self::default() };
        self.restarts.clear();
        self.note_restart(position);
    }

    /// The first position from `from` on at which a model can start, with the modes there; or else the last one.
    pub(super) fn restart(&self, from: u64) -> Option<(u64, Modes)> {
        let found = self.restarts.partition_point(|(position, _)| *position < from);
        self.restarts.get(found).or(self.restarts.back()).copied()
    }

    /// The modes behind all that was read.
    pub(super) fn modes(&self) -> Modes {
        self.modes
    }

    /// Notes the start of a line within a stretch of text, if one is due.
    fn note_line(&mut self, position: u64, bytes: &[u8], text: Range<usize>) {
        let due = usize::try_from(self.restart_due.saturating_sub(position)).unwrap_or(usize::MAX).max(text.start);
        if due < text.end
            && let Some(line_break) = memchr::memchr(b'\n', &bytes[due..text.end])
        {
            self.note_restart(position + (due + line_break) as u64 + 1);
        }
    }

    /// Notes a place that is no good one, if none has come for long.
    fn note_late_restart(&mut self, position: u64) {
        if self.restarts.is_empty() || position >= self.restart_due + RESTART_LATE {
            self.note_restart(position);
        }
    }

    fn note_restart(&mut self, position: u64) {
        if position < self.restart_due {
            return;
        }
        self.restart_due = position + RESTART_EVERY;
        if self.restarts.len() == RESTARTS_MAX {
            self.restarts.pop_front();
        }
        self.restarts.push_back((position, self.modes));
    }

    /// Reads one byte: what becomes of it, if it does not stay, and what it completes the question of.
    fn step(&mut self, byte: u8) -> (Option<u8>, Option<Query>) {
        let was_muted = self.muted;
        let (change, query) = match byte {
            // The two bytes of a control of its own (U+0080 to U+009F).
            0x80..=0x9f if std::mem::take(&mut self.after_lead) => self.control_character(byte),
            _ => {
                self.after_lead = byte == C1_LEAD;
                self.character(byte)
            }
        };
        if was_muted {
            self.muted = self.state != State::Text;
            return (Some(NUL), None);
        }
        (change, query)
    }

    fn character(&mut self, byte: u8) -> (Option<u8>, Option<Query>) {
        match (self.state, byte) {
            (_, ESC) => self.leave_string(byte, State::Escape { intermediate: false }),
            (_, CAN | SUB) => {
                self.state = State::Text;
                (None, None)
            }
            (State::Text, ENQ) => (Some(CAN), None),
            (State::Command, BEL) => self.leave_string(byte, State::Text),
            (State::Escape { .. } | State::Control | State::DeviceIntroducer, ENQ) => (Some(NUL), None),
            // Other controls are carried out at once; what is no ASCII some leave out, and others end the sequence.
            (State::Text | State::Ignored | State::Device { .. }, _) | (_, ..=0x1f | 0x7f..) => (None, None),
            (State::Escape { .. }, b' '..=b'/') => {
                self.state = State::Escape { intermediate: true };
                (None, None)
            }
            (State::Escape { intermediate }, _) => self.escape(byte, intermediate),
            (State::Control, b'@'..) => self.control(byte),
            (State::DeviceIntroducer, b'@'..) => {
                let query = match (self.intermediates(), byte) {
                    (b"$", b'q') => Some(Query::Setting),
                    (b"+", b'q') => Some(Query::Capability),
                    _ => None,
                };
                self.state = State::Device { query };
                (None, None)
            }
            (State::Control | State::DeviceIntroducer, _) => {
                if self.parameters.len() < PARAMETERS_MAX {
                    self.parameters.push(byte);
                } else {
                    self.overlong = true;
                }
                (None, None)
            }
            (State::Command, _) => {
                self.string.read(byte);
                (None, None)
            }
        }
    }

    /// A control of one code point means what `ESC` and the letter 64 below it mean.
    fn control_character(&mut self, byte: u8) -> (Option<u8>, Option<Query>) {
        if byte == 0x9c {
            return self.leave_string(byte, State::Text);
        }
        self.escape(byte - 0x40, false)
    }

    fn escape(&mut self, end: u8, intermediate: bool) -> (Option<u8>, Option<Query>) {
        self.parameters.clear();
        self.overlong = false;
        self.string = Text::default();
        self.state = State::Text;
        if intermediate {
            return (None, None);
        }
        match end {
            b'[' => self.state = State::Control,
            b']' => self.state = State::Command,
            b'P' => self.state = State::DeviceIntroducer,
            b'X' | b'^' | b'_' => self.state = State::Ignored,
            b'Z' => return (Some(CAN), Some(Query::Attributes)),
            _ if self.muted => {}
            _ => self.modes.escape(end),
        }
        (None, None)
    }

    fn control(&mut self, end: u8) -> (Option<u8>, Option<Query>) {
        self.state = State::Text;
        if !self.is_report(end) {
            if !self.muted && !self.overlong {
                self.modes.control(&self.parameters, end);
            }
            return (None, None);
        }
        let private = self.prefix() == Some(b'?');
        let number = self.number();
        let query = match (self.prefix(), end) {
            (None, b'c') if number == 0 => Some(Query::Attributes),
            (Some(b'>'), b'c') if number == 0 => Some(Query::Version),
            (Some(b'>'), b'q') if number == 0 => Some(Query::Name),
            (None, b'n') if number == 5 => Some(Query::Health),
            (None | Some(b'?'), b'n') if number == 6 => Some(Query::CursorPosition { private }),
            (None | Some(b'?'), b'p') => {
                let set = if private { self.modes.is_set(number) } else { None };
                Some(Query::Mode { private, number, set })
            }
            (None, b't') if number == 18 => Some(Query::Size),
            _ => None,
        };
        (Some(CAN), query.filter(|_| !self.overlong))
    }

    /// Whether the control sequence with this end asks for a report.
    fn is_report(&self, end: u8) -> bool {
        if self.overlong {
            // It cannot be told any more what it asks; one that draws is never so long, but for colors.
            return matches!(end, b'c' | b'n' | b'p' | b'q' | b't' | b'u' | b'w' | b'x' | b'y');
        }
        match (self.prefix(), self.intermediates(), end) {
            (_, b"", b'c')
            | (None | Some(b'?'), b"", b'n')
            | (Some(b'>'), b"", b'q')
            | (Some(b'?'), b"", b'u' | b'S' | b'm' | b'g')
            | (None, b"", b'x')
            | (_, b"$", b'p' | b'u' | b'w')
            | (_, b"*", b'y')
            | (_, b"&", b'u')
            | (_, b"\"", b'v')
            | (_, b"'", b'|')
            | (_, b"#", b'|' | b'R') => true,
            (None, b"", b't') => matches!(self.number(), 11 | 13..=16 | 18..=21),
            _ => false,
        }
    }

    fn prefix(&self) -> Option<u8> {
        self.parameters.first().copied().filter(|byte| (b'<'..=b'?').contains(byte))
    }

    fn intermediates(&self) -> &[u8] {
        let start = self.parameters.iter().position(|byte| (b' '..=b'/').contains(byte)).unwrap_or(self.parameters.len());
        &self.parameters[start..]
    }

    /// The first parameter; nothing stands for zero.
    fn number(&self) -> u16 {
        let digits =
            self.parameters.iter().skip_while(|byte| !byte.is_ascii_digit() && **byte != b';').take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number: u16, digit| number.saturating_mul(10).saturating_add(u16::from(digit - b'0')))
    }

    /// Ends whatever string there is by `byte`, which begins what `next` says.
    fn leave_string(&mut self, byte: u8, next: State) -> (Option<u8>, Option<Query>) {
        let left = std::mem::replace(&mut self.state, next);
        let (taken_out, query) = match left {
            State::Command => (self.string.is_taken_out(), self.string.query(byte == BEL)),
            State::Device { query } => (query.is_some(), query),
            State::Text | State::Escape { .. } | State::Control | State::DeviceIntroducer | State::Ignored => (false, None),
        };
        if taken_out {
            self.muted = byte == ESC;
            return (Some(CAN), query);
        }
        (None, None)
    }
}

impl Text {
    /// Takes in a byte of printable ASCII.
    fn read(&mut self, byte: u8) {
        if byte == b';' {
            self.asks |= self.ends_as_question();
            self.fields += 1;
            self.length = 0;
            self.schemes = 0b111;
            // An address may have semicolons.
            if self.fields > 2 && self.number == 8 {
                self.schemes = 0;
            }
            return;
        }
        match self.fields {
            0 if byte.is_ascii_digit() => self.number = self.number.saturating_mul(10).saturating_add(u16::from(byte - b'0')),
            0 => self.nonsense = true,
            2 => self.read_scheme(byte),
            _ => {}
        }
        self.question = byte == b'?' && self.length == 0;
        self.length += 1;
    }

    fn read_scheme(&mut self, byte: u8) {
        for (bit, scheme) in LINK_SCHEMES.iter().enumerate() {
            if let Some(expected) = scheme.get(self.length) {
                if !byte.eq_ignore_ascii_case(expected) {
                    self.schemes &= !(1 << bit);
                } else if self.schemes & 1 << bit != 0 && self.length + 1 == scheme.len() {
                    self.linked = true;
                }
            }
        }
    }

    fn ends_as_question(&self) -> bool {
        self.question && self.length == 1 && self.fields > 0
    }

    fn is_taken_out(&self) -> bool {
        match self.number {
            _ if self.nonsense || self.fields == 0 => false,
            52 => true,
            4 | 5 | 10..=19 | 21 | 22 => self.asks || self.ends_as_question(),
            // Without an address it ends a link.
            8 => self.fields >= 2 && !self.linked && !(self.fields == 2 && self.length == 0),
            _ => false,
        }
    }

    fn query(&self, bell: bool) -> Option<Query> {
        let only = self.fields == 1 && self.ends_as_question();
        (matches!(self.number, 10..=12) && only && !self.nonsense).then_some(Query::Color { of: self.number, bell })
    }
}

/// How long the control sequence is that `bytes` begin with, where it is whole and one of those that are most of all: it
/// colours, moves or erases, and neither asks for anything nor sets a mode. 0 where it is not.
fn harmless_control(bytes: &[u8]) -> usize {
    let [ESC, b'[', sequence @ ..] = bytes else { return 0 };
    let end = sequence.iter().take(PARAMETERS_MAX).position(|byte| !matches!(byte, b'0'..=b';'));
    match end.map(|end| (end, sequence[end])) {
        Some((end, b'@'..=b'M' | b'P' | b'X' | b'`' | b'd' | b'f' | b'm' | b'r')) => 2 + end + 1,
        _ => 0,
    }
}

fn changed(bytes: Bytes, changes: &[(usize, u8)]) -> Bytes {
    if changes.is_empty() {
        return bytes;
    }
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    for (index, byte) in changes {
        bytes[*index] = *byte;
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use terminal_screen::Screen;

    use super::*;

    /// What goes on of the pieces, and what they ask.
    fn passed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Asked>) {
        let (mut filter, mut all, mut asked) = (Filter::default(), Vec::new(), Vec::new());
        for piece in pieces {
            let (bytes, queries) = filter.pass(all.len() as u64, Bytes::copy_from_slice(piece));
            assert_eq!(bytes.len(), piece.len());
            all.extend_from_slice(&bytes);
            asked.extend(queries);
        }
        (all, asked)
    }

    fn passed_whole(text: &str) -> (String, Vec<Query>) {
        let (bytes, asked) = passed([text.as_bytes()]);
        (String::from_utf8_lossy(&bytes).into_owned(), asked.into_iter().map(|asked| asked.query).collect())
    }

    #[test]
    fn queries_are_taken_out_and_answered_where_there_is_an_answer() {
        for (query, left, answer) in [
            ("\u{1b}[c", "\u{1b}[\u{18}", Some("\u{1b}[?1;2c")),
            ("\u{1b}[0c", "\u{1b}[0\u{18}", Some("\u{1b}[?1;2c")),
            ("\u{1b}[>c", "\u{1b}[>\u{18}", Some("\u{1b}[>0;276;0c")),
            ("\u{1b}[=c", "\u{1b}[=\u{18}", None),
            ("\u{1b}Z", "\u{1b}\u{18}", Some("\u{1b}[?1;2c")),
            ("\u{1b}[5n", "\u{1b}[5\u{18}", Some("\u{1b}[0n")),
            ("\u{1b}[6n", "\u{1b}[6\u{18}", Some("\u{1b}[3;7R")),
            ("\u{1b}[?6n", "\u{1b}[?6\u{18}", Some("\u{1b}[?3;7R")),
            ("\u{1b}[?996n", "\u{1b}[?996\u{18}", None),
            ("\u{1b}[?2026$p", "\u{1b}[?2026$\u{18}", Some("\u{1b}[?2026;0$y")),
            ("\u{1b}[?25$p", "\u{1b}[?25$\u{18}", Some("\u{1b}[?25;1$y")),
            ("\u{1b}[4$p", "\u{1b}[4$\u{18}", Some("\u{1b}[4;0$y")),
            ("\u{1b}[18t", "\u{1b}[18\u{18}", Some("\u{1b}[8;24;80t")),
            ("\u{1b}[14t", "\u{1b}[14\u{18}", None),
            ("\u{1b}[21t", "\u{1b}[21\u{18}", None),
            ("\u{1b}[?u", "\u{1b}[?\u{18}", None),
            ("\u{1b}]10;?\u{7}", "\u{1b}]10;?\u{18}", Some("\u{1b}]10;rgb:ffff/ffff/ffff\u{7}")),
            ("\u{1b}]11;?\u{1b}\\", "\u{1b}]11;?\u{18}\0", Some("\u{1b}]11;rgb:0000/0000/0000\u{1b}\\")),
            ("\u{1b}]4;1;?\u{7}", "\u{1b}]4;1;?\u{18}", None),
            ("\u{1b}P$qm\u{1b}\\", "\u{1b}P$qm\u{18}\0", Some("\u{1b}P0$r\u{1b}\\")),
            ("\u{1b}P+q544e\u{1b}\\", "\u{1b}P+q544e\u{18}\0", Some("\u{1b}P0+r\u{1b}\\")),
            ("\u{5}", "\u{18}", None),
        ] {
            let (bytes, queries) = passed_whole(&format!("a{query}b"));
            assert_eq!(bytes, format!("a{left}b"), "{query:?}");
            let answers: Vec<_> = queries.iter().map(|query| query.answer((7, 3), Size::DEFAULT)).collect();
            assert_eq!(answers, answer.into_iter().collect::<Vec<_>>(), "{query:?}");
        }
        let (_, name) = passed_whole("\u{1b}[>0q");
        assert!(name[0].answer((1, 1), Size::DEFAULT).starts_with("\u{1b}P>|raven-agents("));
        let (_, mode) = passed_whole("\u{1b}[?2004h\u{1b}[?2004$p");
        assert_eq!(mode[0].answer((1, 1), Size::DEFAULT), "\u{1b}[?2004;1$y");
    }

    #[test]
    fn what_reaches_for_the_clipboard_or_out_of_the_web_is_taken_out() {
        for (text, left) in [
            ("\u{1b}]52;c;aGVsbG8=\u{7}", "\u{1b}]52;c;aGVsbG8=\u{18}"),
            ("\u{1b}]52;c;?\u{1b}\\", "\u{1b}]52;c;?\u{18}\0"),
            ("\u{1b}]0052;c;x\u{7}", "\u{1b}]0052;c;x\u{18}"),
            ("\u{1b}]8;;javascript:alert(1)\u{7}", "\u{1b}]8;;javascript:alert(1)\u{18}"),
            ("\u{1b}]8;id=1; http://x\u{1b}\\", "\u{1b}]8;id=1; http://x\u{18}\0"),
            ("\u{1b}]8;;file:///etc/passwd;http://x\u{7}", "\u{1b}]8;;file:///etc/passwd;http://x\u{18}"),
            ("\u{1b}]8;;htt\u{7}", "\u{1b}]8;;htt\u{18}"),
        ] {
            assert_eq!(passed_whole(text), (left.to_owned(), vec![]), "{text:?}");
        }
        for text in [
            "\u{1b}]8;;https://example.com/a;b\u{7}link\u{1b}]8;;\u{7}",
            "\u{1b}]8;id=4;MailTo:a@example.com\u{1b}\\link\u{1b}]8;;\u{1b}\\",
            "\u{1b}]8;;HTTP://example.com\u{7}",
        ] {
            assert_eq!(passed_whole(text), (text.to_owned(), vec![]));
        }
    }

    #[test]
    fn what_draws_stays_as_it_is() {
        for text in [
            "plain \u{e9}\u{ab}\u{20ac}\u{1f600} text, 6n and [c and ?",
            "\u{1b}[1;31m\u{1b}[?1049h\u{1b}[2J\u{1b}[6;6H\u{1b}[6 q\u{1b}[?25l\u{1b}[22;0t\u{1b}[8;24;80t\u{1b}[>1u\u{1b}[>4;2m\u{1b}[u\u{1b}[!p",
            "\u{1b}]0;what; ?\u{7}\u{1b}]2;?\u{1b}\\\u{1b}]10;#fff\u{7}\u{1b}]133;A\u{7}\u{1b}]4;1;red\u{7}",
            "\u{1b}Pq#0;2;0;0;0~~$-\u{1b}\\\u{1b}_Gf=24;AAAA\u{1b}\\\u{1b}(B\u{1b}7\u{1b}8\u{1b}=",
        ] {
            assert_eq!(passed_whole(text), (text.to_owned(), vec![]));
        }
    }

    #[test]
    fn a_query_in_disguise_is_one() {
        for bytes in [
            &b"\xc2\x9b6n"[..],
            b"\x1b[6\r\nn",
            b"\x1b[\xff6n",
            b"\x1b\xff[6n",
            b"\x1b[00000000000000000000000000000000000000000000000000000000000000000000000000006n",
            b"\x1b]10;\x01?\x07",
            b"\xc2\x9d10;?\xc2\x9c",
            b"\xc2\x90$qm\xc2\x9c",
            b"\x1bP1$qm\x1b\\",
            b"\x1b]5\xff2;c;x\x07",
            b"\x1b]0;title\x1b[6n",
        ] {
            let (left, _) = passed([bytes]);
            assert!(left.contains(&CAN), "{bytes:x?} became {left:x?}");
        }
        // Where the end of one sequence begins the next, both go.
        let (left, _) = passed([&b"\x1b]52;c;x\x1b]52;c;y\x07z\x1b[1m"[..]]);
        assert_eq!(left, b"\x1b]52;c;x\x18\0\0\0\0\0\0\0\0z\x1b[1m");
    }

    #[test]
    fn a_position_to_start_at_is_outside_of_sequences_and_knows_the_modes() {
        let mut filter = Filter::default();
        let line = [&b"\x1b[?25l"[..], &[b'x'; 2000], b"\x1b[?25h"].concat();
        let mut position = 0;
        for _ in 0..600 {
            filter.pass(position, Bytes::copy_from_slice(&line));
            position += line.len() as u64;
        }
        assert!(filter.restarts.len() <= RESTARTS_MAX);
        let (at, modes) = filter.restart(position - 64 * 1024).unwrap();
        assert!((position - 64 * 1024..position - 32 * 1024).contains(&at));
        let inside = usize::try_from(at).unwrap() % line.len();
        assert_eq!((inside == 0, modes.is_set(25)), (inside == 0, Some(inside == 0)));
        filter.skip_to(10 * position);
        assert_eq!(filter.restart(0).unwrap().0, 10 * position);
    }

    fn drawing() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[ -~\u{e9}\u{ab}\u{20ac}\u{1f600}\r\n\t]{0,20}".prop_map(String::into_bytes),
            "\u{1b}\\[[0-9;]{0,8}[A-HJKSTdfghlmr]".prop_map(String::into_bytes),
            "\u{1b}\\[\\?(1|7|25|47|1000|1049|2004)[hl]".prop_map(String::into_bytes),
            "\u{1b}\\](0|2|8|133);[a-z;]{0,9}\u{7}".prop_map(String::into_bytes),
        ]
    }

    fn asking() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "\u{1b}\\[[>=]?0?c".prop_map(String::into_bytes),
            "\u{1b}\\[\\??[56]n".prop_map(String::into_bytes),
            "\u{1b}\\[\\??[0-9]{1,4}\\$p".prop_map(String::into_bytes),
            "\u{1b}\\](1[0-2]|4;3);\\?(\u{7}|\u{1b}\\\\)".prop_map(String::into_bytes),
            "\u{1b}\\]52;c;[a-z]{0,9}(\u{7}|\u{1b}\\\\)".prop_map(String::into_bytes),
            "\u{1b}P[$+]q[a-z]{0,4}\u{1b}\\\\".prop_map(String::into_bytes),
            Just(vec![ENQ]),
        ]
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![3 => drawing(), 1 => asking()], 0..40).prop_map(|pieces| pieces.concat())
    }

    fn drawn(bytes: &[u8]) -> Vec<u8> {
        let mut screen = Screen::new(terminal_screen::Size { cols: 40, rows: 10 });
        screen.feed(bytes);
        screen.snapshot()
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_stream_is_cut(
            bytes in prop_oneof![stream(), prop::collection::vec(prop_oneof![any::<u8>(), Just(ESC), Just(b'['), Just(b'?')], 0..300)],
            cuts in prop::collection::vec(1usize..7, 1..30),
        ) {
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, after) = rest.split_at(rest.len().min(*cut));
                pieces.push(piece);
                rest = after;
            }
            let (whole, asked) = passed([&bytes[..]]);
            prop_assert_eq!(passed(pieces), (whole.clone(), asked));
            prop_assert_eq!(passed([&whole[..]]), (whole, vec![]), "what went through goes through");
        }

        #[test]
        fn only_what_asks_is_changed(pieces in prop::collection::vec(drawing(), 0..40)) {
            let bytes = without_links(&pieces.concat());
            prop_assert_eq!(passed([&bytes[..]]), (bytes.clone(), vec![]));
        }

        #[test]
        fn what_is_left_draws_the_same(bytes in stream()) {
            prop_assert_eq!(drawn(&passed([&bytes[..]]).0), drawn(&bytes));
        }
    }

    /// The stream without the links of [`drawing`], whose addresses are none.
    fn without_links(bytes: &[u8]) -> Vec<u8> {
        String::from_utf8_lossy(bytes).replace("\u{1b}]8;", "\u{1b}]9;").into_bytes()
    }
}
