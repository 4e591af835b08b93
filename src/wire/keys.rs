//! API keys as the REST API shows them (REST contract §2.6).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::{agents::Receipt, time::Timestamp};
use crate::model::{
    ids::{AgentId, UserId, WorkspaceId},
    key::{ApiKey as Row, KeyKind},
};

/// Body that makes a key for the caller's own use.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"name": "Laptop"}))]
pub struct CreateKey {
    #[validate(length(min = 3, max = 100, message = "must be 3 to 100 characters"), custom(function = super::access::visible_text))]
    pub name: String,
    /// Without it the key does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Body of a handoff: as [`CreateKey`], with a name that has a default.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"name": "Agent handoff"}))]
pub struct Handoff {
    #[validate(length(min = 3, max = 100, message = "must be 3 to 100 characters"), custom(function = super::access::visible_text))]
    pub name: Option<String>,
}

/// A key made by a handoff, shown this once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"apiKey": "mcp_…", "name": "Agent handoff"}))]
pub struct HandedOff {
    pub api_key: String,
    pub name: String,
}

/// Body by which an operator's script makes a key for a person.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"name": "Nightly job", "userId": "019a0000-0000-7000-8000-000000000002", "workspaceId": "019a0000-0000-7000-8000-000000000001"}))]
pub struct RegisterKey {
    #[validate(length(min = 3, max = 100, message = "must be 3 to 100 characters"), custom(function = super::access::visible_text))]
    pub name: String,
    pub user_id: UserId,
    pub workspace_id: WorkspaceId,
}

/// Body of a rotation.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"graceSeconds": 3600}))]
pub struct RotateKey {
    /// How long the earlier key stays good beside the new one, up to a week; 0 ends it at once.
    #[serde(default)]
    #[validate(range(min = 0, max = 604_800, message = "must be a whole number of seconds from 0 to 604800"))]
    pub grace_seconds: i64,
    /// Without it the new key does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key that was just made, shown this once.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"key": "mcp_…", "id": "0b0d3c1e-8a53-4a36-9c35-2c3a1d6d2f10", "message": "Keep this key: it is not shown again."}))]
pub struct CreatedKey {
    pub key: String,
    pub id: String,
    #[schema(value_type = String)]
    pub message: &'static str,
}

/// A key in a list: never the key itself, nor its hash (D-11).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"id": "0b0d3c1e-8a53-4a36-9c35-2c3a1d6d2f10", "userId": "019a0000-0000-7000-8000-000000000002", "workspaceId": "019a0000-0000-7000-8000-000000000001", "agentId": null, "kind": "user", "name": "Laptop", "keyPrefix": "mcp_3f9a1c07", "lastUsedAt": null, "expiresAt": null, "revokedAt": null, "createdAt": "2030-01-01T09:00:00.000Z", "updatedAt": "2030-01-01T09:00:00.000Z"}))]
pub struct ApiKey {
    pub id: String,
    pub user_id: UserId,
    pub workspace_id: WorkspaceId,
    #[schema(required)]
    pub agent_id: Option<AgentId>,
    pub kind: KeyKind,
    pub name: String,
    /// The first characters of the key.
    pub key_prefix: String,
    #[schema(required)]
    pub last_used_at: Option<Timestamp>,
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    #[schema(required)]
    pub revoked_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<Row> for ApiKey {
    fn from(key: Row) -> Self {
        Self {
            id: key.id,
            user_id: key.user,
            workspace_id: key.workspace,
            agent_id: key.agent,
            kind: key.kind,
            name: key.name,
            key_prefix: key.prefix,
            last_used_at: key.last_used_at.map(Into::into),
            expires_at: key.expires_at.map(Into::into),
            revoked_at: key.revoked_at.map(Into::into),
            created_at: key.created_at.into(),
            updated_at: key.updated_at.into(),
        }
    }
}

/// Keys, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"keys": [{"id": "0b0d3c1e-8a53-4a36-9c35-2c3a1d6d2f10", "userId": "019a0000-0000-7000-8000-000000000002", "workspaceId": "019a0000-0000-7000-8000-000000000001", "agentId": null, "kind": "user", "name": "Laptop", "keyPrefix": "mcp_3f9a1c07", "lastUsedAt": null, "expiresAt": null, "revokedAt": null, "createdAt": "2030-01-01T09:00:00.000Z", "updatedAt": "2030-01-01T09:00:00.000Z"}]}))]
pub struct ApiKeys {
    pub keys: Vec<ApiKey>,
}

/// A key that was revoked, with what was closed with it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"message": "API key revoked", "receipt": {"keys": 1, "sockets": 2, "streams": 0, "sessions": 0, "assignments": 0, "runs": 0, "processesEnded": 0, "tookMs": 12}}))]
pub struct RevokedKey {
    #[schema(value_type = String)]
    pub message: &'static str,
    pub receipt: Receipt,
}
