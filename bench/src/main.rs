//! Measures the built service from outside, on loopback, with a peer beside it. `cargo xtask bench` builds
//! everything and runs this; `bench/README.md` says what is compared and what is not.

mod compare;
mod http;
mod latency;
mod load;
mod machine;
mod program;
mod pty;
mod report;
mod runtime;
mod scenario;
mod script;
mod socket;
mod stage;
mod terminals;
mod upstream;
mod viewer;
mod workspace;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{report::Report, scenario::Scenario};

/// No scenario takes longer than this, whatever hangs.
const DEADLINE: Duration = Duration::from_mins(15);

/// What shells report for a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Measures raven-agents on this machine.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// The only scenario to run; all of them when left out
    scenario: Option<Scenario>,
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How long each measurement takes, in seconds, after a warm-up
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// The program to measure; the one beside this program when left out
    #[arg(long)]
    service: Option<PathBuf>,
    /// The runtime to measure; the one beside this program when left out
    #[arg(long)]
    runtime: Option<PathBuf>,
    /// Print the results only, and leave the files in `bench/results` as they are
    #[arg(long)]
    dry: bool,
}

/// What is measured.
struct Programs {
    service: PathBuf,
    runtime: PathBuf,
}

impl Programs {
    fn of(arguments: &Arguments) -> Result<Self> {
        let here = std::env::current_exe().context("the path of this program is unknown: give --service and --runtime")?;
        let given = |path: &Option<PathBuf>, name: &str| path.clone().unwrap_or_else(|| here.with_file_name(name));
        Ok(Self { service: given(&arguments.service, "raven-agents"), runtime: given(&arguments.runtime, "raven-runtime") })
    }
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    runs: u32,
    window: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::select! {
        outcome = run(&arguments) => outcome,
        // Whatever was started ends with the values that are dropped here.
        ended = told_to_end() => ended.map(|()| ExitCode::from(INTERRUPTED)),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let programs = Programs::of(arguments)?;
    let plan = Plan { runs: arguments.runs, window: Duration::from_secs(arguments.seconds) };
    let chosen = arguments.scenario.map_or_else(|| Scenario::ALL.to_vec(), |scenario| vec![scenario]);
    for scenario in chosen {
        let name = scenario.name();
        eprintln!("==> {name}");
        if let Some(missing) = scenario.needs(&programs).into_iter().find(|program| !program.is_file()) {
            bail!("{} is not there: build it with `cargo build --release`, or run `cargo xtask bench`", missing.display());
        }
        let measured = tokio::time::timeout(DEADLINE, scenario.measure(&programs, &plan)).await;
        let report = measured.with_context(|| format!("{name} was not done after {} minutes", DEADLINE.as_secs() / 60))??;
        println!("{}", report.to_text());
        if !arguments.dry {
            let path = report.save()?;
            eprintln!("    wrote {path}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Resolves when somebody ends this program.
async fn told_to_end() -> Result<()> {
    let mut listen = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal).into_iter();
    let (Some(interrupt), Some(terminate), Some(hangup)) = (listen.next(), listen.next(), listen.next()) else { return Ok(()) };
    let (mut interrupt, mut terminate, mut hangup) = (interrupt?, terminate?, hangup?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
