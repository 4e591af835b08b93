//! Terminal output as text: lines to read, and places where words stand.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

/// Numbers of a control sequence beyond this many bytes are not read.
const PARAMETERS_BYTES_MAX: usize = 32;
/// A line is given out at this many characters, whether or not it ends there.
const LINE_CHARS_MAX: usize = 4096;
/// Characters shown before a word that was found, and behind it.
const SNIPPET_CHARS: usize = 80;

/// What a terminal is told to show, as far as text is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glyph {
    Char(char),
    LineFeed,
    Return,
    Backspace,
    /// The cursor goes to this column, counted from 0.
    Column(usize),
    /// The cursor goes this many columns on.
    Forward(usize),
    /// What is behind the cursor is gone, or the whole line.
    EraseRest,
    EraseLine,
    /// The cursor goes to another line.
    Elsewhere,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    Control,
    /// A string that a terminal does not show: a title, a link, a query.
    Text,
    TextEscape,
}

/// Takes escape sequences out of a stream of bytes (ECMA-48; those of xterm).
struct Plain {
    state: State,
    parameters: Vec<u8>,
    /// The start of a code point.
    pending: Vec<u8>,
}

impl Default for Plain {
    fn default() -> Self {
        Self { state: State::Ground, parameters: Vec::new(), pending: Vec::new() }
    }
}

impl Plain {
    /// Hands `take` each glyph with the index of its last byte.
    fn read(&mut self, bytes: &[u8], mut take: impl FnMut(usize, Glyph)) {
        for (index, byte) in bytes.iter().copied().enumerate() {
            match (self.state, byte) {
                (State::Text, 0x1b) => self.state = State::TextEscape,
                (State::Text, 0x07) | (State::TextEscape, b'\\') | (_, 0x18 | 0x1a) => self.state = State::Ground,
                (State::Text, _) | (State::Escape | State::TextEscape, 0x20..=0x2f) => {}
                (_, 0x1b) => {
                    self.pending.clear();
                    self.state = State::Escape;
                }
                (State::Escape | State::TextEscape, b'[') => {
                    self.parameters.clear();
                    self.state = State::Control;
                }
                (State::Escape | State::TextEscape, b']' | b'P' | b'X' | b'^' | b'_') => self.state = State::Text,
                (State::Escape | State::TextEscape, _) => {
                    self.state = State::Ground;
                    if matches!(byte, b'c' | b'D' | b'E' | b'M' | b'8') {
                        take(index, Glyph::Elsewhere);
                    }
                }
                (State::Control, 0x20..=0x3f) => {
                    if self.parameters.len() < PARAMETERS_BYTES_MAX {
                        self.parameters.push(byte);
                    }
                }
                (State::Control, _) => {
                    self.state = State::Ground;
                    if let Some(glyph) = self.control(byte) {
                        take(index, glyph);
                    }
                }
                (State::Ground, b'\n' | 0x0b | 0x0c) => take(index, Glyph::LineFeed),
                (State::Ground, b'\r') => take(index, Glyph::Return),
                (State::Ground, 0x08) => take(index, Glyph::Backspace),
                (State::Ground, b'\t') => take(index, Glyph::Char('\t')),
                (State::Ground, 0..0x20 | 0x7f) => {}
                (State::Ground, _) => self.text(index, byte, &mut take),
            }
        }
    }

    fn text(&mut self, index: usize, byte: u8, take: &mut impl FnMut(usize, Glyph)) {
        if self.pending.is_empty() && byte < 0x80 {
            return take(index, Glyph::Char(char::from(byte)));
        }
        self.pending.push(byte);
        match std::str::from_utf8(&self.pending) {
            Ok(text) => {
                text.chars().for_each(|c| take(index, Glyph::Char(c)));
                self.pending.clear();
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => {
                take(index, Glyph::Char(char::REPLACEMENT_CHARACTER));
                let begun = self.pending.len() > 1;
                self.pending.clear();
                // The byte that broke the code point may begin another.
                if begun {
                    self.text(index, byte, take);
                }
            }
        }
    }

    /// What a control sequence means for text.
    fn control(&self, final_byte: u8) -> Option<Glyph> {
        let text = std::str::from_utf8(&self.parameters).unwrap_or_default();
        let number = text.split(';').next().and_then(|number| number.parse::<usize>().ok());
        let count = number.unwrap_or(1).clamp(1, LINE_CHARS_MAX);
        match final_byte {
            b'G' | b'`' => Some(Glyph::Column(count - 1)),
            b'C' => Some(Glyph::Forward(count)),
            b'K' if number.unwrap_or(0) == 0 => Some(Glyph::EraseRest),
            b'K' if number == Some(2) => Some(Glyph::EraseLine),
            b'A' | b'B' | b'E' | b'F' | b'H' | b'J' | b'd' | b'f' | b'u' => Some(Glyph::Elsewhere),
            _ => None,
        }
    }
}

/// Decodes UTF-8 that comes in parts. What is none is U+FFFD.
#[derive(Default)]
pub struct Utf8 {
    /// The start of a code point.
    pending: Vec<u8>,
}

impl Utf8 {
    /// The text of the next part; what is only the start of a code point is kept for the part behind.
    pub fn read(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut begun = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            let is_last = begun + chunk.valid().len() + chunk.invalid().len() == self.pending.len();
            begun += chunk.valid().len();
            let is_start = is_last && str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if is_start {
                break;
            }
            begun += chunk.invalid().len();
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..begun);
        text
    }
}

