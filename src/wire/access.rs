//! Access requests, claims and registrations: what agents send before they have a key.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use super::{agents::Agent, input::permissions, problem::Problem};
use crate::model::{
    address::is_link_local,
    agent::{AgentStatus, Profile},
    ids::{AgentId, WorkspaceId},
};

/// What an agent may store about itself, in bytes of JSON.
const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Refuses a text that shows nothing.
pub fn visible_text(text: &str) -> Result<(), ValidationError> {
    if text.trim().is_empty() { Err(ValidationError::new("blank").with_message("must not be blank".into())) } else { Ok(()) }
}

/// Refuses a name that shows nothing, or in which something acts on what shows it.
pub fn plain_name(text: &str) -> Result<(), ValidationError> {
    if text.chars().any(char::is_control) {
        return Err(ValidationError::new("control").with_message("must not contain control characters".into()));
    }
    visible_text(text)
}

fn capability_list(items: &[String]) -> Result<(), ValidationError> {
    let fits = |item: &String| (1..=64).contains(&item.chars().count());
    if items.len() <= 64 && items.iter().all(fits) {
        return Ok(());
    }
    Err(ValidationError::new("capabilities").with_message("must be at most 64 texts of 1 to 64 characters".into()))
}

fn web_url(text: &str) -> Result<(), ValidationError> {
    if is_plain_url(text, &["http", "https"]) {
        return Ok(());
    }
    Err(ValidationError::new("url").with_message("must be an http or https URL without a user name, and no link-local address".into()))
}

fn https_url(text: &str) -> Result<(), ValidationError> {
    if is_plain_url(text, &["https"]) {
        return Ok(());
    }
    Err(ValidationError::new("url").with_message("must be an https URL without a user name, and no link-local address".into()))
}

/// Whether a text is an absolute URL that carries no credentials and does not lead to where clouds
/// keep their metadata: people's browsers and other programs may follow it (D-14).
fn is_plain_url(text: &str, schemes: &[&str]) -> bool {
    let Some(url) = (text.len() <= 2000).then(|| reqwest::Url::parse(text).ok()).flatten() else { return false };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let address = host.parse::<IpAddr>().ok();
    schemes.contains(&url.scheme())
        && !host.is_empty()
        && url.username().is_empty()
        && url.password().is_none()
        && !address.is_some_and(is_link_local)
}

fn free_id(id: &AgentId) -> Result<(), ValidationError> {
    id.may_be_chosen().map_err(|error| ValidationError::new("reserved").with_message(error.to_string().into()))
}

fn small_object(metadata: &Map<String, Value>) -> Result<(), ValidationError> {
    let bytes = serde_json::to_vec(metadata).map_or(usize::MAX, |bytes| bytes.len());
    if bytes <= METADATA_BYTES_MAX { Ok(()) } else { Err(ValidationError::new("size").with_message("must be at most 16 KiB".into())) }
}

/// The name from the two fields that may carry it.
fn name_of(agent_name: Option<&str>, name: Option<&str>) -> Result<String, Problem> {
    let given = agent_name.or(name).ok_or_else(|| Problem::invalid("agentName", "is missing"))?;
    Ok(given.trim().to_owned())
}

/// The fields that both kinds of request share, as a profile.
macro_rules! profile_of {
    ($request:expr) => {
        Ok(Profile {
            name: name_of($request.agent_name.as_deref(), $request.name.as_deref())?,
            description: $request.description.clone(),
            avatar_url: $request.avatar_url.clone(),
            capabilities: $request.capabilities.clone(),
            requested: permissions("requestedPermissions", &$request.requested_permissions)?,
            metadata: Value::Object($request.metadata.clone()),
            endpoint: $request.endpoint.clone(),
        })
    };
}

/// Body of an access request.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "workspaceId": "019a0000-0000-7000-8000-000000000001", "agentId": "scout", "agentName": "Scout",
    "capabilities": ["code"], "requestedPermissions": ["read:pages"], "justification": "Answers questions about the docs"
}))]
pub struct AccessRequest {
    /// May be given as the header `X-Workspace-Id` instead.
    pub workspace_id: Option<WorkspaceId>,
    #[validate(custom(function = free_id))]
    pub agent_id: AgentId,
    /// The agent's name, 1 to 100 characters; this or `name` must be there.
    #[validate(length(min = 1, max = 100, message = "must be 1 to 100 characters"), custom(function = plain_name))]
    #[schema(min_length = 1, max_length = 100, pattern = r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$")]
    pub agent_name: Option<String>,
    /// Means the same as `agentName`.
    #[validate(length(min = 1, max = 100, message = "must be 1 to 100 characters"), custom(function = plain_name))]
    #[schema(min_length = 1, max_length = 100, pattern = r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$")]
    pub name: Option<String>,
    #[serde(default)]
    #[validate(custom(function = capability_list))]
    #[schema(max_items = 64)]
    pub capabilities: Vec<String>,
    #[validate(length(min = 1, max = 64, message = "must name at least one permission"))]
    #[schema(min_items = 1, max_items = 64)]
    pub requested_permissions: Vec<String>,
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub description: Option<String>,
    #[serde(default)]
    #[validate(custom(function = small_object))]
    pub metadata: Map<String, Value>,
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub justification: Option<String>,
    #[validate(custom(function = web_url))]
    #[schema(format = "uri", max_length = 2000, pattern = "^https?://")]
    pub endpoint: Option<String>,
    #[validate(custom(function = https_url))]
    #[schema(format = "uri", max_length = 2000, pattern = "^https://")]
    pub avatar_url: Option<String>,
    /// The secret of an earlier request under this id, to ask again.
    pub claim_secret: Option<String>,
}

