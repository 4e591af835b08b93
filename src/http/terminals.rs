//! Terminal sessions over REST.

use axum::{extract::State, http::HeaderMap};

use super::{
    callers::{Member, RuntimeCaller},
    input::{self, Body, Param, Params},
};
use crate::{
    app::App,
    domain::{
        runs, runtimes, shares,
        terminals::{self, Offer, TerminalError},
    },
    model::{
        ids::{AgentId, SessionId, ShareId},
        terminal::{SessionStatus, Size},
        terminal_control::Watchers,
    },
    wire::{
        control::TerminalViewers,
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
        repeat::{RepeatErrors, Repeatable},
        shares::{CreateShare, CreatedShare, TerminalShare},
        terminals::{LogQuery, OfferSession, ReportSession, SessionQuery, TerminalSession, TerminalSessionLog},
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
    let (session, rights) = terminals::with_rights(tx.conn(), &person, id).await?;
    if !rights.terminate {
        return Err(TerminalError::Forbidden.into());
    }
    if session.status != SessionStatus::Terminated {
        runs::end_session(&mut tx, &session, person.user).await?;
    }
    let (ended, _) = terminals::with_rights(tx.conn(), &person, id).await?;
    tx.commit().await?;
    Ok(Envelope::ok(ended.into()))
}

/// List who watches a terminal.
///
/// In the order in which they came, with who controls it. At most 100 are named, all are counted.
#[utoipa::path(get, path = "/api/terminal/sessions/{sessionId}/viewers", operation_id = "listTerminalViewers", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<TerminalViewers>), PersonErrors))]
pub(super) async fn viewers(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<SessionId>,
) -> Result<Envelope<TerminalViewers>, Problem> {
    terminals::get(&mut *app.read().await?, &person, id).await?;
    let room = app.controls.get(id);
    let watchers = room.as_ref().map_or_else(Watchers::default, |room| room.watchers());
    let controller = room.and_then(|room| room.controller());
    Ok(Envelope::ok(TerminalViewers::new(watchers, controller)))
}

/// Share a terminal.
///
/// For those who may type: members of the workspace who open the link before it expires read this session, and do no
/// more. The token is shown this once.
#[utoipa::path(post, path = "/api/terminal/sessions/{sessionId}/shares", operation_id = "shareTerminal", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path), Repeatable), security(("person" = []), ("cookie" = [])), request_body = Option<CreateShare>,
    responses((status = 201, body = Envelope<CreatedShare>), PersonErrors, AdminErrors, RepeatErrors))]
pub(super) async fn share(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<SessionId>,
    Body(body): Body<CreateShare>,
) -> Result<Envelope<CreatedShare>, Problem> {
    let mut tx = app.begin().await?;
    let made = shares::create(&mut tx, &person, id, body.lifetime()).await?;
    tx.commit().await?;
    Ok(Envelope::created(CreatedShare::new(&app.settings.app_url, made)))
}

/// List the shares of a terminal.
///
/// Those that are good now, newest first, for those who may type.
#[utoipa::path(get, path = "/api/terminal/sessions/{sessionId}/shares", operation_id = "listTerminalShares", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Vec<TerminalShare>>), PersonErrors, AdminErrors))]
pub(super) async fn list_shares(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<SessionId>,
) -> Result<Envelope<Vec<TerminalShare>>, Problem> {
    let mut tx = app.begin().await?;
    let found = shares::list(&mut tx, &person, id).await?;
    Ok(Envelope::ok(found.into_iter().map(Into::into).collect()))
}

/// Revoke a share of a terminal.
///
/// Whoever watches by it is cut off at once. Revoking it again changes nothing.
#[utoipa::path(delete, path = "/api/terminal/sessions/{sessionId}/shares/{shareId}", operation_id = "revokeTerminalShare", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path), ("shareId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<TerminalShare>), PersonErrors, AdminErrors))]
pub(super) async fn revoke_share(
    State(app): State<App>,
    Member(person): Member,
    Param((session, share)): Param<(SessionId, ShareId)>,
) -> Result<Envelope<TerminalShare>, Problem> {
    let mut tx = app.begin().await?;
    let revoked = shares::revoke(&mut tx, &person, session, share).await?;
    tx.commit().await?;
    Ok(Envelope::ok(revoked.into()))
}

