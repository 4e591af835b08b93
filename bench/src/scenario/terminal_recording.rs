//! What it costs that terminals are recorded: the same output in a workspace that records and in one that does not.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use super::Scenario;
use crate::{
    Plan, Report,
    report::Figure,
    script::{beginning, end},
    terminals::{Server, Terminals},
    upstream::{Amount, Manner, Printed, Progress},
};

/// Terminals that print a little all the time; the first of all floods.
const CHATTY: usize = 50;
/// How often each of them prints, and how much: one line.
const LINE_EVERY: Duration = Duration::from_millis(50);
const LINE_BYTES: usize = 128;
/// Bytes of one message of the flood.
const PIECE: usize = 16 * 1024;
/// How long a flood may take to be written down behind its end.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let mut figures = Vec::new();
    let mut last = None;
    for recorded in [false, true] {
        let terminals =
            if recorded { Terminals::start(service, 1 + CHATTY).await? } else { Terminals::start_unrecorded(service, 1 + CHATTY).await? };
        let (mut floods, mut chats) = (Vec::new(), Vec::new());
        let mut behind = Behind { recorded, position: 0, lost: 0 };
        for run in 0..=plan.runs {
            let flooded = flood(&terminals, run, plan.window, &mut behind).await?;
            let chatted = chat(&terminals, plan.window).await?;
            // The first finds everything cold.
            if run > 0 {
                floods.push(flooded);
                chats.push(chatted);
            }
        }
        figures.extend(figures_of(if recorded { "recorded" } else { "not recorded" }, &floods, &chats));
        if let Some(before) = last.replace(terminals) {
            before.end().await?;
        }
    }
    let terminals = last.context("something was measured")?;
    let about = "one terminal that prints messages of 16 KiB as fast as they are read while nobody watches, and 50 that print twenty lines of 128 B a second each";
    let report = Report::of_terminals(Scenario::TerminalRecording, about, figures, &terminals.stage, plan)?;
    terminals.end().await?;
    Ok(report)
}

/// How far the flooding terminal's output goes, and how much of it is missing in the recording.
struct Behind {
    recorded: bool,
    position: u64,
    lost: u64,
}

struct Flooded {
    printed: Printed,
    took: Duration,
    cpu: Duration,
    lost: u64,
}

struct Chatted {
    took: Duration,
    cpu: Duration,
    transactions: i64,
    log_bytes: i64,
}

#[expect(clippy::cast_precision_loss, reason = "nobody prints 2^52 bytes")]
fn figures_of(subject: &'static str, floods: &[Flooded], chats: &[Chatted]) -> Vec<Figure> {
    let flooded = |quantity: &'static str, value: &dyn Fn(&Flooded) -> f64| Figure {
        quantity: quantity.into(),
        subject,
        values: floods.iter().map(value).collect(),
    };
    let chatted = |quantity: &'static str, value: &dyn Fn(&Chatted) -> f64| Figure {
        quantity: quantity.into(),
        subject,
        values: chats.iter().map(value).collect(),
    };
    vec![
        flooded("flood: MB/s read", &|run| run.printed.bytes as f64 / 1e6 / run.took.as_secs_f64()),
        flooded("flood: CPU ms per MB", &|run| run.cpu.as_secs_f64() * 1000.0 / (run.printed.bytes as f64 / 1e6)),
        flooded("flood: share missing in the recording", &|run| run.lost as f64 / run.printed.bytes as f64),
        chatted("50 terminals: CPU ms per second", &|run| run.cpu.as_secs_f64() * 1000.0 / run.took.as_secs_f64()),
        chatted("50 terminals: transactions that write per second", &|run| run.transactions as f64 / run.took.as_secs_f64()),
        chatted("50 terminals: KiB of the database's log per second", &|run| run.log_bytes as f64 / 1024.0 / run.took.as_secs_f64()),
    ]
}

/// One terminal prints as fast as the service reads, until all of it was read and written down.
async fn flood(terminals: &Terminals, run: u32, window: Duration, behind: &mut Behind) -> Result<Flooded> {
    let line = terminals.line(Server::Service, 0).await?;
    let (began, before) = (Instant::now(), terminals.cpu(Server::Service)?);
    let manner = Manner { piece: PIECE, in_step: false, amount: Amount::For(window) };
    let printed = line.play(&terminals.script, run, &manner, &Progress::new(0)).await?;
    let took = began.elapsed();
    terminals.viewer(Server::Service, 0).await?.until_shows(end(run).trim()).await?;
    behind.position += beginning(run).len() as u64 + printed.bytes + end(run).len() as u64;
    let lost = if behind.recorded { until_written(terminals, behind.position).await? } else { 0 };
    let missing = lost - behind.lost;
    behind.lost = lost;
    Ok(Flooded { printed, took, cpu: terminals.cpu(Server::Service)?.saturating_sub(before), lost: missing })
}

/// Waits until the flooding terminal is recorded up to `position`; how many bytes are missing.
async fn until_written(terminals: &Terminals, position: u64) -> Result<u64> {
    let session = terminals.session(Server::Service, 0);
    let writing = async {
        loop {
            if let Some((end, lost)) = terminals.stage.recorded(&session).await?
                && u64::try_from(end)? >= position
            {
                return anyhow::Ok(u64::try_from(lost)?);
            }
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, writing).await.context("a flood was not written down in time")?
}

/// Many terminals print a line every so often.
async fn chat(terminals: &Terminals, window: Duration) -> Result<Chatted> {
    let (began, before, cpu) = (Instant::now(), terminals.stage.writes().await?, terminals.cpu(Server::Service)?);
    let mut chatting = JoinSet::new();
    for number in 1..=CHATTY {
        let line = terminals.line(Server::Service, number).await?;
        let text = format!("{:<1$}\r\n", format!("terminal {number} does something"), LINE_BYTES - 2);
        chatting.spawn(async move {
            let mut due = interval(LINE_EVERY);
            while began.elapsed() < window {
                due.tick().await;
                line.print(&text).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(chatted) = chatting.join_next().await {
        chatted.context("a terminal failed")??;
    }
    let cpu = terminals.cpu(Server::Service)?.saturating_sub(cpu);
    let (after, took) = (terminals.stage.writes().await?, began.elapsed());
    let (transactions, log_bytes) = (after.transactions - before.transactions, after.log_bytes - before.log_bytes);
    Ok(Chatted { took, cpu, transactions, log_bytes })
}
