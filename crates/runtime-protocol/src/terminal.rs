//! Framing of the terminal WebSocket `/ws/agents/:id/terminal` (runtime contract §6.3).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Subprotocol under which terminal bytes travel as binary frames and control as JSON text frames.
///
/// The first frame from the runtime is [`Control::Connected`], whose `offset` is the position of
/// the first byte that follows in the stream of all bytes that the agent ever printed. The query
/// `since=<offset>` asks for everything from there; what the runtime no longer holds is skipped,
/// which shows as an `offset` above the one asked for.
///
/// The query `start=snapshot` asks for the screen instead of what led to it: after the greeting
/// comes [`Control::Snapshot`], then one binary frame that draws the screen, then what follows.
/// A viewer that started so, or one with `since` and `snapshots=1`, gets a snapshot too after it
/// fell behind: [`Control::Lagged`], [`Control::Snapshot`], the drawing, what follows. Without
/// that query a viewer never gets one.
pub const TERMINAL_PROTOCOL: &str = "raven.terminal.v1";

/// Control frames: JSON text in the negotiated mode, and the greeting and `resize` in the default one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control {
    #[serde(rename_all = "camelCase")]
    Connected {
        agent_id: String,
        timestamp: DateTime<Utc>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// The position of the first byte that is not repeated: what comes before it was printed before this
        /// connection was there, and a question in it is not to be answered any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        live: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cols: Option<u16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rows: Option<u16>,
    },
    Resize {
        cols: u16,
        rows: u16,
    },
    Ping,
    Pong,
    /// The reader fell behind and bytes up to `offset` were dropped for it.
    Lagged {
        offset: u64,
    },
    /// The next binary frame is no output: its escape sequences draw the screen, with modes, cursor
    /// and recent lines above, as it stands right before the byte at `offset`. Output goes on there.
    Snapshot {
        offset: u64,
        cols: u16,
        rows: u16,
    },
    #[serde(rename_all = "camelCase")]
    Exited {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
    },
}

/// The default framing, where input is text and a frame that starts with `{` may be read as control.
pub mod default_framing {
    /// Bytes of input in one text frame at the most (§6.3 rule 4).
    pub const INPUT_FRAME_BYTES_MAX: usize = 16 * 1024;

    /// Cuts user input into text frames none of which a runtime can mistake for a control frame
    /// (§6.3 client rule 2): a leading `{` always travels alone, since alone it is no valid JSON.
    /// Frames end on code-point boundaries, in order, and joined give `input` again.
    #[must_use]
    pub fn input_frames(input: &str) -> Vec<&str> {
        let mut frames = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let mut end = if rest.starts_with('{') { 1 } else { rest.len().min(INPUT_FRAME_BYTES_MAX) };
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (frame, tail) = rest.split_at(end);
            frames.push(frame);
            rest = tail;
        }
        frames
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_leading_brace_travels_alone() {
            assert_eq!(input_frames(r#"{"a":1}"#), ["{", r#""a":1}"#]);
            assert_eq!(input_frames("{{x"), ["{", "{", "x"]);
            assert_eq!(input_frames("a{"), ["a{"]);
            assert_eq!(input_frames("\u{1b}[200~{\u{1b}[201~"), ["\u{1b}[200~{\u{1b}[201~"]);
        }

        #[test]
        fn a_long_paste_is_cut_between_code_points() {
            let paste = "é".repeat(INPUT_FRAME_BYTES_MAX);
            let frames = input_frames(&paste);
            assert!(frames.iter().all(|frame| frame.len() <= INPUT_FRAME_BYTES_MAX));
            assert_eq!(frames.concat(), paste);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_greeting_is_read_as_connected() {
        let text = r#"{"type":"connected","agentId":"a","timestamp":"2026-01-01T00:00:00.000Z"}"#;
        assert!(matches!(serde_json::from_str(text), Ok(Control::Connected { offset: None, .. })));
    }
}
