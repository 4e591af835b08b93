//! On whose behalf the knowledge base is read and written: an account that belongs to spaces.

use super::{
    actor::{AgentCaller, KeyHolder},
    event::{Event, EventKind},
    ids::{AgentId, UserId, WorkspaceId},
    permission::PermissionSet,
};

/// The account that a key speaks for. What it may see is decided in SQL by its workspace, its spaces and,
/// for an agent, by what is kept from agents (D-40).
#[derive(Clone, Debug)]
pub struct Account {
    pub workspace: WorkspaceId,
    pub user: UserId,
    pub agent: Option<AgentId>,
    permissions: PermissionSet,
}

impl Account {
    /// Whether what is kept from agents is kept from this account.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// Whether a permission was granted. People's keys are limited by their roles alone.
    #[must_use]
    pub fn may(&self, permission: &str) -> bool {
        !self.is_agent() || self.permissions.contains(permission)
    }

    /// An event of what this account did.
    #[must_use]
    pub fn did(&self, kind: EventKind) -> Event {
        Event { workspace: self.workspace, agent: self.agent.clone(), actor: Some(self.user), kind }
    }
}

impl From<&KeyHolder> for Account {
    fn from(holder: &KeyHolder) -> Self {
        match holder {
            KeyHolder::Agent(AgentCaller { workspace, agent, user, permissions, .. }) => {
                Self { workspace: *workspace, user: *user, agent: Some(agent.clone()), permissions: permissions.clone() }
            }
            KeyHolder::Person { person, .. } => {
                Self { workspace: person.workspace, user: person.user, agent: None, permissions: PermissionSet::default() }
            }
        }
    }
}

/// Somebody whom content names: who wrote it, who is to do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    pub id: UserId,
    pub name: Option<String>,
    pub avatar_url: Option<String>,
}

impl Author {
    /// The account of a column that may be empty, with what was joined to it.
    #[must_use]
    pub fn joined(id: Option<uuid::Uuid>, name: Option<String>, avatar_url: Option<String>) -> Option<Self> {
        id.map(|id| Self { id: UserId(id), name, avatar_url })
    }
}
