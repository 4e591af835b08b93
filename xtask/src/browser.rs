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
    if !(run::is_root() && run::in_path("apt-get")) {
        bail!("Chromium is missing, which the console's tests drive: install it (on Debian: sudo apt-get install chromium)");
    }
    run::apt_get_install(&["chromium"], "install Chromium by hand and run this again")
}

fn is_installed() -> bool {
    PROGRAMS.iter().any(|program| run::in_path(program)) || MAC_APPLICATIONS.iter().any(|program| Path::new(program).is_file())
}
