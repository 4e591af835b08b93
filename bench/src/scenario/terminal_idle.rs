//! Terminals at which nothing happens: what each costs in memory, with nobody there and with one viewer.

use std::path::Path;

use anyhow::Result;

use super::Scenario;
use crate::{
    Plan, Report,
    machine::Memory,
    report::Figure,
    terminals::{Server, Terminals},
};

/// Terminals that are there at the same time.
const TERMINALS: usize = 200;
/// Terminals that are there before anything counts: what the first bring along is no matter of how many there are.
const FIRST: usize = 10;
/// All that each of them ever printed.
const PROMPT: &str = "\u{1b}]0;agent@host: ~/work\u{7}\u{1b}[01;32magent@host\u{1b}[00m:\u{1b}[01;34m~/work\u{1b}[00m$ ";

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let mut results = [Vec::new(), Vec::new()];
    let mut stage = None;
    for _ in 0..plan.runs {
        let terminals = idle(service, &mut results).await?;
        if let Some(before) = stage.replace(terminals) {
            before.end().await?;
        }
    }
    let Some(terminals) = stage else { anyhow::bail!("nothing was measured") };
    let about =
        "memory (PSS) that each of 200 terminals adds that have printed a prompt and nothing more, and what a viewer at each adds to that";
    let report = Report::of_terminals(Scenario::TerminalIdle, about, figures_of(&results), &terminals.stage, plan)?;
    terminals.end().await?;
    Ok(report)
}

/// One run.
struct Idle {
    before: Memory,
    with_terminals: Memory,
    with_viewers: Memory,
    after_viewers: Memory,
}

fn figures_of(results: &[Vec<Idle>; 2]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (server, runs) in Server::BOTH.into_iter().zip(results) {
        let mut figure = |quantity: &'static str, value: &dyn Fn(&Idle) -> f64| {
            figures.push(Figure { quantity: quantity.into(), subject: server.name(), values: runs.iter().map(value).collect() });
        };
        figure("KiB in all, without terminals", &|run| kib(run.before.proportional_kib));
        figure("KiB per terminal (aim 150)", &|run| per_terminal(run.with_terminals, run.before));
        figure("KiB per terminal with a viewer", &|run| per_terminal(run.with_viewers, run.before));
        figure("KiB per terminal when viewers have left", &|run| per_terminal(run.after_viewers, run.before));
    }
    figures
}

async fn idle(service: &Path, results: &mut [Vec<Idle>; 2]) -> Result<Terminals> {
    let (mut terminals, mut workspace) = Terminals::start_empty(service).await?;
    terminals.open(&mut workspace, FIRST).await?;
    let measured = FIRST..FIRST + TERMINALS;
    for server in Server::BOTH {
        prompt(&terminals, server, 0..FIRST).await?;
        drop(watch(&terminals, server, 0..FIRST).await?);
    }
    let before = memory(&terminals)?;
    terminals.open(&mut workspace, TERMINALS).await?;
    for server in Server::BOTH {
        prompt(&terminals, server, measured.clone()).await?;
        // The last of them having come says that all did: they were printed in this order.
        drop(watch(&terminals, server, measured.end - 1..measured.end).await?);
    }
    let with_terminals = memory(&terminals)?;
    let viewers = (watch(&terminals, Server::Service, measured.clone()).await?, watch(&terminals, Server::Peer, measured).await?);
    let with_viewers = memory(&terminals)?;
    drop(viewers);
    for server in Server::BOTH {
        // Seen by somebody who comes after all others have left.
        drop(watch(&terminals, server, 0..1).await?);
    }
    let after_viewers = memory(&terminals)?;
    for (index, runs) in results.iter_mut().enumerate() {
        let of = |memory: &[Memory; 2]| memory[index];
        runs.push(Idle {
            before: of(&before),
            with_terminals: of(&with_terminals),
            with_viewers: of(&with_viewers),
            after_viewers: of(&after_viewers),
        });
    }
    Ok(terminals)
}

fn memory(terminals: &Terminals) -> Result<[Memory; 2]> {
    Ok([terminals.memory(Server::Service)?, terminals.memory(Server::Peer)?])
}

async fn prompt(terminals: &Terminals, server: Server, numbers: std::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        terminals.line(server, number).await?.print(PROMPT).await?;
    }
    Ok(())
}

/// A viewer at each, who sees the prompt; a screen is drawn without the space that ends it.
async fn watch(terminals: &Terminals, server: Server, numbers: std::ops::Range<usize>) -> Result<Vec<crate::viewer::Viewer>> {
    let mut viewers = Vec::new();
    for number in numbers {
        let mut viewer = terminals.viewer(server, number).await?;
        viewer.until_shows("$").await?;
        viewers.push(viewer);
    }
    Ok(viewers)
}

fn per_terminal(with: Memory, without: Memory) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are not 2^52 terminals")]
    let terminals = TERMINALS as f64;
    kib(with.proportional_kib.saturating_sub(without.proportional_kib)) / terminals
}

#[expect(clippy::cast_precision_loss, reason = "no process has 2^52 KiB")]
fn kib(kib: u64) -> f64 {
    kib as f64
}
