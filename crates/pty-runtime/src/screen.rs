//! What an agent's terminal shows: a model of the terminal, fed from the agent's ring.
//!
//! Whoever looks brings the model up to date with a cursor of its own, off the path of the bytes
//! to viewers. A model that is far behind skips ahead, so that a flood costs a bounded share of a
//! core: what a screen shows depends on the last bytes only.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind},
};

use avt::{Cell, Color, Line, Observation, Observer, Pen, Terminal};

use crate::{
    process::Size,
    ring::{Found, Output},
    text::{Decoder, spaced},
};

/// Lines kept above the screen, for turns and snapshots: about 1 MiB per agent at 80 columns.
const SCROLLBACK_LINES: usize = 500;
/// Bytes read from the ring at once, so that its lock is never held for long.
const READ_BYTES: usize = 32 * 1024;
/// A model that is this many bytes behind skips ahead.
const BEHIND_MAX: u64 = 256 * 1024;
/// How many of the last bytes it then still reads: some thirty plain screens of 80 by 24.
const KEPT_WHEN_BEHIND: u64 = 64 * 1024;
/// Text of lines that left the scrollback during one turn, in bytes.
const RECORD_BYTES_MAX: usize = 128 * 1024;
/// Bytes of scrollback in one snapshot; the newest lines win.
const SNAPSHOT_SCROLLBACK_BYTES: usize = 256 * 1024;
/// Text of the screen that is looked at, in bytes from its end: many times a usual screen, and
/// little enough that all patterns of an adapter take about a millisecond.
const LOOKED_AT_BYTES: usize = 32 * 1024;

/// Characters with which programs animate waiting.
const SPINNERS: &str = "✢✳✶✻✽✺✷✸✹∗◐◓◑◒◴◷◶◵";

/// One row as the terminal holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) text: String,
    /// The next row goes on where this one ends.
    pub(crate) wrapped: bool,
}

/// What a screen shows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) cols: usize,
    pub(crate) rows: Vec<Row>,
    /// The rows as a person would read them: wrapped ones joined, without frames and spinners,
    /// and any run of spaces as one.
    pub(crate) lines: Vec<String>,
    /// For each of `lines` the first of the rows that it is made of.
    pub(crate) line_rows: Vec<usize>,
}

/// A screen that can be drawn elsewhere.
pub(crate) struct Snapshot {
    /// Where the bytes that follow it start.
    pub(crate) offset: u64,
    pub(crate) size: Size,
    pub(crate) drawing: Vec<u8>,
}

/// The model of one agent's terminal.
pub(crate) struct Screen {
    terminal: Terminal,
    decoder: Decoder,
    modes: Modes,
    size: Size,
    /// The offset of the next byte to read.
    offset: u64,
    record: Record,
}

impl Screen {
    pub(crate) fn new(size: Size) -> Self {
        Self { terminal: blank(size), decoder: Decoder::default(), modes: Modes::default(), size, offset: 0, record: Record::default() }
    }

