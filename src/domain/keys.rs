//! Mints, verifies and revokes API keys.

use crate::{
    model::{
        actor::AgentCaller,
        agent::Agent,
        ids::{AgentId, WorkspaceId},
        key::NewKey,
        policy::Policy,
        secret::Secret,
    },
    storage::{self, Conn, StorageError, Tx},
};

/// Gives an agent its key, makes its account if it has none, and revokes every earlier key: an agent
/// has one. The row of the agent must exist; the caller saves it with the key's id.
pub(super) async fn mint(tx: &mut Tx, policy: &Policy, agent: &mut Agent) -> Result<Secret, StorageError> {
    let now = tx.now();
    let user = storage::users::of_agent(tx.conn(), agent).await?;
    storage::keys::revoke_of_agent(tx.conn(), agent.workspace, &agent.id, now).await?;
    let key = NewKey::for_agent(agent.workspace, agent.id.clone(), &agent.profile.name, user, &policy.agent_key_prefix);
    storage::keys::insert(tx.conn(), &key, now).await?;
    agent.api_key_id = Some(key.id);
    Ok(key.secret)
}

/// Revokes all keys of an agent; the very next call with one is refused. Returns how many.
pub(super) async fn revoke_all(tx: &mut Tx, workspace: WorkspaceId, agent: &AgentId) -> Result<u64, StorageError> {
    let now = tx.now();
    storage::keys::revoke_of_agent(tx.conn(), workspace, agent, now).await
}

/// The agent that a key belongs to, if the key is good and the agent approved. A text that cannot
/// be one of our keys costs no query; the time of use is written at most once a minute.
pub async fn verify(conn: &mut Conn, policy: &Policy, key: &Secret) -> Result<Option<AgentCaller>, StorageError> {
    if !key.is_plausible_key(&policy.agent_key_prefix) {
        return Ok(None);
    }
    let Some(verified) = storage::keys::verify(conn, &key.hash()).await? else { return Ok(None) };
    if verified.use_is_stale {
        storage::keys::touch(conn, &verified.caller.key_id).await?;
    }
    Ok(Some(verified.caller))
}
