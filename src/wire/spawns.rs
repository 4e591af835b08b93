//! Spawning agents over REST.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::Validate;

use crate::model::{
    ids::{AgentId, ProjectId, TaskId, WorkspaceId},
    runtime::RuntimeName,
};

/// Body that spawns agents.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"agentType": "custom", "count": 1, "name": "shell", "config": {"command": "bash"}}))]
pub struct SpawnAgents {
    /// `claude-code`, `codex`, `gemini-cli`, `aider`, `custom` or another that the runtime has an adapter for; the short
    /// names mean the same. One that the runtime does not know is named in `errors`.
    #[schema(pattern = "^[a-z0-9][a-z0-9_-]{0,39}$", example = "claude-code")]
    pub agent_type: String,
    #[serde(default = "one")]
    #[validate(range(min = 1, max = 10, message = "must be a whole number from 1 to 10"))]
    #[schema(minimum = 1, maximum = 10)]
    pub count: u32,
    /// The name of one of the workspace's runtimes. Without it each agent goes where there is most room.
    pub runtime: Option<RuntimeName>,
    #[validate(length(min = 1, max = 100, message = "must be 1 to 100 characters"), custom(function = super::access::plain_name))]
    #[schema(min_length = 1, max_length = 100, pattern = r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$")]
    pub name: Option<String>,
    #[serde(default)]
    #[validate(length(max = 64, message = "must be at most 64 texts"))]
    #[schema(max_items = 64)]
    pub capabilities: Vec<String>,
    /// What the agents are granted; the workspace's defaults when absent.
    pub permissions: Option<Vec<String>>,
    /// A project to assign each agent to.
    pub project_id: Option<ProjectId>,
    /// A task to assign each agent to.
    pub task_id: Option<TaskId>,
    /// For the runtime: `command`, `args`, `env`, `workdir`, `cols`, `rows`.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Must be the caller's own, if given.
    pub workspace_id: Option<WorkspaceId>,
}

fn one() -> u32 {
    1
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "success": true, "spawnedAgents": [{"id": "3f9c1c8e5b0a4a6d9e21", "name": "shell", "type": "custom", "status": "starting", "runtime": "default"}]
}))]
pub struct Spawned {
    /// Whether every agent was started.
    pub success: bool,
    pub spawned_agents: Vec<SpawnedAgent>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// One agent that was started.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "3f9c1c8e5b0a4a6d9e21", "name": "shell", "type": "custom", "status": "starting", "runtime": "default"}))]
pub struct SpawnedAgent {
    pub id: AgentId,
    pub name: String,
    #[serde(rename = "type")]
    pub agent_type: String,
    #[schema(value_type = String, example = "starting")]
    pub status: &'static str,
    /// The name of the runtime that it runs on.
    pub runtime: RuntimeName,
}
