//! Private clusters: a temporary one for tests and generators, and the developer's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use private_postgres::{Cluster, DATABASE, Options, default_cache_dir, default_data_dir, find_binaries, find_binaries_for};

use crate::{interrupt, run};

/// Connections for tests that run side by side, each with pools of its own.
const TEST_CONNECTIONS: u16 = 300;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Create a migration with its header.
    New {
        /// What it does, for example `add_agent_labels`.
        name: String,
    },
    /// Empty the development database, for good.
    Reset {
        /// Yes, delete everything in it.
        #[arg(long)]
        yes: bool,
    },
    /// Print the address of the running development database.
    Url,
    /// Run the development database until Ctrl-C.
    Start,
}

pub(crate) fn run(task: Task) -> Result<()> {
    match task {
        Task::New { name } => new_migration(&name),
        Task::Reset { yes } => reset(yes),
        Task::Url => url(),
        Task::Start => start(),
    }
}

/// A cluster in a folder of its own that loses everything when stopped or dropped.
pub(crate) struct Temporary {
    cluster: Option<Cluster>,
    database: String,
    folder: PathBuf,
}

impl Temporary {
    /// Starts one with an empty database.
    ///
    /// The system's folder for temporary files, not the target folder: the user that Postgres runs
    /// as under root must get there, and a socket's path is short.
    pub(crate) fn start(database: &str) -> Result<Self> {
        let name = "temporary Postgres";
        let began = run::begin(name);
        let folder = std::env::temp_dir().join(format!("raven-xtask-{}", std::process::id()));
        let mut temporary = Self { cluster: None, database: database.to_owned(), folder };
        let binaries = find_binaries(pg_bin().as_deref(), &default_cache_dir()?, &mut say)?;
        let options = Options { durable: false, max_connections: TEST_CONNECTIONS };
        let cluster = temporary.cluster.insert(Cluster::start(&binaries, &temporary.folder, &options)?);
        cluster.ensure_database(database)?;
        run::end(&format!("{name} {}", binaries.major()), began);
        Ok(temporary)
    }

    pub(crate) fn url(&self) -> String {
        self.cluster.as_ref().map(|cluster| cluster.url(&self.database)).unwrap_or_default()
    }

    /// Applies every migration in order, without the service: its queries cannot compile before.
    pub(crate) fn migrate(&self) -> Result<()> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        for path in migrations()? {
            let name = path.strip_prefix(run::root()).unwrap_or(&path).display().to_string();
            let sql = fs::read_to_string(&path).with_context(|| format!("{name} could not be read"))?;
            cluster.execute(&self.database, &sql).with_context(|| format!("{name} does not apply: correct it"))?;
        }
        Ok(())
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        Ok(self.cluster.as_mut().map_or(Ok(()), Cluster::stop)?)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.cluster = None;
        if let Err(error) = fs::remove_dir_all(&self.folder)
            && self.folder.exists()
        {
            eprintln!("xtask: {} is left over ({error}): delete it", self.folder.display());
        }
    }
}

/// The migrations, oldest first.
fn migrations() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder()).context("the folder migrations is missing: restore it from git")?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    Ok(paths)
}

fn folder() -> PathBuf {
    run::root().join("migrations")
}

fn new_migration(name: &str) -> Result<()> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        bail!("{name:?} is no name for a migration: use small letters, digits and _, for example add_agent_labels");
    }
    let newest = migrations()?.last().and_then(|path| version_of(path)).unwrap_or(0);
    // Clocks differ between developers; the order of migrations must not.
    let version = timestamp()?.max(newest + 1);
    let path = folder().join(format!("{version}_{name}.sql"));
    let header = "-- Why this is needed, in a sentence.\n-- Locks: which it takes, on which tables, and for how long.\n\n";
    fs::write(&path, header).context("the migration could not be written")?;
    println!("{}", path.strip_prefix(run::root()).unwrap_or(&path).display());
    Ok(())
}

fn version_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.split('_').next()?.parse().ok()
}

/// Now as `YYYYMMDDhhmmss` in UTC.
fn timestamp() -> Result<u64> {
    let printed = run::output(Command::new("date").args(["-u", "+%Y%m%d%H%M%S"]));
    printed.and_then(|text| text.trim().parse().ok()).context("the program `date` is missing: install it")
}

fn reset(yes: bool) -> Result<()> {
    let folder = data_dir()?;
    if !yes {
        bail!("this deletes everything in the development database in {}: add --yes if that is what you want", folder.display());
    }
    let mut cluster = development(&folder)?;
    cluster.drop_database(DATABASE)?;
    cluster.ensure_database(DATABASE)?;
    cluster.stop()?;
    eprintln!("the database {DATABASE} is empty; `cargo xtask up` applies the migrations");
    Ok(())
}

fn url() -> Result<()> {
    let folder = data_dir()?;
    let cluster = Cluster::attach(&folder).with_context(|| {
        format!("no development database runs in {}: start it with `cargo xtask db start` or `cargo xtask up`", folder.display())
    })?;
    println!("{}", cluster.url(DATABASE));
    Ok(())
}

fn start() -> Result<()> {
    let mut cluster = development(&data_dir()?)?;
    cluster.ensure_database(DATABASE)?;
    println!("{}", cluster.url(DATABASE));
    if cluster.is_attached() {
        eprintln!("it was running before, so it is not stopped from here");
        return Ok(());
    }
    eprintln!("Ctrl-C stops it");
    interrupt::wait();
    Ok(cluster.stop()?)
}

fn development(folder: &Path) -> Result<Cluster> {
    if let Some(cluster) = Cluster::attach(folder) {
        return Ok(cluster);
    }
    let binaries = find_binaries_for(folder, pg_bin().as_deref(), &default_cache_dir()?, &mut say)?;
    Ok(Cluster::start(&binaries, folder, &Options::default())?)
}

/// The folder that the service keeps its own cluster in, too.
fn data_dir() -> Result<PathBuf> {
    match setting("RAVEN_DATA_DIR") {
        Some(folder) => Ok(run::root().join(folder)),
        None => Ok(default_data_dir()?),
    }
}

fn pg_bin() -> Option<PathBuf> {
    setting("RAVEN_PG_BIN").map(|folder| run::root().join(folder))
}

/// A setting of the service: from the environment, else from `.env` as the service reads it.
fn setting(name: &str) -> Option<String> {
    let given = std::env::var_os(name).and_then(|value| value.into_string().ok()).or_else(|| {
        let text = fs::read_to_string(run::root().join(".env")).ok()?;
        text.lines().find_map(|line| {
            let (key, value) = line.trim().trim_start_matches("export ").split_once('=')?;
            (key.trim() == name).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
        })
    });
    given.filter(|value| !value.is_empty())
}

fn say(step: &str) {
    eprintln!("    {step}");
}
