//! Who listens to a workspace's events, what they may hear, and what they asked for.
//!
//! An event has an audience, which says who may hear it at all, and rooms, of which a listener picks. Rooms are values
//! of their own: however a client names one, it never reaches another (RT-06).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::value::RawValue;

use super::{
    actor::{KeyHolder, Person},
    ids::{AgentId, EventId, PageId, ProjectId, SpaceId, TaskId, UserId, WorkspaceId},
    permission::PermissionSet,
    workspace::Role,
};

/// Rooms and watched ids of one socket together. The web UI joins about a dozen, and one with each page that is read.
pub const SUBSCRIPTIONS_MAX: usize = 200;
/// Event types that one subscription may name; there are some thirty.
pub const EVENT_TYPES_MAX: usize = 64;

/// Whose credential it is.
#[derive(Clone, Debug)]
pub enum Who {
    Person { user: UserId, role: Role },
    Agent { agent: AgentId, user: UserId, permissions: PermissionSet },
}

/// Somebody who listens to the events of one workspace.
#[derive(Clone, Debug)]
pub struct Listener {
    pub workspace: WorkspaceId,
    pub who: Who,
    /// The spaces that they belong to, which everybody shares who asks about them.
    pub spaces: Arc<HashSet<SpaceId>>,
}

impl Listener {
    /// A person who belongs to no space yet.
    #[must_use]
    pub fn person(person: &Person) -> Self {
        Self { workspace: person.workspace, who: Who::Person { user: person.user, role: person.role }, spaces: Arc::default() }
    }

    /// As [`Self::person`], for whoever a key speaks for.
    #[must_use]
    pub fn key(holder: &KeyHolder) -> Self {
        match holder {
            KeyHolder::Person { person, .. } => Self::person(person),
            KeyHolder::Agent(caller) => {
                let who = Who::Agent { agent: caller.agent.clone(), user: caller.user, permissions: caller.permissions.clone() };
                Self { workspace: caller.workspace, who, spaces: Arc::default() }
            }
        }
    }

    /// The account: a person's, or the one that stands for an agent.
    #[must_use]
    pub fn user(&self) -> UserId {
        match &self.who {
            Who::Person { user, .. } | Who::Agent { user, .. } => *user,
        }
    }

    #[must_use]
    pub fn is_admin(&self) -> bool {
        matches!(self.who, Who::Person { role, .. } if role.manages_agents())
    }

    /// The form in which an event may reach this listener, whatever they asked for. The one rule for sockets and streams.
    #[must_use]
    pub fn hears<'a>(&self, event: &'a Published) -> Option<&'a Published> {
        std::iter::successors(Some(event), |event| event.bare.as_deref()).find(|event| self.may_hear(event))
    }

    fn may_hear(&self, event: &Published) -> bool {
        if self.workspace != event.workspace {
            return false;
        }
        match &self.who {
            Who::Agent { agent, .. } => event.audience.agent && event.agent.as_ref() == Some(agent),
            Who::Person { user, role } => {
                let among = match event.audience.people {
                    People::Everyone => true,
                    People::Space(space) => space.is_some_and(|space| self.spaces.contains(&space)),
                    People::Readers(space) => return self.spaces.contains(&space),
                    People::Admins => false,
                    People::Themselves => return event.audience.user == Some(*user),
                };
                among || role.manages_agents() || event.audience.user == Some(*user)
            }
        }
    }
}

/// Which people may hear of an event. Owners and admins hear everything of their workspace but content and what people call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum People {
    Everyone,
    /// Who belongs to the space; nobody else where it is not known.
    Space(Option<SpaceId>),
    /// Who belongs to the space, and nobody else: what is in it is not for every admin to read.
    Readers(SpaceId),
    Admins,
    /// Nobody but the person whom it concerns.
    Themselves,
}

/// Who may hear of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    pub people: People,
    /// A person whom it concerns, whatever their role.
    pub user: Option<UserId>,
    /// Whether the agent that it is about hears of it.
    pub agent: bool,
}

/// What events are sent to. All of it lies in the listener's own workspace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Room {
    Workspace,
    User(UserId),
    Agent(AgentId),
    Space(SpaceId),
    Page(PageId),
    Project(ProjectId),
    Task(TaskId),
}

/// Whose tool calls somebody follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Watched {
    User(UserId),
    Agent(AgentId),
}

