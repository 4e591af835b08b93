//! A database of Raven Docs: what it holds, what taking it over would do, and what the migrations left in
//! the schema `raven_original`.
//!
//! The queries are not checked while building, since what they ask is in no database that we make.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgPool, migrate::MigrateError};
use uuid::Uuid;

use super::{Conn, StorageError, db};
use crate::model::{ids::InviteId, secret::Secret};

/// The original's tables for agents.
const TABLES: [&str; 10] = [
    "agent_invites",
    "parallax_agents",
    "parallax_agent_assignments",
    "parallax_agent_activity",
    "parallax_agent_activity_daily",
    "mcp_api_keys",
    "terminal_sessions",
    "terminal_session_logs",
    "coding_workspaces",
    "swarm_executions",
];

/// Held from before the plain texts are read to the commit that forgets them.
const SEALING_LOCK: i64 = 0x7261_7665_6e73_6561;

/// Description of the migration that copies the original's rows.
const ADOPTING: &str = "adopt original rows";

/// How long a rehearsal waits for a lock that a running server holds. Others queue up behind it meanwhile.
const REHEARSAL_LOCK_WAIT: Duration = Duration::from_secs(3);
/// How long one migration may take in a rehearsal, which holds its locks until the end. A million rows of
/// activity took a quarter of it on two cores.
const REHEARSAL_STEP: Duration = Duration::from_mins(1);
/// Changed ids that a rehearsal names; the rest is counted.
const IDS_NAMED_MAX: i64 = 100;

/// Whose database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing of ours and nothing of Raven Docs.
    Empty,
    /// Raven Docs without agents.
    KnowledgeBase,
    /// Raven Docs with its own tables for agents, whose rows are still to be copied.
    Original,
    /// Ours.
    Ours,
}

/// What a database holds.
#[derive(Debug)]
pub struct Contents {
    pub found: Found,
    /// The newest migration that is applied.
    pub version: Option<i64>,
    /// Migrations that are not applied, in order.
    pub pending: Vec<String>,
    /// The original's tables for agents with the number of their rows, where they are still to be copied.
    pub tables: Vec<(&'static str, i64)>,
}

/// What happened to rows of one table, and why.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Outcome {
    pub table_name: String,
    pub outcome: String,
    pub reason: String,
    pub rows: i64,
}

/// Rows of one of the original's tables.
#[derive(Debug)]
pub struct TableRows {
    pub table: &'static str,
    pub found: i64,
    /// Those that get no row of ours: set aside, or merged into another.
    pub left: i64,
}

/// What taking a database over does.
#[derive(Debug)]
pub struct Rehearsal {
    /// How long the rehearsal held its locks.
    pub took: Duration,
    pub tables: Vec<TableRows>,
    /// Rows that are not copied as they were.
    pub outcomes: Vec<Outcome>,
    /// Agents' ids that change: original, new. At most 100.
    pub ids: Vec<(String, String)>,
    pub ids_changed: i64,
    /// Accounts of agents that had another role.
    pub accounts_changed: i64,
    /// Tokens that are hashed, and those of them that are sealed, since they can still admit somebody.
    pub tokens_hashed: i64,
    pub tokens_sealed: i64,
}

/// Looks at a database without changing anything.
pub async fn inspect(pool: &PgPool) -> Result<Contents, MigrateError> {
    let mut conn = db::connect(pool).await?;
    let pending = db::pending(&mut conn).await?;
    let exists = "SELECT to_regclass('raven_original.agent_ids') IS NOT NULL, to_regclass('workspaces') IS NOT NULL,
                         EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('parallax_agents') AND attname = 'request_version')";
    let (set_aside, knowledge_base, ours): (bool, bool, bool) = sqlx::query_as(exists).fetch_one(&mut conn).await?;
    let taken_over = !pending.iter().any(|migration| migration.description == ADOPTING);
    let mut tables = Vec::new();
    if (set_aside || !ours) && !taken_over {
        for table in TABLES {
            let name = if set_aside { format!("raven_original.{table}") } else { table.to_owned() };
            if is_there(&mut conn, &name).await? {
                tables.push((table, count(&mut conn, &name).await?));
            }
        }
    }
    let found = match (tables.is_empty(), ours, knowledge_base) {
        (false, _, _) => Found::Original,
        (true, true, _) => Found::Ours,
        (true, false, true) => Found::KnowledgeBase,
        (true, false, false) => Found::Empty,
    };
    let applied = db::MIGRATOR.iter().filter(|known| !pending.iter().any(|migration| migration.version == known.version));
    let version = applied.map(|migration| migration.version).max();
    let pending = pending.iter().map(|migration| format!("{} {}", migration.version, migration.description)).collect();
    Ok(Contents { found, version, pending, tables })
}

