//! Tasks of the knowledge base, as agents and people's keys read and write them.

use uuid::Uuid;

use super::{
    content::{ContentError, changes_something, decided_by_people, may, may_write},
    events, pages, projects,
};
use crate::{
    model::{
        account::{Account, Author},
        event::{ContentBrief, EventKind, TaskBrief},
        ids::{PageId, ProjectId, SpaceId, TaskId, UserId},
        position,
        space::PageRequest,
        task::{NewTask, Task, TaskBucket, TaskChange, TaskFilter, TaskStatus, Triage},
    },
    storage::{self, Conn, StorageError, Tx},
};

const NOT_FOUND: ContentError = ContentError::NotFound("task");

/// What it takes to give a task to somebody else.
const ASSIGN: &str = "assign:tasks";

/// A task with whom and what it names.
pub async fn find(conn: &mut Conn, account: &Account, id: TaskId) -> Result<Task, ContentError> {
    storage::tasks::find(conn, account, id).await?.ok_or(NOT_FOUND)
}

/// Tasks that fit, in their order, and how many there are in all.
///
/// Errors: `NotFound` (space or project), `Storage`.
pub async fn list(conn: &mut Conn, account: &Account, filter: &TaskFilter, page: &PageRequest) -> Result<(Vec<Task>, i64), ContentError> {
    if let Some(space) = filter.space {
        pages::role_in(conn, account, space).await?;
    }
    if let Some(project) = filter.project {
        projects::find(conn, account, project).await?;
    }
    Ok(storage::tasks::list(conn, account, filter, page).await?)
}

/// How many open tasks wait for what.
///
/// Errors: `NotFound` (the space), `Storage`.
pub async fn triage(tx: &mut Tx, account: &Account, space: Option<SpaceId>) -> Result<Triage, ContentError> {
    if let Some(space) = space {
        pages::role_in(tx.conn(), account, space).await?;
    }
    let now = tx.now();
    Ok(storage::tasks::triage(tx.conn(), account, space, now).await?)
}

/// Makes a task at the end of its project, or of its space's tasks.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound` (what it is to belong to), `ReadOnly`, `NotPermitted` (to
/// give it to somebody else), `Invalid`, `Storage`.
pub async fn create(tx: &mut Tx, account: &Account, new: &NewTask) -> Result<Task, ContentError> {
    let space = space_of(tx.conn(), account, new).await?;
    may_write(pages::role_in(tx.conn(), account, space).await?)?;
    if let Some(parent) = new.parent {
        let found = storage::tasks::find(tx.conn(), account, parent).await?.filter(|found| found.space == space);
        found.ok_or(ContentError::NotFound("parent task"))?;
    }
    if let Some(page) = new.page {
        page_is_there(tx.conn(), account, page).await?;
    }
    let assignee = match new.assignee {
        Some(user) => Some(assignable(tx, account, space, user).await?),
        None => None,
    };
    let last = storage::tasks::last_position(tx.conn(), space, new.project).await?;
    let now = tx.now();
    let mut task = Task {
        id: TaskId::generate(),
        title: new.title.clone(),
        description: new.description.clone(),
        status: TaskStatus::Todo,
        priority: new.priority,
        bucket: new.bucket,
        position: Some(position::after(last.as_deref(), Uuid::new_v4())),
        due_at: new.due_at,
        completed_at: None,
        estimate_minutes: new.estimate_minutes,
        project: new.project,
        project_name: None,
        parent: new.parent,
        parent_title: None,
        page: new.page,
        space,
        creator: None,
        assignee,
        agent_live: false,
        agent_accessible: None,
        created_at: now,
        updated_at: now,
    };
    task.set_status(new.status, now);
    storage::tasks::insert(tx.conn(), account, &task).await?;
    told(tx, account, task.id, EventOf::Change("created")).await
}

