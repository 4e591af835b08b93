//! The last output of one terminal, addressed by its position in all output there ever was.

use std::collections::VecDeque;

/// Output kept per terminal for late viewers, in bytes: 512 KiB holds some 250 screens of 80×24
/// (realtime contract §5.7).
pub(super) const RING_BYTES: usize = 512 * 1024;

/// Output is kept in pieces of this size, however short the parts are that it comes in: so the ring takes hardly more
/// memory than it holds output.
const PIECE_BYTES: usize = 16 * 1024;

/// A bounded tail of a byte stream. Positions count from the first byte of the stream.
#[derive(Default)]
pub(super) struct Ring {
    /// Pieces with the position of their first byte, without gaps between them. All but the last are full, and the
    /// first may begin before `start`.
    pieces: VecDeque<(u64, Vec<u8>)>,
    start: u64,
    end: u64,
}

impl Ring {
    /// Position of the oldest byte that is still held.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Position behind the newest byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Appends output and forgets what no longer fits.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        // What would be forgotten at once is not taken in.
        let mut rest = &bytes[bytes.len().saturating_sub(RING_BYTES)..];
        if rest.len() < bytes.len() {
            self.skip_to(self.end + (bytes.len() - rest.len()) as u64);
        }
        while !rest.is_empty() {
            let room = self.pieces.back().map_or(0, |(_, piece)| PIECE_BYTES - piece.len());
            if room == 0 {
                self.pieces.push_back((self.end, Vec::with_capacity(PIECE_BYTES)));
                continue;
            }
            let (part, after) = rest.split_at(room.min(rest.len()));
            if let Some((_, piece)) = self.pieces.back_mut() {
                piece.extend_from_slice(part);
            }
            self.end += part.len() as u64;
            rest = after;
        }
        self.start = self.start.max(self.end.saturating_sub(RING_BYTES as u64));
        while self.pieces.front().is_some_and(|(offset, piece)| offset + piece.len() as u64 <= self.start) {
            self.pieces.pop_front();
        }
    }

    /// Continues the stream at `position`, when what lies between was lost.
    pub(super) fn skip_to(&mut self, position: u64) {
        if position > self.end {
            self.pieces.clear();
            self.start = position;
            self.end = position;
        }
    }

    /// Copies up to `max` bytes from `position` on into `into`. The caller has checked that
    /// `position` is not before [`Self::start`].
    pub(super) fn read(&self, position: u64, max: usize, into: &mut Vec<u8>) {
        let first = self.pieces.partition_point(|(offset, piece)| offset + piece.len() as u64 <= position);
        let mut left = max;
        for (offset, piece) in self.pieces.iter().skip(first) {
            let from = usize::try_from(position.saturating_sub(*offset)).unwrap_or(piece.len()).min(piece.len());
            let part = &piece[from..];
            let part = &part[..part.len().min(left)];
            into.extend_from_slice(part);
            left -= part.len();
            if left == 0 {
                break;
            }
        }
    }

    /// Where a viewer without a position starts: at the oldest byte, or behind the first line break
    /// when older output is gone, so that no cut escape sequence or code point comes first.
    pub(super) fn history_start(&self) -> u64 {
        if self.start == 0 {
            return 0;
        }
        for (offset, piece) in &self.pieces {
            let from = usize::try_from(self.start.saturating_sub(*offset)).unwrap_or(piece.len()).min(piece.len());
            if let Some(line_break) = piece[from..].iter().position(|byte| *byte == b'\n') {
                return offset + (from + line_break) as u64 + 1;
            }
        }
        self.start
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written_at_that_position(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40_000), 1..40),
            back in 0u64..700_000,
            max in 1usize..50_000,
        ) {
            let mut ring = Ring::default();
            let mut all = Vec::new();
            for chunk in chunks {
                all.extend_from_slice(&chunk);
                ring.push(&chunk);
            }
            prop_assert_eq!(ring.end(), all.len() as u64);
            prop_assert_eq!(ring.end() - ring.start(), all.len().min(RING_BYTES) as u64);
            let position = ring.end().saturating_sub(back).max(ring.start());
            let mut read = Vec::new();
            ring.read(position, max, &mut read);
            let from = usize::try_from(position).unwrap();
            prop_assert_eq!(&read[..], &all[from..all.len().min(from + max)]);
        }
    }

    #[test]
    fn many_short_parts_take_no_more_memory_than_long_ones() {
        let mut ring = Ring::default();
        for _ in 0..2 * RING_BYTES {
            ring.push(b"x");
        }
        let held: usize = ring.pieces.iter().map(|(_, piece)| piece.capacity()).sum();
        assert!(held <= RING_BYTES + 2 * PIECE_BYTES, "{held} bytes");
        assert_eq!((ring.end() - ring.start(), ring.pieces.len() <= RING_BYTES / PIECE_BYTES + 1), (RING_BYTES as u64, true));
        ring.push(&vec![b'y'; 3 * RING_BYTES]);
        assert_eq!((ring.start(), ring.end()), (4 * RING_BYTES as u64, 5 * RING_BYTES as u64));
    }

    #[test]
    fn history_starts_behind_a_line_break_once_something_was_forgotten() {
        let mut ring = Ring::default();
        ring.push(b"first\nsecond");
        assert_eq!(ring.history_start(), 0);
        ring.push(&vec![b'x'; RING_BYTES - 6]);
        assert_eq!(ring.history_start(), ring.start(), "no line break is left");
        ring.push(b"\ny");
        assert_eq!(ring.history_start(), ring.end() - 1);
    }

    #[test]
    fn a_gap_moves_the_stream_forward_and_never_back() {
        let mut ring = Ring::default();
        ring.push(b"abc");
        ring.skip_to(2);
        assert_eq!((ring.start(), ring.end()), (0, 3));
        ring.skip_to(10);
        assert_eq!((ring.start(), ring.end()), (10, 10));
    }
}
