//! An agent prints as fast as it can: how much of it reaches a viewer of the runtime, and how much a bare loop reads.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::Scenario;
use crate::{Plan, Report, machine, pty::Pty, report::Figure, runtime::Runtime};

/// Printed in each run.
const BYTES: u64 = 64 * 1024 * 1024;
const END: &[u8] = b"\x02END\x03";
const READY: &[u8] = b"\x02READY\x03";

pub(super) async fn measure(runtime: &Path, plan: &Plan) -> Result<Report> {
    let script = format!(
        r"stty raw -echo; printf '\002READY\003'; head -c 1 > /dev/null; head -c {BYTES} /dev/zero | tr '\0' x; printf '\002END\003'; read -r _"
    );
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut runtime = Runtime::start(runtime).await?;
    for run in 0..=plan.runs {
        let (through_runtime, read_barely) = (through_runtime(&mut runtime, &script).await?, read_barely(script.clone()).await?);
        // The first finds everything cold.
        if run > 0 {
            ours.push(through_runtime);
            bare.push(read_barely);
        }
    }
    runtime.end().await?;
    let figures = [("raven-runtime", &ours), ("bare loop", &bare)].into_iter().flat_map(|(subject, runs)| {
        let figure = |quantity: &'static str, value: fn(&Passed) -> f64| Figure {
            quantity: quantity.into(),
            subject,
            values: runs.iter().map(value).collect(),
        };
        [
            figure("MiB/s", Passed::mebibytes_per_second),
            figure("CPU seconds per GiB printed", Passed::cpu_seconds_per_gibibyte),
            figure("MiB missed of 64", Passed::mebibytes_missed),
        ]
    });
    let about = "64 MiB of an agent's output to one viewer (negotiated framing), beside a bare loop on the same program's pseudo-terminal";
    Report::of_runtime(Scenario::RuntimeThroughput, about, figures.collect(), plan)
}

/// How one run went. The CPU is that of the runtime, or that of the loop; the program's own is in neither.
struct Passed {
    bytes: u64,
    missed: u64,
    took: Duration,
    cpu: Duration,
}

impl Passed {
    fn mebibytes_per_second(&self) -> f64 {
        mebibytes(self.bytes) / self.took.as_secs_f64()
    }

    fn cpu_seconds_per_gibibyte(&self) -> f64 {
        self.cpu.as_secs_f64() * 1024.0 / mebibytes(BYTES)
    }

    fn mebibytes_missed(&self) -> f64 {
        mebibytes(self.missed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "nothing here has 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

async fn through_runtime(runtime: &mut Runtime, script: &str) -> Result<Passed> {
    let id = runtime.spawn(script).await?;
    let mut terminal = runtime.terminal(&id).await?;
    terminal.read_to(READY).await?;
    let (began, before) = (Instant::now(), runtime.cpu()?);
    terminal.type_keys(b"g").await?;
    let (bytes, at) = terminal.read_to(END).await?;
    let cpu = runtime.cpu()?.saturating_sub(before);
    let missed = terminal.missed();
    whole(bytes + missed)?;
    runtime.stop(&id).await?;
    Ok(Passed { bytes, missed, took: at - began, cpu })
}

async fn read_barely(script: String) -> Result<Passed> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut pty = Pty::start(&script)?;
        pty.read_to(READY)?;
        let (began, before) = (Instant::now(), machine::cpu_of(std::process::id())?);
        pty.type_keys(b"g")?;
        let (bytes, at) = pty.read_to(END)?;
        let cpu = machine::cpu_of(std::process::id())?.saturating_sub(before);
        whole(bytes)?;
        Ok(Passed { bytes, missed: 0, took: at - began, cpu })
    });
    reading.await?
}

fn whole(bytes: u64) -> Result<()> {
    let expected = BYTES + END.len() as u64;
    if bytes != expected {
        bail!("{bytes} bytes came instead of {expected}");
    }
    Ok(())
}
