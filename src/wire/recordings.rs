//! Recordings of terminals as the REST API shows them, and as players read them (asciicast v2 and v3).

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::time::Timestamp;
use crate::model::{
    ids::{AgentId, SessionId},
    recording::{Mark, MarkKind, Moment, Recording as Row, What},
    terminal::Size,
    transcript::Hit,
};

/// Characters of a search at the most.
pub const QUERY_CHARS_MAX: usize = 200;

/// The recording of a terminal session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "sessionId": "019a0000-0000-7000-8000-000000000005", "agentId": "scout", "title": "Scout", "startedAt": "2026-01-02T03:04:05.678Z",
    "endedAt": null, "durationMs": 61000, "fromOffset": 0, "toOffset": 48213, "bytes": 48213, "storedBytes": 6120, "lostBytes": 0,
    "prunedAt": null, "deletedAt": null
}))]
pub struct RecordingSummary {
    pub session_id: SessionId,
    pub agent_id: AgentId,
    #[schema(required)]
    pub title: Option<String>,
    pub started_at: Timestamp,
    /// Null while the session goes on.
    #[schema(required)]
    pub ended_at: Option<Timestamp>,
    /// From the start to the last moment that was recorded.
    pub duration_ms: i64,
    /// The part that is kept, in bytes since the process's first.
    pub from_offset: u64,
    pub to_offset: u64,
    /// Bytes of output that are kept, and what they take compressed.
    pub bytes: u64,
    pub stored_bytes: u64,
    /// Bytes of that part that were never recorded.
    pub lost_bytes: u64,
    /// When the retention last took something from the beginning.
    #[schema(required)]
    pub pruned_at: Option<Timestamp>,
    /// When a person last deleted what there was.
    #[schema(required)]
    pub deleted_at: Option<Timestamp>,
}

impl From<Row> for RecordingSummary {
    fn from(row: Row) -> Self {
        Self {
            session_id: row.session,
            agent_id: row.agent,
            title: row.title,
            started_at: row.started_at.into(),
            ended_at: row.ended_at.map(Into::into),
            duration_ms: (row.last_at - row.started_at).num_milliseconds().max(0),
            from_offset: row.from_offset,
            to_offset: row.to_offset,
            bytes: row.bytes,
            stored_bytes: row.stored_bytes,
            lost_bytes: row.lost_bytes,
            pruned_at: row.pruned_at.map(Into::into),
            deleted_at: row.deleted_at.map(Into::into),
        }
    }
}

/// A point of a recording that somebody may want to go to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"at": "2026-01-02T03:04:05.678Z", "timeMs": 1200, "offset": 512, "text": "active"}))]
pub struct RecordingMarker {
    pub at: Timestamp,
    /// Since the start of the recording.
    pub time_ms: i64,
    pub offset: u64,
    pub text: String,
}

/// Output that is missing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"at": "2026-01-02T03:04:05.678Z", "timeMs": 1200, "offset": 512, "bytes": 4096}))]
pub struct RecordingGap {
    pub at: Timestamp,
    /// Since the start of the recording.
    pub time_ms: i64,
    pub offset: u64,
    pub bytes: u64,
}

/// The recording of a terminal session with its markers and gaps.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "sessionId": "019a0000-0000-7000-8000-000000000005", "agentId": "scout", "title": "Scout", "startedAt": "2026-01-02T03:04:05.678Z",
    "endedAt": null, "durationMs": 61000, "fromOffset": 0, "toOffset": 48213, "bytes": 48213, "storedBytes": 6120, "lostBytes": 0,
    "prunedAt": null, "deletedAt": null, "gaps": [],
    "markers": [{"at": "2026-01-02T03:04:05.678Z", "timeMs": 1200, "offset": 512, "text": "active"}]
}))]
pub struct Recording {
    #[serde(flatten)]
    pub summary: RecordingSummary,
    /// At most 1000 gaps and markers together.
    pub gaps: Vec<RecordingGap>,
    pub markers: Vec<RecordingMarker>,
}

impl Recording {
    #[must_use]
    pub fn new(row: Row, marks: Vec<Mark>) -> Self {
        let started_at = row.started_at;
        let (mut gaps, mut markers) = (Vec::new(), Vec::new());
        for mark in marks {
            let time_ms = (mark.at - started_at).num_milliseconds().max(0);
            match mark.kind {
                MarkKind::Marker(text) => markers.push(RecordingMarker { at: mark.at.into(), time_ms, offset: mark.offset, text }),
                MarkKind::Gap(bytes) => gaps.push(RecordingGap { at: mark.at.into(), time_ms, offset: mark.offset, bytes }),
            }
        }
        Self { summary: row.into(), gaps, markers }
    }
}

