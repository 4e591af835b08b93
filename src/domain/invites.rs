//! Creates and revokes invites; registers an agent by redeeming one.

use chrono::{DateTime, Utc};

use super::{
    agents,
    approvals::{self, ApprovalError, Approved},
    events,
};
use crate::{
    model::{
        actor::{Admin, Approver},
        agent::{Agent, AgentStatus, Profile},
        event::{Event, EventKind},
        ids::{AgentId, InviteId},
        invite::{Invite, InviteOrder, InviteView},
        policy::Policy,
        secret::Secret,
    },
    storage::{self, StorageError, Tx},
};

/// Invites listed at the most.
const LISTED_MAX: i64 = 500;

/// Why an invite could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    #[error("invite not found")]
    NotFound,
    #[error("expiresAt must be in the future")]
    ExpiryPast,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes an invite. Records [`EventKind::InviteCreated`], without the token.
///
/// Errors: `ExpiryPast`, `Storage`.
pub async fn create(tx: &mut Tx, policy: &Policy, admin: &Admin, order: InviteOrder) -> Result<InviteView, InviteError> {
    let now = tx.now();
    if order.expires_at.is_some_and(|at| at <= now) {
        return Err(InviteError::ExpiryPast);
    }
    let id = InviteId::generate();
    let token = Secret::invite_token();
    let invite = Invite {
        id,
        workspace: admin.workspace(),
        name: order.name,
        description: order.description,
        token_sealed: Some(policy.sealer.seal(&Invite::seal_place(id), &token)),
        token_prefix: token.shown_prefix(),
        permissions: order.permissions,
        uses_remaining: order.uses,
        uses_count: 0,
        expires_at: order.expires_at,
        revoked_at: None,
        created_by: Some(admin.user()),
        created_at: now,
        updated_at: now,
    };
    storage::invites::insert(tx.conn(), &invite, &token.hash()).await?;
    let kind = EventKind::InviteCreated { invite_id: id, invite_name: invite.name.clone(), permissions: invite.permissions.to_strings() };
    events::record(tx, Event { workspace: invite.workspace, agent: None, actor: Some(admin.user()), kind }).await?;
    Ok(InviteView { invite, token: Some(token) })
}

/// The workspace's invites, newest first. Tokens are shown of those that can still admit somebody.
pub async fn list(tx: &mut Tx, policy: &Policy, admin: &Admin) -> Result<Vec<InviteView>, StorageError> {
    let now = tx.now();
    let invites = storage::invites::list(tx.conn(), admin.workspace(), LISTED_MAX).await?;
    Ok(invites.into_iter().map(|invite| view(policy, invite, now)).collect())
}

/// Those of [`list`] that can still admit somebody.
pub async fn list_active(tx: &mut Tx, policy: &Policy, admin: &Admin) -> Result<Vec<InviteView>, StorageError> {
    let now = tx.now();
    let all = list(tx, policy, admin).await?;
    Ok(all.into_iter().filter(|view| view.invite.is_active(now)).collect())
}

/// Errors: `NotFound` (also in another workspace), `Storage`.
pub async fn get(tx: &mut Tx, policy: &Policy, admin: &Admin, id: InviteId) -> Result<InviteView, InviteError> {
    let now = tx.now();
    let invite = storage::invites::get(tx.conn(), admin.workspace(), id).await?.ok_or(InviteError::NotFound)?;
    Ok(view(policy, invite, now))
}

/// An invite with its token, if it can still admit somebody.
fn view(policy: &Policy, invite: Invite, now: DateTime<Utc>) -> InviteView {
    let shown = invite.token_sealed.as_ref().filter(|_| invite.is_active(now));
    let token = shown.and_then(|sealed| match policy.sealer.open(&Invite::seal_place(invite.id), sealed) {
        Ok(token) => Some(token),
        Err(error) => {
            tracing::warn!(invite.id = %invite.id, %error, "invite token cannot be shown");
            None
        }
    });
    InviteView { invite, token }
}