    /// Reads everything printed so far. Returns whether anything was new.
    pub(crate) fn catch_up(&mut self, output: &Output, size: Size) -> bool {
        let resized = self.resize(size);
        let (before, end) = (self.offset, output.bounds().1);
        let read_from = if end.saturating_sub(self.offset) > BEHIND_MAX { end - KEPT_WHEN_BEHIND } else { self.offset };
        while self.offset < end {
            match output.read(self.offset, READ_BYTES) {
                Found::Bytes(mut bytes) => {
                    // A piece ends where the reading starts, so that nothing is skipped that counts.
                    if self.offset < read_from {
                        bytes.truncate(usize::try_from(read_from - self.offset).unwrap_or(usize::MAX));
                    }
                    self.offset += bytes.len() as u64;
                    let text = self.decoder.decode(&bytes);
                    self.modes.read(&text);
                    if self.offset > read_from {
                        self.print(&text);
                    } else if self.offset == read_from {
                        self.start_over();
                    }
                }
                Found::Lost { start } => {
                    self.offset = start;
                    self.start_over();
                }
                Found::UpToDate => break,
            }
        }
        resized || self.offset != before
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Whether the program asked for cursor keys in application mode.
    pub(crate) fn wants_application_keys(&self) -> bool {
        self.modes.cursor_keys
    }

    /// How far the output was read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What the screen shows now, from its last rows.
    pub(crate) fn view(&self) -> View {
        let mut rows: Vec<Row> = self.terminal.screen().visible_lines().map(row).collect();
        let mut bytes = 0;
        let shown = rows.iter().rev().take_while(|row| {
            bytes += row.text.len();
            bytes <= LOOKED_AT_BYTES
        });
        let shown = shown.count();
        rows.drain(..rows.len() - shown);
        View::of(rows, usize::from(self.size.cols))
    }

    /// Starts to keep the lines that leave the scrollback.
    pub(crate) fn start_record(&mut self) {
        self.record = Record { on: true, ..Record::default() };
    }

    /// Ends what [`Self::start_record`] began.
    pub(crate) fn end_record(&mut self) {
        self.record = Record::default();
    }

    /// Whether lines of the record are missing, since they were too many.
    pub(crate) fn record_is_cut(&self) -> bool {
        self.record.cut
    }

    /// Every line that is still known, from those that left the scrollback during the record on.
    pub(crate) fn lines(&self) -> Vec<String> {
        let gone = self.record.rows.iter().cloned();
        let mut lines = Vec::new();
        let mut open = false;
        for row in gone.chain(self.terminal.screen().all_lines().map(row)) {
            match lines.last_mut().filter(|_| open) {
                Some(line) => String::push_str(line, &row.text),
                None => lines.push(row.text),
            }
            open = row.wrapped;
        }
        lines.iter().map(|line| without_frames(line).trim_end().to_owned()).collect()
    }

    /// Everything that draws this screen on another terminal of the same size.
    pub(crate) fn snapshot(&self) -> Snapshot {
        // Whatever the other terminal showed goes first. Modes come before the text, since the
        // model ends its own part with a sequence that is not finished yet, if there is one.
        let mut drawing = format!("\u{1b}c{}", self.modes);
        self.draw_scrollback(&mut drawing);
        drawing.push_str(&self.terminal.dump());
        let mut drawing = drawing.into_bytes();
        drawing.extend_from_slice(self.decoder.pending());
        Snapshot { offset: self.offset, size: self.size, drawing }
    }

    fn draw_scrollback(&self, drawing: &mut String) {
        let all: Vec<&Line> = self.terminal.primary_screen().all_lines().collect();
        let above = all.len().saturating_sub(usize::from(self.size.rows));
        let mut lines = VecDeque::new();
        let mut bytes = 0;
        for line in all[..above].iter().rev() {
            let drawn = drawn(line);
            bytes += drawn.len();
            if bytes > SNAPSHOT_SCROLLBACK_BYTES {
                break;
            }
            lines.push_front(drawn);
        }
        if lines.is_empty() {
            return;
        }
        drawing.extend(lines);
        // Moves them above the screen, which the rest then fills from its first row.
        drawing.push_str(&"\n".repeat(usize::from(self.size.rows) - 1));
        drawing.push_str("\u{1b}[H");
    }

    fn resize(&mut self, size: Size) -> bool {
        if size == self.size {
            return false;
        }
        self.size = size;
        self.unharmed(|terminal, record| terminal.resize_with(size.cols.into(), size.rows.into(), record));
        true
    }

    fn print(&mut self, text: &str) {
        self.unharmed(|terminal, record| terminal.feed_with(text, record));
    }

    /// Programs print anything. If the model should ever fail over it, only the picture is lost.
    fn unharmed(&mut self, change: impl FnOnce(&mut Terminal, &mut Record)) {
        let (terminal, record) = (&mut self.terminal, &mut self.record);
        if catch_unwind(AssertUnwindSafe(|| change(terminal, record))).is_err() {
            tracing::error!("the model of a terminal failed and starts over");
            self.start_over();
        }
    }

    /// Goes on with an empty screen, in the modes that the program chose before.
    fn start_over(&mut self) {
        self.terminal = blank(self.size);
        if self.modes.alternate {
            self.terminal.feed("\u{1b}[?1049h");
        }
        let on = self.record.on;
        self.record = Record { on, cut: on, ..Record::default() };
    }
}

impl View {
    pub(crate) fn of(rows: Vec<Row>, cols: usize) -> Self {
        let (mut lines, mut line_rows) = (Vec::<String>::new(), Vec::new());
        let mut open = false;
        for (index, row) in rows.iter().enumerate() {
            if let Some(line) = lines.last_mut().filter(|_| open) {
                line.push_str(&row.text);
            } else {
                lines.push(row.text.clone());
                line_rows.push(index);
            }
            open = row.wrapped;
        }
        let lines = lines.iter().map(|line| spaced(&without_frames(line))).collect();
        Self { cols, rows, lines, line_rows }
    }
}

/// Frames, blocks and spinners become spaces, so that columns stay where they are.
pub(crate) fn without_frames(text: &str) -> String {
    let drawn = |char: char| matches!(char, '\u{2500}'..='\u{259f}' | '\u{2800}'..='\u{28ff}') || SPINNERS.contains(char);
    text.chars().map(|char| if drawn(char) { ' ' } else { char }).collect()
}

/// Lines that leave the scrollback while they are kept.
#[derive(Default)]
struct Record {
    on: bool,
    rows: VecDeque<Row>,
    bytes: usize,
    cut: bool,
}

impl Observer for Record {
    type Output = ();

