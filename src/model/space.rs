//! Spaces of the knowledge base, as far as agents and the pages of the web UI need them.

use chrono::{DateTime, Utc};

use super::{
    ids::{PageId, SpaceId, UserId, WorkspaceId},
    workspace::User,
};

/// What somebody may do in a space; more comes later (REST contract §4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpaceRole {
    Reader,
    Writer,
    Admin,
}

impl SpaceRole {
    /// Reads the column; what we do not know may only read.
    #[must_use]
    pub fn from_column(text: &str) -> Self {
        match text {
            "admin" => Self::Admin,
            "writer" => Self::Writer,
            _ => Self::Reader,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }

    /// Whether pages, and with them projects and tasks, may be changed.
    #[must_use]
    pub fn manages_pages(self) -> bool {
        self >= Self::Writer
    }
}

/// A space in a list.
#[derive(Clone, Debug)]
pub struct Space {
    pub id: SpaceId,
    pub workspace: WorkspaceId,
    pub name: Option<String>,
    pub description: Option<String>,
    pub slug: String,
    pub logo: Option<String>,
    pub visibility: String,
    pub default_role: String,
    pub creator: Option<UserId>,
    pub member_count: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Somebody who belongs to a space.
#[derive(Clone, Debug)]
pub struct SpaceMember {
    pub user: User,
    pub role: SpaceRole,
}

/// A page in a list, with its space.
#[derive(Clone, Debug)]
pub struct PageEntry {
    pub id: PageId,
    pub slug_id: String,
    pub title: Option<String>,
    pub icon: Option<String>,
    pub parent: Option<PageId>,
    pub creator: Option<UserId>,
    pub space: SpaceId,
    pub space_name: Option<String>,
    pub space_slug: String,
    pub space_logo: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A group in a list.
#[derive(Clone, Debug)]
pub struct Group {
    pub id: uuid::Uuid,
    pub workspace: WorkspaceId,
    pub name: String,
    pub description: Option<String>,
    pub is_default: bool,
    pub creator: Option<UserId>,
    pub member_count: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Which page of a list is wanted.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// From 1.
    pub page: i64,
    pub limit: i64,
    /// Part of a name, in whatever case.
    pub query: Option<String>,
}

impl PageRequest {
    #[must_use]
    pub fn offset(&self) -> i64 {
        (self.page - 1) * self.limit
    }
}
