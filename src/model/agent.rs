//! Agents and where they stand with one workspace (REST contract §4.3).
//!
//! ```text
//! (none) ─request→ Pending ─approve→ Approved ─revoke→ Revoked
//!                    │  ↑               ↑                 │
//!                  deny request       approve (explicit reinstatement by an admin)
//!                    ↓  │               │                 │
//!                   Denied ─────────────┴─────────────────┘
//! ```
//! An invite approves what is pending or denied, never what is revoked (D-26).

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    actor::Approver,
    ids::{AgentId, InviteId, UserId, WorkspaceId},
    permission::PermissionSet,
    run::Run,
};

/// The flat form of [`AgentState`], for columns and the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    Pending,
    Approved,
    Denied,
    Revoked,
}

impl AgentStatus {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Approved, Self::Denied, Self::Revoked];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Revoked => "revoked",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Where an agent stands with one workspace, with what is known only there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentState {
    Pending,
    Approved { granted: PermissionSet, by: Option<UserId>, at: DateTime<Utc> },
    Denied { reason: String, by: Option<UserId>, at: DateTime<Utc> },
    Revoked { reason: String, by: Option<UserId>, at: DateTime<Utc>, approved_by: Option<UserId>, approved_at: DateTime<Utc> },
}

impl AgentState {
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        match self {
            Self::Pending => AgentStatus::Pending,
            Self::Approved { .. } => AgentStatus::Approved,
            Self::Denied { .. } => AgentStatus::Denied,
            Self::Revoked { .. } => AgentStatus::Revoked,
        }
    }
}

/// What an agent says of itself when it asks for access or registers.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    pub description: Option<String>,
    pub avatar_url: Option<String>,
    pub capabilities: Vec<String>,
    pub requested: PermissionSet,
    pub metadata: Value,
    pub endpoint: Option<String>,
}

/// An agent as one workspace knows it.
#[derive(Clone, Debug)]
pub struct Agent {
    pub workspace: WorkspaceId,
    pub id: AgentId,
    pub profile: Profile,
    pub state: AgentState,
    /// Counts the requests made under this id; an approval names the one that was reviewed (D-06).
    pub request_version: i32,
    pub claim_secret_hash: Option<String>,
    /// The key that waits to be claimed, sealed.
    pub unclaimed_key: Option<Vec<u8>>,
    pub api_key_id: Option<String>,
    pub invite_id: Option<InviteId>,
    pub requested_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// An agent with its newest run, if it was spawned.
#[derive(Clone, Debug)]
pub struct AgentView {
    pub agent: Agent,
    pub run: Option<Run>,
}

/// The action tried does not lead anywhere from the state found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("agent is {}: cannot {action}", from.as_str())]
pub struct IllegalTransition {
    pub from: AgentStatus,
    pub action: &'static str,
}

impl Agent {
    /// A new agent that waits for a decision.
    #[must_use]
    pub fn requested(workspace: WorkspaceId, id: AgentId, profile: Profile, at: DateTime<Utc>) -> Self {
        Self {
            workspace,
            id,
            profile,
            state: AgentState::Pending,
            request_version: 1,
            claim_secret_hash: None,
            unclaimed_key: None,
            api_key_id: None,
            invite_id: None,
            requested_at: at,
            created_at: at,
            updated_at: at,
        }
    }

    /// Asks again under the same id: what was pending or denied is pending with the new profile.
    ///
    /// Errors: [`IllegalTransition`] for an approved or revoked agent.
    pub fn request_again(self, profile: Profile, at: DateTime<Utc>) -> Result<Self, IllegalTransition> {
        match self.state {
            AgentState::Pending | AgentState::Denied { .. } => Ok(Self {
                profile,
                state: AgentState::Pending,
                request_version: self.request_version + 1,
                requested_at: at,
                updated_at: at,
                ..self
            }),
            AgentState::Approved { .. } | AgentState::Revoked { .. } => Err(self.illegal("request access")),
        }
    }

    /// Lets the agent in. An admin may also reinstate what was denied or revoked; an invite may not
    /// bring back what was revoked.
    ///
    /// Errors: [`IllegalTransition`], naming the state found.
    pub fn approve(self, granted: PermissionSet, by: &Approver, at: DateTime<Utc>) -> Result<Self, IllegalTransition> {
        let allowed = match (&self.state, by) {
            (AgentState::Pending | AgentState::Denied { .. }, _) | (AgentState::Revoked { .. }, Approver::Admin(_)) => true,
            (AgentState::Approved { .. }, _) | (AgentState::Revoked { .. }, Approver::Invite { .. } | Approver::Spawn(_)) => false,
        };
        if !allowed {
            return Err(self.illegal("approve"));
        }
        let invite_id = match by {
            Approver::Invite { id, .. } => Some(*id),
            Approver::Admin(_) | Approver::Spawn(_) => self.invite_id,
        };
        // Whoever had the secret before a revocation is not to collect the key of what comes after it.
        let claim_secret_hash = self.claim_secret_hash.filter(|_| self.state.status() != AgentStatus::Revoked);
        Ok(Self { state: AgentState::Approved { granted, by: by.user(), at }, invite_id, claim_secret_hash, updated_at: at, ..self })
    }

