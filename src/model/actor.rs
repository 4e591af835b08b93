//! Who is asking. Each type can only be had by proving it, so a signature says who may call.

use std::sync::Arc;

use super::{
    ids::{AgentId, UserId, WorkspaceId},
    listener::Listener,
    permission::PermissionSet,
    policy::WorkspacePolicy,
    token::{SignIn, TokenHash},
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
    /// What they came in by; `None` when it was a key.
    pub sign_in: Option<SignIn>,
}

impl Person {
    fn came_in_by(&self, token: &TokenHash) -> bool {
        self.sign_in.is_some_and(|sign_in| sign_in.token == *token)
    }
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
    pub fn person(&self) -> &Person {
        &self.0
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
    /// The account that stands for it.
    pub user: UserId,
    pub key_id: String,
    pub permissions: PermissionSet,
    /// What its workspace decided about its agents' tool calls.
    pub policy: Arc<WorkspacePolicy>,
}

/// Whom an API key speaks for.
#[derive(Clone, Debug)]
pub enum KeyHolder {
    Agent(AgentCaller),
    /// A person, with the role that they have.
    Person {
        person: Person,
        key_id: String,
    },
}

impl KeyHolder {
    #[must_use]
    pub fn key_id(&self) -> &str {
        match self {
            Self::Agent(AgentCaller { key_id, .. }) | Self::Person { key_id, .. } => key_id,
        }
    }
}

/// Whom a connection that stays open belongs to.
#[derive(Clone, Debug)]
pub enum Holder {
    /// Signed in.
    Person(Person),
    /// By an API key.
    Key(KeyHolder),
}

impl Holder {
    /// Whether a change concerns this holder.
    #[must_use]
    pub fn is_concerned(&self, subject: &Subject) -> bool {
        match (self, subject) {
            (Self::Key(holder), subject) => subject.concerns(holder),
            (Self::Person(person), Subject::User(user) | Subject::SignInsOf(user)) => person.user == *user,
            (Self::Person(person), Subject::Workspace(workspace)) => person.workspace == *workspace,
            (Self::Person(person), Subject::SignIn(token)) => person.came_in_by(token),
            (Self::Person(_), Subject::Agent(..) | Subject::Key(_)) => false,
        }
    }

    /// Who listens, by this credential, before their spaces are known.
    #[must_use]
    pub fn listener(&self) -> Listener {
        match self {
            Self::Person(person) => Listener::person(person),
            Self::Key(holder) => Listener::key(holder),
        }
    }

    /// The account: a person's, or the one that stands for an agent.
    #[must_use]
    pub fn user(&self) -> UserId {
        match self {
            Self::Person(person) | Self::Key(KeyHolder::Person { person, .. }) => person.user,
            Self::Key(KeyHolder::Agent(agent)) => agent.user,
        }
    }

    /// The role of the person behind it; `None` for an agent.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Person(person) | Self::Key(KeyHolder::Person { person, .. }) => Some(person.role),
            Self::Key(KeyHolder::Agent(_)) => None,
        }
    }
}

/// Whose rights have changed, so that whatever was decided for them before counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Agent(WorkspaceId, AgentId),
    Key(String),
    User(UserId),
    /// Everybody in it.
    Workspace(WorkspaceId),
    /// Whoever came in by this token.
    SignIn(TokenHash),
    /// A person wherever they are signed in; keys of theirs are not concerned.
    SignInsOf(UserId),
}

impl Subject {
    /// Whether this concerns the holder of a key.
    #[must_use]
    pub fn concerns(&self, holder: &KeyHolder) -> bool {
        match (self, holder) {
            (Self::Agent(workspace, agent), KeyHolder::Agent(caller)) => *workspace == caller.workspace && *agent == caller.agent,
            (Self::Agent(..), KeyHolder::Person { .. }) | (Self::SignIn(_) | Self::SignInsOf(_), KeyHolder::Agent(_)) => false,
            (Self::Key(id), holder) => id == holder.key_id(),
            (Self::User(user), KeyHolder::Agent(caller)) => *user == caller.user,
            (Self::User(user), KeyHolder::Person { person, .. }) => *user == person.user,
            (Self::Workspace(workspace), KeyHolder::Agent(caller)) => *workspace == caller.workspace,
            (Self::Workspace(workspace), KeyHolder::Person { person, .. }) => *workspace == person.workspace,
            // People who are signed in are remembered as holders of no key.
            (Self::SignIn(token), KeyHolder::Person { person, .. }) => person.came_in_by(token),
            (Self::SignInsOf(user), KeyHolder::Person { person, .. }) => *user == person.user && person.sign_in.is_some(),
        }
    }
}

/// How things stand now with a subject whose rights changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may do nothing any more.
    Ended,
    /// An agent or a key that is good, whatever it may do.
    Good,
    /// A person with this role.
    Person(Role),
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
