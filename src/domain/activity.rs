//! Writes what agents say into the activity feed, reads it and its daily counts, and keeps both within their retention.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use serde_json::Value;

use super::{
    assignments::{self, AssignmentError},
    events, terminals,
};
use crate::{
    model::{
        activity::{Activity, DailyActivity},
        actor::{Admin, AgentCaller, Person},
        assignment::Target,
        event::{AgentBrief, Event, EventKind, LoggedActivity, OWN_ACTIVITY_TYPES},
        ids::{AgentId, EventId, PageId, ProjectId, TaskId},
        shown,
        terminal_rights::Readable,
    },
    storage::{self, Conn, StorageError, Tx},
};

pub use crate::storage::activity::ActivityFilter;

/// Rows of daily counts that one answer holds at the most.
const DAILY_ROWS_MAX: i64 = 5000;
/// Rows that one round of the purge deletes at the most, so that it holds no lock for long.
const PURGED_AT_ONCE: i64 = 5000;

/// What happened in the admin's workspace, newest first. Admins may know what every terminal shows.
pub async fn list(conn: &mut Conn, admin: &Admin, filter: &ActivityFilter, limit: u64) -> Result<Vec<Activity>, StorageError> {
    storage::activity::list(conn, admin.workspace(), filter, limit).await
}

/// What the agent that calls did and what was done about it, newest first, without what its terminal showed.
pub async fn own(conn: &mut Conn, by: &AgentCaller, limit: u64) -> Result<Vec<Activity>, StorageError> {
    let filter = ActivityFilter { agent: Some(by.agent.clone()), ..ActivityFilter::default() };
    let rows = storage::activity::list(conn, by.workspace, &filter, limit).await?;
    Ok(rows.into_iter().map(shown::activity_without).collect())
}

/// Length of the details of a row in bytes of JSON at the most: rows are read in lists.
pub const DETAILS_BYTES_MAX: usize = 16 * 1024;

/// Why an agent could not write into the feed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("rows of this type are written by the service")]
    Reserved,
    #[error("must be at most 16 KiB of JSON")]
    TooLong,
    /// Also for what is in another workspace, and for what the agent cannot see.
    #[error("{0} not found")]
    NotFound(&'static str),
    #[error("agent not found")]
    AgentNotFound,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What an agent writes into the feed.
pub struct Note {
    pub activity_type: String,
    pub description: String,
    pub details: Value,
    pub project: Option<ProjectId>,
    pub task: Option<TaskId>,
    pub page: Option<PageId>,
}

/// Writes what the agent that calls says it did into the feed. Returns the row's id and time.
///
/// Records [`EventKind::ActivityLogged`]. Errors: `Reserved`, `TooLong` (the details), `NotFound`, `AgentNotFound`, `Storage`.
pub async fn log(tx: &mut Tx, by: &AgentCaller, note: Note) -> Result<(EventId, DateTime<Utc>), LogError> {
    if OWN_ACTIVITY_TYPES.contains(&note.activity_type.to_lowercase().as_str()) {
        return Err(LogError::Reserved);
    }
    if note.details.to_string().len() > DETAILS_BYTES_MAX {
        return Err(LogError::TooLong);
    }
    let agent = storage::agents::get(tx.conn(), by.workspace, &by.agent).await?.ok_or(LogError::AgentNotFound)?;
    let missing = storage::activity::missing_subject(tx.conn(), by.workspace, by.user, note.project, note.task, note.page).await?;
    if let Some(missing) = missing {
        return Err(LogError::NotFound(missing));
    }
    let logged = LoggedActivity {
        agent: AgentBrief::of(&agent),
        activity_type: note.activity_type,
        description: note.description,
        details: note.details,
        project_id: note.project,
        task_id: note.task,
        page_id: note.page,
    };
    let at = tx.now();
    let id = events::record(tx, Event::about(&agent, Some(by.user), EventKind::ActivityLogged(logged))).await?;
    Ok((id, at))
}

/// What happened on one project and its tasks, newest first, for whoever sees its space. What a terminal showed is left out
/// for those who may not watch it.
///
/// Errors: `TargetNotFound`, `Storage`.
pub async fn of_project(
    conn: &mut Conn,
    person: &Person,
    project: ProjectId,
    mut filter: ActivityFilter,
    limit: u64,
) -> Result<Vec<Activity>, AssignmentError> {
    assignments::may_see(conn, person, Target::Project(project)).await?;
    filter.project = Some(project);
    let rows = storage::activity::list(conn, person.workspace, &filter, limit).await?;
    Ok(shown_to(conn, person, rows).await?)
}

/// The rows without what terminals showed that the person may not watch.
async fn shown_to(conn: &mut Conn, person: &Person, rows: Vec<Activity>) -> Result<Vec<Activity>, StorageError> {
    let readable = terminals::readable(conn, person).await?;
    if readable == Readable::All {
        return Ok(rows);
    }
    let mut agents: Vec<AgentId> = rows.iter().filter_map(|row| row.agent.clone()).collect();
    agents.sort();
    agents.dedup();
    let runs = storage::runs::latest_of(conn, person.workspace, &agents).await?;
    let spawner = |agent: &AgentId| runs.iter().find(|run| run.agent == *agent).and_then(|run| run.requested_by);
    let may_know = |row: &Activity| readable.includes(row.agent.as_ref().and_then(spawner));
    Ok(rows.into_iter().map(|row| if may_know(&row) { row } else { shown::activity_without(row) }).collect())
}

/// How often each thing happened on each day since `since`, newest day first, of one agent if given.
pub async fn daily(conn: &mut Conn, admin: &Admin, agent: Option<&AgentId>, since: NaiveDate) -> Result<Vec<DailyActivity>, StorageError> {
    storage::activity::daily(conn, admin.workspace(), agent, since, DAILY_ROWS_MAX).await
}

/// How long the feed and its daily counts are kept; `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub rows: Option<TimeDelta>,
    pub daily: Option<TimeDelta>,
}

/// Counts what was not counted yet and forgets counts that are older than their retention. Returns
/// before when rows have been counted and are to be deleted.
pub async fn roll_up(tx: &mut Tx, retention: Retention) -> Result<Option<DateTime<Utc>>, StorageError> {
    let now = tx.now();
    let purged = retention.rows.map(|kept| now - kept);
    storage::activity::roll_up(tx.conn(), purged).await?;
    if let Some(kept) = retention.daily {
        storage::activity::purge_daily(tx.conn(), (now - kept).date_naive()).await?;
    }
    Ok(purged)
}

/// Deletes some of the rows before `before`. Returns how many, and whether there may be more.
pub async fn purge(tx: &mut Tx, before: DateTime<Utc>) -> Result<(u64, bool), StorageError> {
    let deleted = storage::activity::purge(tx.conn(), before, PURGED_AT_ONCE).await?;
    Ok((deleted, i64::try_from(deleted).is_ok_and(|deleted| deleted >= PURGED_AT_ONCE)))
}
