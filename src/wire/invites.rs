//! Invites as the REST API shows them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::time::Timestamp;
use crate::model::{
    ids::{InviteId, UserId, WorkspaceId},
    invite::InviteView,
};

/// Body that makes an invite.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"name": "CI agents", "permissions": ["read:pages"], "usesRemaining": 3, "expiresAt": "2030-01-01T00:00:00.000Z"}))]
pub struct CreateInvite {
    #[validate(length(min = 1, max = 100, message = "must be 1 to 100 characters"), custom(function = super::access::visible_text))]
    #[schema(min_length = 1, max_length = 100, pattern = r"\S")]
    pub name: String,
    #[validate(length(max = 500, message = "must be at most 500 characters"))]
    #[schema(max_length = 500)]
    pub description: Option<String>,
    #[validate(length(min = 1, max = 64, message = "must name at least one permission"))]
    #[schema(min_items = 1, max_items = 64)]
    pub permissions: Vec<String>,
    /// Without it the invite may be used any number of times.
    #[validate(range(min = 1, max = 1_000_000, message = "must be a whole number from 1 to 1000000"))]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub uses_remaining: Option<i32>,
    /// Without it the invite does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Which invites a list shows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub struct InviteQuery {
    /// Whether to show revoked invites too.
    pub include_revoked: Option<bool>,
}

/// An invite.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "019a0000-0000-7000-8000-000000000003", "workspaceId": "019a0000-0000-7000-8000-000000000001", "name": "CI agents", "description": null,
    "token": "agent_inv_…", "permissions": ["read:pages"], "usesRemaining": 3, "usesCount": 0, "expiresAt": "2030-01-01T00:00:00.000Z",
    "revokedAt": null, "createdBy": "019a0000-0000-7000-8000-000000000002", "createdAt": "2026-01-02T03:04:05.678Z", "updatedAt": "2026-01-02T03:04:05.678Z"
}))]
pub struct Invite {
    pub id: InviteId,
    pub workspace_id: WorkspaceId,
    pub name: String,
    #[schema(required)]
    pub description: Option<String>,
    /// The whole token while it can admit somebody, masked after.
    pub token: String,
    pub permissions: Vec<String>,
    #[schema(required)]
    pub uses_remaining: Option<i32>,
    pub uses_count: i32,
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    #[schema(required)]
    pub revoked_at: Option<Timestamp>,
    #[schema(required)]
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<InviteView> for Invite {
    fn from(InviteView { invite, token }: InviteView) -> Self {
        Self {
            id: invite.id,
            workspace_id: invite.workspace,
            name: invite.name,
            description: invite.description,
            // The web UI cuts the first twenty characters, so a mask is longer than that.
            token: token.map_or_else(|| format!("{}{}", invite.token_prefix, "•".repeat(20)), |token| token.expose().to_owned()),
            permissions: invite.permissions.to_strings(),
            uses_remaining: invite.uses_remaining,
            uses_count: invite.uses_count,
            expires_at: invite.expires_at.map(Into::into),
            revoked_at: invite.revoked_at.map(Into::into),
            created_by: invite.created_by,
            created_at: invite.created_at.into(),
            updated_at: invite.updated_at.into(),
        }
    }
}
