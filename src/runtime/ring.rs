//! The last output of one terminal, addressed by its position in all output there ever was.

use std::collections::VecDeque;

use bytes::Bytes;

/// Output kept per terminal for late viewers, in bytes: 512 KiB holds some 250 screens of 80×24
/// (realtime contract §5.7).
pub(super) const RING_BYTES: usize = 512 * 1024;

/// A bounded tail of a byte stream. Positions count from the first byte of the stream.
#[derive(Default)]
pub(super) struct Ring {
    /// Pieces with the position of their first byte, without gaps between them.
    pieces: VecDeque<(u64, Bytes)>,
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
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len() as u64;
        self.pieces.push_back((self.end, bytes));
        self.end += length;
        let keep_from = self.end.saturating_sub(RING_BYTES as u64);
        while let Some((offset, piece)) = self.pieces.front_mut() {
            let piece_end = *offset + piece.len() as u64;
            if piece_end <= keep_from {
                self.pieces.pop_front();
                continue;
            }
            if *offset < keep_from {
                let cut = usize::try_from(keep_from - *offset).unwrap_or(piece.len());
                *piece = piece.slice(cut..);
                *offset = keep_from;
            }
            break;
        }
        self.start = self.start.max(keep_from);
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
        let mut position = self.start;
        for (_, piece) in &self.pieces {
            if let Some(line_break) = piece.iter().position(|byte| *byte == b'\n') {
                return position + line_break as u64 + 1;
            }
            position += piece.len() as u64;
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
                ring.push(Bytes::from(chunk));
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
    fn history_starts_behind_a_line_break_once_something_was_forgotten() {
        let mut ring = Ring::default();
        ring.push(Bytes::from_static(b"first\nsecond"));
        assert_eq!(ring.history_start(), 0);
        ring.push(Bytes::from(vec![b'x'; RING_BYTES - 6]));
        assert_eq!(ring.history_start(), ring.start(), "no line break is left");
        ring.push(Bytes::from_static(b"\ny"));
        assert_eq!(ring.history_start(), ring.end() - 1);
    }

    #[test]
    fn a_gap_moves_the_stream_forward_and_never_back() {
        let mut ring = Ring::default();
        ring.push(Bytes::from_static(b"abc"));
        ring.skip_to(2);
        assert_eq!((ring.start(), ring.end()), (0, 3));
        ring.skip_to(10);
        assert_eq!((ring.start(), ring.end()), (10, 10));
    }
}
