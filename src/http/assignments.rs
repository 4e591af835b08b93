//! What agents are assigned to.

use axum::extract::State;

use super::{
    callers::Member,
    input::{Body, Param},
};
use crate::{
    app::App,
    domain::{agents, assignments},
    model::{
        assignment::{AssignmentRole, Target},
        ids::{AgentId, AssignmentId, ProjectId, TaskId},
    },
    wire::{
        agents::Agent,
        assignments::{AssignProject, AssignTask, Assignment},
        envelope::{Done, Envelope},
        problem::{AdminErrors, PersonErrors, Problem},
    },
};

/// Assign an agent to a project.
///
/// For owners, admins and whoever manages pages in the project's space.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/assign/project", operation_id = "assignToProject", tag = "assignments",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = AssignProject,
    responses((status = 201, body = Envelope<Assignment>), PersonErrors, AdminErrors))]
pub(super) async fn to_project(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<AgentId>,
    Body(body): Body<AssignProject>,
) -> Result<Envelope<Assignment>, Problem> {
    let mut tx = app.begin().await?;
    let target = Target::Project(body.project_id);
    let made = assignments::assign(&mut tx, &person, &id, target, body.role.unwrap_or_default()).await?;
    tx.commit().await?;
    Ok(Envelope::created(Assignment::from(&made)))
}

/// Assign an agent to a task.
///
/// For owners, admins and whoever manages pages in the task's space.
#[utoipa::path(post, path = "/api/parallax-agents/{agentId}/assign/task", operation_id = "assignToTask", tag = "assignments",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = AssignTask,
    responses((status = 201, body = Envelope<Assignment>), PersonErrors, AdminErrors))]
pub(super) async fn to_task(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<AgentId>,
    Body(body): Body<AssignTask>,
) -> Result<Envelope<Assignment>, Problem> {
    let mut tx = app.begin().await?;
    let made = assignments::assign(&mut tx, &person, &id, Target::Task(body.task_id), AssignmentRole::Member).await?;
    tx.commit().await?;
    Ok(Envelope::created(Assignment::from(&made)))
}

/// List an agent's assignments.
///
/// Active ones, newest first.
#[utoipa::path(get, path = "/api/parallax-agents/{agentId}/assignments", operation_id = "listAssignments", tag = "assignments",
    params(("agentId" = String, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Vec<Assignment>>), PersonErrors))]
pub(super) async fn of_agent(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<AgentId>,
) -> Result<Envelope<Vec<Assignment>>, Problem> {
    let mut conn = app.read().await?;
    agents::find(&mut conn, person.workspace, &id).await?.ok_or_else(super::problem::agent_not_found)?;
    let found = assignments::active(&mut conn, person.workspace, &id).await?;
    Ok(Envelope::ok(found.iter().map(Assignment::from).collect()))
}

/// End an assignment.
#[utoipa::path(delete, path = "/api/parallax-agents/assignments/{assignmentId}", operation_id = "unassign", tag = "assignments",
    params(("assignmentId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Done>), PersonErrors, AdminErrors))]
pub(super) async fn end(State(app): State<App>, Member(person): Member, Param(id): Param<AssignmentId>) -> Result<Envelope<Done>, Problem> {
    let mut tx = app.begin().await?;
    assignments::unassign(&mut tx, &person, id).await?;
    tx.commit().await?;
    Ok(Envelope::ok(Done::OK))
}

/// List agents on a project.
///
/// Approved ones, newest assignment first, for whoever sees the project's space.
#[utoipa::path(get, path = "/api/parallax-agents/project/{projectId}", operation_id = "listProjectAgents", tag = "assignments",
    params(("projectId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Vec<Agent>>), PersonErrors))]
pub(super) async fn on_project(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<ProjectId>,
) -> Result<Envelope<Vec<Agent>>, Problem> {
    let found = assignments::agents_on(&mut *app.read().await?, &person, Target::Project(id)).await?;
    Ok(Envelope::ok(found.into_iter().map(|view| super::agents::shown_to(&person, view)).collect()))
}

/// List agents on a task.
///
/// Approved ones, newest assignment first, for whoever sees the task's space.
#[utoipa::path(get, path = "/api/parallax-agents/task/{taskId}", operation_id = "listTaskAgents", tag = "assignments",
    params(("taskId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Vec<Agent>>), PersonErrors))]
pub(super) async fn on_task(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<TaskId>,
) -> Result<Envelope<Vec<Agent>>, Problem> {
    let found = assignments::agents_on(&mut *app.read().await?, &person, Target::Task(id)).await?;
    Ok(Envelope::ok(found.into_iter().map(|view| super::agents::shown_to(&person, view)).collect()))
}
