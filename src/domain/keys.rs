//! Mints, verifies, rotates and revokes API keys.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::events;
use crate::{
    model::{
        actor::{Admin, KeyHolder, Person},
        agent::{Agent, AgentStatus, IllegalTransition},
        clock::Clock,
        event::{AgentBrief, Event, EventKind},
        ids::{AgentId, UserId, WorkspaceId},
        key::{ApiKey, KeyKind, NewKey},
        policy::Policy,
        secret::Secret,
        workspace::Role,
    },
    storage::{self, Conn, StorageError, Tx},
};

pub use crate::storage::access_cache::{AccessCache, Ticket};

/// Keys listed at the most.
const LISTED_MAX: i64 = 200;
/// Keys that one person may hold at the same time.
pub const KEYS_PER_PERSON_MAX: u32 = 50;

/// Why a key was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Also for another person's or workspace's key.
    #[error("API key not found")]
    NotFound,
    #[error("agent not found")]
    AgentNotFound,
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error("expiresAt must be in the future")]
    ExpiryPast,
    #[error("a person may hold at most {limit} API keys")]
    LimitReached { limit: u32 },
    #[error("the workspace has reached its limit of {limit} agents")]
    AgentLimit { limit: u32 },
    /// No person of the workspace who may hold a key.
    #[error("no such person in the workspace")]
    UserUnknown,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A key with its plain text, which exists only in this value.
pub struct Minted {
    pub key_id: String,
    pub name: String,
    pub secret: Secret,
}

/// Gives an agent its key, makes its account if it has none, and revokes every earlier key. The row
/// of the agent must exist; the caller saves it with the key's id.
pub(super) async fn mint(tx: &mut Tx, policy: &Policy, agent: &mut Agent) -> Result<Secret, StorageError> {
    revoke_all(tx, agent.workspace, &agent.id).await?;
    add(tx, policy, agent, None).await
}

async fn add(tx: &mut Tx, policy: &Policy, agent: &mut Agent, expires_at: Option<DateTime<Utc>>) -> Result<Secret, StorageError> {
    let now = tx.now();
    let user = storage::users::of_agent(tx.conn(), agent).await?;
    let mut key = NewKey::for_agent(agent.workspace, agent.id.clone(), &agent.profile.name, user, &policy.agent_key_prefix);
    key.expires_at = expires_at;
    storage::keys::insert(tx.conn(), &key, now).await?;
    agent.api_key_id = Some(key.id);
    Ok(key.secret)
}

/// When a key is to end and how long the one before it stays good.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotation {
    pub grace: TimeDelta,
    /// The end of the earlier key when absent.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Gives an approved agent a new key. Every earlier one ends, at once or after the grace period.
///
/// Records [`EventKind::KeyRotated`].
/// Errors: `AgentNotFound`, `Illegal` (not approved), `ExpiryPast`, `AgentLimit` (it had no good key), `Storage`.
pub async fn rotate(tx: &mut Tx, policy: &Policy, admin: &Admin, id: &AgentId, rotation: Rotation) -> Result<(Agent, Secret), KeyError> {
    let now = tx.now();
    check_expiry(rotation.expires_at, now)?;
    // The workspace before the agent, as everywhere: an agent without a good key may not act, and counts from now on.
    let rules = storage::workspaces::lock(tx.conn(), admin.workspace()).await?.ok_or(KeyError::AgentNotFound)?;
    let found = storage::agents::lock(tx.conn(), admin.workspace(), id).await?;
    let mut agent = found.filter(|agent| agent.id == *id).ok_or(KeyError::AgentNotFound)?;
    let status = agent.state.status();
    if status != AgentStatus::Approved {
        return Err(IllegalTransition { from: status, action: "rotate the key" }.into());
    }
    let limit = rules.agents_max(policy.agents_per_workspace_max);
    if storage::keys::count_of_agent(tx.conn(), agent.workspace, &agent.id).await? == 0
        && storage::agents::count_acting(tx.conn(), agent.workspace).await? >= i64::from(limit)
    {
        return Err(KeyError::AgentLimit { limit });
    }
    let current = match &agent.api_key_id {
        Some(id) => storage::keys::lock(tx.conn(), agent.workspace, id).await?,
        None => None,
    };
    let expires_at = rotation.expires_at.or(current.filter(|key| key.is_live(now)).and_then(|key| key.expires_at));
    let secret = add(tx, policy, &mut agent, expires_at).await?;
    let key_id = agent.api_key_id.clone().unwrap_or_default();
    storage::keys::supersede_of_agent(tx.conn(), agent.workspace, &agent.id, &key_id, now + rotation.grace, now).await?;
    // What waits to be claimed is no longer the agent's key.
    agent.unclaimed_key = None;
    agent.updated_at = now;
    storage::agents::save(tx.conn(), &agent).await?;
    let kind = EventKind::KeyRotated { agent: AgentBrief::of(&agent), key_id, grace_seconds: rotation.grace.num_seconds() };
    events::record(tx, Event::about(&agent, Some(admin.user()), kind)).await?;
    Ok((agent, secret))
}

