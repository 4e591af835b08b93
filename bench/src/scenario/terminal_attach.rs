//! Somebody comes late: how long until there is something to see of a terminal that has printed 2 MiB.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::Scenario;
use crate::{
    Plan, Report,
    latency::Latencies,
    report::Figure,
    script::{Reader, end},
    terminals::{Server, Terminals},
    upstream::{Amount, Manner, Progress},
    viewer::{Said, Viewer},
};

/// Printed before anybody comes, in bytes.
const HISTORY_BYTES: u64 = 2 * 1024 * 1024;
/// Bytes of one message from the runtime.
const PIECE: usize = 4096;
/// Who come one after the other, and then all at once, in each run.
const VIEWERS: u32 = 20;
/// What is printed first of all.
const READY: &str = "READY-FOR-HISTORY";
/// The run that is history.
const RUN: u32 = 1;

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let terminals = Terminals::start(service, 1).await?;
    for server in Server::BOTH {
        print_history(&terminals, server).await?;
    }
    let mut results = [Vec::new(), Vec::new()];
    for run in 0..=plan.runs {
        for (server, runs) in Server::BOTH.into_iter().zip(&mut results) {
            let came = Came { alone: one_after_the_other(&terminals, server).await?, together: all_at_once(&terminals, server).await? };
            // The first finds everything cold.
            if run > 0 {
                runs.push(came);
            }
        }
    }
    let about = "attaching to a terminal that has printed 2 MiB: until the first output, and until its last line is there; 20 viewers one after the other, and 20 at once";
    let report = Report::of_terminals(Scenario::TerminalAttach, about, figures_of(&results), &terminals.stage, plan)?;
    terminals.end().await?;
    Ok(report)
}

/// One run.
struct Came {
    alone: Arrivals,
    together: Arrivals,
}

/// Of 20 viewers.
#[derive(Default)]
struct Arrivals {
    first: Latencies,
    whole: Latencies,
    bytes: u64,
    cpu: Duration,
}

impl Arrivals {
    fn kib_per_viewer(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "nobody is sent 2^52 bytes")]
        let bytes = self.bytes as f64;
        bytes / 1024.0 / f64::from(VIEWERS)
    }
}

fn figures_of(results: &[Vec<Came>; 2]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (server, runs) in Server::BOTH.into_iter().zip(results) {
        let mut figure = |quantity: &'static str, value: &dyn Fn(&Came) -> f64| {
            figures.push(Figure { quantity: quantity.into(), subject: server.name(), values: runs.iter().map(value).collect() });
        };
        figure("one by one: first output p50, ms (aim 10)", &|run| run.alone.first.at(0.5));
        figure("one by one: first output p99, ms (aim 10)", &|run| run.alone.first.at(0.99));
        figure("one by one: last line p50, ms", &|run| run.alone.whole.at(0.5));
        figure("one by one: last line p99, ms", &|run| run.alone.whole.at(0.99));
        figure("20 at once: first output p99, ms", &|run| run.together.first.at(0.99));
        figure("20 at once: last line p99, ms", &|run| run.together.whole.at(0.99));
        figure("KiB sent per viewer", &|run| run.alone.kib_per_viewer());
        figure("CPU ms per viewer", &|run| run.together.cpu.as_secs_f64() * 1000.0 / f64::from(VIEWERS));
    }
    figures
}

async fn print_history(terminals: &Terminals, server: Server) -> Result<()> {
    let mut viewer = terminals.viewer(server, 0).await?;
    let mut reader = Reader::new(&terminals.script, RUN);
    let progress = Progress::new(1);
    let manner = Manner { piece: PIECE, in_step: true, amount: Amount::Bytes(HISTORY_BYTES) };
    let line = terminals.line(server, 0).await?;
    // What is printed before the viewer's first screen would come as a screen, and not as it was printed.
    line.print(READY).await?;
    viewer.until_shows(READY).await?;
    let viewing = async {
        while !reader.is_at_end() {
            viewer.show(&mut reader).await?;
            progress.note(0, reader.position());
        }
        Ok(())
    };
    tokio::try_join!(line.play(&terminals.script, RUN, &manner, &progress), viewing)?;
    Ok(())
}

async fn one_after_the_other(terminals: &Terminals, server: Server) -> Result<Arrivals> {
    let mut arrivals = Arrivals::default();
    let before = terminals.cpu(server)?;
    for _ in 0..VIEWERS {
        let mut viewer = Viewer::connect(terminals.address(server), terminals.token()).await?;
        note(&mut arrivals, arrive(&mut viewer, &terminals.session(server, 0)).await?);
    }
    arrivals.cpu = terminals.cpu(server)?.saturating_sub(before);
    Ok(arrivals)
}

async fn all_at_once(terminals: &Terminals, server: Server) -> Result<Arrivals> {
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        viewers.push(Viewer::connect(terminals.address(server), terminals.token()).await?);
    }
    let mut arrivals = Arrivals::default();
    let before = terminals.cpu(server)?;
    let mut arriving = JoinSet::new();
    for mut viewer in viewers {
        let session = terminals.session(server, 0);
        arriving.spawn(async move { arrive(&mut viewer, &session).await });
    }
    while let Some(arrived) = arriving.join_next().await {
        note(&mut arrivals, arrived.context("a viewer failed")??);
    }
    arrivals.cpu = terminals.cpu(server)?.saturating_sub(before);
    Ok(arrivals)
}

/// Until the first output and until the last line, and the bytes that took.
async fn arrive(viewer: &mut Viewer, session: &str) -> Result<(Duration, Duration, u64)> {
    let last_line = end(RUN);
    let (asked, before) = (Instant::now(), viewer.received);
    viewer.attach(session).await?;
    let mut first = None;
    let mut shown = String::new();
    while !shown.contains(last_line.trim()) {
        if let Said::Data(text) | Said::Screen(text) = viewer.next().await? {
            first.get_or_insert_with(|| asked.elapsed());
            shown.push_str(&text);
        }
    }
    Ok((first.unwrap_or_default(), asked.elapsed(), viewer.received - before))
}

fn note(arrivals: &mut Arrivals, (first, whole, bytes): (Duration, Duration, u64)) {
    arrivals.first.note(first);
    arrivals.whole.note(whole);
    arrivals.bytes += bytes;
}
