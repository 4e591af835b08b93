//! What runtimes post to us (runtime contract §12).

use axum::extract::State;

use super::{callers::RuntimeCaller, input::Body, problem::agent_not_found};
use crate::{
    app::App,
    domain::{
        runs::{self, Report},
        workspaces::{self, Heartbeat},
    },
    model::{ids::WorkspaceId, login::LoginHint, run::RunNews},
    wire::{
        envelope::{Done, Envelope},
        problem::{PersonErrors, Problem, ProblemBody},
        runtime::{CallbackStatus, RuntimeHeartbeat, SpawnCallback},
    },
};

/// Report on a spawned agent.
#[utoipa::path(post, path = "/api/parallax-agents/spawn-callback", operation_id = "spawnCallback", tag = "operations",
    security(("webhook" = [])), request_body = SpawnCallback, responses(
    (status = 200, body = Envelope<Done>, description = "Taken in; repeats change nothing"),
    (status = 403, body = ProblemBody, description = "`X-Workspace-Id` names another workspace"),
    PersonErrors
))]
pub(super) async fn spawn_callback(
    State(app): State<App>,
    _: RuntimeCaller,
    headers: axum::http::HeaderMap,
    Body(body): Body<SpawnCallback>,
) -> Result<Envelope<Done>, Problem> {
    check_workspace(&headers, body.workspace_id)?;
    let news = match body.status {
        CallbackStatus::Ready => RunNews::Ready,
        CallbackStatus::Failed => RunNews::Failed { error: body.error.unwrap_or_else(|| "the runtime reports a failure".to_owned()) },
        CallbackStatus::RequiresLogin => {
            let hint = LoginHint { url: body.login_url, instructions: body.instructions, device_code: body.device_code };
            RunNews::LoginRequired { hint }
        }
    };
    let report = Report { news, runtime_session_id: body.runtime_session_id, mcp_endpoint: body.mcp_endpoint };
    let mut tx = app.begin().await?;
    if !runs::hear_by_agent(&mut tx, &app.policy, body.workspace_id, &body.agent_id, report).await? {
        return Err(agent_not_found());
    }
    tx.commit().await?;
    Ok(Envelope::ok(Done::OK))
}

/// Report that a runtime is alive.
#[utoipa::path(post, path = "/api/parallax-agents/runtime/heartbeat", operation_id = "runtimeHeartbeat", tag = "operations",
    security(("webhook" = [])), request_body = RuntimeHeartbeat, responses(
    (status = 200, body = Envelope<Done>),
    (status = 403, body = ProblemBody, description = "`X-Workspace-Id` names another workspace"),
    PersonErrors
))]
pub(super) async fn heartbeat(
    State(app): State<App>,
    _: RuntimeCaller,
    headers: axum::http::HeaderMap,
    Body(body): Body<RuntimeHeartbeat>,
) -> Result<Envelope<Done>, Problem> {
    check_workspace(&headers, body.workspace_id)?;
    let mut tx = app.begin().await?;
    let heartbeat = Heartbeat { active_agents: body.active_agents, version: body.version };
    if !workspaces::heartbeat(&mut tx, body.workspace_id, &heartbeat).await? {
        return Err(Problem::new(axum::http::StatusCode::NOT_FOUND, "WORKSPACE_UNKNOWN", "no such workspace"));
    }
    tx.commit().await?;
    Ok(Envelope::ok(Done::OK))
}

/// Header and body must name the same workspace, where both do.
pub(super) fn check_workspace(headers: &axum::http::HeaderMap, workspace: WorkspaceId) -> Result<(), Problem> {
    let Some(header) = headers.get("x-workspace-id") else { return Ok(()) };
    let named = header.to_str().ok().and_then(|text| text.parse::<WorkspaceId>().ok());
    if named == Some(workspace) { Ok(()) } else { Err(Problem::forbidden()) }
}
