//! The commit hook.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, bail};

use crate::run;

const HOOK: &str = "#!/bin/sh\n# Installed by `cargo xtask hook`; `git commit --no-verify` passes it by.\nexec cargo xtask check --fast\n";

/// Makes every commit run the fast checks; a hook of somebody else is not replaced.
pub(crate) fn install() -> Result<()> {
    let folder = run::output(&mut run::in_root("git", &["rev-parse", "--git-path", "hooks"]))
        .context("this is no git repository: clone it with git")?;
    let folder = run::root().join(folder.trim());
    let hook = folder.join("pre-commit");
    if fs::read_to_string(&hook).is_ok_and(|text| text != HOOK) {
        bail!("{} exists already: add `cargo xtask check --fast` to it, or remove it", hook.display());
    }
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&hook, HOOK))
        .and_then(|()| fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("{} could not be written: check its permissions", hook.display()))?;
    eprintln!("every commit now runs `cargo xtask check --fast`");
    Ok(())
}
