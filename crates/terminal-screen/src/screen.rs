//! The model of a terminal, fed with output and sizes in the order in which the terminal had them.

use std::{
    collections::VecDeque,
    fmt::Write,
    panic::{AssertUnwindSafe, catch_unwind},
};

use avt::{Cell, Color, Line, Observation, Observer, Pen, ScreenKind, Terminal};

use crate::{
    modes::{ModeReader, Modes},
    text::{Decoder, spaced},
};

/// Lines kept above the screen, for turns and snapshots: about 1 MiB per agent at 80 columns.
pub const SCROLLBACK_LINES: usize = 500;
/// Text of lines that left the scrollback during one turn, in bytes.
const RECORD_BYTES_MAX: usize = 128 * 1024;
/// Bytes of scrollback in one snapshot; the newest lines win.
const SNAPSHOT_SCROLLBACK_BYTES: usize = 256 * 1024;
/// Bytes of one snapshot: some two hundred plain screens of 80×24. A larger screen is drawn without its attributes.
const SNAPSHOT_BYTES: usize = 1024 * 1024;
/// Text of the screen that is looked at, in bytes from its end: many times a usual screen, and
/// little enough that all patterns of an adapter take about a millisecond.
const LOOKED_AT_BYTES: usize = 32 * 1024;

/// Characters with which programs animate waiting.
const SPINNERS: &str = "✢✳✶✻✽✺✷✸✹∗◐◓◑◒◴◷◶◵";

/// One row as the terminal holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub text: String,
    /// The next row goes on where this one ends.
    pub wrapped: bool,
}

/// What a screen shows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub cols: usize,
    pub rows: Vec<Row>,
    /// The rows as a person would read them: wrapped ones joined, without frames and spinners,
    /// and any run of spaces as one.
    pub lines: Vec<String>,
    /// For each of `lines` the first of the rows that it is made of.
    pub line_rows: Vec<usize>,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub cols: u16,
    pub rows: u16,
}

/// The model of one terminal.
pub struct Screen {
    terminal: Terminal,
    decoder: Decoder,
    modes: ModeReader,
    size: Size,
    record: Record,
}

