//! A workspace's agent settings, and whether its runtime answers.

use axum::extract::State;

use super::{
    callers::{Manager, Member},
    input::{self, Body},
};
use crate::{
    app::App,
    domain::{
        health::{self, ProbeError, Probed},
        runtimes::{self, RuntimeProblem},
        settings,
    },
    model::{actor::Subject, ids::WorkspaceId},
    wire::{
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
        settings::{AgentSettings, RuntimeHealth, TestRuntime, UpdateAgentSettings},
    },
};

/// Get the agent settings.
///
/// With defaults for what nobody set; secrets are never among them.
#[utoipa::path(post, path = "/api/workspace/agent-settings", operation_id = "getAgentSettings", tag = "settings",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<AgentSettings>), PersonErrors))]
pub(super) async fn get(State(app): State<App>, Member(person): Member) -> Result<Envelope<AgentSettings>, Problem> {
    let stored = settings::current(&mut *app.read().await?, &app.clock, &person).await?;
    Ok(Envelope::ok(AgentSettings::read(&stored)))
}

/// Change the agent settings.
///
/// What is absent stays. `runtimeStatus` is the runtime's to tell and is ignored.
#[utoipa::path(post, path = "/api/workspace/agent-settings/update", operation_id = "updateAgentSettings", tag = "settings",
    security(("person" = []), ("cookie" = [])), request_body = Option<UpdateAgentSettings>,
    responses((status = 200, body = Envelope<AgentSettings>), PersonErrors, AdminErrors))]
pub(super) async fn update(
    State(app): State<App>,
    Manager(admin): Manager,
    Body(body): Body<UpdateAgentSettings>,
) -> Result<Envelope<AgentSettings>, Problem> {
    if let Some(names) = body.parallax.as_ref().and_then(|parallax| parallax.default_permissions.as_ref()) {
        input::permissions("parallax.defaultPermissions", names)?;
    }
    if let Some(endpoint) = body.runtime_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) {
        check_endpoint(&app, "runtimeEndpoint", endpoint).await?;
    }
    let (agent, parallax) = body.fields();
    let mut tx = app.begin().await?;
    let stored = settings::update(&mut tx, &app.policy, &admin, agent, parallax).await?;
    tx.commit().await?;
    // What the policy says counts with the next call here; other nodes are told of it.
    app.access_cache.forget(&Subject::Workspace(admin.workspace()));
    Ok(Envelope::ok(AgentSettings::read(&stored)))
}

/// Get whether the runtime answers.
///
/// The one that the workspace's agents run on when nobody chooses another.
#[utoipa::path(post, path = "/api/workspace/agent-settings/runtime-health", operation_id = "getRuntimeHealth", tag = "settings",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<RuntimeHealth>), PersonErrors))]
pub(super) async fn runtime_health(State(app): State<App>, Member(person): Member) -> Result<Envelope<RuntimeHealth>, Problem> {
    Ok(Envelope::ok(used(&app, person.workspace).await?))
}

/// Test a runtime.
///
/// One of the workspace's by name, or one on an origin that the operator allows by its endpoint; without either
/// the one that the workspace uses. Says no more of one that does not answer than that it does not,
/// or that it refuses the token. By endpoint no token is sent.
#[utoipa::path(post, path = "/api/parallax-agents/runtime/test", operation_id = "testRuntime", tag = "settings",
    security(("person" = []), ("cookie" = [])), request_body = Option<TestRuntime>,
    responses((status = 200, body = Envelope<RuntimeHealth>), PersonErrors, AdminErrors))]
pub(super) async fn test_runtime(
    State(app): State<App>,
    Manager(admin): Manager,
    Body(body): Body<TestRuntime>,
) -> Result<Envelope<RuntimeHealth>, Problem> {
    if let Some(name) = body.name {
        let client = runtimes::client(&mut *app.read().await?, &app.runtimes, admin.workspace(), &name).await?;
        let client = client.ok_or(RuntimeProblem::NotFound)?;
        return Ok(Envelope::ok(health_of(health::probe(&client).await)));
    }
    let Some(endpoint) = body.endpoint.filter(|endpoint| !endpoint.trim().is_empty()) else {
        return Ok(Envelope::ok(used(&app, admin.workspace()).await?));
    };
    let endpoint = check_endpoint(&app, "endpoint", &endpoint).await?;
    if let Some(runtime) = app.runtimes.environment().filter(|runtime| runtime.endpoint() == endpoint) {
        return Ok(Envelope::ok(health_of(health::probe(runtime).await)));
    }
    // Our runtime's token is for our runtime alone.
    let probed = health::probe_endpoint(&endpoint).await.map_err(|_| Problem::invalid("endpoint", "must be an http or https URL"))?;
    Ok(Envelope::ok(match probed {
        // None was sent, so that it wants one says only that it is there.
        Err(ProbeError::TokenRefused) => RuntimeHealth { connected: true, ..failed("the runtime answers; its token was not tried") },
        probed => health_of(probed),
    }))
}

/// A runtime's address comes from a person: it must be one that the operator named (D-14). Returns it as rows name it.
pub(super) async fn check_endpoint(app: &App, field: &str, endpoint: &str) -> Result<String, Problem> {
    let refused = || Problem::invalid(field, "must be on an origin that the operator allows (AGENT_RUNTIME_ALLOWED_ORIGINS)");
    runtimes::callable(&app.runtimes, endpoint).await.ok_or_else(refused)
}

async fn used(app: &App, workspace: WorkspaceId) -> Result<RuntimeHealth, Problem> {
    let client = runtimes::used(&mut *app.read().await?, &app.runtimes, workspace).await?;
    Ok(match client {
        Some(client) => health_of(health::probe(&client).await),
        None => failed("no agent runtime is configured"),
    })
}

fn health_of(probed: Result<Probed, ProbeError>) -> RuntimeHealth {
    match probed {
        Ok(probed) => RuntimeHealth {
            connected: true,
            latency: Some(probed.latency_ms),
            version: probed.version,
            active_agents: probed.active_agents,
            error: None,
        },
        Err(why) => failed(&why.to_string()),
    }
}

fn failed(error: &str) -> RuntimeHealth {
    RuntimeHealth { connected: false, latency: None, version: None, active_agents: None, error: Some(error.to_owned()) }
}
