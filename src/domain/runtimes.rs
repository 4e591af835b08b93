//! The runtimes of a workspace: which there are, how each of them is, and which takes a new agent.
//!
//! The operator's runtime serves every workspace as `default`. The one from a workspace's settings is
//! `custom` (D-21). All others are rows that admins manage. What a runtime says counts for runs only that
//! were started over the link that it says it on; see [`Reach`].

use serde_json::Value;
use sqlx::PgPool;

use super::{events, health, runs, terminals};
use crate::{
    model::{
        actor::Admin,
        event::{Event, EventKind},
        ids::{RuntimeId, SessionId, WorkspaceId},
        run::Run,
        runtime::{
            NamedRuntime, NoRuntime, RUNTIMES_MAX, RUNTIMES_PER_WORKSPACE_MAX, Reach, RuntimeName, SILENCE_MAX, WorkspaceRuntime, place,
        },
        secret::Secret,
        settings::{CustomRuntime, used_runtime},
        terminal::{SessionNews, TerminalSession},
        told,
    },
    runtime::{
        RuntimeClient, Runtimes,
        client::origin_of,
        registry::{LinkKey, canonical, leads_to_link_local},
    },
    storage::{self, Conn, StorageError, Tx, runtimes::Sign},
};

pub use crate::storage::runtimes::RuntimeListener;

/// Longest version that a runtime may say it has, in characters.
const VERSION_CHARS_MAX: usize = 100;

/// Why a runtime was not added, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeProblem {
    /// Also for another workspace's.
    #[error("the workspace has no runtime of this name")]
    NotFound,
    #[error("the workspace has a runtime of this name already")]
    Taken,
    #[error("the name belongs to the operator's runtime or to the one from the settings")]
    Reserved,
    #[error("the workspace has {limit} runtimes, which is the limit")]
    LimitReached { limit: usize },
    #[error("agents run on it: stop them first")]
    InUse,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A runtime as an admin describes it. The endpoint was checked by [`callable`].
pub struct NewRuntime {
    pub name: RuntimeName,
    pub endpoint: String,
    pub token: Option<Secret>,
    /// Canonical agent types; empty: all.
    pub kinds: Vec<String>,
    pub agents_max: Option<u32>,
    pub enabled: bool,
}

/// What an admin changes about a runtime; what is `None` stays.
#[derive(Default)]
pub struct RuntimeChange {
    /// A token is meant for its endpoint: with another one it is forgotten, unless a new one comes along.
    pub endpoint: Option<String>,
    /// An empty one takes it away.
    pub token: Option<Secret>,
    pub kinds: Option<Vec<String>>,
    /// 0 takes the limit away.
    pub agents_max: Option<u32>,
    pub enabled: Option<bool>,
}

/// The endpoint as rows name it, if an admin may have the service call it: it is on an origin that the operator
/// named, and its host's name does not stand for a link-local address either (D-14).
pub async fn callable(runtimes: &Runtimes, endpoint: &str) -> Option<String> {
    let endpoint = canonical(endpoint).ok().filter(|_| is_allowed(runtimes, endpoint))?;
    (!leads_to_link_local(&endpoint).await).then_some(endpoint)
}

fn is_allowed(runtimes: &Runtimes, endpoint: &str) -> bool {
    health::is_allowed(endpoint, runtimes.environment().map(RuntimeClient::endpoint), runtimes.origins())
}

/// The workspace's runtimes as its admins see them: `default`, `custom`, then by name.
pub async fn list(conn: &mut Conn, runtimes: &Runtimes, admin: &Admin) -> Result<Vec<WorkspaceRuntime>, StorageError> {
    Ok(of_workspace(conn, runtimes, admin.workspace()).await?.0)
}

