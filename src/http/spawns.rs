//! Spawning agents on a runtime, and stopping them.

use axum::{extract::State, http::StatusCode};
use futures_util::future::join_all;
use runtime_protocol::{canonical_agent_type, wire_agent_type};
use serde_json::Value;

use super::{
    callers::Manager,
    input::{self, Body, Param},
};
use crate::{
    app::{App, StorageError},
    domain::{
        runs,
        spawns::{self, Callbacks, LaunchError, Launched, Planned, SpawnOrder},
    },
    model::{actor::Admin, assignment::Target, ids::AgentId, terminal::Size},
    wire::{
        agents::{Run, Stopping},
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
        repeat::{RepeatErrors, Repeatable},
        spawns::{SpawnAgents, Spawned, SpawnedAgent},
    },
};

/// An agent type is at most this long.
const AGENT_TYPE_BYTES_MAX: usize = 40;

/// Spawn agents.
///
/// Each gets a row, the permissions given and a key of its own, which only its process receives. Without
/// `runtime` each goes to the least loaded of the workspace's runtimes that takes its type.
/// What could not be started is named in `errors`, and nothing is left of it.
#[utoipa::path(post, path = "/api/parallax-agents/spawn", operation_id = "spawnAgents", tag = "runs",
    security(("person" = []), ("cookie" = [])), params(Repeatable), request_body = SpawnAgents,
    responses((status = 201, body = Envelope<Spawned>), PersonErrors, AdminErrors, RepeatErrors))]
pub(super) async fn spawn(
    State(app): State<App>,
    Manager(admin): Manager,
    Body(body): Body<SpawnAgents>,
) -> Result<Envelope<Spawned>, Problem> {
    if body.workspace_id.is_some_and(|workspace| workspace != admin.workspace()) {
        return Err(Problem::forbidden());
    }
    let order = order(body)?;
    // A caller who goes away must not leave agents half made.
    let work = app.spawn(carry_out(app.clone(), admin, order));
    work.await.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "Internal server error"))?
}

fn order(body: SpawnAgents) -> Result<SpawnOrder, Problem> {
    let agent_type = agent_type("agentType", &body.agent_type)?;
    let permissions = body.permissions.map(|strings| input::permissions("permissions", &strings)).transpose()?;
    let assignments = body.project_id.map(Target::Project).into_iter().chain(body.task_id.map(Target::Task)).collect();
    if body.config.get("env").is_some_and(|env| !env.is_object()) {
        return Err(Problem::invalid("config.env", "must be an object of texts"));
    }
    let dimension = |name: &str, default: u16| body.config.get(name).map_or(Some(default.into()), Value::as_i64);
    let size = dimension("cols", Size::DEFAULT.cols()).zip(dimension("rows", Size::DEFAULT.rows()));
    let size = size.and_then(|(cols, rows)| Size::new(cols, rows));
    let size = size.ok_or_else(|| Problem::invalid("config", "must have cols from 1 to 1000 and rows from 1 to 500"))?;
    Ok(SpawnOrder {
        agent_type,
        size,
        count: body.count,
        runtime: body.runtime,
        name: body.name.map(|name| name.trim().to_owned()),
        capabilities: body.capabilities,
        permissions,
        assignments,
        config: body.config,
    })
}

/// An agent type in any spelling: the canonical one where it is known, or else as it is. What a runtime can start is
/// its own to know.
pub(super) fn agent_type(field: &str, spelling: &str) -> Result<String, Problem> {
    let mut bytes = spelling.bytes();
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let starts_well = bytes.next().is_some_and(alphanumeric);
    if !starts_well || spelling.len() > AGENT_TYPE_BYTES_MAX || !bytes.all(|byte| alphanumeric(byte) || matches!(byte, b'_' | b'-')) {
        return Err(Problem::invalid(
            field,
            "must be a name such as claude-code, codex, gemini-cli, aider or custom: 1 to 40 of a-z 0-9 _ -",
        ));
    }
    Ok(canonical_agent_type(spelling).unwrap_or(spelling).to_owned())
}

async fn carry_out(app: App, admin: Admin, order: SpawnOrder) -> Result<Envelope<Spawned>, Problem> {
    let mut tx = app.begin().await?;
    let planned = spawns::plan(&mut tx, &app.policy, &app.runtimes, &admin, &order).await?;
    tx.commit().await?;

    let callbacks = Callbacks { app_url: app.settings.app_url.clone() };
    // All at once: a runtime that does not answer costs one deadline, not one for each agent.
    let launches = planned.iter().map(async |agent| {
        let launched = spawns::launch(agent, &order, &callbacks).await;
        settle(&app, agent, launched.as_ref()).await;
        launched.map(drop)
    });
    let outcomes = join_all(launches).await;
    let mut spawned = Vec::new();
    let mut errors = Vec::new();
    for (agent, outcome) in planned.iter().zip(outcomes) {
        match outcome {
            Ok(()) => spawned.push(SpawnedAgent {
                id: agent.agent.id.clone(),
                name: agent.agent.profile.name.clone(),
                agent_type: wire_agent_type(&order.agent_type).to_owned(),
                status: "starting",
                runtime: agent.run.runtime.clone(),
            }),
            Err(error) => {
                tracing::warn!(agent.id = %agent.agent.id, error = &error as &dyn std::error::Error, "spawn failed");
                errors.push(format!("{}: {error}", agent.agent.profile.name));
            }
        }
    }
    let recorded = async {
        let mut tx = app.begin().await?;
        let ids = spawned.iter().map(|agent| agent.id.clone()).collect();
        spawns::record_order(&mut tx, &admin, &order, ids, errors.clone()).await?;
        tx.commit().await
    };
    // The agents run: that their order could not be recorded does not make it a failure (D-15).
    if let Err(error) = recorded.await {
        let error: StorageError = error;
        tracing::error!(error = &error as &dyn std::error::Error, "an order of agents is not in the activity feed");
    }
    Ok(Envelope::created(Spawned { success: errors.is_empty(), spawned_agents: spawned, errors }))
}

/// Commits the outcome for one agent. If the database cannot take it now, the reconciler makes up for it.
async fn settle(app: &App, agent: &Planned, outcome: Result<&Launched, &LaunchError>) {
    let settled = async {
        let mut tx = app.begin().await?;
        spawns::settle(&mut tx, agent, outcome).await?;
        tx.commit().await
    };
    if let Err(error) = settled.await {
        let error: StorageError = error;
        tracing::error!(agent.id = %agent.agent.id, error = &error as &dyn std::error::Error, "the outcome of a spawn is not noted yet");
    }
}

/// Stop a spawned agent.
///
/// Its process is ended, its terminal session with it. The answer comes at once; the end is told by
/// `agent:stopped`.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/stop", operation_id = "stopAgent", tag = "runs",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Stopping>), PersonErrors, AdminErrors))]
pub(super) async fn stop(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
) -> Result<Envelope<Stopping>, Problem> {
    let mut tx = app.begin().await?;
    let run = runs::stop(&mut tx, &admin, &id).await?;
    tx.commit().await?;
    Ok(Envelope::ok(Stopping { run: Run::from(run) }))
}
