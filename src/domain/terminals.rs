//! Terminal sessions: their life, and who may watch or type.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use super::{events, recordings, settings};
use crate::{
    model::{
        actor::Person,
        agent::AgentStatus,
        display_name,
        event::{Event, EventKind},
        ids::{AgentId, SessionId, WorkspaceId},
        login::{Login, LoginHint},
        policy::Policy,
        run::Run,
        secret::Secret,
        terminal::{NewSession, SessionLog, SessionNews, SessionStatus, Size, TerminalSession},
        terminal_control::Controller,
        terminal_rights::{Claim, Readable, TerminalRights},
    },
    runtime::{
        Controls, LiveTerminals, RuntimeClient, TerminalSpec,
        control::{Pass, Room, Seat, Silenced},
        pty::Past,
    },
    storage::{self, Conn, StorageError, Tx},
};

pub use crate::runtime::{
    Start, Terminal, TerminalNews, View, Viewer,
    pty::{Input, LegacyUpstream, NotConnected},
    tape::{Tape, TapeEvent},
};

/// Sessions listed at the most.
const LISTED_MAX: i64 = 500;

/// Why a session could not be opened or ended.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// Also for another workspace's session.
    #[error("session not found")]
    NotFound,
    #[error("session has been terminated")]
    Terminated,
    #[error("access denied")]
    Forbidden,
    /// The runtime of the session is not configured any more.
    #[error("runtime not connected")]
    NoRuntime,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes the session of a run that has started, once, by the name that its runtime has for it. Where that is the name of
/// another agent's session, or of one that is over, the session has a name of our own: no runtime takes over what
/// is not its agent's. An earlier session of the agent ends. Returns the session with its name.
///
/// Records [`EventKind::TerminalChanged`], upon which the session is connected.
pub(super) async fn create(tx: &mut Tx, run: &Run, runtime_session_id: &str) -> Result<(SessionId, String), StorageError> {
    let mut name = runtime_session_id.to_owned();
    let mut named = storage::terminals::named(tx.conn(), Some(run.workspace), &name).await?;
    if let Some(id) = named.pop() {
        let found = storage::terminals::find(tx.conn(), id).await?;
        let is_ours = found.is_some_and(|session| session.agent == run.agent && session.status != SessionStatus::Terminated);
        if !is_ours {
            tracing::warn!(agent.id = %run.agent, session.id = %id, "a runtime named a session that is not its agent's");
            name = run.id.to_string();
        }
    }
    if let Some(earlier) = storage::terminals::live_of_agent(tx.conn(), run.workspace, &run.agent).await?
        && earlier.runtime_session_id != name
    {
        change(tx, &earlier, SessionStatus::Terminated, &Login::default(), true).await?;
    }
    let mut session = NewSession {
        workspace: run.workspace,
        agent: run.agent.clone(),
        runtime_session_id: name,
        title: format!("Terminal: {}", run.agent_name),
        runtime_endpoint: run.runtime_endpoint.clone(),
        size: run.size,
    };
    let id = insert(tx, &session).await?;
    let made = storage::terminals::find(tx.conn(), id).await?;
    if made.is_some_and(|made| made.agent == run.agent && made.status != SessionStatus::Terminated) {
        return Ok((id, session.runtime_session_id));
    }
    // Somebody took the name, or ended the session, in between.
    session.runtime_session_id = SessionId::generate().to_string();
    Ok((insert(tx, &session).await?, session.runtime_session_id))
}

/// Adds a session, or finds the one of its name.
async fn insert(tx: &mut Tx, session: &NewSession) -> Result<SessionId, StorageError> {
    let now = tx.now();
    let (id, created) = storage::terminals::upsert(tx.conn(), session, now).await?;
    if created {
        let kind = EventKind::TerminalChanged {
            session_id: id,
            status: SessionStatus::Pending.as_str().to_owned(),
            login: Login::default(),
            drain: false,
        };
        events::record(tx, Event { workspace: session.workspace, agent: Some(session.agent.clone()), actor: None, kind }).await?;
    }
    Ok(id)
}

/// A session that a runtime offers by itself.
#[derive(Clone, Debug)]
pub struct Offer {
    pub agent: AgentId,
    pub runtime_session_id: String,
    pub title: Option<String>,
    pub size: Size,
    /// Must be on one of the workspace's runtimes, if given.
    pub endpoint: Option<String>,
}

