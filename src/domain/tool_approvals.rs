//! Tool calls that a person must approve before they are carried out, and permissions that agents ask for (D-09).
//!
//! The caller is told an id, which is no permission: an owner or admin decides, and the caller repeats
//! the very same call with the id, once. A permission that is granted counts for a while without it.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{events, settings};
use crate::{
    model::{
        actor::{AgentCaller, KeyHolder, Person},
        cursor::Cursor,
        event::{Event, EventKind},
        ids::{AgentId, ApprovalId, UserId, WorkspaceId},
        permission::PermissionSet,
        policy::{CallNames, Policy, Verdict},
        secret::Secret,
        tool_approval::{
            self, APPROVAL_ARGUMENT, ApprovalKind, ApprovalStatus, GRANT_MINUTES_MAX, Granted, LIFETIME, Named, PAGE_BYTES_MAX,
            PERMISSION_METHOD, ToolApproval, USABLE, WAITING_MAX, Waiting,
        },
    },
    storage::{self, StorageError, Tx, tool_approvals::NamedRow},
};

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// Also for one that another workspace waits for, and one that is not the person's to decide.
    #[error("approval not found")]
    NotFound,
    /// Decided before, or too late.
    #[error("the approval is {0}")]
    Over(&'static str),
    /// The person's own key asked for it, and the workspace does not leave that to themselves.
    #[error("the call is your own: another owner or admin approves it, unless the workspace's setting allowOwnApproval is on")]
    Own,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Whether a tool call may be carried out.
#[derive(Debug)]
pub enum Gate {
    /// This approval lets it go on, which is to be used up by it.
    Open(ApprovalId),
    /// Somebody has to decide first.
    Waits {
        id: ApprovalId,
        expires_at: DateTime<Utc>,
        /// Of a permission: how long it will last once it is granted.
        lasts: Option<TimeDelta>,
    },
    /// The approval that the call names does not allow it.
    Refused(&'static str),
    TooMany {
        limit: u32,
    },
}

/// What the policies say of a call: the operator's, and for an agent its workspace's.
#[must_use]
pub fn verdict(policy: &Policy, caller: &KeyHolder, named: &CallNames<'_>) -> Verdict {
    match caller {
        KeyHolder::Agent(agent) => agent.policy.verdict(&policy.tool_approvals, named),
        KeyHolder::Person { .. } if policy.tool_approvals.covers(named) => Verdict::Asks("the operator's policy asks for it".to_owned()),
        KeyHolder::Person { .. } => Verdict::Goes,
    }
}

/// Decides whether a call that needs an approval goes on: it names one that was granted for exactly
/// this call. The caller of this sees to it that the call uses it up: a look at it here keeps nobody from doing so first.
/// Otherwise a request is left for the people who decide.
///
/// Records [`EventKind::ApprovalRequested`].
pub async fn pass(
    tx: &mut Tx,
    caller: &KeyHolder,
    method: &str,
    arguments: &Map<String, Value>,
    reason: &str,
) -> Result<Gate, StorageError> {
    let (workspace, user, _) = requester(caller);
    let params_hash = tool_approval::digest(method, arguments);
    let now = tx.now();
    let Some(named) = arguments.get(APPROVAL_ARGUMENT).filter(|named| !named.is_null()) else {
        let asked = Asked {
            kind: ApprovalKind::Call,
            method: method.to_owned(),
            params: Value::Object(arguments.clone()),
            params_hash,
            reason: Some(reason.to_owned()),
            in_advance: false,
        };
        return ask(tx, caller, asked, LIFETIME).await;
    };
    let id = named.as_str().and_then(|text| text.parse::<ApprovalId>().ok());
    let Some(id) = id else { return Ok(Gate::Refused("approvalId is not an approval of yours")) };
    let found = storage::tool_approvals::get(tx.conn(), workspace, id).await?;
    let Some(approval) = found.filter(|approval| approval.requested_by == Some(user) && approval.kind == ApprovalKind::Call) else {
        return Ok(Gate::Refused("approvalId is not an approval of yours"));
    };
    if approval.params_hash != params_hash {
        return Ok(Gate::Refused("the approval is for another call"));
    }
    Ok(match approval.status_at(now) {
        ApprovalStatus::Pending => waits_for(&approval),
        ApprovalStatus::Approved => Gate::Open(id),
        ApprovalStatus::Rejected => Gate::Refused("the approval was rejected"),
        ApprovalStatus::Consumed => Gate::Refused("the approval was used already"),
        ApprovalStatus::Expired => Gate::Refused("the approval has expired"),
    })
}

/// Asks for the approval of a call that is to follow. A call for which one waits is not asked for again.
///
/// Records [`EventKind::ApprovalRequested`].
pub async fn request_call(
    tx: &mut Tx,
    caller: &KeyHolder,
    method: &str,
    arguments: &Map<String, Value>,
    reason: Option<String>,
    lifetime: TimeDelta,
) -> Result<Gate, StorageError> {
    let asked = Asked {
        kind: ApprovalKind::Call,
        method: method.to_owned(),
        params: Value::Object(arguments.clone()),
        params_hash: tool_approval::digest(method, arguments),
        reason,
        in_advance: true,
    };
    ask(tx, caller, asked, lifetime.min(LIFETIME)).await
}

/// Asks for a permission that an agent lacks, to have it for some minutes once a person grants it. While the same waits it is
/// not asked for again, and stays for as many minutes as it was asked for: people may have seen it.
///
/// Records [`EventKind::ApprovalRequested`].
pub async fn request_permission(
    tx: &mut Tx,
    caller: &KeyHolder,
    permission: &str,
    minutes: u32,
    reason: Option<String>,
) -> Result<Gate, StorageError> {
    let params = json!({"permission": permission, "minutes": minutes.min(GRANT_MINUTES_MAX)});
    let hashed = Map::from_iter([("permission".to_owned(), json!(permission))]);
    let asked = Asked {
        kind: ApprovalKind::Permission,
        method: PERMISSION_METHOD.to_owned(),
        params_hash: tool_approval::digest(PERMISSION_METHOD, &hashed),
        params,
        reason,
        in_advance: true,
    };
    ask(tx, caller, asked, LIFETIME).await
}

/// What somebody asks for.
struct Asked {
    kind: ApprovalKind,
    method: String,
    params: Value,
    params_hash: String,
    reason: Option<String>,
    in_advance: bool,
}

async fn ask(tx: &mut Tx, caller: &KeyHolder, asked: Asked, lifetime: TimeDelta) -> Result<Gate, StorageError> {
    let (workspace, user, agent) = requester(caller);
    let now = tx.now();
    storage::users::lock(tx.conn(), workspace, user).await?;
    if let Some(waiting) = storage::tool_approvals::same_waiting(tx.conn(), workspace, user, &asked.params_hash, now).await? {
        return Ok(waits_for(&waiting));
    }
    // Whoever asks again and again is not to fill the table with what nobody decided about in time.
    storage::tool_approvals::expire(tx.conn(), workspace, user, now).await?;
    if storage::tool_approvals::count_waiting(tx.conn(), workspace, user, now).await? >= i64::from(WAITING_MAX) {
        return Ok(Gate::TooMany { limit: WAITING_MAX });
    }
    let approval = ToolApproval {
        id: ApprovalId::generate(),
        kind: asked.kind,
        workspace,
        requested_by: Some(user),
        agent: agent.clone(),
        method: asked.method,
        params: asked.params,
        params_hash: asked.params_hash,
        reason: asked.reason,
        in_advance: asked.in_advance,
        status: ApprovalStatus::Pending,
        expires_at: now + lifetime,
        created_at: now,
    };
    let token_hash = Secret::presented(&approval.id.to_string()).hash();
    storage::tool_approvals::insert(tx.conn(), &approval, &token_hash).await?;
    let kind = EventKind::ApprovalRequested { approval_id: approval.id, method: approval.method.clone(), requester: Some(user) };
    events::record(tx, Event { workspace, agent, actor: Some(user), kind }).await?;
    Ok(waits_for(&approval))
}

fn waits_for(approval: &ToolApproval) -> Gate {
    Gate::Waits { id: approval.id, expires_at: approval.expires_at, lasts: approval.grant_lasts() }
}

/// What became of something that the caller asked for; `None` for anybody else's.
pub async fn status(tx: &mut Tx, caller: &KeyHolder, id: ApprovalId) -> Result<Option<(ToolApproval, ApprovalStatus)>, StorageError> {
    let (workspace, user, _) = requester(caller);
    let now = tx.now();
    let found = storage::tool_approvals::get(tx.conn(), workspace, id).await?;
    Ok(found.filter(|approval| approval.requested_by == Some(user)).map(|approval| {
        let status = approval.status_at(now);
        (approval, status)
    }))
}

/// The permissions of an agent together with those that it was granted for a while.
pub async fn with_grants(tx: &mut Tx, caller: &AgentCaller) -> Result<PermissionSet, StorageError> {
    let now = tx.now();
    let granted = storage::tool_approvals::granted(tx.conn(), caller.workspace, &caller.agent, caller.user, now).await?;
    Ok(caller.permissions.with(&granted))
}

/// What an agent was granted for a while and has now. What this version does not know grants nothing, and is left out.
pub async fn grants(tx: &mut Tx, person: &Person, agent: &AgentId) -> Result<Vec<Granted>, StorageError> {
    let now = tx.now();
    let granted = storage::tool_approvals::grants(tx.conn(), person.workspace, agent, None, now).await?;
    let is_known = |granted: &Granted| !PermissionSet::known(&[&granted.permission]).is_empty();
    Ok(granted.into_iter().filter(is_known).collect())
}

/// Ends everything that an agent asked for or was granted, as its access or its process ends.
pub(super) async fn end_all(tx: &mut Tx, workspace: WorkspaceId, agent: &AgentId) -> Result<u64, StorageError> {
    storage::tool_approvals::end_of_agent(tx.conn(), workspace, agent).await
}

fn requester(caller: &KeyHolder) -> (WorkspaceId, UserId, Option<AgentId>) {
    match caller {
        KeyHolder::Agent(agent) => (agent.workspace, agent.user, Some(agent.agent.clone())),
        KeyHolder::Person { person, .. } => (person.workspace, person.user, None),
    }
}

/// What waits for a decision that the person may take: for owners and admins everything of the
/// workspace, for others what their own keys asked for. In the order in which they were asked for,
/// so that nothing takes the place of what somebody looks at; at most `limit` behind `after`, and
/// [as many bytes](PAGE_BYTES_MAX) as one answer has. Also where the next page begins, if more waits.
pub async fn waiting(
    tx: &mut Tx,
    person: &Person,
    after: Option<Cursor<ApprovalId>>,
    limit: u64,
) -> Result<(Vec<Waiting>, Option<Cursor<ApprovalId>>), StorageError> {
    let (now, limit) = (tx.now(), i64::try_from(limit).unwrap_or(i64::MAX));
    let requester = (!person.role.manages_agents()).then_some(person.user);
    let (waiting, more) =
        storage::tool_approvals::waiting(tx.conn(), person.workspace, requester, after, now, limit, PAGE_BYTES_MAX).await?;
    let next = waiting.last().filter(|_| more).map(ToolApproval::cursor);
    Ok((with_names(tx, person, waiting).await?, next))
}

/// Adds what the person sees of the things that the calls name.
async fn with_names(tx: &mut Tx, person: &Person, approvals: Vec<ToolApproval>) -> Result<Vec<Waiting>, StorageError> {
    let given = approvals.iter().flat_map(|approval| tool_approval::ids_in(&approval.params));
    let (mut ids, mut slugs) = (Vec::new(), Vec::new());
    for (_, text) in given {
        match text.parse::<Uuid>() {
            Ok(id) => ids.push(id),
            Err(_) => slugs.push(text.to_owned()),
        }
    }
    let found = storage::tool_approvals::named(tx.conn(), person.workspace, person.user, &ids, &slugs).await?;
    let by_id: HashMap<Uuid, &NamedRow> = found.iter().map(|row| (row.id, row)).collect();
    let by_slug: HashMap<&str, &NamedRow> = found.iter().filter_map(|row| Some((row.slug_id.as_deref()?, row))).collect();
    let seen = |text: &str| text.parse().map_or_else(|_| by_slug.get(text), |id: Uuid| by_id.get(&id)).copied();
    let named = |approval: &ToolApproval| {
        let rows = tool_approval::ids_in(&approval.params).filter_map(|(argument, text)| Some((argument, seen(text)?)));
        rows.map(|(argument, row)| Named { argument: argument.to_owned(), kind: row.kind, title: row.title.clone() }).collect()
    };
    Ok(approvals.into_iter().map(|approval| Waiting { named: named(&approval), approval }).collect())
}

/// Grants or refuses a call or a permission that waits, or ends a permission that was granted. What a person's own key asked
/// for is granted by somebody else, unless the workspace allows it; anybody may take it back. A call that is approved may be
/// used for [ten minutes](USABLE) at the least.
///
/// Records [`EventKind::ApprovalDecided`]. Errors: `NotFound`, `Over`, `Own`, `Storage`.
pub async fn decide(tx: &mut Tx, person: &Person, id: ApprovalId, approve: bool) -> Result<(), DecisionError> {
    let now = tx.now();
    let found = storage::tool_approvals::lock(tx.conn(), person.workspace, id).await?;
    let is_own = |approval: &ToolApproval| approval.agent.is_none() && approval.requested_by == Some(person.user);
    let approval = found.filter(|approval| person.role.manages_agents() || is_own(approval)).ok_or(DecisionError::NotFound)?;
    let status = approval.status_at(now);
    let is_had = status == ApprovalStatus::Approved && approval.kind == ApprovalKind::Permission;
    if status != ApprovalStatus::Pending && (approve || !is_had) {
        return Err(DecisionError::Over(status.as_str()));
    }
    if approve && is_own(&approval) && !settings::rules(tx.conn(), person.workspace).await?.own_approval {
        return Err(DecisionError::Own);
    }
    if approve {
        let expires_at = approval.grant_lasts().map_or_else(|| approval.expires_at.max(now + USABLE), |lasts| now + lasts);
        storage::tool_approvals::approve(tx.conn(), id, person.user, now, expires_at).await?;
    } else {
        storage::tool_approvals::reject(tx.conn(), id, person.user, now).await?;
    }
    let permission = approval.params.get("permission").and_then(Value::as_str).filter(|_| approval.kind == ApprovalKind::Permission);
    let kind = EventKind::ApprovalDecided {
        approval_id: id,
        permission: permission.map(str::to_owned),
        method: approval.method,
        approved: approve,
        requester: approval.requested_by,
    };
    events::record(tx, Event { workspace: person.workspace, agent: approval.agent, actor: Some(person.user), kind }).await?;
    Ok(())
}

/// Forgets approvals that ended long ago, and what calls that have expired were given; returns how many are gone.
pub async fn prune(tx: &mut Tx) -> Result<u64, StorageError> {
    let now = tx.now();
    storage::tool_approvals::prune(tx.conn(), now).await
}
