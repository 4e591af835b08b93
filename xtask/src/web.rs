//! The console and other npm packages of the project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::run;

/// The oldest Node.js that the console's build tool runs on, as major and minor version.
const NODE_MIN: (u32, u32) = (20, 19);

/// Folders with npm packages that tests use, beside the console.
const TEST_PACKAGES: [&str; 2] = ["tests/node", "tests/browser"];

pub(crate) fn folder() -> PathBuf {
    run::root().join("web")
}

/// Fails with one sentence when Node.js or npm is missing or too old.
pub(crate) fn require_node() -> Result<()> {
    let (major, minor) = NODE_MIN;
    let printed = run::output(Command::new("node").arg("--version"))
        .with_context(|| format!("Node.js is missing: install version {major}.{minor} or newer (nodejs.org or your system's packages)"))?;
    let version: Vec<u32> = printed.trim().trim_start_matches('v').split('.').map_while(|part| part.parse().ok()).collect();
    if version.as_slice() < &[major, minor][..] {
        bail!("Node.js {} is too old: install version {major}.{minor} or newer", printed.trim());
    }
    if run::output(Command::new("npm").arg("--version")).is_none() {
        bail!("npm is missing: install it with Node.js {major}.{minor} or newer");
    }
    Ok(())
}

/// Installs the console's packages unless that was done since they last changed.
pub(crate) fn install() -> Result<()> {
    install_in(&folder())
}

/// As [`install`], for the packages that only tests use.
pub(crate) fn install_for_tests() -> Result<()> {
    for package in TEST_PACKAGES.map(|package| run::root().join(package)) {
        if package.join("package.json").is_file() {
            install_in(&package)?;
        }
    }
    Ok(())
}

/// As [`install`], for what the bench compares the service with.
pub(crate) fn install_for_bench() -> Result<()> {
    install_in(&run::root().join("bench/peer"))
}

fn install_in(folder: &Path) -> Result<()> {
    let wanted = modified(&folder.join("package-lock.json"));
    // npm writes this file last, so a broken installation has none.
    let installed = modified(&folder.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= wanted {
        return Ok(());
    }
    let name = format!("npm ci in {}", shown(folder));
    run::step(&name, &mut npm(folder, &["ci", "--no-audit", "--no-fund"]), "read npm's message above, check the network and run it again")
}

/// Builds the console and the API reference unless both are newer than everything they are made of.
pub(crate) fn build() -> Result<()> {
    let pages = ["dist/index.html", "dist/reference/index.html"].map(|page| modified(&folder().join(page)));
    let built = pages.into_iter().min().flatten();
    if built.is_some() && built >= newest_source(&folder())? {
        return Ok(());
    }
    run::step("npm run build in web", &mut npm(&folder(), &["run", "--silent", "build"]), "correct what the build names above")
}

/// Checks the console's types.
pub(crate) fn check() -> Result<()> {
    run::step("npm run check in web", &mut npm(&folder(), &["run", "--silent", "check"]), "correct the types named above")
}

/// The service embeds the console: its folder must be there for Rust code to compile, even empty.
pub(crate) fn ensure_dist_folder() -> Result<()> {
    let dist = folder().join("dist");
    fs::create_dir_all(&dist).with_context(|| format!("{} could not be created", shown(&dist)))
}

fn npm(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

fn shown(path: &Path) -> String {
    path.strip_prefix(run::root()).unwrap_or(path).display().to_string()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// When anything that the console is built from last changed, folders included: removing a file counts.
fn newest_source(folder: &Path) -> Result<Option<SystemTime>> {
    let mut newest = None;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("{} could not be read", shown(&folder)))? {
            let path = entry?.path();
            if path.ends_with("node_modules") || path.ends_with("dist") {
                continue;
            }
            newest = newest.max(modified(&path));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(newest)
}
