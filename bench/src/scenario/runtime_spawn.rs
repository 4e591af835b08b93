//! Agents are started one after the other: until the answer, the first output and the news that each is ready.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::Scenario;
use crate::{Plan, Report, pty::Pty, report::Figure, runtime::Runtime};

/// Spawns in each run.
const SPAWNS: usize = 20;
const SCRIPT: &str = r"printf '\002READY\003'; exec cat";
const READY: &[u8] = b"\x02READY\x03";

pub(super) async fn measure(runtime: &Path, plan: &Plan) -> Result<Report> {
    let mut runtime = Runtime::start(runtime).await?;
    let (mut answered, mut printed, mut ready, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..=plan.runs {
        let (of_runtime, barely) = (through_runtime(&mut runtime).await?, tokio::task::spawn_blocking(barely).await??);
        // The first finds everything cold.
        if run > 0 {
            answered.push(of_runtime.answered);
            printed.push(of_runtime.printed);
            ready.push(of_runtime.ready);
            bare.push(barely);
        }
    }
    runtime.end().await?;
    let rows = [
        ("raven-runtime, answered", &answered),
        ("raven-runtime, first output seen", &printed),
        ("raven-runtime, agent_ready told", &ready),
        ("bare fork, first output read", &bare),
    ];
    let mut figures = Vec::new();
    for (subject, runs) in rows {
        for (quantity, quantile) in [("p50, ms", 0.5), ("p99, ms", 0.99)] {
            let values = runs.iter().map(|times| at_quantile(times, quantile)).collect::<Result<_>>()?;
            figures.push(Figure { quantity: quantity.into(), subject, values });
        }
    }
    let about = "20 agents of bash started one after the other, beside a bare fork of bash; the runtime calls a shell ready after a moment of quiet";
    Report::of_runtime(Scenario::RuntimeSpawn, about, figures, plan)
}

/// The times of all spawns of a run.
#[derive(Default)]
struct Spawns {
    answered: Vec<Duration>,
    printed: Vec<Duration>,
    ready: Vec<Duration>,
}

async fn through_runtime(runtime: &mut Runtime) -> Result<Spawns> {
    let mut events = runtime.events().await?;
    let mut spawns = Spawns::default();
    for _ in 0..SPAWNS {
        let asked = Instant::now();
        let id = runtime.spawn(SCRIPT).await?;
        spawns.answered.push(asked.elapsed());
        let (_, printed) = runtime.terminal(&id).await?.read_to(READY).await?;
        spawns.printed.push(printed - asked);
        spawns.ready.push(events.event("agent_ready", &id).await? - asked);
        runtime.stop(&id).await?;
    }
    Ok(spawns)
}

fn barely() -> Result<Vec<Duration>> {
    let fork = |_| {
        let asked = Instant::now();
        let (_, printed) = Pty::start(SCRIPT)?.read_to(READY)?;
        Ok(printed - asked)
    };
    (0..SPAWNS).map(fork).collect()
}

/// The time in milliseconds that this part of the spawns took at the most.
fn at_quantile(times: &[Duration], quantile: f64) -> Result<f64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of times")]
    let place = ((times.len() as f64 * quantile).ceil() as usize).saturating_sub(1);
    Ok(times.get(place).context("nothing was measured")?.as_secs_f64() * 1000.0)
}
