//! Access requests, claims and listings of agents.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::{events, terminals};
use crate::{
    model::{
        actor::{AgentCaller, Person},
        agent::{Agent, AgentState, AgentStatus, AgentView, IllegalTransition, Profile},
        event::{AgentBrief, Event, EventKind},
        ids::{AgentId, WorkspaceId},
        policy::{PENDING_AGENTS_MAX, Policy},
        run::Run,
        secret::Secret,
        shown,
        terminal_rights::Readable,
    },
    storage::{self, Conn, StorageError, Tx},
};

pub use crate::storage::agents::AgentFilter;

/// Why an access request or a claim was refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("workspace not known")]
    WorkspaceNotFound,
    /// The caller brought no secret, and the workspace takes requests from nobody without one.
    #[error("access requests need the webhook secret here")]
    NotPublic,
    /// The id belongs to another requester, or to an agent whose access was revoked.
    #[error("agent id is not yours to use")]
    Forbidden,
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error("too many access requests wait for a decision: at most {limit}")]
    TooManyPending { limit: u32 },
    #[error("agents are switched off in this workspace")]
    SwitchedOff,
    #[error("the claim secret is wrong")]
    WrongSecret,
    #[error(transparent)]
    Seal(#[from] crate::model::seal::CannotOpen),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Who asks for access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// Somebody with the webhook secret.
    Trusted,
    /// Anybody; the workspace must allow it.
    Public,
}

/// A request that was taken.
pub struct Requested {
    pub agent: Agent,
    /// With it the requester collects the key; handed out when the request is new.
    pub claim_secret: Option<Secret>,
}

/// Asks for access under `id`. A denied agent may ask again, and so may a pending one: by the secret
/// that it was given, or by the webhook secret, which then gives it a new one.
///
/// Records [`EventKind::AccessRequested`].
/// Errors: `WorkspaceNotFound`, `NotPublic`, `Forbidden` (revoked, or another's id), `Illegal` (approved),
/// `TooManyPending`, `Storage`.
pub async fn request_access(
    tx: &mut Tx,
    workspace: WorkspaceId,
    requester: Requester,
    id: AgentId,
    profile: Profile,
    justification: Option<String>,
    claim_secret: Option<&Secret>,
) -> Result<Requested, RequestError> {
    let rules = storage::workspaces::lock(tx.conn(), workspace).await?;
    if requester == Requester::Public && !rules.as_ref().is_some_and(|rules| rules.public_registration) {
        // Also for an unknown workspace: without a secret nobody learns which there are.
        return Err(RequestError::NotPublic);
    }
    let rules = rules.ok_or(RequestError::WorkspaceNotFound)?;
    if !rules.agents_enabled {
        return Err(RequestError::SwitchedOff);
    }
    let now = tx.now();
    let existing = storage::agents::lock(tx.conn(), workspace, &id).await?;
    if !existing.as_ref().is_some_and(|agent| agent.state == AgentState::Pending) {
        let pending = storage::agents::count_pending(tx.conn(), workspace).await?;
        if pending >= i64::from(PENDING_AGENTS_MAX) {
            return Err(RequestError::TooManyPending { limit: PENDING_AGENTS_MAX });
        }
    }
    let (mut agent, keeps_secret) = match existing {
        None => (Agent::requested(workspace, id, profile, now), false),
        Some(agent) => {
            let knows_secret = claim_secret.is_some_and(|secret| is_claim_secret(&agent, secret));
            let same_id = agent.id == id;
            let revoked = agent.state.status() == AgentStatus::Revoked;
            if revoked || !same_id || (requester == Requester::Public && !knows_secret) {
                return Err(RequestError::Forbidden);
            }
            (agent.request_again(profile, now)?, knows_secret)
        }
    };
    let new_secret = (!keeps_secret).then(Secret::claim_secret);
    if let Some(secret) = &new_secret {
        agent.claim_secret_hash = Some(secret.hash());
    }
    if agent.request_version == 1 {
        // The workspace is locked, so nobody can have inserted it since we looked.
        storage::agents::insert(tx.conn(), &agent).await?;
    } else {
        storage::agents::save(tx.conn(), &agent).await?;
    }
    let kind = EventKind::AccessRequested {
        agent: AgentBrief::of(&agent),
        capabilities: agent.profile.capabilities.clone(),
        requested_permissions: agent.profile.requested.to_strings(),
        justification,
    };
    events::record(tx, Event { workspace, agent: Some(agent.id.clone()), actor: None, kind }).await?;
    Ok(Requested { agent, claim_secret: new_secret })
}

/// What a claim gives.
pub struct Claimed {
    pub agent: Agent,
    /// The key, the first time after approval.
    pub key: Option<Secret>,
}

/// Tells a requester how its request stands and hands over the key, once (D-22).
///
/// Records [`EventKind::KeyClaimed`] with the key.
/// Errors: `WrongSecret`, also for an agent or workspace that is not there.
pub async fn claim(tx: &mut Tx, policy: &Policy, workspace: WorkspaceId, id: &AgentId, secret: &Secret) -> Result<Claimed, RequestError> {
    let agent = storage::agents::lock(tx.conn(), workspace, id).await?;
    let mut agent = agent.filter(|agent| agent.id == *id && is_claim_secret(agent, secret)).ok_or(RequestError::WrongSecret)?;
    let Some(sealed) = agent.unclaimed_key.take() else { return Ok(Claimed { agent, key: None }) };
    let key = policy.sealer.open(&seal_place(&agent), &sealed)?;
    agent.updated_at = tx.now();
    storage::agents::save(tx.conn(), &agent).await?;
    events::record(tx, Event { workspace, agent: Some(agent.id.clone()), actor: None, kind: EventKind::KeyClaimed }).await?;
    Ok(Claimed { agent, key: Some(key) })
}