/// All runtimes of a workspace with their health and load, and the one that it uses when nobody chooses.
async fn of_workspace(
    conn: &mut Conn,
    runtimes: &Runtimes,
    workspace: WorkspaceId,
) -> Result<(Vec<WorkspaceRuntime>, RuntimeName), StorageError> {
    let settings = settings(conn, workspace).await?;
    let custom = custom(runtimes, &settings);
    let named = storage::runtimes::list(conn, workspace).await?;
    let environment = runtimes.environment().map(|client| WorkspaceRuntime::environment(client.endpoint()));
    let mut all: Vec<WorkspaceRuntime> =
        environment.into_iter().chain(custom.as_ref().map(WorkspaceRuntime::custom)).chain(named.into_iter().map(Into::into)).collect();
    let health = storage::runtimes::health(conn, workspace).await?;
    let live = storage::runtimes::live_runs(conn, workspace).await?;
    for runtime in &mut all {
        if let Some((_, health)) = health.iter().find(|(name, _)| name == runtime.name.as_str()) {
            runtime.health = health.clone();
        }
        runtime.live_runs = live.iter().find(|(name, _)| name == runtime.name.as_str()).map_or(0, |(_, count)| *count);
        // What the operator took from the list since it was set is not called any more.
        runtime.enabled &= runtime.name.is_environment() || is_allowed(runtimes, &runtime.endpoint);
    }
    Ok((all, used_runtime(&settings)))
}

async fn settings(conn: &mut Conn, workspace: WorkspaceId) -> Result<Value, StorageError> {
    Ok(storage::workspaces::get(conn, workspace).await?.map_or(Value::Null, |workspace| workspace.settings))
}

fn custom(runtimes: &Runtimes, settings: &Value) -> Option<CustomRuntime> {
    let found = CustomRuntime::read(settings).filter(|custom| is_allowed(runtimes, &custom.endpoint));
    found.and_then(with_canonical_endpoint)
}

fn with_canonical_endpoint(custom: CustomRuntime) -> Option<CustomRuntime> {
    Some(CustomRuntime { endpoint: canonical(&custom.endpoint).ok()?, ..custom })
}

/// The link to a workspace's own runtime; `None` where its token cannot be opened.
fn link(runtimes: &Runtimes, endpoint: &str, place: &str, sealed: Option<&[u8]>) -> Option<(LinkKey, RuntimeClient)> {
    if !is_allowed(runtimes, endpoint) {
        return None;
    }
    let token = match sealed.map(|sealed| runtimes.sealer().open(place, sealed)).transpose() {
        Ok(token) => token,
        Err(error) => {
            tracing::error!(runtime = endpoint, error = &error as &dyn std::error::Error, "a runtime's token cannot be opened");
            return None;
        }
    };
    runtimes.link(endpoint, token.as_ref()).ok()
}

/// The client of one of a workspace's runtimes; `None` where there is none of this name, or none that may be called.
pub async fn client(
    conn: &mut Conn,
    runtimes: &Runtimes,
    workspace: WorkspaceId,
    name: &RuntimeName,
) -> Result<Option<RuntimeClient>, StorageError> {
    let found = if name.is_environment() {
        runtimes.environment_link()
    } else if *name == RuntimeName::custom() {
        let custom = custom(runtimes, &settings(conn, workspace).await?);
        custom.and_then(|custom| link(runtimes, &custom.endpoint, &CustomRuntime::key_place(workspace), custom.key_enc.as_deref()))
    } else {
        let named = storage::runtimes::get(conn, workspace, name).await?;
        named.and_then(|named| link(runtimes, &named.endpoint, &named.token_place(), named.token_enc.as_deref()))
    };
    Ok(found.map(|(_, client)| client))
}

/// The client of the runtime that a workspace uses when nobody chooses one; see [`used_runtime`].
pub async fn used(conn: &mut Conn, runtimes: &Runtimes, workspace: WorkspaceId) -> Result<Option<RuntimeClient>, StorageError> {
    let name = used_runtime(&settings(conn, workspace).await?);
    client(conn, runtimes, workspace, &name).await
}

/// The client of the runtime that a run was started on; `None` when it is no longer configured.
pub async fn client_of_run(conn: &mut Conn, runtimes: &Runtimes, run: &Run) -> Result<Option<RuntimeClient>, StorageError> {
    let client = client(conn, runtimes, run.workspace, &run.runtime).await?;
    Ok(client.filter(|client| client.endpoint() == run.runtime_endpoint))
}

/// The client of the runtime that a session is on; `None` when it is no longer configured.
pub async fn client_of_session(
    conn: &mut Conn,
    runtimes: &Runtimes,
    session: &TerminalSession,
) -> Result<Option<RuntimeClient>, StorageError> {
    let Some(endpoint) = session.runtime_endpoint.as_deref() else { return Ok(None) };
    match &session.runtime {
        Some(name) => Ok(client(conn, runtimes, session.workspace, name).await?.filter(|client| client.endpoint() == endpoint)),
        None => client_at(conn, runtimes, session.workspace, Some(endpoint)).await,
    }
}

