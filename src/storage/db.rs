//! The pool, the transaction and the errors of storage.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{
    ConnectOptions as _, Connection as _, PgPool, Postgres, Transaction,
    migrate::{Migrate as _, MigrateError, Migration, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{keys, outbox, tool_approvals};
use crate::model::{clock::Clock, event::Entry, ids::ApprovalId};

/// A connection, with or without a transaction around it.
pub type Conn = sqlx::PgConnection;

/// The schema, forward only.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// How long a request waits for a free connection before it is told that the database is busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Classes of errors with which a database or a pooler before it says that it is away for now:
/// connection exception, insufficient resources, operator intervention, system error.
const AWAY_CLASSES: [&str; 4] = ["08", "53", "57", "58"];
/// The error of a change in a transaction that may only read: the database stands by, or has just been replaced by another.
const READ_ONLY: &str = "25006";

/// Why storage could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the database cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    #[error("a query failed")]
    Query(#[source] sqlx::Error),
    /// The key behind the transaction was withdrawn before its commit.
    #[error("the key is no longer good")]
    KeyWithdrawn,
    /// The approval behind the transaction was used up, withdrawn or too old at its commit.
    #[error("the approval was used already, or has ended")]
    ApprovalEnded,
    /// A row holds what our own constraints forbid.
    #[error("{table}.{column} of row {id} cannot be read")]
    Corrupt { table: &'static str, column: &'static str, id: String },
}

impl StorageError {
    /// The name of the constraint that refused the change, if one did.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Query(sqlx::Error::Database(error)) => error.constraint(),
            Self::Query(_) | Self::Unavailable(_) | Self::KeyWithdrawn | Self::ApprovalEnded | Self::Corrupt { .. } => None,
        }
    }
}

impl StorageError {
    /// Whether the same may succeed later: the database was away, or two transactions met.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            // Serialization failure and deadlock (PostgreSQL, appendix A).
            Self::Query(sqlx::Error::Database(error)) => error.code().is_some_and(|code| code == "40001" || code == "40P01"),
            Self::Query(_) | Self::KeyWithdrawn | Self::ApprovalEnded | Self::Corrupt { .. } => false,
        }
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        let refused = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let unavailable = refused.is_some_and(|code| AWAY_CLASSES.iter().any(|class| code.starts_with(class)) || code == READ_ONLY)
            || matches!(
                error,
                sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed
            );
        if unavailable { Self::Unavailable(error) } else { Self::Query(error) }
    }
}

/// Opens a pool; connections are made when first needed.
#[must_use]
pub fn pool(options: PgConnectOptions, connections_max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A connection that broke shows in its next query and is replaced then; asking every time costs a round trip.
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Brings the schema up to date. Several processes may try at once: one works, the others wait.
/// The connection is made here, since a pool only tells that it got none in time, not why.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    MIGRATOR.run(&mut connect(pool).await?).await
}

/// A connection of its own beside the pool's. A migration may take long and is long, so it is not logged as slow.
pub(super) async fn connect(pool: &PgPool) -> Result<Conn, MigrateError> {
    let options = (*pool.connect_options()).clone().disable_statement_logging();
    Ok(connect_with(&options).await?)
}

async fn connect_with(options: &PgConnectOptions) -> Result<Conn, sqlx::Error> {
    tokio::time::timeout(ACQUIRE_TIMEOUT, Conn::connect_with(options)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Whether a new connection can be had.
pub async fn answers(options: &PgConnectOptions) -> bool {
    connect_with(options).await.is_ok()
}

/// The migrations that are not applied yet, in order. Changes nothing, also in a database that has none.
pub async fn pending_migrations(pool: &PgPool) -> Result<Vec<&'static Migration>, MigrateError> {
    pending(&mut connect(pool).await?).await
}

pub(super) async fn pending(conn: &mut Conn) -> Result<Vec<&'static Migration>, MigrateError> {
    let table = MIGRATOR.table_name.clone();
    let begun: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(table.as_ref()).fetch_one(&mut *conn).await?;
    let applied = if begun { conn.list_applied_migrations(&table).await? } else { Vec::new() };
    Ok(MIGRATOR.iter().filter(|known| !applied.iter().any(|migration| migration.version == known.version)).collect())
}

/// Whether the database answers.
pub async fn ping(pool: &PgPool) -> Result<(), StorageError> {
    let mut conn = pool.acquire().await?;
    Ok(conn.ping().await?)
}

/// One use case: what is done through it happens as a whole or not at all.
///
/// Dropping it without [`Tx::commit`] undoes everything, events included.
#[must_use = "a transaction that is not committed is undone"]
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    now: DateTime<Utc>,
    events: Vec<Entry>,
    proviso: Option<Proviso>,
}

/// What has to hold for what somebody did with a key, to the moment at which it counts.
pub struct Proviso {
    pub key_id: String,
    /// The approval that is used up by it.
    pub approval: Option<ApprovalId>,
}

impl Tx {
    pub async fn begin(pool: &PgPool, clock: &Clock) -> Result<Self, StorageError> {
        let mut inner = pool.begin().await?;
        let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(&mut *inner).await?;
        Ok(Self { inner, now: clock.at(now), events: Vec::new(), proviso: None })
    }

    /// The time of this transaction, from the database's clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    pub fn conn(&mut self) -> &mut Conn {
        &mut self.inner
    }

    /// Keeps an outbox entry for the commit. Entries are written last, under the outbox's lock, so
    /// that no transaction waits for another row while it holds that lock.
    pub fn enqueue(&mut self, entry: Entry) {
        self.events.push(entry);
    }

    /// Has the commit depend on a key, and on an approval if one is named.
    pub fn provided(&mut self, proviso: Proviso) {
        self.proviso = Some(proviso);
    }

    /// Errors: `KeyWithdrawn` and `ApprovalEnded` where there is a [`Proviso`], and what storage says. Nothing was done then.
    pub async fn commit(mut self) -> Result<(), StorageError> {
        let now = self.now;
        // Last of all rows, as where an agent's access ends, and before the lock under which nobody waits for one.
        if let Some(approval) = self.proviso.as_ref().and_then(|proviso| proviso.approval)
            && !tool_approvals::consume(&mut self.inner, approval, now).await?
        {
            return Err(StorageError::ApprovalEnded);
        }
        if !self.events.is_empty() {
            outbox::append(&mut self.inner, &self.events).await?;
            // Whoever withdraws a key tells of it, so has committed by now and is seen, or commits after this.
            if let Some(proviso) = &self.proviso
                && !keys::is_good(&mut self.inner, &proviso.key_id, now).await?
            {
                return Err(StorageError::KeyWithdrawn);
            }
        }
        Ok(self.inner.commit().await?)
    }
}
