//! Rows of `parallax_agents`.

use chrono::{DateTime, Utc};
use sea_query::{Alias, Asterisk, Expr, ExprTrait as _, Order, Query, extension::postgres::PgBinOper};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Conn, StorageError,
    filter::{self, LIST_ROWS_MAX},
};
use crate::model::{
    actor::AgentCaller,
    agent::{Agent, AgentState, AgentStatus, Profile},
    assignment::Target,
    ids::{AgentId, InviteId, UserId, WorkspaceId},
    permission::PermissionSet,
};

#[derive(FromRow)]
struct Row {
    workspace_id: Uuid,
    id: String,
    name: String,
    description: Option<String>,
    avatar_url: Option<String>,
    capabilities: Vec<String>,
    status: String,
    requested_permissions: Vec<String>,
    granted_permissions: Vec<String>,
    request_version: i32,
    claim_secret_hash: Option<String>,
    unclaimed_key_enc: Option<Vec<u8>>,
    metadata: Value,
    endpoint: Option<String>,
    invite_id: Option<Uuid>,
    requested_at: DateTime<Utc>,
    resolved_at: Option<DateTime<Utc>>,
    resolved_by: Option<Uuid>,
    denial_reason: Option<String>,
    revoked_at: Option<DateTime<Utc>>,
    revoked_by: Option<Uuid>,
    revocation_reason: Option<String>,
    mcp_api_key_id: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Agent {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "parallax_agents", column, id: row.id.clone() };
        let resolved_at = row.resolved_at.ok_or_else(|| corrupt("resolved_at"));
        let resolved_by = row.resolved_by.map(UserId);
        let state = match AgentStatus::parse(&row.status).ok_or_else(|| corrupt("status"))? {
            AgentStatus::Pending => AgentState::Pending,
            AgentStatus::Approved => {
                AgentState::Approved { granted: PermissionSet::known(&row.granted_permissions), by: resolved_by, at: resolved_at? }
            }
            AgentStatus::Denied => {
                AgentState::Denied { reason: row.denial_reason.clone().unwrap_or_default(), by: resolved_by, at: resolved_at? }
            }
            AgentStatus::Revoked => AgentState::Revoked {
                reason: row.revocation_reason.clone().unwrap_or_default(),
                by: row.revoked_by.map(UserId),
                at: row.revoked_at.ok_or_else(|| corrupt("revoked_at"))?,
                approved_by: resolved_by,
                approved_at: resolved_at?,
            },
        };
        Ok(Self {
            workspace: WorkspaceId(row.workspace_id),
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            profile: Profile {
                requested: PermissionSet::known(&row.requested_permissions),
                name: row.name,
                description: row.description,
                avatar_url: row.avatar_url,
                capabilities: row.capabilities,
                metadata: row.metadata,
                endpoint: row.endpoint,
            },
            state,
            request_version: row.request_version,
            claim_secret_hash: row.claim_secret_hash,
            unclaimed_key: row.unclaimed_key_enc,
            api_key_id: row.mcp_api_key_id,
            invite_id: row.invite_id.map(InviteId),
            requested_at: row.requested_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: &AgentId) -> Result<Option<Agent>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT workspace_id, id, name, description, avatar_url, capabilities, status, requested_permissions, granted_permissions,
                request_version, claim_secret_hash, unclaimed_key_enc, metadata, endpoint, invite_id, requested_at, resolved_at, resolved_by,
                denial_reason, revoked_at, revoked_by, revocation_reason, mcp_api_key_id, created_at, updated_at
         FROM parallax_agents WHERE workspace_id = $1 AND id = $2",
        workspace.0,
        id.as_str()
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// As [`get`], for the agent that calls: among what it was granted is also what its account has at `now` for a while.
pub async fn get_caller(conn: &mut Conn, caller: &AgentCaller, now: DateTime<Utc>) -> Result<Option<Agent>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT workspace_id, id, name, description, avatar_url, capabilities, status, requested_permissions,
                  granted_permissions || ARRAY(SELECT g.params ->> 'permission' FROM mcp_approvals g
                      WHERE g.workspace_id = $1 AND g.agent_id = $2 AND g.requested_by = $3 AND g.kind = 'permission'
                        AND g.status = 'approved' AND $4 < g.expires_at AND g.params ->> 'permission' IS NOT NULL) AS "granted_permissions!",
                  request_version, claim_secret_hash, unclaimed_key_enc, metadata, endpoint, invite_id, requested_at, resolved_at,
                  resolved_by, denial_reason, revoked_at, revoked_by, revocation_reason, mcp_api_key_id, created_at, updated_at
           FROM parallax_agents WHERE workspace_id = $1 AND id = $2"#,
        caller.workspace.0,
        caller.agent.as_str(),
        caller.user.0,
        now
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// As [`get`], and keeps everyone else from changing the agent until the transaction ends.
/// Ids differ in more than case, so `Scout` finds `scout` here: it is taken.
pub async fn lock(conn: &mut Conn, workspace: WorkspaceId, id: &AgentId) -> Result<Option<Agent>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT workspace_id, id, name, description, avatar_url, capabilities, status, requested_permissions, granted_permissions,
                request_version, claim_secret_hash, unclaimed_key_enc, metadata, endpoint, invite_id, requested_at, resolved_at, resolved_by,
                denial_reason, revoked_at, revoked_by, revocation_reason, mcp_api_key_id, created_at, updated_at
         FROM parallax_agents WHERE workspace_id = $1 AND lower(id) = lower($2) FOR UPDATE",
        workspace.0,
        id.as_str()
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// Which agents a list shows.
#[derive(Clone, Debug, Default)]
pub struct AgentFilter {
    pub status: Option<AgentStatus>,
    /// When not empty: only approved agents with any of these, by name.
    pub capabilities: Vec<String>,
}

/// Agents of the workspace, newest first, or by name when looked for by capability.
pub async fn list(conn: &mut Conn, workspace: WorkspaceId, filter: &AgentFilter) -> Result<Vec<Agent>, StorageError> {
    let column = |name: &str| Expr::col(Alias::new(name));
    let mut query = Query::select();
    query.column(Asterisk).from(Alias::new("parallax_agents")).and_where(column("workspace_id").eq(workspace.0)).limit(LIST_ROWS_MAX);
    if filter.capabilities.is_empty() {
        if let Some(status) = filter.status {
            query.and_where(column("status").eq(status.as_str()));
        }
        query.order_by(Alias::new("created_at"), Order::Desc).order_by(Alias::new("id"), Order::Asc);
    } else {
        query
            .and_where(column("status").eq(AgentStatus::Approved.as_str()))
            .and_where(column("capabilities").binary(PgBinOper::Overlap, Expr::val(filter.capabilities.clone()).cast_as("text[]")))
            .order_by(Alias::new("name"), Order::Asc);
    }
    filter::fetch_all::<Row>(conn, &query).await?.into_iter().map(TryInto::try_into).collect()
}

/// Approved agents with an active assignment to a project or task, newest assignment first.
pub async fn assigned_to(conn: &mut Conn, workspace: WorkspaceId, target: Target) -> Result<Vec<Agent>, StorageError> {
    let (project, task) = match target {
        Target::Project(id) => (Some(id.0), None),
        Target::Task(id) => (None, Some(id.0)),
    };
    let rows = sqlx::query_as!(
        Row,
        "SELECT a.workspace_id, a.id, a.name, a.description, a.avatar_url, a.capabilities, a.status, a.requested_permissions,
                a.granted_permissions, a.request_version, a.claim_secret_hash, a.unclaimed_key_enc, a.metadata, a.endpoint, a.invite_id,
                a.requested_at, a.resolved_at, a.resolved_by, a.denial_reason, a.revoked_at, a.revoked_by, a.revocation_reason,
                a.mcp_api_key_id, a.created_at, a.updated_at
         FROM parallax_agents a JOIN parallax_agent_assignments x ON x.workspace_id = a.workspace_id AND x.agent_id = a.id
         WHERE a.workspace_id = $1 AND a.status = 'approved' AND x.unassigned_at IS NULL
           AND (x.project_id = $2 OR x.task_id = $3)
         ORDER BY x.assigned_at DESC, x.id DESC LIMIT $4",
        workspace.0,
        project,
        task,
        i64::try_from(LIST_ROWS_MAX).unwrap_or(i64::MAX)
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Agents that can act: approved, with a key that is not revoked. The key of a spawned agent ends
/// with its process.
pub async fn count_acting(conn: &mut Conn, workspace: WorkspaceId) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM parallax_agents a
           WHERE a.workspace_id = $1 AND a.status = 'approved'
             AND EXISTS (SELECT 1 FROM mcp_api_keys k WHERE k.workspace_id = a.workspace_id AND k.agent_id = a.id AND k.revoked_at IS NULL)"#,
        workspace.0
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

pub async fn count_pending(conn: &mut Conn, workspace: WorkspaceId) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM parallax_agents WHERE workspace_id = $1 AND status = 'pending'"#,
        workspace.0
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// The columns that depend on the state.
struct StateColumns<'a> {
    status: &'static str,
    granted: Vec<String>,
    resolved_at: Option<DateTime<Utc>>,
    resolved_by: Option<Uuid>,
    denial_reason: Option<&'a str>,
    revoked_at: Option<DateTime<Utc>>,
    revoked_by: Option<Uuid>,
    revocation_reason: Option<&'a str>,
}

impl<'a> From<&'a AgentState> for StateColumns<'a> {
    fn from(state: &'a AgentState) -> Self {
        let mut columns = Self {
            status: state.status().as_str(),
            granted: Vec::new(),
            resolved_at: None,
            resolved_by: None,
            denial_reason: None,
            revoked_at: None,
            revoked_by: None,
            revocation_reason: None,
        };
        match state {
            AgentState::Pending => {}
            AgentState::Approved { granted, by, at } => {
                columns.granted = granted.to_strings();
                columns.resolved_at = Some(*at);
                columns.resolved_by = by.map(|by| by.0);
            }
            AgentState::Denied { reason, by, at } => {
                columns.denial_reason = Some(reason);
                columns.resolved_at = Some(*at);
                columns.resolved_by = by.map(|by| by.0);
            }
            AgentState::Revoked { reason, by, at, approved_by, approved_at } => {
                columns.revocation_reason = Some(reason);
                columns.revoked_at = Some(*at);
                columns.revoked_by = by.map(|by| by.0);
                columns.resolved_at = Some(*approved_at);
                columns.resolved_by = approved_by.map(|by| by.0);
            }
        }
        columns
    }
}

/// Adds the agent. Two requests for one new id race to the primary key, and the loser is told by
/// `false` while its transaction stays usable.
pub async fn insert(conn: &mut Conn, agent: &Agent) -> Result<bool, StorageError> {
    let inserted = sqlx::query!(
        "INSERT INTO parallax_agents (workspace_id, id, name, requested_at, created_at) VALUES ($1, $2, $3, $4, $4) ON CONFLICT DO NOTHING",
        agent.workspace.0,
        agent.id.as_str(),
        agent.profile.name,
        agent.created_at
    )
    .execute(&mut *conn)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    save(conn, agent).await?;
    Ok(true)
}

/// Writes every column of an agent that exists.
pub async fn save(conn: &mut Conn, agent: &Agent) -> Result<(), StorageError> {
    let state = StateColumns::from(&agent.state);
    let updated = sqlx::query!(
        "UPDATE parallax_agents SET
            name = $3, description = $4, avatar_url = $5, capabilities = $6, status = $7, requested_permissions = $8, granted_permissions = $9,
            request_version = $10, claim_secret_hash = $11, unclaimed_key_enc = $12, metadata = $13, endpoint = $14, invite_id = $15,
            requested_at = $16, resolved_at = $17, resolved_by = $18, denial_reason = $19, revoked_at = $20, revoked_by = $21,
            revocation_reason = $22, mcp_api_key_id = $23, updated_at = $24
         WHERE workspace_id = $1 AND id = $2",
        agent.workspace.0,
        agent.id.as_str(),
        agent.profile.name,
        agent.profile.description,
        agent.profile.avatar_url,
        &agent.profile.capabilities,
        state.status,
        &agent.profile.requested.to_strings(),
        &state.granted,
        agent.request_version,
        agent.claim_secret_hash,
        agent.unclaimed_key,
        agent.profile.metadata,
        agent.profile.endpoint,
        agent.invite_id.map(|id| id.0),
        agent.requested_at,
        state.resolved_at,
        state.resolved_by,
        state.denial_reason,
        state.revoked_at,
        state.revoked_by,
        state.revocation_reason,
        agent.api_key_id,
        agent.updated_at,
    )
    .execute(conn)
    .await?;
    if updated.rows_affected() == 1 { Ok(()) } else { Err(StorageError::Query(sqlx::Error::RowNotFound)) }
}

/// Removes an agent that never came to be, with its keys and runs.
pub async fn delete(conn: &mut Conn, workspace: WorkspaceId, id: &AgentId) -> Result<(), StorageError> {
    sqlx::query!("DELETE FROM parallax_agents WHERE workspace_id = $1 AND id = $2", workspace.0, id.as_str()).execute(conn).await?;
    Ok(())
}
