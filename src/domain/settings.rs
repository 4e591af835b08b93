//! What a workspace's admins decide about its agents.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::events;
use crate::{
    model::{
        actor::{Admin, Person},
        clock::Clock,
        event::{Event, EventKind},
        ids::WorkspaceId,
        policy::Policy,
        runtime::{RuntimeName, RuntimeState, SILENCE_MAX},
        seal::Sealer,
        secret::Secret,
        settings::{self, CustomRuntime, RUNTIME_KEY, RUNTIME_KEY_SEALED, WorkspaceRules},
    },
    runtime::registry::canonical,
    storage::{self, Conn, StorageError, Tx},
};

/// Why settings were not changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("parallax.maxAgents must be at most {limit}")]
    TooManyAgents { limit: u32 },
    /// It stays what and where it is while somebody has to be asked about agents there.
    #[error("agents run on the workspace's own runtime: stop them first")]
    RuntimeInUse,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The stored settings of the person's workspace. They hold other programs' secrets: what is shown
/// of them is chosen field by field.
async fn stored(conn: &mut Conn, person: &Person) -> Result<Value, StorageError> {
    Ok(storage::workspaces::get(conn, person.workspace).await?.map_or(Value::Null, |workspace| workspace.settings))
}

/// As [`stored`], with the status of the runtime that the workspace uses as it is now: connected only while it is
/// heard of, by its heartbeats or by its answers (D-17).
pub async fn current(conn: &mut Conn, clock: &Clock, person: &Person) -> Result<Value, StorageError> {
    let mut stored = stored(conn, person).await?;
    #[expect(clippy::disallowed_methods, reason = "how long a runtime has been silent needs no transaction")]
    let now = clock.at(Utc::now());
    let used = settings::used_runtime(&stored);
    let known = storage::runtimes::health(conn, person.workspace).await?;
    let health = known.into_iter().find(|(name, _)| name == used.as_str()).map(|(_, health)| health);
    let is_recent = |at: DateTime<Utc>| now - at < SILENCE_MAX;
    if let Some(health) = health {
        let mut agent = settings::section(&stored, "agent").into_owned();
        let connected = health.last_seen_at().is_some_and(is_recent);
        let heartbeat = health.last_heartbeat_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
        let status =
            json!({"connected": connected, "lastHeartbeat": heartbeat, "activeAgents": health.active_agents, "version": health.version});
        agent.insert("runtimeStatus".to_owned(), status);
        if !stored.is_object() {
            stored = Value::Object(Map::new());
        }
        stored["agent"] = Value::Object(agent);
    } else if let Some(status) = stored.pointer_mut("/agent/runtimeStatus").and_then(Value::as_object_mut) {
        // Of a runtime that says an id of its own only heartbeats are known.
        let last = status.get("lastHeartbeat").and_then(Value::as_str).and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        status.insert("connected".to_owned(), Value::Bool(last.is_some_and(|last| is_recent(last.to_utc()))));
    }
    Ok(stored)
}

/// The rules of a workspace that follow from its settings.
pub async fn rules(conn: &mut Conn, workspace: WorkspaceId) -> Result<WorkspaceRules, StorageError> {
    let settings = storage::workspaces::get(conn, workspace).await?.map_or(Value::Null, |workspace| workspace.settings);
    Ok(WorkspaceRules::read(&settings))
}

