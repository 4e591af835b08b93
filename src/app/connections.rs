//! Every connection that stays open, by whom it belongs to, so that it can be closed with their access.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::model::{
    actor::{KeyHolder, Standing, Subject},
    ids::UserId,
    workspace::Role,
};

pub use crate::model::actor::Holder;

/// How long connections that were told to close may take before nobody waits for them any more.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);

/// What stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Socket.io socket.
    Socket,
    /// A stream of server-sent events.
    Stream,
}

#[derive(PartialEq, Eq, Hash)]
enum Account {
    Person(UserId),
    Key(String),
}

impl Account {
    /// Who has what is opened counted against them.
    fn of(holder: &Holder) -> Self {
        match holder {
            Holder::Person(person) => Self::Person(person.user),
            Holder::Key(holder) => Self::Key(holder.key_id().to_owned()),
        }
    }
}

struct Entry {
    kind: Kind,
    holder: Holder,
    ended: CancellationToken,
}

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Entry>,
    /// The sockets of each who has any.
    sockets: HashMap<Account, u32>,
}

/// See the module.
#[derive(Default)]
pub struct Connections {
    state: Mutex<State>,
    closed: Notify,
}

/// An open connection; it counts as closed when this is dropped.
pub struct Connection {
    id: u64,
    ended: CancellationToken,
    all: Arc<Connections>,
}

impl Connection {
    /// Resolves when the connection is to be closed.
    pub fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.ended.cancelled()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.state().remove(self.id);
        self.all.closed.notify_waiters();
    }
}

/// Connections that were open at one moment.
#[derive(Default)]
pub struct Concerned(Vec<(u64, Kind)>);

/// What was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    pub sockets: u64,
    pub streams: u64,
}

impl State {
    fn add(&mut self, kind: Kind, holder: Holder, ended: CancellationToken) -> u64 {
        if kind == Kind::Socket {
            *self.sockets.entry(Account::of(&holder)).or_default() += 1;
        }
        self.next += 1;
        self.open.insert(self.next, Entry { kind, holder, ended });
        self.next
    }

    fn remove(&mut self, id: u64) {
        let Some(Entry { kind: Kind::Socket, holder, .. }) = self.open.remove(&id) else { return };
        let account = Account::of(&holder);
        if let Some(sockets) = self.sockets.get_mut(&account) {
            *sockets -= 1;
            if *sockets == 0 {
                self.sockets.remove(&account);
            }
        }
    }
}

impl Connections {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single step, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection that was just opened.
    #[must_use]
    pub fn enter(self: &Arc<Self>, kind: Kind, holder: Holder) -> Connection {
        let ended = CancellationToken::new();
        let id = self.state().add(kind, holder, ended.clone());
        Connection { id, ended, all: Arc::clone(self) }
    }

    /// Enters a stream that was just opened, unless its holder has that many already. There are few, so they are counted.
    /// A person's keys count for the person.
    #[must_use]
    pub fn enter_stream(self: &Arc<Self>, holder: Holder, streams_max: usize) -> Option<Connection> {
        let (mut state, user) = (self.state(), holder.user());
        let streams = state.open.values().filter(|entry| entry.kind == Kind::Stream && entry.holder.user() == user).count();
        if streams >= streams_max {
            return None;
        }
        let ended = CancellationToken::new();
        let id = state.add(Kind::Stream, holder, ended.clone());
        drop(state);
        Some(Connection { id, ended, all: Arc::clone(self) })
    }

    /// Enters a socket that was just opened, unless its holder has that many already.
    #[must_use]
    pub fn enter_socket(self: &Arc<Self>, holder: Holder, sockets_max: u32) -> Option<Connection> {
        let mut state = self.state();
        if state.sockets.get(&Account::of(&holder)).is_some_and(|sockets| *sockets >= sockets_max) {
            return None;
        }
        let ended = CancellationToken::new();
        let id = state.add(Kind::Socket, holder, ended.clone());
        drop(state);
        Some(Connection { id, ended, all: Arc::clone(self) })
    }

    /// The people and agents, keys and sign-ins included, that have a connection open. Whether all of a person's sign-ins
    /// ended cannot be asked afterwards; what they hold open is looked at every so often anyway.
    #[must_use]
    pub fn subjects(&self) -> HashSet<Subject> {
        let mut subjects = HashSet::new();
        for entry in self.state().open.values() {
            let workspace = match &entry.holder {
                Holder::Person(person) => {
                    subjects.extend(person.sign_in.map(|sign_in| Subject::SignIn(sign_in.token)));
                    subjects.insert(Subject::User(person.user));
                    person.workspace
                }
                Holder::Key(holder) => {
                    subjects.insert(Subject::Key(holder.key_id().to_owned()));
                    match holder {
                        KeyHolder::Agent(agent) => {
                            subjects.extend([Subject::Agent(agent.workspace, agent.agent.clone()), Subject::User(agent.user)]);
                            agent.workspace
                        }
                        KeyHolder::Person { person, .. } => {
                            subjects.insert(Subject::User(person.user));
                            person.workspace
                        }
                    }
                }
            };
            subjects.insert(Subject::Workspace(workspace));
        }
        subjects
    }

