//! A terminal prints as fast as it can: how much of it reaches one viewer, and at what cost.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

use super::Scenario;
use crate::{
    Plan, Report, machine,
    report::Figure,
    script::{self, Reader},
    terminals::{Server, Terminals},
    upstream::{Amount, Manner, Printed, Progress, fills_evenly},
    viewer::Viewer,
};

/// Bytes of one message from the runtime.
const PIECES: [(usize, &str); 4] = [(64, "64 B"), (1024, "1 KiB"), (4096, "4 KiB"), (16_384, "16 KiB")];
const _: () = assert!(fills_evenly(PIECES[0].0) && fills_evenly(PIECES[1].0) && fills_evenly(PIECES[2].0) && fills_evenly(PIECES[3].0));
/// Shown to the real client in each run, which is far slower than the others, in bytes.
const REAL_CLIENT_BYTES: u64 = 64 * 1024 * 1024;
/// How long the real client may take for it.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let terminals = Terminals::start(service, 1).await?;
    let mut numbers = 1..;
    let mut next = || numbers.next().context("runs have numbers");
    let mut figures = Vec::new();
    for (manner, in_step) in [("in step", true), ("flood", false)] {
        for (piece, name) in PIECES {
            let mut results = [Vec::new(), Vec::new()];
            for run in 0..=plan.runs {
                for (server, runs) in Server::BOTH.into_iter().zip(&mut results) {
                    let manner = Manner { piece, in_step, amount: Amount::For(plan.window) };
                    let shown = show(&terminals, server, terminals.viewer(server, 0).await?, next()?, &manner).await?;
                    // The first finds everything cold.
                    if run > 0 {
                        runs.push(shown);
                    }
                }
            }
            figures.extend(figures_of(&format!("{name} {manner}"), in_step, &results));
        }
    }
    for (piece, name) in PIECES {
        let mut runs = Vec::new();
        for run in 0..=plan.runs {
            let manner = Manner { piece, in_step: true, amount: Amount::For(plan.window) };
            let shown = show(&terminals, Server::Service, terminals.console(0).await?, next()?, &manner).await?;
            if run > 0 {
                runs.push(shown);
            }
        }
        figures.extend(figures_of_one(&format!("{name} in step"), true, "service, as bytes", &runs));
    }
    let mut real = [Vec::new(), Vec::new()];
    for _ in 0..plan.runs {
        for (server, runs) in Server::BOTH.into_iter().zip(&mut real) {
            runs.push(show_to_real_client(&terminals, server, next()?).await?);
        }
    }
    figures.extend(figures_of("4 KiB to socket.io-client", false, &real));
    let about = "output of one terminal to one viewer; in step waits for the viewer, so that nothing may be missing, and flood does not";
    let report = Report::of_terminals(Scenario::TerminalThroughput, about, figures, &terminals.stage, plan)?;
    terminals.end().await?;
    Ok(report)
}

/// One run.
struct Shown {
    printed: Printed,
    delivered: u64,
    resyncs: u64,
    took: Duration,
    cpu: Duration,
}

