//! Terminal sessions over REST.

use axum::extract::State;

use super::{
    callers::Member,
    input::{Param, Params},
};
use crate::{
    app::App,
    domain::{
        runs,
        terminals::{self, TerminalError},
    },
    model::{
        ids::{AgentId, SessionId},
        terminal::SessionStatus,
    },
    wire::{
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
        terminals::{SessionQuery, TerminalSession},
    },
};

/// List terminal sessions.
#[utoipa::path(get, path = "/api/terminal/sessions", operation_id = "listTerminalSessions", tag = "terminals", params(SessionQuery),
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Vec<TerminalSession>>), PersonErrors))]
pub(super) async fn list(
    State(app): State<App>,
    Member(person): Member,
    Params(query): Params<SessionQuery>,
) -> Result<Envelope<Vec<TerminalSession>>, Problem> {
    let with_terminated = query.include_terminated.as_deref() == Some("true");
    let found = terminals::list(&mut *app.read().await?, &person, with_terminated).await?;
    Ok(Envelope::ok(found.into_iter().map(Into::into).collect()))
}

/// Get a terminal session.
#[utoipa::path(get, path = "/api/terminal/sessions/{sessionId}", operation_id = "getTerminalSession", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<TerminalSession>), PersonErrors))]
pub(super) async fn get(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<SessionId>,
) -> Result<Envelope<TerminalSession>, Problem> {
    let session = terminals::get(&mut *app.read().await?, &person, id).await?;
    Ok(Envelope::ok(session.into()))
}

/// Get an agent's terminal session.
///
/// `data` is null when the agent has none that is alive.
#[utoipa::path(get, path = "/api/terminal/agents/{agentId}/session", operation_id = "getAgentTerminalSession", tag = "terminals",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Option<TerminalSession>>), PersonErrors))]
pub(super) async fn of_agent(
    State(app): State<App>,
    Member(person): Member,
    Param(agent): Param<AgentId>,
) -> Result<Envelope<Option<TerminalSession>>, Problem> {
    let session = terminals::live_of_agent(&mut *app.read().await?, &person, &agent).await?;
    Ok(Envelope::ok(session.map(Into::into)))
}

/// End a terminal session.
///
/// For owners, admins and whoever spawned the agent. The session is terminated at once, for all who
/// watch it, and its process is ended.
#[utoipa::path(delete, path = "/api/terminal/sessions/{sessionId}", operation_id = "endTerminalSession", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<TerminalSession>), PersonErrors, AdminErrors))]
pub(super) async fn end(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<SessionId>,
) -> Result<Envelope<TerminalSession>, Problem> {
    let mut tx = app.begin().await?;
    let session = terminals::get(tx.conn(), &person, id).await?;
    if !terminals::may_write(&person, &session) {
        return Err(TerminalError::Forbidden.into());
    }
    if session.status != SessionStatus::Terminated {
        runs::end_session(&mut tx, &session, person.user).await?;
    }
    let ended = terminals::get(tx.conn(), &person, id).await?;
    tx.commit().await?;
    Ok(Envelope::ok(ended.into()))
}