/// Writes output down line by line: what a line showed in the end, without what was overwritten in it. A program that
/// draws all over the screen leaves a line for each stretch that it drew.
#[derive(Default)]
pub struct Lines {
    plain: Plain,
    line: Vec<char>,
    column: usize,
}

impl Lines {
    /// Takes output in and appends to `text` the lines that are over.
    pub fn read(&mut self, bytes: &[u8], text: &mut String) {
        let (line, column) = (&mut self.line, &mut self.column);
        self.plain.read(bytes, |_, glyph| match glyph {
            Glyph::Char(c) => {
                if *column >= LINE_CHARS_MAX {
                    end_line(line, column, text);
                }
                if *column >= line.len() {
                    line.resize(*column + 1, ' ');
                }
                line[*column] = c;
                *column += 1;
            }
            Glyph::LineFeed => end_line(line, column, text),
            Glyph::Return => *column = 0,
            Glyph::Backspace => *column = column.saturating_sub(1),
            Glyph::Column(to) => *column = to.min(LINE_CHARS_MAX - 1),
            Glyph::Forward(by) => *column = (*column + by).min(LINE_CHARS_MAX - 1),
            Glyph::EraseRest => line.truncate(*column),
            Glyph::EraseLine => line.clear(),
            Glyph::Elsewhere => {
                if line.iter().any(|c| !c.is_whitespace()) {
                    end_line(line, column, text);
                } else {
                    line.clear();
                    *column = 0;
                }
            }
        });
    }

    /// Appends the line that is not over.
    pub fn finish(&mut self, text: &mut String) {
        if !self.line.is_empty() {
            end_line(&mut self.line, &mut self.column, text);
        }
    }
}

fn end_line(line: &mut Vec<char>, column: &mut usize, text: &mut String) {
    let start = text.len();
    text.extend(line.iter());
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
    line.clear();
    *column = 0;
}

/// A place where a text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub at: DateTime<Utc>,
    /// Position of its first character.
    pub offset: u64,
    /// What is shown around it.
    pub snippet: String,
    /// Where in the snippet it is: characters before it, and its length.
    pub start: usize,
    pub length: usize,
}

/// Finds a text in output, whatever its case, and however the output is cut. White space and movements of the cursor count
/// as one space.
pub struct Search {
    plain: Plain,
    wanted: Vec<char>,
    /// How long a beginning of `wanted` is also an end of each of its beginnings.
    borders: Vec<usize>,
    matched: usize,
    /// The last characters that were shown, each with where it stands.
    recent: VecDeque<(char, u64, DateTime<Utc>)>,
    /// Hits whose snippets wait for what comes behind them, with how many characters are missing.
    open: VecDeque<(Hit, usize)>,
}

impl Search {
    /// `None` for a text of nothing but white space.
    #[must_use]
    pub fn new(wanted: &str) -> Option<Self> {
        let words: Vec<&str> = wanted.split_whitespace().collect();
        let wanted: Vec<char> = words.join(" ").chars().map(fold).collect();
        if wanted.is_empty() {
            return None;
        }
        let mut borders = vec![0; wanted.len()];
        let mut border = 0;
        for end in 1..wanted.len() {
            while border > 0 && wanted[border] != wanted[end] {
                border = borders[border - 1];
            }
            border += usize::from(wanted[border] == wanted[end]);
            borders[end] = border;
        }
        Some(Self { plain: Plain::default(), wanted, borders, matched: 0, recent: VecDeque::new(), open: VecDeque::new() })
    }

    /// Takes in output that starts at `offset`, and adds to `hits` those that are complete.
    pub fn read(&mut self, at: DateTime<Utc>, offset: u64, bytes: &[u8], hits: &mut Vec<Hit>) {
        let mut plain = std::mem::take(&mut self.plain);
        plain.read(bytes, |index, glyph| {
            let c = match glyph {
                Glyph::Char(c) if !c.is_whitespace() => c,
                // A character is drawn over, not behind, so nothing lies between.
                Glyph::Backspace | Glyph::EraseRest | Glyph::EraseLine => return,
                Glyph::Char(_) | Glyph::LineFeed | Glyph::Return | Glyph::Column(_) | Glyph::Forward(_) | Glyph::Elsewhere => ' ',
            };
            if c != ' ' || self.recent.back().is_some_and(|(last, _, _)| *last != ' ') {
                self.show(c, (offset + index as u64 + 1).saturating_sub(c.len_utf8() as u64), at, hits);
            }
        });
        self.plain = plain;
    }

    /// Adds the hits whose snippets end with the output.
    pub fn finish(&mut self, hits: &mut Vec<Hit>) {
        hits.extend(self.open.drain(..).map(|(hit, _)| hit));
    }

