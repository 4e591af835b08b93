//! Tool calls that wait for a person's approval (REST contract §2.7).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use validator::Validate;

use super::time::Timestamp;
use crate::model::{
    ids::{AgentId, ApprovalId, UserId},
    tool_approval::ToolApproval as Row,
};

/// A call, or a permission that an agent asks for, that waits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"token": "019a0000-0000-7000-8000-000000000005", "method": "page.delete", "params": {"pageId": "019a0000-0000-7000-8000-000000000008"}, "expiresAt": "2030-01-01T09:00:00.000Z", "kind": "call", "reason": "it takes away what others made", "agentId": "scout", "requestedBy": "019a0000-0000-7000-8000-000000000002", "createdAt": "2030-01-01T09:00:00.000Z"}))]
pub struct ToolApproval {
    /// Names the approval; by itself it permits nothing.
    pub token: ApprovalId,
    /// `call`, or `permission` for a permission that the agent is to have for a while.
    #[schema(value_type = String, example = "call")]
    pub kind: &'static str,
    /// Dotted name of the call; `permission.grant` for a permission.
    pub method: String,
    /// Arguments of the call; for a permission `permission` and `minutes`.
    pub params: Value,
    /// Why it waits, or what the agent says that it is for.
    #[schema(required)]
    pub reason: Option<String>,
    pub expires_at: Timestamp,
    /// The agent that called; null for a person's own key.
    #[schema(required)]
    pub agent_id: Option<AgentId>,
    #[schema(required)]
    pub requested_by: Option<UserId>,
    pub created_at: Timestamp,
}

impl From<Row> for ToolApproval {
    fn from(approval: Row) -> Self {
        Self {
            token: approval.id,
            kind: approval.kind.as_str(),
            method: approval.method,
            reason: approval.reason,
            params: approval.params,
            expires_at: approval.expires_at.into(),
            agent_id: approval.agent,
            requested_by: approval.requested_by,
            created_at: approval.created_at.into(),
        }
    }
}

/// Body of a decision.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"approvalToken": "019a0000-0000-7000-8000-000000000005"}))]
pub struct DecideApproval {
    /// `token` of the call that waits.
    pub approval_token: ApprovalId,
}

/// A call that may go on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"approved": true, "result": {"approvalId": "019a0000-0000-7000-8000-000000000005", "status": "approved"}}))]
pub struct Confirmed {
    pub approved: bool,
    pub result: ConfirmedResult,
}

/// What follows from the approval.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"approvalId": "019a0000-0000-7000-8000-000000000005", "status": "approved"}))]
pub struct ConfirmedResult {
    /// The caller repeats its call with this, once.
    pub approval_id: ApprovalId,
    #[schema(value_type = String, example = "approved")]
    pub status: &'static str,
}

/// A call that was refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"deleted": true}))]
pub struct Rejected {
    pub deleted: bool,
}