/// Why what a runtime says of a session was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    #[error("agent not found")]
    AgentNotFound,
    /// A session is on one of the workspace's runtimes or nowhere (D-16).
    #[error("the endpoint is none of the workspace's runtimes")]
    ForeignEndpoint,
    #[error("another agent has a session of this name")]
    Taken,
    /// Sessions of several workspaces have this name at their runtimes.
    #[error("the workspace is not named")]
    Ambiguous,
    /// A session is pending until something is heard of it, and never again.
    #[error("session is {}: cannot become pending", .0.as_str())]
    Begun(SessionStatus),
    #[error(transparent)]
    Session(#[from] TerminalError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes the session that a runtime offers for an approved agent; the agent's earlier one ends. Offering
/// it again changes nothing. `runtime` is the workspace's on the origin of the offer.
///
/// Records [`EventKind::TerminalChanged`]. Source: REST contract §2.4, D-16.
/// Errors: `AgentNotFound`, `NoRuntime`, `ForeignEndpoint`, `Taken`, `Terminated`, `Storage`.
pub async fn register(
    tx: &mut Tx,
    runtime: Option<&RuntimeClient>,
    workspace: WorkspaceId,
    offer: Offer,
) -> Result<TerminalSession, OfferError> {
    let runtime = runtime.ok_or(if offer.endpoint.is_some() { OfferError::ForeignEndpoint } else { TerminalError::NoRuntime.into() })?;
    let agent = storage::agents::lock(tx.conn(), workspace, &offer.agent).await?;
    let agent = agent.filter(|agent| agent.id == offer.agent && agent.state.status() == AgentStatus::Approved);
    let agent = agent.ok_or(OfferError::AgentNotFound)?;
    if let Some(earlier) = storage::terminals::live_of_agent(tx.conn(), workspace, &agent.id).await?
        && earlier.runtime_session_id != offer.runtime_session_id
    {
        change(tx, &earlier, SessionStatus::Terminated, &Login::default(), true).await?;
    }
    let session = NewSession {
        workspace,
        agent: agent.id.clone(),
        runtime_session_id: offer.runtime_session_id,
        title: offer.title.unwrap_or_else(|| format!("Terminal: {}", agent.profile.name)),
        runtime_endpoint: runtime.endpoint().to_owned(),
        size: offer.size,
    };
    let id = insert(tx, &session).await?;
    let made = storage::terminals::get(tx.conn(), workspace, id).await?.ok_or(TerminalError::NotFound)?;
    if made.agent != agent.id {
        return Err(OfferError::Taken);
    }
    if made.status == SessionStatus::Terminated {
        return Err(TerminalError::Terminated.into());
    }
    Ok(made)
}

/// Takes in what a runtime reports of a session by its own name for it, as [`hear`] does. A terminated session stays so.
/// Of `said`, only an address that is known counts as one; see [`Login::of`]. It may follow later than the status.
///
/// Records [`EventKind::TerminalChanged`]. Errors: `NotFound`, `Ambiguous`, `Begun`, `Terminated`, `Storage`.
pub async fn report_status(
    tx: &mut Tx,
    policy: &Policy,
    workspace: Option<WorkspaceId>,
    runtime_session_id: &str,
    status: SessionStatus,
    said: Option<String>,
) -> Result<TerminalSession, OfferError> {
    let mut found = storage::terminals::named(tx.conn(), workspace, runtime_session_id).await?;
    let session = match (found.pop(), found.is_empty()) {
        (None, _) => return Err(TerminalError::NotFound.into()),
        (Some(_), false) => return Err(OfferError::Ambiguous),
        (Some(id), true) => storage::terminals::lock(tx.conn(), id).await?.ok_or(TerminalError::NotFound)?,
    };
    if session.status == SessionStatus::Terminated && status != SessionStatus::Terminated {
        return Err(TerminalError::Terminated.into());
    }
    let hint = LoginHint { url: said, ..LoginHint::default() };
    let login = Login::of(&hint, session.agent_type.as_deref().unwrap_or_default(), &policy.login_hosts);
    match (session.status, SessionNews::of_report(status, session.status)) {
        (SessionStatus::Pending, None) => {}
        (begun, None) => return Err(OfferError::Begun(begun)),
        (SessionStatus::LoginRequired, Some(SessionNews::LoginRequired)) => {
            if login.url.is_some() && login.url != session.login.url {
                change(tx, &session, SessionStatus::LoginRequired, &session.login.completed_by(login), true).await?;
            }
        }
        (_, Some(news)) => hear(tx, session.id, news, Some(&login).filter(|_| news == SessionNews::LoginRequired)).await?,
    }
    Ok(storage::terminals::find(tx.conn(), session.id).await?.ok_or(TerminalError::NotFound)?)
}

/// What was logged of a session, oldest first: by the original, then what was recorded.
///
/// Errors: `NotFound`, `Storage`.
pub async fn logs(conn: &mut Conn, person: &Person, id: SessionId, limit: u64, offset: u64) -> Result<Vec<SessionLog>, TerminalError> {
    get(conn, person, id).await?;
    Ok(recordings::logs(conn, id, limit, offset).await?)
}

/// Moves a session as `news` say, if they still say something new.
///
/// Records [`EventKind::TerminalChanged`] for each change.
pub async fn hear(tx: &mut Tx, id: SessionId, news: SessionNews, login: Option<&Login>) -> Result<(), StorageError> {
    let Some(session) = storage::terminals::lock(tx.conn(), id).await? else { return Ok(()) };
    let Some(status) = session.status.after(news, session.login_pending) else { return Ok(()) };
    let none = Login::default();
    let login = match status {
        SessionStatus::LoginRequired => login.unwrap_or(&session.login),
        SessionStatus::Disconnected | SessionStatus::Connecting => &session.login,
        SessionStatus::Pending | SessionStatus::Active | SessionStatus::Terminated => &none,
    };
    change(tx, &session, status, login, true).await
}

/// Tells who watches a session how to log in, where it was already known that a login is needed.
///
/// Records [`EventKind::TerminalChanged`].
pub(super) async fn tell_login(tx: &mut Tx, id: SessionId, login: &Login) -> Result<(), StorageError> {
    let Some(session) = storage::terminals::lock(tx.conn(), id).await? else { return Ok(()) };
    if session.status == SessionStatus::LoginRequired {
        change(tx, &session, SessionStatus::LoginRequired, login, true).await?;
    }
    Ok(())
}

/// Ends the agent's session at once: what its process still says is not shown. Whether there was one.
pub(super) async fn cut_of_agent(tx: &mut Tx, workspace: WorkspaceId, agent: &AgentId) -> Result<bool, StorageError> {
    let Some(session) = storage::terminals::live_of_agent(tx.conn(), workspace, agent).await? else { return Ok(false) };
    change(tx, &session, SessionStatus::Terminated, &Login::default(), false).await?;
    Ok(true)
}

async fn change(tx: &mut Tx, session: &TerminalSession, status: SessionStatus, login: &Login, drain: bool) -> Result<(), StorageError> {
    let now = tx.now();
    if !storage::terminals::set_status(tx.conn(), session.id, status, login.url.as_deref(), now).await? {
        return Ok(());
    }
    let kind = EventKind::TerminalChanged { session_id: session.id, status: status.as_str().to_owned(), login: login.clone(), drain };
    events::record(tx, Event { workspace: session.workspace, agent: Some(session.agent.clone()), actor: None, kind }).await?;
    Ok(())
}

/// Which sessions of their workspace the person may read.
pub async fn readable(conn: &mut Conn, person: &Person) -> Result<Readable, StorageError> {
    Ok(Readable::by(person, settings::rules(conn, person.workspace).await?.terminals))
}

/// Sessions of the person's workspace that they may read, newest first.
pub async fn list(conn: &mut Conn, person: &Person, with_terminated: bool) -> Result<Vec<TerminalSession>, StorageError> {
    let spawned_by = match readable(conn, person).await? {
        Readable::None => return Ok(Vec::new()),
        Readable::SpawnedBy(user) => Some(user),
        Readable::All => None,
    };
    storage::terminals::list(conn, person.workspace, spawned_by, with_terminated, LISTED_MAX).await
}

/// The agent's session that is not terminated, if there is one that the person may read.
pub async fn live_of_agent(conn: &mut Conn, person: &Person, agent: &AgentId) -> Result<Option<TerminalSession>, StorageError> {
    let Some(session) = storage::terminals::live_of_agent(conn, person.workspace, agent).await? else { return Ok(None) };
    Ok(may_read(conn, person, &session).await?.then_some(session))
}

/// A session that the person may read.
///
/// Errors: `NotFound` (also in another workspace, and where they may not), `Storage`.
pub async fn get(conn: &mut Conn, person: &Person, id: SessionId) -> Result<TerminalSession, TerminalError> {
    let (session, rights) = with_rights(conn, person, id).await?;
    if rights.read { Ok(session) } else { Err(TerminalError::NotFound) }
}

/// A session at which the person may do anything at all, and what that is.
///
/// Errors: `NotFound`, `Storage`.
pub async fn with_rights(conn: &mut Conn, person: &Person, id: SessionId) -> Result<(TerminalSession, TerminalRights), TerminalError> {
    let session = storage::terminals::get(conn, person.workspace, id).await?.ok_or(TerminalError::NotFound)?;
    let rights = rights(conn, person, &session).await?;
    if rights == TerminalRights::default() { Err(TerminalError::NotFound) } else { Ok((session, rights)) }
}

/// What a person may do at a session by the rules of its workspace.
pub async fn rights(conn: &mut Conn, person: &Person, session: &TerminalSession) -> Result<TerminalRights, StorageError> {
    let rules = settings::rules(conn, session.workspace).await?.terminals;
    Ok(TerminalRights::of(person, session, Claim::Membership(rules)))
}

/// Whether a person may watch a session and read what was recorded of it.
pub async fn may_read(conn: &mut Conn, person: &Person, session: &TerminalSession) -> Result<bool, StorageError> {
    Ok(rights(conn, person, session).await?.read)
}

/// What a person may do at a session, and when that ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    pub rights: TerminalRights,
    /// How long the share is good from now on, where they came by one.
    pub lasts: Option<Duration>,
}

