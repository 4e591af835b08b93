//! One terminal with 50 viewers: what all of them together get, exactly; and how soon Ctrl-C ends a flood for them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};

use super::Scenario;
use crate::{
    Plan, Report,
    report::Figure,
    runtime::{Runtime, TOKEN},
    script::{Reader, Script},
    stage::Stage,
    terminals::{Server, Terminals},
    upstream::{Amount, Manner, Progress},
    viewer::Viewer,
    workspace::Workspace,
};

const VIEWERS: usize = 50;
/// Printed in each run, in bytes; each viewer gets it all.
const BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of one message from the runtime.
const PIECE: usize = 4096;
/// Output of the flood that a viewer waits for before somebody ends it, in bytes.
const FLOOD_BYTES: usize = 1024 * 1024;
/// How long a flood may take to come, and to end. The peer, which sends every viewer all that was printed, may take longer: then
/// this is its time.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is printed before the shell.
const SHELL_IS_UP: &str = "the shell is up";
/// What the shell shows when it waits for a command. The command that sets it does not hold it.
const PROMPT: &str = "ready>";
const SET_PROMPT: &str = "PS1='rea''dy>'\r";

pub(super) async fn measure(service: &Path, runtime: &Path, plan: &Plan) -> Result<Report> {
    let mut terminals = Terminals::start(service, 1).await?;
    // Viewers are tasks of their own and share the script.
    let script = Arc::new(std::mem::replace(&mut terminals.script, Script::new()));
    let mut fanned = [Vec::new(), Vec::new()];
    for run in 0..=plan.runs {
        for (index, server) in Server::BOTH.into_iter().enumerate() {
            let shown = fan_out(&terminals, &script, server, run * 2 + u32::from(index > 0)).await?;
            // The first finds everything cold.
            if run > 0 {
                fanned[index].push(shown);
            }
        }
    }
    let interrupted = interrupt_floods(service, runtime, plan).await?;
    let figures = figures_of(&fanned, &interrupted);
    let about = "8 MiB of one terminal to each of 50 viewers, of whom the slowest sets the pace, every byte compared; and Ctrl-C under `yes` in a shell on a real runtime, with 1 and with 50 viewers, until a viewer sees the prompt";
    let report = Report::of_terminals(Scenario::TerminalFanout, about, figures, &terminals.stage, plan)?;
    terminals.end().await?;
    Ok(report)
}

/// One run.
struct Fanned {
    took: Duration,
    cpu: Duration,
}

/// Until the prompt was seen, with one viewer and with all.
#[derive(Default)]
struct Interrupted {
    alone: Vec<Duration>,
    together: Vec<Duration>,
}

fn figures_of(fanned: &[Vec<Fanned>; 2], interrupted: &[Interrupted; 2]) -> Vec<Figure> {
    let mut figures = Vec::new();
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 bytes")]
    let megabytes = (BYTES * VIEWERS as u64) as f64 / 1e6;
    for (server, runs) in Server::BOTH.into_iter().zip(fanned) {
        let mut figure = |quantity: &'static str, value: &dyn Fn(&Fanned) -> f64| {
            figures.push(Figure { quantity: quantity.into(), subject: server.name(), values: runs.iter().map(value).collect() });
        };
        figure("MB/s to all viewers", &|run| megabytes / run.took.as_secs_f64());
        figure("MB to viewers per CPU-second", &|run| megabytes / run.cpu.as_secs_f64());
    }
    let ratios = fanned[0].iter().zip(&fanned[1]).map(|(ours, theirs)| theirs.cpu.as_secs_f64() / ours.cpu.as_secs_f64());
    figures.push(Figure { quantity: "MB to viewers per CPU-second".into(), subject: "service by peer", values: ratios.collect() });
    for (server, runs) in Server::BOTH.into_iter().zip(interrupted) {
        let mut figure = |quantity: &'static str, times: &[Duration]| {
            let values = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
            figures.push(Figure { quantity: quantity.into(), subject: server.name(), values });
        };
        figure("Ctrl-C under yes, 1 viewer, ms (aim 150)", &runs.alone);
        figure("Ctrl-C under yes, 50 viewers, ms (aim 150)", &runs.together);
    }
    figures
}

async fn fan_out(terminals: &Terminals, script: &Arc<Script>, server: Server, run: u32) -> Result<Fanned> {
    let line = terminals.line(server, 0).await?;
    let ready = format!("READY-FOR-RUN-{run:04}");
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        viewers.push(terminals.viewer(server, 0).await?);
    }
    line.print(&ready).await?;
    for viewer in &mut viewers {
        viewer.until_shows(&ready).await?;
    }
    let progress = Arc::new(Progress::new(VIEWERS));
    let (began, before) = (Instant::now(), terminals.cpu(server)?);
    let mut viewing = JoinSet::new();
    for (index, viewer) in viewers.into_iter().enumerate() {
        viewing.spawn(follow(viewer, Arc::clone(script), run, index, Arc::clone(&progress)));
    }
    let manner = Manner { piece: PIECE, in_step: true, amount: Amount::Bytes(BYTES) };
    let all = async {
        while let Some(viewed) = viewing.join_next().await {
            viewed??;
        }
        anyhow::Ok(began.elapsed())
    };
    let (_, took) = tokio::try_join!(line.play(script, run, &manner, &progress), all)?;
    Ok(Fanned { took, cpu: terminals.cpu(server)?.saturating_sub(before) })
}

