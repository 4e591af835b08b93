//! Paths of this project, and steps: one command each, with a name, its time and one sentence on failure.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::interrupt;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Cargo as it started us, in the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    in_root(program, arguments)
}

/// Any program, in the root of the workspace.
pub(crate) fn in_root(program: impl Into<OsString>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program.into());
    command.args(arguments).current_dir(root());
    command
}

/// The folder that cargo builds into: this program lies in it, whatever its settings.
pub(crate) fn target() -> Result<PathBuf> {
    let ours = std::env::current_exe().context("the path of xtask itself is unknown: run it as `cargo xtask`")?;
    let target = ours.parent().and_then(Path::parent).context("xtask lies in no target folder: run it as `cargo xtask`")?;
    Ok(target.to_owned())
}

/// Where cargo puts programs of a profile.
pub(crate) fn built(profile: &str, program: &str) -> Result<PathBuf> {
    Ok(target()?.join(profile).join(program))
}

/// Runs a step; `remedy` completes the sentence "… failed: ".
pub(crate) fn step(name: &str, command: &mut Command, remedy: &str) -> Result<()> {
    let began = begin(name);
    let program = command.get_program().to_string_lossy().into_owned();
    let status = interrupt::status(command).with_context(|| format!("{program} could not be run: install it"))?;
    if interrupt::happened() {
        bail!("interrupted");
    }
    if !status.success() {
        bail!("{name} failed: {remedy}");
    }
    end(name, began);
    Ok(())
}

/// Announces work that is not a command; [`end`] reports its time.
pub(crate) fn begin(name: &str) -> Instant {
    eprintln!("==> {name}");
    Instant::now()
}

pub(crate) fn end(name: &str, began: Instant) {
    eprintln!("    {name}: {:.1} s", began.elapsed().as_secs_f64());
}

/// What a program prints, or `None` when it is missing or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok()
}

/// Whether `PATH` has a program of that name.
pub(crate) fn in_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Installs packages of a Debian system; for root.
pub(crate) fn apt_get_install(packages: &[&str], remedy: &str) -> Result<()> {
    let quiet = |arguments: &[&str]| {
        let mut command = in_root("apt-get", arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    step("apt-get update", &mut quiet(&["update", "-q"]), remedy)?;
    let install = [&["install", "-q", "-y", "--no-install-recommends"], packages].concat();
    step(&format!("apt-get install {}", packages.join(" ")), &mut quiet(&install), remedy)
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    #[expect(unsafe_code, reason = "the standard library has no geteuid")]
    // SAFETY: geteuid takes nothing, cannot fail and touches no memory of ours.
    let uid = unsafe { libc::geteuid() };
    uid == 0
}
