//! Finds the database: the one that is configured, or a private cluster in the data directory.

use std::{path::PathBuf, str::FromStr as _};

use anyhow::Context as _;
use private_postgres::{Cluster, DATABASE, Options};
use sqlx::postgres::PgConnectOptions;

use crate::config::Config;

/// A database to connect to, and the cluster to keep alive meanwhile if it is our own.
pub struct Database {
    pub options: PgConnectOptions,
    pub cluster: Option<Cluster>,
}

impl Database {
    /// `DATABASE_URL` if set; otherwise the private cluster, started (and made) if it does not run.
    /// Blocks while it starts; `progress` is told what takes long.
    ///
    /// Errors: a sentence that says what is missing and what to do.
    pub fn resolve(config: &Config, progress: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        if let Some(url) = &config.database_url {
            let options = PgConnectOptions::from_str(url).context("DATABASE_URL")?;
            return Ok(Self { options, cluster: None });
        }
        let data_dir = data_dir(config)?;
        let cluster = if let Some(running) = Cluster::attach(&data_dir) {
            running
        } else {
            let cache_dir = private_postgres::default_cache_dir()?;
            let binaries = private_postgres::find_binaries_for(&data_dir, config.postgres_bin.as_deref(), &cache_dir, progress)?;
            progress("starting the private database");
            Cluster::start(&binaries, &data_dir, &Options::default())?
        };
        cluster.ensure_database(DATABASE)?;
        let options = PgConnectOptions::from_str(&cluster.url(DATABASE)).context("the private cluster's address")?;
        Ok(Self { options, cluster: Some(cluster) })
    }

    /// Stops the private cluster, if we started it.
    ///
    /// Errors: it did not end in time and was ended hard.
    pub fn stop(self) -> anyhow::Result<()> {
        self.cluster.map_or(Ok(()), |mut cluster| cluster.stop().context("stopping the private database"))
    }
}

/// Where everything is kept that is not in the database.
pub fn data_dir(config: &Config) -> anyhow::Result<PathBuf> {
    match &config.data_dir {
        Some(folder) => Ok(folder.clone()),
        None => Ok(private_postgres::default_data_dir()?),
    }
}
