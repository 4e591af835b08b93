//! Everything that can go wrong, each as one sentence that says what to do.

use std::io;
use std::path::PathBuf;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "no Postgres {min} or newer was found and npm, which could fetch one, is not installed: install postgresql or Node.js, set RAVEN_PG_BIN to a folder with initdb and postgres, or set DATABASE_URL"
    )]
    NoPostgres { min: u32 },

    #[error(
        "no Postgres {min} or newer was found and there is none to fetch for {platform}: install postgresql, set RAVEN_PG_BIN to a folder with initdb and postgres, or set DATABASE_URL"
    )]
    NoPackage { platform: String, min: u32 },

    #[error("{} is no use as a Postgres folder ({reason}): point RAVEN_PG_BIN at a folder with initdb and postgres of version {min} or newer, or unset it", .folder.display())]
    UnusableBinaries { folder: PathBuf, reason: String, min: u32 },

    #[error("npm could not fetch {package} ({reason}): check the network and npm's registry setting, or install postgresql")]
    Fetch { package: String, reason: String },

    #[error(
        "the package {package} is not the one this version of the program trusts (its SHA-512 differs): check npm's registry setting, or install postgresql"
    )]
    Checksum { package: String },

    #[error("the package {package} could not be unpacked ({reason}): delete {} and try again, or install postgresql", .folder.display())]
    Unpack { package: String, folder: PathBuf, reason: String },

    #[error("the home folder of this user is unknown: set HOME, or RAVEN_DATA_DIR to the folder to keep data in")]
    NoHome,

    #[error(
        "Postgres refuses to run as root and this machine has neither a user postgres nor nobody to run it as: create the user postgres, or run this program as an ordinary user"
    )]
    NoUnprivilegedUser,

    #[error("user id {uid}, which has to run Postgres since root may not, cannot enter {}: choose a folder that every user may enter, such as one in /var/lib (RAVEN_DATA_DIR), or make its parents enterable (chmod o+x)", .folder.display())]
    FolderOutOfReach { folder: PathBuf, uid: u32 },

    #[error("user id {uid}, which has to run Postgres since root may not, cannot run {}: use binaries that every user may run (RAVEN_PG_BIN), or make its parents enterable (chmod o+x)", .program.display())]
    BinariesOutOfReach { program: PathBuf, uid: u32 },

    #[error("the Unix socket {} would need {length} bytes and the system allows {max}: choose a data folder with a shorter path (RAVEN_DATA_DIR)", .socket.display())]
    SocketPathTooLong { socket: PathBuf, length: usize, max: usize },

    #[error("the data in {} was written by Postgres {found} and these binaries are version {have}: set RAVEN_PG_BIN to the bin folder of Postgres {found}, or dump the data with Postgres {found} and load it into a new data folder (nothing was changed)", .folder.display())]
    VersionMismatch { folder: PathBuf, found: String, have: u32 },

    #[error("the folder {} holds files but no Postgres cluster: move them away, or choose another data folder (RAVEN_DATA_DIR)", .folder.display())]
    NotACluster { folder: PathBuf },

    #[error("initdb could not create the cluster ({reason}): see {}", .log.display())]
    Initdb { reason: String, log: PathBuf },

    #[error("Postgres stopped while starting ({reason}): see {}", .log.display())]
    Start { reason: String, log: PathBuf },

    #[error("Postgres was not ready after {seconds} s: see {}", .log.display())]
    NotReady { seconds: u64, log: PathBuf },

    #[error("another Postgres on this folder has been stopping for {seconds} s (process {pid}): end that process, then try again")]
    StillStopping { seconds: u64, pid: u32 },

    #[error("Postgres did not stop within {seconds} s and was ended hard: nothing is lost, the next start recovers")]
    StoppedHard { seconds: u64 },

    #[error("Postgres does not answer on {} ({reason}): is the cluster still running?", .socket.display())]
    Connection { socket: PathBuf, reason: String },

    #[error("the database refused a statement: {message} (SQLSTATE {code})")]
    Sql { code: String, message: String },

    #[error("{doing} {} failed: check that the folder exists, may be written and has room left", .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Names the file or folder in an I/O error.
pub(crate) trait AtPath<T> {
    /// `doing` is a participle: "reading", "creating".
    fn at(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.into(), source })
    }
}
