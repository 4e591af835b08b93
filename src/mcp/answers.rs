//! What the doors answer alike.

use serde_json::{Value, json};

use super::{catalogue::ToolError, resources::pretty};
use crate::wire::mcp::{Content, Initialized, ServerInfo, ToolResult};

/// The name under which we are known to clients.
pub(super) const NAME: &str = "raven-agents";
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What a client tells its model about the tools as a whole.
pub(super) const INSTRUCTIONS: &str = "Tools of a shared workspace: its pages, tasks and projects, and the agents that work in it. Begin with \
    agent_my_assignments. Who calls is known from the key, so workspaceId and agentId can be left out. A refusal says which permission is \
    missing; approval_request asks a person for it. A call that needs an approval is repeated with approvalId once a person gave it.";

/// The greeting over plain HTTP, in the version of MCP whose bodies these are.
pub(super) fn initialized(protocol_version: &'static str) -> Initialized {
    Initialized {
        protocol_version,
        capabilities: json!({"tools": {}, "resources": {"subscribe": false, "listChanged": false}, "prompts": {}}),
        server_info: ServerInfo { name: NAME, version: VERSION },
        instructions: INSTRUCTIONS,
    }
}

/// A tool's outcome as its caller reads it: JSON as text. What the tool refuses is a result with `isError`.
pub(super) fn tool_result(done: Result<Value, ToolError>) -> ToolResult {
    let (value, is_error) = match done {
        Ok(value) => (value, false),
        Err(error) => (told(&error), true),
    };
    ToolResult { content: vec![Content { kind: "text", text: pretty(&value) }], is_error }
}

/// An error as its caller reads it.
pub(super) fn told(error: &ToolError) -> Value {
    let mut told = json!({"code": error.code, "message": error.message});
    if let Some(data) = &error.data {
        told["data"] = data.clone();
    }
    told
}
