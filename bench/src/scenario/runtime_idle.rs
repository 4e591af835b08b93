//! Agents that do nothing: what each costs in memory, in the runtime and beside it.

use std::path::Path;

use anyhow::Result;

use super::Scenario;
use crate::{Plan, Report, machine::Memory, report::Figure, runtime::Runtime};

/// Agents that are there at the same time.
const AGENTS: u32 = 50;
const SCRIPT: &str = r"stty raw -echo; printf '\002READY\003'; exec cat";
const READY: &[u8] = b"\x02READY\x03";

pub(super) async fn measure(runtime: &Path, plan: &Plan) -> Result<Report> {
    let mut runs = Vec::new();
    for _ in 0..plan.runs {
        runs.push(idle(runtime).await?);
    }
    let figure = |quantity: &'static str, subject, value: fn(&Idle) -> f64| Figure {
        quantity: quantity.into(),
        subject,
        values: runs.iter().map(value).collect(),
    };
    let figures = vec![
        figure("KiB in all (PSS)", "runtime without agents", |idle| kib(idle.before.proportional_kib)),
        figure("KiB per agent (private)", "runtime", |idle| per_agent(idle.after.private_kib.saturating_sub(idle.before.private_kib))),
        figure("KiB per agent (PSS)", "its supervisor", |idle| per_agent(idle.supervisors.proportional_kib)),
        figure("KiB per agent (private)", "its supervisor", |idle| per_agent(idle.supervisors.private_kib)),
        // Shared pages count less for each the more share them, so only the sum of all says what an agent adds.
        figure("KiB per agent (PSS)", "both together", |idle| {
            per_agent((idle.after.proportional_kib + idle.supervisors.proportional_kib).saturating_sub(idle.before.proportional_kib))
        }),
    ];
    let about = "memory that 50 idle agents add to a fresh runtime, and that of their supervisors; the agents' own programs are in neither";
    Report::of_runtime(Scenario::RuntimeIdle, about, figures, plan)
}

/// One run; of the supervisors the sum.
struct Idle {
    before: Memory,
    after: Memory,
    supervisors: Memory,
}

async fn idle(runtime: &Path) -> Result<Idle> {
    let mut runtime = Runtime::start(runtime).await?;
    // What the first agent brings along is no matter of how many there are.
    let first = runtime.spawn(SCRIPT).await?;
    runtime.terminal(&first).await?.read_to(READY).await?;
    runtime.stop(&first).await?;
    let before = runtime.memory()?;
    for _ in 0..AGENTS {
        let id = runtime.spawn(SCRIPT).await?;
        runtime.terminal(&id).await?.read_to(READY).await?;
    }
    let after = runtime.memory()?;
    let supervisors = runtime.memory_of_supervisors()?.into_iter().fold(Memory::default(), |sum, one| Memory {
        proportional_kib: sum.proportional_kib + one.proportional_kib,
        private_kib: sum.private_kib + one.private_kib,
    });
    runtime.end().await?;
    Ok(Idle { before, after, supervisors })
}

fn per_agent(all_kib: u64) -> f64 {
    kib(all_kib) / f64::from(AGENTS)
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^52 KiB")]
fn kib(kib: u64) -> f64 {
    kib as f64
}