/// Applies every pending migration in one transaction, looks at what became of the original's rows, and undoes
/// all of it. `None` when there was nothing to take over.
///
/// It holds the locks of all migrations until its end: whoever reads the original's tables for agents, or
/// writes to the knowledge base, waits for it. It gives up when it waits for a lock, or works on one
/// migration, for longer than its bounds.
pub async fn rehearse(pool: &PgPool) -> Result<Option<Rehearsal>, MigrateError> {
    let mut conn = db::connect(pool).await?;
    let pending = db::pending(&mut conn).await?;
    let adopts = pending.iter().any(|migration| migration.description == ADOPTING);
    let mut tx = conn.begin().await?;
    let bounds = format!(
        "SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}",
        REHEARSAL_LOCK_WAIT.as_millis(),
        REHEARSAL_STEP.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(bounds)).execute(&mut *tx).await?;
    let started = Instant::now();
    for migration in pending {
        let step = sqlx::raw_sql(migration.sql.clone()).execute(&mut *tx).await;
        step.map_err(|error| MigrateError::ExecuteMigration(error, migration.version))?;
    }
    let found = adopts && is_there(&mut tx, "raven_original.agent_ids").await?;
    let rehearsal = if found { Some(outcome(&mut tx).await?) } else { None };
    tx.rollback().await?;
    conn.close().await?;
    Ok(rehearsal.map(|rehearsal| Rehearsal { took: started.elapsed(), ..rehearsal }))
}

/// What became of the original's rows.
async fn outcome(conn: &mut Conn) -> Result<Rehearsal, sqlx::Error> {
    let outcomes: Vec<Outcome> =
        sqlx::query_as("SELECT table_name, outcome, reason, count(*) AS rows FROM raven_original.notes GROUP BY 1, 2, 3 ORDER BY 1, 2, 3")
            .fetch_all(&mut *conn)
            .await?;
    let mut tables = Vec::new();
    for table in TABLES {
        let left = outcomes.iter().filter(|note| note.table_name == table && ["set_aside", "merged"].contains(&note.outcome.as_str()));
        let left = left.map(|note| note.rows).sum();
        tables.push(TableRows { table, found: count(conn, &format!("raven_original.{table}")).await?, left });
    }
    let changed =
        "FROM raven_original.agent_ids i JOIN raven_original.parallax_agents a ON a.workspace_id = i.workspace_id AND a.id = i.original_id
                   WHERE i.agent_id <> i.original_id";
    let named = format!("SELECT i.original_id, i.agent_id {changed} ORDER BY 1 LIMIT {IDS_NAMED_MAX}");
    let ids: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(named)).fetch_all(&mut *conn).await?;
    let ids_changed = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) {changed}"))).fetch_one(&mut *conn).await?;
    let accounts_changed = sqlx::query_scalar(
        "SELECT count(*) FROM raven_original.agent_accounts o JOIN users u ON u.id = o.user_id WHERE u.role IS DISTINCT FROM o.role",
    )
    .fetch_one(&mut *conn)
    .await?;
    let tokens_hashed = count(conn, "agent_invites").await?;
    let tokens_sealed = count_tokens(conn).await?;
    Ok(Rehearsal { took: Duration::ZERO, tables, outcomes, ids, ids_changed, accounts_changed, tokens_hashed, tokens_sealed })
}

async fn is_there(conn: &mut Conn, table: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(table).fetch_one(conn).await
}

/// The number of rows of a table whose name is one of ours.
async fn count(conn: &mut Conn, table: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}"))).fetch_one(conn).await
}

async fn count_tokens(conn: &mut Conn) -> Result<i64, sqlx::Error> {
    if is_there(&mut *conn, "raven_original.agent_invites").await? {
        sqlx::query_scalar("SELECT count(*) FROM raven_original.agent_invites WHERE token IS NOT NULL").fetch_one(conn).await
    } else {
        Ok(0)
    }
}

/// Invite tokens that are still in plain text.
pub async fn count_plain_tokens(conn: &mut Conn) -> Result<i64, StorageError> {
    Ok(count_tokens(conn).await?)
}

/// Makes everyone who is about to seal what was kept in plain text wait for each other. It is had before any table is read:
/// two who had read one would each wait for the other when they come to write it anew.
pub async fn lock_sealing(conn: &mut Conn) -> Result<(), StorageError> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", SEALING_LOCK).execute(conn).await?;
    Ok(())
}

/// Plain tokens in the order of their invites, from behind `after`.
pub async fn plain_tokens(conn: &mut Conn, after: Option<InviteId>, limit: i64) -> Result<Vec<(InviteId, Secret)>, StorageError> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, token FROM raven_original.agent_invites WHERE token IS NOT NULL AND ($1 IS NULL OR id > $1) ORDER BY id LIMIT $2",
    )
    .bind(after.map(|id| id.0))
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(id, token)| (InviteId(id), Secret::presented(&token))).collect())
}

/// Stores a sealed token with its invite, if that can still admit somebody. Returns how many rows that were.
pub async fn set_sealed_token(
    conn: &mut Conn,
    id: InviteId,
    token_hash: &str,
    sealed: &[u8],
    now: DateTime<Utc>,
) -> Result<u64, StorageError> {
    let updated = sqlx::query!(
        "UPDATE agent_invites SET token_enc = $3
         WHERE id = $1 AND token_hash = $2 AND revoked_at IS NULL AND deleted_at IS NULL
           AND (expires_at IS NULL OR $4 < expires_at) AND (uses_remaining IS NULL OR uses_remaining > 0)",
        id.0,
        token_hash,
        sealed,
        now
    )
    .execute(conn)
    .await?;
    Ok(updated.rows_affected())
}

/// Forgets the plain text of every token. The table is written anew, so that no page keeps what an update leaves behind.
pub async fn forget_plain_tokens(conn: &mut Conn) -> Result<(), StorageError> {
    sqlx::query("ALTER TABLE raven_original.agent_invites ALTER COLUMN token TYPE varchar USING NULL").execute(conn).await?;
    Ok(())
}