    fn evicted(&mut self, _: &mut Observation<'_>, line: &Line) {
        if !self.on {
            return;
        }
        let row = row(line);
        self.bytes += row.text.len() + 1;
        self.rows.push_back(row);
        while self.bytes > RECORD_BYTES_MAX {
            let Some(oldest) = self.rows.pop_front() else { break };
            self.bytes -= oldest.text.len() + 1;
            self.cut = true;
        }
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

/// The modes that the model of the terminal does not know but viewers act upon.
#[derive(Default)]
struct Modes {
    state: ModeState,
    /// Private modes that are set.
    set: BTreeSet<u16>,
    keypad: bool,
    /// Cursor keys are sent in application mode; the model of the terminal draws this itself.
    cursor_keys: bool,
    cursor_style: Option<u16>,
    alternate: bool,
}

/// Where in an escape sequence the reading is.
#[derive(Default)]
enum ModeState {
    #[default]
    Text,
    Escape,
    /// After `ESC [`: the parameters so far.
    Sequence(String),
}

/// Mouse reports, focus reports and bracketed paste.
const VIEWER_MODES: [u16; 8] = [1000, 1002, 1003, 1004, 1005, 1006, 1015, 2004];
const CURSOR_KEYS_MODE: u16 = 1;
const ALTERNATE_MODES: [u16; 3] = [47, 1047, 1049];
/// No sequence that sets modes is longer; a longer one is none.
const SEQUENCE_CHARS_MAX: usize = 64;

impl Modes {
    fn read(&mut self, text: &str) {
        // Text without any escape is the usual case and is passed over at once.
        if matches!(self.state, ModeState::Text) && !text.contains('\u{1b}') {
            return;
        }
        for char in text.chars() {
            self.state = match (std::mem::take(&mut self.state), char) {
                (_, '\u{1b}') => ModeState::Escape,
                (ModeState::Escape, '[') => ModeState::Sequence(String::new()),
                (ModeState::Escape, char) => {
                    match char {
                        '=' => self.keypad = true,
                        '>' => self.keypad = false,
                        'c' => *self = Self::default(),
                        _ => {}
                    }
                    ModeState::Text
                }
                (ModeState::Sequence(parameters), '@'..='~') => {
                    self.apply(&parameters, char);
                    ModeState::Text
                }
                (ModeState::Sequence(mut parameters), char) if parameters.len() < SEQUENCE_CHARS_MAX => {
                    parameters.push(char);
                    ModeState::Sequence(parameters)
                }
                (ModeState::Sequence(_) | ModeState::Text, _) => ModeState::Text,
            };
        }
    }

    fn apply(&mut self, parameters: &str, end: char) {
        if let (Some(style), 'q') = (parameters.strip_suffix(' '), end) {
            self.cursor_style = style.parse().ok();
        }
        let (Some(modes), 'h' | 'l') = (parameters.strip_prefix('?'), end) else {
            return;
        };
        for mode in modes.split(';').filter_map(|mode| mode.parse().ok()) {
            if ALTERNATE_MODES.contains(&mode) {
                self.alternate = end == 'h';
            } else if mode == CURSOR_KEYS_MODE {
                self.cursor_keys = end == 'h';
            } else if VIEWER_MODES.contains(&mode) && end == 'h' {
                self.set.insert(mode);
            } else {
                self.set.remove(&mode);
            }
        }
    }
}

impl std::fmt::Display for Modes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for mode in &self.set {
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

fn blank(size: Size) -> Terminal {
    let (cols, rows) = (usize::from(size.cols.max(1)), usize::from(size.rows.max(1)));
    // The only error is a size of zero, which is taken care of above.
    Terminal::with_scrollback(cols, rows, Some(SCROLLBACK_LINES)).unwrap_or_else(|error| unreachable!("{error}"))
}

fn row(line: &Line) -> Row {
    let text = line.text();
    let wrapped = line.is_wrapped();
    Row { text: if wrapped { text } else { text.trim_end().to_owned() }, wrapped }
}

/// One line of the scrollback with its colours, and a line break unless it is wrapped.
fn drawn(line: &Line) -> String {
    let mut drawn = String::new();
    let mut cells: Vec<&Cell> = line.cells().iter().filter(|cell| cell.width() > 0).collect();
    if !line.is_wrapped() {
        let blank = |cell: &&Cell| cell.char() == ' ' && cell.pen().is_default();
        let kept = cells.len() - cells.iter().rev().take_while(|cell| blank(cell)).count();
        cells.truncate(kept);
    }
    let mut pen = Pen::default();
    for cell in cells {
        if *cell.pen() != pen {
            pen = *cell.pen();
            drawn.push_str(&rendition(&pen));
        }
        drawn.push(cell.char());
    }
    if !pen.is_default() {
        drawn.push_str("\u{1b}[m");
    }
    if !line.is_wrapped() {
        drawn.push_str("\r\n");
    }
    drawn
}

/// Select graphic rendition (ECMA-48 §8.3.117) for this pen, from the default on.
fn rendition(pen: &Pen) -> String {
    let mut codes = String::from("\u{1b}[0");
    let attributes = [
        (pen.is_bold(), ";1"),
        (pen.is_faint(), ";2"),
        (pen.is_italic(), ";3"),
        (pen.is_underline(), ";4"),
        (pen.is_blink(), ";5"),
        (pen.is_inverse(), ";7"),
        (pen.is_strikethrough(), ";9"),
    ];
    attributes.iter().filter(|(on, _)| *on).for_each(|(_, code)| codes.push_str(code));
    for (layer, color) in [(38, pen.foreground()), (48, pen.background())] {
        let written = match color {
            Some(Color::Indexed(index)) => write!(codes, ";{layer};5;{index}"),
            Some(Color::RGB(rgb)) => write!(codes, ";{layer};2;{};{};{}", rgb.r, rgb.g, rgb.b),
            None => Ok(()),
        };
        if written.is_err() {
            tracing::trace!("a text took no more");
        }
    }
    codes.push('m');
    codes
}

#[cfg(test)]
mod tests {
    use avt::ScreenKind;
    use proptest::prelude::*;

    use super::*;
    use crate::ring::RING_BYTES;

    fn size(cols: u16, rows: u16) -> Size {
        Size::new(cols, rows).unwrap()
    }

    fn shown(bytes: &[u8], at: Size) -> Screen {
        let output = Output::new();
        output.print(bytes);
        let mut screen = Screen::new(at);
        screen.catch_up(&output, at);
        screen
    }

    #[test]
    fn wrapped_rows_are_joined_and_frames_and_spinners_are_gone() {
        let screen = shown(
            "\u{256d}\u{2500}\u{256e}\r\n\u{2502} \u{2733} one   two \u{2502}\r\n0123456789abcdefghijKLM\r\n".as_bytes(),
            size(20, 8),
        );
        let view = screen.view();
        assert_eq!(view.lines[..3], ["", "one two", "0123456789abcdefghijKLM"]);
        assert_eq!(view.line_rows[..4], [0, 1, 2, 4]);
    }

    #[test]
    fn a_snapshot_draws_the_same_screen_elsewhere() {
        let mut text = String::from("\u{1b}[?2004h\u{1b}[?1000;1006h\u{1b}=\u{1b}[5 q");
        for line in 0..40 {
            writeln!(text, "\u{1b}[1;38;5;{line}mline {line}\u{1b}[m \u{4f60}\u{597d}\r").unwrap();
        }
        for tail in ["\u{1b}[3;7Hhere", "\u{1b}[?1049h\u{1b}[2;3Halt", "cut \u{1b}[3", "wide\u{1b}[?25l"] {
            let at = size(30, 10);
            let screen = shown(format!("{text}{tail}").as_bytes(), at);
            let drawn = screen.snapshot();
            let again = shown(&drawn.drawing, at);
            assert_eq!(again.view(), screen.view(), "{tail:?}");
            assert_eq!(again.terminal.cursor(), screen.terminal.cursor(), "{tail:?}");
            assert_eq!(again.terminal.active_screen_kind(), screen.terminal.active_screen_kind());
            assert_eq!(again.terminal.primary_screen().text(), screen.terminal.primary_screen().text(), "{tail:?}");
            assert_eq!(again.modes.to_string(), "\u{1b}[?1000h\u{1b}[?1006h\u{1b}[?2004h\u{1b}=\u{1b}[5 q");
            assert_eq!(again.snapshot().drawing, drawn.drawing, "{tail:?}");
        }
    }

    #[test]
    fn a_code_point_that_is_cut_goes_on_after_the_snapshot() {
        let screen = shown(b"a\xe2\x82", size(10, 2));
        let mut drawing = screen.snapshot().drawing;
        drawing.extend_from_slice(b"\xac");
        assert_eq!(shown(&drawing, size(10, 2)).view().lines[0], "a\u{20ac}");
    }

    #[test]
    fn a_model_that_is_far_behind_skips_ahead_and_keeps_its_modes() {
        let at = size(80, 24);
        let output = Output::new();
        let mut screen = Screen::new(at);
        output.print(b"\x1b[?2004h\x1b[?1049h");
        screen.catch_up(&output, at);
        for bytes in [RING_BYTES / 2, 3 * RING_BYTES] {
            output.print(&vec![b'x'; bytes]);
            output.print(b"\r\nthe end");
            assert!(screen.catch_up(&output, at));
            assert_eq!(screen.view().lines.last().map(String::as_str), Some("the end"));
            assert_eq!((screen.terminal.active_screen_kind(), screen.modes.set.len()), (ScreenKind::Alternate, 1));
        }
        assert!(!screen.catch_up(&output, at));
    }

    #[test]
    fn a_record_keeps_what_leaves_the_scrollback_and_says_when_it_is_cut() {
        let (at, output) = (size(40, 5), Output::new());
        let mut screen = Screen::new(at);
        screen.start_record();
        for line in 0..2000 {
            output.print(format!("line {line}\r\n").as_bytes());
        }
        screen.catch_up(&output, at);
        assert_eq!((screen.lines()[0].as_str(), screen.record_is_cut()), ("line 0", false));
        for _ in 0..40 {
            output.print(&b"0123456789 123456789 12345678\r\n".repeat(200));
            screen.catch_up(&output, at);
        }
        assert!(screen.record_is_cut());
        assert!(screen.lines().iter().map(String::len).sum::<usize>() < RECORD_BYTES_MAX + SCROLLBACK_LINES * 80);
    }

    fn soup() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<Vec<u8>>(),
            "\\PC{0,20}".prop_map(String::into_bytes),
            "\u{1b}\\[[?>]?[0-9;:]{0,12}[@-~]".prop_map(String::into_bytes),
            "\u{1b}[\\]P_^X][0-9a-z;]{0,12}(\u{7}|\u{1b}\\\\)?".prop_map(String::into_bytes),
            "\u{1b}[ -~]".prop_map(String::into_bytes),
            "[\u{4e00}-\u{4e10}\u{1f600}\u{301}\r\n\t\u{8}]{0,20}".prop_map(String::into_bytes),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_and_no_sizes_harm_the_model(
            pieces in proptest::collection::vec((soup(), 1_u16..60, 1_u16..30), 1..6),
        ) {
            let output = Output::new();
            let mut screen = Screen::new(size(80, 24));
            screen.start_record();
            for (bytes, cols, rows) in pieces {
                output.print(&bytes);
                screen.catch_up(&output, size(cols, rows));
                let view = screen.view();
                prop_assert!(view.rows.len() <= usize::from(rows));
                let snapshot = screen.snapshot();
                prop_assert!(snapshot.drawing.len() < 2 * 1024 * 1024);
                shown(&snapshot.drawing, size(cols, rows));
                screen.lines();
            }
        }
    }
}
