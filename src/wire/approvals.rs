//! Tool calls that wait for a person's approval (REST contract §2.7).

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use validator::Validate;

use super::{input, problem::Problem, time::Timestamp};
use crate::model::{
    cursor::{Cursor, NoCursor},
    ids::{AgentId, ApprovalId, UserId},
    tool_approval::{Named, Waiting},
};

/// Approvals listed when the caller does not say: as many as may be.
const LIMIT: u64 = 200;

/// Which part of what waits is wanted.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"limit": 200}))]
pub struct ListApprovals {
    /// 1 to 200. An answer of about 2 MiB ends before.
    #[schema(minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `nextCursor` of an earlier answer: what was asked for after its last.
    pub cursor: Option<String>,
}

impl ListApprovals {
    /// The limit and the place.
    ///
    /// Errors: a field that breaks a rule.
    pub fn read(self) -> Result<(u64, Option<Cursor<ApprovalId>>), Problem> {
        let limit = input::limit(self.limit, LIMIT)?;
        let after = self.cursor.map(|text| text.parse()).transpose();
        let after = after.map_err(|error: NoCursor| Problem::invalid("cursor", &error.to_string()))?;
        Ok((limit, after))
    }
}

/// One page of what waits in its envelope, with the cursor beside it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"data": [{"token": "019a0000-0000-7000-8000-000000000005", "method": "page.delete", "params": {"pageId": "019a0000-0000-7000-8000-000000000008"}, "named": [{"argument": "pageId", "kind": "page", "title": "Roadmap"}], "expiresAt": "2030-01-01T09:00:00.000Z", "kind": "call", "reason": "it takes away what others made", "askedInAdvance": false, "agentId": "scout", "requestedBy": "019a0000-0000-7000-8000-000000000002", "createdAt": "2030-01-01T09:00:00.000Z"}], "success": true, "status": 200, "nextCursor": null}))]
pub struct ApprovalsPage {
    pub data: Vec<ToolApproval>,
    pub success: bool,
    pub status: u16,
    /// For what was asked for after these; null when there is nothing more.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl ApprovalsPage {
    /// What was asked for, and where what was asked for later begins.
    #[must_use]
    pub fn of(rows: Vec<Waiting>, next: Option<Cursor<ApprovalId>>) -> Self {
        let next_cursor = next.map(|next| next.to_string());
        Self { data: rows.into_iter().map(Into::into).collect(), success: true, status: 200, next_cursor }
    }
}

impl IntoResponse for ApprovalsPage {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// A call, or a permission that an agent asks for, that waits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"token": "019a0000-0000-7000-8000-000000000005", "method": "page.delete", "params": {"pageId": "019a0000-0000-7000-8000-000000000008"}, "named": [{"argument": "pageId", "kind": "page", "title": "Roadmap"}], "expiresAt": "2030-01-01T09:00:00.000Z", "kind": "call", "reason": "it takes away what others made", "askedInAdvance": false, "agentId": "scout", "requestedBy": "019a0000-0000-7000-8000-000000000002", "createdAt": "2030-01-01T09:00:00.000Z"}))]
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
    /// What arguments name by their ids, as far as the person who asks sees it.
    pub named: Vec<NamedThing>,
    /// Why it waits. Of a permission, and of a call that was asked for in advance, what the caller says that it is for.
    #[schema(required)]
    pub reason: Option<String>,
    /// Whether the caller asked before it called: `reason` is its own words then.
    pub asked_in_advance: bool,
    pub expires_at: Timestamp,
    /// The agent that called; null for a person's own key.
    #[schema(required)]
    pub agent_id: Option<AgentId>,
    #[schema(required)]
    pub requested_by: Option<UserId>,
    pub created_at: Timestamp,
}

/// What an argument of a call names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"argument": "pageId", "kind": "page", "title": "Roadmap"}))]
pub struct NamedThing {
    pub argument: String,
    /// `page`, `task`, `project`, `space`, `comment` or `person`.
    #[schema(value_type = String, example = "page")]
    pub kind: &'static str,
    /// Its title or name, of a comment the title of its page; null where it has none.
    #[schema(required)]
    pub title: Option<String>,
}

impl From<Named> for NamedThing {
    fn from(named: Named) -> Self {
        Self { argument: named.argument, kind: named.kind.as_str(), title: named.title }
    }
}

impl From<Waiting> for ToolApproval {
    fn from(Waiting { approval, named }: Waiting) -> Self {
        Self {
            named: named.into_iter().map(Into::into).collect(),
            token: approval.id,
            kind: approval.kind.as_str(),
            method: approval.method,
            reason: approval.reason,
            asked_in_advance: approval.in_advance,
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
