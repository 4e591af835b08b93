//! Spaces, pages, groups and people in the lists of the web UI, and who may do what in a space.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    ids::{PageId, SpaceId, TaskId, UserId, WorkspaceId},
    space::{Group, PageEntry, PageRequest, Space, SpaceRole},
};

/// What an account may do in a space, by itself or by a group; `None` when nothing.
pub async fn role_of(conn: &mut Conn, workspace: WorkspaceId, user: UserId, space: SpaceId) -> Result<Option<SpaceRole>, StorageError> {
    let role = sqlx::query_scalar!(
        r#"SELECT role AS "role!" FROM account_spaces($2) WHERE workspace_id = $1 AND space_id = $3"#,
        workspace.0,
        user.0,
        space.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(role.map(|role| SpaceRole::from_column(&role)))
}

struct SpaceRow {
    id: Uuid,
    name: Option<String>,
    description: Option<String>,
    slug: String,
    logo: Option<String>,
    visibility: String,
    default_role: String,
    creator_id: Option<Uuid>,
    member_count: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Spaces that an account belongs to, by name (D-55). One more than the page holds, if there is more.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId, user: UserId, page: &PageRequest) -> Result<Vec<Space>, StorageError> {
    select(conn, workspace, user, None, page).await
}

/// A space that an account belongs to.
pub async fn find(conn: &mut Conn, workspace: WorkspaceId, user: UserId, id: SpaceId) -> Result<Option<Space>, StorageError> {
    let one = PageRequest { page: 1, limit: 1, query: None };
    Ok(select(conn, workspace, user, Some(id), &one).await?.into_iter().next())
}

async fn select(
    conn: &mut Conn,
    workspace: WorkspaceId,
    user: UserId,
    id: Option<SpaceId>,
    page: &PageRequest,
) -> Result<Vec<Space>, StorageError> {
    let rows = sqlx::query_as!(
        SpaceRow,
        r#"SELECT s.id, s.name, s.description, s.slug, s.logo, s.visibility, s.default_role, s.creator_id, s.created_at, s.updated_at,
                  (SELECT count(*) FROM users u, account_spaces(u.id) a WHERE u.workspace_id = s.workspace_id AND a.space_id = s.id
                     AND u.deleted_at IS NULL AND u.role IS DISTINCT FROM 'agent') AS "member_count!"
           FROM spaces s
           WHERE s.workspace_id = $1 AND s.deleted_at IS NULL AND ($3::text IS NULL OR position(lower($3) in lower(coalesce(s.name, ''))) > 0)
             AND s.id IN (SELECT space_id FROM account_spaces($2)) AND ($6::uuid IS NULL OR s.id = $6)
           ORDER BY s.name, s.id LIMIT $4 OFFSET $5"#,
        workspace.0,
        user.0,
        page.query,
        page.limit + 1,
        page.offset(),
        id.map(|id| id.0)
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Space {
            id: SpaceId(row.id),
            workspace,
            name: row.name,
            description: row.description,
            slug: row.slug,
            logo: row.logo,
            visibility: row.visibility,
            default_role: row.default_role,
            creator: row.creator_id.map(UserId),
            member_count: row.member_count,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
        .collect())
}

struct PageRow {
    id: Uuid,
    slug_id: String,
    title: Option<String>,
    icon: Option<String>,
    parent_page_id: Option<Uuid>,
    creator_id: Option<Uuid>,
    space_id: Uuid,
    space_name: Option<String>,
    space_slug: String,
    space_logo: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Pages that a person may read, those changed last first, of one space if given. One more than the
/// page holds, if there is more.
pub async fn recent_pages(
    conn: &mut Conn,
    workspace: WorkspaceId,
    user: UserId,
    space: Option<SpaceId>,
    page: &PageRequest,
) -> Result<Vec<PageEntry>, StorageError> {
    let rows = sqlx::query_as!(
        PageRow,
        "SELECT p.id, p.slug_id, p.title, p.icon, p.parent_page_id, p.creator_id, p.space_id, s.name AS space_name, s.slug AS space_slug,
                s.logo AS space_logo, p.created_at, p.updated_at
         FROM pages p JOIN spaces s ON s.id = p.space_id
         WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND s.deleted_at IS NULL AND ($3::uuid IS NULL OR p.space_id = $3)
           AND s.id IN (SELECT space_id FROM account_spaces($2))
         ORDER BY p.updated_at DESC, p.id DESC LIMIT $4 OFFSET $5",
        workspace.0,
        user.0,
        space.map(|space| space.0),
        page.limit + 1,
        page.offset()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| PageEntry {
            id: PageId(row.id),
            slug_id: row.slug_id,
            title: row.title,
            icon: row.icon,
            parent: row.parent_page_id.map(PageId),
            creator: row.creator_id.map(UserId),
            space: SpaceId(row.space_id),
            space_name: row.space_name,
            space_slug: row.space_slug,
            space_logo: row.space_logo,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
        .collect())
}

struct GroupRow {
    id: Uuid,
    name: String,
    description: Option<String>,
    is_default: bool,
    creator_id: Option<Uuid>,
    member_count: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// Groups of the workspace, by name; agents' accounts are not counted (D-08). One more than the page
/// holds, if there is more.
pub async fn groups(conn: &mut Conn, workspace: WorkspaceId, page: &PageRequest) -> Result<Vec<Group>, StorageError> {
    let rows = sqlx::query_as!(
        GroupRow,
        r#"SELECT g.id, g.name, g.description, g.is_default, g.creator_id, g.created_at, g.updated_at,
                  (SELECT count(*) FROM group_users m JOIN users u ON u.id = m.user_id
                   WHERE m.group_id = g.id AND u.deleted_at IS NULL AND u.role IS DISTINCT FROM 'agent') AS "member_count!"
           FROM groups g
           WHERE g.workspace_id = $1 AND g.deleted_at IS NULL AND ($2::text IS NULL OR position(lower($2) in lower(g.name)) > 0)
           ORDER BY g.is_default DESC, g.name, g.id LIMIT $3 OFFSET $4"#,
        workspace.0,
        page.query,
        page.limit + 1,
        page.offset()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Group {
            id: row.id,
            workspace,
            name: row.name,
            description: row.description,
            is_default: row.is_default,
            creator: row.creator_id.map(UserId),
            member_count: row.member_count,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
        .collect())
}

/// The spaces that an account belongs to, by itself or by a group.
pub async fn ids_of(conn: &mut Conn, workspace: WorkspaceId, user: UserId) -> Result<Vec<SpaceId>, StorageError> {
    let ids = sqlx::query_scalar!(r#"SELECT space_id AS "space_id!" FROM account_spaces($2) WHERE workspace_id = $1"#, workspace.0, user.0)
        .fetch_all(conn)
        .await?;
    Ok(ids.into_iter().map(SpaceId).collect())
}

/// The space of a page that is not deleted, and whether agents may know of the page.
pub async fn of_page(conn: &mut Conn, workspace: WorkspaceId, page: PageId) -> Result<Option<(SpaceId, bool)>, StorageError> {
    let row = sqlx::query!(
        r#"SELECT p.space_id, coalesce(p.agent_accessible, true) AS "accessible!" FROM pages p JOIN spaces s ON s.id = p.space_id
           WHERE p.workspace_id = $1 AND p.id = $2 AND p.deleted_at IS NULL AND s.deleted_at IS NULL"#,
        workspace.0,
        page.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (SpaceId(row.space_id), row.accessible)))
}

/// Whether agents may know of a task.
pub async fn task_is_accessible(conn: &mut Conn, workspace: WorkspaceId, task: TaskId) -> Result<bool, StorageError> {
    let accessible = sqlx::query_scalar!(
        r#"SELECT coalesce(agent_accessible, true) AS "accessible!" FROM tasks WHERE workspace_id = $1 AND id = $2"#,
        workspace.0,
        task.0
    );
    Ok(accessible.fetch_optional(conn).await?.unwrap_or(false))
}
