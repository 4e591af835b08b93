//! Agents and decisions about them.

use std::time::Instant;

use axum::extract::State;

use super::{
    callers::{Manager, Member},
    input::{self, Body, Param, Params},
    problem::agent_not_found,
    revocation::{Ended, Revocation},
};
use crate::{
    app::App,
    domain::{
        agents::{self, AgentFilter},
        approvals::{self, Grant},
        settings, tool_approvals,
    },
    model::{
        actor::{Person, Subject},
        agent::{AgentStatus, AgentView},
        ids::AgentId,
        permission::CATALOGUE,
    },
    wire::{
        agents::{
            Agent, AgentDetail, AgentQuery, ApproveAgent, ApprovedAgent, CapabilityQuery, Decision, Permission, Permissions, Revoked,
            SetPermissions, Watchable,
        },
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
    },
};

/// List agents.
///
/// Newest first. Members see less than owners and admins: no metadata, endpoint or reasons. Who may not watch an agent's
/// terminal sees nothing of how it is logged in or what went wrong.
#[utoipa::path(get, path = "/api/parallax-agents", operation_id = "listAgents", tag = "agents", params(AgentQuery),
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Vec<Agent>>), PersonErrors))]
pub(super) async fn list(
    State(app): State<App>,
    Member(person): Member,
    Params(query): Params<AgentQuery>,
) -> Result<Envelope<Vec<Agent>>, Problem> {
    let status = query.status.filter(|status| !status.is_empty()).map(|status| {
        AgentStatus::parse(&status).ok_or_else(|| Problem::invalid("status", "must be pending, approved, denied or revoked"))
    });
    let filter = AgentFilter { status: status.transpose()?, capabilities: capabilities(query.capabilities) };
    let found = agents::list(&mut *app.read().await?, &person, &filter).await?;
    Ok(Envelope::ok(found.into_iter().map(|view| shown_to(&person, view)).collect()))
}

/// List agents that wait for a decision.
#[utoipa::path(get, path = "/api/parallax-agents/pending", operation_id = "listPendingAgents", tag = "agents",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Vec<Agent>>), PersonErrors, AdminErrors))]
pub(super) async fn pending(State(app): State<App>, Manager(admin): Manager) -> Result<Envelope<Vec<Agent>>, Problem> {
    let filter = AgentFilter { status: Some(AgentStatus::Pending), capabilities: Vec::new() };
    let found = agents::list(&mut *app.read().await?, admin.person(), &filter).await?;
    Ok(Envelope::ok(found.into_iter().map(Agent::full).collect()))
}

/// List the permissions that can be granted.
#[utoipa::path(get, path = "/api/parallax-agents/permissions", operation_id = "listPermissions", tag = "agents",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Permissions>), PersonErrors))]
pub(super) async fn permissions(State(app): State<App>, Member(person): Member) -> Result<Envelope<Permissions>, Problem> {
    let rules = settings::rules(&mut *app.read().await?, person.workspace).await?;
    let permission =
        |row: &crate::model::permission::Permission| Permission { id: row.id, description: row.description, category: row.category };
    Ok(Envelope::ok(Permissions {
        permissions: CATALOGUE.iter().map(permission).collect(),
        defaults: rules.default_permissions.to_strings(),
    }))
}

/// Get an agent.
///
/// For owners and admins with the permissions that it was granted for a while.
#[utoipa::path(get, path = "/api/parallax-agents/{agentId}", operation_id = "getAgent", tag = "agents",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<AgentDetail>), PersonErrors))]
pub(super) async fn get(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<AgentId>,
) -> Result<Envelope<AgentDetail>, Problem> {
    let mut tx = app.begin().await?;
    let found = agents::get(tx.conn(), &person, &id).await?.ok_or_else(agent_not_found)?;
    let grants = if person.role.manages_agents() { tool_approvals::grants(&mut tx, &person, &id).await? } else { Vec::new() };
    Ok(Envelope::ok(AgentDetail { agent: shown_to(&person, found), grants: grants.into_iter().map(Into::into).collect() }))
}

/// Approve an agent.
///
/// Lets it in with exactly the permissions given and returns its key, this once. More than the agent
/// asked for is refused unless `grantBeyondRequest` says that it is meant. Also reinstates an agent
/// that was denied or revoked.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/approve", operation_id = "approveAgent", tag = "agents",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = ApproveAgent,
    responses((status = 200, body = Envelope<ApprovedAgent>), PersonErrors, AdminErrors))]
