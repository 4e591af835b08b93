//! API keys: of people, of agents, and by an operator's script.

use std::time::Instant;

use axum::{extract::State, http::HeaderMap};
use chrono::TimeDelta;
use subtle::ConstantTimeEq as _;

use super::{
    callers::{Manager, Member},
    input::{Body, Param},
    revocation::{Ended, Revocation},
};
use crate::{
    app::App,
    domain::keys::{self, Minted, Rotation},
    model::{actor::Subject, agent::AgentView, ids::AgentId},
    wire::{
        agents::{Agent, ApprovedAgent},
        envelope::Envelope,
        keys::{ApiKey, ApiKeys, CreateKey, CreatedKey, HandedOff, Handoff, RegisterKey, RevokedKey, RotateKey},
        mcp::ClientConfigurations,
        problem::{AdminErrors, PersonErrors, Problem},
    },
};

/// Carries the operator's token for making keys.
pub(super) const REGISTRATION_TOKEN_HEADER: &str = "x-registration-token";

fn created(minted: Minted) -> CreatedKey {
    CreatedKey { key: minted.secret.expose().to_owned(), id: minted.key_id, message: "Keep this key: it is not shown again." }
}

fn rotation(body: &RotateKey) -> Rotation {
    Rotation { grace: TimeDelta::seconds(body.grace_seconds), expires_at: body.expires_at }
}

/// Get what makes MCP clients know this service.
///
/// Ready to be pasted. The key is in none of it: clients read it from their environment.
#[utoipa::path(get, path = "/api/mcp-config", operation_id = "getMcpConfig", tag = "mcp", security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<ClientConfigurations>), PersonErrors))]
pub(super) async fn mcp_config(State(app): State<App>, _: Member) -> Envelope<ClientConfigurations> {
    Envelope::ok(ClientConfigurations::of(&app.settings.app_url))
}

/// List the caller's API keys.
///
/// Newest first, without revoked ones.
#[utoipa::path(get, path = "/api/api-keys", operation_id = "listApiKeys", tag = "keys", security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<ApiKeys>), PersonErrors))]
pub(super) async fn list(State(app): State<App>, Member(person): Member) -> Result<Envelope<ApiKeys>, Problem> {
    let found = keys::own(&mut *app.read().await?, &person).await?;
    Ok(Envelope::ok(ApiKeys { keys: found.into_iter().map(Into::into).collect() }))
}

/// Create an API key.
///
/// For the caller's own use; the key is shown this once.
#[utoipa::path(post, path = "/api/api-keys", operation_id = "createApiKey", tag = "keys", security(("person" = []), ("cookie" = [])),
    request_body = CreateKey, responses((status = 201, body = Envelope<CreatedKey>), PersonErrors, AdminErrors))]
pub(super) async fn create(
    State(app): State<App>,
    Manager(admin): Manager,
    Body(body): Body<CreateKey>,
) -> Result<Envelope<CreatedKey>, Problem> {
    let mut tx = app.begin().await?;
    let minted = keys::create(&mut tx, &admin, body.name.trim().to_owned(), body.expires_at).await?;
    tx.commit().await?;
    Ok(Envelope::created(created(minted)))
}

/// Rotate one of the caller's API keys.
///
/// Makes a key of the same name; the earlier one ends at once or after the grace period.
#[utoipa::path(post, path = "/api/api-keys/{keyId}/rotate", operation_id = "rotateApiKey", tag = "keys",
    params(("keyId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = Option<RotateKey>,
    responses((status = 201, body = Envelope<CreatedKey>), PersonErrors, AdminErrors))]
pub(super) async fn rotate(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<String>,
    Body(body): Body<RotateKey>,
) -> Result<Envelope<CreatedKey>, Problem> {
    let mut tx = app.begin().await?;
    let minted = keys::rotate_own(&mut tx, &admin, &id, rotation(&body)).await?;
    tx.commit().await?;
    app.access_cache.forget(&Subject::Key(id));
    Ok(Envelope::created(created(minted)))
}

/// Revoke one of the caller's API keys.
///
/// Connections that were opened with it are closed.
#[utoipa::path(delete, path = "/api/api-keys/{keyId}", operation_id = "revokeApiKey", tag = "keys", params(("keyId" = String, Path)),
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<RevokedKey>), PersonErrors))]
pub(super) async fn revoke(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<String>,
) -> Result<Envelope<RevokedKey>, Problem> {
    let started = Instant::now();
    let mut tx = app.begin().await?;
    let key = keys::revoke_own(&mut tx, &person, &id).await?;
    let revocation = Revocation::of(&app, Subject::Key(key.id.clone()), started);
    tx.commit().await?;
    revoked(&app, revocation, key.revoked_at.is_none()).await
}

async fn revoked(app: &App, revocation: Revocation, was_live: bool) -> Result<Envelope<RevokedKey>, Problem> {
    let ended = revocation.carry_out(app, None).await;
    Ok(Envelope::ok(RevokedKey { message: "API key revoked", receipt: Ended { keys: was_live.into(), ..ended }.into() }))
}