/// Keys of one agent, newest first, revoked ones included.
pub async fn of_agent(conn: &mut Conn, admin: &Admin, agent: &AgentId) -> Result<Vec<ApiKey>, StorageError> {
    storage::keys::of_agent(conn, admin.workspace(), agent, LISTED_MAX).await
}

/// Revokes one key of an agent for an admin. Revoking it again changes nothing.
///
/// Records [`EventKind::KeyRevoked`] the first time. Errors: `NotFound`, `Storage`.
pub async fn revoke_of_agent(tx: &mut Tx, admin: &Admin, agent: &AgentId, key_id: &str) -> Result<ApiKey, KeyError> {
    let found = storage::keys::lock(tx.conn(), admin.workspace(), key_id).await?;
    let key = found.filter(|key| key.agent.as_ref() == Some(agent)).ok_or(KeyError::NotFound)?;
    revoke(tx, &key, admin.user()).await?;
    Ok(key)
}

/// Revokes all keys of an agent; the very next call with one is refused. Returns how many.
pub(super) async fn revoke_all(tx: &mut Tx, workspace: WorkspaceId, agent: &AgentId) -> Result<u64, StorageError> {
    let now = tx.now();
    storage::keys::revoke_of_agent(tx.conn(), workspace, agent, now).await
}

/// Makes a key for the admin's own use. One issuing policy for every door (D-10).
///
/// Records [`EventKind::KeyCreated`]. Errors: `ExpiryPast`, `LimitReached`, `Storage`.
pub async fn create(tx: &mut Tx, admin: &Admin, name: String, expires_at: Option<DateTime<Utc>>) -> Result<Minted, KeyError> {
    issue(tx, admin.workspace(), admin.user(), Some(admin.user()), name, expires_at).await
}

/// Makes a key for a person on behalf of an operator's script, which proved itself at the door (D-12).
///
/// Records [`EventKind::KeyCreated`]. Errors: `UserUnknown`, `LimitReached`, `Storage`.
pub async fn register(tx: &mut Tx, workspace: WorkspaceId, user: UserId, name: String) -> Result<Minted, KeyError> {
    let found = storage::users::active(tx.conn(), workspace, user).await?;
    if found.is_none_or(|user| user.role == Role::Agent) {
        return Err(KeyError::UserUnknown);
    }
    issue(tx, workspace, user, None, name, None).await
}

