//! The task runner, `cargo xtask`: people, the hook and CI run the same code.

mod bench;
mod browser;
mod check;
mod conformance;
mod database;
mod generate;
mod hook;
mod interrupt;
mod python;
mod run;
mod test;
mod up;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What shells report for a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Runs the tasks of this project", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build everything and run the product: service, database and local runtime.
    Up {
        /// Build optimized, as released.
        #[arg(long)]
        release: bool,
        /// Passed on to `raven-agents up`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Do what CI does: all checks, then all tests. With a filter, only the tests it selects.
    Test {
        /// Names of tests, and after `--` arguments of the test runner.
        filter: Vec<String>,
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Check formatting, lints, layers, generated files and the console's types.
    Check {
        /// Only what takes seconds: formatting, lints of changed crates, layers.
        #[arg(long)]
        fast: bool,
    },
    /// Regenerate everything generated: query cache, API document, console types.
    Gen {
        /// Change nothing, fail when something would change.
        #[arg(long)]
        check: bool,
    },
    /// Work with migrations and the development database.
    Db {
        #[command(subcommand)]
        task: database::Task,
    },
    /// Measure the release build on this machine: one scenario, or all of them. Needs an idle machine and minutes.
    Bench {
        /// `agents-list`, `key-verification`, `revoke`, `runtime-throughput`, `runtime-echo`, `runtime-idle` or `runtime-spawn`.
        scenario: Option<String>,
        /// Passed on to the bench, for example `--runs 1 --dry`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Try a runtime with all scenarios of the contract, ours or any other.
    Conformance {
        /// Its base URL, such as `http://127.0.0.1:8081`.
        url: Option<String>,
        /// Passed on to the kit, for example `--profile parallax`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Make every commit run `check --fast` first.
    Hook,
}

fn main() -> ExitCode {
    interrupt::watch();
    let done = match Arguments::parse().task {
        Task::Up { release, arguments } => up::up(release, &arguments),
        Task::Test { filter, arguments } => test::test(&filter, &arguments),
        Task::Check { fast: false } => check::full(),
        Task::Check { fast: true } => check::fast(),
        Task::Gen { check: false } => generate::write(),
        Task::Gen { check: true } => generate::check(),
        Task::Db { task } => database::run(task),
        Task::Bench { scenario, arguments } => bench::bench(&scenario.into_iter().chain(arguments).collect::<Vec<_>>()),
        Task::Conformance { url, arguments } => conformance::conformance(&url.into_iter().chain(arguments).collect::<Vec<_>>()),
        Task::Hook => hook::install(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::happened() => {
            eprintln!("xtask: interrupted");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            // The chain on one line: what failed, then why.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
