//! What CI runs, and what a person runs while working on one test.

use anyhow::Result;

use crate::database::Temporary;
use crate::{browser, check, python, run, web};

/// All checks and all tests; only the selected tests when there is a filter.
pub(crate) fn test(filter: &[String], arguments: &[String]) -> Result<()> {
    web::require_node()?;
    browser::ensure()?;
    python::install()?;
    web::install()?;
    web::install_for_tests()?;
    if filter.is_empty() && arguments.is_empty() {
        check::static_checks()?;
    } else {
        web::build()?;
    }

    let database = Temporary::start("test")?;
    let has_nextest = run::output(&mut run::cargo(&["nextest", "--version"])).is_some();
    let (name, runner): (_, &[&str]) =
        if has_nextest { ("cargo nextest run", &["nextest", "run", "--workspace"]) } else { ("cargo test", &["test", "--workspace"]) };
    let mut command = run::cargo(runner);
    command.args(filter).args(arguments).env("DATABASE_URL", database.url());
    let tested = run::step(name, &mut command, "correct the tests named above; `cargo xtask test NAME` runs one");
    database.stop()?;
    tested
}