/// An event as every channel tells it, written down once for all listeners.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its position among all events.
    pub seq: i64,
    pub id: EventId,
    pub workspace: WorkspaceId,
    pub agent: Option<AgentId>,
    pub audience: Audience,
    pub rooms: Vec<Room>,
    /// Name and payload on the default namespace.
    pub broadcast: Option<Told>,
    /// Type and payload of the `mcp:event`.
    pub resource: Option<Told>,
    /// Type and envelope of the `agent:event`.
    pub agent_event: Option<Told>,
    /// Whose tool call it was, for those who watch them.
    pub tool_call_of: Option<UserId>,
    /// The same with less in it, for those who may not hear this form.
    pub bare: Option<Box<Self>>,
}

/// A name and the JSON that goes with it.
#[derive(Clone, Debug)]
pub struct Told {
    pub name: &'static str,
    pub text: Arc<RawValue>,
}

/// A listener has as many subscriptions as one may have.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

/// What one listener asked for.
#[derive(Debug, Default)]
pub struct Subscriptions {
    rooms: HashSet<Room>,
    /// Types of an agent's events that are wanted, where not all are.
    types: HashMap<AgentId, HashSet<String>>,
    watched: HashSet<Watched>,
}

impl Subscriptions {
    /// What everybody hears without asking: the workspace and the own account.
    #[must_use]
    pub fn of(listener: &Listener) -> Self {
        let rooms = HashSet::from([Room::Workspace, Room::User(listener.user())]);
        Self { rooms, ..Self::default() }
    }

    fn has_room(&self) -> Result<(), TooMany> {
        // Whoever left an agent's room by its other name has its types still.
        let narrowed = self.types.keys().filter(|agent| !self.is_in(&Room::Agent((*agent).clone()))).count();
        if self.rooms.len() + self.watched.len() + narrowed < SUBSCRIPTIONS_MAX { Ok(()) } else { Err(TooMany) }
    }

    pub fn join(&mut self, room: Room) -> Result<(), TooMany> {
        if !self.is_in(&room) {
            self.has_room()?;
        }
        self.rooms.insert(room);
        Ok(())
    }

    pub fn leave(&mut self, room: &Room) {
        self.rooms.remove(room);
    }

    /// Leaves an agent's room, and forgets which types of its events were wanted.
    pub fn unfollow(&mut self, agent: &AgentId) {
        self.leave(&Room::Agent(agent.clone()));
        self.types.remove(agent);
    }

    /// Joins an agent's room for events of these types, or of all.
    pub fn follow(&mut self, agent: AgentId, types: Option<HashSet<String>>) -> Result<(), TooMany> {
        self.join(Room::Agent(agent.clone()))?;
        match types {
            Some(types) => self.types.insert(agent, types),
            None => self.types.remove(&agent),
        };
        Ok(())
    }

    pub fn watch(&mut self, watched: Watched) -> Result<(), TooMany> {
        if !self.watched.contains(&watched) {
            self.has_room()?;
        }
        self.watched.insert(watched);
        Ok(())
    }

    pub fn unwatch(&mut self, watched: &Watched) {
        self.watched.remove(watched);
    }

    #[must_use]
    pub fn is_in(&self, room: &Room) -> bool {
        self.rooms.contains(room)
    }

    /// Whether an event was asked for, in whatever room.
    #[must_use]
    pub fn wants(&self, event: &Published) -> bool {
        event.rooms.iter().any(|room| self.is_in(room))
    }

    /// Whether the `agent:event` of an event that was asked for is of a wanted type.
    #[must_use]
    pub fn wants_type(&self, event: &Published, name: &str) -> bool {
        let types = event.agent.as_ref().and_then(|agent| self.types.get(agent));
        types.is_none_or(|types| types.contains(name))
    }

    /// Whether the tool call that an event tells of is watched.
    #[must_use]
    pub fn watches(&self, event: &Published) -> bool {
        let Some(user) = event.tool_call_of else { return false };
        let by_agent = event.agent.as_ref().is_some_and(|agent| self.watched.contains(&Watched::Agent(agent.clone())));
        by_agent || self.watched.contains(&Watched::User(user))
    }

