//! API keys as the database keeps them.

use super::{
    ids::{AgentId, UserId, WorkspaceId},
    secret::Secret,
};

/// A key about to be stored: its plain text stays with whoever minted it.
#[derive(Clone)]
pub struct NewKey {
    pub id: String,
    pub workspace: WorkspaceId,
    pub user: UserId,
    pub agent: AgentId,
    pub name: String,
    pub secret: Secret,
}

impl NewKey {
    /// Mints a key for an agent. Key ids are random UUIDs, as the original's are.
    #[must_use]
    pub fn for_agent(workspace: WorkspaceId, agent: AgentId, agent_name: &str, user: UserId, prefix: &str) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            workspace,
            user,
            agent,
            name: format!("Agent: {agent_name}"),
            secret: Secret::api_key(prefix),
        }
    }
}