/// Changes a task. What it is moved to must be in the same space, see [`move_to_project`] for others.
///
/// Records [`EventKind::TaskStarted`], [`EventKind::TaskCompleted`] or [`EventKind::TaskFailed`] when the status came to
/// say so, else [`EventKind::ContentChanged`]. Errors: `NotFound`, `ReadOnly`, `NotPermitted` (to give it to somebody
/// else), `Refused` (only for people to decide), `Invalid`, `Storage`.
pub async fn update(tx: &mut Tx, account: &Account, id: TaskId, change: &TaskChange) -> Result<Task, ContentError> {
    changes_something(change)?;
    decided_by_people(account, change.agent_live.is_some() || change.agent_accessible.is_some())?;
    let mut task = lock_for_change(tx, account, id).await?;
    let now = tx.now();
    let before = task.status;
    if let Some(title) = &change.title {
        task.title.clone_from(title);
    }
    if let Some(description) = &change.description {
        task.description.clone_from(description);
    }
    if let Some(position) = &change.position {
        task.position = Some(position.clone());
    }
    task.priority = change.priority.unwrap_or(task.priority);
    task.bucket = change.bucket.unwrap_or(task.bucket);
    task.due_at = change.due_at.unwrap_or(task.due_at);
    task.estimate_minutes = change.estimate_minutes.unwrap_or(task.estimate_minutes);
    task.agent_accessible = change.agent_accessible.unwrap_or(task.agent_accessible);
    task.set_status(change.status.unwrap_or(task.status), now);
    if let Some(Some(page)) = change.page {
        page_is_there(tx.conn(), account, page).await?;
    }
    match change.assignee {
        Some(Some(user)) if task.assignee.as_ref().map(|assignee| assignee.id) != Some(user) => {
            task.assignee = Some(assignable(tx, account, task.space, user).await?);
        }
        Some(None) => unassign(tx, account, &mut task).await?,
        Some(Some(_)) | None => {}
    }
    storage::tasks::save(tx.conn(), account, &task, change.page, now).await?;
    if let Some(live) = change.agent_live {
        storage::tasks::set_agent_live(tx.conn(), account, id, live).await?;
    }
    told(tx, account, id, if task.status == before { EventOf::Change("updated") } else { EventOf::Status(task.status) }).await
}

/// Gives a task to somebody.
///
/// Records [`EventKind::ContentChanged`]. Errors: as [`update`].
pub async fn assign(tx: &mut Tx, account: &Account, id: TaskId, user: Option<UserId>) -> Result<Task, ContentError> {
    let mut task = lock_for_change(tx, account, id).await?;
    match user {
        Some(user) => task.assignee = Some(assignable(tx, account, task.space, user).await?),
        None => unassign(tx, account, &mut task).await?,
    }
    let now = tx.now();
    storage::tasks::save(tx.conn(), account, &task, None, now).await?;
    told(tx, account, id, EventOf::Change("assigned")).await
}

/// Says that a task is done, or that it is not after all.
///
/// Records [`EventKind::TaskCompleted`] or [`EventKind::ContentChanged`], once: a task that is so already stays as it
/// is. Errors: `NotFound`, `ReadOnly`, `Storage`.
pub async fn complete(tx: &mut Tx, account: &Account, id: TaskId, done: bool) -> Result<Task, ContentError> {
    let mut task = lock_for_change(tx, account, id).await?;
    if done == (task.status == TaskStatus::Done) {
        return Ok(task);
    }
    let now = tx.now();
    task.set_status(if done { TaskStatus::Done } else { TaskStatus::Todo }, now);
    storage::tasks::save(tx.conn(), account, &task, None, now).await?;
    told(tx, account, id, EventOf::Status(task.status)).await
}

/// Puts a task into a bucket, or takes it out of its bucket.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound`, `ReadOnly`, `Storage`.
pub async fn set_bucket(tx: &mut Tx, account: &Account, id: TaskId, bucket: TaskBucket) -> Result<Task, ContentError> {
    update(tx, account, id, &TaskChange { bucket: Some(bucket), ..TaskChange::default() }).await
}

/// Moves a task to a project, which may be in another space, or takes it out of its project.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound` (task or project), `ReadOnly` (in either space), `Storage`.
pub async fn move_to_project(tx: &mut Tx, account: &Account, id: TaskId, project: Option<ProjectId>) -> Result<Task, ContentError> {
    let mut task = lock_for_change(tx, account, id).await?;
    if let Some(project) = project {
        task.space = projects::lock_for_change(tx, account, project).await?.space;
    }
    task.project = project;
    let last = storage::tasks::last_position(tx.conn(), task.space, project).await?;
    task.position = Some(position::after(last.as_deref(), Uuid::new_v4()));
    let now = tx.now();
    storage::tasks::save(tx.conn(), account, &task, None, now).await?;
    told(tx, account, id, EventOf::Change("moved")).await
}

