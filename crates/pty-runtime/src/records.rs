//! The runtime's own folder beside its agents' files: one folder per agent, which outlives the runtime.
//!
//! `<root>/.runtime/agents/<session>/` holds `agent.json` (what the runtime knows of the agent, never
//! its environment), `processes.json` and `exit.json` (of its supervisor) and the socket `socket`.
//! `<root>/.runtime/homes/<id>.json` names the workspace whose agent has the home `<root>/<id>`, for as long
//! as that home is there. Only the runtime's user may enter it, and no agent may name it as its folder.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use runtime_protocol::{AgentStatus, Login};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{process::Mode, session::Identity, supervisor_protocol::End, threads::ThreadRecord};

/// Name of the runtime's own folder under the root.
pub(crate) const FOLDER: &str = ".runtime";
const AGENT: &str = "agent.json";
const PROCESSES: &str = "processes.json";
const EXIT: &str = "exit.json";
/// What the name of a home's claim ends with, which that of a draft does not.
const CLAIM: &str = ".json";
/// Extension of a folder that is being removed.
const GONE: &str = "gone";

/// An agent as the next runtime has to know it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) mode: Mode,
    pub(crate) workspace_id: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) reports_to: Option<String>,
    pub(crate) execution_id: Option<String>,
    /// Of the request that started it, for a repetition that the next runtime gets.
    pub(crate) request_id: Option<String>,
    pub(crate) thread: Option<ThreadRecord>,
    pub(crate) runtime_session_id: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) callback_url: Option<String>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) status: AgentStatus,
    pub(crate) was_ready: bool,
    pub(crate) login: Option<Login>,
    pub(crate) paused: bool,
    pub(crate) stop_reason: Option<String>,
}

/// The two processes of an agent, for whoever has to end them without being answered.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Processes {
    pub(crate) supervisor: Option<Identity>,
    pub(crate) program: Option<Identity>,
}

/// Why the runtime's own folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("the runtime's folder {0} cannot be used")]
    Unusable(PathBuf, #[source] io::Error),
    #[error("the runtime's folder {0} belongs to another user, or others may enter it")]
    NotOurs(PathBuf),
    #[error("another runtime uses {0}: stop it, or set RUNTIME_WORKDIR_ROOT to another folder")]
    InUse(PathBuf),
}

/// All records of one runtime, which holds the lock on them for as long as it lives.
pub(crate) struct Records {
    agents: PathBuf,
    homes: PathBuf,
    /// Unlocked by the kernel when the runtime ends, however it does.
    _lock: File,
}

