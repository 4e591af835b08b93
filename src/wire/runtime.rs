//! What runtimes post to us (runtime contract §12).

use serde::Deserialize;
use utoipa::ToSchema;
use validator::Validate;

use crate::model::ids::{AgentId, WorkspaceId};

/// Body of the spawn callback.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"workspaceId": "019a0000-0000-7000-8000-000000000001", "agentId": "scout", "status": "ready"}))]
pub struct SpawnCallback {
    pub workspace_id: WorkspaceId,
    pub agent_id: AgentId,
    #[schema(inline)]
    pub status: CallbackStatus,
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub error: Option<String>,
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub login_url: Option<String>,
    /// With `requires_login`: what a person has to do.
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub instructions: Option<String>,
    /// With `requires_login`: what a person has to enter at `loginUrl`.
    #[validate(length(max = 64, message = "must be at most 64 characters"))]
    #[schema(max_length = 64)]
    pub device_code: Option<String>,
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub mcp_endpoint: Option<String>,
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub runtime_session_id: Option<String>,
}

/// What the callback reports.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallbackStatus {
    Ready,
    Failed,
    #[serde(alias = "login_required")]
    RequiresLogin,
}

/// Body of a heartbeat.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"workspaceId": "019a0000-0000-7000-8000-000000000001", "runtimeId": "host-1", "activeAgents": 2, "version": "0.1.0"}))]
pub struct RuntimeHeartbeat {
    pub workspace_id: WorkspaceId,
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub runtime_id: String,
    pub active_agents: Option<u32>,
    #[validate(length(max = 100, message = "must be at most 100 characters"))]
    #[schema(max_length = 100)]
    pub version: Option<String>,
}
