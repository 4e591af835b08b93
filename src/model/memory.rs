//! What agents noted for later.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::ids::{SpaceId, UserId, WorkspaceId};

/// Tags of one memory at the most.
pub const TAGS_MAX: usize = 32;
/// Length of a tag in characters at the most.
pub const TAG_CHARS_MAX: usize = 64;
/// Length of a summary in characters at the most.
pub const SUMMARY_CHARS_MAX: usize = 1000;
/// Length of what one memory says in bytes of JSON at the most: some 25 printed sheets. Its words are gathered with every search.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Where a memory came from, when nobody says.
pub const DEFAULT_SOURCE: &str = "agent";

/// A memory.
#[derive(Clone, Debug)]
pub struct Memory {
    pub id: Uuid,
    pub workspace: WorkspaceId,
    pub space: Option<SpaceId>,
    pub creator: Option<UserId>,
    pub source: Option<String>,
    pub summary: Option<String>,
    pub content: Option<Value>,
    pub tags: Vec<String>,
    /// When it happened, or was noted.
    pub at: DateTime<Utc>,
}

/// A memory that is to be kept.
#[derive(Clone, Debug)]
pub struct NewMemory {
    pub space: Option<SpaceId>,
    pub source: String,
    pub summary: Option<String>,
    pub content: Value,
    pub tags: Vec<String>,
    pub at: Option<DateTime<Utc>>,
}

/// Which of an account's memories are wanted.
#[derive(Clone, Debug, Default)]
pub struct MemoryFilter {
    pub space: Option<SpaceId>,
    /// All of them; empty is any.
    pub tags: Vec<String>,
    pub from: Option<DateTime<Utc>>,
    /// Before this instant.
    pub to: Option<DateTime<Utc>>,
}

/// A memory that was found, with how well it fits.
#[derive(Clone, Debug)]
pub struct MemoryHit {
    pub memory: Memory,
    pub score: f32,
}

/// How many memories a day (UTC) has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryDay {
    pub date: NaiveDate,
    pub count: i64,
}

/// A summary for a memory that came without one: the beginning of its text.
#[must_use]
pub fn summary_of(content: &Value) -> Option<String> {
    let text = content.as_str().or_else(|| content.get("text").and_then(Value::as_str))?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let kept: String = line.chars().take(SUMMARY_CHARS_MAX / 5).collect();
    Some(if kept.len() < line.len() { format!("{kept}…") } else { kept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_summary_is_the_first_line_and_not_too_long() {
        assert_eq!(summary_of(&json!("\n  Tests pass.\nAll of them.")), Some("Tests pass.".to_owned()));
        assert_eq!(summary_of(&json!({"text": "x".repeat(1000)})).unwrap().chars().count(), 201);
        assert_eq!(summary_of(&json!({"facts": 3})), None);
    }
}