/// The client of the workspace's runtime on the origin of `endpoint`; without one that of the operator's, or
/// else of the only one that the workspace has.
pub async fn client_at(
    conn: &mut Conn,
    runtimes: &Runtimes,
    workspace: WorkspaceId,
    endpoint: Option<&str>,
) -> Result<Option<RuntimeClient>, StorageError> {
    let (known, _) = of_workspace(conn, runtimes, workspace).await?;
    let is_there = |runtime: &&WorkspaceRuntime| match endpoint {
        Some(endpoint) => origin_of(endpoint).is_some_and(|origin| Some(origin) == origin_of(&runtime.endpoint)),
        None => runtime.name.is_environment() || known.len() == 1,
    };
    // The one at the very endpoint goes before another on its origin.
    let mut there: Vec<&WorkspaceRuntime> = known.iter().filter(is_there).collect();
    there.sort_by_key(|runtime| endpoint != Some(runtime.endpoint.as_str()));
    match there.first() {
        Some(runtime) => client(conn, runtimes, workspace, &runtime.name).await,
        None => Ok(None),
    }
}

/// A connection to keep, and what may be said over it.
pub struct Link {
    pub key: LinkKey,
    pub client: RuntimeClient,
    pub reach: Reach,
}

/// Every link that a node keeps, at most [`RUNTIMES_MAX`]: one for each distinct endpoint and token.
pub async fn links(conn: &mut Conn, runtimes: &Runtimes) -> Result<Vec<Link>, StorageError> {
    let limit = i64::try_from(RUNTIMES_MAX).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    if let Some((key, client)) = runtimes.environment_link() {
        found.push((key, client, None, RuntimeName::environment()));
    }
    for (workspace, settings) in storage::runtimes::settings_with_custom(conn, limit).await? {
        let Some(custom) = CustomRuntime::read(&settings).and_then(with_canonical_endpoint) else { continue };
        let made = link(runtimes, &custom.endpoint, &CustomRuntime::key_place(workspace), custom.key_enc.as_deref());
        found.extend(made.map(|(key, client)| (key, client, Some(workspace), RuntimeName::custom())));
    }
    for named in storage::runtimes::all(conn, limit).await? {
        let made = link(runtimes, &named.endpoint, &named.token_place(), named.token_enc.as_deref());
        found.extend(made.map(|(key, client)| (key, client, Some(named.workspace), named.name)));
    }
    let mut links: Vec<Link> = Vec::new();
    for (key, client, workspace, name) in found {
        if let Some(known) = links.iter_mut().find(|link| link.key == key) {
            known.reach.users.push((workspace, name));
        } else if links.len() < RUNTIMES_MAX {
            let reach = Reach { endpoint: key.endpoint.clone(), users: vec![(workspace, name)] };
            links.push(Link { key, client, reach });
        } else {
            tracing::warn!(runtime = key.endpoint, limit = RUNTIMES_MAX, "a runtime is not followed: there are too many");
        }
    }
    Ok(links)
}

/// Hears of every change of which runtimes there are, from now on.
pub async fn listen(pool: &PgPool) -> Result<RuntimeListener, StorageError> {
    RuntimeListener::listen(pool).await
}

/// Adds a runtime.
///
/// Records [`EventKind::RuntimeChanged`]. Errors: `Reserved`, `Taken`, `LimitReached`, `Storage`.
pub async fn add(tx: &mut Tx, runtimes: &Runtimes, admin: &Admin, new: NewRuntime) -> Result<WorkspaceRuntime, RuntimeProblem> {
    let workspace = admin.workspace();
    if new.name.is_reserved() {
        return Err(RuntimeProblem::Reserved);
    }
    // So that two admins together do not exceed the limit.
    storage::workspaces::lock(tx.conn(), workspace).await?.ok_or(RuntimeProblem::NotFound)?;
    let known = storage::runtimes::list(tx.conn(), workspace).await?;
    if known.iter().any(|runtime| runtime.name == new.name) {
        return Err(RuntimeProblem::Taken);
    }
    if known.len() >= RUNTIMES_PER_WORKSPACE_MAX {
        return Err(RuntimeProblem::LimitReached { limit: RUNTIMES_PER_WORKSPACE_MAX });
    }
    let mut named = NamedRuntime {
        id: RuntimeId::generate(),
        workspace,
        name: new.name,
        endpoint: new.endpoint,
        token_enc: None,
        kinds: new.kinds,
        agents_max: new.agents_max,
        enabled: new.enabled,
        created_at: tx.now(),
    };
    named.token_enc = new.token.map(|token| runtimes.sealer().seal(&named.token_place(), &token));
    storage::runtimes::insert(tx.conn(), &named).await?;
    // Nothing that is known of an earlier one of this name holds for it.
    storage::runtimes::forget_health(tx.conn(), workspace, &named.name).await?;
    record_change(tx, admin, &named.name, "added").await?;
    Ok(named.into())
}

