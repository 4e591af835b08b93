//! The activity feed (REST contract §2.0) and its daily counts.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;

use super::ids::{AgentId, EventId, PageId, ProjectId, TaskId, UserId, WorkspaceId};

/// One row of the feed.
#[derive(Clone, Debug)]
pub struct Activity {
    pub id: EventId,
    pub agent: Option<AgentId>,
    pub workspace: WorkspaceId,
    pub actor: Option<UserId>,
    pub activity_type: String,
    pub description: Option<String>,
    pub metadata: Value,
    pub project: Option<ProjectId>,
    pub task: Option<TaskId>,
    pub page: Option<PageId>,
    pub created_at: DateTime<Utc>,
}

impl Activity {
    /// This row's place in the feed.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id }
    }
}

/// A place in the feed, which is ordered by time and id, newest first. As text: microseconds since
/// 1970, a dash, the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub at: DateTime<Utc>,
    pub id: EventId,
}

/// The text is no cursor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a cursor from an earlier answer")]
pub struct NoCursor;

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.at.timestamp_micros(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (at, id) = text.split_once('-').ok_or(NoCursor)?;
        let at = at.parse().ok().and_then(DateTime::from_timestamp_micros).ok_or(NoCursor)?;
        Ok(Self { at, id: id.parse().map_err(|_| NoCursor)? })
    }
}

/// How often something happened on one day (UTC).
#[derive(Clone, Debug)]
pub struct DailyActivity {
    pub date: NaiveDate,
    pub agent: Option<AgentId>,
    pub activity_type: String,
    pub count: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let cursor = Cursor { at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(), id: EventId::generate() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "-", "1-2", "x-019a0000-0000-7000-8000-000000000001", "99999999999999999999-019a0000-0000-7000-8000-000000000001"] {
            assert_eq!(bad.parse::<Cursor>(), Err(NoCursor), "{bad}");
        }
    }
}