impl Screen {
    /// A blank terminal.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self { terminal: blank(size), decoder: Decoder::default(), modes: ModeReader::default(), size, record: Record::default() }
    }

    /// Takes in what the program printed next.
    pub fn feed(&mut self, bytes: &[u8]) {
        let text = self.decoder.decode(bytes);
        self.modes.read(&text);
        self.print(&text);
    }

    /// Passes over what the program printed next: of all of it only the modes count.
    pub fn pass(&mut self, bytes: &[u8]) {
        let text = self.decoder.decode(bytes);
        self.modes.read(&text);
    }

    /// Goes on with an empty screen, in the modes that the program chose before.
    pub fn start_over(&mut self) {
        self.terminal = blank(self.size);
        self.terminal.feed(self.modes.modes.on_blank().as_str());
        let on = self.record.on;
        self.record = Record { on, cut: on, ..Record::default() };
    }

    /// Goes on with an empty screen in these modes, where what was printed before is not known.
    pub fn start_over_in(&mut self, modes: Modes) {
        self.decoder = Decoder::default();
        self.modes = ModeReader::starting_in(modes);
        self.start_over();
    }

    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Whether the program asked for cursor keys in application mode.
    #[must_use]
    pub fn wants_application_keys(&self) -> bool {
        self.modes.modes.cursor_keys()
    }

    /// The modes that the program chose.
    #[must_use]
    pub fn modes(&self) -> Modes {
        self.modes.modes
    }

    /// The column and the row of the cursor, counted from one.
    #[must_use]
    pub fn cursor(&self) -> (u16, u16) {
        let cursor = self.terminal.cursor();
        // Behind the last column it waits to wrap, and says that it stands on it.
        let one_based = |at: usize, most: u16| u16::try_from(at + 1).unwrap_or(u16::MAX).min(most);
        (one_based(cursor.col, self.size.cols), one_based(cursor.row, self.size.rows))
    }

    /// The bytes of a character that is not finished yet; no snapshot has them.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.decoder.pending()
    }

    /// What the screen shows now, from its last rows.
    #[must_use]
    pub fn view(&self) -> View {
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

    /// Changes the size; whether it was another one.
    pub fn resize(&mut self, size: Size) -> bool {
        if size == self.size {
            return false;
        }
        self.size = size;
        self.unharmed(|terminal, record| terminal.resize_with(size.cols.into(), size.rows.into(), record));
        true
    }

    /// Starts to keep the lines that leave the scrollback.
    pub fn start_record(&mut self) {
        self.record = Record { on: true, ..Record::default() };
    }

    /// Ends what [`Self::start_record`] began.
    pub fn end_record(&mut self) {
        self.record = Record::default();
    }

    /// Whether lines of the record are missing, since they were too many.
    #[must_use]
    pub fn record_is_cut(&self) -> bool {
        self.record.cut
    }

    /// Every line that is still known, from those that left the scrollback during the record on.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
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

    /// Everything that draws this screen on another terminal of the same size, in at most 1 MiB. Of a screen that takes more
    /// the scrollback and the attributes are left out, and then the first rows.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let (start, screens) = (self.start_of_snapshot(), self.draw_screens());
        self.whole(&start, &screens).unwrap_or_else(|| {
            let mut drawing = start + &without_attributes(&screens);
            if drawing.len() > SNAPSHOT_BYTES {
                drawing = self.last_rows();
            }
            drawing.into_bytes()
        })
    }

    /// Like [`Self::snapshot`]; `None` where something would be left out.
    #[must_use]
    pub fn whole_snapshot(&self) -> Option<Vec<u8>> {
        self.whole(&self.start_of_snapshot(), &self.draw_screens())
    }

    /// Whatever the other terminal showed goes first. Modes come before the text, since the model ends its own part with
    /// a sequence that is not finished yet, if there is one.
    fn start_of_snapshot(&self) -> String {
        format!("\u{1b}c{}", self.modes.modes)
    }

    fn whole(&self, start: &str, screens: &str) -> Option<Vec<u8>> {
        let mut drawing = start.to_owned();
        if screens.len() <= SNAPSHOT_BYTES {
            self.draw_scrollback(&mut drawing);
        }
        drawing.push_str(screens);
        (drawing.len() <= SNAPSHOT_BYTES).then(|| drawing.into_bytes())
    }

    /// As many of the last rows as one snapshot has room for, as plain text, and the cursor.
    fn last_rows(&self) -> String {
        let mut drawing = self.start_of_snapshot();
        if self.terminal.active_screen_kind() == ScreenKind::Alternate {
            drawing.push_str("\u{1b}[?1049h");
        }
        let (col, row) = self.cursor();
        let mut end = format!("\u{1b}[{row};{col}H");
        if !self.terminal.cursor().visible {
            end.push_str("\u{1b}[?25l");
        }
        let mut bytes = drawing.len() + end.len();
        let rows: Vec<String> = self.terminal.screen().visible_lines().map(Line::text).collect();
        let placed = rows.iter().enumerate().rev().map(|(index, text)| format!("\u{1b}[{};1H{}", index + 1, text.trim_end()));
        drawing.extend(placed.take_while(|row| {
            bytes += row.len();
            bytes <= SNAPSHOT_BYTES
        }));
        drawing + &end
    }

    /// The model's own drawing without the spaces that end its rows: the other terminal is blank, and what is selected
    /// there shall not end in spaces that nobody printed.
    fn draw_screens(&self) -> String {
        let drawing = self.terminal.dump();
        let mut blanks = blanks_at_row_ends(self.terminal.primary_screen());
        if self.terminal.active_screen_kind() == ScreenKind::Alternate {
            blanks.extend(blanks_at_row_ends(self.terminal.screen()));
        }
        let rows: Vec<&str> = drawing.split("\r\n").collect();
        if rows.len() != blanks.len() + 1 {
            // Drawn in a way that is not known here.
            return drawing;
        }
        let ended = rows.iter().zip(&blanks).map(|(row, blanks)| without_blanks(row, *blanks));
        ended.chain(rows.last().copied()).collect::<Vec<_>>().join("\r\n")
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
        let wraps = lines.back().is_some_and(|line| !line.ends_with("\r\n"));
        drawing.extend(lines);
        // What goes on on the screen would be drawn over it.
        if wraps {
            drawing.push_str("\r\n");
        }
        // Moves them above the screen, which the rest then fills from its first row.
        drawing.push_str(&"\n".repeat(usize::from(self.size.rows) - 1));
        drawing.push_str("\u{1b}[H");
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
}

