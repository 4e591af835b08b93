//! Decisions about agents that the control plane is told of (REST contract §2.10, D-20).

use serde_json::Value;
use uuid::Uuid;

use super::ids::{AgentId, EventId, WorkspaceId};

/// What was decided; the last part of the notification's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Approved,
    Denied,
    Revoked,
}

impl Decision {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Revoked => "revoked",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Approved, Self::Denied, Self::Revoked].into_iter().find(|decision| decision.as_str() == text)
    }
}

/// A decision on its way to the control plane.
#[derive(Clone, Debug)]
pub struct Notification {
    pub id: Uuid,
    pub event: EventId,
    pub workspace: WorkspaceId,
    pub agent: AgentId,
    pub decision: Decision,
    /// Without the key.
    pub body: Value,
    /// The agent's key, sealed, where the workspace wants it sent.
    pub key_sealed: Option<Vec<u8>>,
    /// Deliveries tried, this one included.
    pub attempts: i32,
    /// Whether it has been tried for so long that this is the last time.
    pub last_attempt: bool,
}

impl Notification {
    /// Where the key is sealed for.
    #[must_use]
    pub fn seal_place(id: Uuid) -> String {
        format!("control_plane_notifications/{id}")
    }
}
