//! Steering a running agent: messages, keys, logs, output, and taking it over.

use axum::{extract::State, http::StatusCode};

use super::{
    callers::Manager,
    input::{Body, Param, Params},
};
use crate::{
    app::App,
    domain::{
        runtimes,
        steering::{self, Conn, Keyboard, RuntimeClient, Takeover},
    },
    model::{actor::Admin, ids::AgentId, run::Run as RunRow},
    wire::{
        agents::Run,
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
        runs::{AgentLogs, AgentOutput, PressKeys, SendMessage, Sent, TailQuery},
    },
};

/// Send a message to a running agent.
///
/// It is typed into the agent's terminal; what the agent makes of it is seen there. Who sent how much is on record,
/// the message is not. While somebody else controls the terminal, it is refused with `NOT_CONTROLLER`.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/send", operation_id = "sendToAgent", tag = "runs",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = SendMessage,
    responses((status = 200, body = Envelope<Sent>), PersonErrors, AdminErrors))]
pub(super) async fn send(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
    Body(body): Body<SendMessage>,
) -> Result<Envelope<Sent>, Problem> {
    let (keyboard, runtime) = keyboard(&app, &admin, &id).await?;
    steering::send(&runtime, &keyboard, &body.message).await?;
    let mut tx = app.begin().await?;
    steering::note_message(&mut tx, &admin, keyboard.run(), &body.message).await?;
    tx.commit().await?;
    Ok(Envelope::ok(Sent { sent: true }))
}

/// Press keys in a running agent's terminal.
///
/// Who pressed how many is on record, which ones is not. While somebody else controls the terminal, they are refused with
/// `NOT_CONTROLLER`.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/keys", operation_id = "pressKeysOfAgent", tag = "runs",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = PressKeys,
    responses((status = 200, body = Envelope<Sent>), PersonErrors, AdminErrors))]
pub(super) async fn press(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
    Body(body): Body<PressKeys>,
) -> Result<Envelope<Sent>, Problem> {
    let keys = body.keys.into_names();
    let (keyboard, runtime) = keyboard(&app, &admin, &id).await?;
    steering::press(&app.terminals, &runtime, &keyboard, &keys).await?;
    let mut tx = app.begin().await?;
    steering::note_keys(&mut tx, &admin, keyboard.run(), keys.len()).await?;
    tx.commit().await?;
    Ok(Envelope::ok(Sent { sent: true }))
}

/// Read what a running agent printed last, by lines.
#[utoipa::path(get, path = "/api/parallax-agents/{agentId}/logs", operation_id = "listAgentLogs", tag = "runs",
    params(("agentId" = String, Path), TailQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<AgentLogs>), PersonErrors, AdminErrors))]
pub(super) async fn logs(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
    Params(query): Params<TailQuery>,
) -> Result<Envelope<AgentLogs>, Problem> {
    let tail = query.lines().ok_or_else(|| Problem::invalid("tail", "must be a whole number from 1 to 1000"))?;
    let (run, runtime) = found(&app, &admin, &id).await?;
    let logs = steering::logs(&runtime, &run, tail).await?;
    Ok(Envelope::ok(AgentLogs { count: logs.len(), logs }))
}

/// Read a running agent's output as its terminal shows it.
#[utoipa::path(get, path = "/api/parallax-agents/{agentId}/output", operation_id = "getAgentOutput", tag = "runs",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<AgentOutput>), PersonErrors, AdminErrors))]
pub(super) async fn output(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<AgentId>,
) -> Result<Envelope<AgentOutput>, Problem> {
    let (run, runtime) = found(&app, &admin, &id).await?;
    let output = steering::output(&app.terminals, &runtime, &run).await?;
    Ok(Envelope::ok(AgentOutput { output }))
}

/// Take a running agent over.
///
/// From now on nothing is typed for it automatically. Its process goes on.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/pause", operation_id = "pauseAgent", tag = "runs",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Run>), PersonErrors, AdminErrors))]
pub(super) async fn pause(State(app): State<App>, Manager(admin): Manager, Param(id): Param<AgentId>) -> Result<Envelope<Run>, Problem> {
    take_over(&app, &admin, &id, Takeover::Pause).await
}

/// Hand a running agent back.
///
/// Undoes taking it over.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/resume", operation_id = "resumeAgent", tag = "runs",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Run>), PersonErrors, AdminErrors))]
pub(super) async fn resume(State(app): State<App>, Manager(admin): Manager, Param(id): Param<AgentId>) -> Result<Envelope<Run>, Problem> {
    take_over(&app, &admin, &id, Takeover::Resume).await
}

async fn take_over(app: &App, admin: &Admin, id: &AgentId, takeover: Takeover) -> Result<Envelope<Run>, Problem> {
    let (run, runtime) = found(app, admin, id).await?;
    steering::tell_takeover(&runtime, &run, takeover).await?;
    let mut tx = app.begin().await?;
    let run = steering::note_takeover(&mut tx, admin, id, takeover).await?;
    tx.commit().await?;
    Ok(Envelope::ok(run.into()))
}

/// The right to send to the agent's run, and the runtime that has it.
async fn keyboard(app: &App, admin: &Admin, id: &AgentId) -> Result<(Keyboard, RuntimeClient), Problem> {
    let mut tx = app.begin().await?;
    let keyboard = steering::keyboard(&mut tx, &app.controls, admin, id).await?;
    let runtime = runtime_of(tx.conn(), app, keyboard.run()).await?;
    tx.commit().await?;
    Ok((keyboard, runtime))
}

/// The agent's run, and the runtime that has it.
async fn found(app: &App, admin: &Admin, id: &AgentId) -> Result<(RunRow, RuntimeClient), Problem> {
    let mut conn = app.read().await?;
    let run = steering::running(&mut conn, admin, id).await?;
    let runtime = runtime_of(&mut conn, app, &run).await?;
    Ok((run, runtime))
}

async fn runtime_of(conn: &mut Conn, app: &App, run: &RunRow) -> Result<RuntimeClient, Problem> {
    let runtime = runtimes::client_of_run(conn, &app.runtimes, run).await?;
    runtime.ok_or_else(|| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "RUNTIME_NOT_CONFIGURED", "the agent's runtime is no longer configured")
    })
}
