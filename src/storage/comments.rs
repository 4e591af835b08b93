//! Rows of `comments`. Every query goes by the page, which the account must see.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    account::{Account, Author},
    comment::Comment,
    ids::{PageId, SpaceId},
    space::{PageRequest, SpaceRole},
};

struct Row {
    id: Uuid,
    page_id: Uuid,
    space_id: Uuid,
    parent_comment_id: Option<Uuid>,
    content: Option<Value>,
    selection: Option<String>,
    creator_id: Option<Uuid>,
    creator_name: Option<String>,
    creator_avatar: Option<String>,
    resolved_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    edited_at: Option<DateTime<Utc>>,
}

impl From<Row> for Comment {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            page: PageId(row.page_id),
            space: SpaceId(row.space_id),
            parent: row.parent_comment_id,
            content: row.content,
            selection: row.selection,
            creator: Author::joined(row.creator_id, row.creator_name, row.creator_avatar),
            resolved_at: row.resolved_at,
            created_at: row.created_at,
            edited_at: row.edited_at,
        }
    }
}

/// Finds a comment and keeps everyone else from changing it until the transaction ends; says what the account may do in
/// its page's space.
pub async fn lock(conn: &mut Conn, account: &Account, id: Uuid) -> Result<Option<SpaceRole>, StorageError> {
    let role = sqlx::query_scalar!(
        r#"SELECT a.role AS "role!" FROM comments x JOIN pages p ON p.id = x.page_id JOIN account_spaces($2) a ON a.space_id = p.space_id
           WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND (NOT $3 OR p.agent_accessible IS NOT FALSE)
             AND x.id = $4 AND x.deleted_at IS NULL FOR NO KEY UPDATE OF x"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(role.map(|role| SpaceRole::from_column(&role)))
}

/// A comment.
pub async fn find(conn: &mut Conn, account: &Account, id: Uuid) -> Result<Option<Comment>, StorageError> {
    let one = PageRequest { page: 1, limit: 1, query: None };
    Ok(select(conn, account, Some(id), None, &one).await?.into_iter().next())
}

/// Comments on a page, the first one first. One more than the page of the list holds, if there is more.
pub async fn list(conn: &mut Conn, account: &Account, page: PageId, request: &PageRequest) -> Result<Vec<Comment>, StorageError> {
    select(conn, account, None, Some(page), request).await
}

async fn select(
    conn: &mut Conn,
    account: &Account,
    id: Option<Uuid>,
    page: Option<PageId>,
    request: &PageRequest,
) -> Result<Vec<Comment>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT x.id, x.page_id, p.space_id, x.parent_comment_id, x.content, x.selection, x.resolved_at, x.created_at, x.edited_at,
                  c.id AS "creator_id?", c.name AS creator_name, c.avatar_url AS creator_avatar
           FROM comments x JOIN pages p ON p.id = x.page_id LEFT JOIN users c ON c.id = x.creator_id
           WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND p.space_id IN (SELECT space_id FROM account_spaces($2))
             AND (NOT $3 OR p.agent_accessible IS NOT FALSE) AND x.deleted_at IS NULL
             AND ($4::uuid IS NULL OR x.id = $4) AND ($5::uuid IS NULL OR x.page_id = $5)
           ORDER BY x.created_at, x.id LIMIT $6 OFFSET $7"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        id,
        page.map(|page| page.0),
        request.limit + 1,
        request.offset()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Adds a comment on a page as a whole.
pub async fn insert(
    conn: &mut Conn,
    account: &Account,
    id: Uuid,
    page: PageId,
    parent: Option<Uuid>,
    content: &Value,
    at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO comments (id, content, type, creator_id, page_id, parent_comment_id, workspace_id, created_at)
         VALUES ($1, $2, 'page', $3, $4, $5, $6, $7)",
        id,
        content,
        account.user.0,
        page.0,
        parent,
        account.workspace.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes a comment anew.
pub async fn set_content(conn: &mut Conn, account: &Account, id: Uuid, content: &Value, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE comments SET content = $3, edited_at = $4 WHERE workspace_id = $1 AND id = $2",
        account.workspace.0,
        id,
        content,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes since when a comment is settled, or that it is not.
pub async fn set_resolved(conn: &mut Conn, account: &Account, id: Uuid, at: Option<DateTime<Utc>>) -> Result<(), StorageError> {
    sqlx::query!("UPDATE comments SET resolved_at = $3 WHERE workspace_id = $1 AND id = $2", account.workspace.0, id, at)
        .execute(conn)
        .await?;
    Ok(())
}

/// Deletes a comment and its answers, softly.
pub async fn delete(conn: &mut Conn, account: &Account, id: Uuid, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE comments SET deleted_at = $3 WHERE workspace_id = $1 AND (id = $2 OR parent_comment_id = $2) AND deleted_at IS NULL",
        account.workspace.0,
        id,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}
