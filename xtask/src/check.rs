//! What must hold before a change lands.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::{generate, run, web};

/// Every check, without the tests.
pub(crate) fn full() -> Result<()> {
    static_checks()?;
    layers()
}

/// Every check that is not a test; the tests include the layers.
pub(crate) fn static_checks() -> Result<()> {
    web::require_node()?;
    web::install()?;
    web::check()?;
    web::build()?;
    format()?;
    clippy(&["--workspace"])?;
    generate::check()
}

/// Formatting, lints of what changed, and layers: for every commit.
pub(crate) fn fast() -> Result<()> {
    format()?;
    let changed = changed_packages()?;
    if changed.is_empty() {
        return Ok(());
    }
    web::ensure_dist_folder()?;
    let selected: Vec<&str> = changed.iter().flat_map(|package| ["--package", package.as_str()]).collect();
    clippy(&selected)?;
    if changed.contains("raven-agents") { layers() } else { Ok(()) }
}

fn format() -> Result<()> {
    run::step("cargo fmt --check", &mut run::cargo(&["fmt", "--all", "--check"]), "run `cargo fmt --all`")
}

fn clippy(packages: &[&str]) -> Result<()> {
    let arguments = [&["clippy", "--all-targets"], packages, &["--", "--deny", "warnings"]].concat();
    run::step("cargo clippy", &mut run::cargo(&arguments), "correct what it names above")
}

/// The test that knows which module may import which.
fn layers() -> Result<()> {
    let arguments = ["test", "--quiet", "--package", "raven-agents", "--test", "it", "layers"];
    run::step("layers", &mut run::cargo(&arguments), "move the code, or pass the value in, as the message above says")
}

/// The packages with uncommitted changes; all of them when a file of the whole workspace changed.
fn changed_packages() -> Result<BTreeSet<String>> {
    let status = run::output(&mut run::in_root("git", &["status", "--porcelain", "--untracked-files=all", "--no-renames"]))
        .context("git does not tell what changed: run this inside the repository, or run `cargo xtask check`")?;
    let mut packages = BTreeSet::new();
    for path in status.lines().filter_map(|line| line.get(3..)) {
        match path.trim_matches('"').split('/').collect::<Vec<_>>().as_slice() {
            ["crates", package, ..] => packages.insert((*package).to_owned()),
            ["bench", "src" | "Cargo.toml", ..] => packages.insert("bench".to_owned()),
            ["xtask", ..] => packages.insert("xtask".to_owned()),
            ["src" | "tests" | "migrations" | ".sqlx" | "build.rs", ..] => packages.insert("raven-agents".to_owned()),
            ["Cargo.toml" | "Cargo.lock" | "clippy.toml" | "rust-toolchain.toml"] => {
                packages.extend(
                    ["raven-agents", "pty-runtime", "private-postgres", "runtime-protocol", "runtime-conformance", "xtask", "bench"]
                        .map(str::to_owned),
                );
                true
            }
            _ => false,
        };
    }
    let is_there =
        |package: &str| run::root().join("crates").join(package).is_dir() || ["raven-agents", "xtask", "bench"].contains(&package);
    packages.retain(|package| is_there(package));
    Ok(packages)
}