    /// Refuses a pending agent.
    ///
    /// Errors: [`IllegalTransition`] unless pending.
    pub fn deny(self, reason: String, by: UserId, at: DateTime<Utc>) -> Result<Self, IllegalTransition> {
        match self.state {
            AgentState::Pending => Ok(Self { state: AgentState::Denied { reason, by: Some(by), at }, updated_at: at, ..self }),
            AgentState::Approved { .. } | AgentState::Denied { .. } | AgentState::Revoked { .. } => Err(self.illegal("deny")),
        }
    }

    /// Ends an approved agent's access, and with it what it was granted and what waits to be claimed.
    ///
    /// Errors: [`IllegalTransition`] unless approved.
    pub fn revoke(self, reason: String, by: UserId, at: DateTime<Utc>) -> Result<Self, IllegalTransition> {
        match self.state {
            AgentState::Approved { by: approved_by, at: approved_at, .. } => Ok(Self {
                state: AgentState::Revoked { reason, by: Some(by), at, approved_by, approved_at },
                unclaimed_key: None,
                updated_at: at,
                ..self
            }),
            AgentState::Pending | AgentState::Denied { .. } | AgentState::Revoked { .. } => Err(self.illegal("revoke")),
        }
    }

    /// Replaces what an approved agent may do.
    ///
    /// Errors: [`IllegalTransition`] unless approved.
    pub fn set_permissions(self, permissions: PermissionSet, changed_at: DateTime<Utc>) -> Result<Self, IllegalTransition> {
        match self.state {
            AgentState::Approved { by, at, .. } => {
                Ok(Self { state: AgentState::Approved { granted: permissions, by, at }, updated_at: changed_at, ..self })
            }
            AgentState::Pending | AgentState::Denied { .. } | AgentState::Revoked { .. } => Err(self.illegal("change permissions")),
        }
    }

    /// What the agent may do now.
    #[must_use]
    pub fn granted(&self) -> PermissionSet {
        match &self.state {
            AgentState::Approved { granted, .. } => granted.clone(),
            AgentState::Pending | AgentState::Denied { .. } | AgentState::Revoked { .. } => PermissionSet::default(),
        }
    }

    fn illegal(&self, action: &'static str) -> IllegalTransition {
        IllegalTransition { from: self.state.status(), action }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn profile() -> Profile {
        Profile {
            name: "Scout".into(),
            description: None,
            avatar_url: None,
            capabilities: vec![],
            requested: PermissionSet::default(),
            metadata: Value::Null,
            endpoint: None,
        }
    }

    fn in_state(status: AgentStatus) -> Agent {
        let admin = UserId::generate();
        let pending = Agent::requested(WorkspaceId::generate(), "scout".parse().unwrap(), profile(), at());
        let approved = || pending.clone().approve(PermissionSet::defaults(), &Approver::Admin(admin), at()).unwrap();
        match status {
            AgentStatus::Pending => pending.clone(),
            AgentStatus::Approved => approved(),
            AgentStatus::Denied => pending.clone().deny("no".into(), admin, at()).unwrap(),
            AgentStatus::Revoked => approved().revoke("done".into(), admin, at()).unwrap(),
        }
    }

    type Action<'a> = Box<dyn Fn(Agent) -> Result<Agent, IllegalTransition> + 'a>;

    #[test]
    fn every_action_leads_from_every_state_where_the_contract_says() {
        use AgentStatus::{Approved, Denied, Pending, Revoked};
        let user = UserId::generate();
        let invite = Approver::Invite { id: InviteId::generate(), name: "ci".into() };
        let granted = PermissionSet::defaults;
        let actions: [(&str, Action, [Option<AgentStatus>; 4]); 7] = [
            ("request again", Box::new(|a| a.request_again(profile(), at())), [Some(Pending), None, Some(Pending), None]),
            (
                "approve by admin",
                Box::new(|a| a.approve(granted(), &Approver::Admin(user), at())),
                [Some(Approved), None, Some(Approved), Some(Approved)],
            ),
            ("approve by invite", Box::new(|a| a.approve(granted(), &invite, at())), [Some(Approved), None, Some(Approved), None]),
            (
                "approve by spawn",
                Box::new(|a| a.approve(granted(), &Approver::Spawn(user), at())),
                [Some(Approved), None, Some(Approved), None],
            ),
            ("deny", Box::new(|a| a.deny("no".into(), user, at())), [Some(Denied), None, None, None]),
            ("set permissions", Box::new(|a| a.set_permissions(granted(), at())), [None, Some(Approved), None, None]),
            ("revoke", Box::new(|a| a.revoke("bye".into(), user, at())), [None, Some(Revoked), None, None]),
        ];
        for (name, action, expected) in actions {
            for (from, expected) in AgentStatus::ALL.into_iter().zip(expected) {
                let reached = action(in_state(from)).ok().map(|agent| agent.state.status());
                assert_eq!(reached, expected, "{name} from {}", from.as_str());
            }
        }
    }

    #[test]
    fn a_revoked_agent_keeps_who_approved_it_and_loses_what_it_was_granted() {
        let revoked = in_state(AgentStatus::Revoked);
        assert!(revoked.granted().is_empty());
        assert!(matches!(revoked.state, AgentState::Revoked { approved_by: Some(_), .. }));
    }
}