impl View {
    #[must_use]
    pub fn of(rows: Vec<Row>, cols: usize) -> Self {
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
#[must_use]
pub fn without_frames(text: &str) -> String {
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

fn blank(size: Size) -> Terminal {
    let (cols, rows) = (usize::from(size.cols.max(1)), usize::from(size.rows.max(1)));
    // The only error is a size of zero, which is taken care of above.
    Terminal::with_scrollback(cols, rows, Some(SCROLLBACK_LINES)).unwrap_or_else(|error| unreachable!("{error}"))
}

/// A drawing without the sequences that select how characters look.
fn without_attributes(drawing: &str) -> String {
    let mut plain = String::with_capacity(SNAPSHOT_BYTES);
    let mut parts = drawing.split("\u{1b}[");
    plain.extend(parts.next());
    for part in parts {
        let parameters = part.bytes().take_while(|byte| matches!(byte, b'0'..=b';')).count();
        match part[parameters..].strip_prefix('m') {
            Some(text) => plain.push_str(text),
            None => plain.extend(["\u{1b}[", part]),
        }
    }
    plain
}

/// How many blank cells end each row that is drawn with a line break behind it.
fn blanks_at_row_ends(screen: avt::Screen<'_>) -> Vec<usize> {
    let rows: Vec<(bool, usize, usize)> = screen
        .visible_lines()
        .map(|line| {
            let blank = |cell: &&Cell| cell.char() == ' ' && cell.width() == 1 && cell.pen().is_default();
            (line.is_wrapped(), line.cells().iter().rev().take_while(blank).count(), line.cells().len())
        })
        .collect();
    // Blank rows at the end of the screen are not drawn, but for one that a wrapped row goes on in.
    let continued = |index: usize| index > 0 && rows[index - 1].0;
    let drawn = (0..rows.len()).rev().find(|index| rows[*index].0 || rows[*index].1 < rows[*index].2 || continued(*index));
    let drawn = drawn.map_or(0, |last| last + 1).min(rows.len().saturating_sub(1));
    rows[..drawn].iter().filter(|(wrapped, ..)| !wrapped).map(|(_, blanks, _)| *blanks).collect()
}

/// A drawn row without the blanks that end it, which are drawn as one and its repetitions (REP), or as they are.
fn without_blanks(row: &str, blanks: usize) -> &str {
    let Some(repeated) = blanks.checked_sub(1) else { return row };
    let ended = row.strip_suffix(&format!(" \u{1b}[{repeated}b")).or_else(|| row.strip_suffix(&" ".repeat(blanks)));
    ended.unwrap_or(row)
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
    use proptest::prelude::*;

    use super::*;
    fn size(cols: u16, rows: u16) -> Size {
        Size { cols, rows }
    }

    fn shown(bytes: &[u8], at: Size) -> Screen {
        let mut screen = Screen::new(at);
        screen.feed(bytes);
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
            let again = shown(&drawn, at);
            assert_eq!(again.view(), screen.view(), "{tail:?}");
            assert_eq!(again.terminal.cursor(), screen.terminal.cursor(), "{tail:?}");
            assert_eq!(again.terminal.active_screen_kind(), screen.terminal.active_screen_kind());
            assert_eq!(again.terminal.primary_screen().text(), screen.terminal.primary_screen().text(), "{tail:?}");
            assert_eq!(again.modes().to_string(), "\u{1b}[?1000h\u{1b}[?1006h\u{1b}[?2004h\u{1b}=\u{1b}[5 q");
            assert_eq!(again.snapshot(), drawn, "{tail:?}");
        }
    }

    #[test]
    fn a_code_point_that_is_cut_goes_on_after_the_snapshot() {
        let screen = shown(b"a\xe2\x82", size(10, 2));
        let mut drawing = screen.snapshot();
        drawing.extend_from_slice(screen.pending());
        drawing.extend_from_slice(b"\xac");
        assert_eq!(shown(&drawing, size(10, 2)).view().lines[0], "a\u{20ac}");
    }

    #[test]
    fn a_drawing_ends_no_row_in_spaces_that_nobody_printed() {
        let screen = shown(b"one\r\n\r\ntwo  \x1b[44m  \x1b[m\r\nlong enough to be wrapped here\r\nend", size(20, 10));
        let drawing = String::from_utf8(screen.snapshot()).unwrap();
        let rows = "one\r\n\r\ntwo  \u{1b}[44m  \u{1b}[49m\r\nlong enough to be wrapped here\r\nend\r\n";
        assert!(drawing.contains(rows), "{drawing:?}");
        let at = size(20, 3);
        let wrapped = shown("0123456789".repeat(9).as_bytes(), at);
        let again = shown(&wrapped.snapshot(), at);
        assert_eq!(again.lines().concat(), "0123456789".repeat(9));
    }

    #[test]
    fn a_drawing_is_bounded_however_much_is_on_the_screen() {
        let mut colored = String::new();
        for cell in 0..120_000 {
            write!(colored, "\u{1b}[38;2;{};{};7mx", cell % 256, cell / 256).unwrap();
        }
        for (text, at, first) in [(colored, size(400, 300), 0), ("\u{2500}\u{2502}".repeat(250_000), size(1000, 500), 160)] {
            let screen = shown(format!("\u{1b}[?1049h\u{1b}[?2004h{text}\u{1b}[7;9H").as_bytes(), at);
            let drawing = screen.snapshot();
            assert!(drawing.len() <= SNAPSHOT_BYTES && screen.whole_snapshot().is_none(), "{}", drawing.len());
            let again = shown(&drawing, at);
            assert_eq!((again.cursor(), again.modes().to_string()), (screen.cursor(), screen.modes().to_string()));
            assert_eq!(again.terminal.active_screen_kind(), ScreenKind::Alternate);
            let rows = |screen: &Screen| screen.terminal.screen().visible_lines().skip(first).map(Line::text).collect::<Vec<_>>();
            assert_eq!(rows(&again), rows(&screen));
        }
    }

    #[test]
    fn what_is_passed_over_changes_only_the_modes() {
        let at = size(80, 24);
        let mut screen = shown(b"before", at);
        screen.pass(b"passed\x1b[?2004h\x1b[?1049h\x1b[?25l");
        screen.start_over();
        screen.feed(b"after");
        assert_eq!(screen.view().lines[0], "after");
        assert_eq!((screen.terminal.active_screen_kind(), screen.terminal.cursor().visible), (ScreenKind::Alternate, false));
        assert_eq!(screen.modes().to_string(), "\u{1b}[?2004h");
        let modes = screen.modes();
        let mut elsewhere = Screen::new(at);
        elsewhere.start_over_in(modes);
        elsewhere.feed(b"after");
        assert_eq!(elsewhere.snapshot(), screen.snapshot());
    }

    #[test]
    fn the_cursor_is_told_as_a_terminal_reports_it() {
        assert_eq!(shown(b"\x1b[3;7H", size(20, 5)).cursor(), (7, 3));
        assert_eq!(shown(b"0123456789", size(10, 5)).cursor(), (10, 1), "it waits behind the last column");
    }

    #[test]
    fn a_record_keeps_what_leaves_the_scrollback_and_says_when_it_is_cut() {
        let mut screen = Screen::new(size(40, 5));
        screen.start_record();
        for line in 0..2000 {
            screen.feed(format!("line {line}\r\n").as_bytes());
        }
        assert_eq!((screen.lines()[0].as_str(), screen.record_is_cut()), ("line 0", false));
        for _ in 0..40 {
            screen.feed(&b"0123456789 123456789 12345678\r\n".repeat(200));
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
            let mut screen = Screen::new(size(80, 24));
            screen.start_record();
            for (bytes, cols, rows) in pieces {
                screen.resize(size(cols, rows));
                screen.feed(&bytes);
                let view = screen.view();
                prop_assert!(view.rows.len() <= usize::from(rows));
                let snapshot = screen.snapshot();
                prop_assert!(snapshot.len() < 2 * 1024 * 1024);
                shown(&snapshot, size(cols, rows));
                drop(screen.lines());
            }
        }
    }
}
