//! Decisions about agents: approve, deny, revoke, and what each may do.

use super::{
    agents, assignments, events, keys,
    notifications::{self, News},
    runs, settings, terminals, tool_approvals,
};
use crate::{
    model::{
        actor::{Admin, Approver},
        agent::{Agent, IllegalTransition},
        event::{AgentBrief, Event, EventKind, Via},
        ids::{AgentId, WorkspaceId},
        permission::PermissionSet,
        policy::Policy,
        run::Run,
        secret::Secret,
        settings::WorkspaceRules,
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
    /// More was granted than the agent asked for, and the admin did not say that this is meant.
    #[error("the agent did not ask for: {}", .0.join(", "))]
    Exceeds(Vec<String>),
    #[error("the workspace has reached its limit of {limit} agents")]
    LimitReached { limit: u32 },
    #[error("agents are switched off in this workspace")]
    SwitchedOff,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An agent that was let in, with its key: the only time the key is in plain text.
pub struct Approved {
    pub agent: Agent,
    pub key: Secret,
}

/// What an admin grants with an approval.
#[derive(Clone, Debug)]
pub struct Grant {
    pub permissions: PermissionSet,
    /// Whether the admin means to grant what the agent did not ask for, if so.
    pub beyond_request: bool,
    /// The version of the request that the admin saw.
    pub reviewed: Option<i32>,
}

/// Approves an agent and mints its API key. The request must still be the version that the admin saw,
/// if that is known. A requester that holds a claim secret may collect the key too, once.
///
/// Records [`EventKind::AccessApproved`]. Source: REST contract §4.3, D-06, D-22, D-42.
/// Errors: `NotFound` (also in another workspace), `Illegal`, `Changed`, `Exceeds`, `LimitReached`, `Storage`.
pub async fn approve(tx: &mut Tx, policy: &Policy, admin: &Admin, id: &AgentId, grant: Grant) -> Result<Approved, ApprovalError> {
    let rules = storage::workspaces::lock(tx.conn(), admin.workspace()).await?.ok_or(ApprovalError::NotFound)?;
    if !rules.agents_enabled {
        return Err(ApprovalError::SwitchedOff);
    }
    let agent = lock(tx, admin.workspace(), id).await?;
    if grant.reviewed.is_some_and(|version| version != agent.request_version) {
        return Err(ApprovalError::Changed { current: agent.request_version });
    }
    let unasked = grant.permissions.without(&agent.profile.requested);
    if !grant.beyond_request && !unasked.is_empty() {
        return Err(ApprovalError::Exceeds(unasked.to_strings()));
    }
    let mut approved = admit(tx, policy, &rules, &Approver::Admin(admin.user()), agent, grant.permissions).await?;
    if approved.agent.claim_secret_hash.is_some() {
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
    rules: &WorkspaceRules,
    by: &Approver,
    agent: Agent,
    granted: PermissionSet,
) -> Result<Approved, ApprovalError> {
    let limit = rules.agents_max(policy.agents_per_workspace_max);
    if storage::agents::count_acting(tx.conn(), agent.workspace).await? >= i64::from(limit) {
        return Err(ApprovalError::LimitReached { limit });
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
    let kind = EventKind::AccessApproved { agent: AgentBrief::of(&agent), granted_permissions: granted.to_strings(), via };
    let event = events::record(tx, Event::about(&agent, by.user(), kind)).await?;
    // The control plane did not ask for an agent that we spawn; its key belongs to its process alone.
    if !matches!(by, Approver::Spawn(_)) {
        notifications::queue(tx, policy, rules, &agent, event, News::Approved { granted: granted.to_strings(), key: &key }).await?;
    }
    Ok(Approved { agent, key })
}

/// Replaces what an approved agent may do, with effect on its next call.
///
/// Records [`EventKind::PermissionsUpdated`], if they are others. Errors: `NotFound`, `Illegal`, `Storage`.
pub async fn set_permissions(tx: &mut Tx, admin: &Admin, id: &AgentId, granted: PermissionSet) -> Result<Agent, ApprovalError> {
    let now = tx.now();
    let agent = lock(tx, admin.workspace(), id).await?;
    let old = agent.granted();
    let agent = agent.set_permissions(granted.clone(), now)?;
    storage::tool_approvals::end_grants(tx.conn(), agent.workspace, &agent.id).await?;
    if old != granted {
        storage::agents::save(tx.conn(), &agent).await?;
        let kind = EventKind::PermissionsUpdated {
            agent: AgentBrief::of(&agent),
            old_permissions: old.to_strings(),
            new_permissions: granted.to_strings(),
        };
        events::record(tx, Event::about(&agent, Some(admin.user()), kind)).await?;
    }
    Ok(agent)
}

/// Refuses a pending agent, with the reason that it will be told.
///
/// Records [`EventKind::AccessDenied`]. Errors: `NotFound`, `Illegal`, `Storage`.
pub async fn deny(tx: &mut Tx, policy: &Policy, admin: &Admin, id: &AgentId, reason: String) -> Result<Agent, ApprovalError> {
    let now = tx.now();
    let agent = lock(tx, admin.workspace(), id).await?.deny(reason.clone(), admin.user(), now)?;
    storage::agents::save(tx.conn(), &agent).await?;
    let kind = EventKind::AccessDenied { agent: AgentBrief::of(&agent), reason: reason.clone() };
    let event = events::record(tx, Event::about(&agent, Some(admin.user()), kind)).await?;
    let rules = settings::rules(tx.conn(), agent.workspace).await?;
    notifications::queue(tx, policy, &rules, &agent, event, News::Denied { reason: &reason }).await?;
    Ok(agent)
}

/// What a revocation ended in the database.
pub struct Revocation {
    pub keys: u64,
    pub sessions: u64,
    pub assignments: u64,
    /// The process that is to end now, if one is alive.
    pub run: Option<Run>,
}

/// Ends an agent's access everywhere: its keys, terminals, assignments and process (D-07, D-62).
/// The process itself ends shortly after the commit, and is pursued until the runtime confirms it;
/// connections are closed upon what the database tells every node.
///
/// Records [`EventKind::AccessRevoked`] and what it brings along. Errors: `NotFound`, `Illegal`, `Storage`.
pub async fn revoke(tx: &mut Tx, policy: &Policy, admin: &Admin, id: &AgentId, reason: String) -> Result<Revocation, ApprovalError> {
    let now = tx.now();
    let workspace = admin.workspace();
    // Runs are locked before agents, as everywhere.
    let run = runs::request_stop(tx, workspace, id, Some(admin.user()), "access revoked").await?;
    let agent = lock(tx, workspace, id).await?.revoke(reason.clone(), admin.user(), now)?;
    storage::agents::save(tx.conn(), &agent).await?;
    tool_approvals::end_all(tx, workspace, id).await?;
    let kind = EventKind::AccessRevoked { agent: AgentBrief::of(&agent), reason: reason.clone() };
    let event = events::record(tx, Event::about(&agent, Some(admin.user()), kind)).await?;
    let revocation = Revocation {
        keys: keys::revoke_all(tx, workspace, id).await?,
        sessions: u64::from(terminals::cut_of_agent(tx, workspace, id).await?),
        assignments: assignments::end_all(tx, workspace, id).await?,
        run,
    };
    let rules = settings::rules(tx.conn(), workspace).await?;
    notifications::queue(tx, policy, &rules, &agent, event, News::Revoked { reason: &reason }).await?;
    Ok(revocation)
}

async fn lock(tx: &mut Tx, workspace: WorkspaceId, id: &AgentId) -> Result<Agent, ApprovalError> {
    let agent = storage::agents::lock(tx.conn(), workspace, id).await?;
    agent.filter(|agent| agent.id == *id).ok_or(ApprovalError::NotFound)
}
