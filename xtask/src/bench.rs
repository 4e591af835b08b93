//! Measures the release build on this machine; see `bench/README.md`.

use anyhow::Result;

use crate::{run, web};

/// Builds the service and the bench as released, installs the peer's packages, and runs the bench.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    web::require_node()?;
    web::install()?;
    web::build()?;
    web::install_for_bench()?;
    let build = ["build", "--release", "--package", "raven-agents", "--package", "bench"];
    run::step("cargo build", &mut run::cargo(&build), "correct what the compiler names above")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = run::in_root(run::built("release", "bench")?, &arguments);
    run::step("bench", &mut command, "read what it says above; `cargo xtask bench -- --help` lists its options")
}
