//! Rows of `mcp_approvals`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    cursor::Cursor,
    ids::{AgentId, ApprovalId, UserId, WorkspaceId},
    permission::PermissionSet,
    tool_approval::{ApprovalKind, ApprovalStatus, Granted, NamedKind, ToolApproval},
};

struct Row {
    id: Uuid,
    kind: String,
    workspace_id: Uuid,
    requested_by: Option<Uuid>,
    agent_id: Option<String>,
    method: String,
    params: Value,
    params_hash: String,
    reason: Option<String>,
    in_advance: bool,
    status: String,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

impl TryFrom<Row> for ToolApproval {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let corrupt = |column| StorageError::Corrupt { table: "mcp_approvals", column, id: row.id.to_string() };
        Ok(Self {
            id: ApprovalId(row.id),
            kind: ApprovalKind::parse(&row.kind).ok_or_else(|| corrupt("kind"))?,
            workspace: WorkspaceId(row.workspace_id),
            requested_by: row.requested_by.map(UserId),
            agent: row.agent_id.as_deref().map(str::parse).transpose().map_err(|_| corrupt("agent_id"))?,
            status: ApprovalStatus::parse(&row.status).ok_or_else(|| corrupt("status"))?,
            method: row.method,
            params: row.params,
            params_hash: row.params_hash,
            reason: row.reason,
            in_advance: row.in_advance,
            expires_at: row.expires_at,
            created_at: row.created_at,
        })
    }
}

/// Adds an approval that waits. `token_hash` is unique by the id that it is made of.
pub async fn insert(conn: &mut Conn, approval: &ToolApproval, token_hash: &str) -> Result<(), StorageError> {
    sqlx::query!(
        "INSERT INTO mcp_approvals (id, workspace_id, token_hash, requested_by, agent_id, method, params, params_hash, expires_at, created_at, kind, reason,
                                    in_advance)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        approval.id.0,
        approval.workspace.0,
        token_hash,
        approval.requested_by.map(|user| user.0),
        approval.agent.as_ref().map(AgentId::as_str),
        approval.method,
        approval.params,
        approval.params_hash,
        approval.expires_at,
        approval.created_at,
        approval.kind.as_str(),
        approval.reason,
        approval.in_advance
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Approvals that wait and have not expired, in the order in which they were asked for; of one requester if given, and behind
/// a place. At most `limit`, and as many as their arguments have room in `bytes_max`, but one at least; whether more wait
/// behind them.
pub async fn waiting(
    conn: &mut Conn,
    workspace: WorkspaceId,
    requester: Option<UserId>,
    after: Option<Cursor<ApprovalId>>,
    now: DateTime<Utc>,
    limit: i64,
    bytes_max: i64,
) -> Result<(Vec<ToolApproval>, bool), StorageError> {
    // One more than is wanted is counted, to know whether there is more, and not answered. Sizes are read from the row, so that
    // no arguments are fetched but those that are answered.
    let rows = sqlx::query!(
        r#"SELECT id, kind, workspace_id, requested_by, agent_id, method, params, params_hash, reason, in_advance, status, expires_at,
                  created_at, count AS "count!"
           FROM (
               SELECT next.*, sum(params_bytes) OVER so_far AS bytes, row_number() OVER so_far AS place, count(*) OVER () AS count
               FROM (
                   SELECT * FROM mcp_approvals
                   WHERE workspace_id = $1 AND status = 'pending' AND $3 < expires_at
                     AND ($2::uuid IS NULL OR (requested_by = $2 AND agent_id IS NULL))
                     AND ($5::timestamptz IS NULL OR (created_at, id) > ($5, $6::uuid))
                   ORDER BY created_at, id LIMIT $4::bigint + 1
               ) next
               WINDOW so_far AS (ORDER BY created_at, id)
           ) counted
           WHERE place <= $4 AND (place = 1 OR bytes <= $7)
           ORDER BY created_at, id"#,
        workspace.0,
        requester.map(|user| user.0),
        now,
        limit,
        after.map(|place| place.at),
        after.map(|place| place.id.0),
        bytes_max
    )
    .fetch_all(conn)
    .await?;
    let more = rows.first().is_some_and(|row| usize::try_from(row.count).is_ok_and(|count| rows.len() < count));
    let approvals = rows.into_iter().map(|row| {
        let row = Row {
            id: row.id,
            kind: row.kind,
            workspace_id: row.workspace_id,
            requested_by: row.requested_by,
            agent_id: row.agent_id,
            method: row.method,
            params: row.params,
            params_hash: row.params_hash,
            reason: row.reason,
            in_advance: row.in_advance,
            status: row.status,
            expires_at: row.expires_at,
            created_at: row.created_at,
        };
        row.try_into()
    });
    Ok((approvals.collect::<Result<_, StorageError>>()?, more))
}

/// Something that has a name to show, as [`named`] finds it.
#[derive(Debug)]
pub struct NamedRow {
    pub id: Uuid,
    /// Of a page its short id, by which it may be named too.
    pub slug_id: Option<String>,
    pub kind: NamedKind,
    pub title: Option<String>,
}

/// What a person sees of the things with these ids, or of pages with these short ids, deleted or not.
pub async fn named(
    conn: &mut Conn,
    workspace: WorkspaceId,
    person: UserId,
    ids: &[Uuid],
    slugs: &[String],
) -> Result<Vec<NamedRow>, StorageError> {
    let rows = sqlx::query!(
        r#"WITH own AS (SELECT space_id FROM account_spaces($2) WHERE workspace_id = $1)
           SELECT 'space' AS "kind!", s.id AS "id!", s.name AS title, NULL::varchar AS slug_id
           FROM spaces s WHERE s.id = ANY($3) AND s.id IN (SELECT space_id FROM own)
           UNION ALL
           SELECT 'page', p.id, p.title, p.slug_id
           FROM pages p WHERE p.workspace_id = $1 AND (p.id = ANY($3) OR p.slug_id = ANY($4)) AND p.space_id IN (SELECT space_id FROM own)
           UNION ALL
           SELECT 'project', x.id, x.name, NULL
           FROM projects x WHERE x.workspace_id = $1 AND x.id = ANY($3) AND x.space_id IN (SELECT space_id FROM own)
           UNION ALL
           SELECT 'task', t.id, t.title, NULL
           FROM tasks t WHERE t.workspace_id = $1 AND t.id = ANY($3) AND t.space_id IN (SELECT space_id FROM own)
           UNION ALL
           SELECT 'comment', c.id, p.title, NULL
           FROM comments c JOIN pages p ON p.id = c.page_id
           WHERE p.workspace_id = $1 AND c.id = ANY($3) AND p.space_id IN (SELECT space_id FROM own)
           UNION ALL
           SELECT 'person', u.id, u.name, NULL FROM users u WHERE u.workspace_id = $1 AND u.id = ANY($3)"#,
        workspace.0,
        person.0,
        ids,
        slugs
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let corrupt = || StorageError::Corrupt { table: "mcp_approvals", column: "params", id: row.id.to_string() };
            let kind = NamedKind::parse(&row.kind).ok_or_else(corrupt)?;
            Ok(NamedRow { id: row.id, slug_id: row.slug_id, kind, title: row.title })
        })
        .collect()
}

