//! What an agent's terminal shows: a model of the terminal, fed from the agent's ring.
//!
//! Whoever looks brings the model up to date with a cursor of its own, off the path of the bytes
//! to viewers. A model that is far behind skips ahead, so that a flood costs a bounded share of a
//! core: what a screen shows depends on the last bytes only.

use terminal_screen::View;

use crate::{
    process::Size,
    ring::{Found, Output},
};

/// Bytes read from the ring at once, so that its lock is never held for long.
const READ_BYTES: usize = 32 * 1024;
/// A model that is this many bytes behind skips ahead.
const BEHIND_MAX: u64 = 256 * 1024;
/// How many of the last bytes it then still reads: some thirty plain screens of 80 by 24.
const KEPT_WHEN_BEHIND: u64 = 64 * 1024;

/// A screen that can be drawn elsewhere.
pub(crate) struct Snapshot {
    /// Where the bytes that follow it start.
    pub(crate) offset: u64,
    pub(crate) size: Size,
    pub(crate) drawing: Vec<u8>,
}

/// The model of one agent's terminal.
pub(crate) struct Screen {
    model: terminal_screen::Screen,
    size: Size,
    /// The offset of the next byte to read.
    offset: u64,
}

impl Screen {
    pub(crate) fn new(size: Size) -> Self {
        Self { model: terminal_screen::Screen::new(size.screen()), size, offset: 0 }
    }

    /// Reads everything printed so far. Returns whether anything was new.
    pub(crate) fn catch_up(&mut self, output: &Output, size: Size) -> bool {
        let resized = self.model.resize(size.screen());
        self.size = size;
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
                    if self.offset > read_from {
                        self.model.feed(&bytes);
                        continue;
                    }
                    self.model.pass(&bytes);
                    if self.offset == read_from {
                        self.model.start_over();
                    }
                }
                Found::Lost { start } => {
                    self.offset = start;
                    self.model.start_over();
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
        self.model.modes().cursor_keys()
    }

    /// How far the output was read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What the screen shows now, from its last rows.
    pub(crate) fn view(&self) -> View {
        self.model.view()
    }

    /// Starts to keep the lines that leave the scrollback.
    pub(crate) fn start_record(&mut self) {
        self.model.start_record();
    }

    /// Ends what [`Self::start_record`] began.
    pub(crate) fn end_record(&mut self) {
        self.model.end_record();
    }

    /// Whether lines of the record are missing, since they were too many.
    pub(crate) fn record_is_cut(&self) -> bool {
        self.model.record_is_cut()
    }

    /// Every line that is still known, from those that left the scrollback during the record on.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.model.lines()
    }

    /// Everything that draws this screen on another terminal of the same size.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut drawing = self.model.snapshot();
        drawing.extend_from_slice(self.model.pending());
        Snapshot { offset: self.offset, size: self.size, drawing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::RING_BYTES;

    #[test]
    fn a_model_that_is_far_behind_skips_ahead_and_keeps_its_modes() {
        let at = Size::new(80, 24).unwrap();
        let output = Output::new();
        let mut screen = Screen::new(at);
        output.print(b"\x1b[?2004h\x1b[?1049h");
        screen.catch_up(&output, at);
        for bytes in [RING_BYTES / 2, 3 * RING_BYTES] {
            output.print(&vec![b'x'; bytes]);
            output.print(b"\r\nthe end");
            assert!(screen.catch_up(&output, at));
            assert_eq!(screen.view().lines.last().map(String::as_str), Some("the end"));
            assert_eq!((screen.model.modes().is_set(1049), screen.model.modes().is_set(2004)), (Some(true), Some(true)));
        }
        assert!(!screen.catch_up(&output, at));
    }

    #[test]
    fn a_code_point_that_is_cut_goes_on_after_the_snapshot() {
        let at = Size::new(10, 2).unwrap();
        let output = Output::new();
        output.print(b"a\xe2\x82");
        let mut screen = Screen::new(at);
        screen.catch_up(&output, at);
        let snapshot = screen.snapshot();
        assert_eq!(snapshot.offset, 3);
        assert!(snapshot.drawing.ends_with(b"\xe2\x82"));
    }
}