impl AccessRequest {
    /// What the agent says of itself.
    ///
    /// Errors: a field that breaks a rule.
    pub fn profile(&self) -> Result<Profile, Problem> {
        profile_of!(self)
    }
}

/// Answer to an access request with the webhook secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestedAgent {
    #[serde(flatten)]
    pub agent: Agent,
    /// Collects the key once approved; given when the request is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "agent_claim_…")]
    pub claim_secret: Option<String>,
}

/// Answer to an access request without it: no more than the requester knows. It has no other field, so
/// that in the document no answer is of both kinds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"id": "scout", "status": "pending", "claimSecret": "agent_claim_…"}))]
pub struct PublicRequest {
    pub id: AgentId,
    pub status: AgentStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_secret: Option<String>,
}

/// Either answer to an access request.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Requested {
    Trusted(Box<RequestedAgent>),
    Public(PublicRequest),
}

/// Body of a claim.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"workspaceId": "019a0000-0000-7000-8000-000000000001", "agentId": "scout", "claimSecret": "agent_claim_…"}))]
pub struct Claim {
    pub workspace_id: WorkspaceId,
    pub agent_id: AgentId,
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub claim_secret: String,
}

/// How a request stands; the key is there once, the first time after approval.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"status": "approved", "grantedPermissions": ["read:pages"], "mcpApiKey": "mcp_agent_…"}))]
pub struct Claimed {
    pub status: AgentStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted_permissions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_api_key: Option<String>,
}

/// Body of a registration by invite.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"inviteToken": "agent_inv_…", "agentId": "scout", "name": "Scout", "capabilities": ["code"]}))]
pub struct RegisterAgent {
    #[validate(length(min = 1, max = 200, message = "must be 1 to 200 characters"))]
    #[schema(min_length = 1, max_length = 200)]
    pub invite_token: String,
    #[validate(custom(function = free_id))]
    pub agent_id: AgentId,
    /// The agent's name, 1 to 100 characters; this or `name` must be there.
    #[validate(length(min = 1, max = 100, message = "must be 1 to 100 characters"), custom(function = plain_name))]
    #[schema(min_length = 1, max_length = 100, pattern = r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$")]
    pub agent_name: Option<String>,
    /// Means the same as `agentName`.
    #[validate(length(min = 1, max = 100, message = "must be 1 to 100 characters"), custom(function = plain_name))]
    #[schema(min_length = 1, max_length = 100, pattern = r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$")]
    pub name: Option<String>,
    #[serde(default)]
    #[validate(custom(function = capability_list))]
    #[schema(max_items = 64)]
    pub capabilities: Vec<String>,
    #[validate(custom(function = https_url))]
    #[schema(format = "uri", max_length = 2000, pattern = "^https://")]
    pub avatar_url: Option<String>,
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub description: Option<String>,
    /// For information; the invite decides what is granted.
    #[serde(default)]
    #[validate(length(max = 64, message = "must be at most 64 permissions"))]
    #[schema(max_items = 64)]
    pub requested_permissions: Vec<String>,
    #[serde(default)]
    #[validate(custom(function = small_object))]
    pub metadata: Map<String, Value>,
    #[validate(custom(function = web_url))]
    #[schema(format = "uri", max_length = 2000, pattern = "^https?://")]
    pub endpoint: Option<String>,
    /// The secret of an access request under this id, if one waits.
    pub claim_secret: Option<String>,
}

impl RegisterAgent {
    /// What the agent says of itself.
    ///
    /// Errors: a field that breaks a rule.
    pub fn profile(&self) -> Result<Profile, Problem> {
        profile_of!(self)
    }
}

/// A registered agent with its API key, shown this once: in the envelope, and beside it for agents
/// that read the answer without one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredAgent {
    pub data: super::agents::ApprovedAgent,
    pub success: bool,
    pub status: u16,
    pub agent: Agent,
    #[schema(example = "mcp_agent_…")]
    pub mcp_api_key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_something_and_acts_on_nothing() {
        assert!(plain_name("Scout, the 2nd \u{1f50e}").is_ok());
        for bad in ["", "  ", "Scout\u{1b}[2J", "a\nb", "\u{9b}31m", "a\0"] {
            assert!(plain_name(bad).is_err(), "{bad:?}");
        }
    }
}
