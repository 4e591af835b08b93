//! What agents are assigned to: projects and tasks of the knowledge base.

use super::{events, spaces};
use crate::{
    model::{
        actor::Person,
        agent::{Agent, AgentStatus, AgentView, IllegalTransition},
        assignment::{ASSIGNMENTS_PER_AGENT_MAX, Assignment, AssignmentRole, Place, Target},
        event::{AgentBrief, AssignmentBrief, Event, EventKind},
        ids::{AgentId, AssignmentId, WorkspaceId},
        settings::WorkspaceRules,
    },
    storage::{self, Conn, StorageError, Tx},
};

/// Assignments listed at the most; an agent may hold fewer.
const LISTED_MAX: i64 = 200;

/// Why an assignment was not made or ended.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    #[error("agent not found")]
    AgentNotFound,
    /// Also for one in another workspace, a deleted one, and one in a space that the person cannot see.
    #[error("{0} not found")]
    TargetNotFound(&'static str),
    #[error("assignment not found")]
    NotFound,
    /// The person sees the space and may not change pages in it.
    #[error("assigning needs the right to manage pages in the space")]
    Forbidden,
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error("the agent is assigned to this {0} already")]
    Already(&'static str),
    #[error("the assignment has ended already")]
    Ended,
    #[error("an agent may have at most {limit} assignments")]
    AgentLimit { limit: u32 },
    #[error("a project may have at most {limit} agents")]
    ProjectLimit { limit: u32 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Assigns an approved agent to a project or task, for owners, admins and whoever manages pages in
/// its space.
///
/// Records [`EventKind::Assigned`]. Source: REST contract §2.3 rows 10 and 11, §4.7, D-46.
pub async fn assign(tx: &mut Tx, by: &Person, id: &AgentId, target: Target, role: AssignmentRole) -> Result<Assignment, AssignmentError> {
    let found = storage::agents::lock(tx.conn(), by.workspace, id).await?;
    let agent = found.filter(|agent| agent.id == *id).ok_or(AssignmentError::AgentNotFound)?;
    let place = storage::assignments::lock_place(tx.conn(), by.workspace, target).await?;
    let place = may_manage(tx.conn(), by, place, target).await?;
    let rules = super::settings::rules(tx.conn(), by.workspace).await?;
    assign_locked(tx, &rules, by, &agent, &place, role).await
}

/// As [`assign`], for an agent and a place that this transaction keeps from changing and that the
/// person may manage.
async fn assign_locked(
    tx: &mut Tx,
    rules: &WorkspaceRules,
    by: &Person,
    agent: &Agent,
    place: &Place,
    role: AssignmentRole,
) -> Result<Assignment, AssignmentError> {
    let target = place.target;
    let status = agent.state.status();
    if status != AgentStatus::Approved {
        return Err(IllegalTransition { from: status, action: "assign" }.into());
    }
    let assignment = Assignment {
        id: AssignmentId::generate(),
        agent: agent.id.clone(),
        workspace: agent.workspace,
        target,
        role,
        assigned_at: tx.now(),
        assigned_by: Some(by.user),
        unassigned_at: None,
        task_status: None,
    };
    if !storage::assignments::insert(tx.conn(), &assignment).await? {
        return Err(AssignmentError::Already(target.kind()));
    }
    if storage::assignments::count_of_agent(tx.conn(), agent.workspace, &agent.id).await? > i64::from(ASSIGNMENTS_PER_AGENT_MAX) {
        return Err(AssignmentError::AgentLimit { limit: ASSIGNMENTS_PER_AGENT_MAX });
    }
    if let Target::Project(project) = target {
        let limit = rules.agents_per_project_max;
        if storage::assignments::count_on_project(tx.conn(), agent.workspace, project).await? > i64::from(limit) {
            return Err(AssignmentError::ProjectLimit { limit });
        }
    }
    let kind = EventKind::Assigned { agent: AgentBrief::of(agent), assignment: AssignmentBrief::of(&assignment, Some(place.space)) };
    events::record(tx, Event::about(agent, Some(by.user), kind)).await?;
    Ok(assignment)
}

/// Assigns an agent that this transaction has just made, for the admin who made it.
pub(super) async fn assign_new(
    tx: &mut Tx,
    rules: &WorkspaceRules,
    by: &Person,
    agent: &Agent,
    target: Target,
) -> Result<(), AssignmentError> {
    let place = storage::assignments::lock_place(tx.conn(), by.workspace, target).await?;
    let place = may_manage(tx.conn(), by, place, target).await?;
    assign_locked(tx, rules, by, agent, &place, AssignmentRole::Member).await?;
    Ok(())
}

/// Ends an assignment.
///
/// Records [`EventKind::Unassigned`]. Errors: `NotFound` (also in another workspace, D-03, and in a space
/// that the person cannot see), `Ended`, `Forbidden`, `Storage`.
pub async fn unassign(tx: &mut Tx, by: &Person, id: AssignmentId) -> Result<(), AssignmentError> {
    let assignment = storage::assignments::lock(tx.conn(), by.workspace, id).await?.ok_or(AssignmentError::NotFound)?;
    let place = storage::assignments::place(tx.conn(), by.workspace, assignment.target).await?;
    let space = place.as_ref().map(|place| place.space);
    if !by.role.manages_agents() {
        let allowed = may_manage(tx.conn(), by, place, assignment.target).await;
        allowed.map_err(|error| if matches!(error, AssignmentError::TargetNotFound(_)) { AssignmentError::NotFound } else { error })?;
    }
    let now = tx.now();
    if !storage::assignments::end(tx.conn(), by.workspace, id, now).await? {
        return Err(AssignmentError::Ended);
    }
    let agent = storage::agents::get(tx.conn(), by.workspace, &assignment.agent).await?.ok_or(AssignmentError::NotFound)?;
    let kind = EventKind::Unassigned { agent: AgentBrief::of(&agent), assignment: AssignmentBrief::of(&assignment, space) };
    events::record(tx, Event::about(&agent, Some(by.user), kind)).await?;
    Ok(())
}

/// A project or task, if the person may put agents to work there.
async fn may_manage(conn: &mut Conn, by: &Person, place: Option<Place>, target: Target) -> Result<Place, AssignmentError> {
    let place = place.ok_or(AssignmentError::TargetNotFound(target.kind()))?;
    if by.role.manages_agents() {
        return Ok(place);
    }
    match spaces::role_of(conn, by, place.space).await? {
        None => Err(AssignmentError::TargetNotFound(target.kind())),
        Some(role) if role.manages_pages() => Ok(place),
        Some(_) => Err(AssignmentError::Forbidden),
    }
}

/// The agent's active assignments, newest first.
pub async fn active(conn: &mut Conn, workspace: WorkspaceId, agent: &AgentId) -> Result<Vec<Assignment>, StorageError> {
    storage::assignments::active_of_agent(conn, workspace, agent, LISTED_MAX).await
}

/// Approved agents that work on a project or task, newest assignment first, for whoever sees its space.
///
/// Errors: `TargetNotFound` (also in another workspace, D-03), `Storage`.
pub async fn agents_on(conn: &mut Conn, person: &Person, target: Target) -> Result<Vec<AgentView>, AssignmentError> {
    may_see(conn, person, target).await?;
    let agents = storage::agents::assigned_to(conn, person.workspace, target).await?;
    Ok(agents.into_iter().map(|agent| AgentView { agent, run: None }).collect())
}

/// Whether a project or task is there for the person.
///
/// Errors: `TargetNotFound`, `Storage`.
pub async fn may_see(conn: &mut Conn, person: &Person, target: Target) -> Result<(), AssignmentError> {
    let not_found = AssignmentError::TargetNotFound(target.kind());
    let Some(place) = storage::assignments::place(conn, person.workspace, target).await? else { return Err(not_found) };
    let sees = person.role.manages_agents() || spaces::role_of(conn, person, place.space).await?.is_some();
    if sees { Ok(()) } else { Err(not_found) }
}

/// Ends all assignments of an agent that loses its access; returns how many.
pub(super) async fn end_all(tx: &mut Tx, workspace: WorkspaceId, agent: &AgentId) -> Result<u64, StorageError> {
    let now = tx.now();
    storage::assignments::end_of_agent(tx.conn(), workspace, agent, now).await
}
