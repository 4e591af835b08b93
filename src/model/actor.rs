//! Who is asking. Each type can only be had by proving it, so a signature says who may call.

use super::{
    ids::{AgentId, UserId, WorkspaceId},
    permission::PermissionSet,
    workspace::Role,
};

/// A signed-in person.
#[derive(Clone, Debug)]
pub struct Person {
    pub user: UserId,
    pub workspace: WorkspaceId,
    pub role: Role,
    /// When the credential ends, in seconds since 1970.
    pub expires_at: i64,
}

/// A person who manages agents: an owner or an admin.
#[derive(Clone, Debug)]
pub struct Admin(Person);

impl Admin {
    /// `None` unless the person's role manages agents.
    #[must_use]
    pub fn from_person(person: Person) -> Option<Self> {
        person.role.manages_agents().then_some(Self(person))
    }

    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.0.workspace
    }

    #[must_use]
    pub fn user(&self) -> UserId {
        self.0.user
    }
}

/// An approved agent, proven by its API key.
#[derive(Clone, Debug)]
pub struct AgentCaller {
    pub workspace: WorkspaceId,
    pub agent: AgentId,
    pub key_id: String,
    pub permissions: PermissionSet,
}

/// Who lets an agent in.
#[derive(Clone, Debug)]
pub enum Approver {
    Admin(UserId),
    /// A redeemed invite, with the name that its maker gave it.
    Invite {
        id: super::ids::InviteId,
        name: String,
    },
    /// The admin who spawns the agent.
    Spawn(UserId),
}

impl Approver {
    /// The person behind the decision; an invite's maker is not asked again.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Admin(user) | Self::Spawn(user) => Some(*user),
            Self::Invite { .. } => None,
        }
    }
}