/// Offer a terminal session.
///
/// For runtimes: makes the session of an approved agent; its earlier one ends.
#[utoipa::path(post, path = "/api/terminal/sessions", operation_id = "offerTerminalSession", tag = "terminals",
    security(("webhook" = [])), request_body = OfferSession,
    responses((status = 201, body = Envelope<TerminalSession>), PersonErrors, AdminErrors))]
pub(super) async fn register(
    State(app): State<App>,
    _: RuntimeCaller,
    headers: HeaderMap,
    Body(body): Body<OfferSession>,
) -> Result<Envelope<TerminalSession>, Problem> {
    super::runtime::check_workspace(&headers, body.workspace_id)?;
    let (cols, rows) = (body.cols.unwrap_or(Size::DEFAULT.cols()), body.rows.unwrap_or(Size::DEFAULT.rows()));
    let size = Size::new(cols.into(), rows.into()).unwrap_or(Size::DEFAULT);
    let offer = Offer {
        agent: body.agent_id,
        runtime_session_id: body.runtime_session_id,
        title: body.title,
        size,
        endpoint: body.runtime_endpoint.filter(|endpoint| !endpoint.is_empty()),
    };
    let mut tx = app.begin().await?;
    let runtime = runtimes::client_at(tx.conn(), &app.runtimes, body.workspace_id, offer.endpoint.as_deref()).await?;
    let session = terminals::register(&mut tx, runtime.as_ref(), body.workspace_id, offer).await?;
    tx.commit().await?;
    Ok(Envelope::created(session.into()))
}

/// Report how a terminal session stands.
///
/// For runtimes, by their own name of the session. A terminated session stays so, and none becomes pending again. The address of
/// a login may follow later than `login_required`.
#[utoipa::path(post, path = "/api/terminal/sessions/{runtimeSessionId}/status", operation_id = "reportTerminalSession", tag = "terminals",
    params(("runtimeSessionId" = String, Path)), security(("webhook" = [])), request_body = ReportSession,
    responses((status = 200, body = Envelope<TerminalSession>), PersonErrors, AdminErrors))]
pub(super) async fn report_status(
    State(app): State<App>,
    _: RuntimeCaller,
    headers: HeaderMap,
    Param(name): Param<String>,
    Body(body): Body<ReportSession>,
) -> Result<Envelope<TerminalSession>, Problem> {
    let status = SessionStatus::parse(&body.status)
        .ok_or_else(|| Problem::invalid("status", "must be pending, connecting, active, login_required, disconnected or terminated"))?;
    let named = headers.get("x-workspace-id").and_then(|value| value.to_str().ok()).map(str::parse).transpose();
    let named = named.map_err(|_| Problem::invalid("X-Workspace-Id", "must be a UUID"))?;
    let mut tx = app.begin().await?;
    let workspace = body.workspace_id.or(named);
    let session = terminals::report_status(&mut tx, &app.policy, workspace, &name, status, body.login_url).await?;
    tx.commit().await?;
    Ok(Envelope::ok(session.into()))
}

/// List what was logged of a terminal session.
///
/// Oldest first.
#[utoipa::path(get, path = "/api/terminal/sessions/{sessionId}/logs", operation_id = "listTerminalSessionLogs", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path), LogQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Vec<TerminalSessionLog>>), PersonErrors))]
pub(super) async fn logs(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<SessionId>,
    Params(query): Params<LogQuery>,
) -> Result<Envelope<Vec<TerminalSessionLog>>, Problem> {
    let limit = input::limit(query.limit, 100)?;
    let offset = u64::try_from(query.offset.unwrap_or(0)).map_err(|_| Problem::invalid("offset", "must not be negative"))?;
    let found = terminals::logs(&mut *app.read().await?, &person, id, limit, offset).await?;
    Ok(Envelope::ok(found.into_iter().map(Into::into).collect()))
}
