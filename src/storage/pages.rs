//! Rows of `pages`. Every query is limited to the account's workspace, its spaces and, for agents, to what is
//! not kept from them (D-40).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    account::{Account, Author},
    document::Document,
    ids::{EventId, PageId, SpaceId, UserId},
    page::{ANCESTORS_MAX, NewPage, Page, PageHit, PageRef, PageSummary, Revision, SearchWords, Suggestion},
    space::{PageRequest, SpaceRole},
};

/// First half of the lock that everyone holds who changes where pages hang; the second is the workspace's.
const TREES_LOCK: i32 = 0x7061_6765;
/// Characters of a page among which a snippet is looked for.
const SNIPPET_CHARS_MAX: i32 = 50_000;
/// Bytes of a page's text that are searched. Postgres makes no `tsvector` of more than 1 MiB, and of a text one of up to six
/// times its size: of compounds it keeps the whole and each part, and beside each word where it stands.
const SEARCHED_BYTES_MAX: usize = 160_000;
/// Characters that are searched of a page that has no vector; each has up to four bytes.
const SEARCHED_CHARS_MAX: i32 = 40_000;

struct SummaryRow {
    id: Uuid,
    slug_id: String,
    title: Option<String>,
    icon: Option<String>,
    position: Option<String>,
    parent_page_id: Option<Uuid>,
    creator_id: Option<Uuid>,
    space_id: Uuid,
    has_children: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<SummaryRow> for PageSummary {
    fn from(row: SummaryRow) -> Self {
        Self {
            id: PageId(row.id),
            slug_id: row.slug_id,
            title: row.title,
            icon: row.icon,
            position: row.position,
            parent: row.parent_page_id.map(PageId),
            creator: row.creator_id.map(UserId),
            space: SpaceId(row.space_id),
            has_children: row.has_children,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A page that this transaction keeps everyone else from changing.
#[derive(Debug)]
pub struct Locked {
    pub id: PageId,
    pub space: SpaceId,
    /// Also one that the account must not know of.
    pub parent: Option<PageId>,
    /// What the account may do in its space.
    pub role: SpaceRole,
}

/// Finds a page and keeps everyone else from changing it until the transaction ends.
pub async fn lock(conn: &mut Conn, account: &Account, page: &PageRef) -> Result<Option<Locked>, StorageError> {
    let row = sqlx::query!(
        r#"SELECT p.id, p.space_id, p.parent_page_id, a.role AS "role!" FROM pages p JOIN account_spaces($2) a ON a.space_id = p.space_id
           WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND (NOT $3 OR p.agent_accessible IS NOT FALSE)
             AND (p.id = $4 OR p.slug_id = $5) FOR NO KEY UPDATE OF p"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        page.id().map(|id| id.0),
        page.slug()
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Locked {
        id: PageId(row.id),
        space: SpaceId(row.space_id),
        parent: row.parent_page_id.map(PageId),
        role: SpaceRole::from_column(&row.role),
    }))
}

/// As [`lock`], for a page that was deleted; with when it was.
pub async fn lock_deleted(
    conn: &mut Conn,
    account: &Account,
    page: &PageRef,
) -> Result<Option<(PageId, SpaceRole, DateTime<Utc>)>, StorageError> {
    let row = sqlx::query!(
        r#"SELECT p.id, p.deleted_at AS "deleted_at!", a.role AS "role!" FROM pages p JOIN account_spaces($2) a ON a.space_id = p.space_id
           WHERE p.workspace_id = $1 AND p.deleted_at IS NOT NULL AND (NOT $3 OR p.agent_accessible IS NOT FALSE)
             AND (p.id = $4 OR p.slug_id = $5) FOR NO KEY UPDATE OF p"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        page.id().map(|id| id.0),
        page.slug()
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (PageId(row.id), SpaceRole::from_column(&row.role), row.deleted_at)))
}

/// A page with what is written on it.
pub async fn find(conn: &mut Conn, account: &Account, page: &PageRef) -> Result<Option<Page>, StorageError> {
    let row = sqlx::query!(
        r#"SELECT p.id, p.slug_id, p.title, p.icon, p.position, (SELECT x.id FROM pages x WHERE x.id = p.parent_page_id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS parent_page_id, p.space_id, p.content, p.is_locked,
                  (p.agent_accessible IS NOT FALSE) AS "agent_accessible!", p.created_at, p.updated_at,
                  s.name AS space_name, s.slug AS space_slug,
                  c.id AS "creator_id?", c.name AS creator_name, c.avatar_url AS creator_avatar,
                  u.id AS "updater_id?", u.name AS updater_name, u.avatar_url AS updater_avatar,
                  EXISTS (SELECT 1 FROM pages x WHERE x.parent_page_id = p.id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS "has_children!"
           FROM pages p JOIN spaces s ON s.id = p.space_id
           LEFT JOIN users c ON c.id = p.creator_id LEFT JOIN users u ON u.id = p.last_updated_by_id
           WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND p.space_id IN (SELECT space_id FROM account_spaces($2))
             AND (NOT $3 OR p.agent_accessible IS NOT FALSE) AND (p.id = $4 OR p.slug_id = $5)"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        page.id().map(|id| id.0),
        page.slug()
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Page {
        summary: PageSummary {
            id: PageId(row.id),
            slug_id: row.slug_id,
            title: row.title,
            icon: row.icon,
            position: row.position,
            parent: row.parent_page_id.map(PageId),
            creator: row.creator_id.map(UserId),
            space: SpaceId(row.space_id),
            has_children: row.has_children,
            created_at: row.created_at,
            updated_at: row.updated_at,
        },
        content: row.content,
        creator: Author::joined(row.creator_id, row.creator_name, row.creator_avatar),
        last_updated_by: Author::joined(row.updater_id, row.updater_name, row.updater_avatar),
        space_name: row.space_name,
        space_slug: row.space_slug,
        is_locked: row.is_locked,
        agent_accessible: row.agent_accessible,
    }))
}

/// Pages, of one space if given, those changed last first. One more than the page holds, if there is more.
pub async fn list(
    conn: &mut Conn,
    account: &Account,
    space: Option<SpaceId>,
    page: &PageRequest,
) -> Result<Vec<PageSummary>, StorageError> {
    let rows = sqlx::query_as!(
        SummaryRow,
        r#"SELECT p.id, p.slug_id, p.title, p.icon, p.position, (SELECT x.id FROM pages x WHERE x.id = p.parent_page_id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS parent_page_id, p.creator_id, p.space_id, p.created_at, p.updated_at,
                  EXISTS (SELECT 1 FROM pages x WHERE x.parent_page_id = p.id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS "has_children!"
           FROM pages p
           WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND p.space_id IN (SELECT space_id FROM account_spaces($2))
             AND (NOT $3 OR p.agent_accessible IS NOT FALSE) AND ($4::uuid IS NULL OR p.space_id = $4)
           ORDER BY p.updated_at DESC, p.id DESC LIMIT $5 OFFSET $6"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        space.map(|space| space.0),
        page.limit + 1,
        page.offset()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Pages right below a page, or at the top of a space, in their order. One more than the page holds, if there is more.
pub async fn children(
    conn: &mut Conn,
    account: &Account,
    space: SpaceId,
    parent: Option<PageId>,
    page: &PageRequest,
) -> Result<Vec<PageSummary>, StorageError> {
    let rows = sqlx::query_as!(
        SummaryRow,
        r#"SELECT p.id, p.slug_id, p.title, p.icon, p.position, (SELECT x.id FROM pages x WHERE x.id = p.parent_page_id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS parent_page_id, p.creator_id, p.space_id, p.created_at, p.updated_at,
                  EXISTS (SELECT 1 FROM pages x WHERE x.parent_page_id = p.id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS "has_children!"
           FROM pages p
           WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND p.space_id IN (SELECT space_id FROM account_spaces($2))
             AND (NOT $3 OR p.agent_accessible IS NOT FALSE) AND p.space_id = $4 AND p.parent_page_id IS NOT DISTINCT FROM $5
           ORDER BY p.position COLLATE "C", p.id LIMIT $6 OFFSET $7"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        space.0,
        parent.map(|parent| parent.0),
        page.limit + 1,
        page.offset()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The pages above a page and it itself, the topmost first; what the account must not see is left out.
pub async fn path(conn: &mut Conn, account: &Account, page: PageId) -> Result<Vec<PageSummary>, StorageError> {
    let rows = sqlx::query_as!(
        SummaryRow,
        r#"WITH RECURSIVE above AS (
               SELECT id, parent_page_id, 0 AS depth FROM pages WHERE workspace_id = $1 AND id = $4
               UNION ALL
               SELECT x.id, x.parent_page_id, a.depth + 1 FROM pages x JOIN above a ON x.id = a.parent_page_id WHERE a.depth < $5)
           SELECT p.id, p.slug_id, p.title, p.icon, p.position, (SELECT x.id FROM pages x WHERE x.id = p.parent_page_id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS parent_page_id, p.creator_id, p.space_id, p.created_at, p.updated_at,
                  EXISTS (SELECT 1 FROM pages x WHERE x.parent_page_id = p.id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS "has_children!"
           FROM above a JOIN pages p ON p.id = a.id
           WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND p.space_id IN (SELECT space_id FROM account_spaces($2))
             AND (NOT $3 OR p.agent_accessible IS NOT FALSE)
           ORDER BY a.depth DESC"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        page.0,
        ANCESTORS_MAX
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Pages that hold all of the words, or whose title holds the text; the best first. One more than the page holds, if
/// there is more.
pub async fn search(
    conn: &mut Conn,
    account: &Account,
    words: &SearchWords,
    space: Option<SpaceId>,
    page: &PageRequest,
) -> Result<Vec<PageHit>, StorageError> {
    // Rows of Raven Docs have a vector by its trigger; a row without one is read as a whole.
    let rows = sqlx::query!(
        r#"SELECT p.id, p.slug_id, p.title, p.icon, p.position, (SELECT x.id FROM pages x WHERE x.id = p.parent_page_id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS parent_page_id, p.creator_id, p.space_id, p.created_at, p.updated_at,
                  EXISTS (SELECT 1 FROM pages x WHERE x.parent_page_id = p.id AND x.deleted_at IS NULL
                            AND (NOT $3 OR x.agent_accessible IS NOT FALSE)) AS "has_children!",
                  s.name AS space_name, s.slug AS space_slug, f.rank AS "rank!",
                  ts_headline('english', left(coalesce(p.text_content, ''), $9), to_tsquery('english', $4),
                              'StartSel="", StopSel="", MaxWords=30, MinWords=12') AS snippet
           FROM (
               SELECT p.id, p.updated_at,
                      (ts_rank(coalesce(p.tsv, to_tsvector('english', left(concat(p.title, ' ', p.text_content), $10))), q)
                       + CASE WHEN lower(p.title) = lower($5) THEN 2 WHEN starts_with(lower(p.title), lower($5)) THEN 1
                              WHEN position(lower($5) in lower(p.title)) > 0 THEN 0.5 ELSE 0 END)::real AS rank
               FROM pages p, to_tsquery('english', $4) q
               WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND p.space_id IN (SELECT space_id FROM account_spaces($2))
                 AND (NOT $3 OR p.agent_accessible IS NOT FALSE) AND ($6::uuid IS NULL OR p.space_id = $6)
                 AND (p.tsv @@ q
                      OR (p.tsv IS NULL AND to_tsvector('english', left(concat(p.title, ' ', p.text_content), $10)) @@ q)
                      OR ($5 <> '' AND position(lower($5) in lower(p.title)) > 0))
               ORDER BY rank DESC, p.updated_at DESC, p.id DESC LIMIT $7 OFFSET $8
           ) f JOIN pages p ON p.id = f.id JOIN spaces s ON s.id = p.space_id
           ORDER BY f.rank DESC, f.updated_at DESC, f.id DESC"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        words.all(),
        words.text,
        space.map(|space| space.0),
        page.limit + 1,
        page.offset(),
        SNIPPET_CHARS_MAX,
        SEARCHED_CHARS_MAX
    )
    .fetch_all(conn)
    .await?;
    let hits = rows.into_iter().map(|row| PageHit {
        page: PageSummary {
            id: PageId(row.id),
            slug_id: row.slug_id,
            title: row.title,
            icon: row.icon,
            position: row.position,
            parent: row.parent_page_id.map(PageId),
            creator: row.creator_id.map(UserId),
            space: SpaceId(row.space_id),
            has_children: row.has_children,
            created_at: row.created_at,
            updated_at: row.updated_at,
        },
        space_name: row.space_name,
        space_slug: row.space_slug,
        snippet: row.snippet.filter(|snippet| !snippet.is_empty()),
        rank: row.rank,
    });
    Ok(hits.collect())
}

/// Of what kinds something may be that is suggested.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each kind is wanted or not, whatever the others are")]
pub struct Kinds {
    pub spaces: bool,
    pub pages: bool,
    pub projects: bool,
    pub tasks: bool,
}

/// Spaces, pages, projects and tasks whose name holds the text; those that begin with it first, then by name.
pub async fn suggest(
    conn: &mut Conn,
    account: &Account,
    text: &str,
    space: Option<SpaceId>,
    kinds: Kinds,
    limit: i64,
) -> Result<Vec<Suggestion>, StorageError> {
    let rows = sqlx::query!(
        r#"WITH own AS (SELECT space_id FROM account_spaces($2) WHERE workspace_id = $1 AND ($5::uuid IS NULL OR space_id = $5)),
           named AS (
               SELECT 'space' AS kind, s.id, s.name AS title, s.id AS space_id, NULL::varchar AS slug_id
               FROM spaces s WHERE $6 AND s.id IN (SELECT space_id FROM own)
               UNION ALL
               SELECT 'page', p.id, p.title, p.space_id, p.slug_id
               FROM pages p WHERE $7 AND p.workspace_id = $1 AND p.deleted_at IS NULL AND p.space_id IN (SELECT space_id FROM own)
                 AND (NOT $3 OR p.agent_accessible IS NOT FALSE)
               UNION ALL
               SELECT 'project', x.id, x.name, x.space_id, NULL
               FROM projects x WHERE $8 AND x.workspace_id = $1 AND x.deleted_at IS NULL AND x.space_id IN (SELECT space_id FROM own)
               UNION ALL
               SELECT 'task', t.id, t.title, t.space_id, NULL
               FROM tasks t LEFT JOIN projects x ON x.id = t.project_id
               WHERE $9 AND t.workspace_id = $1 AND t.deleted_at IS NULL AND x.deleted_at IS NULL AND t.space_id IN (SELECT space_id FROM own)
                 AND (NOT $3 OR t.agent_accessible IS NOT FALSE))
           SELECT kind AS "kind!", id AS "id!", title AS "title!", space_id AS "space_id!", slug_id
           FROM named WHERE position(lower($4) in lower(title)) > 0
           ORDER BY starts_with(lower(title), lower($4)) DESC, lower(title) COLLATE "C", id LIMIT $10"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        text,
        space.map(|space| space.0),
        kinds.spaces,
        kinds.pages,
        kinds.projects,
        kinds.tasks,
        limit
    )
    .fetch_all(conn)
    .await?;
    let found = rows.into_iter().map(|row| Suggestion {
        kind: row.kind,
        id: row.id,
        title: row.title,
        space: SpaceId(row.space_id),
        slug_id: row.slug_id,
    });
    Ok(found.collect())
}

/// The greatest position below a page, or at the top of a space; deleted pages keep theirs.
pub async fn last_position(conn: &mut Conn, space: SpaceId, parent: Option<PageId>) -> Result<Option<String>, StorageError> {
    let last = sqlx::query_scalar!(
        r#"SELECT max(position COLLATE "C") FROM pages WHERE space_id = $1 AND parent_page_id IS NOT DISTINCT FROM $2"#,
        space.0,
        parent.map(|parent| parent.0)
    )
    .fetch_one(conn)
    .await?;
    Ok(last)
}

/// Adds a page. Where Raven Docs has its trigger, that one writes the vector anew.
pub async fn insert(
    conn: &mut Conn,
    account: &Account,
    id: PageId,
    slug_id: &str,
    page: &NewPage,
    position: &str,
    at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO pages (id, slug_id, title, icon, position, content, text_content, tsv, parent_page_id, creator_id, last_updated_by_id,
                            space_id, workspace_id, contributor_ids, created_at, updated_at)
         VALUES ($1, $2, $3::text, $4, $5, $6, $7::text, setweight(to_tsvector('english', $3::text), 'A')
                 || setweight(to_tsvector('english', $13::text), 'B'),
                 $8, $9, $9, $10, $11, ARRAY[$9::uuid], $12, $12)",
        id.0,
        slug_id,
        page.title,
        page.icon,
        position,
        page.content.json(),
        page.content.text(),
        page.parent.map(|parent| parent.0),
        account.user.0,
        page.space.0,
        account.workspace.0,
        at,
        searched(page.content.text())
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What an update writes; `None` keeps what is there.
#[derive(Default)]
pub struct PageUpdate<'a> {
    pub title: Option<&'a str>,
    /// The icon that is wanted, or that none is.
    pub icon: Option<Option<&'a str>>,
    pub content: Option<&'a Document>,
    /// The parent that is wanted, or that none is.
    pub parent: Option<Option<PageId>>,
    pub position: Option<&'a str>,
    pub agent_accessible: Option<bool>,
}

/// Changes a page that this transaction has locked. With new content the editor's own state is dropped, which the
/// editor makes again from the content. A new title leaves the words of the text in the vector as they are.
pub async fn update(
    conn: &mut Conn,
    account: &Account,
    id: PageId,
    change: &PageUpdate<'_>,
    at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE pages p
         SET title = n.title, icon = CASE WHEN $4 THEN $5 ELSE p.icon END, content = coalesce($6, p.content),
             text_content = n.text_content, ydoc = CASE WHEN $6::jsonb IS NULL THEN p.ydoc END,
             tsv = CASE WHEN $3::text IS NULL AND $6::jsonb IS NULL THEN p.tsv ELSE
                   setweight(to_tsvector('english', coalesce(n.title, '')), 'A')
                   || CASE WHEN $6::jsonb IS NULL THEN ts_filter(p.tsv, '{b,c,d}') ELSE setweight(to_tsvector('english', $14::text), 'B') END
                   END,
             parent_page_id = CASE WHEN $8 THEN $9 ELSE p.parent_page_id END, position = coalesce($10, p.position),
             agent_accessible = coalesce($11, p.agent_accessible), last_updated_by_id = $12,
             contributor_ids = CASE WHEN $12 = ANY (coalesce(p.contributor_ids, '{}')) THEN p.contributor_ids
                                    ELSE coalesce(p.contributor_ids, '{}') || $12::uuid END,
             updated_at = $13
         FROM (SELECT id, coalesce($3, title) AS title, coalesce($7, text_content) AS text_content FROM pages WHERE id = $2) n
         WHERE p.workspace_id = $1 AND p.id = n.id",
        account.workspace.0,
        id.0,
        change.title,
        change.icon.is_some(),
        change.icon.flatten(),
        change.content.map(Document::json),
        change.content.map(Document::text),
        change.parent.is_some(),
        change.parent.flatten().map(|parent| parent.0),
        change.position,
        change.agent_accessible,
        account.user.0,
        at,
        change.content.map(|content| searched(content.text()))
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// As much of a text as is searched.
fn searched(text: &str) -> &str {
    &text[..text.floor_char_boundary(SEARCHED_BYTES_MAX)]
}

/// Makes everyone who is about to change where pages of the workspace hang wait for each other: two who moved pages below
/// each other at once would make a ring of them. It is had before any page is locked, so that nobody waits for ever.
pub async fn lock_trees(conn: &mut Conn, account: &Account) -> Result<(), StorageError> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1, hashtext($2))", TREES_LOCK, account.workspace.to_string()).execute(conn).await?;
    Ok(())
}

/// What a page carries with it when it is moved or deleted.
#[derive(Debug, Default)]
pub struct Subtree {
    /// The page itself is one of them.
    pub pages: Vec<Uuid>,
    /// How deep the tree is, in pages: 1 is the page by itself.
    pub levels: usize,
    /// Whether pages are among them that are kept from agents.
    pub hidden: bool,
}

/// A page and all below it that are not deleted, or that were deleted at the instant that is given. However deep the tree is:
/// none of it is left behind.
pub async fn subtree(conn: &mut Conn, account: &Account, root: PageId, deleted_at: Option<DateTime<Utc>>) -> Result<Subtree, StorageError> {
    // UNION finds no page twice, so that it ends also where pages of old form a ring.
    let rows = sqlx::query!(
        r#"WITH RECURSIVE below AS (
               SELECT id, parent_page_id, agent_accessible FROM pages WHERE workspace_id = $1 AND id = $2
               UNION
               SELECT x.id, x.parent_page_id, x.agent_accessible FROM pages x JOIN below b ON x.parent_page_id = b.id
               WHERE x.workspace_id = $1 AND x.deleted_at IS NOT DISTINCT FROM $3)
           SELECT id AS "id!", parent_page_id, (agent_accessible IS FALSE) AS "hidden!" FROM below"#,
        account.workspace.0,
        root.0,
        deleted_at
    )
    .fetch_all(conn)
    .await?;
    let hidden = rows.iter().any(|row| row.hidden);
    let mut children: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for row in &rows {
        if let Some(parent) = row.parent_page_id {
            children.entry(parent).or_default().push(row.id);
        }
    }
    Ok(Subtree { levels: levels(root, children), pages: rows.into_iter().map(|row| row.id).collect(), hidden })
}

/// How deep a tree is. Each page's children are taken once, so that it ends also for a ring.
fn levels(root: PageId, mut children: HashMap<Uuid, Vec<Uuid>>) -> usize {
    let (mut level, mut count) = (vec![root.0], 0);
    while !level.is_empty() {
        level = level.iter().filter_map(|page| children.remove(page)).flatten().collect();
        count += 1;
    }
    count
}

/// A page and all above it, in no order.
pub async fn above(conn: &mut Conn, account: &Account, page: PageId) -> Result<Vec<Uuid>, StorageError> {
    let pages = sqlx::query_scalar!(
        r#"WITH RECURSIVE above AS (
               SELECT id, parent_page_id FROM pages WHERE workspace_id = $1 AND id = $2
               UNION
               SELECT x.id, x.parent_page_id FROM pages x JOIN above a ON x.id = a.parent_page_id)
           SELECT id AS "id!" FROM above"#,
        account.workspace.0,
        page.0
    )
    .fetch_all(conn)
    .await?;
    Ok(pages)
}

/// Puts pages into another space.
pub async fn set_space(conn: &mut Conn, account: &Account, pages: &[Uuid], space: SpaceId, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE pages SET space_id = $3, updated_at = $4 WHERE workspace_id = $1 AND id = ANY ($2)",
        account.workspace.0,
        pages,
        space.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes pages, softly: they can be restored.
pub async fn delete(conn: &mut Conn, account: &Account, pages: &[Uuid], at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE pages SET deleted_at = $3, deleted_by_id = $4 WHERE workspace_id = $1 AND id = ANY ($2) AND deleted_at IS NULL",
        account.workspace.0,
        pages,
        at,
        account.user.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Brings deleted pages back. One whose parent is deleted still, or in another space by now, comes to the top of its space.
pub async fn restore(conn: &mut Conn, account: &Account, pages: &[Uuid], at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE pages p SET deleted_at = NULL, deleted_by_id = NULL, updated_at = $3,
                parent_page_id = (SELECT x.id FROM pages x WHERE x.id = p.parent_page_id AND x.space_id = p.space_id
                                    AND (x.deleted_at IS NULL OR x.id = ANY ($2)))
         WHERE p.workspace_id = $1 AND p.id = ANY ($2)",
        account.workspace.0,
        pages,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

struct RevisionRow {
    id: Uuid,
    page_id: Option<Uuid>,
    activity_type: String,
    description: Option<String>,
    metadata: Value,
    agent_id: Option<String>,
    actor_user_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}

impl TryFrom<RevisionRow> for Revision {
    type Error = StorageError;

    fn try_from(row: RevisionRow) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "parallax_agent_activity", column, id: row.id.to_string() };
        Ok(Self {
            id: EventId(row.id),
            page: row.page_id.map(PageId).ok_or_else(|| corrupt("page_id"))?,
            agent: row.agent_id.map(|id| id.parse()).transpose().map_err(|_| corrupt("agent_id"))?,
            activity_type: row.activity_type,
            description: row.description,
            metadata: row.metadata,
            actor: row.actor_user_id.map(UserId),
            created_at: row.created_at,
        })
    }
}

/// What was done to a page through this service, the latest first. One more than the page holds, if there is more.
pub async fn history(conn: &mut Conn, account: &Account, page: PageId, request: &PageRequest) -> Result<Vec<Revision>, StorageError> {
    let rows = sqlx::query_as!(
        RevisionRow,
        "SELECT id, page_id, activity_type, description, metadata, agent_id, actor_user_id, created_at
         FROM parallax_agent_activity WHERE workspace_id = $1 AND page_id = $2 AND activity_type IN ('page_created', 'page_updated')
         ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4",
        account.workspace.0,
        page.0,
        request.limit + 1,
        request.offset()
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// One change of a page that the account may read.
pub async fn revision(conn: &mut Conn, account: &Account, id: EventId) -> Result<Option<Revision>, StorageError> {
    let row = sqlx::query_as!(
        RevisionRow,
        "SELECT a.id, a.page_id, a.activity_type, a.description, a.metadata, a.agent_id, a.actor_user_id, a.created_at
         FROM parallax_agent_activity a JOIN pages p ON p.id = a.page_id
         WHERE a.workspace_id = $1 AND a.id = $4 AND a.activity_type IN ('page_created', 'page_updated')
           AND p.workspace_id = $1 AND p.deleted_at IS NULL AND p.space_id IN (SELECT space_id FROM account_spaces($2))
           AND (NOT $3 OR p.agent_accessible IS NOT FALSE)",
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}
