//! Tries any runtime with the scenarios of `crates/runtime-conformance`.

use anyhow::Result;

use crate::run;

/// Builds the kit and runs it with these arguments, the base URL first.
pub(crate) fn conformance(arguments: &[String]) -> Result<()> {
    let build = ["build", "--package", "runtime-conformance"];
    run::step("cargo build", &mut run::cargo(&build), "correct what the compiler names above")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = run::in_root(run::built("debug", "runtime-conformance")?, &arguments);
    run::step("conformance", &mut command, "read what it says above; `cargo xtask conformance -- --help` lists its options")
}