/// Create an API key for somebody.
///
/// For an operator's script, with the token in `x-registration-token`. Without a configured token nobody may.
#[utoipa::path(post, path = "/api/api-keys/register", operation_id = "registerApiKey", tag = "keys", security(("registration" = [])),
    request_body = RegisterKey, responses((status = 201, body = Envelope<CreatedKey>), PersonErrors, AdminErrors))]
pub(super) async fn register(State(app): State<App>, _: Registrar, Body(body): Body<RegisterKey>) -> Result<Envelope<CreatedKey>, Problem> {
    let mut tx = app.begin().await?;
    let minted = keys::register(&mut tx, body.workspace_id, body.user_id, body.name.trim().to_owned()).await?;
    tx.commit().await?;
    Ok(Envelope::created(created(minted)))
}

/// Somebody who knows the operator's token for making keys (D-12).
pub(super) struct Registrar;

impl axum::extract::FromRequestParts<App> for Registrar {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &App) -> Result<Self, Problem> {
        let known = app.settings.key_registration_token.as_deref().unwrap_or_default();
        let presented = presented(&parts.headers);
        let same: bool = presented.ct_eq(known.as_bytes()).into();
        if same && !known.is_empty() { Ok(Self) } else { Err(Problem::unauthorized()) }
    }
}

fn presented(headers: &HeaderMap) -> &[u8] {
    headers.get(REGISTRATION_TOKEN_HEADER).map_or(&[], |value| value.as_bytes())
}

/// Hand an API key to an agent.
///
/// Makes a key for the caller, as creating one does, in the shape that the settings page reads.
#[utoipa::path(post, path = "/api/agent/handoff", operation_id = "handOffKey", tag = "keys", security(("person" = []), ("cookie" = [])),
    request_body = Option<Handoff>, responses((status = 200, body = Envelope<HandedOff>), PersonErrors, AdminErrors))]
pub(super) async fn hand_off(
    State(app): State<App>,
    Manager(admin): Manager,
    Body(body): Body<Handoff>,
) -> Result<Envelope<HandedOff>, Problem> {
    let name = body.name.map_or_else(|| "Agent handoff".to_owned(), |name| name.trim().to_owned());
    let mut tx = app.begin().await?;
    let minted = keys::create(&mut tx, &admin, name, None).await?;
    tx.commit().await?;
    Ok(Envelope::ok(HandedOff { api_key: minted.secret.expose().to_owned(), name: minted.name }))
}

/// List an agent's API keys.
///
/// Newest first, revoked ones included.
#[utoipa::path(get, path = "/api/parallax-agents/{agentId}/keys", operation_id = "listAgentKeys", tag = "keys",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<ApiKeys>), PersonErrors, AdminErrors))]
pub(super) async fn of_agent(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
) -> Result<Envelope<ApiKeys>, Problem> {
    let mut conn = app.read().await?;
    crate::domain::agents::find(&mut conn, admin.workspace(), &id).await?.ok_or_else(super::problem::agent_not_found)?;
    let found = keys::of_agent(&mut conn, &admin, &id).await?;
    Ok(Envelope::ok(ApiKeys { keys: found.into_iter().map(ApiKey::from).collect() }))
}

/// Rotate an agent's API key.
///
/// Returns the new key, this once. Every earlier key ends at once or after the grace period.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/keys/rotate", operation_id = "rotateAgentKey", tag = "keys",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = Option<RotateKey>,
    responses((status = 200, body = Envelope<ApprovedAgent>), PersonErrors, AdminErrors))]
pub(super) async fn rotate_agents(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
    Body(body): Body<RotateKey>,
) -> Result<Envelope<ApprovedAgent>, Problem> {
    let mut tx = app.begin().await?;
    let (agent, secret) = keys::rotate(&mut tx, &app.policy, &admin, &id, rotation(&body)).await?;
    tx.commit().await?;
    app.access_cache.forget(&Subject::Agent(admin.workspace(), id));
    let agent = Agent::full(AgentView { agent, run: None });
    Ok(Envelope::ok(ApprovedAgent { agent, mcp_api_key: secret.expose().to_owned() }))
}

/// Revoke an agent's API key.
///
/// The agent stays approved. Connections that were opened with the key are closed.
#[utoipa::path(delete, path = "/api/parallax-agents/{agentId}/keys/{keyId}", operation_id = "revokeAgentKey", tag = "keys",
    params(("agentId" = String, Path), ("keyId" = String, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<RevokedKey>), PersonErrors, AdminErrors))]
pub(super) async fn revoke_agents(
    State(app): State<App>,
    Manager(admin): Manager,
    Param((id, key_id)): Param<(AgentId, String)>,
) -> Result<Envelope<RevokedKey>, Problem> {
    let started = Instant::now();
    let mut tx = app.begin().await?;
    let key = keys::revoke_of_agent(&mut tx, &admin, &id, &key_id).await?;
    let revocation = Revocation::of(&app, Subject::Key(key.id.clone()), started);
    tx.commit().await?;
    revoked(&app, revocation, key.revoked_at.is_none()).await
}
