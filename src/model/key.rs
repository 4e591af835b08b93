//! API keys as the database keeps them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ids::{AgentId, UserId, WorkspaceId},
    secret::{Secret, USER_KEY_PREFIX},
};

/// For whom a key speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// A person, with the person's rights.
    User,
    /// An agent, with what it was granted.
    Agent,
    /// One execution of a coding swarm.
    Swarm,
}

impl KeyKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Agent => "agent",
            Self::Swarm => "swarm",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::User, Self::Agent, Self::Swarm].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A key about to be stored: its plain text stays with whoever minted it.
#[derive(Clone)]
pub struct NewKey {
    /// A random UUID, as the original's key ids are.
    pub id: String,
    pub workspace: WorkspaceId,
    pub user: UserId,
    /// `None` for a person's key.
    pub agent: Option<AgentId>,
    pub name: String,
    pub secret: Secret,
    pub expires_at: Option<DateTime<Utc>>,
}

impl NewKey {
    /// Mints a key for an agent, whose account is `user`.
    #[must_use]
    pub fn for_agent(workspace: WorkspaceId, agent: AgentId, agent_name: &str, user: UserId, prefix: &str) -> Self {
        let name = format!("Agent: {agent_name}");
        Self { id: new_id(), workspace, user, agent: Some(agent), name, secret: Secret::api_key(prefix), expires_at: None }
    }

    /// Mints a key for a person.
    #[must_use]
    pub fn for_person(workspace: WorkspaceId, user: UserId, name: String, expires_at: Option<DateTime<Utc>>) -> Self {
        Self { id: new_id(), workspace, user, agent: None, name, secret: Secret::api_key(USER_KEY_PREFIX), expires_at }
    }

    #[must_use]
    pub fn kind(&self) -> KeyKind {
        if self.agent.is_some() { KeyKind::Agent } else { KeyKind::User }
    }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A key as lists show it.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: String,
    pub workspace: WorkspaceId,
    pub user: UserId,
    pub agent: Option<AgentId>,
    pub kind: KeyKind,
    pub name: String,
    pub prefix: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// Whether the key is good, as far as it alone decides.
    #[must_use]
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}