/// Replaces the fields given in `settings.agent` and `settings.parallax`, others stay. The runtime's
/// API key is sealed; an empty one takes it away (D-19). It is meant for its endpoint: with another one it is
/// forgotten, unless a new one comes along. Returns the settings as they are stored now.
///
/// Records [`EventKind::SettingsChanged`] with the names of the fields, if one changed.
/// Errors: `TooManyAgents`, `RuntimeInUse`, `Storage`.
pub async fn update(
    tx: &mut Tx,
    policy: &Policy,
    admin: &Admin,
    mut agent: Map<String, Value>,
    parallax: Map<String, Value>,
) -> Result<Value, SettingsError> {
    let workspace = admin.workspace();
    if parallax.get("maxAgents").and_then(Value::as_u64).is_some_and(|max| max > u64::from(policy.agents_per_workspace_max)) {
        return Err(SettingsError::TooManyAgents { limit: policy.agents_per_workspace_max });
    }
    let mut stored = storage::workspaces::lock_settings(tx.conn(), workspace).await?;
    let before = stored.clone();
    let mut changed = Vec::new();
    let mut removed = Vec::new();
    if let Some(Value::String(key)) = agent.remove(RUNTIME_KEY) {
        removed.push(RUNTIME_KEY);
        if key.is_empty() {
            removed.push(RUNTIME_KEY_SEALED);
        } else {
            agent.insert(RUNTIME_KEY_SEALED.to_owned(), seal(&policy.sealer, workspace, &Secret::presented(&key)));
        }
        changed.push(RUNTIME_KEY.to_owned());
    } else if moves_endpoint(&stored, &agent) {
        let known = settings::section(&stored, "agent");
        let keys = [RUNTIME_KEY, RUNTIME_KEY_SEALED].into_iter().filter(|name| known.contains_key(*name));
        removed.extend(keys);
        changed.extend(removed.first().map(|_| RUNTIME_KEY.to_owned()));
    }
    for (section, fields, removed) in [("agent", agent, removed), ("parallax", parallax, Vec::new())] {
        let mut current = settings::section(&stored, section).into_owned();
        for name in removed {
            current.remove(name);
        }
        for (name, mut value) in fields {
            // Of these settings, too, what is absent stays.
            if name == settings::RECORDING
                && let (Some(Value::Object(known)), Value::Object(fields)) = (current.get(&name), &value)
            {
                value = Value::Object(known.iter().chain(fields).map(|(name, value)| (name.clone(), value.clone())).collect());
            }
            if current.get(&name) != Some(&value) {
                if name != RUNTIME_KEY_SEALED {
                    changed.push(if section == "agent" { name.clone() } else { format!("{section}.{name}") });
                }
                current.insert(name, value);
            }
        }
        if !stored.is_object() {
            stored = Value::Object(Map::new());
        }
        stored[section] = Value::Object(current);
    }
    if !changed.is_empty() {
        follow_runtime(tx, workspace, &before, &mut stored).await?;
        storage::workspaces::save_settings(tx.conn(), workspace, &stored).await?;
        let kind = EventKind::SettingsChanged { fields: changed };
        events::record(tx, Event::within(workspace, Some(admin.user()), kind)).await?;
    }
    Ok(stored)
}

/// The endpoint of the workspace's own runtime as rows name it, whether or not it is used.
fn endpoint(agent: &Map<String, Value>) -> Option<String> {
    let text = agent.get("runtimeEndpoint").and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())?;
    Some(canonical(text).unwrap_or_else(|_| text.to_owned()))
}

/// Whether the fields give the workspace's own runtime another endpoint than the one that is stored.
fn moves_endpoint(stored: &Value, fields: &Map<String, Value>) -> bool {
    let known = endpoint(&settings::section(stored, "agent"));
    fields.contains_key("runtimeEndpoint") && known.is_some() && known != endpoint(fields)
}

/// Sees to it that a change of the runtime that the workspace uses strands no agent, and forgets how the earlier one was.
///
/// Errors: `RuntimeInUse` while agents run on the workspace's own that would be another. One that is offline holds nobody
/// up whose agents were all told to stop.
async fn follow_runtime(tx: &mut Tx, workspace: WorkspaceId, before: &Value, after: &mut Value) -> Result<(), SettingsError> {
    let place = |settings: &Value| CustomRuntime::read(settings).and(endpoint(&settings::section(settings, "agent")));
    let (from, to) = (place(before), place(after));
    if from == to {
        return Ok(());
    }
    if let Some(section) = after.get_mut("agent").and_then(Value::as_object_mut) {
        section.remove("runtimeStatus");
    }
    let custom = RuntimeName::custom();
    if from.is_some() {
        let health = storage::runtimes::health(tx.conn(), workspace).await?;
        let is_offline = health.iter().any(|(name, health)| name == custom.as_str() && health.state == RuntimeState::Offline);
        let live = storage::runs::live_of_runtime(tx.conn(), workspace, &custom).await?;
        if live.iter().any(|run| !is_offline || run.stop_requested_at.is_none()) {
            return Err(SettingsError::RuntimeInUse);
        }
    }
    Ok(storage::runtimes::forget_health(tx.conn(), workspace, &custom).await?)
}

/// Seals the runtime keys that an earlier program left in plain text. Returns in how many workspaces.
pub async fn seal_plain_keys(tx: &mut Tx, sealer: &Sealer) -> Result<u64, StorageError> {
    let found = storage::workspaces::with_plain_runtime_key(tx.conn()).await?;
    let mut sealed = 0;
    for (workspace, mut stored) in found {
        let Some(section) = stored.get_mut("agent").and_then(Value::as_object_mut) else { continue };
        let plain = section.remove(RUNTIME_KEY);
        if let Some(key) = plain.as_ref().and_then(Value::as_str).filter(|key| !key.is_empty()) {
            section.insert(RUNTIME_KEY_SEALED.to_owned(), seal(sealer, workspace, &Secret::presented(key)));
        }
        storage::workspaces::save_settings(tx.conn(), workspace, &stored).await?;
        sealed += 1;
    }
    Ok(sealed)
}

fn seal(sealer: &Sealer, workspace: WorkspaceId, key: &Secret) -> Value {
    Value::String(STANDARD.encode(sealer.seal(&CustomRuntime::key_place(workspace), key)))
}