/// Ends an invite and takes it out of every list. Its row stays, for the records that name it.
///
/// Records [`EventKind::InviteDeleted`]. Errors: `NotFound`, `Storage`.
pub async fn delete(tx: &mut Tx, admin: &Admin, id: InviteId) -> Result<(), InviteError> {
    let now = tx.now();
    let deleted = storage::invites::delete(tx.conn(), admin.workspace(), id, admin.user(), now).await?;
    let invite_name = deleted.ok_or(InviteError::NotFound)?;
    let kind = EventKind::InviteDeleted { invite_id: id, invite_name };
    events::record(tx, Event::within(admin.workspace(), Some(admin.user()), kind)).await?;
    Ok(())
}

/// Ends an invite; agents that came in by it stay. Ending it again changes nothing.
///
/// Records [`EventKind::InviteRevoked`] the first time. Errors: `NotFound`, `Storage`.
pub async fn revoke(tx: &mut Tx, admin: &Admin, id: InviteId) -> Result<InviteView, InviteError> {
    let now = tx.now();
    let revoked = storage::invites::revoke(tx.conn(), admin.workspace(), id, admin.user(), now).await?;
    let (invite, changed) = revoked.ok_or(InviteError::NotFound)?;
    if changed {
        let kind = EventKind::InviteRevoked { invite_id: id, invite_name: invite.name.clone() };
        events::record(tx, Event { workspace: invite.workspace, agent: None, actor: Some(admin.user()), kind }).await?;
    }
    Ok(InviteView { invite, token: None })
}

/// Why a registration was refused.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Unknown, revoked, expired or used up: one to the caller.
    #[error("the invite is not valid")]
    InviteRefused,
    /// An admin has revoked the agent; an invite does not bring it back (D-26).
    #[error("the agent's access was revoked")]
    Revoked,
    /// The id is in use: approved, pending for another requester, or different in case only.
    #[error("agent id is taken")]
    Taken,
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Lets an agent in by an invite: takes one use, makes or finds the agent, approves it with the
/// invite's permissions and mints its key. All of it or nothing: a failure gives the use back.
///
/// A pending or denied id may be registered by whoever holds its claim secret.
/// Records [`EventKind::AccessApproved`]. Source: REST contract §4.4, D-26, D-27.
pub async fn register(
    tx: &mut Tx,
    policy: &Policy,
    token: &Secret,
    id: AgentId,
    profile: Profile,
    claim_secret: Option<&Secret>,
) -> Result<Approved, RegisterError> {
    let now = tx.now();
    let invite = storage::invites::redeem(tx.conn(), &token.hash(), now).await?.ok_or(RegisterError::InviteRefused)?;
    let rules = storage::workspaces::lock(tx.conn(), invite.workspace).await?.ok_or(RegisterError::InviteRefused)?;
    if !rules.agents_enabled {
        return Err(ApprovalError::SwitchedOff.into());
    }
    // One that asks for nothing in particular asks for what the invite gives.
    let requested = if profile.requested.is_empty() { invite.permissions.clone() } else { profile.requested };
    let profile = Profile { requested, ..profile };
    let agent = match storage::agents::lock(tx.conn(), invite.workspace, &id).await? {
        None => {
            let agent = Agent::requested(invite.workspace, id, profile, now);
            // The workspace is locked, so nobody can have inserted it since we looked.
            storage::agents::insert(tx.conn(), &agent).await?;
            agent
        }
        Some(agent) if agent.id != id => return Err(RegisterError::Taken),
        Some(agent) => match agent.state.status() {
            AgentStatus::Revoked => return Err(RegisterError::Revoked),
            AgentStatus::Approved => return Err(RegisterError::Taken),
            AgentStatus::Pending | AgentStatus::Denied => {
                if !claim_secret.is_some_and(|secret| agents::is_claim_secret(&agent, secret)) {
                    return Err(RegisterError::Taken);
                }
                Agent { profile, ..agent }
            }
        },
    };
    let by = Approver::Invite { id: invite.id, name: invite.name };
    Ok(approvals::admit(tx, policy, &rules, &by, agent, invite.permissions).await?)
}