/// Changes a runtime. Its endpoint stays while agents run there; another token is used from the next call on, and
/// from the next time that a terminal has to be connected.
///
/// Records [`EventKind::RuntimeChanged`]. Errors: `NotFound`, `InUse`, `Storage`.
pub async fn change(
    tx: &mut Tx,
    runtimes: &Runtimes,
    admin: &Admin,
    name: &RuntimeName,
    change: RuntimeChange,
) -> Result<WorkspaceRuntime, RuntimeProblem> {
    let workspace = admin.workspace();
    storage::workspaces::lock(tx.conn(), workspace).await?.ok_or(RuntimeProblem::NotFound)?;
    let mut named = storage::runtimes::get(tx.conn(), workspace, name).await?.ok_or(RuntimeProblem::NotFound)?;
    if let Some(endpoint) = change.endpoint.filter(|endpoint| *endpoint != named.endpoint) {
        if !storage::runs::live_of_runtime(tx.conn(), workspace, name).await?.is_empty() {
            return Err(RuntimeProblem::InUse);
        }
        named.endpoint = endpoint;
        named.token_enc = None;
        storage::runtimes::forget_health(tx.conn(), workspace, name).await?;
    }
    if let Some(token) = change.token {
        named.token_enc = (!token.expose().is_empty()).then(|| runtimes.sealer().seal(&named.token_place(), &token));
    }
    named.kinds = change.kinds.unwrap_or(named.kinds);
    named.agents_max = change.agents_max.map_or(named.agents_max, |max| (max > 0).then_some(max));
    named.enabled = change.enabled.unwrap_or(named.enabled);
    let now = tx.now();
    storage::runtimes::save(tx.conn(), &named, now).await?;
    record_change(tx, admin, name, "changed").await?;
    let (all, _) = of_workspace(tx.conn(), runtimes, workspace).await?;
    all.into_iter().find(|runtime| runtime.name == *name).ok_or(RuntimeProblem::NotFound)
}

/// Takes no new agents on a runtime any more and asks for the end of those on it. Returns their runs, with the
/// client to end them by: nobody knows the runtime any more after [`remove`].
///
/// Errors: `NotFound`, `Storage`.
pub async fn drain(
    tx: &mut Tx,
    runtimes: &Runtimes,
    admin: &Admin,
    name: &RuntimeName,
) -> Result<(Vec<Run>, Option<RuntimeClient>), RuntimeProblem> {
    let workspace = admin.workspace();
    storage::workspaces::lock(tx.conn(), workspace).await?.ok_or(RuntimeProblem::NotFound)?;
    let mut named = storage::runtimes::get(tx.conn(), workspace, name).await?.ok_or(RuntimeProblem::NotFound)?;
    named.enabled = false;
    let now = tx.now();
    storage::runtimes::save(tx.conn(), &named, now).await?;
    let live = storage::runs::live_of_runtime(tx.conn(), workspace, name).await?;
    for run in &live {
        runs::request_stop(tx, workspace, &run.agent, Some(admin.user()), "its runtime is removed").await?;
    }
    let client = client(tx.conn(), runtimes, workspace, name).await?;
    Ok((live, client))
}

