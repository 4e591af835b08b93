//! A workspace's runtimes as its owners and admins see them.

use runtime_protocol::wire_agent_type;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError};

use super::time::Timestamp;
use crate::model::runtime::{RuntimeName, RuntimeState, WorkspaceRuntime};

/// A runtime that the workspace may use. Its token is never told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "name": "gpu", "endpoint": "https://runtime.example.com", "kinds": ["claude-code"], "agentsMax": 4, "enabled": true, "isDefault": false,
    "isManaged": true, "state": "online", "lastHeartbeat": "2026-01-02T03:04:05.678Z", "lastContact": "2026-01-02T03:04:05.678Z",
    "version": "0.1.0", "activeAgents": 2, "runs": 1, "createdAt": "2026-01-01T00:00:00.000Z"
}))]
pub struct Runtime {
    /// `default` is the operator's, `custom` the one from the settings.
    pub name: RuntimeName,
    pub endpoint: String,
    /// Agent types that it takes; empty: all.
    pub kinds: Vec<String>,
    /// Agents that it takes at the same time; null: without a limit here.
    #[schema(required)]
    pub agents_max: Option<u32>,
    /// Whether new agents are spawned there.
    pub enabled: bool,
    /// Whether it is the operator's.
    pub is_default: bool,
    /// Whether it can be changed and removed here.
    pub is_managed: bool,
    #[schema(inline)]
    pub state: RuntimeState,
    /// When it last reached us.
    #[schema(required)]
    pub last_heartbeat: Option<Timestamp>,
    /// When we last reached it.
    #[schema(required)]
    pub last_contact: Option<Timestamp>,
    #[schema(required)]
    pub version: Option<String>,
    /// Agents that it says it runs, of all its users.
    #[schema(required)]
    pub active_agents: Option<u32>,
    /// Agents that we started there and that have not ended.
    pub runs: u32,
    #[schema(required)]
    pub created_at: Option<Timestamp>,
}

impl From<WorkspaceRuntime> for Runtime {
    fn from(runtime: WorkspaceRuntime) -> Self {
        Self {
            is_default: runtime.name.is_environment(),
            is_managed: !runtime.name.is_reserved(),
            name: runtime.name,
            endpoint: runtime.endpoint,
            kinds: runtime.kinds.iter().map(|kind| wire_agent_type(kind).to_owned()).collect(),
            agents_max: runtime.agents_max,
            enabled: runtime.enabled,
            state: runtime.health.state,
            last_heartbeat: runtime.health.last_heartbeat_at.map(Into::into),
            last_contact: runtime.health.last_contact_at.map(Into::into),
            version: runtime.health.version,
            active_agents: runtime.health.active_agents,
            runs: runtime.live_runs,
            created_at: runtime.created_at.map(Into::into),
        }
    }
}

/// Body that adds a runtime. It has no `Debug`, since it holds the token.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"name": "gpu", "endpoint": "https://runtime.example.com", "token": "…", "kinds": ["claude-code"], "agentsMax": 4}))]
pub struct AddRuntime {
    /// 1 to 40 of `a-z 0-9 -`; `default` and `custom` are taken.
    pub name: RuntimeName,
    /// Base URL, on the operator's runtime's origin or on one that the operator allows.
    #[validate(length(min = 1, max = 2000, message = "must be 1 to 2000 characters"))]
    #[schema(min_length = 1, max_length = 2000)]
    pub endpoint: String,
    /// Sent to it as a bearer token: visible ASCII characters. Kept encrypted and never told.
    #[validate(length(max = 2000, message = "must be at most 2000 characters"), custom(function = sendable))]
    #[schema(max_length = 2000, pattern = "^[!-~]*$")]
    pub token: Option<String>,
    /// Agent types that it takes, written as for a spawn; all when empty.
    #[serde(default)]
    #[validate(length(max = 16, message = "must be at most 16 agent types"))]
    #[schema(max_items = 16)]
    pub kinds: Vec<String>,
    /// Agents that it takes at the same time; without it as many as there are.
    #[validate(range(min = 1, max = 10_000, message = "must be a whole number from 1 to 10000"))]
    #[schema(minimum = 1, maximum = 10_000)]
    pub agents_max: Option<u32>,
    /// Whether new agents are spawned there.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

/// A token goes into a header, where nothing else is allowed.
fn sendable(token: &str) -> Result<(), ValidationError> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(ValidationError::new("token").with_message("must be visible ASCII characters".into()))
}

/// Body that changes a runtime; what is absent stays. It has no `Debug`, since it holds the token.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"agentsMax": 8, "enabled": true}))]
pub struct UpdateRuntime {
    /// Not while agents run there. With another endpoint the token is forgotten, unless one comes along.
    #[validate(length(min = 1, max = 2000, message = "must be 1 to 2000 characters"))]
    #[schema(min_length = 1, max_length = 2000)]
    pub endpoint: Option<String>,
    /// Visible ASCII characters. An empty one takes it away.
    #[validate(length(max = 2000, message = "must be at most 2000 characters"), custom(function = sendable))]
    #[schema(max_length = 2000, pattern = "^[!-~]*$")]
    pub token: Option<String>,
    #[validate(length(max = 16, message = "must be at most 16 agent types"))]
    #[schema(max_items = 16)]
    pub kinds: Option<Vec<String>>,
    /// 0 takes the limit away.
    #[validate(range(max = 10_000, message = "must be a whole number from 0 to 10000"))]
    #[schema(minimum = 0, maximum = 10_000)]
    pub agents_max: Option<u32>,
    pub enabled: Option<bool>,
}

/// How a runtime is removed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RemoveRuntime {
    /// Whether agents that run there are ended first; refused with 409 otherwise.
    pub force: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_fits_into_a_header() {
        for (token, fits) in [("abc~!", true), ("", true), ("a\nb", false), ("a b", false), ("ä", false)] {
            let add: AddRuntime =
                serde_json::from_value(serde_json::json!({"name": "gpu", "endpoint": "http://h", "token": token})).unwrap();
            let update: UpdateRuntime = serde_json::from_value(serde_json::json!({"token": token})).unwrap();
            for problems in [add.validate(), update.validate()] {
                assert_eq!(problems.is_ok(), fits, "{token:?}");
                assert!(problems.err().is_none_or(|problems| problems.field_errors().contains_key("token")));
            }
        }
    }
}
