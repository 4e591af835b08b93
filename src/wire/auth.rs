//! Setup, sign-in and the caller's own account (REST contract §8.2, §8.3).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use validator::Validate;

use super::time::Timestamp;
use crate::model::{
    ids::{SpaceId, UserId, WorkspaceId},
    workspace::{Role, User as UserRow, Workspace as WorkspaceRow},
};

/// Body that makes the first workspace and its owner.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"workspaceName": "Acme", "name": "Ada", "email": "ada@example.com", "password": "correct horse battery"}))]
pub struct SetUp {
    #[validate(length(min = 3, max = 50, message = "must be 3 to 50 characters"), custom(function = super::access::visible_text))]
    #[schema(min_length = 3, max_length = 50, pattern = r"\S")]
    pub workspace_name: String,
    #[validate(length(min = 1, max = 50, message = "must be 1 to 50 characters"), custom(function = super::access::visible_text))]
    #[schema(min_length = 1, max_length = 50, pattern = r"\S")]
    pub name: String,
    #[validate(email(message = "must be an email address"), length(max = 254, message = "must be at most 254 characters"))]
    #[schema(format = "email", max_length = 254)]
    pub email: String,
    #[validate(length(min = 8, max = 70, message = "must be 8 to 70 characters"), custom(function = hashable))]
    #[schema(min_length = 8, max_length = 70)]
    pub password: String,
}

/// bcrypt reads 72 bytes and no more.
fn hashable(password: &str) -> Result<(), validator::ValidationError> {
    if password.len() <= 72 {
        return Ok(());
    }
    Err(validator::ValidationError::new("length").with_message("must be at most 72 bytes".into()))
}

/// Body that signs a person in.
#[derive(Deserialize, Validate, ToSchema)]
#[schema(example = json!({"email": "ada@example.com", "password": "correct horse battery"}))]
pub struct Login {
    #[validate(length(min = 1, max = 254, message = "must be 1 to 254 characters"))]
    #[schema(min_length = 1, max_length = 254)]
    pub email: String,
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub password: String,
}

/// What anybody may know of the workspace before signing in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "019a0000-0000-7000-8000-000000000001", "name": "Acme", "logo": null, "hostname": null}))]
pub struct PublicWorkspace {
    pub id: WorkspaceId,
    #[schema(required)]
    pub name: Option<String>,
    #[schema(required)]
    pub logo: Option<String>,
    #[schema(required)]
    pub hostname: Option<String>,
}

impl From<WorkspaceRow> for PublicWorkspace {
    fn from(workspace: WorkspaceRow) -> Self {
        Self { id: workspace.id, name: workspace.name, logo: workspace.logo, hostname: workspace.hostname }
    }
}

/// The caller's account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "019a0000-0000-7000-8000-000000000002", "workspaceId": "019a0000-0000-7000-8000-000000000001", "name": "Ada",
    "email": "ada@example.com", "avatarUrl": null, "role": "owner", "locale": null, "timezone": null, "settings": null,
    "emailVerifiedAt": null, "lastLoginAt": "2026-01-02T03:04:05.678Z", "deactivatedAt": null, "deletedAt": null,
    "createdAt": "2026-01-02T03:04:05.678Z", "updatedAt": "2026-01-02T03:04:05.678Z"
}))]
pub struct User {
    pub id: UserId,
    pub workspace_id: WorkspaceId,
    #[schema(required)]
    pub name: Option<String>,
    pub email: String,
    #[schema(required)]
    pub avatar_url: Option<String>,
    pub role: Role,
    #[schema(required)]
    pub locale: Option<String>,
    #[schema(required)]
    pub timezone: Option<String>,
    #[schema(required)]
    pub settings: Option<Value>,
    #[schema(required)]
    pub email_verified_at: Option<Timestamp>,
    #[schema(required)]
    pub last_login_at: Option<Timestamp>,
    #[schema(required)]
    pub deactivated_at: Option<Timestamp>,
    #[schema(required)]
    pub deleted_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<UserRow> for User {
    fn from(user: UserRow) -> Self {
        Self {
            id: user.id,
            workspace_id: user.workspace_id,
            name: user.name,
            email: user.email,
            avatar_url: user.avatar_url,
            role: user.role,
            locale: user.locale,
            timezone: user.timezone,
            settings: user.settings,
            email_verified_at: user.email_verified_at.map(Into::into),
            last_login_at: user.last_login_at.map(Into::into),
            deactivated_at: user.deactivated_at.map(Into::into),
            deleted_at: None,
            created_at: user.created_at.into(),
            updated_at: user.updated_at.into(),
        }
    }
}

/// The caller's workspace. Of its settings only what every member may know (D-19).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "019a0000-0000-7000-8000-000000000001", "name": "Acme", "description": null, "logo": null, "hostname": null, "customDomain": null,
    "defaultSpaceId": "019a0000-0000-7000-8000-000000000006", "status": "active", "emailDomains": [],
    "settings": {"agent": {"enabled": true, "enableActivityTracking": true, "allowAgentChat": true}}, "memberCount": 1,
    "createdAt": "2026-01-02T03:04:05.678Z", "updatedAt": "2026-01-02T03:04:05.678Z"
}))]
pub struct Workspace {
    pub id: WorkspaceId,
    #[schema(required)]
    pub name: Option<String>,
    #[schema(required)]
    pub description: Option<String>,
    #[schema(required)]
    pub logo: Option<String>,
    #[schema(required)]
    pub hostname: Option<String>,
    #[schema(required)]
    pub custom_domain: Option<String>,
    #[schema(required)]
    pub default_space_id: Option<SpaceId>,
    #[schema(required)]
    pub status: Option<String>,
    pub email_domains: Vec<String>,
    pub settings: Value,
    pub member_count: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Workspace {
    #[must_use]
    pub fn with_members(workspace: WorkspaceRow, member_count: i64) -> Self {
        let agent_setting = |name: &str| workspace.settings.pointer(&format!("/agent/{name}")).and_then(Value::as_bool).unwrap_or(true);
        let settings = json!({"agent": {
            "enabled": agent_setting("enabled"),
            "enableActivityTracking": agent_setting("enableActivityTracking"),
            "allowAgentChat": agent_setting("allowAgentChat"),
        }});
        Self {
            id: workspace.id,
            name: workspace.name,
            description: workspace.description,
            logo: workspace.logo,
            hostname: workspace.hostname,
            custom_domain: workspace.custom_domain,
            default_space_id: workspace.default_space_id,
            status: workspace.status,
            email_domains: workspace.email_domains,
            settings,
            member_count,
            created_at: workspace.created_at.into(),
            updated_at: workspace.updated_at.into(),
        }
    }
}

/// The caller's account and workspace.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    pub user: User,
    pub workspace: Workspace,
}
