//! What happened.

use axum::extract::State;
use chrono::{Days, Utc};

use super::{
    callers::{Manager, Member},
    input::{self, Param, Params},
};
use crate::{
    app::App,
    domain::activity::{self, ActivityFilter},
    model::ids::{AgentId, ProjectId},
    wire::{
        activity::{ActivityConditions, ActivityPage, ActivityQuery, DailyActivity, DailyQuery, LimitQuery, RecentActivities},
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
    },
};

fn filter(conditions: ActivityConditions) -> ActivityFilter {
    let ActivityConditions { after, agent, activity_types, since, until } = conditions;
    ActivityFilter { agent, project: None, activity_types, since, until, after }
}

/// List what happened in the workspace.
///
/// Newest first; `nextCursor` leads to older rows.
#[utoipa::path(get, path = "/api/parallax-agents/activity/workspace", operation_id = "listWorkspaceActivity", tag = "activity",
    params(ActivityQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = ActivityPage), PersonErrors, AdminErrors))]
pub(super) async fn of_workspace(
    State(app): State<App>,
    Manager(admin): Manager,
    Params(query): Params<ActivityQuery>,
) -> Result<ActivityPage, Problem> {
    let (limit, conditions) = query.read(100)?;
    let found = activity::list(&mut *app.read().await?, &admin, &filter(conditions), limit + 1).await?;
    Ok(ActivityPage::of(found, limit))
}

/// List what happened to an agent.
///
/// Newest first, also for an agent that is gone; `nextCursor` leads to older rows.
#[utoipa::path(get, path = "/api/parallax-agents/{agentId}/activity", operation_id = "listAgentActivity", tag = "activity",
    params(("agentId" = String, Path), ActivityQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = ActivityPage), PersonErrors, AdminErrors))]
pub(super) async fn of_agent(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(agent): Param<AgentId>,
    Params(query): Params<ActivityQuery>,
) -> Result<ActivityPage, Problem> {
    let (limit, conditions) = query.read(50)?;
    let filter = ActivityFilter { agent: Some(agent), ..filter(conditions) };
    let found = activity::list(&mut *app.read().await?, &admin, &filter, limit + 1).await?;
    Ok(ActivityPage::of(found, limit))
}

/// List what happened on a project.
///
/// On the project and its tasks, newest first, for whoever sees its space.
#[utoipa::path(get, path = "/api/parallax-agents/project/{projectId}/activity", operation_id = "listProjectActivity", tag = "activity",
    params(("projectId" = uuid::Uuid, Path), ActivityQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = ActivityPage), PersonErrors))]
pub(super) async fn of_project(
    State(app): State<App>,
    Member(person): Member,
    Param(project): Param<ProjectId>,
    Params(query): Params<ActivityQuery>,
) -> Result<ActivityPage, Problem> {
    let (limit, conditions) = query.read(50)?;
    let found = activity::of_project(&mut *app.read().await?, &person, project, filter(conditions), limit + 1).await?;
    Ok(ActivityPage::of(found, limit))
}

/// Count what happened on each day.
///
/// Newest day first, in UTC. Days are counted once an hour; counts outlive the rows that they count.
#[utoipa::path(get, path = "/api/parallax-agents/activity/daily", operation_id = "listDailyActivity", tag = "activity",
    params(DailyQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Vec<DailyActivity>>), PersonErrors, AdminErrors))]
pub(super) async fn daily(
    State(app): State<App>,
    Manager(admin): Manager,
    Params(query): Params<DailyQuery>,
) -> Result<Envelope<Vec<DailyActivity>>, Problem> {
    let days = query.days.unwrap_or(30);
    let days = u64::try_from(days).ok().filter(|days| (1..=366).contains(days));
    let days = days.ok_or_else(|| Problem::invalid("days", "must be a whole number from 1 to 366"))?;
    let agent = query.agent_id.map(|id| id.parse::<AgentId>()).transpose();
    let agent = agent.map_err(|error| Problem::invalid("agentId", &error.to_string()))?;
    #[expect(clippy::disallowed_methods, reason = "which days a list shows needs no transaction")]
    let today = app.clock.at(Utc::now()).date_naive();
    let since = today.checked_sub_days(Days::new(days - 1)).unwrap_or(today);
    let found = activity::daily(&mut *app.read().await?, &admin, agent.as_ref(), since).await?;
    Ok(Envelope::ok(found.into_iter().map(Into::into).collect()))
}

/// List an agent's newest activity.
///
/// In the shape that the watch panel reads.
#[utoipa::path(get, path = "/api/parallax-agents/{agentId}/recent-activity", operation_id = "listRecentAgentActivity", tag = "activity",
    params(("agentId" = String, Path), LimitQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<RecentActivities>), PersonErrors, AdminErrors))]
pub(super) async fn recent_of_agent(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(agent): Param<AgentId>,
    Params(query): Params<LimitQuery>,
) -> Result<Envelope<RecentActivities>, Problem> {
    let limit = input::limit(query.limit, 50)?;
    let filter = ActivityFilter { agent: Some(agent), ..ActivityFilter::default() };
    let found = activity::list(&mut *app.read().await?, &admin, &filter, limit).await?;
    Ok(Envelope::ok(RecentActivities { activities: found.into_iter().map(Into::into).collect() }))
}
