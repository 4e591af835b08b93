//! Projects of the knowledge base, as agents and people's keys read and write them.

use super::{
    content::{ContentError, changes_something, decided_by_people, may, may_write},
    events, pages,
    spaces::Page as Slice,
};
use crate::{
    model::{
        account::Account,
        document::Document,
        event::{ContentBrief, EventKind},
        ids::ProjectId,
        page::{NewPage, Page},
        project::{NewProject, Project, ProjectChange, ProjectFilter},
        space::PageRequest,
    },
    storage::{self, Conn, StorageError, Tx},
};

const NOT_FOUND: ContentError = ContentError::NotFound("project");

/// What it takes to delete a project that has tasks: they are gone with it.
const DELETE_TASKS: &str = "delete:tasks";

/// A project.
pub async fn find(conn: &mut Conn, account: &Account, id: ProjectId) -> Result<Project, ContentError> {
    storage::projects::find(conn, account, id).await?.ok_or(NOT_FOUND)
}

/// Projects that fit, by name.
///
/// Errors: `NotFound` (the space), `Storage`.
pub async fn list(conn: &mut Conn, account: &Account, filter: &ProjectFilter, page: &PageRequest) -> Result<Slice<Project>, ContentError> {
    if let Some(space) = filter.space {
        pages::role_in(conn, account, space).await?;
    }
    Ok(Slice::of(storage::projects::list(conn, account, filter, page).await?, page))
}

/// Makes a project.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound` (the space), `ReadOnly`, `Storage`.
pub async fn create(tx: &mut Tx, account: &Account, new: &NewProject) -> Result<Project, ContentError> {
    may_write(pages::role_in(tx.conn(), account, new.space).await?)?;
    let now = tx.now();
    let project = Project {
        id: ProjectId::generate(),
        name: new.name.clone(),
        description: new.description.clone(),
        icon: new.icon.clone(),
        color: new.color.clone(),
        is_archived: false,
        starts_at: new.starts_at,
        ends_at: new.ends_at,
        space: new.space,
        creator: None,
        home_page: None,
        agent_live: false,
        created_at: now,
        updated_at: now,
    };
    in_order(&project)?;
    storage::projects::insert(tx.conn(), account, &project).await?;
    told(tx, account, project.id, "created").await
}

/// Changes a project, archives it or takes it out of the archive.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound`, `ReadOnly`, `Refused` (only for people to decide),
/// `Invalid` (it would end before it starts), `Storage`.
pub async fn update(tx: &mut Tx, account: &Account, id: ProjectId, change: &ProjectChange) -> Result<Project, ContentError> {
    changes_something(change)?;
    decided_by_people(account, change.agent_live.is_some())?;
    let mut project = lock_for_change(tx, account, id).await?;
    let was_archived = project.is_archived;
    if let Some(name) = &change.name {
        project.name.clone_from(name);
    }
    if let Some(description) = &change.description {
        project.description.clone_from(description);
    }
    if let Some(icon) = &change.icon {
        project.icon.clone_from(icon);
    }
    if let Some(color) = &change.color {
        project.color.clone_from(color);
    }
    project.starts_at = change.starts_at.unwrap_or(project.starts_at);
    project.ends_at = change.ends_at.unwrap_or(project.ends_at);
    project.is_archived = change.is_archived.unwrap_or(was_archived);
    project.agent_live = change.agent_live.unwrap_or(project.agent_live);
    in_order(&project)?;
    let now = tx.now();
    storage::projects::save(tx.conn(), account, &project, now).await?;
    told(tx, account, id, if project.is_archived && !was_archived { "archived" } else { "updated" }).await
}

/// Deletes a project with its tasks, softly.
///
/// Records [`EventKind::ContentChanged`]. Errors: `NotFound`, `ReadOnly`, `Refused` (tasks of it are kept from agents),
/// `NotPermitted` (to delete its tasks), `Storage`.
pub async fn delete(tx: &mut Tx, account: &Account, id: ProjectId) -> Result<(), ContentError> {
    let project = lock_for_change(tx, account, id).await?;
    let (any, hidden) = storage::projects::tasks(tx.conn(), account, id).await?;
    if hidden && account.is_agent() {
        return Err(ContentError::Refused("the project has tasks that only people may delete"));
    }
    if any && !may(tx, account, DELETE_TASKS).await? {
        return Err(ContentError::NotPermitted(DELETE_TASKS));
    }
    let now = tx.now();
    storage::projects::delete(tx.conn(), account, id, now).await?;
    record(tx, account, &project, "deleted").await?;
    Ok(())
}

/// Makes a page that tells of a project: its home page, or below that one if it has one already. Without a title it has the
/// project's name.
///
/// Records what [`pages::create`] records. Errors: `NotFound`, `ReadOnly`, `Storage`.
pub async fn create_page(
    tx: &mut Tx,
    account: &Account,
    id: ProjectId,
    title: Option<String>,
    content: Option<Document>,
) -> Result<Page, ContentError> {
    let project = lock_for_change(tx, account, id).await?;
    let title = title.unwrap_or(project.name);
    let page = NewPage { title, content: content.unwrap_or_default(), icon: None, space: project.space, parent: project.home_page };
    let page = pages::create(tx, account, &page).await?;
    storage::projects::set_home_page(tx.conn(), account, id, page.summary.id).await?;
    Ok(page)
}

/// A project that the account may change and that nobody else does until the transaction ends.
pub(super) async fn lock_for_change(tx: &mut Tx, account: &Account, id: ProjectId) -> Result<Project, ContentError> {
    let role = storage::projects::lock(tx.conn(), account, id).await?.ok_or(NOT_FOUND)?;
    may_write(role)?;
    find(tx.conn(), account, id).await
}

fn in_order(project: &Project) -> Result<(), ContentError> {
    match (project.starts_at, project.ends_at) {
        (Some(start), Some(end)) if end < start => Err(ContentError::Invalid { field: "endDate", reason: "must not be before startDate" }),
        (Some(_) | None, _) => Ok(()),
    }
}

async fn told(tx: &mut Tx, account: &Account, id: ProjectId, change: &str) -> Result<Project, ContentError> {
    let project = find(tx.conn(), account, id).await?;
    record(tx, account, &project, change).await?;
    Ok(project)
}

async fn record(tx: &mut Tx, account: &Account, project: &Project, change: &str) -> Result<(), StorageError> {
    let content = ContentBrief {
        kind: "project".to_owned(),
        id: project.id.0,
        title: project.name.clone(),
        space_id: Some(project.space),
        project_id: Some(project.id),
        task_id: None,
        page_id: None,
    };
    events::record(tx, account.did(EventKind::ContentChanged { content, change: change.to_owned() })).await?;
    Ok(())
}
