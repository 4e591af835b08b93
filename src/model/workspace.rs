//! Workspaces and the people in them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ids::{AgentId, SpaceId, UserId, WorkspaceId};

/// What a user may do in the workspace as a whole (REST contract §4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Owner,
    Admin,
    Member,
    /// The account of an agent: it has no ability of its own, only granted permissions (D-08).
    Agent,
}

impl Role {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Agent => "agent",
        }
    }

    /// Reads the column; what we do not know has no rights beyond a member's.
    #[must_use]
    pub fn from_column(text: Option<&str>) -> Self {
        match text {
            Some("owner") => Self::Owner,
            Some("admin") => Self::Admin,
            Some("agent") => Self::Agent,
            Some(_) | None => Self::Member,
        }
    }

    /// Whether this role manages agents: owners and admins do.
    #[must_use]
    pub fn manages_agents(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: Option<String>,
    pub description: Option<String>,
    pub logo: Option<String>,
    pub hostname: Option<String>,
    pub custom_domain: Option<String>,
    pub settings: Value,
    pub email_domains: Vec<String>,
    pub default_space_id: Option<SpaceId>,
    pub status: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A person's account, or an agent's.
#[derive(Clone, Debug)]
pub struct User {
    pub id: UserId,
    pub workspace_id: WorkspaceId,
    pub name: Option<String>,
    pub email: String,
    pub email_verified_at: Option<DateTime<Utc>>,
    pub avatar_url: Option<String>,
    pub role: Role,
    pub locale: Option<String>,
    pub timezone: Option<String>,
    pub settings: Option<Value>,
    pub agent_id: Option<AgentId>,
    pub last_login_at: Option<DateTime<Utc>>,
    pub deactivated_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}
