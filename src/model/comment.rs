//! Comments on pages.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{
    account::Author,
    ids::{PageId, SpaceId},
};

/// Length of a comment's text in characters at the most.
pub const TEXT_CHARS_MAX: usize = 10_000;

/// A comment, or an answer to one.
#[derive(Clone, Debug)]
pub struct Comment {
    pub id: Uuid,
    pub page: PageId,
    /// Where its page is.
    pub space: SpaceId,
    pub parent: Option<Uuid>,
    pub content: Option<Value>,
    /// The words on the page that it is about.
    pub selection: Option<String>,
    pub creator: Option<Author>,
    pub resolved_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub edited_at: Option<DateTime<Utc>>,
}
