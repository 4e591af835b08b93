//! Chromium, which the console's tests drive.

use std::path::Path;

use anyhow::{Result, bail};

use crate::run;

/// Names under which systems install it, Chrome included.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const MAC_APPLICATIONS: [&str; 2] =
    ["/Applications/Chromium.app/Contents/MacOS/Chromium", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];

/// Makes sure that there is a Chromium: installs it on Debian as root, otherwise says what to do.
pub(crate) fn ensure() -> Result<()> {
    if is_installed() {
        return Ok(());
    }
    if !(is_root() && run::in_path("apt-get")) {
        bail!("Chromium is missing, which the console's tests drive: install it (on Debian: sudo apt-get install chromium)");
    }
    let remedy = "install Chromium by hand and run this again";
    run::step("apt-get update", run::in_root("apt-get", &["update", "-q"]).env("DEBIAN_FRONTEND", "noninteractive"), remedy)?;
    let install = ["install", "-q", "-y", "--no-install-recommends", "chromium"];
    run::step("apt-get install chromium", run::in_root("apt-get", &install).env("DEBIAN_FRONTEND", "noninteractive"), remedy)
}

fn is_installed() -> bool {
    PROGRAMS.iter().any(|program| run::in_path(program)) || MAC_APPLICATIONS.iter().any(|program| Path::new(program).is_file())
}

fn is_root() -> bool {
    #[expect(unsafe_code, reason = "the standard library has no geteuid")]
    // SAFETY: geteuid takes nothing, cannot fail and touches no memory of ours.
    let uid = unsafe { libc::geteuid() };
    uid == 0
}
