//! Makes workspaces and the accounts of people.

use super::events;
use crate::{
    model::{
        event::{Event, EventKind},
        ids::{UserId, WorkspaceId},
        workspace::{Role, Workspace},
    },
    storage::{self, Conn, StorageError, Tx},
};

/// A new person's account. The password is hashed already.
pub struct NewPerson {
    pub name: String,
    pub email: String,
    pub password_hash: String,
}

/// Why a workspace or an account was not made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("a workspace is set up already")]
    AlreadySetUp,
    #[error("there is an account with this email already")]
    EmailTaken,
    #[error("workspace not found")]
    NotFound,
    #[error("there is no person with this email in the workspace")]
    PersonNotFound,
    /// Nobody would be left who could manage the workspace.
    #[error("the workspace's last owner keeps the role and stays active")]
    LastOwner,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes the first workspace with its owner, group and space (REST contract §3.3).
///
/// Errors: `AlreadySetUp` when there is one, also for the second of two at the same time.
pub async fn set_up(tx: &mut Tx, name: &str, owner: &NewPerson) -> Result<(WorkspaceId, UserId), SetupError> {
    storage::workspaces::lock_setup(tx.conn()).await?;
    if storage::workspaces::oldest(tx.conn()).await?.is_some() {
        return Err(SetupError::AlreadySetUp);
    }
    create(tx, name, None, owner).await
}

/// Makes a further workspace, for an operator at the command line.
pub async fn create(tx: &mut Tx, name: &str, hostname: Option<&str>, owner: &NewPerson) -> Result<(WorkspaceId, UserId), SetupError> {
    let (workspace, user) = (WorkspaceId::generate(), UserId::generate());
    storage::workspaces::insert(tx.conn(), workspace, name, hostname).await?;
    storage::users::insert(tx.conn(), workspace, user, &owner.name, &owner.email, &owner.password_hash, Role::Owner).await?;
    storage::workspaces::insert_first_space(tx.conn(), workspace, user).await?;
    Ok((workspace, user))
}

/// Adds a person to a workspace.
pub async fn add_person(tx: &mut Tx, workspace: WorkspaceId, person: &NewPerson, role: Role) -> Result<UserId, SetupError> {
    if storage::workspaces::get(tx.conn(), workspace).await?.is_none() {
        return Err(SetupError::NotFound);
    }
    let user = UserId::generate();
    storage::users::insert(tx.conn(), workspace, user, &person.name, &person.email, &person.password_hash, role).await.map_err(
        |error| match error.constraint() {
            Some("users_email_workspace_id_unique") => SetupError::EmailTaken,
            Some(_) | None => error.into(),
        },
    )?;
    storage::users::join_default_group(tx.conn(), workspace, user).await?;
    let kind = EventKind::UserChanged { user_id: user, change: format!("added as {}", role.as_str()) };
    events::record(tx, Event::within(workspace, None, kind)).await?;
    Ok(user)
}

/// What an operator changes about a person.
pub enum Standing {
    /// As a hash.
    Password(String),
    Role(Role),
    Deactivated(bool),
}

/// Changes a person's password, role or whether they may come in. With a new password they are signed out wherever they are:
/// whoever knew the old one is, too. Every node closes what they may no
/// longer hold open, upon what the database tells.
///
/// Records [`EventKind::UserChanged`]. Errors: `PersonNotFound`, `LastOwner`, `Storage`.
pub async fn change_person(tx: &mut Tx, workspace: WorkspaceId, email: &str, change: Standing) -> Result<UserId, SetupError> {
    // One at a time, so that two owners do not step down for each other.
    storage::workspaces::lock(tx.conn(), workspace).await?.ok_or(SetupError::NotFound)?;
    let found = storage::users::lock_by_email(tx.conn(), workspace, email).await?;
    let user = found.filter(|user| user.role != Role::Agent).ok_or(SetupError::PersonNotFound)?;
    let now = tx.now();
    let (role, password, deactivated, told) = match change {
        Standing::Password(hash) => (None, Some(hash), None, "a new password".to_owned()),
        Standing::Role(role) => (Some(role), None, None, format!("role {}", role.as_str())),
        Standing::Deactivated(true) => (None, None, Some(true), "deactivated".to_owned()),
        Standing::Deactivated(false) => (None, None, Some(false), "activated".to_owned()),
    };
    storage::users::set_standing(tx.conn(), user.id, role, password.as_deref(), deactivated, now).await?;
    if password.is_some() {
        storage::users::end_sign_ins(tx.conn(), workspace, user.id, now).await?;
    }
    if user.role == Role::Owner && storage::users::count_active_owners(tx.conn(), workspace).await? == 0 {
        return Err(SetupError::LastOwner);
    }
    let kind = EventKind::UserChanged { user_id: user.id, change: told };
    events::record(tx, Event::within(workspace, None, kind)).await?;
    Ok(user.id)
}

/// The workspace that a request without a credential is about: by host name, or the only one.
pub async fn resolve(conn: &mut Conn, host_label: Option<&str>) -> Result<Option<WorkspaceId>, StorageError> {
    match host_label {
        Some(label) => storage::workspaces::by_hostname(conn, label).await,
        None => storage::workspaces::oldest(conn).await,
    }
}

pub async fn get(conn: &mut Conn, id: WorkspaceId) -> Result<Option<Workspace>, StorageError> {
    storage::workspaces::get(conn, id).await
}