/// What an agent says of itself.
pub struct OwnStatus {
    pub status: String,
    pub current_task: Option<String>,
    pub message: Option<String>,
    pub reason: Option<String>,
}

/// Keeps how the agent that calls says that it stands, and why, beside its other metadata. `None` when it is gone.
///
/// Records [`EventKind::StatusChanged`] when the status or the task is another than before, or the reason that is given for it.
pub async fn set_status(tx: &mut Tx, by: &AgentCaller, own: OwnStatus) -> Result<Option<Agent>, StorageError> {
    let found = storage::agents::lock(tx.conn(), by.workspace, &by.agent).await?;
    let Some(mut agent) = found.filter(|agent| agent.state.status() == AgentStatus::Approved) else { return Ok(None) };
    let now = tx.now();
    let mut metadata = agent.profile.metadata.as_object().cloned().unwrap_or_default();
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).map(str::to_owned);
    let (previous, task_before) = (text("workingStatus"), text("currentTask"));
    let told_before = text("statusReason").or_else(|| text("statusMessage"));
    for (name, value) in [("currentTask", &own.current_task), ("statusMessage", &own.message), ("statusReason", &own.reason)] {
        match value {
            Some(text) => drop(metadata.insert(name.to_owned(), json!(text))),
            None => drop(metadata.remove(name)),
        }
    }
    metadata.insert("workingStatus".to_owned(), json!(own.status));
    metadata.insert("lastStatusUpdate".to_owned(), json!(now.to_rfc3339_opts(SecondsFormat::Millis, true)));
    agent.profile.metadata = Value::Object(metadata);
    agent.updated_at = now;
    storage::agents::save(tx.conn(), &agent).await?;
    let reason = own.reason.or(own.message);
    let is_other = previous.as_deref() != Some(own.status.as_str()) || own.current_task != task_before;
    if is_other || reason.is_some() && reason != told_before {
        let kind = EventKind::StatusChanged { agent: AgentBrief::of(&agent), previous_status: previous, new_status: own.status, reason };
        events::record(tx, Event::about(&agent, Some(by.user), kind)).await?;
    }
    Ok(Some(agent))
}

/// Whether `secret` is the one that this agent's requester was given.
pub(super) fn is_claim_secret(agent: &Agent, secret: &Secret) -> bool {
    agent.claim_secret_hash.as_ref().is_some_and(|hash| hash.as_bytes().ct_eq(secret.hash().as_bytes()).into())
}

/// Where an agent's unclaimed key is sealed for.
pub(super) fn seal_place(agent: &Agent) -> String {
    format!("parallax_agents/{}/{}", agent.workspace, agent.id)
}

/// Agents of the person's workspace, newest first (by name when looked for by capability), as [`get`] has each.
pub async fn list(conn: &mut Conn, person: &Person, filter: &AgentFilter) -> Result<Vec<AgentView>, StorageError> {
    let agents = storage::agents::list(conn, person.workspace, filter).await?;
    with_runs(conn, person, agents).await
}

/// An agent with its newest run, which is without what its terminal shows where the person may not watch that.
pub async fn get(conn: &mut Conn, person: &Person, id: &AgentId) -> Result<Option<AgentView>, StorageError> {
    let Some(agent) = storage::agents::get(conn, person.workspace, id).await? else { return Ok(None) };
    Ok(with_runs(conn, person, vec![agent]).await?.pop())
}

/// Approved agents by themselves, newest first; by name, those with one of the capabilities, if any are given.
pub async fn approved(conn: &mut Conn, workspace: WorkspaceId, capabilities: Vec<String>) -> Result<Vec<Agent>, StorageError> {
    storage::agents::list(conn, workspace, &AgentFilter { status: Some(AgentStatus::Approved), capabilities }).await
}

/// An agent by itself.
pub async fn find(conn: &mut Conn, workspace: WorkspaceId, id: &AgentId) -> Result<Option<Agent>, StorageError> {
    storage::agents::get(conn, workspace, id).await
}

/// The agent that calls, with what it was granted for a while among its permissions.
pub async fn calling(conn: &mut Conn, caller: &AgentCaller, now: DateTime<Utc>) -> Result<Option<Agent>, StorageError> {
    storage::agents::get_caller(conn, caller, now).await
}

async fn with_runs(conn: &mut Conn, person: &Person, agents: Vec<Agent>) -> Result<Vec<AgentView>, StorageError> {
    let ids: Vec<AgentId> = agents.iter().map(|agent| agent.id.clone()).collect();
    let found = storage::runs::latest_of(conn, person.workspace, &ids).await?;
    let readable = if found.is_empty() { Readable::None } else { terminals::readable(conn, person).await? };
    let shown = |run: Run| if readable.includes(run.requested_by) { run } else { shown::run_without(run) };
    let mut runs: HashMap<AgentId, Run> = found.into_iter().map(|run| (run.agent.clone(), shown(run))).collect();
    Ok(agents.into_iter().map(|agent| AgentView { run: runs.remove(&agent.id), agent }).collect())
}