/// Removes a runtime on which no agents run. With `force`, runs that [`drain`] could not end count as stopped.
///
/// Records [`EventKind::RuntimeChanged`]. Errors: `NotFound`, `InUse`, `Storage`.
pub async fn remove(tx: &mut Tx, admin: &Admin, name: &RuntimeName, force: bool) -> Result<(), RuntimeProblem> {
    let workspace = admin.workspace();
    // A spawn holds the same lock while it chooses, so that none comes to a runtime that goes.
    storage::workspaces::lock(tx.conn(), workspace).await?.ok_or(RuntimeProblem::NotFound)?;
    let named = storage::runtimes::get(tx.conn(), workspace, name).await?.ok_or(RuntimeProblem::NotFound)?;
    let live = storage::runs::live_of_runtime(tx.conn(), workspace, name).await?;
    if !live.is_empty() && !force {
        return Err(RuntimeProblem::InUse);
    }
    for run in live {
        runs::give_up(tx, run.id, "its runtime was removed").await?;
    }
    storage::runtimes::delete(tx.conn(), named.id).await?;
    storage::runtimes::forget_health(tx.conn(), workspace, name).await?;
    Ok(record_change(tx, admin, name, "removed").await?)
}

async fn record_change(tx: &mut Tx, admin: &Admin, name: &RuntimeName, change: &str) -> Result<(), StorageError> {
    let kind = EventKind::RuntimeChanged { runtime: name.clone(), change: change.to_owned() };
    events::record(tx, Event::within(admin.workspace(), Some(admin.user()), kind)).await?;
    Ok(())
}

/// Where a new agent goes.
pub struct Placement {
    pub name: RuntimeName,
    pub client: RuntimeClient,
}

/// Why no runtime takes an order.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    #[error(transparent)]
    None(#[from] NoRuntime),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Chooses a runtime for each of `count` agents; see [`place`]. The caller holds the workspace's lock.
///
/// Errors: [`NoRuntime`], also when a runtime's token cannot be opened; `Storage`.
pub async fn choose(
    tx: &mut Tx,
    runtimes: &Runtimes,
    workspace: WorkspaceId,
    agent_type: &str,
    wanted: Option<&RuntimeName>,
    count: u32,
) -> Result<Vec<Placement>, PlacementError> {
    let (known, used) = of_workspace(tx.conn(), runtimes, workspace).await?;
    let mut placements = Vec::new();
    for position in place(&known, agent_type, wanted, !used.is_environment(), count)? {
        let name = &known[position].name;
        let client = client(tx.conn(), runtimes, workspace, name).await?.ok_or(NoRuntime::NotConfigured)?;
        placements.push(Placement { name: name.clone(), client });
    }
    Ok(placements)
}

/// What a runtime says of itself.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    pub version: Option<String>,
    pub active_agents: Option<u32>,
}

/// Notes that we reached the runtime behind a link.
///
/// Records [`EventKind::RuntimeOnline`] where it was offline.
pub async fn note_contact(tx: &mut Tx, reach: &Reach, condition: &Condition) -> Result<(), StorageError> {
    note(tx, &reach.users, condition, false).await
}

async fn note(
    tx: &mut Tx,
    users: &[(Option<WorkspaceId>, RuntimeName)],
    condition: &Condition,
    heartbeat: bool,
) -> Result<(), StorageError> {
    let (workspaces, names): (Vec<_>, Vec<_>) = users.iter().map(|(workspace, name)| (workspace.map(|id| id.0), name.to_string())).unzip();
    let back = storage::runtimes::lock_offline(tx.conn(), &workspaces, &names).await?;
    let version = condition.version.as_deref().and_then(|version| told::readable(version, VERSION_CHARS_MAX));
    let sign = Sign { at: tx.now(), heartbeat, version: version.as_deref(), active_agents: condition.active_agents };
    storage::runtimes::note_sign(tx.conn(), &workspaces, &names, &sign).await?;
    for (workspace, runtime) in affected(tx, back).await? {
        events::record(tx, Event::within(workspace, None, EventKind::RuntimeOnline { runtime })).await?;
    }
    Ok(())
}

/// Why a heartbeat was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    #[error("no such workspace")]
    WorkspaceUnknown,
    /// It names the endpoint or the name of none of the workspace's.
    #[error("the workspace has no such runtime")]
    Foreign,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Takes in a heartbeat of the runtime that calls itself `runtime_id`, which is one of the workspace's by name or
