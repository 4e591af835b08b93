//! Spawning, listing and describing agents (runtime contract §3, §4.1, §16.2).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::login::Login;

/// Body of `POST /api/spawn` (dialect D1).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpawnRequest {
    /// `claude`, `codex`, `gemini`, `aider`, `custom`, `echo` or whatever else the runtime has an adapter for, with their aliases.
    pub agent_type: String,
    #[serde(default = "one")]
    pub count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default)]
    pub capabilities: Vec<String>,
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Free-form; read keys: `command`, `args`, `env` (map of strings), `workdir`, `cols`, `rows`, `role`, `reportsTo`,
    /// `executionId`, `contextFiles` (a list of [`ContextFile`]), `credentials`, `approvalPreset` (also in `adapterConfig`),
    /// `mode` (`terminal` or `structured`), `resources` (`memory`, `cpu`, `processes`, `timeout` in seconds), `idleTimeout` in
    /// seconds.
    #[serde(default)]
    pub config: Map<String, Value>,
    pub workspace_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// Our extension: the id to give to the agent, honoured when `count` is 1. Other runtimes ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

fn one() -> u32 {
    1
}

/// Body of `POST /spawn` in the dialect D3; told from [`SpawnRequest`] by its `agentId`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MinimalSpawnRequest {
    pub agent_id: String,
    pub agent_type: String,
    pub workspace_id: String,
    #[serde(default)]
    pub capabilities: Vec<String>,
    #[serde(default)]
    pub env: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
}

impl From<MinimalSpawnRequest> for SpawnRequest {
    fn from(minimal: MinimalSpawnRequest) -> Self {
        let mut config = Map::new();
        config.insert("env".into(), Value::Object(minimal.env));
        if let Some(workdir) = minimal.workdir {
            config.insert("workdir".into(), Value::String(workdir));
        }
        Self {
            agent_type: minimal.agent_type,
            count: 1,
            name: None,
            capabilities: minimal.capabilities,
            permissions: Vec::new(),
            config,
            workspace_id: minimal.workspace_id,
            callback_url: None,
            id: Some(minimal.agent_id),
        }
    }
}

/// A file that an agent finds in its folder when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContextFile {
    /// Relative to the agent's folder, without `..`.
    pub path: String,
    pub content: String,
}

/// Reply to `GET /api/agents/:id/logs?format=json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LogEntries {
    pub entries: Vec<LogEntry>,
    #[serde(default)]
    pub count: usize,
}

/// One line that an agent printed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    /// When the first byte of the line came; absent where that is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<DateTime<Utc>>,
    /// Always `info` in ours, since a terminal has no levels.
    pub level: String,
    pub message: String,
}

/// Reply to `POST /api/spawn`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpawnReply {
    #[serde(default)]
    pub success: bool,
    #[serde(default)]
    pub agents: Vec<SpawnedAgent>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// One agent of a [`SpawnReply`]; everything but `id` may be missing from other runtimes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpawnedAgent {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AgentStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_endpoint: Option<String>,
}

/// What a runtime says of one agent (§3.2); the members after `status` are optional on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentHandle {
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "type")]
    pub agent_type: String,
    pub status: AgentStatus,
    #[serde(default)]
    pub capabilities: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
    /// What the agent is in its team; free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whom the agent reports to; free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports_to: Option<String>,
    /// The execution that the agent works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// The managed thread that the agent was started for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Exit status of the process, once it has ended by itself or by `exit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Name of the signal that ended the process, such as `SIGKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Our extension: the limits in force; none where nothing is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<AgentLimits>,
    /// What the agent waits for while it is `authenticating`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Whether the runtime's automatic answers to the agent's questions are off.
    #[serde(default)]
    pub paused: bool,
}

/// What holds an agent back, with everything that it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// CPUs' worth of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// `cgroup` or `rlimit`.
    pub by: String,
}

/// Reply to `GET /api/agents/:id/metrics`. Sums over all processes of the agent; what the host does
/// not tell, or is over with the agent's end, is left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentMetrics {
    /// Seconds that the agent has lived.
    pub uptime: f64,
    /// Seconds of CPU time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Per cent of one CPU since the last time that this was asked, or since the start; 200 is two CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// Resident memory that is not shared, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Bytes printed since the start.
    #[serde(default)]
    pub output_bytes: u64,
}

/// Reply to `GET /api/agents`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AgentList {
    pub agents: Vec<AgentHandle>,
    #[serde(default)]
    pub count: usize,
}

/// Where an agent's process stands (§8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    Pending,
    Starting,
    Authenticating,
    Ready,
    Busy,
    Stopping,
    Stopped,
    Error,
}

impl AgentStatus {
    /// Whether the process is gone for good.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Error)
    }
}

/// Reply to `GET /api/health`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    #[serde(default = "yes")]
    pub healthy: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_agents: Option<u32>,
    /// Whole seconds since the runtime process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<u64>,
}

fn yes() -> bool {
    true
}

/// Error body of every runtime route: a text, and in ours a stable code (§5).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Maps every accepted spelling of an agent type to the one that the project uses
/// (§4.1): `claude`, `codex`, `gemini`, `aider`, `custom`, `echo`. `None` for an unknown type.
#[must_use]
pub fn canonical_agent_type(spelling: &str) -> Option<&'static str> {
    Some(match spelling {
        "claude" | "claude-code" | "claudecode" | "claude_code" => "claude",
        "codex" | "gpt-codex" | "openai-codex" => "codex",
        "gemini" | "gemini-cli" | "gemini_cli" => "gemini",
        "aider" => "aider",
        "custom" => "custom",
        "echo" => "echo",
        _ => return None,
    })
}

/// The spelling that Raven's own REST answers with for a canonical type.
#[must_use]
pub fn wire_agent_type(canonical: &str) -> &str {
    match canonical {
        "claude" => "claude-code",
        "gemini" => "gemini-cli",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_of_an_agent_type_maps_to_one_name() {
        for alias in ["claude", "claude-code", "claudecode", "claude_code"] {
            assert_eq!(canonical_agent_type(alias), Some("claude"));
        }
        assert_eq!(canonical_agent_type("bash -c"), None);
    }

    #[test]
    fn the_barest_spawn_reply_of_another_runtime_is_read() {
        let reply: SpawnReply = serde_json::from_str(r#"{"agents":[{"id":"a"}]}"#).unwrap();
        assert_eq!(reply.agents[0].id, "a");
        assert!(reply.agents[0].runtime_session_id.is_none());
    }
}
