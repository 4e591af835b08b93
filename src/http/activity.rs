//! What happened.

use axum::extract::State;

use super::{
    callers::Manager,
    input::{self, Param, Params},
};
use crate::{
    app::App,
    domain::activity,
    model::ids::AgentId,
    wire::{
        activity::{Activity, LimitQuery},
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
    },
};

/// List what happened in the workspace.
#[utoipa::path(get, path = "/api/parallax-agents/activity/workspace", operation_id = "listWorkspaceActivity", tag = "activity",
    params(LimitQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Vec<Activity>>), PersonErrors, AdminErrors))]
pub(super) async fn of_workspace(
    State(app): State<App>,
    Manager(admin): Manager,
    Params(query): Params<LimitQuery>,
) -> Result<Envelope<Vec<Activity>>, Problem> {
    let limit = input::limit(query.limit, 100)?;
    let found = activity::of_workspace(&mut *app.read().await?, &admin, limit).await?;
    Ok(Envelope::ok(found.into_iter().map(Into::into).collect()))
}

/// List what happened to an agent.
#[utoipa::path(get, path = "/api/parallax-agents/{agentId}/activity", operation_id = "listAgentActivity", tag = "activity",
    params(("agentId" = String, Path), LimitQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Vec<Activity>>), PersonErrors, AdminErrors))]
pub(super) async fn of_agent(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(agent): Param<AgentId>,
    Params(query): Params<LimitQuery>,
) -> Result<Envelope<Vec<Activity>>, Problem> {
    let limit = input::limit(query.limit, 50)?;
    let found = activity::of_agent(&mut *app.read().await?, &admin, &agent, limit).await?;
    Ok(Envelope::ok(found.into_iter().map(Into::into).collect()))
}
