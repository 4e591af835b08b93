//! Terminal sessions: their life, and who may watch or type.

use std::sync::Arc;

use bytes::Bytes;

use super::events;
use crate::{
    model::{
        actor::Person,
        agent::AgentStatus,
        event::{Event, EventKind},
        ids::{AgentId, SessionId, WorkspaceId},
        login::{Login, LoginHint},
        policy::Policy,
        run::Run,
        terminal::{NewSession, SessionLog, SessionNews, SessionStatus, Size, TerminalSession},
    },
    runtime::{LiveTerminals, RuntimeClient, Terminal, TerminalSpec},
    storage::{self, Conn, StorageError, Tx},
};

pub use crate::runtime::{
    Start, TerminalNews, View, Viewer,
    pty::{Input, LegacyUpstream, NotConnected},
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

/// Takes in what a runtime reports of a session by its own name for it. A terminated session stays so.
/// Of `said`, only an address that is known counts as one; see [`Login::of`].
///
/// Records [`EventKind::TerminalChanged`]. Errors: `NotFound`, `Ambiguous`, `Terminated`, `Storage`.
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
    if session.status != status {
        let url = said.filter(|_| status == SessionStatus::LoginRequired);
        let hint = LoginHint { url, ..LoginHint::default() };
        let agent_type = session.agent_type.as_deref().unwrap_or_default();
        change(tx, &session, status, &Login::of(&hint, agent_type, &policy.login_hosts), true).await?;
    }
    Ok(storage::terminals::find(tx.conn(), session.id).await?.ok_or(TerminalError::NotFound)?)
}

