//! Tool calls over plain HTTP (REST contract §5.2): the MCP fields on top, the envelope beside them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::Validate;

/// Body of a tool call.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"name": "agent_profile", "arguments": {}}))]
pub struct CallTool {
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// One piece of a tool's answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"type": "text", "text": "{\"id\": \"scout\", \"status\": \"approved\"}"}))]
pub struct Content {
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "text")]
    pub kind: &'static str,
    /// JSON.
    pub text: String,
}

/// A tool's answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    pub content: Vec<Content>,
    /// Whether the text is an error `{code, message}` rather than a result.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// A tool's answer as MCP clients read it and as Raven's bridge does.
#[derive(Debug, Serialize, ToSchema)]
pub struct ToolReply {
    #[serde(flatten)]
    pub result: ToolResult,
    pub data: ToolResult,
    pub success: bool,
    pub status: u16,
}
