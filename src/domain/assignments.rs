//! What agents are assigned to: projects and tasks of the knowledge base.

use super::{events, spaces};
use crate::{
    model::{
        actor::{AgentCaller, Person},
        agent::{Agent, AgentStatus, AgentView, IllegalTransition},
        assignment::{ASSIGNMENTS_PER_AGENT_MAX, Assignment, AssignmentRole, OpenTask, Place, Target},
        event::{AgentBrief, AssignmentBrief, Event, EventKind},
        ids::{AgentId, AssignmentId, TaskId, WorkspaceId},
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
    /// Nobody said that agents may take it.
    #[error("the task is not open to agents")]
    NotLive,
    #[error("another agent works on the task")]
    Taken,
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

/// Puts the agent that calls on a task that is open to agents and that no other agent works on.
///
/// Records [`EventKind::TaskClaimed`].
/// Errors: `TargetNotFound` (also for a task that agents cannot see), `NotLive`, `Taken`, `Already`, `AgentLimit`,
/// `AgentNotFound`, `Illegal`, `Storage`. Source: REST contract §5.4, §5.5.
pub async fn claim(tx: &mut Tx, by: &AgentCaller, task: TaskId) -> Result<Assignment, AssignmentError> {
    let agent = lock_approved(tx, by.workspace, &by.agent).await?;
    let open = lock_open_task(tx, by, task).await?;
    if storage::assignments::agent_on_task(tx.conn(), by.workspace, task).await?.is_some_and(|other| other != by.agent) {
        return Err(AssignmentError::Taken);
    }
    if !open.is_live {
        return Err(AssignmentError::NotLive);
    }
    let assignment = take(tx, by, &agent, task).await?;
    let kind = EventKind::TaskClaimed { agent: AgentBrief::of(&agent), assignment: AssignmentBrief::of(&assignment, Some(open.space)) };
    events::record(tx, Event::about(&agent, Some(by.user), kind)).await?;
    Ok(assignment)
}

/// What a delegation did.
pub struct Delegated {
    pub from: Agent,
    pub to: Agent,
    pub assignment: Assignment,
}

/// Gives a task of the agent that calls, or one that is open and nobody's, to another approved agent of the workspace.
///
/// Records [`EventKind::TaskDelegated`] and [`EventKind::TaskReceived`].
/// Errors: `AgentNotFound` (also for oneself and for one who cannot see the task's space), and those of [`claim`].
pub async fn delegate(
    tx: &mut Tx,
    by: &AgentCaller,
    to: &AgentId,
    task: TaskId,
    reason: Option<String>,
) -> Result<Delegated, AssignmentError> {
    if *to == by.agent {
        return Err(AssignmentError::AgentNotFound);
    }
    // In one order whoever gives to whom, so that two who give to each other do not wait for ever.
    let (first, second) = if by.agent < *to { (&by.agent, to) } else { (to, &by.agent) };
    let (first, second) = (lock_approved(tx, by.workspace, first).await?, lock_approved(tx, by.workspace, second).await?);
    let (from, to) = if first.id == by.agent { (first, second) } else { (second, first) };
    let open = lock_open_task(tx, by, task).await?;
    let account = storage::users::account_of(tx.conn(), to.workspace, &to.id).await?.ok_or(AssignmentError::AgentNotFound)?;
    if storage::spaces::role_of(tx.conn(), to.workspace, account, open.space).await?.is_none() {
        return Err(AssignmentError::AgentNotFound);
    }
    match storage::assignments::agent_on_task(tx.conn(), by.workspace, task).await? {
        Some(other) if other == to.id => return Err(AssignmentError::Already("task")),
        Some(other) if other != by.agent => return Err(AssignmentError::Taken),
        None if !open.is_live => return Err(AssignmentError::NotLive),
        Some(_) | None => {}
    }
    let now = tx.now();
    storage::assignments::end_on_task(tx.conn(), by.workspace, &from.id, task, now).await?;
    let assignment = take(tx, by, &to, task).await?;
    let (giver, taker) = (AgentBrief::of(&from), AgentBrief::of(&to));
    let space_id = Some(open.space);
    let kind = EventKind::TaskDelegated { agent: giver.clone(), task_id: task, space_id, to_agent: taker.clone(), reason: reason.clone() };
    events::record(tx, Event::about(&from, Some(by.user), kind)).await?;
    let assigned = AssignmentBrief::of(&assignment, space_id);
    let kind = EventKind::TaskReceived { agent: taker, assignment: assigned, from_agent: giver, reason };
    events::record(tx, Event::about(&to, Some(by.user), kind)).await?;
    Ok(Delegated { from, to, assignment })
}

async fn lock_approved(tx: &mut Tx, workspace: WorkspaceId, id: &AgentId) -> Result<Agent, AssignmentError> {
    let found = storage::agents::lock(tx.conn(), workspace, id).await?;
    let agent = found.filter(|agent| agent.id == *id).ok_or(AssignmentError::AgentNotFound)?;
    let is_approved = agent.state.status() == AgentStatus::Approved;
    if is_approved { Ok(agent) } else { Err(AssignmentError::AgentNotFound) }
}

/// A task that the agent's account may see, kept from anybody else who would take it until the transaction ends.
async fn lock_open_task(tx: &mut Tx, by: &AgentCaller, task: TaskId) -> Result<OpenTask, AssignmentError> {
    let not_found = AssignmentError::TargetNotFound("task");
    let Some(open) = storage::assignments::lock_open_task(tx.conn(), by.workspace, task).await? else { return Err(not_found) };
    match storage::spaces::role_of(tx.conn(), by.workspace, by.user, open.space).await? {
        Some(role) if role.manages_pages() => Ok(open),
        Some(_) => Err(AssignmentError::Forbidden),
        None => Err(not_found),
    }
}

/// Puts an agent on a task that this transaction keeps from others.
async fn take(tx: &mut Tx, by: &AgentCaller, agent: &Agent, task: TaskId) -> Result<Assignment, AssignmentError> {
    let assignment = Assignment {
        id: AssignmentId::generate(),
        agent: agent.id.clone(),
        workspace: agent.workspace,
        target: Target::Task(task),
        role: AssignmentRole::Member,
        assigned_at: tx.now(),
        assigned_by: Some(by.user),
        unassigned_at: None,
        task_status: None,
    };
    if !storage::assignments::insert(tx.conn(), &assignment).await? {
        return Err(AssignmentError::Already("task"));
    }
    if storage::assignments::count_of_agent(tx.conn(), agent.workspace, &agent.id).await? > i64::from(ASSIGNMENTS_PER_AGENT_MAX) {
        return Err(AssignmentError::AgentLimit { limit: ASSIGNMENTS_PER_AGENT_MAX });
    }
    Ok(assignment)
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

/// What the agent that calls is assigned to, newest first, as far as it may know of it.
pub async fn own(conn: &mut Conn, by: &AgentCaller) -> Result<Vec<Assignment>, StorageError> {
    storage::assignments::active_of_caller(conn, by, LISTED_MAX).await
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
