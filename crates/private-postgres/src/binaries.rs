//! Finds Postgres on this machine, or fetches it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Result, cluster, package};

/// The oldest major version that is good enough.
pub const MAJOR_MIN: u32 = 15;

/// Folders that Homebrew and the Postgres app use on macOS, and Homebrew on Linux; `*` is a version.
const VERSIONED_PREFIXES: [(&str, &str); 4] =
    [("/usr/lib/postgresql", "*"), ("/usr", "pgsql-*"), ("/opt/homebrew/opt", "postgresql@*"), ("/usr/local/opt", "postgresql@*")];
const FIXED_FOLDERS: [&str; 4] = [
    "/opt/homebrew/opt/postgresql/bin",
    "/usr/local/opt/postgresql/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql/bin",
    "/Applications/Postgres.app/Contents/Versions/latest/bin",
];

/// The programs of one Postgres installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub(crate) folder: PathBuf,
    pub(crate) major: u32,
}

impl Binaries {
    /// The folder that holds `initdb` and `postgres`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The major version, for example 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// The installation in `folder`; the error is the reason why it is not usable.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, String> {
        let folder = folder.canonicalize().map_err(|error| error.to_string())?;
        for program in ["initdb", "postgres"] {
            if !folder.join(program).is_file() {
                return Err(format!("it has no {program}"));
            }
        }
        let printed = output_of(Command::new(folder.join("postgres")).arg("--version")).ok_or("its postgres does not run")?;
        let major = major_of(&printed).ok_or_else(|| format!("its postgres reports {:?} as its version", printed.trim()))?;
        if major < MAJOR_MIN {
            return Err(format!("it is version {major}"));
        }
        Ok(Self { folder, major })
    }
}

/// Finds Postgres [`MAJOR_MIN`] or newer.
///
/// `bin_override` (the setting `RAVEN_PG_BIN`) is used or refused, never passed over. Otherwise the
/// order is `pg_config`, the system's versioned folders from the newest, Homebrew, `PATH`, a package
/// fetched before into `cache_dir`, and last that package fetched now. `progress` gets a sentence
/// before anything that takes seconds.
///
/// # Errors
/// [`Error::UnusableBinaries`] for the override, [`Error::NoPostgres`], [`Error::NoPackage`],
/// [`Error::Fetch`], [`Error::Checksum`], [`Error::Unpack`].
pub fn find_binaries(bin_override: Option<&Path>, cache_dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<Binaries> {
    find(None, bin_override, cache_dir, progress)
}

/// As [`find_binaries`], but when `data_dir` already holds a cluster, binaries of its major version
/// go before newer ones, so installing another Postgres does not lock anybody out of their data.
///
/// # Errors
/// Those of [`find_binaries`].
pub fn find_binaries_for(
    data_dir: &Path,
    bin_override: Option<&Path>,
    cache_dir: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Binaries> {
    find(cluster::major_in(data_dir), bin_override, cache_dir, progress)
}

fn find(wanted: Option<u32>, bin_override: Option<&Path>, cache_dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<Binaries> {
    if let Some(folder) = bin_override {
        return Binaries::in_folder(folder).map_err(|reason| Error::UnusableBinaries { folder: folder.into(), reason, min: MAJOR_MIN });
    }
    let mut first = None;
    for binaries in system_folders().iter().filter_map(|folder| Binaries::in_folder(folder).ok()) {
        if wanted.is_none_or(|major| major == binaries.major) {
            return Ok(binaries);
        }
        first.get_or_insert(binaries);
    }
    match first {
        // Another major version than wanted: only the package could still be the right one.
        Some(other) if wanted != Some(package::MAJOR) => Ok(other),
        _ => package::cached_or_fetched(cache_dir, progress),
    }
}

/// Where Postgres may be on this system, best first; the folders need not exist.
fn system_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(printed) = output_of(Command::new("pg_config").arg("--bindir")) {
        folders.push(printed.trim().into());
    }
    for (parent, pattern) in VERSIONED_PREFIXES {
        folders.extend(newest_first(Path::new(parent), pattern));
    }
    folders.extend(FIXED_FOLDERS.iter().map(PathBuf::from));
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    }
    folders
}

/// The `bin` folders of versioned installations in `parent`; `pattern` is a prefix and then `*`.
fn newest_first(parent: &Path, pattern: &str) -> Vec<PathBuf> {
    let prefix = pattern.trim_end_matches('*');
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let major = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()
}

/// The major version in a line such as `postgres (PostgreSQL) 15.18 (Debian 15.18-0)` or `18beta1`.
fn major_of(printed: &str) -> Option<u32> {
    let version = printed.split(')').nth(1)?.trim_start();
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major_of;

    #[test]
    fn the_major_version_is_read_from_what_postgres_prints() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_of("postgres (PostgreSQL) 9.6.24\n"), Some(9));
        assert_eq!(major_of("command not found"), None);
    }
}
