//! Tasks of the knowledge base.

use chrono::{DateTime, Utc};

use super::{
    account::Author,
    ids::{PageId, ProjectId, SpaceId, TaskId, UserId},
};

/// Length of a description in characters at the most.
pub const DESCRIPTION_CHARS_MAX: usize = 20_000;
/// An estimate in minutes at the most: a year.
pub const ESTIMATE_MINUTES_MAX: i32 = 525_600;

/// Makes an enum whose values are words of a column, with all of them in their order.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $default:ident, $($variant:ident = $word:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
        pub enum $name {
            $(#[serde(rename = $word)] $variant),+
        }

        impl $name {
            pub const WORDS: &[&'static str] = &[$($word),+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// Reads the column. A word that this version does not know counts as the usual one.
            #[must_use]
            pub fn from_column(text: &str) -> Self {
                match text {
                    $($word => Self::$variant,)+
                    _ => Self::$default,
                }
            }
        }
    };
}

words! {
    /// How far a task is.
    TaskStatus, Todo, Todo = "todo", InProgress = "in_progress", InReview = "in_review", Done = "done", Blocked = "blocked"
}
words! {
    /// How much a task matters.
    TaskPriority, Medium, Low = "low", Medium = "medium", High = "high", Urgent = "urgent"
}
words! {
    /// Where a task waits for somebody to think of it.
    TaskBucket, None, None = "none", Inbox = "inbox", Waiting = "waiting", Someday = "someday"
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    pub id: TaskId,
    pub title: String,
    pub description: Option<String>,
    pub status: TaskStatus,
    pub priority: TaskPriority,
    pub bucket: TaskBucket,
    pub position: Option<String>,
    pub due_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub estimate_minutes: Option<i32>,
    pub project: Option<ProjectId>,
    pub project_name: Option<String>,
    pub parent: Option<TaskId>,
    pub parent_title: Option<String>,
    pub page: Option<PageId>,
    pub space: SpaceId,
    pub creator: Option<Author>,
    pub assignee: Option<Author>,
    /// Whether agents may take it up: its own value, else its project's.
    pub agent_live: bool,
    /// Whether agents may know of it; `None` is that they may.
    pub agent_accessible: Option<bool>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Task {
    /// Moves the task on. Done means completed, and nothing else does.
    pub fn set_status(&mut self, status: TaskStatus, now: DateTime<Utc>) {
        self.completed_at = (status == TaskStatus::Done).then(|| self.completed_at.unwrap_or(now));
        self.status = status;
    }
}

/// A task that is to be made.
#[derive(Clone, Debug)]
pub struct NewTask {
    pub title: String,
    pub description: Option<String>,
    pub status: TaskStatus,
    pub priority: TaskPriority,
    pub bucket: TaskBucket,
    pub due_at: Option<DateTime<Utc>>,
    pub estimate_minutes: Option<i32>,
    /// `None` takes the project's.
    pub space: Option<SpaceId>,
    pub project: Option<ProjectId>,
    pub parent: Option<TaskId>,
    pub page: Option<PageId>,
    pub assignee: Option<UserId>,
}

/// What is to change on a task; the rest stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskChange {
    pub title: Option<String>,
    pub description: Option<Option<String>>,
    pub status: Option<TaskStatus>,
    pub priority: Option<TaskPriority>,
    pub bucket: Option<TaskBucket>,
    pub due_at: Option<Option<DateTime<Utc>>>,
    pub estimate_minutes: Option<Option<i32>>,
    pub page: Option<Option<PageId>>,
    pub assignee: Option<Option<UserId>>,
    pub position: Option<String>,
    /// For people to decide; null is as the project says.
    pub agent_live: Option<Option<bool>>,
    /// For people to decide.
    pub agent_accessible: Option<Option<bool>>,
}

/// Which tasks a list is to have.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    pub space: Option<SpaceId>,
    pub project: Option<ProjectId>,
    /// Empty is any.
    pub statuses: Vec<TaskStatus>,
    pub assignee: Option<UserId>,
    pub bucket: Option<TaskBucket>,
}

/// How many tasks wait for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triage {
    pub inbox: i64,
    pub waiting: i64,
    pub someday: i64,
    pub overdue: i64,
    pub due_today: i64,
    pub blocked: i64,
    pub unassigned: i64,
    pub open: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_column_reads_back() {
        for word in TaskStatus::WORDS {
            assert_eq!(TaskStatus::from_column(word).as_str(), *word);
        }
        for word in TaskPriority::WORDS {
            assert_eq!(TaskPriority::from_column(word).as_str(), *word);
        }
        for word in TaskBucket::WORDS {
            assert_eq!(TaskBucket::from_column(word).as_str(), *word);
        }
        assert_eq!(TaskStatus::from_column("of a later version"), TaskStatus::Todo);
    }
}
