//! Frames of the event WebSocket `/ws/events` (runtime contract §6.4, §7).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Any text frame that a runtime sends on `/ws/events`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StreamFrame {
    Event(EventFrame),
    /// The greeting `{type:"connected"}`, a `{type:"pong"}`, or a frame that we do not know.
    Other(Value),
}

/// One event: `{event, data, timestamp}`, in ours with sequence, boot id and owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventFrame {
    pub event: EventName,
    pub data: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<DateTime<Utc>>,
    /// Increases by one with every event of one runtime process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Changes with every start of the runtime process; `seq` restarts with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_session_id: Option<String>,
}

/// Names of the event catalogue (§7) with the older names that mean the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventName {
    #[serde(alias = "agent_spawned", alias = "started")]
    AgentStarted,
    #[serde(alias = "ready")]
    AgentReady,
    #[serde(alias = "agent_terminated", alias = "stopped")]
    AgentStopped,
    #[serde(alias = "agent_failed", alias = "spawn_failed", alias = "error")]
    AgentError,
    LoginRequired,
    Message,
    Question,
    ThreadEvent,
    BlockingPrompt,
    /// A name that we do not know, kept as it came.
    #[serde(untagged)]
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_is_no_event() {
        let frame: StreamFrame = serde_json::from_str(r#"{"type":"connected","filter":null}"#).unwrap();
        assert!(matches!(frame, StreamFrame::Other(_)));
    }

    #[test]
    fn older_and_unknown_event_names_are_read() {
        let name = |text: &str| serde_json::from_str::<EventName>(text).unwrap();
        assert_eq!(name(r#""agent_terminated""#), EventName::AgentStopped);
        assert_eq!(name(r#""spawn_failed""#), EventName::AgentError);
        assert_eq!(name(r#""party""#), EventName::Unknown("party".into()));
    }
}
