//! Which user runs Postgres, since it refuses to run as root.

use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::AtPath;
use crate::{Error, Result};

/// Users that may run Postgres when we are root, best first. The user needs an entry in the
/// system's list, a bare number does not do: Postgres looks its own name up.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// Who the processes and files of a cluster belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Ourselves.
    This,
    /// Somebody with fewer rights, because we are root.
    Other { uid: u32, gid: u32 },
}

pub(crate) fn is_root() -> bool {
    #[expect(unsafe_code, reason = "the standard library has no geteuid")]
    // SAFETY: geteuid takes nothing, cannot fail and touches no memory of ours.
    let uid = unsafe { libc::geteuid() };
    uid == 0
}

impl Owner {
    /// The owner of the cluster in `data`, or who shall own it when it does not exist yet.
    ///
    /// An existing cluster keeps its owner, so one made by an ordinary user also starts under root.
    /// Errors: [`Error::NoUnprivilegedUser`].
    pub(crate) fn for_cluster(data: &Path) -> Result<Self> {
        if !is_root() {
            return Ok(Self::This);
        }
        if let Ok(metadata) = fs::metadata(data)
            && metadata.uid() != 0
        {
            return Ok(Self::Other { uid: metadata.uid(), gid: metadata.gid() });
        }
        CANDIDATES.iter().find_map(|name| look_up(name)).ok_or(Error::NoUnprivilegedUser)
    }

    /// A command that will run as this owner, without a terminal and without our Postgres settings.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).env("LC_ALL", "C");
        // Clients' settings in our environment must not reach the server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives one folder to this owner and nobody else.
    pub(crate) fn take(self, folder: &Path) -> Result<()> {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).at("protecting", folder)?;
        self.take_file(folder)
    }

    /// Gives one file to this owner, keeping its mode.
    pub(crate) fn take_file(self, file: &Path) -> Result<()> {
        match self {
            Self::This => Ok(()),
            Self::Other { uid, gid } => chown(file, Some(uid), Some(gid)).at("changing the owner of", file),
        }
    }

    /// Checks with the kernel that this owner can run `postgres` and enter `folder`.
    ///
    /// Errors: [`Error::BinariesOutOfReach`], [`Error::FolderOutOfReach`].
    pub(crate) fn check_reach(self, postgres: &Path, folder: &Path) -> Result<()> {
        let Self::Other { uid, .. } = self else { return Ok(()) };
        // The child changes its user first, then its folder, then becomes the program: a refusal in
        // the system's root folder is about the program, one only in `folder` is about the folder.
        let refused = |cwd: &Path| {
            let ran = self.command(postgres).arg("--version").current_dir(cwd).stdout(Stdio::null()).stderr(Stdio::null()).status();
            match ran {
                Ok(_) => Ok(false),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(true),
                Err(source) => Err(Error::Io { doing: "running", path: postgres.into(), source }),
            }
        };
        if refused(Path::new("/"))? {
            return Err(Error::BinariesOutOfReach { program: postgres.into(), uid });
        }
        if refused(folder)? {
            return Err(Error::FolderOutOfReach { folder: folder.into(), uid });
        }
        Ok(())
    }
}

/// Looks a user up by name; `None` when there is no such user, or it is root under another name.
fn look_up(name: &str) -> Option<Owner> {
    let name = CString::new(name).ok()?;
    #[expect(unsafe_code, reason = "the standard library has no getpwnam_r")]
    // SAFETY: every pointer is valid for the call and the buffer's length is the one passed; a
    // zeroed passwd is only read after the call reports that it filled it.
    let owner = unsafe {
        /// Bytes for one entry of the user list: names and paths in it are short.
        const ENTRY_BYTES: usize = 16 * 1024;
        let mut entry: libc::passwd = std::mem::zeroed();
        let mut buffer = vec![0; ENTRY_BYTES];
        let mut found = std::ptr::null_mut();
        let status = libc::getpwnam_r(name.as_ptr(), &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found);
        (status == 0 && !found.is_null()).then_some(Owner::Other { uid: entry.pw_uid, gid: entry.pw_gid })
    };
    owner.filter(|owner| !matches!(owner, Owner::Other { uid: 0, .. }))
}
