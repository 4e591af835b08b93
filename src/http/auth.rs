//! Setup, sign-in and the caller's own account.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{AppendHeaders, IntoResponse},
};
use chrono::TimeDelta;

use super::{
    callers::{Attached, Member},
    input::{Body, SESSION_COOKIE},
};
use crate::{
    app::App,
    domain::{
        auth,
        workspaces::{self, NewPerson},
    },
    wire::{
        auth::{Login, Me, PublicWorkspace, SetUp, Workspace},
        envelope::{Empty, Envelope},
        problem::{PersonErrors, Problem, ProblemBody},
    },
};

/// How long a browser keeps the cookie (REST contract §1.2).
const COOKIE_LIFETIME: TimeDelta = TimeDelta::days(30);

/// Set up the first workspace.
///
/// Makes the workspace, its owner, group and space, and signs the owner in.
#[utoipa::path(post, path = "/api/auth/setup", operation_id = "setUp", tag = "auth", request_body = SetUp, responses(
    (status = 200, body = Envelope<Workspace>, description = "The workspace; the cookie is set"),
    (status = 403, body = ProblemBody, description = "There is a workspace already"),
    PersonErrors
))]
pub(super) async fn set_up(State(app): State<App>, Body(body): Body<SetUp>) -> Result<impl IntoResponse, Problem> {
    // Before the quarter of a second that a hash takes.
    if workspaces::resolve(&mut *app.read().await?, None).await?.is_some() {
        return Err(workspaces::SetupError::AlreadySetUp.into());
    }
    let owner = NewPerson { name: body.name, password_hash: auth::hash_password(body.password).await, email: body.email };
    let mut tx = app.begin().await?;
    let (workspace, user) = workspaces::set_up(&mut tx, body.workspace_name.trim(), &owner).await?;
    let token = auth::token_for(&tx, &app.tokens, workspace, user, &owner.email.to_lowercase());
    let created = workspaces::get(tx.conn(), workspace).await?.ok_or_else(super::guard::no_workspace)?;
    tx.commit().await?;
    Ok((session_cookie(&app, &token), Envelope::ok(Workspace::with_members(created, 1))))
}

/// Sign in.
#[utoipa::path(post, path = "/api/auth/login", operation_id = "login", tag = "auth", request_body = Login, responses(
    (status = 200, body = Empty, description = "The cookie is set"), PersonErrors
))]
pub(super) async fn login(
    State(app): State<App>,
    Attached(workspace): Attached,
    Body(body): Body<Login>,
) -> Result<impl IntoResponse, Problem> {
    let token = auth::login(&app.pool, &app.clock, &app.tokens, workspace, &body.email, body.password).await?;
    Ok((session_cookie(&app, &token), Empty::OK))
}

/// Sign out.
///
/// The token is good no more, and what was opened with it is closed. Where else the person is signed in they stay so.
#[utoipa::path(post, path = "/api/auth/logout", operation_id = "logout", tag = "auth", security(("person" = []), ("cookie" = [])), responses(
    (status = 200, body = Empty, description = "The cookie is cleared"), PersonErrors
))]
pub(super) async fn logout(State(app): State<App>, Member(person): Member) -> Result<impl IntoResponse, Problem> {
    let mut tx = app.begin().await?;
    auth::sign_out(&mut tx, &person).await?;
    tx.commit().await?;
    let cleared = format!("{SESSION_COOKIE}=; HttpOnly; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; SameSite=Lax");
    Ok((AppendHeaders([(header::SET_COOKIE, cleared)]), Empty::OK))
}

/// Get the caller's account and workspace.
#[utoipa::path(post, path = "/api/users/me", operation_id = "getMe", tag = "auth", security(("person" = []), ("cookie" = [])), responses(
    (status = 200, body = Envelope<Me>), PersonErrors
))]
pub(super) async fn me(State(app): State<App>, Member(person): Member) -> Result<Envelope<Me>, Problem> {
    let mut conn = app.read().await?;
    let (user, workspace, members) = auth::profile(&mut conn, &person).await?.ok_or_else(Problem::unauthorized)?;
    Ok(Envelope::ok(Me { user: user.into(), workspace: Workspace::with_members(workspace, members) }))
}

/// Get what anybody may know of the workspace.
#[utoipa::path(post, path = "/api/workspace/public", operation_id = "getPublicWorkspace", tag = "auth", responses(
    (status = 200, body = Envelope<PublicWorkspace>), PersonErrors
))]
pub(super) async fn public_workspace(State(app): State<App>, Attached(id): Attached) -> Result<Envelope<PublicWorkspace>, Problem> {
    let workspace = workspaces::get(&mut *app.read().await?, id).await?.ok_or_else(super::guard::no_workspace)?;
    Ok(Envelope::ok(workspace.into()))
}

/// The original's cookie: `HttpOnly`, for all paths, 30 days, `Secure` when we are reached by https. Beyond
/// it `SameSite=Lax`: browsers leave it out of what another site's page sends (D-63).
fn session_cookie(app: &App, token: &str) -> AppendHeaders<[(header::HeaderName, HeaderValue); 1]> {
    #[expect(clippy::disallowed_methods, reason = "the browser compares with its own clock")]
    let expires = (chrono::Utc::now() + COOKIE_LIFETIME).format("%a, %d %b %Y %H:%M:%S GMT");
    let secure = if app.settings.app_url.starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!("{SESSION_COOKIE}={token}; HttpOnly; Path=/; Expires={expires}; SameSite=Lax{secure}");
    AppendHeaders([(header::SET_COOKIE, HeaderValue::try_from(cookie).expect("a token and a date are printable ASCII"))])
}