impl Records {
    pub(crate) fn open(root: &Path) -> Result<Self, FolderError> {
        let folder = root.join(FOLDER);
        let (agents, homes) = (folder.join("agents"), folder.join("homes"));
        let unusable = |error| FolderError::Unusable(folder.clone(), error);
        make(&agents).map_err(unusable)?;
        make(&homes).map_err(unusable)?;
        for ours in [&folder, &agents, &homes] {
            let metadata = fs::symlink_metadata(ours).map_err(unusable)?;
            if !metadata.is_dir() || metadata.uid() != own_user() || metadata.mode() & 0o077 != 0 {
                return Err(FolderError::NotOurs(ours.clone()));
            }
        }
        // The real path: supervisors start in another folder.
        let agents = agents.canonicalize().map_err(unusable)?;
        let lock = private_file().open(folder.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {
                forget_homes(root, &homes).map_err(unusable)?;
                Ok(Self { agents, homes, _lock: lock })
            }
            Err(fs::TryLockError::WouldBlock) => Err(FolderError::InUse(root.to_owned())),
            Err(fs::TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// Where an agent's folder is, made or not.
    pub(crate) fn folder(&self, session: &str) -> PathBuf {
        self.agents.join(session)
    }

    /// Whether the home with this name belongs to another workspace than `workspace`, or to the host's
    /// owner, who has none and for whom no home is foreign.
    pub(crate) fn is_foreign(&self, home: &str, workspace: Option<&str>) -> bool {
        let owner = || read_if_there::<Home>(&self.homes, &claim_of(home));
        workspace.is_some_and(|own| owner().is_some_and(|home| home.workspace_id.as_deref() != Some(own)))
    }

    /// Notes whose the home with this name is, unless that is known already.
    pub(crate) fn claim(&self, home: &str, workspace: Option<&str>) -> io::Result<()> {
        let claim = claim_of(home);
        if self.homes.join(&claim).exists() {
            return Ok(());
        }
        write(&self.homes, &claim, &Home { workspace_id: workspace.map(Into::into) })
    }

    /// The folders of all agents that an earlier runtime left. What it did not get round to removing
    /// is removed.
    pub(crate) fn folders(&self) -> io::Result<Vec<PathBuf>> {
        let all = fs::read_dir(&self.agents)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
        let (gone, left): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|folder| folder.extension().is_some_and(|extension| extension == GONE));
        for folder in gone {
            fs::remove_dir_all(folder)?;
        }
        Ok(left)
    }
}

fn claim_of(home: &str) -> String {
    format!("{home}{CLAIM}")
}

/// Whose a home is.
#[derive(Serialize, Deserialize)]
struct Home {
    workspace_id: Option<String>,
}

/// Forgets whose the homes were that are gone.
fn forget_homes(root: &Path, homes: &Path) -> io::Result<()> {
    for entry in fs::read_dir(homes)? {
        let entry = entry?;
        let name = entry.file_name();
        // What is no claim is the draft of one.
        let home = name.to_str().and_then(|name| name.strip_suffix(CLAIM));
        if home.is_none_or(|home| fs::symlink_metadata(root.join(home)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Record {
    /// Makes the agent's folder and writes the first record.
    pub(crate) fn begin(&self, folder: &Path) -> io::Result<()> {
        make(folder)?;
        self.write(folder)
    }

    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        write(folder, AGENT, self)
    }

    pub(crate) fn read(folder: &Path) -> Option<Self> {
        read(folder, AGENT)
    }
}

impl Processes {
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        write(folder, PROCESSES, self)
    }

    pub(crate) fn read(folder: &Path) -> Option<Self> {
        read(folder, PROCESSES)
    }
}

/// Keeps how the program ended, for a runtime that comes after its supervisor's end.
pub(crate) fn write_exit(folder: &Path, end: &End) -> io::Result<()> {
    write(folder, EXIT, end)
}

pub(crate) fn read_exit(folder: &Path) -> Option<End> {
    read(folder, EXIT)
}

/// Removes an agent's folder; whoever finds it gone has nothing left to do.
pub(crate) fn remove(folder: &Path) {
    // Renamed first: whoever is about to write into it then finds nothing, and cannot be in the way.
    let gone = folder.with_extension(GONE);
    match fs::rename(folder, &gone).and_then(|()| fs::remove_dir_all(&gone)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, folder = %folder.display(), "folder of an agent was not removed");
        }
        Ok(()) | Err(_) => {}
    }
}

/// A file that is opened for writing, made if missing, and closed to others.
pub(crate) fn private_file() -> fs::OpenOptions {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    options
}

fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes beside the file and renames, so that a reader finds the old or the new one, whole.
fn write(folder: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let draft = folder.join(format!("{name}.new"));
    let mut file = private_file().truncate(true).open(&draft)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(draft, folder.join(name))
}

fn read_if_there<T: DeserializeOwned>(folder: &Path, name: &str) -> Option<T> {
    folder.join(name).exists().then(|| read(folder, name)).flatten()
}

fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Option<T> {
    let text = fs::read(folder.join(name)).ok()?;
    serde_json::from_slice(&text)
        .inspect_err(|error| tracing::warn!(%error, name, folder = %folder.display(), "record of an agent is not readable"))
        .ok()
}

#[expect(unsafe_code, reason = "the standard library does not tell the user of this process")]
fn own_user() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}
