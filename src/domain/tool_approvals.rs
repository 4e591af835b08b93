//! Tool calls that a person must approve before they are carried out (D-09).
//!
//! The caller is told an id, which is no permission: an owner or admin decides, and the caller repeats
//! the very same call with the id, once.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::events;
use crate::{
    model::{
        actor::{KeyHolder, Person},
        event::{Event, EventKind},
        ids::{AgentId, ApprovalId, UserId, WorkspaceId},
        policy::Policy,
        secret::Secret,
        tool_approval::{self, APPROVAL_ARGUMENT, ApprovalStatus, LIFETIME, ToolApproval, WAITING_MAX},
    },
    storage::{self, StorageError, Tx},
};

/// Approvals listed at the most.
const LISTED_MAX: i64 = 200;

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// Also for one that another workspace waits for, and one that is not the person's to decide.
    #[error("approval not found")]
    NotFound,
    /// Decided before, or too late.
    #[error("the approval is {0}")]
    Over(&'static str),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Whether a tool call may be carried out.
#[derive(Debug)]
pub enum Gate {
    Open,
    /// Somebody has to decide first.
    Waits {
        id: ApprovalId,
        expires_at: DateTime<Utc>,
    },
    /// The approval that the call names does not allow it.
    Refused(&'static str),
    TooMany {
        limit: u32,
    },
}

/// Decides whether a call goes on: it needs no approval, or names one that was granted for exactly
/// this call, which is used up by it. Otherwise a request is left for the people who decide.
///
/// Records [`EventKind::ApprovalRequested`].
pub async fn pass(
    tx: &mut Tx,
    policy: &Policy,
    caller: &KeyHolder,
    method: &str,
    arguments: &Map<String, Value>,
) -> Result<Gate, StorageError> {
    if !policy.tool_approvals.covers(method) {
        return Ok(Gate::Open);
    }
    let (workspace, user, agent) = requester(caller);
    let params_hash = tool_approval::digest(method, arguments);
    let now = tx.now();
    if let Some(named) = arguments.get(APPROVAL_ARGUMENT) {
        let id = named.as_str().and_then(|text| text.parse::<ApprovalId>().ok());
        let Some(id) = id else { return Ok(Gate::Refused("approvalId is not an approval of yours")) };
        let found = storage::tool_approvals::lock(tx.conn(), workspace, id).await?;
        let Some(approval) = found.filter(|approval| approval.requested_by == Some(user)) else {
            return Ok(Gate::Refused("approvalId is not an approval of yours"));
        };
        return Ok(match approval.status {
            _ if approval.params_hash != params_hash => Gate::Refused("the approval is for another call"),
            ApprovalStatus::Pending if now < approval.expires_at => Gate::Waits { id, expires_at: approval.expires_at },
            ApprovalStatus::Approved if now < approval.expires_at => {
                storage::tool_approvals::set_status(tx.conn(), id, ApprovalStatus::Consumed, None, now).await?;
                Gate::Open
            }
            ApprovalStatus::Rejected => Gate::Refused("the approval was rejected"),
            ApprovalStatus::Consumed => Gate::Refused("the approval was used already"),
            ApprovalStatus::Pending | ApprovalStatus::Approved | ApprovalStatus::Expired => Gate::Refused("the approval has expired"),
        });
    }
    storage::users::lock(tx.conn(), workspace, user).await?;
    if storage::tool_approvals::count_waiting(tx.conn(), workspace, user, now).await? >= i64::from(WAITING_MAX) {
        return Ok(Gate::TooMany { limit: WAITING_MAX });
    }
    let approval = ToolApproval {
        id: ApprovalId::generate(),
        workspace,
        requested_by: Some(user),
        agent: agent.clone(),
        method: method.to_owned(),
        params: Value::Object(arguments.clone()),
        params_hash,
        status: ApprovalStatus::Pending,
        expires_at: now + LIFETIME,
        created_at: now,
    };
    let token_hash = Secret::presented(&approval.id.to_string()).hash();
    storage::tool_approvals::insert(tx.conn(), &approval, &token_hash).await?;
    let kind = EventKind::ApprovalRequested { approval_id: approval.id, method: approval.method.clone(), requester: Some(user) };
    events::record(tx, Event { workspace, agent, actor: Some(user), kind }).await?;
    Ok(Gate::Waits { id: approval.id, expires_at: approval.expires_at })
}

fn requester(caller: &KeyHolder) -> (WorkspaceId, UserId, Option<AgentId>) {
    match caller {
        KeyHolder::Agent(agent) => (agent.workspace, agent.user, Some(agent.agent.clone())),
        KeyHolder::Person { person, .. } => (person.workspace, person.user, None),
    }
}

/// What waits for a decision that the person may take: for owners and admins everything of the
/// workspace, for others what their own keys asked for. What expires first comes first.
pub async fn waiting(tx: &mut Tx, person: &Person) -> Result<Vec<ToolApproval>, StorageError> {
    let now = tx.now();
    let requester = (!person.role.manages_agents()).then_some(person.user);
    storage::tool_approvals::waiting(tx.conn(), person.workspace, requester, now, LISTED_MAX).await
}

/// Grants or refuses a call that waits.
///
/// Records [`EventKind::ApprovalDecided`]. Errors: `NotFound`, `Over`, `Storage`.
pub async fn decide(tx: &mut Tx, person: &Person, id: ApprovalId, approve: bool) -> Result<(), DecisionError> {
    let now = tx.now();
    let found = storage::tool_approvals::lock(tx.conn(), person.workspace, id).await?;
    let own = |approval: &ToolApproval| approval.agent.is_none() && approval.requested_by == Some(person.user);
    let approval = found.filter(|approval| person.role.manages_agents() || own(approval)).ok_or(DecisionError::NotFound)?;
    if approval.status != ApprovalStatus::Pending {
        return Err(DecisionError::Over(approval.status.as_str()));
    }
    if approval.expires_at <= now {
        return Err(DecisionError::Over(ApprovalStatus::Expired.as_str()));
    }
    let status = if approve { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
    storage::tool_approvals::set_status(tx.conn(), id, status, Some(person.user), now).await?;
    let kind = EventKind::ApprovalDecided { approval_id: id, method: approval.method, approved: approve, requester: approval.requested_by };
    events::record(tx, Event { workspace: person.workspace, agent: approval.agent, actor: Some(person.user), kind }).await?;
    Ok(())
}

/// Forgets approvals that ended long ago; returns how many.
pub async fn prune(tx: &mut Tx) -> Result<u64, StorageError> {
    storage::tool_approvals::prune(tx.conn()).await
}
