//! A key is typed and comes back: through the runtime, and through a bare pseudo-terminal.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use super::Scenario;
use crate::{Plan, Report, pty::Pty, report::Figure, runtime::Runtime};

/// Keys in each run, one upon the echo of the last.
const KEYS: usize = 2000;
const SCRIPT: &str = r"stty raw -echo; printf '\002READY\003'; exec cat";
const READY: &[u8] = b"\x02READY\x03";
/// Latencies are kept in nanoseconds, up to ten seconds, with three digits.
const LATENCY_MAX_NS: u64 = 10_000_000_000;
const DIGITS: u8 = 3;

pub(super) async fn measure(runtime: &Path, plan: &Plan) -> Result<Report> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut runtime = Runtime::start(runtime).await?;
    for run in 0..=plan.runs {
        let (through_runtime, read_barely) = (through_runtime(&mut runtime).await?, tokio::task::spawn_blocking(barely).await??);
        // The first finds everything cold.
        if run > 0 {
            ours.push(through_runtime);
            bare.push(read_barely);
        }
    }
    runtime.end().await?;
    let figures = [("raven-runtime", &ours), ("bare loop", &bare)].into_iter().flat_map(|(subject, runs)| {
        let figure = |quantity: &'static str, quantile| {
            let microseconds = |latencies: &Histogram<u64>| microseconds(latencies.value_at_quantile(quantile));
            Figure { quantity: quantity.into(), subject, values: runs.iter().map(microseconds).collect() }
        };
        [figure("p50, microseconds", 0.5), figure("p99, microseconds", 0.99)]
    });
    let about = "a key to an agent that is cat, and its echo back to the viewer, beside a bare loop on the same program's pseudo-terminal";
    Report::of_runtime(Scenario::RuntimeEcho, about, figures.collect(), plan)
}

async fn through_runtime(runtime: &mut Runtime) -> Result<Histogram<u64>> {
    let id = runtime.spawn(SCRIPT).await?;
    let mut terminal = runtime.terminal(&id).await?;
    terminal.read_to(READY).await?;
    let mut latencies = histogram()?;
    for _ in 0..KEYS {
        let typed = Instant::now();
        terminal.type_keys(b"k").await?;
        let (_, at) = terminal.read_to(b"k").await?;
        note(&mut latencies, typed, at);
    }
    runtime.stop(&id).await?;
    Ok(latencies)
}

fn barely() -> Result<Histogram<u64>> {
    let mut pty = Pty::start(SCRIPT)?;
    pty.read_to(READY)?;
    let mut latencies = histogram()?;
    for _ in 0..KEYS {
        let typed = Instant::now();
        pty.type_keys(b"k")?;
        let (_, at) = pty.read_to(b"k")?;
        note(&mut latencies, typed, at);
    }
    Ok(latencies)
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_max(LATENCY_MAX_NS, DIGITS).context("no histogram could be made")
}

fn note(latencies: &mut Histogram<u64>, typed: Instant, at: Instant) {
    latencies.saturating_record(u64::try_from((at - typed).as_nanos()).unwrap_or(u64::MAX));
}

#[expect(clippy::cast_precision_loss, reason = "no latency has 2^52 nanoseconds")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}