/// What a person may do at a session who came by membership or with the token of a share.
pub async fn granted(tx: &mut Tx, person: &Person, session: &TerminalSession, share: Option<&Secret>) -> Result<Granted, StorageError> {
    let Some(token) = share else {
        return Ok(Granted { rights: rights(tx.conn(), person, session).await?, lasts: None });
    };
    let now = tx.now();
    let found = storage::terminal_control::share_by_token(tx.conn(), person.workspace, &token.hash()).await?;
    Ok(match found {
        Some(share) => Granted {
            rights: TerminalRights::of(person, session, Claim::Share(&share, now)),
            lasts: (share.expires_at - now).to_std().ok(),
        },
        None => Granted { rights: TerminalRights::default(), lasts: None },
    })
}

/// Sessions that have to be connected, of all workspaces.
pub async fn all_live(conn: &mut Conn) -> Result<Vec<TerminalSession>, StorageError> {
    storage::terminals::all_live(conn).await
}

/// A session by its id alone, for the machinery.
pub async fn of_machinery(conn: &mut Conn, id: SessionId) -> Result<Option<TerminalSession>, StorageError> {
    storage::terminals::find(conn, id).await
}

/// Connects a session that is alive to its runtime, unless it is connected or the runtime is not ours to use. What was
/// recorded of it is its history, and the runtime is asked for what follows.
pub async fn connect(
    conn: &mut Conn,
    terminals: &LiveTerminals,
    runtime: Option<&RuntimeClient>,
    session: &TerminalSession,
) -> Result<(), StorageError> {
    let Some(runtime) = runtime.filter(|runtime| session.runtime_endpoint.as_deref() == Some(runtime.endpoint())) else {
        tracing::warn!(session.id = %session.id, "the runtime of a session is not configured");
        return Ok(());
    };
    if session.status == SessionStatus::Terminated || terminals.get(session.id).is_some() {
        return Ok(());
    }
    let spec = spec(conn, session).await?;
    let is_new = spec.past.is_none() && spec.recorded_to == 0;
    terminals.open(runtime, spec);
    if let Some(terminal) = terminals.get(session.id).filter(|_| is_new) {
        terminal.mark("session opened");
    }
    Ok(())
}

