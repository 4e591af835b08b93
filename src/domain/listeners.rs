//! Who may listen to what: the spaces somebody belongs to, and the rooms that they may join.

use std::sync::Arc;

use crate::{
    model::{
        assignment::Target,
        ids::{AgentId, PageId, SpaceId, UserId, WorkspaceId},
        listener::{Listener, Room, Watched, Who},
    },
    storage::{self, Conn, StorageError},
};

/// Assignments of an agent that are looked through; it may hold fewer.
const ASSIGNMENTS_MAX: i64 = 200;

/// The listener with the spaces that they belong to now, and an agent with the permissions that it has now.
pub async fn refreshed(conn: &mut Conn, listener: &Listener) -> Result<Listener, StorageError> {
    let spaces = storage::spaces::ids_of(conn, listener.workspace, listener.user()).await?;
    let mut now = Listener { spaces: Arc::new(spaces.into_iter().collect()), ..listener.clone() };
    if let Who::Agent { agent, permissions, .. } = &mut now.who {
        *permissions = storage::agents::get(conn, listener.workspace, agent).await?.map(|agent| agent.granted()).unwrap_or_default();
    }
    Ok(now)
}

/// Where a page is now.
#[derive(Clone, Copy, Debug)]
pub struct PagePlace {
    pub space: SpaceId,
    /// Whether agents may know of the page.
    is_for_agents: bool,
}

impl PagePlace {
    /// Whether the listener may know who is on the page.
    #[must_use]
    pub fn is_seen_by(&self, listener: &Listener) -> bool {
        let may = match &listener.who {
            Who::Agent { permissions, .. } => self.is_for_agents && permissions.contains("read:pages"),
            Who::Person { .. } => true,
        };
        may && listener.spaces.contains(&self.space)
    }
}

/// Where a page of the workspace is, if there is one.
pub async fn place_of_page(conn: &mut Conn, workspace: WorkspaceId, page: PageId) -> Result<Option<PagePlace>, StorageError> {
    let place = storage::spaces::of_page(conn, workspace, page).await?;
    Ok(place.map(|(space, is_for_agents)| PagePlace { space, is_for_agents }))
}

/// Whether the listener may be in a room. What is not there, what is another workspace's and what they may not see are
/// the same (RT-06, RT-28).
pub async fn may_enter(conn: &mut Conn, listener: &Listener, room: &Room) -> Result<bool, StorageError> {
    let has = |permission: &str| match &listener.who {
        Who::Agent { permissions, .. } => permissions.contains(permission),
        Who::Person { .. } => true,
    };
    let own_agent = match &listener.who {
        Who::Agent { agent, .. } => Some(agent),
        Who::Person { .. } => None,
    };
    Ok(match room {
        Room::Workspace => true,
        Room::User(user) => *user == listener.user(),
        Room::Agent(agent) => match own_agent {
            Some(own) => own == agent,
            None => storage::agents::get(conn, listener.workspace, agent).await?.is_some(),
        },
        Room::Space(space) => listener.spaces.contains(space) && has("read:spaces"),
        Room::Page(page) => place_of_page(conn, listener.workspace, *page).await?.is_some_and(|place| place.is_seen_by(listener)),
        Room::Project(project) => has("read:projects") && sees(conn, listener, own_agent, Target::Project(*project)).await?,
        Room::Task(task) => {
            let may =
                has("read:tasks") && (own_agent.is_none() || storage::spaces::task_is_accessible(conn, listener.workspace, *task).await?);
            may && sees(conn, listener, own_agent, Target::Task(*task)).await?
        }
    })
}

/// Whether the listener may see a project or task: in a space of theirs, as an owner or admin, or as an agent that is
/// assigned to it.
async fn sees(conn: &mut Conn, listener: &Listener, own_agent: Option<&AgentId>, target: Target) -> Result<bool, StorageError> {
    let Some(place) = storage::assignments::place(conn, listener.workspace, target).await? else { return Ok(false) };
    let mut may = listener.is_admin() || listener.spaces.contains(&place.space);
    if let Some(agent) = own_agent.filter(|_| !may) {
        let assigned = storage::assignments::active_of_agent(conn, listener.workspace, agent, ASSIGNMENTS_MAX).await?;
        may = assigned.iter().any(|assignment| assignment.target == target);
    }
    Ok(may)
}

/// Whose tool calls a text names, if the listener may follow them: their own, and anybody's of the workspace for owners
/// and admins. Clients pass an agent's id or an account's (RT-28).
pub async fn watchable(conn: &mut Conn, listener: &Listener, id: &str) -> Result<Option<Watched>, StorageError> {
    let user = id.parse::<UserId>().ok();
    if let Some(user) = user
        && (user == listener.user() || listener.is_admin() && is_here(conn, listener.workspace, user).await?)
    {
        return Ok(Some(Watched::User(user)));
    }
    let Ok(agent) = id.parse::<AgentId>() else { return Ok(None) };
    let may = match &listener.who {
        Who::Agent { agent: own, .. } => *own == agent,
        Who::Person { .. } => listener.is_admin() && storage::agents::get(conn, listener.workspace, &agent).await?.is_some(),
    };
    Ok(may.then_some(Watched::Agent(agent)))
}

async fn is_here(conn: &mut Conn, workspace: WorkspaceId, user: UserId) -> Result<bool, StorageError> {
    Ok(storage::users::active(conn, workspace, user).await?.is_some())
}