/// What was logged of a session, oldest first.
///
/// Errors: `NotFound`, `Storage`.
pub async fn logs(conn: &mut Conn, person: &Person, id: SessionId, limit: u64, offset: u64) -> Result<Vec<SessionLog>, TerminalError> {
    get(conn, person, id).await?;
    Ok(storage::terminals::logs(conn, id, limit, offset).await?)
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

/// Sessions of the person's workspace, newest first.
pub async fn list(conn: &mut Conn, person: &Person, with_terminated: bool) -> Result<Vec<TerminalSession>, StorageError> {
    storage::terminals::list(conn, person.workspace, with_terminated, LISTED_MAX).await
}

/// The agent's session that is not terminated, if any.
pub async fn live_of_agent(conn: &mut Conn, person: &Person, agent: &AgentId) -> Result<Option<TerminalSession>, StorageError> {
    storage::terminals::live_of_agent(conn, person.workspace, agent).await
}

pub async fn get(conn: &mut Conn, person: &Person, id: SessionId) -> Result<TerminalSession, TerminalError> {
    storage::terminals::get(conn, person.workspace, id).await?.ok_or(TerminalError::NotFound)
}

/// Sessions that have to be connected, of all workspaces.
pub async fn all_live(conn: &mut Conn) -> Result<Vec<TerminalSession>, StorageError> {
    storage::terminals::all_live(conn).await
}

/// A session by its id alone, for the machinery.
pub async fn of_machinery(conn: &mut Conn, id: SessionId) -> Result<Option<TerminalSession>, StorageError> {
    storage::terminals::find(conn, id).await
}

/// Connects a session that is alive to its runtime, unless it is connected or the runtime is not ours to use.
pub fn connect(terminals: &LiveTerminals, runtime: Option<&RuntimeClient>, session: &TerminalSession) {
    let Some(runtime) = runtime.filter(|runtime| session.runtime_endpoint.as_deref() == Some(runtime.endpoint())) else {
        tracing::warn!(session.id = %session.id, "the runtime of a session is not configured");
        return;
    };
    if session.status != SessionStatus::Terminated {
        terminals.open(runtime, spec(session));
    }
}

fn spec(session: &TerminalSession) -> TerminalSpec {
    TerminalSpec {
        session: session.id,
        workspace: session.workspace,
        runtime_agent_id: session.runtime_agent_id.clone().unwrap_or_else(|| session.runtime_session_id.clone()),
        size: session.size,
        status: session.status,
        login: session.login.clone(),
        past: None,
    }
}

/// The session of this name, which a runtime gave it and says to be the one of.
///
/// Errors: `NotFound`, `Ambiguous`, `Terminated`, `Storage`.
pub async fn named(conn: &mut Conn, runtime_session_id: &str) -> Result<TerminalSession, OfferError> {
    let mut found = storage::terminals::named(conn, None, runtime_session_id).await?;
    let id = found.pop().ok_or(TerminalError::NotFound)?;
    if !found.is_empty() {
        return Err(OfferError::Ambiguous);
    }
    let session = storage::terminals::find(conn, id).await?.ok_or(TerminalError::NotFound)?;
    if session.status == SessionStatus::Terminated {
        return Err(TerminalError::Terminated.into());
    }
    Ok(session)
}

/// The line of a session whose runtime has dialed in; `None` where it has one.
#[must_use]
pub fn open_legacy(terminals: &LiveTerminals, session: &TerminalSession) -> Option<LegacyUpstream> {
    terminals.open_legacy(spec(session))
}

/// Whether the person may type and resize, and end the session: owners, admins and whoever spawned the agent.
#[must_use]
pub fn may_write(person: &Person, session: &TerminalSession) -> bool {
    person.role.manages_agents() || session.spawned_by == Some(person.user)
}

/// Which session somebody wants to see.
#[derive(Clone, Debug)]
pub enum Wanted {
    Session(SessionId),
    /// The agent's newest live session.
    Agent(AgentId),
}

/// The right to type into one terminal. Only [`attach`] makes it.
#[derive(Clone)]
pub struct Writer {
    session: SessionId,
    terminal: Arc<Terminal>,
}

impl Writer {
    /// Sends input; see [`Terminal::write`].
    pub async fn write(&self, input: Bytes) -> Result<(), NotConnected> {
        self.terminal.write(input).await
    }

    /// Changes the size of the terminal for everyone; `false` when it has that size already.
    pub async fn resize(&self, size: Size) -> bool {
        self.terminal.resize(size).await
    }
}

/// A viewer's place at a terminal.
pub struct Attachment {
    pub session: TerminalSession,
    pub viewer: Viewer,
    /// `None` for who may only watch.
    pub writer: Option<Writer>,
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

/// Opens a session, which [`wanted`] found, on its runtime, for a viewer who begins at `start`: anybody of its
/// workspace may watch.
///
/// Errors: `Terminated`, `NoRuntime`, `Storage`.
pub async fn attach(
    tx: &mut Tx,
    terminals: &LiveTerminals,
    runtime: Option<&RuntimeClient>,
    person: &Person,
    session: TerminalSession,
    start: Start,
) -> Result<Attachment, TerminalError> {
    if session.status == SessionStatus::Terminated {
        return Err(TerminalError::Terminated);
    }
    let now = tx.now();
    // From here to the commit nobody can end the session, so a terminal that is connected now is ended with it.
    if !storage::terminals::set_viewer(tx.conn(), session.id, person.user, now).await? {
        return Err(TerminalError::Terminated);
    }
    // It is connected as soon as its event is delivered, which may be a moment from now.
    connect(terminals, runtime, &session);
    let terminal = terminals.get(session.id).ok_or(TerminalError::NoRuntime)?;
    let writer = may_write(person, &session).then(|| Writer { session: session.id, terminal: Arc::clone(&terminal) });
    Ok(Attachment { viewer: terminal.view(start), session, writer })
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

/// Notes the size that a terminal has now.
pub async fn note_size(tx: &mut Tx, writer: &Writer, size: Size) -> Result<(), StorageError> {
    storage::terminals::set_size(tx.conn(), writer.session, size).await
}