    /// The rooms that depend on who belongs to which space.
    #[must_use]
    pub fn in_spaces(&self) -> Vec<Room> {
        let depends = |room: &&Room| matches!(room, Room::Space(_) | Room::Page(_) | Room::Project(_) | Room::Task(_));
        self.rooms.iter().filter(depends).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(workspace: WorkspaceId, audience: Audience, rooms: Vec<Room>) -> Published {
        let agent = "scout".parse().ok();
        let (broadcast, resource, agent_event) = (None, None, None);
        Published {
            seq: 1,
            id: EventId::generate(),
            workspace,
            agent,
            audience,
            rooms,
            broadcast,
            resource,
            agent_event,
            tool_call_of: None,
            bare: None,
        }
    }

    fn person(workspace: WorkspaceId, role: Role) -> Listener {
        Listener { workspace, who: Who::Person { user: UserId::generate(), role }, spaces: Arc::default() }
    }

    #[test]
    fn an_audience_is_kept_to_and_another_workspace_hears_nothing() {
        let (workspace, space) = (WorkspaceId::generate(), SpaceId::generate());
        let (admin, mut member) = (person(workspace, Role::Admin), person(workspace, Role::Member));
        let agent = |id: &str| Listener {
            who: Who::Agent { agent: id.parse().unwrap(), user: UserId::generate(), permissions: PermissionSet::default() },
            ..member.clone()
        };
        let (scout, other) = (agent("scout"), agent("other"));
        let outsider = person(WorkspaceId::generate(), Role::Owner);
        // Audience → admin, member outside the space, the agent itself.
        let table = [
            (People::Everyone, true, [true, true, true]),
            (People::Everyone, false, [true, true, false]),
            (People::Admins, true, [true, false, true]),
            (People::Space(Some(space)), true, [true, false, true]),
            (People::Space(None), false, [true, false, false]),
            (People::Readers(space), true, [false, false, true]),
        ];
        for (people, agent, heard) in table {
            let event = event(workspace, Audience { people, user: None, agent }, Vec::new());
            let found = [&admin, &member, &scout].map(|listener| listener.may_hear(&event));
            assert_eq!(found, heard, "{people:?}");
            assert!(!other.may_hear(&event) && !outsider.may_hear(&event), "{people:?}");
        }
        let for_member = Audience { people: People::Admins, user: Some(member.user()), agent: false };
        assert!(member.may_hear(&event(workspace, for_member, Vec::new())), "whom it concerns");
        Arc::make_mut(&mut member.spaces).insert(space);
        for people in [People::Space(Some(space)), People::Readers(space)] {
            let in_space = Audience { people, user: None, agent: false };
            assert!(member.may_hear(&event(workspace, in_space, Vec::new())), "{people:?}");
        }
    }

    #[test]
    fn rooms_are_picked_narrowed_and_bounded() {
        let listener = person(WorkspaceId::generate(), Role::Member);
        let everyone = Audience { people: People::Everyone, user: None, agent: true };
        let scout: AgentId = "scout".parse().unwrap();
        let event = event(listener.workspace, everyone, vec![Room::Workspace, Room::Agent(scout.clone())]);
        let mut mine = Subscriptions::of(&listener);
        assert!(mine.wants(&event) && mine.wants_type(&event, "agent.error"));
        mine.leave(&Room::Workspace);
        assert!(!mine.wants(&event));
        mine.follow(scout.clone(), Some(HashSet::from(["agent.error".to_owned()]))).unwrap();
        assert!(mine.wants(&event) && mine.wants_type(&event, "agent.error") && !mine.wants_type(&event, "agent.status_changed"));
        mine.leave(&Room::Agent(scout.clone()));
        mine.join(Room::Agent(scout.clone())).unwrap();
        assert!(!mine.wants_type(&event, "agent.status_changed"), "types are those of the last to name any");
        mine.unfollow(&scout);
        mine.join(Room::Agent(scout.clone())).unwrap();
        assert!(mine.wants_type(&event, "agent.status_changed"));
        mine.follow(scout.clone(), None).unwrap();
        assert!(mine.wants_type(&event, "agent.status_changed"));
        while mine.watch(Watched::User(UserId::generate())).is_ok() {}
        assert_eq!(mine.rooms.len() + mine.watched.len(), SUBSCRIPTIONS_MAX);
        assert_eq!(mine.join(Room::Page(PageId::generate())), Err(TooMany));
        assert_eq!(mine.follow(scout, None), Ok(()), "what is joined already costs nothing");
    }

    #[test]
    fn a_tool_call_is_watched_by_its_agent_or_its_account() {
        let listener = person(WorkspaceId::generate(), Role::Admin);
        let user = UserId::generate();
        let admins = Audience { people: People::Admins, user: None, agent: true };
        let call = Published { tool_call_of: Some(user), ..event(listener.workspace, admins, Vec::new()) };
        for watched in [Watched::User(user), Watched::Agent("scout".parse().unwrap())] {
            let mut mine = Subscriptions::default();
            assert!(!mine.watches(&call));
            mine.watch(watched.clone()).unwrap();
            assert!(mine.watches(&call), "{watched:?}");
            mine.unwatch(&watched);
            assert!(!mine.watches(&call));
        }
    }
}
