//! From a clean clone to the product in the browser.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{run, web};

/// Builds what is not built, then becomes `raven-agents up`: its signals and its exit code are ours.
pub(crate) fn up(release: bool, arguments: &[String]) -> Result<()> {
    web::require_node()?;
    web::install()?;
    web::build()?;

    let mut build = vec!["build", "--package", "raven-agents", "--package", "pty-runtime"];
    if release {
        build.push("--release");
    }
    run::step("cargo build", &mut run::cargo(&build), "correct what the compiler names above")?;

    let service = run::built(if release { "release" } else { "debug" }, "raven-agents")?;
    let error = Command::new(&service).arg("up").args(arguments).current_dir(run::root()).exec();
    Err(error).with_context(|| format!("{} could not be run: build it again", service.display()))
}
