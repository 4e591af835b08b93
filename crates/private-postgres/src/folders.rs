//! Where data and fetched binaries live when nobody says otherwise.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::owner;
use crate::{Error, Result};

/// The name of our folder inside the platform's.
const NAME: &str = "raven-agents";

/// The folder for data of this user, not created yet.
///
/// For root it is a system folder, because the user that Postgres then runs as cannot enter root's home.
///
/// # Errors
/// [`Error::NoHome`].
pub fn default_data_dir() -> Result<PathBuf> {
    if owner::is_root() {
        return Ok(Path::new("/var/lib").join(NAME));
    }
    if cfg!(target_os = "macos") {
        return Ok(home()?.join("Library/Application Support").join(NAME));
    }
    under("XDG_DATA_HOME", ".local/share")
}

/// The folder for what may be fetched again, not created yet.
///
/// # Errors
/// [`Error::NoHome`].
pub fn default_cache_dir() -> Result<PathBuf> {
    if owner::is_root() {
        return Ok(Path::new("/var/cache").join(NAME));
    }
    if cfg!(target_os = "macos") {
        return Ok(home()?.join("Library/Caches").join(NAME));
    }
    under("XDG_CACHE_HOME", ".cache")
}

/// The XDG rule: the variable when it is an absolute path, else the folder in the home.
fn under(variable: &str, in_home: &str) -> Result<PathBuf> {
    let base = match environment(variable).map(PathBuf::from) {
        Some(path) if path.is_absolute() => path,
        _ => home()?.join(in_home),
    };
    Ok(base.join(NAME))
}

fn home() -> Result<PathBuf> {
    environment("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).ok_or(Error::NoHome)
}

fn environment(variable: &str) -> Option<OsString> {
    std::env::var_os(variable)
}