/// How many recordings are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RecordingsQuery {
    /// 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
}

/// What is searched for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RecordingSearch {
    /// Words as they stand beside each other, whatever their case: 1 to 200 characters.
    #[param(required, min_length = 1, max_length = 200)]
    #[serde(default)]
    pub q: String,
    /// `nextCursor` of the answer before.
    pub cursor: Option<String>,
    /// 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
}

/// A place in a recording where a text stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "sessionId": "019a0000-0000-7000-8000-000000000005", "title": "Scout", "at": "2026-01-02T03:04:05.678Z", "timeMs": 1200, "offset": 512,
    "snippet": "error: build failed in 3 s", "matchStart": 7, "matchLength": 12
}))]
pub struct RecordingMatch {
    pub session_id: SessionId,
    #[schema(required)]
    pub title: Option<String>,
    pub at: Timestamp,
    /// Since the start of the recording.
    pub time_ms: i64,
    /// Position of its first byte in the output.
    pub offset: u64,
    /// The text with what stands around it.
    pub snippet: String,
    /// Where in the snippet it stands, in characters.
    pub match_start: usize,
    pub match_length: usize,
}

impl RecordingMatch {
    #[must_use]
    pub fn new(row: Row, hit: Hit) -> Self {
        Self {
            session_id: row.session,
            title: row.title,
            at: hit.at.into(),
            time_ms: (hit.at - row.started_at).num_milliseconds().max(0),
            offset: hit.offset,
            snippet: hit.snippet,
            match_start: hit.start,
            match_length: hit.length,
        }
    }
}

/// What a search found, newest session first. A cursor says that there is more to search, whether or not something was found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"items": [], "nextCursor": null}))]
pub struct RecordingMatches {
    pub items: Vec<RecordingMatch>,
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Which form of asciicast is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CastQuery {
    /// 2 or 3; 3 when absent.
    #[param(minimum = 2, maximum = 3)]
    pub version: Option<u8>,
}

/// A form of asciicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastVersion {
    /// Times since the start; no exit status.
    Two,
    /// Times since the event before.
    Three,
}

/// Writes a recording as asciicast, line by line.
pub struct Cast {
    version: CastVersion,
    /// When the recording starts, once something of it was written.
    start: Option<DateTime<Utc>>,
    last: DateTime<Utc>,
    size: Size,
    title: Option<String>,
    /// The start of a code point that was cut.
    pending: Vec<u8>,
}

impl Cast {
    /// `size` and `start` are those of a recording that has nothing in it.
    #[must_use]
    pub fn new(version: CastVersion, title: Option<String>, size: Size, start: DateTime<Utc>) -> Self {
        Self { version, start: None, last: start, size, title, pending: Vec::new() }
    }

    /// Appends moments, where the terminal has this size before them.
    pub fn write(&mut self, size: Size, moments: &[Moment], into: &mut String) {
        if let Some(first) = moments.first() {
            self.head(size, first.at, into);
        }
        if self.size != size {
            // What is kept has a gap here, in which the size has changed.
            let at = self.last;
            self.resized(at, size, into);
        }
        for moment in moments {
            match &moment.what {
                What::Output(bytes) => {
                    let text = self.decoded(bytes);
                    if !text.is_empty() {
                        self.event(moment.at, "o", &text, into);
                    }
                }
                What::Resized(size) => self.resized(moment.at, *size, into),
                What::Gap(bytes) => self.event(moment.at, "m", &format!("{bytes} bytes are missing here"), into),
                What::Marker(text) => self.event(moment.at, "m", text, into),
                What::Input(bytes) => self.event(moment.at, "i", &String::from_utf8_lossy(bytes), into),
            }
        }
    }

    /// Appends what is left: the end of the output and, in v3, how the process ended.
    pub fn finish(&mut self, exit_code: Option<i32>, into: &mut String) {
        self.head(self.size, self.last, into);
        if !self.pending.is_empty() {
            self.pending.clear();
            self.event(self.last, "o", "\u{fffd}", into);
        }
        if let Some(code) = exit_code.filter(|_| self.version == CastVersion::Three) {
            self.event(self.last, "x", &code.to_string(), into);
        }
    }

