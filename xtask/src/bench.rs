//! Measures the release build on this machine; see `bench/README.md`.

use anyhow::Result;

use crate::{run, web};

/// Builds what is measured and the bench as released, installs the peer's packages where there is a peer, and runs the bench.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let of_runtime = arguments.first().is_some_and(|scenario| scenario.starts_with("runtime-"));
    let mut build = vec!["build", "--release", "--package", "bench", "--package", "pty-runtime"];
    if !of_runtime {
        web::require_node()?;
        web::install()?;
        web::build()?;
        web::install_for_bench()?;
        build.extend(["--package", "raven-agents"]);
    }
    run::step("cargo build", &mut run::cargo(&build), "correct what the compiler names above")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = run::in_root(run::built("release", "bench")?, &arguments);
    run::step("bench", &mut command, "read what it says above; `cargo xtask bench -- --help` lists its options")
}
