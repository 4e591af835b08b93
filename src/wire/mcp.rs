//! MCP over plain HTTP (REST contract §5.2): the MCP fields on top, the envelope beside them. The other doors of
//! MCP send the same values without the envelope.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::Validate;

use crate::model::mcp_config;

/// An answer as MCP clients read it and as Raven's bridge does: the same fields on top and in `data`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reply<T> {
    #[serde(flatten)]
    pub result: T,
    pub data: T,
    #[schema(example = true)]
    pub success: bool,
    #[schema(example = 200)]
    pub status: u16,
}

impl<T: Clone> Reply<T> {
    #[must_use]
    pub fn ok(result: T) -> Self {
        Self { data: result.clone(), result, success: true, status: 200 }
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Body of a tool call.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"name": "agent_profile", "arguments": {}}))]
pub struct CallTool {
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    #[serde(default, deserialize_with = "or_none_at_all")]
    #[schema(value_type = Option<Object>)]
    pub arguments: Map<String, Value>,
}

/// Body that lists tools.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"category": "agent"}))]
pub struct ListTools {
    /// Id of a category; all tools without it.
    #[serde(default)]
    #[validate(length(max = 100, message = "must be at most 100 characters"))]
    #[schema(max_length = 100)]
    pub category: Option<String>,
}

/// Body that looks for tools.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(default)]
#[schema(example = json!({"query": "assignments", "category": "agent", "tags": ["task"], "limit": 20}))]
pub struct SearchTools {
    #[validate(length(max = 200, message = "must be at most 200 characters"))]
    #[schema(max_length = 200)]
    pub query: Option<String>,
    #[validate(length(max = 100, message = "must be at most 100 characters"))]
    #[schema(max_length = 100)]
    pub category: Option<String>,
    #[validate(length(max = 20, message = "must be at most 20 tags"))]
    #[schema(max_items = 20)]
    pub tags: Option<Vec<String>>,
    #[validate(range(min = 1, max = 100, message = "must be a whole number from 1 to 100"))]
    #[schema(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

/// Body that names a category.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"category": "agent"}))]
pub struct NameCategory {
    #[validate(length(min = 1, max = 100, message = "must be 1 to 100 characters"))]
    #[schema(min_length = 1, max_length = 100)]
    pub category: String,
}

/// Body that names a resource.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"uri": "ravendocs://assignments"}))]
pub struct NameResource {
    #[validate(length(min = 1, max = 500, message = "must be 1 to 500 characters"))]
    #[schema(min_length = 1, max_length = 500)]
    pub uri: String,
}

/// Body that asks for a prompt.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"name": "create_documentation", "arguments": {"topic": "Deployments"}}))]
pub struct GetPrompt {
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    #[serde(default, deserialize_with = "or_none_at_all")]
    #[schema(value_type = Option<Object>)]
    pub arguments: Map<String, Value>,
}

/// Null counts as absent (REST contract §0.3).
fn or_none_at_all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Body of what takes anything and needs nothing of it.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({}))]
pub struct Anything {}

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
    /// Whether the text is an error `{code, message, data}` rather than a result.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// What a client may assume of a tool.
#[expect(clippy::struct_excessive_bools, reason = "the protocol has four independent hints")]
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}))]
pub struct Annotations {
    pub read_only_hint: bool,
    pub destructive_hint: bool,
    pub idempotent_hint: bool,
    pub open_world_hint: bool,
}

/// A tool.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"name": "agent_profile", "title": "Own profile", "description": "What the service knows of the agent that calls.",
    "inputSchema": {"type": "object", "properties": {}}, "category": "agent", "tags": ["identity"], "aliases": ["agent.profile"],
    "annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}}))]
pub struct ToolDescription {
    #[schema(value_type = String)]
    pub name: &'static str,
    #[schema(value_type = String)]
    pub title: &'static str,
    #[schema(value_type = String)]
    pub description: &'static str,
    /// JSON Schema 2020-12.
    #[schema(value_type = Object)]
    pub input_schema: Value,
    pub annotations: Annotations,
    /// Id of its category.
    #[schema(value_type = String)]
    pub category: &'static str,
    #[schema(value_type = Vec<String>)]
    pub tags: Vec<&'static str>,
    /// Its other names, by which it is called and meant in policies just as well; the dotted one first.
    #[schema(value_type = Vec<String>)]
    pub aliases: Vec<&'static str>,
}

/// Tools that the caller may call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tools {
    pub tools: Vec<ToolDescription>,
}

/// A kind of tools.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "agent", "name": "Agents", "description": "The agent that calls, and its colleagues"}))]
pub struct CategoryBrief {
    #[schema(value_type = String)]
    pub id: &'static str,
    #[schema(value_type = String)]
    pub name: &'static str,
    #[schema(value_type = String)]
    pub description: &'static str,
}

/// A kind of tools and how many the caller may call.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CategoryOfTools {
    #[serde(flatten)]
    pub brief: CategoryBrief,
    #[schema(example = 8)]
    pub tool_count: usize,
}

/// The kinds of tools.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Categories {
    pub categories: Vec<CategoryOfTools>,
}

/// The tools of one kind.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CategoryTools {
    pub category: CategoryBrief,
    pub tools: Vec<ToolDescription>,
}

/// A tool that fits what was looked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundTool {
    pub tool: ToolDescription,
    #[schema(example = 50)]
    pub score: u32,
    /// `name`, `description`, `tags`, `category`.
    #[schema(value_type = Vec<String>, example = json!(["name"]))]
    pub matched_on: Vec<&'static str>,
}

