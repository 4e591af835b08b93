//! Identifiers as types of their own, so that swapped arguments do not compile.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type, ToSchema)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        #[schema(value_type = Uuid)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id (`UUIDv7`: rows made later sort later).
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )+};
}

uuid_id! {
    /// A tenant.
    WorkspaceId,
    /// A person, or the account that stands for an agent.
    UserId,
    /// An invite by which agents register.
    InviteId,
    /// A terminal session.
    SessionId,
    /// A link by which members read a terminal.
    ShareId,
    /// One process of a spawned agent.
    RunId,
    /// A runtime that a workspace's admins named.
    RuntimeId,
    /// An event, the same on every channel.
    EventId,
    /// An agent's place on a project or task.
    AssignmentId,
    /// A project of the knowledge base.
    ProjectId,
    /// A task of the knowledge base.
    TaskId,
    /// A page of the knowledge base.
    PageId,
    /// A space of the knowledge base.
    SpaceId,
    /// A tool call that waits for a person's approval.
    ApprovalId,
}

/// Words that stand beside `/:agentId` in a route and so would hide an agent of that name (D-24).
const RESERVED_AGENT_IDS: [&str; 15] = [
    "access-request",
    "activity",
    "assignments",
    "available",
    "invites",
    "pending",
    "permissions",
    "project",
    "register",
    "runtime",
    "runtimes",
    "spawn",
    "spawn-callback",
    "task",
    "watchable",
];

/// Stands for every resource of a kind where a client subscribes (realtime contract §4.2), so nobody could follow an agent of
/// this name.
const EVERY_AGENT: &str = "all";

/// Length of an agent id in characters at the most.
const AGENT_ID_CHARS_MAX: usize = 128;

/// The name under which an agent is known in one workspace, chosen by whoever brings it (D-24):
/// 1 to 128 of `A-Z a-z 0-9 . _ : -`, not only dots, and none of the reserved words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, sqlx::Type, ToSchema)]
#[serde(transparent)]
#[sqlx(transparent)]
#[schema(value_type = String, example = "scout", min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$")]
pub struct AgentId(String);

/// Why a text is no agent id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAgentId {
    #[error("must be 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'")]
    Form,
    #[error("is a reserved word; choose another id")]
    Reserved,
}

impl AgentId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an agent may ask for access under this id. One that another program let in keeps what it has.
    ///
    /// Errors: `Reserved`.
    pub fn may_be_chosen(&self) -> Result<(), InvalidAgentId> {
        if self.0.eq_ignore_ascii_case(EVERY_AGENT) { Err(InvalidAgentId::Reserved) } else { Ok(()) }
    }

    /// An id for an agent that we spawn. It starts with random characters, since runtimes derive
    /// names from the first eight (runtime contract §15).
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::new_v4().simple().to_string()[..20].to_owned())
    }
}

impl FromStr for AgentId {
    type Err = InvalidAgentId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        if text.is_empty() || text.len() > AGENT_ID_CHARS_MAX || !text.chars().all(allowed) || text.chars().all(|c| c == '.') {
            return Err(InvalidAgentId::Form);
        }
        if RESERVED_AGENT_IDS.contains(&text.to_ascii_lowercase().as_str()) {
            return Err(InvalidAgentId::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_ids_keep_to_their_alphabet_and_avoid_route_words() {
        assert!("scout-1.v2:x_Y".parse::<AgentId>().is_ok());
        for bad in ["", "a/b", "a b", "..", ".", "é", &"x".repeat(129)] {
            assert_eq!(bad.parse::<AgentId>(), Err(InvalidAgentId::Form), "{bad:?}");
        }
        for reserved in ["pending", "Invites", "spawn"] {
            assert_eq!(reserved.parse::<AgentId>(), Err(InvalidAgentId::Reserved), "{reserved:?}");
        }
        let chosen = |id: &str| id.parse::<AgentId>().unwrap().may_be_chosen();
        assert_eq!((chosen("scout"), chosen("all"), chosen("All")), (Ok(()), Err(InvalidAgentId::Reserved), Err(InvalidAgentId::Reserved)));
    }

    #[test]
    fn generated_agent_ids_are_valid_and_differ_early() {
        let (a, b) = (AgentId::generate(), AgentId::generate());
        assert!(a.as_str().parse::<AgentId>().is_ok());
        assert_ne!(a.as_str()[..8], b.as_str()[..8]);
    }
}
