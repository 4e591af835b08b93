//! Viewers come and go, a thousand times: what is left of them.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use super::Scenario;
use crate::{
    Plan, Report,
    machine::{self, Memory},
    report::Figure,
    terminals::{Server, Terminals},
    viewer::Viewer,
};

/// Comings and goings in each run.
const CYCLES: u32 = 1000;
/// As many before anything counts.
const WARM_UP: u32 = 200;
/// What there is to see at each coming; a screen is drawn without the space at its end.
const OUTPUT: &str = "some output, and then $ ";
/// How long a server may take to let go of sockets that were closed.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let terminals = Terminals::start(service, 1).await?;
    let mut results = [Vec::new(), Vec::new()];
    for server in Server::BOTH {
        terminals.line(server, 0).await?.print(OUTPUT).await?;
        come_and_go(&terminals, server, WARM_UP).await?;
    }
    for _ in 0..plan.runs {
        for (server, runs) in Server::BOTH.into_iter().zip(&mut results) {
            runs.push(cycle(&terminals, server).await?);
        }
    }
    let about = "1,000 viewers one after the other, each on a socket of its own, who attach, see the screen, detach and leave; what is left over is counted right after";
    let report = Report::of_terminals(Scenario::TerminalCycles, about, figures_of(&results), &terminals.stage, plan)?;
    terminals.end().await?;
    Ok(report)
}

/// One run.
struct Cycled {
    took: Duration,
    cpu: Duration,
    files: (usize, usize),
    memory: (Memory, Memory),
}

fn figures_of(results: &[Vec<Cycled>; 2]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (server, runs) in Server::BOTH.into_iter().zip(results) {
        let mut figure = |quantity: &'static str, value: &dyn Fn(&Cycled) -> f64| {
            figures.push(Figure { quantity: quantity.into(), subject: server.name(), values: runs.iter().map(value).collect() });
        };
        let cycles = f64::from(CYCLES);
        figure("ms per cycle", &|run| run.took.as_secs_f64() * 1000.0 / cycles);
        figure("CPU ms per cycle", &|run| run.cpu.as_secs_f64() * 1000.0 / cycles);
        figure("open files more than before", &|run| difference(run.files.1 as u64, run.files.0 as u64));
        figure("KiB more than before (PSS)", &|run| difference(run.memory.1.proportional_kib, run.memory.0.proportional_kib));
    }
    figures
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^52 of anything")]
fn difference(after: u64, before: u64) -> f64 {
    after as f64 - before as f64
}

async fn cycle(terminals: &Terminals, server: Server) -> Result<Cycled> {
    let pid = terminals.program(server).pid();
    let (files, memory) = (machine::open_files(pid)?, terminals.memory(server)?);
    let (began, before) = (Instant::now(), terminals.cpu(server)?);
    come_and_go(terminals, server, CYCLES).await?;
    let (took, cpu) = (began.elapsed(), terminals.cpu(server)?.saturating_sub(before));
    // Sockets that are closed are let go of a moment later.
    let deadline = Instant::now() + PATIENCE;
    while machine::open_files(pid)? > files && Instant::now() < deadline {
        sleep(LOOK_EVERY).await;
    }
    Ok(Cycled { took, cpu, files: (files, machine::open_files(pid)?), memory: (memory, terminals.memory(server)?) })
}

async fn come_and_go(terminals: &Terminals, server: Server, times: u32) -> Result<()> {
    let session = terminals.session(server, 0);
    for time in 0..times {
        let coming = async {
            let mut viewer = Viewer::attached(terminals.address(server), terminals.token(), &session).await?;
            viewer.until_shows("$").await?;
            viewer.detach().await
        };
        coming.await.with_context(|| format!("viewer {time}"))?;
    }
    Ok(())
}