pub(super) async fn approve(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
    Body(body): Body<ApproveAgent>,
) -> Result<Envelope<ApprovedAgent>, Problem> {
    let grant = Grant {
        permissions: input::permissions("grantedPermissions", &body.granted_permissions)?,
        beyond_request: body.grant_beyond_request,
        reviewed: body.request_version,
    };
    let mut tx = app.begin().await?;
    let approved = approvals::approve(&mut tx, &app.policy, &admin, &id, grant).await?;
    tx.commit().await?;
    let agent = Agent::full(AgentView { agent: approved.agent, run: None });
    Ok(Envelope::ok(ApprovedAgent { agent, mcp_api_key: approved.key.expose().to_owned() }))
}

/// Deny an agent.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/deny", operation_id = "denyAgent", tag = "agents",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = Decision,
    responses((status = 200, body = Envelope<Agent>), PersonErrors, AdminErrors))]
pub(super) async fn deny(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
    Body(body): Body<Decision>,
) -> Result<Envelope<Agent>, Problem> {
    let mut tx = app.begin().await?;
    let agent = approvals::deny(&mut tx, &app.policy, &admin, &id, body.reason).await?;
    tx.commit().await?;
    Ok(Envelope::ok(Agent::full(AgentView { agent, run: None })))
}

/// Revoke an agent's access.
///
/// Ends its keys, connections, terminals, assignments and process, and says how many of each and how
/// long it took.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/revoke", operation_id = "revokeAgent", tag = "agents",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = Decision,
    responses((status = 200, body = Envelope<Revoked>), PersonErrors, AdminErrors))]
pub(super) async fn revoke(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
    Body(body): Body<Decision>,
) -> Result<Envelope<Revoked>, Problem> {
    let started = Instant::now();
    let mut tx = app.begin().await?;
    let revoked = approvals::revoke(&mut tx, &app.policy, &admin, &id, body.reason).await?;
    let revocation = Revocation::of(&app, Subject::Agent(admin.workspace(), id), started);
    tx.commit().await?;
    let approvals::Revocation { keys, sessions, assignments, run } = revoked;
    let ended = revocation.carry_out(&app, run).await;
    let receipt = Ended { keys, sessions, assignments, ..ended };
    Ok(Envelope::ok(Revoked { success: true, receipt: receipt.into() }))
}

/// Replace an agent's permissions.
///
/// With effect on its next call.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/permissions", operation_id = "setPermissions", tag = "agents",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = SetPermissions,
    responses((status = 200, body = Envelope<Agent>), PersonErrors, AdminErrors))]
pub(super) async fn set_permissions(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
    Body(body): Body<SetPermissions>,
) -> Result<Envelope<Agent>, Problem> {
    let granted = input::permissions("permissions", &body.permissions)?;
    let mut tx = app.begin().await?;
    let agent = approvals::set_permissions(&mut tx, &admin, &id, granted).await?;
    tx.commit().await?;
    app.access_cache.forget(&Subject::Agent(admin.workspace(), id));
    Ok(Envelope::ok(Agent::full(AgentView { agent, run: None })))
}

/// List approved agents.
///
/// Those with any of the capabilities, by name, or all of them, newest first.
#[utoipa::path(get, path = "/api/parallax-agents/available", operation_id = "listAvailableAgents", tag = "agents", params(CapabilityQuery),
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Vec<Agent>>), PersonErrors))]
pub(super) async fn available(
    State(app): State<App>,
    Member(person): Member,
    Params(query): Params<CapabilityQuery>,
) -> Result<Envelope<Vec<Agent>>, Problem> {
    let filter = AgentFilter { status: Some(AgentStatus::Approved), capabilities: capabilities(query.capabilities) };
    let found = agents::list(&mut *app.read().await?, &person, &filter).await?;
    Ok(Envelope::ok(found.into_iter().map(|view| shown_to(&person, view)).collect()))
}

/// List agents that may be watched.
#[utoipa::path(get, path = "/api/parallax-agents/watchable", operation_id = "listWatchableAgents", tag = "agents",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Watchable>), PersonErrors, AdminErrors))]
pub(super) async fn watchable(State(app): State<App>, Manager(admin): Manager) -> Result<Envelope<Watchable>, Problem> {
    let filter = AgentFilter { status: Some(AgentStatus::Approved), capabilities: Vec::new() };
    let found = agents::list(&mut *app.read().await?, admin.person(), &filter).await?;
    Ok(Envelope::ok(Watchable { agents: found.into_iter().map(Into::into).collect() }))
}

fn capabilities(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// An agent with as much as the person may see.
pub(super) fn shown_to(person: &Person, view: AgentView) -> Agent {
    if person.role.manages_agents() { Agent::full(view) } else { Agent::for_member(view) }
}