/// What one requester waits for already and asks for again.
pub async fn same_waiting(
    conn: &mut Conn,
    workspace: WorkspaceId,
    requester: UserId,
    params_hash: &str,
    now: DateTime<Utc>,
) -> Result<Option<ToolApproval>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, kind, workspace_id, requested_by, agent_id, method, params, params_hash, reason, in_advance, status, expires_at, created_at
         FROM mcp_approvals
         WHERE workspace_id = $1 AND requested_by = $2 AND params_hash = $3 AND status = 'pending' AND $4 < expires_at
         ORDER BY expires_at DESC LIMIT 1",
        workspace.0,
        requester.0,
        params_hash,
        now
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// The number of approvals that one requester waits for.
pub async fn count_waiting(conn: &mut Conn, workspace: WorkspaceId, requester: UserId, now: DateTime<Utc>) -> Result<i64, StorageError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM mcp_approvals
           WHERE workspace_id = $1 AND requested_by = $2 AND status = 'pending' AND $3 < expires_at"#,
        workspace.0,
        requester.0,
        now
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// An approval of the workspace, kept from being changed by anybody else until the transaction ends.
pub async fn lock(conn: &mut Conn, workspace: WorkspaceId, id: ApprovalId) -> Result<Option<ToolApproval>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, kind, workspace_id, requested_by, agent_id, method, params, params_hash, reason, in_advance, status, expires_at, created_at
         FROM mcp_approvals
         WHERE workspace_id = $1 AND id = $2 FOR UPDATE",
        workspace.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// Notes that a person, `by`, approved a call or granted a permission, until `expires_at`.
