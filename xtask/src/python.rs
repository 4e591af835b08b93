//! What tests use of Python, each in an environment of its own: Schemathesis, which makes requests from the published
//! document, and the official MCP client.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::run;

/// The environments, by their folders below `tests`. There `requirements.txt` says what is installed: one version of each
/// package, with its checksums.
const ENVIRONMENTS: [&str; 2] = ["schemathesis", "mcp-client"];
/// The oldest Python that these versions run on.
const PYTHON_MIN: &str = "3.11";
/// Debian's packages with Python and its environments.
const DEBIAN_PACKAGES: [&str; 2] = ["python3", "python3-venv"];

/// Installs what is wanted unless that was done since the wanted versions last changed.
pub(crate) fn install() -> Result<()> {
    ENVIRONMENTS.into_iter().try_for_each(install_one)
}

fn install_one(name: &str) -> Result<()> {
    let folder = run::target()?.join(name);
    let requirements = format!("tests/{name}/requirements.txt");
    let wanted = fs::read(run::root().join(&requirements)).with_context(|| format!("{requirements} cannot be read"))?;
    // Written last, so a broken installation has none; the tests look at it as well.
    let receipt = folder.join("requirements.txt");
    if fs::read(&receipt).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    require_python()?;
    let environment = folder.display().to_string();
    let mut create = run::in_root("python3", &["-m", "venv", "--clear", &environment]);
    run::step("python3 -m venv", &mut create, "see Python's message above; on Debian, install python3-venv")?;
    let pip = folder.join("bin/python");
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", &requirements];
    run::step(
        &format!("pip install {name}"),
        &mut run::in_root(pip, &arguments),
        "read pip's message above, check the network and run it again",
    )?;
    fs::write(&receipt, wanted).with_context(|| format!("{} cannot be written", receipt.display()))
}

/// Makes sure that there is a Python that makes environments: installs it on Debian as root, otherwise
/// says what to do.
fn require_python() -> Result<()> {
    if makes_environments() {
        return Ok(());
    }
    if !(run::is_root() && run::in_path("apt-get")) {
        let packages = DEBIAN_PACKAGES.join(" ");
        bail!(
            "Python {PYTHON_MIN} or newer with venv is missing, which the tests use: install it (on Debian: sudo apt-get install {packages})"
        );
    }
    run::apt_get_install(&DEBIAN_PACKAGES, "install Python by hand and run this again")
}

/// Whether `python3` is new enough and has what `venv` needs; Debian ships that apart.
fn makes_environments() -> bool {
    let code = format!("import sys, venv, ensurepip; sys.exit(sys.version_info < tuple(map(int, '{PYTHON_MIN}'.split('.'))))");
    run::output(&mut run::in_root(Path::new("python3"), &["-c", &code])).is_some()
}