/// endpoint. An id of its own, which is neither a name nor a URL, tells nothing of a single runtime. What the
/// runtime says shows in the settings, too (D-17).
///
/// Records [`EventKind::RuntimeOnline`] where it was offline. Errors: `WorkspaceUnknown`, `Foreign`, `Storage`.
pub async fn heartbeat(
    tx: &mut Tx,
    runtimes: &Runtimes,
    workspace: WorkspaceId,
    runtime_id: &str,
    condition: &Condition,
) -> Result<(), HeartbeatError> {
    // The workspace before the health of its runtimes, as whoever changes a runtime.
    storage::workspaces::lock(tx.conn(), workspace).await?.ok_or(HeartbeatError::WorkspaceUnknown)?;
    let (known, shown) = of_workspace(tx.conn(), runtimes, workspace).await?;
    let endpoint = canonical(runtime_id).ok();
    let is_meant = |runtime: &&WorkspaceRuntime| runtime.name.as_str() == runtime_id || endpoint.as_deref() == Some(&runtime.endpoint);
    let meant: Vec<&WorkspaceRuntime> = known.iter().filter(is_meant).collect();
    if meant.is_empty() && endpoint.is_some() {
        return Err(HeartbeatError::Foreign);
    }
    let users: Vec<_> = meant.iter().map(|runtime| ((!runtime.name.is_environment()).then_some(workspace), runtime.name.clone())).collect();
    if !users.is_empty() {
        // A heartbeat counts the agents of one workspace: what runs there in all, the runtime's health tells.
        let condition = Condition { version: condition.version.clone(), active_agents: None };
        note(tx, &users, &condition, true).await?;
    }
    // The settings tell of the runtime that the workspace uses when nobody chooses one.
    if meant.is_empty() || meant.iter().any(|runtime| runtime.name == shown) {
        let status = serde_json::json!({
            "connected": true,
            "lastHeartbeat": tx.now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "activeAgents": condition.active_agents,
            "version": condition.version.as_deref().and_then(|version| told::readable(version, VERSION_CHARS_MAX)),
        });
        if !storage::workspaces::set_runtime_status(tx.conn(), workspace, &status).await? {
            return Err(HeartbeatError::WorkspaceUnknown);
        }
    }
    Ok(())
}

/// What was online when the service ended may have gone since: where nobody has heard of it for as long as a runtime
/// may be silent, it is to be heard of anew before it counts as silent.
pub async fn doubt(tx: &mut Tx) -> Result<(), StorageError> {
    let now = tx.now();
    storage::runtimes::doubt(tx.conn(), now - SILENCE_MAX, now).await
}

/// Moves those within `reaches` that were silent for too long to offline, and their sessions to disconnected.
///
/// Records [`EventKind::RuntimeOffline`] for each workspace with such a runtime, once until it is heard of again.
pub async fn notice_silence<'a>(tx: &mut Tx, reaches: impl Iterator<Item = &'a Reach>) -> Result<(), StorageError> {
    let (mut workspaces, mut names) = (Vec::new(), Vec::new());
    for reach in reaches {
        let columns = reach.columns();
        workspaces.extend(columns.0);
        names.extend(columns.1);
    }
    let now = tx.now();
    storage::runtimes::expect(tx.conn(), &workspaces, &names, now).await?;
    let silent = storage::runtimes::silence(tx.conn(), &workspaces, &names, now - SILENCE_MAX, now).await?;
    for (workspace, runtime) in affected(tx, silent).await? {
        for session in storage::runtimes::live_sessions(tx.conn(), workspace, &runtime).await? {
            terminals::hear(tx, session, SessionNews::Lost, None).await?;
        }
        events::record(tx, Event::within(workspace, None, EventKind::RuntimeOffline { runtime })).await?;
    }
    Ok(())
}

/// Who is to hear of these runtimes: the workspace of each, and of the operator's those with agents on it.
async fn affected(tx: &mut Tx, runtimes: Vec<(Option<WorkspaceId>, String)>) -> Result<Vec<(WorkspaceId, RuntimeName)>, StorageError> {
    let mut all = Vec::new();
    for (workspace, name) in runtimes {
        let corrupt = |_| StorageError::Corrupt { table: "agent_runtime_health", column: "name", id: name.clone() };
        let name: RuntimeName = name.parse().map_err(corrupt)?;
        if let Some(workspace) = workspace {
            all.push((workspace, name));
        } else {
            let users = storage::runtimes::workspaces_on_environment(tx.conn()).await?;
            all.extend(users.into_iter().map(|workspace| (workspace, name.clone())));
        }
    }
    Ok(all)
}

/// Sessions on one of a workspace's runtimes that are not terminated.
pub async fn sessions(conn: &mut Conn, workspace: WorkspaceId, name: &RuntimeName) -> Result<Vec<SessionId>, StorageError> {
    storage::runtimes::live_sessions(conn, workspace, name).await
}
