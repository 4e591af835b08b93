//! Decisions about agents: approve, deny, revoke.

use super::{agents, assignments, events, keys, runs, terminals};
use crate::{
    model::{
        actor::{Admin, Approver},
        agent::{Agent, IllegalTransition},
        event::{Event, EventKind, Via},
        ids::{AgentId, WorkspaceId},
        permission::PermissionSet,
        policy::Policy,
        secret::Secret,
    },
    storage::{self, StorageError, Tx},
};

/// Why a decision could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    #[error("agent not found")]
    NotFound,
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The agent asked again after the admin had looked (D-06).
    #[error("the request changed since it was reviewed: now version {current}")]
    Changed { current: i32 },
    #[error("the workspace has reached its limit of {limit} agents")]
    LimitReached { limit: u32 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An agent that was let in, with its key: the only time the key is in plain text.
pub struct Approved {
    pub agent: Agent,
    pub key: Secret,
}

/// Approves an agent and mints its API key. With `reviewed` the request must still be the version
/// that the admin saw. A requester that holds a claim secret may collect the key too, once.
///
/// Records [`EventKind::AccessApproved`]. Source: REST contract §4.3, D-06, D-22, D-42.
/// Errors: `NotFound` (also in another workspace), `Illegal`, `Changed`, `LimitReached`, `Storage`.
pub async fn approve(
    tx: &mut Tx,
    policy: &Policy,
    admin: &Admin,
    id: &AgentId,
    granted: PermissionSet,
    reviewed: Option<i32>,
) -> Result<Approved, ApprovalError> {
    storage::workspaces::lock(tx.conn(), admin.workspace()).await?;
    let agent = lock(tx, admin.workspace(), id).await?;
    if reviewed.is_some_and(|version| version != agent.request_version) {
        return Err(ApprovalError::Changed { current: agent.request_version });
    }
    let claimable = agent.claim_secret_hash.is_some();
    let mut approved = admit(tx, policy, &Approver::Admin(admin.user()), agent, granted).await?;
    if claimable {
        let place = agents::seal_place(&approved.agent);
        approved.agent.unclaimed_key = Some(policy.sealer.seal(&place, &approved.key));
        storage::agents::save(tx.conn(), &approved.agent).await?;
    }
    Ok(approved)
}

/// Lets an agent in, whoever decided it: within the workspace's limit, with one new key.
/// The agent's row exists and the workspace is locked by this transaction.
pub(super) async fn admit(
    tx: &mut Tx,
    policy: &Policy,
    by: &Approver,
    agent: Agent,
    granted: PermissionSet,
) -> Result<Approved, ApprovalError> {
    let acting = storage::agents::count_acting(tx.conn(), agent.workspace).await?;
    if acting >= i64::from(policy.agents_per_workspace_max) {
        return Err(ApprovalError::LimitReached { limit: policy.agents_per_workspace_max });
    }
    let now = tx.now();
    let mut agent = agent.approve(granted.clone(), by, now)?;
    agent.unclaimed_key = None;
    let key = keys::mint(tx, policy, &mut agent).await?;
    storage::agents::save(tx.conn(), &agent).await?;
    let via = match by {
        Approver::Admin(_) => None,
        Approver::Invite { id, name } => Some(Via::Invite { invite_id: *id, invite_name: name.clone() }),
        Approver::Spawn(_) => Some(Via::Spawn),
    };
    let kind = EventKind::AccessApproved { agent: agents::brief(&agent), granted_permissions: granted.to_strings(), via };
    events::record(tx, Event { workspace: agent.workspace, agent: Some(agent.id.clone()), actor: by.user(), kind }).await?;
    Ok(Approved { agent, key })
}

/// Refuses a pending agent, with the reason that it will be told.
///
/// Records [`EventKind::AccessDenied`]. Errors: `NotFound`, `Illegal`, `Storage`.
pub async fn deny(tx: &mut Tx, admin: &Admin, id: &AgentId, reason: String) -> Result<Agent, ApprovalError> {
    let now = tx.now();
    let agent = lock(tx, admin.workspace(), id).await?.deny(reason.clone(), admin.user(), now)?;
    storage::agents::save(tx.conn(), &agent).await?;
    let kind = EventKind::AccessDenied { agent: agents::brief(&agent), reason };
    events::record(tx, Event { workspace: agent.workspace, agent: Some(agent.id.clone()), actor: Some(admin.user()), kind }).await?;
    Ok(agent)
}

/// What a revocation ended.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    pub keys: u64,
    pub sessions: u64,
    pub assignments: u64,
    pub runs: u64,
}

/// Ends an agent's access everywhere: its keys, terminals, assignments and process (D-07, D-62).
/// The process itself ends shortly after the commit, and is pursued until the runtime confirms it.
///
/// Records [`EventKind::AccessRevoked`] and what it brings along. Errors: `NotFound`, `Illegal`, `Storage`.
pub async fn revoke(tx: &mut Tx, admin: &Admin, id: &AgentId, reason: String) -> Result<Receipt, ApprovalError> {
    let now = tx.now();
    let workspace = admin.workspace();
    // Runs are locked before agents, as everywhere.
    let run = runs::request_stop(tx, workspace, id, Some(admin.user()), "access revoked").await?;
    let agent = lock(tx, workspace, id).await?.revoke(reason.clone(), admin.user(), now)?;
    storage::agents::save(tx.conn(), &agent).await?;
    let receipt = Receipt {
        keys: keys::revoke_all(tx, workspace, id).await?,
        sessions: u64::from(terminals::cut_of_agent(tx, workspace, id).await?),
        assignments: assignments::end_all(tx, workspace, id).await?,
        runs: u64::from(run.is_some()),
    };
    let kind = EventKind::AccessRevoked { agent: agents::brief(&agent), reason };
    events::record(tx, Event { workspace, agent: Some(agent.id.clone()), actor: Some(admin.user()), kind }).await?;
    Ok(receipt)
}

async fn lock(tx: &mut Tx, workspace: WorkspaceId, id: &AgentId) -> Result<Agent, ApprovalError> {
    let agent = storage::agents::lock(tx.conn(), workspace, id).await?;
    agent.filter(|agent| agent.id == *id).ok_or(ApprovalError::NotFound)
}
