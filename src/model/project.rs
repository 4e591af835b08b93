//! Projects of the knowledge base.

use chrono::{DateTime, Utc};

use super::{
    account::Author,
    ids::{PageId, ProjectId, SpaceId},
};

/// Length of a project's name in characters at the most.
pub const NAME_CHARS_MAX: usize = 200;

/// A project.
#[derive(Clone, Debug)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub description: Option<String>,
    pub icon: Option<String>,
    pub color: Option<String>,
    pub is_archived: bool,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub space: SpaceId,
    pub creator: Option<Author>,
    pub home_page: Option<PageId>,
    /// Whether agents may take up its tasks.
    pub agent_live: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A project that is to be made.
#[derive(Clone, Debug)]
pub struct NewProject {
    pub name: String,
    pub description: Option<String>,
    pub icon: Option<String>,
    pub color: Option<String>,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub space: SpaceId,
}

/// What is to change on a project; the rest stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectChange {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub icon: Option<Option<String>>,
    pub color: Option<Option<String>>,
    pub starts_at: Option<Option<DateTime<Utc>>>,
    pub ends_at: Option<Option<DateTime<Utc>>>,
    pub is_archived: Option<bool>,
    /// For people to decide.
    pub agent_live: Option<bool>,
}

/// Which projects a list is to have.
#[derive(Clone, Debug, Default)]
pub struct ProjectFilter {
    pub space: Option<SpaceId>,
    pub archived_too: bool,
}