/// Reads a run to its end; every byte must come, once.
async fn follow(mut viewer: Viewer, script: Arc<Script>, run: u32, index: usize, progress: Arc<Progress>) -> Result<()> {
    let mut reader = Reader::new(&script, run);
    while !reader.is_at_end() {
        viewer.show(&mut reader).await?;
        progress.note(index, reader.position());
    }
    if (reader.delivered, reader.resyncs) != (BYTES, 0) {
        bail!("{} of {BYTES} bytes came to viewer {index}, with {} resyncs", reader.delivered, reader.resyncs);
    }
    Ok(())
}

/// Shells on a real runtime, in front of which are the service and the peer. Each measurement has a shell of its own, which is
/// gone afterwards: a flood that one server still works on is no load of the other.
async fn interrupt_floods(service: &Path, runtime: &Path, plan: &Plan) -> Result<[Interrupted; 2]> {
    let mut runtime = Runtime::start(&PathBuf::from(runtime)).await?;
    let stage = Stage::with_terminals(service, &runtime.endpoint(), Some(TOKEN)).await?;
    let mut workspace = Workspace::set_up(&stage).await?;
    let mut agents = workspace.register_agents(2 * plan.runs as usize).await?;
    let id = workspace.id().await?;
    let peer = stage.peer.as_ref().context("there is a peer")?.address();
    let mut interrupted = [Interrupted::default(), Interrupted::default()];
    for _ in 0..plan.runs {
        for viewers in [1, VIEWERS] {
            for (server, found) in Server::BOTH.into_iter().zip(&mut interrupted) {
                let shell = runtime.spawn_in(&id, &shell_script()).await?;
                let (address, session) = match server {
                    Server::Service => {
                        let agent = agents.pop().context("there is an agent for each shell")?;
                        let offer = json!({"workspaceId": id, "agentId": agent.id, "runtimeSessionId": shell});
                        let made = workspace.offer(&offer, crate::stage::WEBHOOK_SECRET).await?;
                        let session = made["data"]["id"].as_str().with_context(|| format!("no session was made: {made}"))?;
                        (stage.service.address(), session.to_owned())
                    }
                    Server::Peer => (peer, shell.clone()),
                };
                let took = match interrupt(address, workspace.token(), &session, viewers).await? {
                    None if server == Server::Service => bail!("a flood of {viewers} viewers did not end in time"),
                    took => took.unwrap_or(PATIENCE),
                };
                let times = if viewers == 1 { &mut found.alone } else { &mut found.together };
                times.push(took);
                runtime.stop(&shell).await?;
            }
        }
    }
    stage.end().await?;
    runtime.end().await?;
    Ok(interrupted)
}

/// Says that the shell is up until a key comes: a server without positions is told nothing that was printed before it connected.
fn shell_script() -> String {
    format!("until read -rsn 1 -t 0.2; do printf '{SHELL_IS_UP}\\r\\n'; done; exec bash --norc")
}

/// Has `yes` flood this many viewers, ends it, and waits until the one who typed sees the prompt: how long that took. `None`
/// when it was not seen within [`PATIENCE`].
async fn interrupt(address: std::net::SocketAddr, token: &str, session: &str, viewers: usize) -> Result<Option<Duration>> {
    let mut typing = Viewer::attached(address, token, session).await?;
    // Before that nothing can be typed: the server may not be connected yet.
    typing.until_shows(SHELL_IS_UP).await?;
    typing.type_keys(&format!(" {SET_PROMPT}")).await?;
    typing.until_shows(PROMPT).await?;
    let mut others = JoinSet::new();
    for _ in 1..viewers {
        let mut viewer = Viewer::attached(address, token, session).await?;
        // Reads whatever comes until it is dropped.
        others.spawn(async move { while viewer.next().await.is_ok() {} });
    }
    typing.type_keys("yes\r").await?;
    let flood = async {
        let mut came = 0;
        while came < FLOOD_BYTES {
            came += typing.output().await?.len();
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, flood).await.context("a flood did not come in time")??;
    let typed = Instant::now();
    typing.type_keys("\u{3}").await?;
    match timeout(PATIENCE, typing.until_shows(PROMPT)).await {
        Ok(shown) => shown.map(|()| Some(typed.elapsed())),
        Err(_) => Ok(None),
    }
}
