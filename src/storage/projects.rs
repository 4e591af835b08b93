//! Rows of `projects`. Every query is limited to the account's workspace and its spaces.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    account::{Account, Author},
    ids::{PageId, ProjectId, SpaceId},
    project::{Project, ProjectFilter},
    space::{PageRequest, SpaceRole},
};

struct Row {
    id: Uuid,
    name: String,
    description: Option<String>,
    icon: Option<String>,
    color: Option<String>,
    is_archived: bool,
    start_date: Option<DateTime<Utc>>,
    end_date: Option<DateTime<Utc>>,
    space_id: Uuid,
    creator_id: Option<Uuid>,
    creator_name: Option<String>,
    creator_avatar: Option<String>,
    home_page_id: Option<Uuid>,
    agent_live: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Project {
    fn from(row: Row) -> Self {
        Self {
            id: ProjectId(row.id),
            name: row.name,
            description: row.description,
            icon: row.icon,
            color: row.color,
            is_archived: row.is_archived,
            starts_at: row.start_date,
            ends_at: row.end_date,
            space: SpaceId(row.space_id),
            creator: Author::joined(row.creator_id, row.creator_name, row.creator_avatar),
            home_page: row.home_page_id.map(PageId),
            agent_live: row.agent_live,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Finds a project and keeps everyone else from changing it until the transaction ends; says what the account may do in
/// its space.
pub async fn lock(conn: &mut Conn, account: &Account, id: ProjectId) -> Result<Option<SpaceRole>, StorageError> {
    let role = sqlx::query_scalar!(
        r#"SELECT a.role AS "role!" FROM projects p JOIN account_spaces($2) a ON a.space_id = p.space_id
           WHERE p.workspace_id = $1 AND p.id = $3 AND p.deleted_at IS NULL FOR NO KEY UPDATE OF p"#,
        account.workspace.0,
        account.user.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(role.map(|role| SpaceRole::from_column(&role)))
}

/// A project.
pub async fn find(conn: &mut Conn, account: &Account, id: ProjectId) -> Result<Option<Project>, StorageError> {
    let one = PageRequest { page: 1, limit: 1, query: None };
    let filter = ProjectFilter { space: None, archived_too: true };
    Ok(select(conn, account, Some(id), &filter, &one).await?.into_iter().next())
}

/// Projects that fit, by name. One more than the page holds, if there is more.
pub async fn list(conn: &mut Conn, account: &Account, filter: &ProjectFilter, page: &PageRequest) -> Result<Vec<Project>, StorageError> {
    select(conn, account, None, filter, page).await
}

async fn select(
    conn: &mut Conn,
    account: &Account,
    id: Option<ProjectId>,
    filter: &ProjectFilter,
    page: &PageRequest,
) -> Result<Vec<Project>, StorageError> {
    // A home page that the account must not see is left out.
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT p.id, p.name, p.description, p.icon, p.color, p.is_archived, p.start_date, p.end_date, p.space_id,
                  c.id AS "creator_id?", c.name AS creator_name, c.avatar_url AS creator_avatar, home.id AS "home_page_id?",
                  (p.agent_live IS TRUE) AS "agent_live!", p.created_at, p.updated_at
           FROM projects p LEFT JOIN users c ON c.id = p.creator_id
           LEFT JOIN pages home ON home.id = p.home_page_id AND home.deleted_at IS NULL AND (NOT $3 OR home.agent_accessible IS NOT FALSE)
                               AND home.space_id IN (SELECT space_id FROM account_spaces($2))
           WHERE p.workspace_id = $1 AND p.deleted_at IS NULL AND p.space_id IN (SELECT space_id FROM account_spaces($2))
             AND ($4::uuid IS NULL OR p.id = $4) AND ($5::uuid IS NULL OR p.space_id = $5) AND ($6 OR NOT p.is_archived)
             AND ($7::text IS NULL OR position(lower($7) in lower(p.name)) > 0)
           ORDER BY p.name, p.id LIMIT $8 OFFSET $9"#,
        account.workspace.0,
        account.user.0,
        account.is_agent(),
        id.map(|id| id.0),
        filter.space.map(|space| space.0),
        filter.archived_too,
        page.query,
        page.limit + 1,
        page.offset()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Adds a project.
pub async fn insert(conn: &mut Conn, account: &Account, project: &Project) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO projects (id, name, description, icon, color, start_date, end_date, space_id, creator_id, workspace_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)",
        project.id.0,
        project.name,
        project.description,
        project.icon,
        project.color,
        project.starts_at,
        project.ends_at,
        project.space.0,
        account.user.0,
        account.workspace.0,
        project.created_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes a project that this transaction has locked.
pub async fn save(conn: &mut Conn, account: &Account, project: &Project, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE projects
         SET name = $3, description = $4, icon = $5, color = $6, start_date = $7, end_date = $8, is_archived = $9, updated_at = $10,
             agent_live_changed_at = CASE WHEN agent_live IS NOT DISTINCT FROM $11 THEN agent_live_changed_at ELSE $10 END,
             agent_live_changed_by = CASE WHEN agent_live IS NOT DISTINCT FROM $11 THEN agent_live_changed_by ELSE $12 END,
             agent_live = $11
         WHERE workspace_id = $1 AND id = $2",
        account.workspace.0,
        project.id.0,
        project.name,
        project.description,
        project.icon,
        project.color,
        project.starts_at,
        project.ends_at,
        project.is_archived,
        at,
        project.agent_live,
        account.user.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes the page that tells of a project, unless it has one.
pub async fn set_home_page(conn: &mut Conn, account: &Account, id: ProjectId, page: PageId) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE projects SET home_page_id = $3
         WHERE workspace_id = $1 AND id = $2
           AND NOT EXISTS (SELECT 1 FROM pages x WHERE x.id = home_page_id AND x.deleted_at IS NULL)",
        account.workspace.0,
        id.0,
        page.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether a project has tasks, and whether some of them are kept from agents.
pub async fn tasks(conn: &mut Conn, account: &Account, id: ProjectId) -> Result<(bool, bool), StorageError> {
    let row = sqlx::query!(
        r#"SELECT count(*) > 0 AS "any!", count(*) FILTER (WHERE agent_accessible IS FALSE) > 0 AS "hidden!"
           FROM tasks WHERE workspace_id = $1 AND project_id = $2 AND deleted_at IS NULL"#,
        account.workspace.0,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Ok((row.any, row.hidden))
}

/// Deletes a project, softly; its tasks are gone with it.
pub async fn delete(conn: &mut Conn, account: &Account, id: ProjectId, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!("UPDATE projects SET deleted_at = $3, updated_at = $3 WHERE workspace_id = $1 AND id = $2", account.workspace.0, id.0, at)
        .execute(conn)
        .await?;
    Ok(())
}
