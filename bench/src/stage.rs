//! Everything that a scenario runs on: a database of its own, the service, and the peer beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use private_postgres::{Cluster, Options, default_cache_dir, find_binaries};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::Command;

use crate::{machine, program::Program};

/// Both servers sign and check tokens with it.
const APP_SECRET: &str = "the application secret of the bench, long enough";

/// By which runtimes are known to the service.
pub(crate) const WEBHOOK_SECRET: &str = "the webhook secret of the bench";

/// How many folders and databases this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A folder for temporary files, removed with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// In the system's folder: the user that Postgres runs as under root must get there.
    pub(crate) fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("raven-bench-{}", unique()));
        fs::create_dir_all(&path).with_context(|| format!("{} could not be created: check TMPDIR", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("bench: {} is left over ({error}): delete it", self.0.display());
        }
    }
}

/// Something that no other name here or in another process ends with.
fn unique() -> String {
    format!("{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// An empty database on a server of our own, or on the one that `DATABASE_URL` names.
struct Database {
    name: String,
    url: String,
    version: String,
    /// Whether a commit waits for the disk: what the server's setting `fsync` says.
    fsync: String,
    /// The address that the database was made from, to remove it there; nothing to remove on our own server.
    foreign: Option<String>,
    cluster: Option<Cluster>,
}

impl Database {
    async fn create(folder: &Path) -> Result<Self> {
        let name = format!("raven_bench_{}", unique());
        let given = std::env::var_os("DATABASE_URL").and_then(|url| url.into_string().ok()).filter(|url| !url.is_empty());
        let (maintenance, url, cluster) = if let Some(given) = &given {
            (given.clone(), with_database(given, &name).context("DATABASE_URL must look like postgres://user@host:5432/name")?, None)
        } else {
            let folder = folder.to_owned();
            let cluster = tokio::task::spawn_blocking(move || start_cluster(&folder)).await??;
            (cluster.url("postgres"), cluster.url(&name), Some(cluster))
        };
        let mut connection = PgConnection::connect(&maintenance).await.context("the database server cannot be reached")?;
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.context("no database could be made")?;
        let setting = "SELECT current_setting('server_version'), current_setting('fsync')";
        let (version, fsync) = sqlx::query_as(setting).fetch_one(&mut connection).await?;
        Ok(Self { name, url, version, fsync, foreign: given, cluster })
    }

    async fn end(mut self) -> Result<()> {
        if let Some(foreign) = self.foreign.take() {
            let mut connection = PgConnection::connect(&foreign).await?;
            let remove = AssertSqlSafe(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
            sqlx::raw_sql(remove).execute(&mut connection).await.with_context(|| format!("the database {} is left over", self.name))?;
        }
        if let Some(mut cluster) = self.cluster.take() {
            tokio::task::spawn_blocking(move || cluster.stop()).await??;
        }
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.foreign.is_some() {
            eprintln!("bench: the database {} is left over: drop it", self.name);
        }
    }
}

/// A cluster as the product makes its own: what is committed is on disk.
fn start_cluster(folder: &Path) -> Result<Cluster> {
    let chosen = std::env::var_os("RAVEN_PG_BIN").filter(|path| !path.is_empty()).map(PathBuf::from);
    let binaries = find_binaries(chosen.as_deref(), &default_cache_dir()?, &mut |step| eprintln!("    {step}"))?;
    Ok(Cluster::start(&binaries, folder, &Options::default())?)
}

/// The address of another database on the same server.
fn with_database(url: &str, name: &str) -> Option<String> {
    let (base, parameters) = url.split_once('?').map_or((url, String::new()), |(base, parameters)| (base, format!("?{parameters}")));
    let (scheme, rest) = base.split_once("://")?;
    let server = rest.split('/').next()?;
    Some(format!("{scheme}://{server}/{name}{parameters}"))
}

/// What was written to a database server since it began: transactions, and bytes of its log.
#[derive(Clone, Copy)]
pub(crate) struct Writes {
    pub(crate) transactions: i64,
    pub(crate) log_bytes: i64,
}

/// See the module. Fields are dropped in this order: the servers, then the database, then the folder.
pub(crate) struct Stage {
    pub(crate) service: Program,
    pub(crate) peer: Option<Program>,
    database: Database,
    folder: Folder,
}

impl Stage {
    /// The service alone.
    pub(crate) async fn alone(service: &Path) -> Result<Self> {
        Self::with_settings(service, &[]).await
    }

    /// The service and the peer of the terminal scenarios, both on the runtime at `endpoint`.
    pub(crate) async fn with_terminals(service: &Path, endpoint: &str, token: Option<&str>) -> Result<Self> {
        let mut settings = vec![("AGENT_RUNTIME_ENDPOINT", endpoint), ("PARALLAX_WEBHOOK_SECRET", WEBHOOK_SECRET)];
        settings.extend(token.map(|token| ("AGENT_RUNTIME_TOKEN", token)));
        let mut stage = Self::with_settings(service, &settings).await?;
        let mut settings = vec![("APP_SECRET", APP_SECRET), ("NODE_ENV", "production"), ("UPSTREAM", endpoint)];
        settings.extend(token.map(|token| ("UPSTREAM_TOKEN", token)));
        stage.peer = Some(stage.start_peer("terminals.js", &settings).await?);
        Ok(stage)
    }

    async fn with_settings(service: &Path, more: &[(&str, &str)]) -> Result<Self> {
        let folder = Folder::create()?;
        let database = Database::create(&folder.0).await?;
        let mut settings = vec![
            ("HOST", "127.0.0.1"),
            ("DATABASE_URL", database.url.as_str()),
            ("APP_SECRET", APP_SECRET),
            // Limits would be what is measured.
            ("RATE_LIMITS", "off"),
            ("PARALLAX_MAX_AGENTS_PER_WORKSPACE", "1000"),
            ("LOG_LEVEL", "warn"),
        ];
        settings.extend(more);
        let mut command = Command::new(service);
        command.arg("serve");
        let service = Program::start("raven-agents", command, &settings, "/api/health/live", &folder.0).await?;
        Ok(Self { service, peer: None, database, folder })
    }

    /// The service, and the peer on the same database.
    pub(crate) async fn with_peer(service: &Path) -> Result<Self> {
        let mut stage = Self::alone(service).await?;
        let settings = [("DATABASE_URL", stage.database.url.as_str()), ("APP_SECRET", APP_SECRET), ("NODE_ENV", "production")];
        stage.peer = Some(stage.start_peer("server.js", &settings).await?);
        Ok(stage)
    }

    /// The service, and the MCP server of Node.js on the same database.
    pub(crate) async fn with_mcp_peer(service: &Path) -> Result<Self> {
        let mut stage = Self::alone(service).await?;
        let settings = [("DATABASE_URL", stage.database.url.as_str()), ("NODE_ENV", "production")];
        stage.peer = Some(stage.start_peer("mcp.js", &settings).await?);
        Ok(stage)
    }

    async fn start_peer(&self, script: &str, settings: &[(&str, &str)]) -> Result<Program> {
        let mut command = Command::new("node");
        command.arg(machine::root().join("bench/peer").join(script));
        let peer = Program::start("node-peer", command, settings, "/health", &self.folder.0).await;
        peer.context("run `npm ci` in bench/peer, or `cargo xtask bench`, which does that")
    }

    /// The process id of Postgres, if it is ours.
    pub(crate) fn database_pid(&self) -> Option<u32> {
        self.database.cluster.as_ref().and_then(Cluster::pid)
    }

    /// What was done in the database so far.
    pub(crate) async fn writes(&self) -> Result<Writes> {
        // Only transactions that write have a number.
        let query = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let mut connection = PgConnection::connect(&self.database.url).await?;
        let (transactions, log_bytes) = sqlx::query_as(query).fetch_one(&mut connection).await?;
        Ok(Writes { transactions, log_bytes })
    }

    /// How often the row of a key was written since the database was made.
    pub(crate) async fn key_writes(&self) -> Result<i64> {
        let query = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'mcp_api_keys'";
        let mut connection = PgConnection::connect(&self.database.url).await?;
        Ok(sqlx::query_scalar(query).fetch_one(&mut connection).await?)
    }

    /// How far a session is recorded, and how much of its output is missing, in bytes. `None` when it is not recorded.
    pub(crate) async fn recorded(&self, session: &str) -> Result<Option<(i64, i64)>> {
        let query = "SELECT end_offset, lost_bytes FROM terminal_recordings WHERE session_id::text = $1";
        let mut connection = PgConnection::connect(&self.database.url).await?;
        Ok(sqlx::query_as(query).bind(session).fetch_optional(&mut connection).await?)
    }

    /// What the database is, in words.
    pub(crate) fn database_facts(&self) -> String {
        format!("Postgres {}, fsync {}", self.database.version, self.database.fsync)
    }

    /// Ends everything.
    pub(crate) async fn end(self) -> Result<()> {
        if let Some(peer) = self.peer {
            peer.end().await?;
        }
        self.service.end().await?;
        self.database.end().await
    }
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn another_database_on_the_same_server_keeps_everything_else() {
        let changed = |url| with_database(url, "new").unwrap();
        assert_eq!(changed("postgres://u:p@host:5432/old?sslmode=disable"), "postgres://u:p@host:5432/new?sslmode=disable");
        assert_eq!(changed("postgres://u@localhost/old?host=/run/x"), "postgres://u@localhost/new?host=/run/x");
        assert_eq!(with_database("host", "new"), None);
    }
}
