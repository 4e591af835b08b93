//! Pages of the knowledge base.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{
    account::Author,
    document::Document,
    ids::{AgentId, EventId, PageId, SpaceId, UserId},
};

/// Length of a title in characters at the most.
pub const TITLE_CHARS_MAX: usize = 500;
/// How deep a tree may become with these tools, in pages: nobody finds anything in a deeper one.
pub const DEPTH_MAX: usize = 64;
/// Pages above a page that are told at the most.
pub const ANCESTORS_MAX: i32 = 64;

/// How callers name a page: by its id, or by the short one that addresses have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageRef {
    Id(PageId),
    Slug(String),
}

impl PageRef {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Slug(text.to_owned()), Self::Id)
    }

    #[must_use]
    pub fn id(&self) -> Option<PageId> {
        if let Self::Id(id) = self { Some(*id) } else { None }
    }

    #[must_use]
    pub fn slug(&self) -> Option<&str> {
        if let Self::Slug(slug) = self { Some(slug) } else { None }
    }
}

/// A page with what is written on it.
#[derive(Clone, Debug)]
pub struct Page {
    pub summary: PageSummary,
    pub content: Option<Value>,
    pub creator: Option<Author>,
    pub last_updated_by: Option<Author>,
    pub space_name: Option<String>,
    pub space_slug: String,
    pub is_locked: bool,
    pub agent_accessible: bool,
}

/// A page in a list or a tree.
#[derive(Clone, Debug)]
pub struct PageSummary {
    pub id: PageId,
    pub slug_id: String,
    pub title: Option<String>,
    pub icon: Option<String>,
    pub position: Option<String>,
    pub parent: Option<PageId>,
    pub creator: Option<UserId>,
    pub space: SpaceId,
    pub has_children: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A page that is to be made.
#[derive(Clone, Debug)]
pub struct NewPage {
    pub title: String,
    pub content: Document,
    pub icon: Option<String>,
    pub space: SpaceId,
    pub parent: Option<PageId>,
}

/// What is to change on a page; the rest stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageChange {
    pub title: Option<String>,
    pub icon: Option<Option<String>>,
    pub content: Option<Document>,
    pub parent: Option<Option<PageId>>,
    pub position: Option<String>,
    /// For people to decide.
    pub agent_accessible: Option<bool>,
}

/// What search found.
#[derive(Clone, Debug)]
pub struct PageHit {
    pub page: PageSummary,
    pub space_name: Option<String>,
    pub space_slug: String,
    /// The place of the words, in plain text.
    pub snippet: Option<String>,
    pub rank: f32,
}

/// Something whose name was asked for a part of.
#[derive(Clone, Debug)]
pub struct Suggestion {
    /// `space`, `page`, `project` or `task`.
    pub kind: String,
    pub id: Uuid,
    pub title: String,
    pub space: SpaceId,
    /// Of a page.
    pub slug_id: Option<String>,
}

/// One change of a page that this service knows of.
#[derive(Clone, Debug)]
pub struct Revision {
    pub id: EventId,
    pub page: PageId,
    /// What happened, in the words of the activity feed.
    pub activity_type: String,
    pub description: Option<String>,
    pub metadata: Value,
    pub agent: Option<AgentId>,
    pub actor: Option<UserId>,
    pub created_at: DateTime<Utc>,
}

/// Words that are looked for, as Postgres takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchWords {
    /// What was asked, trimmed.
    pub text: String,
    words: Vec<String>,
}

/// Words of one search at the most; more find nothing that these do not.
const WORDS_MAX: usize = 16;

impl SearchWords {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).take(WORDS_MAX);
        Self { text: text.trim().to_owned(), words: words.map(str::to_owned).collect() }
    }

    /// All of the words, each as the beginning of one; empty when there is none.
    #[must_use]
    pub fn all(&self) -> String {
        self.tsquery(" & ")
    }

    /// Any of the words.
    #[must_use]
    pub fn any(&self) -> String {
        self.tsquery(" | ")
    }

    fn tsquery(&self, operator: &str) -> String {
        self.words.iter().map(|word| format!("{word}:*")).collect::<Vec<_>>().join(operator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_words_and_nothing_that_postgres_would_read_as_more() {
        let words = SearchWords::parse("  deploy & !plan:* (x) ");
        assert_eq!(words.text, "deploy & !plan:* (x)");
        assert_eq!((words.all(), words.any()), ("deploy:* & plan:* & x:*".to_owned(), "deploy:* | plan:* | x:*".to_owned()));
        assert_eq!(SearchWords::parse("' -- \\").all(), "");
        assert_eq!(SearchWords::parse(&"a ".repeat(100)).all().matches(":*").count(), WORDS_MAX);
    }

    #[test]
    fn a_page_is_named_by_either_id() {
        let id = PageId::generate();
        assert_eq!(PageRef::parse(&id.to_string()), PageRef::Id(id));
        assert_eq!(PageRef::parse("k3v9x1Ab0z"), PageRef::Slug("k3v9x1Ab0z".into()));
    }
}