/// Tools that fit what was looked for, the best first.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundTools {
    pub tools: Vec<FoundTool>,
    #[schema(example = 1)]
    pub total_matches: usize,
    pub categories: Vec<CategoryOfTools>,
}

/// A resource.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"uri": "ravendocs://assignments", "name": "Assignments", "description": "Projects and tasks that the caller works on",
    "mimeType": "application/json"}))]
pub struct ResourceDescription {
    #[schema(value_type = String)]
    pub uri: &'static str,
    #[schema(value_type = String)]
    pub name: &'static str,
    #[schema(value_type = String)]
    pub description: &'static str,
    #[schema(value_type = String)]
    pub mime_type: &'static str,
}

/// Resources that the caller may read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Resources {
    pub resources: Vec<ResourceDescription>,
}

/// What is in a resource.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"uri": "ravendocs://assignments", "mimeType": "application/json", "text": "{\"assignments\": []}"}))]
pub struct ResourceContent {
    #[schema(value_type = String)]
    pub uri: &'static str,
    #[schema(value_type = String)]
    pub mime_type: &'static str,
    /// JSON.
    pub text: String,
}

/// A resource that was read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ResourceContents {
    pub contents: Vec<ResourceContent>,
}

/// Says that the caller subscribed. Nothing follows from it: resources are read, not watched.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"subscribed": true}))]
pub struct Subscribed {
    pub subscribed: bool,
}

/// Says that the caller is not subscribed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"unsubscribed": true}))]
pub struct Unsubscribed {
    pub unsubscribed: bool,
}

/// Values that an argument could have.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"values": [], "total": 0, "hasMore": false}))]
pub struct CompletionValues {
    pub values: Vec<String>,
    pub total: u32,
    pub has_more: bool,
}

/// Values that an argument could have.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Completion {
    pub completion: CompletionValues,
}

impl Completion {
    /// None are known.
    #[must_use]
    pub fn none() -> Self {
        Self { completion: CompletionValues { values: Vec::new(), total: 0, has_more: false } }
    }
}

/// An argument of a prompt.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"name": "topic", "description": "What the page is about", "required": true}))]
pub struct PromptArgument {
    #[schema(value_type = String)]
    pub name: &'static str,
    #[schema(value_type = String)]
    pub description: &'static str,
    pub required: bool,
}

/// A prompt.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"name": "start_work", "title": "Start to work", "description": "Look at one's assignments and take the next task",
    "arguments": []}))]
pub struct PromptDescription {
    #[schema(value_type = String)]
    pub name: &'static str,
    #[schema(value_type = String)]
    pub title: &'static str,
    #[schema(value_type = String)]
    pub description: &'static str,
    pub arguments: Vec<PromptArgument>,
}

/// Every prompt.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Prompts {
    pub prompts: Vec<PromptDescription>,
}

/// What a message of a prompt says.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"type": "text", "text": "Call agent_my_assignments."}))]
pub struct PromptContent {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: &'static str,
    pub text: String,
}

/// One message of a prompt.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PromptMessage {
    #[schema(value_type = String, example = "user")]
    pub role: &'static str,
    pub content: PromptContent,
}

/// A prompt with its arguments filled in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PromptText {
    #[schema(value_type = String, example = "Look at one's assignments and take the next task")]
    pub description: &'static str,
    pub messages: Vec<PromptMessage>,
}

/// Who answers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"name": "raven-agents", "version": "0.1.0"}))]
pub struct ServerInfo {
    #[schema(value_type = String)]
    pub name: &'static str,
    #[schema(value_type = String)]
    pub version: &'static str,
}

/// The greeting of MCP.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
    "serverInfo": {"name": "raven-agents", "version": "0.1.0"}, "instructions": "Begin with agent_my_assignments."}))]
pub struct Initialized {
    #[schema(value_type = String)]
    pub protocol_version: &'static str,
    #[schema(value_type = Object)]
    pub capabilities: Value,
    pub server_info: ServerInfo,
    #[schema(value_type = String)]
    pub instructions: &'static str,
}
/// What makes one MCP client know this service.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "codex", "name": "Codex", "file": "~/.codex/config.toml",
    "text": "[mcp_servers.raven-agents]\nurl = \"https://agents.example.com/api/mcp\"\nbearer_token_env_var = \"MCP_API_KEY\"\n"}))]
pub struct ClientConfiguration {
    #[schema(value_type = String)]
    pub id: &'static str,
    #[schema(value_type = String)]
    pub name: &'static str,
    /// Where the text belongs.
    #[schema(value_type = String)]
    pub file: &'static str,
    pub text: String,
}

/// What makes MCP clients know this service. The key is in none of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfigurations {
    #[schema(example = "https://agents.example.com/api/mcp")]
    pub url: String,
    /// Variable of the environment in which the clients look for the key.
    #[schema(value_type = String, example = "MCP_API_KEY")]
    pub key_variable: &'static str,
    pub clients: Vec<ClientConfiguration>,
}

impl ClientConfigurations {
    /// For the service at `app_url`.
    #[must_use]
    pub fn of(app_url: &str) -> Self {
        let clients = mcp_config::Client::ALL.map(|client| mcp_config::of(client, app_url)).into_iter().map(|configuration| {
            let mcp_config::Configuration { client, file, text } = configuration;
            ClientConfiguration { id: client.id(), name: client.name(), file, text }
        });
        Self { url: format!("{app_url}{}", mcp_config::PATH), key_variable: mcp_config::KEY_VARIABLE, clients: clients.collect() }
    }
}