    /// Whether a change may concern a connection that is open here.
    #[must_use]
    pub fn has(&self, subject: &Subject) -> bool {
        self.state().open.values().any(|entry| entry.holder.is_concerned(subject))
    }

    /// The connections that a change of `subject` concerns, as they are open now.
    #[must_use]
    pub fn concerned(&self, subject: &Subject) -> Concerned {
        let state = self.state();
        Concerned(state.open.iter().filter(|(_, entry)| entry.holder.is_concerned(subject)).map(|(id, entry)| (*id, entry.kind)).collect())
    }

    /// Closes what may not stay open, now that `subject` stands as it does: everything of one that has
    /// ended, and what was opened with another role. Waits until it is closed, for a while at most. What
    /// was open `before` counts as closed by this too, whoever closed it since.
    pub async fn close(&self, subject: &Subject, standing: Standing, before: Concerned) -> Closed {
        let mut closing: HashMap<u64, Kind> = before.0.into_iter().collect();
        for (id, entry) in &self.state().open {
            let stays = match standing {
                Standing::Ended => false,
                Standing::Good => true,
                // The account of an agent has a role of its own.
                Standing::Person(role) => entry.holder.role().unwrap_or(Role::Agent) == role,
            };
            if !stays && entry.holder.is_concerned(subject) {
                entry.ended.cancel();
                closing.insert(*id, entry.kind);
            }
        }
        let all_gone = async {
            loop {
                let changed = self.closed.notified();
                if closing.keys().all(|id| !self.state().open.contains_key(id)) {
                    return;
                }
                changed.await;
            }
        };
        if timeout(CLOSING_PATIENCE, all_gone).await.is_err() {
            tracing::warn!(count = closing.len(), "connections that were told to close are open still");
        }
        // What is open still does not count as closed.
        closing.retain(|id, _| !self.state().open.contains_key(id));
        let count = |wanted: Kind| u64::try_from(closing.values().filter(|kind| **kind == wanted).count()).unwrap_or(u64::MAX);
        Closed { sockets: count(Kind::Socket), streams: count(Kind::Stream) }
    }

    /// The number of open connections of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.state().open.values().filter(|entry| entry.kind == kind).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        actor::Person,
        ids::{UserId, WorkspaceId},
    };

    fn person(role: Role) -> Person {
        Person { user: UserId::generate(), workspace: WorkspaceId::generate(), role, expires_at: 0, sign_in: None }
    }

    /// A connection that closes as soon as it is told to.
    fn obedient(all: &Arc<Connections>, holder: Holder) -> tokio::task::JoinHandle<()> {
        let connection = all.enter(Kind::Socket, holder);
        tokio::spawn(async move { connection.ended().await })
    }

    #[test]
    fn nobody_has_more_sockets_than_allowed_and_one_that_closed_makes_room() {
        let all = Arc::new(Connections::default());
        let (ada, bob) = (Holder::Person(person(Role::Admin)), Holder::Person(person(Role::Member)));
        let _stream = all.enter(Kind::Stream, ada.clone());
        let first = all.enter_socket(ada.clone(), 2).unwrap();
        let second = all.enter_socket(ada.clone(), 2);
        assert!(second.is_some() && all.enter_socket(ada.clone(), 2).is_none() && all.enter_socket(bob, 2).is_some());
        drop(first);
        let third = all.enter_socket(ada.clone(), 2);
        assert!(third.is_some() && all.enter_socket(ada, 2).is_none());
        drop((second, third));
        assert!(all.state().sockets.is_empty(), "who has none is forgotten");
    }

    #[tokio::test]
    async fn only_the_connections_of_whom_it_concerns_are_closed() {
        let all = Arc::new(Connections::default());
        let (ada, bob) = (person(Role::Admin), person(Role::Member));
        let closing = obedient(&all, Holder::Person(ada.clone()));
        let _staying = obedient(&all, Holder::Person(bob.clone()));
        let subject = Subject::User(ada.user);
        assert_eq!(
            all.close(&subject, Standing::Person(Role::Admin), Concerned::default()).await,
            Closed::default(),
            "nothing changed for it"
        );
        assert_eq!(all.close(&subject, Standing::Person(Role::Member), Concerned::default()).await, Closed { sockets: 1, streams: 0 });
        assert!(closing.await.is_ok() && !all.has(&subject) && all.has(&Subject::User(bob.user)));
        assert_eq!(all.close(&subject, Standing::Ended, Concerned::default()).await, Closed::default(), "closed already");
    }
}