async fn issue(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    actor: Option<UserId>,
    name: String,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Minted, KeyError> {
    let now = tx.now();
    check_expiry(expires_at, now)?;
    room_for_one(tx, workspace, user).await?;
    Ok(store(tx, workspace, user, actor, name, expires_at).await?)
}

async fn store(
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    actor: Option<UserId>,
    name: String,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Minted, StorageError> {
    let now = tx.now();
    let key = NewKey::for_person(workspace, user, name, expires_at);
    storage::keys::insert(tx.conn(), &key, now).await?;
    let kind = EventKind::KeyCreated { key_id: key.id.clone(), key_name: key.name.clone(), user_id: user };
    events::record(tx, Event { workspace, agent: None, actor, kind }).await?;
    Ok(Minted { key_id: key.id, name: key.name, secret: key.secret })
}

/// Keeps everyone else from making keys for the person meanwhile.
async fn room_for_one(tx: &mut Tx, workspace: WorkspaceId, user: UserId) -> Result<(), KeyError> {
    let now = tx.now();
    storage::users::lock(tx.conn(), workspace, user).await?;
    if storage::keys::count_of_person(tx.conn(), workspace, user, now).await? >= i64::from(KEYS_PER_PERSON_MAX) {
        return Err(KeyError::LimitReached { limit: KEYS_PER_PERSON_MAX });
    }
    Ok(())
}

/// A person's own keys, newest first.
pub async fn own(conn: &mut Conn, person: &Person) -> Result<Vec<ApiKey>, StorageError> {
    storage::keys::of_person(conn, person.workspace, person.user, LISTED_MAX).await
}

/// Revokes a key of the person's own.
///
/// Records [`EventKind::KeyRevoked`]. Errors: `NotFound` (also for one that was revoked before, D-11), `Storage`.
pub async fn revoke_own(tx: &mut Tx, person: &Person, key_id: &str) -> Result<ApiKey, KeyError> {
    let key = lock_own(tx, person, key_id).await?;
    revoke(tx, &key, person.user).await?;
    Ok(key)
}

/// Replaces a live key of the person's own that was not replaced before; the old one stays good for the grace period.
///
/// Records [`EventKind::KeyCreated`].
/// Errors: `NotFound`, `ExpiryPast`, `LimitReached`, `Storage`.
pub async fn rotate_own(tx: &mut Tx, admin: &Admin, key_id: &str, rotation: Rotation) -> Result<Minted, KeyError> {
    let now = tx.now();
    check_expiry(rotation.expires_at, now)?;
    if rotation.grace > TimeDelta::zero() {
        room_for_one(tx, admin.workspace(), admin.user()).await?;
    }
    let old = lock_own(tx, admin.person(), key_id).await?;
    if !old.is_live(now) || storage::keys::is_replaced(tx.conn(), &old.id).await? {
        return Err(KeyError::NotFound);
    }
    let expires_at = rotation.expires_at.or(old.expires_at);
    let minted = store(tx, old.workspace, old.user, Some(admin.user()), old.name, expires_at).await?;
    storage::keys::supersede(tx.conn(), old.workspace, &old.id, &minted.key_id, now + rotation.grace, now).await?;
    Ok(minted)
}

async fn lock_own(tx: &mut Tx, person: &Person, key_id: &str) -> Result<ApiKey, KeyError> {
    let found = storage::keys::lock(tx.conn(), person.workspace, key_id).await?;
    let own = found.filter(|key| key.kind == KeyKind::User && key.user == person.user && key.revoked_at.is_none());
    own.ok_or(KeyError::NotFound)
}

async fn revoke(tx: &mut Tx, key: &ApiKey, by: UserId) -> Result<(), StorageError> {
    let now = tx.now();
    if storage::keys::revoke(tx.conn(), key.workspace, &key.id, now).await? {
        let kind = EventKind::KeyRevoked { key_id: key.id.clone(), key_name: key.name.clone(), user_id: Some(key.user) };
        events::record(tx, Event { workspace: key.workspace, agent: key.agent.clone(), actor: Some(by), kind }).await?;
    }
    Ok(())
}

fn check_expiry(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), KeyError> {
    if expires_at.is_some_and(|at| at <= now) { Err(KeyError::ExpiryPast) } else { Ok(()) }
}

/// Whom a key speaks for, if it is good, its account active and an agent approved. A text that cannot
/// be one of our keys costs no query, nor does a key that was verified a moment ago; the time of use
/// is written at most once a minute.
pub async fn verify(
    pool: &PgPool,
    clock: &Clock,
    cache: &AccessCache,
    policy: &Policy,
    key: &Secret,
) -> Result<Option<KeyHolder>, StorageError> {
    if !key.is_plausible_key(&policy.agent_key_prefix) {
        return Ok(None);
    }
    let hash = key.hash();
    #[expect(clippy::disallowed_methods, reason = "a key that is remembered is checked without a transaction")]
    let now = clock.at(Utc::now());
    if let Some((holder, touch)) = cache.get(&hash, now) {
        let live = !touch || storage::keys::touch(&mut *pool.acquire().await?, holder.key_id()).await?;
        return Ok(live.then_some(holder));
    }
    let mut conn = pool.acquire().await?;
    let ticket = cache.ticket();
    let Some(verified) = storage::keys::verify(&mut conn, &hash, clock.offset()).await? else { return Ok(None) };
    if verified.use_is_stale && !storage::keys::touch(&mut conn, verified.holder.key_id()).await? {
        return Ok(None);
    }
    cache.put(ticket, hash, verified.holder.clone(), verified.expires_at);
    Ok(Some(verified.holder))
}

/// As [`verify`], asking the database whatever is remembered, and leaving no trace of use; with the instant at which
/// the key expires, if it does.
pub async fn verify_now(conn: &mut Conn, clock: &Clock, key: &Secret) -> Result<Option<(KeyHolder, Option<DateTime<Utc>>)>, StorageError> {
    let verified = storage::keys::verify(conn, &key.hash(), clock.offset()).await?;
    Ok(verified.map(|verified| (verified.holder, verified.expires_at)))
}