pub async fn approve(
    conn: &mut Conn,
    id: ApprovalId,
    by: UserId,
    at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE mcp_approvals SET status = 'approved', decided_by = $2, decided_at = $3, expires_at = $4 WHERE id = $1",
        id.0,
        by.0,
        at,
        expires_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a person, `by`, refused what was asked for, or ended what was granted. A call's arguments are not kept.
pub async fn reject(conn: &mut Conn, id: ApprovalId, by: UserId, at: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE mcp_approvals SET status = 'rejected', decided_by = $2, decided_at = $3,
                                  params = CASE kind WHEN 'call' THEN '{}' ELSE params END
         WHERE id = $1",
        id.0,
        by.0,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Uses an approval up; `false` when it is not good for a call at `now`, or another call was faster. The arguments are not kept.
pub async fn consume(conn: &mut Conn, id: ApprovalId, now: DateTime<Utc>) -> Result<bool, StorageError> {
    let consumed = sqlx::query!(
        "UPDATE mcp_approvals SET status = 'consumed', params = '{}'
         WHERE id = $1 AND kind = 'call' AND status = 'approved' AND $2 < expires_at",
        id.0,
        now
    )
    .execute(conn)
    .await?;
    Ok(consumed.rows_affected() == 1)
}

/// Notes of what a requester let expire that it has, without the arguments of calls. What somebody else has in hand is left
/// to them, so that nobody waits for it.
pub async fn expire(conn: &mut Conn, workspace: WorkspaceId, requester: UserId, now: DateTime<Utc>) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE mcp_approvals SET status = 'expired', params = CASE kind WHEN 'call' THEN '{}' ELSE params END
         WHERE id IN (SELECT id FROM mcp_approvals
                      WHERE workspace_id = $1 AND requested_by = $2 AND status IN ('pending', 'approved') AND expires_at <= $3
                      FOR UPDATE SKIP LOCKED)",
        workspace.0,
        requester.0,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An approval of the workspace.
pub async fn get(conn: &mut Conn, workspace: WorkspaceId, id: ApprovalId) -> Result<Option<ToolApproval>, StorageError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, kind, workspace_id, requested_by, agent_id, method, params, params_hash, reason, in_advance, status, expires_at, created_at
         FROM mcp_approvals WHERE workspace_id = $1 AND id = $2",
        workspace.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(TryInto::try_into).transpose()
}

/// Permissions that an agent was granted for a while and has at `now`, those that end first before others; of one of its
/// accounts if given.
pub async fn grants(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: &AgentId,
    user: Option<UserId>,
    now: DateTime<Utc>,
) -> Result<Vec<Granted>, StorageError> {
    let rows = sqlx::query!(
        r#"SELECT id, params ->> 'permission' AS "permission!", expires_at FROM mcp_approvals
           WHERE workspace_id = $1 AND agent_id = $2 AND ($3::uuid IS NULL OR requested_by = $3) AND kind = 'permission'
             AND status = 'approved' AND $4 < expires_at AND params ? 'permission'
           ORDER BY expires_at, id"#,
        workspace.0,
        agent.as_str(),
        user.map(|user| user.0),
        now
    )
    .fetch_all(conn)
    .await?;
    let granted =
        rows.into_iter().map(|row| Granted { approval: ApprovalId(row.id), permission: row.permission, expires_at: row.expires_at });
    Ok(granted.collect())
}

/// As [`grants`], the permissions of an agent's account alone.
pub async fn granted(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: &AgentId,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<PermissionSet, StorageError> {
    let granted = grants(conn, workspace, agent, Some(user), now).await?;
    let permissions: Vec<String> = granted.into_iter().map(|granted| granted.permission).collect();
    Ok(PermissionSet::known(&permissions))
}

/// Ends what an agent was granted for a while.
pub async fn end_grants(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<(), StorageError> {
    sqlx::query!(
        "UPDATE mcp_approvals SET status = 'expired' WHERE workspace_id = $1 AND agent_id = $2 AND kind = 'permission' AND status = 'approved'",
        workspace.0,
        agent.as_str()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends everything that an agent asked for or was granted; returns how much that was. The arguments of calls are not kept.
pub async fn end_of_agent(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<u64, StorageError> {
    let ended = sqlx::query!(
        "UPDATE mcp_approvals SET status = 'expired', params = CASE kind WHEN 'call' THEN '{}' ELSE params END
         WHERE workspace_id = $1 AND agent_id = $2 AND status IN ('pending', 'approved')",
        workspace.0,
        agent.as_str()
    )
    .execute(conn)
    .await?;
    Ok(ended.rows_affected())
}

/// Deletes approvals that ended over a month before `now`, and the arguments of calls that have expired; returns how many are gone.
pub async fn prune(conn: &mut Conn, now: DateTime<Utc>) -> Result<u64, StorageError> {
    sqlx::query!(
        "UPDATE mcp_approvals SET status = 'expired', params = '{}'
         WHERE id IN (SELECT id FROM mcp_approvals
                      WHERE kind = 'call' AND status IN ('pending', 'approved') AND expires_at <= $1
                      FOR UPDATE SKIP LOCKED)",
        now
    )
    .execute(&mut *conn)
    .await?;
    let deleted =
        sqlx::query!("DELETE FROM mcp_approvals WHERE expires_at < $1::timestamptz - interval '30 days'", now).execute(conn).await?;
    Ok(deleted.rows_affected())
}
