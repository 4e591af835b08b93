//! What is said to an agent and by it (runtime contract §3.3, §7).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message, to an agent or from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentMessage {
    /// `<agent id>-msg-<number>`.
    pub id: String,
    pub agent_id: String,
    pub direction: Direction,
    #[serde(rename = "type")]
    pub kind: MessageKind,
    pub content: String,
    /// Ours: `{"truncated": true}` where the content is not all that there was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    pub timestamp: DateTime<Utc>,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the agent.
    Inbound,
    /// From the agent.
    Outbound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    Task,
    Response,
    Question,
    Answer,
    Status,
    Error,
}

/// A question on an agent's screen that holds the agent up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockingPrompt {
    /// Such as `trust` or `permission`; each adapter has its own.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Whether the runtime answers such a question by itself.
    #[serde(default)]
    pub can_auto_respond: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
