//! The outbox: every event in the order of its commit.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgListener};
use uuid::Uuid;

use super::{Conn, StorageError};
use crate::model::{
    event::Entry,
    ids::{AgentId, EventId, UserId, WorkspaceId},
};

/// Held from the first insert to the commit, so that `seq` grows in commit order.
const APPEND_LOCK: i64 = 0x7261_7665_6e6f_7574;

/// Channel of `NOTIFY`; it carries no data, readers look for themselves.
const CHANNEL: &str = "raven_outbox";

/// An event as a reader finds it.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub seq: i64,
    pub entry: Entry,
}

/// Wakes a reader when something was committed.
pub struct Tail(PgListener);

impl Tail {
    /// Listens from now on. Whatever was committed before has to be looked for.
    pub async fn listen(pool: &PgPool) -> Result<Self, StorageError> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Waits until something was committed; a lost connection is an error, since wake-ups may be lost with it.
    pub async fn changed(&mut self) -> Result<(), StorageError> {
        match self.0.try_recv().await? {
            Some(_) => Ok(()),
            None => Err(sqlx::Error::PoolClosed.into()),
        }
    }
}

struct Row {
    seq: i64,
    event_id: Uuid,
    workspace_id: Uuid,
    agent_id: Option<String>,
    actor_id: Option<Uuid>,
    payload: Value,
    created_at: DateTime<Utc>,
}

impl Row {
    fn read(self) -> Result<Delivered, i64> {
        let kind = serde_json::from_value(self.payload).map_err(|_| self.seq)?;
        let agent = self.agent_id.map(|id| id.parse()).transpose().map_err(|_| self.seq)?;
        let entry = Entry {
            id: EventId(self.event_id),
            workspace: WorkspaceId(self.workspace_id),
            agent,
            actor: self.actor_id.map(UserId),
            kind,
            at: self.created_at,
        };
        Ok(Delivered { seq: self.seq, entry })
    }
}

/// Writes `entries` and wakes the readers once this transaction commits.
pub(super) async fn append(conn: &mut Conn, entries: &[Entry]) -> Result<(), StorageError> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", APPEND_LOCK).execute(&mut *conn).await?;
    // One statement however many there are: everybody who commits waits for the lock, and nobody is left
    // in a workspace that was deleted meanwhile.
    let ids: Vec<Uuid> = entries.iter().map(|entry| entry.id.0).collect();
    let workspaces: Vec<Uuid> = entries.iter().map(|entry| entry.workspace.0).collect();
    let agents: Vec<Option<&str>> = entries.iter().map(|entry| entry.agent.as_ref().map(AgentId::as_str)).collect();
    let names: Vec<&str> = entries.iter().map(|entry| entry.kind.name()).collect();
    let payloads: Vec<Value> = entries.iter().map(|entry| serde_json::to_value(&entry.kind).unwrap_or(Value::Null)).collect();
    let times: Vec<DateTime<Utc>> = entries.iter().map(|entry| entry.at).collect();
    let actors: Vec<Option<Uuid>> = entries.iter().map(|entry| entry.actor.map(|user| user.0)).collect();
    sqlx::query!(
        "INSERT INTO outbox (event_id, workspace_id, agent_id, name, payload, created_at, actor_id)
         SELECT n.event_id, n.workspace_id, n.agent_id, n.name, n.payload, n.created_at, n.actor_id
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::jsonb[], $6::timestamptz[], $7::uuid[]) WITH ORDINALITY
              AS n (event_id, workspace_id, agent_id, name, payload, created_at, actor_id, place)
         JOIN workspaces w ON w.id = n.workspace_id
         ORDER BY n.place",
        &ids,
        &workspaces,
        &agents as &[Option<&str>],
        &names as &[&str],
        &payloads,
        &times,
        &actors as &[Option<Uuid>]
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("SELECT pg_notify($1, '')", CHANNEL).execute(&mut *conn).await?;
    Ok(())
}

/// The newest position; a reader that starts here sees what is committed from now on.
pub async fn last_seq(conn: &mut Conn) -> Result<i64, StorageError> {
    Ok(sqlx::query_scalar!(r#"SELECT coalesce(max(seq), 0) AS "seq!" FROM outbox"#).fetch_one(conn).await?)
}

/// Up to `limit` events after `seq`, in order. Of one that this version cannot read there is only the position.
pub async fn after(conn: &mut Conn, seq: i64, limit: i64) -> Result<Vec<Result<Delivered, i64>>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT seq, event_id, workspace_id, agent_id, actor_id, payload, created_at FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2",
        seq,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Row::read).collect())
}

/// As [`after`], of one workspace.
pub async fn after_in(conn: &mut Conn, workspace: WorkspaceId, seq: i64, limit: i64) -> Result<Vec<Result<Delivered, i64>>, StorageError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT seq, event_id, workspace_id, agent_id, actor_id, payload, created_at FROM outbox
         WHERE workspace_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        workspace.0,
        seq,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Row::read).collect())
}

/// Whether everything after a position is here still: the position itself is, or what comes right after it. Positions
/// that nobody has reached yet are not.
pub async fn reaches_back_to(conn: &mut Conn, seq: i64) -> Result<bool, StorageError> {
    let reaches = sqlx::query_scalar!(
        r#"SELECT coalesce(min(seq) - 1 <= $1::bigint AND max(seq) >= $1::bigint, $1::bigint = 0) AS "reaches!" FROM outbox"#,
        seq
    );
    Ok(reaches.fetch_one(conn).await?)
}

/// Whether an agent has had an event of this name since a time.
pub async fn heard_since(
    conn: &mut Conn,
    workspace: WorkspaceId,
    agent: &AgentId,
    name: &str,
    since: DateTime<Utc>,
) -> Result<bool, StorageError> {
    let heard = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM outbox WHERE workspace_id = $1 AND agent_id = $2 AND name = $3 AND created_at > $4) AS "heard!""#,
        workspace.0,
        agent.as_str(),
        name,
        since
    );
    Ok(heard.fetch_one(conn).await?)
}

/// Deletes events older than `age`; returns how many. The newest stays: it has the position that readers go on from.
pub async fn prune(conn: &mut Conn, age: TimeDelta) -> Result<u64, StorageError> {
    let seconds = i32::try_from(age.num_seconds()).unwrap_or(i32::MAX);
    let deleted = sqlx::query!(
        "DELETE FROM outbox WHERE created_at < now() - make_interval(secs => $1::int) AND seq < (SELECT max(seq) FROM outbox)",
        seconds
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