/// Deletes a task, softly.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound`, `ReadOnly`, `Storage`.
pub async fn delete(tx: &mut Tx, account: &Account, id: TaskId) -> Result<(), ContentError> {
    let task = lock_for_change(tx, account, id).await?;
    let now = tx.now();
    storage::tasks::delete(tx.conn(), account, id, now).await?;
    record(tx, account, &task, EventOf::Change("deleted")).await?;
    Ok(())
}

async fn lock_for_change(tx: &mut Tx, account: &Account, id: TaskId) -> Result<Task, ContentError> {
    let role = storage::tasks::lock(tx.conn(), account, id).await?.ok_or(NOT_FOUND)?;
    may_write(role)?;
    find(tx.conn(), account, id).await
}

/// The space that a new task is to be in: its project's, which the one that is named must be.
async fn space_of(conn: &mut Conn, account: &Account, new: &NewTask) -> Result<SpaceId, ContentError> {
    let Some(project) = new.project else {
        return new.space.ok_or(ContentError::Invalid { field: "spaceId", reason: "is needed unless projectId is given" });
    };
    let project = projects::find(conn, account, project).await?;
    if new.space.is_some_and(|space| space != project.space) {
        return Err(ContentError::Invalid { field: "projectId", reason: "must be a project of the space" });
    }
    Ok(project.space)
}

async fn page_is_there(conn: &mut Conn, account: &Account, page: PageId) -> Result<(), ContentError> {
    if pages::is_there(conn, account, page).await? { Ok(()) } else { Err(ContentError::NotFound("page")) }
}

/// Somebody whom the account may give a task of a space: it itself, and with the right to assign everybody who is active
/// and belongs to the space.
async fn assignable(tx: &mut Tx, account: &Account, space: SpaceId, user: UserId) -> Result<Author, ContentError> {
    if user != account.user && !may(tx, account, ASSIGN).await? {
        return Err(ContentError::NotPermitted(ASSIGN));
    }
    let known = storage::users::active(tx.conn(), account.workspace, user).await?;
    let belongs = storage::spaces::role_of(tx.conn(), account.workspace, user, space).await?.is_some();
    match known.filter(|_| belongs) {
        Some(user) => Ok(Author { id: user.id, name: user.name, avatar_url: user.avatar_url }),
        None => Err(ContentError::Invalid { field: "assigneeId", reason: "must be somebody who belongs to the space" }),
    }
}

/// Takes a task from whoever has it. One's own task anybody may put down.
async fn unassign(tx: &mut Tx, account: &Account, task: &mut Task) -> Result<(), ContentError> {
    let others = task.assignee.take().is_some_and(|assignee| assignee.id != account.user);
    if others && !may(tx, account, ASSIGN).await? { Err(ContentError::NotPermitted(ASSIGN)) } else { Ok(()) }
}

/// What an event says that happened.
#[derive(Clone, Copy)]
enum EventOf {
    Status(TaskStatus),
    Change(&'static str),
}

/// The task as it is now, after telling what happened to it.
async fn told(tx: &mut Tx, account: &Account, id: TaskId, what: EventOf) -> Result<Task, ContentError> {
    let task = find(tx.conn(), account, id).await?;
    record(tx, account, &task, what).await?;
    Ok(task)
}

async fn record(tx: &mut Tx, account: &Account, task: &Task, what: EventOf) -> Result<(), StorageError> {
    let brief = || TaskBrief {
        id: task.id,
        title: task.title.clone(),
        status: task.status.as_str().to_owned(),
        space_id: task.space,
        project_id: task.project,
    };
    let kind = match what {
        EventOf::Status(TaskStatus::InProgress) => EventKind::TaskStarted { task: brief() },
        EventOf::Status(TaskStatus::Done) => EventKind::TaskCompleted { task: brief() },
        EventOf::Status(TaskStatus::Blocked) => EventKind::TaskFailed { task: brief() },
        EventOf::Status(TaskStatus::Todo | TaskStatus::InReview) => changed(task, "updated"),
        EventOf::Change(change) => changed(task, change),
    };
    events::record(tx, account.did(kind)).await?;
    Ok(())
}

fn changed(task: &Task, change: &str) -> EventKind {
    let content = ContentBrief {
        kind: "task".to_owned(),
        id: task.id.0,
        title: task.title.clone(),
        space_id: Some(task.space),
        project_id: task.project,
        task_id: Some(task.id),
        page_id: None,
    };
    EventKind::ContentChanged { content, change: change.to_owned() }
}