    fn show(&mut self, c: char, offset: u64, at: DateTime<Utc>, hits: &mut Vec<Hit>) {
        for (hit, missing) in &mut self.open {
            hit.snippet.push(c);
            *missing -= 1;
        }
        while self.open.front().is_some_and(|(_, missing)| *missing == 0) {
            hits.extend(self.open.pop_front().map(|(hit, _)| hit));
        }
        self.recent.push_back((c, offset, at));
        if self.recent.len() > SNIPPET_CHARS + self.wanted.len() {
            self.recent.pop_front();
        }
        let folded = fold(c);
        while self.matched > 0 && self.wanted[self.matched] != folded {
            self.matched = self.borders[self.matched - 1];
        }
        self.matched += usize::from(self.wanted[self.matched] == folded);
        if self.matched == self.wanted.len() {
            let start = self.recent.len() - self.matched;
            let (_, offset, at) = self.recent[start];
            let snippet = self.recent.iter().map(|(c, _, _)| *c).collect();
            self.open.push_back((Hit { at, offset, snippet, start, length: self.matched }, SNIPPET_CHARS));
            // The next hit does not overlap this one.
            self.matched = 0;
        }
    }
}

fn fold(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn code_points_that_come_in_parts_are_whole_and_what_is_none_is_replaced() {
        let bytes = "gr\u{fc}n \u{1f980} ok".as_bytes();
        for size in 1..=bytes.len() {
            let mut utf8 = Utf8::default();
            let text: String = bytes.chunks(size).map(|part| utf8.read(part)).collect();
            assert_eq!(text, "gr\u{fc}n \u{1f980} ok", "in parts of {size}");
        }
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.read(b"a\xffb\xf0\x9f") + &utf8.read(b"c\xc3"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(utf8.read(b"\xbc"), "\u{fc}");
    }

    fn lines(output: &str) -> String {
        let mut lines = Lines::default();
        let mut text = String::new();
        lines.read(output.as_bytes(), &mut text);
        lines.finish(&mut text);
        text
    }

    #[test]
    fn a_line_reads_as_it_was_in_the_end() {
        assert_eq!(lines("one\r\ntwo"), "one\ntwo\n");
        assert_eq!(lines(" 10%\r 50%\r100%\r\n"), "100%\n");
        assert_eq!(lines("abc\u{8}\u{8}X\r\n"), "aXc\n");
        assert_eq!(lines("\u{1b}[1;31mred\u{1b}[0m\u{1b}]0;title\u{7}\u{1b}P$q\u{1b}\\ text\u{1b}[K\r\n"), "red text\n");
        assert_eq!(lines("a\u{1b}[3Cb\u{1b}[2Gc"), "ac  b\n");
        assert_eq!(lines("\u{1b}[2J\u{1b}[Hup\u{1b}[5;1Hdown"), "up\ndown\n");
        assert_eq!(lines("gr\u{fc}n \u{1f600}"), "gr\u{fc}n \u{1f600}\n");
    }

    fn found(parts: &[&[u8]], wanted: &str) -> Vec<Hit> {
        let mut search = Search::new(wanted).unwrap();
        let mut hits = Vec::new();
        let mut offset = 100;
        for part in parts {
            search.read(DateTime::UNIX_EPOCH, offset, part, &mut hits);
            offset += part.len() as u64;
        }
        search.finish(&mut hits);
        hits
    }

    #[test]
    fn a_word_is_found_wherever_it_is_cut_and_coloured() {
        let output = "first \u{1b}[32mBuil\u{1b}[0md  failed\r\nbehind \u{fc}";
        for cut in 0..=output.len() {
            let hits = found(&[&output.as_bytes()[..cut], &output.as_bytes()[cut..]], "build FAILED behind \u{dc}");
            assert_eq!(hits.len(), 1, "cut at {cut}");
            assert_eq!((hits[0].offset, hits[0].start, hits[0].snippet.as_str()), (111, 6, "first Build failed behind \u{fc}"));
        }
        assert!(Search::new(" \t").is_none());
    }

    #[test]
    fn every_hit_has_what_is_around_it() {
        let output = format!("{}needle{}needle", "a".repeat(200), "b".repeat(200));
        let hits = found(&[output.as_bytes()], "needle");
        assert_eq!(hits.len(), 2);
        assert_eq!(hits[0].snippet, format!("{}needle{}", "a".repeat(80), "b".repeat(80)));
        assert_eq!((hits[1].offset, hits[1].snippet.len()), (100 + 406, 86));
        assert_eq!(found(&[b"aaaa"], "aa").len(), 2);
        assert_eq!(found(&[b"aab aaab"], "aab").len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_cut_anywhere_give_the_same_text(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
            let cut = cut.min(bytes.len());
            let read = |parts: &[&[u8]]| {
                let (mut lines, mut text) = (Lines::default(), String::new());
                for part in parts {
                    lines.read(part, &mut text);
                }
                lines.finish(&mut text);
                text
            };
            prop_assert_eq!(read(&[&bytes]), read(&[&bytes[..cut], &bytes[cut..]]));
        }
    }
}
