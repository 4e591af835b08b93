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
        runtime::{RuntimeHealth, RuntimeName, SILENCE_MAX},
        seal::Sealer,
        secret::Secret,
        settings::{self, CustomRuntime, RUNTIME_KEY, RUNTIME_KEY_SEALED, WorkspaceRules},
    },
    storage::{self, Conn, StorageError, Tx},
};

/// Why settings were not changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("parallax.maxAgents must be at most {limit}")]
    TooManyAgents { limit: u32 },
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
    let used = if CustomRuntime::read(&stored).is_some() { RuntimeName::custom() } else { RuntimeName::environment() };
    let known = storage::runtimes::health(conn, person.workspace).await?;
    let health = known.into_iter().find(|(name, _)| name == used.as_str()).map(|(_, health)| health);
    let seen_at = health.as_ref().and_then(RuntimeHealth::last_seen_at);
    let is_recent = |at: DateTime<Utc>| now - at < SILENCE_MAX;
    if let Some(status) = stored.pointer_mut("/agent/runtimeStatus").and_then(Value::as_object_mut) {
        let last = status.get("lastHeartbeat").and_then(Value::as_str).and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let connected = last.is_some_and(|last| is_recent(last.to_utc())) || seen_at.is_some_and(is_recent);
        status.insert("connected".to_owned(), Value::Bool(connected));
    } else if let (Some(health), Some(seen_at)) = (health, seen_at) {
        let mut agent = settings::section(&stored, "agent").into_owned();
        let heartbeat = health.last_heartbeat_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
        let status = json!({"connected": is_recent(seen_at), "lastHeartbeat": heartbeat, "activeAgents": health.active_agents, "version": health.version});
        agent.insert("runtimeStatus".to_owned(), status);
        if !stored.is_object() {
            stored = Value::Object(Map::new());
        }
        stored["agent"] = Value::Object(agent);
    }
    Ok(stored)
}

/// The rules of a workspace that follow from its settings.
pub async fn rules(conn: &mut Conn, workspace: WorkspaceId) -> Result<WorkspaceRules, StorageError> {
    let settings = storage::workspaces::get(conn, workspace).await?.map_or(Value::Null, |workspace| workspace.settings);
    Ok(WorkspaceRules::read(&settings))
}

/// Replaces the fields given in `settings.agent` and `settings.parallax`, others stay. The runtime's
/// API key is sealed; an empty one takes it away (D-19). Returns the settings as they are stored now.
///
/// Records [`EventKind::SettingsChanged`] with the names of the fields, if one changed.
/// Errors: `TooManyAgents`, `Storage`.
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
    }
    for (section, fields, removed) in [("agent", agent, removed), ("parallax", parallax, Vec::new())] {
        let mut current = settings::section(&stored, section).into_owned();
        for name in removed {
            current.remove(name);
        }
        for (name, value) in fields {
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
        storage::workspaces::save_settings(tx.conn(), workspace, &stored).await?;
        let kind = EventKind::SettingsChanged { fields: changed };
        events::record(tx, Event::within(workspace, Some(admin.user()), kind)).await?;
    }
    Ok(stored)
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