    fn head(&mut self, size: Size, start: DateTime<Utc>, into: &mut String) {
        if self.start.is_some() {
            return;
        }
        (self.start, self.last, self.size) = (Some(start), start, size);
        let mut head = match self.version {
            CastVersion::Two => json!({"version": 2, "width": size.cols(), "height": size.rows(), "env": {"TERM": "xterm-256color"}}),
            CastVersion::Three => json!({"version": 3, "term": {"cols": size.cols(), "rows": size.rows(), "type": "xterm-256color"}}),
        };
        head["timestamp"] = json!(start.timestamp());
        if self.version == CastVersion::Three {
            // Players pass over what they do not know; ours finds moments by their times.
            head["startedAt"] = json!(Timestamp(start));
        }
        if let Some(title) = &self.title {
            head["title"] = json!(title);
        }
        line(&head, into);
    }

    fn resized(&mut self, at: DateTime<Utc>, size: Size, into: &mut String) {
        self.size = size;
        self.event(at, "r", &format!("{}x{}", size.cols(), size.rows()), into);
    }

    fn event(&mut self, at: DateTime<Utc>, code: &str, data: &str, into: &mut String) {
        let since = match self.version {
            CastVersion::Two => self.start.unwrap_or(at),
            CastVersion::Three => self.last,
        };
        let micros = (at - since).num_microseconds().unwrap_or(0).max(0);
        self.last = self.last.max(at);
        // Numbers with exactly six digits behind the point, which a floating-point number would not keep for long.
        write!(into, "[{}.{:06}, ", micros / 1_000_000, micros % 1_000_000).expect("writing to a string cannot fail");
        into.push_str(&Value::from(code).to_string());
        into.push_str(", ");
        into.push_str(&Value::from(data).to_string());
        into.push_str("]\n");
    }

    /// The text of output; what is no UTF-8 becomes U+FFFD, and a cut code point waits.
    fn decoded(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.pending);
        all.extend_from_slice(bytes);
        let mut text = String::with_capacity(all.len());
        for chunk in all.utf8_chunks() {
            text.push_str(chunk.valid());
            let is_last = chunk.invalid().as_ptr_range().end == all.as_ptr_range().end;
            let is_cut = std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if is_last && is_cut {
                self.pending = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }
}

fn line(value: &Value, into: &mut String) {
    into.push_str(&value.to_string());
    into.push('\n');
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_900_000_000, 250_000_000).unwrap()
    }

    fn written(version: CastVersion, exit_code: Option<i32>) -> Vec<Value> {
        let emoji = "\u{1f600}".as_bytes();
        let moments = [
            (0, What::Output([b"a", &emoji[..3]].concat())),
            (1500, What::Output([&emoji[3..], b"\xffb"].concat())),
            (1500, What::Resized(Size::new(100, 30).unwrap())),
            (2000, What::Marker("active \"now\"".into())),
            (2500, What::Gap(7)),
            (2500, What::Output(vec![0xf0])),
        ];
        let moments = moments.map(|(after, what)| Moment { at: start() + TimeDelta::milliseconds(after), offset: 0, what });
        let mut cast = Cast::new(version, Some("Scout".into()), Size::DEFAULT, start());
        let mut text = String::new();
        cast.write(Size::DEFAULT, &moments[..3], &mut text);
        cast.write(Size::new(100, 30).unwrap(), &moments[3..], &mut text);
        cast.finish(exit_code, &mut text);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn version_3_has_intervals_and_the_exit_status() {
        let lines = written(CastVersion::Three, Some(3));
        assert_eq!(
            lines,
            [
                json!({"version": 3, "term": {"cols": 80, "rows": 24, "type": "xterm-256color"}, "timestamp": 1_900_000_000,
                       "startedAt": "2030-03-17T17:46:40.250Z", "title": "Scout"}),
                json!([0.0, "o", "a"]),
                json!([1.5, "o", "\u{1f600}\u{fffd}b"]),
                json!([0.0, "r", "100x30"]),
                json!([0.5, "m", "active \"now\""]),
                json!([0.5, "m", "7 bytes are missing here"]),
                json!([0.0, "o", "\u{fffd}"]),
                json!([0.0, "x", "3"]),
            ]
        );
    }

    #[test]
    fn version_2_has_times_since_the_start_and_no_exit_status() {
        let lines = written(CastVersion::Two, Some(3));
        assert_eq!(lines[0]["width"], 80);
        let times: Vec<f64> = lines[1..].iter().map(|line| line[0].as_f64().unwrap()).collect();
        assert_eq!(times, [0.0, 1.5, 1.5, 2.0, 2.5, 2.5]);
        assert!(lines.iter().all(|line| line[1] != "x"));
    }

    #[test]
    fn a_recording_of_nothing_is_a_head() {
        let mut text = String::new();
        Cast::new(CastVersion::Three, None, Size::DEFAULT, start()).finish(None, &mut text);
        assert_eq!(text.lines().count(), 1);
    }
}
