//! Messages of a structured program: the lines of JSON in what it prints.

use serde_json::Value;

/// Bytes of a line that can be a message; the supervisor marks the pieces of longer ones.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A line of JSON, and the offset at which it began.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) offset: u64,
    pub(crate) text: String,
    pub(crate) value: Value,
}

/// Cuts output that comes in pieces into lines and reads those that hold a JSON object.
pub(crate) struct Lines {
    /// Offset of the next byte to come; a jump is a gap.
    next: u64,
    /// What has come of the current line; `None` while its beginning is not known.
    partial: Option<Vec<u8>>,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self { next: 0, partial: Some(Vec::new()) }
    }

    /// Takes in what was printed at `offset`, and gives every message that it completes behind `seen`.
    pub(crate) fn take(&mut self, offset: u64, bytes: &[u8], seen: u64) -> Vec<Line> {
        if offset != self.next {
            self.partial = None;
        }
        let mut found = Vec::new();
        let mut at = offset;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            at += piece.len() as u64;
            if let Some(partial) = &mut self.partial {
                partial.extend_from_slice(piece);
                if partial.len() > LINE_BYTES_MAX {
                    self.partial = None;
                }
            }
            if piece.ends_with(b"\n") {
                let line = self.partial.replace(Vec::new()).filter(|_| at > seen);
                found.extend(line.and_then(|line| Self::message(at, &line)));
            }
        }
        self.next = at;
        found
    }

    fn message(end: u64, line: &[u8]) -> Option<Line> {
        let value: Value = serde_json::from_slice(line).ok().filter(Value::is_object)?;
        let text = std::str::from_utf8(line).ok()?.trim().to_owned();
        Some(Line { offset: end - line.len() as u64, text, value })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(lines: &[Line]) -> Vec<(u64, &str)> {
        lines.iter().map(|line| (line.offset, line.text.as_str())).collect()
    }

    #[test]
    fn only_whole_lines_of_json_objects_are_messages_however_they_arrive() {
        let output = b"{\"a\":1}\nplain\nstderr: {\"b\":2}\n5\n{\"c\":\n{\"d\":\"\xc3\xa9\"}\n";
        let mut whole = Lines::new();
        let at_once = whole.take(0, output, 0);
        assert_eq!(texts(&at_once), [(0, "{\"a\":1}"), (38, "{\"d\":\"é\"}")]);
        assert_eq!(at_once[1].value, json!({ "d": "é" }));
        let mut pieces = Lines::new();
        let one_by_one: Vec<Line> = (0_u64..).zip(output).flat_map(|(at, byte)| pieces.take(at, &[*byte], 0)).collect();
        assert_eq!(one_by_one, at_once);
    }

    #[test]
    fn neither_a_line_with_a_gap_nor_one_that_was_seen_is_a_message() {
        let mut lines = Lines::new();
        assert_eq!(texts(&lines.take(7, b"\"a\":1}\n{\"b\":2}\n{\"c\"", 0)), [(14, "{\"b\":2}")]);
        assert_eq!(texts(&lines.take(40, b"{\"d\":4}\n{\"e\":5}\n", 0)), [(48, "{\"e\":5}")]);
        assert_eq!(texts(&lines.take(56, b"{\"f\":6}\n{\"g\":7}\n", 64)), [(64, "{\"g\":7}")]);
    }
}