/// What was recorded of a session last, and where its recording ends. A recording that cannot be read keeps nobody from the
/// terminal.
async fn past(conn: &mut Conn, session: SessionId) -> Result<(Option<Past>, u64), StorageError> {
    let tail = match recordings::tail(conn, session).await {
        Ok(tail) => tail,
        Err(StorageError::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let Some(tail) = tail else {
        let recorded = recordings::progress(conn, session).await?;
        return Ok((None, recorded.map_or(0, |recorded| recorded.progress.offset)));
    };
    let recorded_to = tail.offset + tail.bytes.len() as u64;
    Ok((Some(Past { offset: tail.offset, bytes: tail.bytes.into(), size: tail.size }), recorded_to))
}

async fn spec(conn: &mut Conn, session: &TerminalSession) -> Result<TerminalSpec, StorageError> {
    let (past, recorded_to) = past(conn, session.id).await?;
    Ok(TerminalSpec {
        session: session.id,
        workspace: session.workspace,
        runtime_agent_id: session.runtime_agent_id.clone().unwrap_or_else(|| session.runtime_session_id.clone()),
        size: session.size,
        status: session.status,
        login: session.login.clone(),
        past,
        recorded_to,
    })
}

/// The session of this name, which a runtime gave it and says to be the one of. From here to the commit nobody can end it, so
/// that a line which it is given is ended with it.
///
/// Errors: `NotFound`, `Ambiguous`, `Terminated`, `Storage`.
pub async fn named(tx: &mut Tx, runtime_session_id: &str) -> Result<TerminalSession, OfferError> {
    let mut found = storage::terminals::named(tx.conn(), None, runtime_session_id).await?;
    let id = found.pop().ok_or(TerminalError::NotFound)?;
    if !found.is_empty() {
        return Err(OfferError::Ambiguous);
    }
    let session = storage::terminals::lock(tx.conn(), id).await?.ok_or(TerminalError::NotFound)?;
    if session.status == SessionStatus::Terminated {
        return Err(TerminalError::Terminated.into());
    }
    Ok(session)
}

/// The line of a session whose runtime has dialed in, which [`named`] found; `None` where it has one.
///
/// Errors: `Storage`.
pub async fn open_legacy(
    conn: &mut Conn,
    terminals: &LiveTerminals,
    session: &TerminalSession,
) -> Result<Option<LegacyUpstream>, StorageError> {
    Ok(terminals.open_legacy(spec(conn, session).await?))
}

/// Which session somebody wants to see.
#[derive(Clone, Debug)]
pub enum Wanted {
    Session(SessionId),
    /// The agent's newest live session.
    Agent(AgentId),
}

/// The right to type into one terminal. Only [`attach`] makes it. It ends with the place of its viewer, or with their
/// right to write, and rests while somebody else controls the terminal.
#[derive(Clone)]
pub struct Writer {
    terminal: Arc<Terminal>,
    pass: Arc<Pass>,
}

/// Why input went nowhere.
#[derive(Debug, PartialEq, Eq)]
pub enum WriteError {
    NotConnected,
    Silenced(Silenced),
}

impl From<NotConnected> for WriteError {
    fn from(NotConnected: NotConnected) -> Self {
        Self::NotConnected
    }
}

impl Writer {
    /// Sends input; see [`Terminal::write_if`].
    pub async fn write(&self, input: Bytes) -> Result<(), WriteError> {
        self.pass.may_type().map_err(WriteError::Silenced)?;
        // It may have waited for a slow runtime.
        self.terminal.write_if(input, || self.pass.may_type().map_err(WriteError::Silenced)).await
    }

    /// Changes the size of the terminal for everyone; `false` when it has that size already, or somebody else controls it.
    pub async fn resize(&self, size: Size) -> bool {
        self.pass.may_type().is_ok() && self.terminal.resize(size).await
    }
}

/// A viewer's place at a terminal.
pub struct Attachment {
    pub session: TerminalSession,
    pub viewer: Viewer,
    /// `None` for who may only watch.
    pub writer: Option<Writer>,
    /// The viewer is present until it is dropped.
    pub seat: Seat,
    pub granted: Granted,
    /// Tells when what was granted is to be asked again.
    pub doubts: watch::Receiver<()>,
}

/// The session that a person of its workspace wants to see.
///
/// Errors: `NotFound` (also in another workspace), `Storage`.
pub async fn wanted(tx: &mut Tx, person: &Person, wanted: &Wanted) -> Result<TerminalSession, TerminalError> {
    let found = match wanted {
        Wanted::Session(id) => storage::terminals::get(tx.conn(), person.workspace, *id).await?,
        Wanted::Agent(agent) => storage::terminals::live_of_agent(tx.conn(), person.workspace, agent).await?,
    };
    found.ok_or(TerminalError::NotFound)
}

/// Opens a session, which [`wanted`] found, on its runtime, for a person who may watch it: by membership, or with the
/// token of a share. The viewer begins at `start`.
///
/// Errors: `NotFound` (also for who may not), `Terminated`, `NoRuntime`, `Storage`.
pub async fn attach(
    tx: &mut Tx,
    (terminals, controls): (&LiveTerminals, &Controls),
    runtime: Option<&RuntimeClient>,
    person: &Person,
    session: TerminalSession,
    start: Start,
    share: Option<&Secret>,
) -> Result<Attachment, TerminalError> {
    let now = tx.now();
    // From here to the commit nobody can end the session, so a terminal that is connected now is ended with it, and so is
    // a room.
    let alive = storage::terminals::set_viewer(tx.conn(), session.id, person.user, now).await?;
    let room = if alive { Some(room(tx, controls, &session).await?) } else { None };
    // Before the rights are asked, so that no change of them is missed.
    let doubts = room.as_ref().map(|room| room.doubts());
    let granted = granted(tx, person, &session, share).await?;
    if !granted.rights.read {
        return Err(TerminalError::NotFound);
    }
    let (room, doubts) = room.zip(doubts).ok_or(TerminalError::Terminated)?;
    // It is connected as soon as its event is delivered, which may be a moment from now.
    connect(tx.conn(), terminals, runtime, &session).await?;
    let terminal = terminals.get(session.id).ok_or(TerminalError::NoRuntime)?;
    let account = storage::users::active(tx.conn(), person.workspace, person.user).await?.ok_or(TerminalError::NotFound)?;
    let seat = room.enter(person.user, display_name::shown(account.name.as_deref().unwrap_or_default()), granted.rights.write);
    let writer = granted.rights.write.then(|| Writer { terminal: Arc::clone(&terminal), pass: Arc::clone(seat.pass()) });
    Ok(Attachment { viewer: terminal.view(start), session, writer, seat, granted, doubts })
}

/// The room of a session that is alive, by its id; `None` of one that is over.
pub(super) async fn room_of(tx: &mut Tx, controls: &Controls, session: SessionId) -> Result<Option<Arc<Room>>, StorageError> {
    if let Some(room) = controls.get(session) {
        return Ok(Some(room));
    }
    // From here to the commit nobody can end the session, with which a room is ended.
    let session = storage::terminals::lock(tx.conn(), session).await?;
    match session.filter(|session| session.status != SessionStatus::Terminated) {
        Some(session) => Ok(Some(room(tx, controls, &session).await?)),
        None => Ok(None),
    }
}

/// The room of a session. Control waits for whoever had it when the service ended.
async fn room(tx: &mut Tx, controls: &Controls, session: &TerminalSession) -> Result<Arc<Room>, StorageError> {
    if let Some(room) = controls.get(session.id) {
        return Ok(room);
    }
    let noted = storage::terminal_control::controller(tx.conn(), session.id).await?;
    let earlier = noted.map(|noted| Controller {
        viewer: None,
        user: noted.user,
        name: display_name::shown(noted.name.as_deref().unwrap_or_default()),
        since: noted.since,
    });
    Ok(controls.room(session.id, session.workspace, earlier))
}

/// Takes in that a terminal's connection holds although its runtime was given up in between.
pub async fn hear_connected(tx: &mut Tx, terminals: &LiveTerminals, session: SessionId) -> Result<(), StorageError> {
    if terminals.get(session).is_some_and(|terminal| terminal.is_connected()) {
        hear(tx, session, SessionNews::Connected, None).await?;
    }
    Ok(())
}

/// Notes that a viewer left.
pub async fn detach(tx: &mut Tx, person: &Person, session: SessionId) -> Result<(), StorageError> {
    storage::terminals::clear_viewer(tx.conn(), session, person.user).await
}

/// Notes the size that a terminal has now, if it is connected.
pub async fn note_size(tx: &mut Tx, terminals: &LiveTerminals, session: SessionId) -> Result<(), StorageError> {
    let Some(terminal) = terminals.get(session) else { return Ok(()) };
    storage::terminals::set_size(tx.conn(), session, terminal.size()).await
}