impl Shown {
    fn messages_per_cpu_second(&self) -> f64 {
        number(self.printed.messages) / self.cpu.as_secs_f64().max(machine::TICK.as_secs_f64())
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody prints 2^52 bytes")]
fn number(count: u64) -> f64 {
    count as f64
}

fn figures_of(case: &str, is_whole: bool, results: &[Vec<Shown>; 2]) -> Vec<Figure> {
    let [ours, theirs] = results;
    let mut figures = figures_of_one(case, is_whole, Server::Service.name(), ours);
    figures.extend(figures_of_one(case, is_whole, Server::Peer.name(), theirs));
    let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours.messages_per_cpu_second() / theirs.messages_per_cpu_second());
    let quantity = format!("{case}: messages per CPU-second (aim 3)").into();
    figures.push(Figure { quantity, subject: "service by peer", values: ratios.collect() });
    figures
}

fn figures_of_one(case: &str, is_whole: bool, subject: &'static str, runs: &[Shown]) -> Vec<Figure> {
    let figure = |quantity: &str, value: &dyn Fn(&Shown) -> f64| {
        let quantity = format!("{case}: {quantity}").into();
        Figure { quantity, subject, values: runs.iter().map(value).collect() }
    };
    let mut figures = vec![
        figure("MB/s delivered", &|run| number(run.delivered) / 1e6 / run.took.as_secs_f64()),
        figure("messages/s printed", &|run| number(run.printed.messages) / run.took.as_secs_f64()),
        figure("messages per CPU-second", &Shown::messages_per_cpu_second),
    ];
    if !is_whole {
        figures.push(figure("share delivered", &|run| number(run.delivered) / number(run.printed.bytes)));
        figures.push(figure("resyncs", &|run| number(run.resyncs)));
    }
    figures
}

/// Shows a run to a viewer that is attached.
async fn show(terminals: &Terminals, server: Server, mut viewer: Viewer, run: u32, manner: &Manner) -> Result<Shown> {
    let line = terminals.line(server, 0).await?;
    // What was printed before is history, and not what is measured.
    let ready = format!("READY-FOR-RUN-{run:04}");
    line.print(&ready).await?;
    viewer.until_shows(&ready).await?;
    let mut reader = Reader::new(&terminals.script, run);
    let progress = Progress::new(1);
    let (began, before) = (Instant::now(), terminals.cpu(server)?);
    let viewing = async {
        while !reader.is_at_end() {
            viewer.show(&mut reader).await?;
            progress.note(0, reader.position());
        }
        anyhow::Ok(began.elapsed())
    };
    let (printed, took) = tokio::try_join!(line.play(&terminals.script, run, manner, &progress), viewing)?;
    let cpu = terminals.cpu(server)?.saturating_sub(before);
    if manner.in_step && (reader.delivered, reader.resyncs) != (printed.bytes, 0) {
        bail!("{}: {} of {} bytes came, with {} resyncs", server.name(), reader.delivered, printed.bytes, reader.resyncs);
    }
    Ok(Shown { printed, delivered: reader.delivered, resyncs: reader.resyncs, took, cpu })
}

/// Shows a run to socket.io-client in a process of its own.
async fn show_to_real_client(terminals: &Terminals, server: Server, run: u32) -> Result<Shown> {
    let line = terminals.line(server, 0).await?;
    let expected = script::beginning(run).len() as u64 + REAL_CLIENT_BYTES + script::end(run).len() as u64;
    let ready = format!("READY-FOR-RUN-{run:04}");
    let mut command = Command::new("node");
    command.arg(machine::root().join("bench/peer/viewer.js"));
    command.args([&format!("http://{}", terminals.address(server)), terminals.token(), &terminals.session(server, 0)]);
    command.args([ready.as_str(), &script::end(run)]);
    let mut client = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().context("node could not be started")?;
    let mut lines = BufReader::new(client.stdout.take().context("the output of the client is read")?).lines();
    let mut said = async || -> Result<String> {
        let line = timeout(PATIENCE, lines.next_line()).await.context("the client said nothing in time")??;
        line.context("the client ended without a word")
    };
    for expected in ["attached", "ready"] {
        let line_said = said().await?;
        if line_said != expected {
            bail!("the client did not attach: {line_said}");
        }
        if expected == "attached" {
            line.print(&ready).await?;
        }
    }
    let manner = Manner { piece: 4096, in_step: false, amount: Amount::Bytes(REAL_CLIENT_BYTES) };
    let (began, before) = (Instant::now(), terminals.cpu(server)?);
    let printed = line.play(&terminals.script, run, &manner, &Progress::new(0)).await?;
    let counted: Value = serde_json::from_str(&said().await?)?;
    let (took, cpu) = (began.elapsed(), terminals.cpu(server)?.saturating_sub(before));
    let count = |name: &str| counted[name].as_u64().with_context(|| format!("the client said: {counted}"));
    let (bytes, resyncs) = (count("bytes")?, count("clears")?);
    if resyncs == 0 && bytes != expected {
        bail!("{bytes} bytes came to the client instead of {expected}");
    }
    Ok(Shown { printed, delivered: bytes.min(REAL_CLIENT_BYTES), resyncs, took, cpu })
}
