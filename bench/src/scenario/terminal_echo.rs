//! People type: what the service, or its peer, adds to the way of a key to a runtime and back.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{ClientRequestBuilder, Message, http::Uri},
};

use super::Scenario;
use crate::{
    Plan, Report,
    latency::Latencies,
    report::Figure,
    terminals::{Server, Terminals},
    upstream::Upstream,
    viewer::Viewer,
};

/// Terminals at which somebody types at the same time.
const MANY: usize = 200;
/// The pause between two keys of one person, in milliseconds, when many type: about five keys in a second.
const PAUSE_MS: std::ops::Range<u64> = 80..320;
/// The same when one types, who alone would not come to enough keys in a run.
const PAUSE_ALONE_MS: std::ops::Range<u64> = 12..36;
/// A key that is not back after this fails the run.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn measure(service: &Path, plan: &Plan) -> Result<Report> {
    let terminals = Terminals::start(service, MANY).await?;
    let mut figures = Vec::new();
    for (typists, pause, names) in [(1, PAUSE_ALONE_MS, ALONE), (MANY, PAUSE_MS, TOGETHER)] {
        let mut runs = Vec::new();
        for run in 0..=plan.runs {
            let typed = Typed {
                direct: type_directly(&terminals.upstream, typists, &pause, plan.window).await?,
                service: type_through(&terminals, Server::Service, typists, &pause, plan.window).await?,
                peer: type_through(&terminals, Server::Peer, typists, &pause, plan.window).await?,
            };
            // The first finds everything cold.
            if run > 0 {
                runs.push(typed);
            }
        }
        figures.extend(figures_of(&runs, &names));
    }
    let about = "a key to a terminal that gives it back at once, at one terminal and at 200; added is what the server's way takes more than the direct one";
    let report = Report::of_terminals(Scenario::TerminalEcho, about, figures, &terminals.stage, plan)?;
    terminals.end().await?;
    Ok(report)
}

/// What is shown: p50 and p99, what of them was added, and the cost.
struct Names {
    p50: &'static str,
    p99: &'static str,
    added_p50: &'static str,
    added_p99: &'static str,
    cpu: &'static str,
}

const ALONE: Names = Names {
    p50: "1 terminal: p50, ms",
    p99: "1 terminal: p99, ms",
    added_p50: "1 terminal: added p50, ms (aim 0.3)",
    added_p99: "1 terminal: added p99, ms",
    cpu: "1 terminal: CPU ms per 1,000 keys",
};
const TOGETHER: Names = Names {
    p50: "200 terminals: p50, ms",
    p99: "200 terminals: p99, ms",
    added_p50: "200 terminals: added p50, ms (aim 0.3)",
    added_p99: "200 terminals: added p99, ms (aim 2)",
    cpu: "200 terminals: CPU ms per 1,000 keys",
};

/// One run.
struct Typed {
    direct: Latencies,
    service: Through,
    peer: Through,
}

struct Through {
    latencies: Latencies,
    cpu: Duration,
}

impl Through {
    fn cpu_ms_per_thousand(&self) -> f64 {
        let keys = u32::try_from(self.latencies.count()).unwrap_or(u32::MAX).max(1);
        self.cpu.as_secs_f64() * 1000.0 * 1000.0 / f64::from(keys)
    }
}

fn figures_of(runs: &[Typed], names: &Names) -> Vec<Figure> {
    let figure = |quantity: &'static str, subject, value: &dyn Fn(&Typed) -> f64| Figure {
        quantity: quantity.into(),
        subject,
        values: runs.iter().map(value).collect(),
    };
    let mut figures = vec![figure(names.p50, "direct", &|run| run.direct.at(0.5)), figure(names.p99, "direct", &|run| run.direct.at(0.99))];
    for server in Server::BOTH {
        let of = move |run: &Typed| -> (f64, f64, f64) {
            let through = if server == Server::Service { &run.service } else { &run.peer };
            (through.latencies.at(0.5), through.latencies.at(0.99), through.cpu_ms_per_thousand())
        };
        figures.push(figure(names.p50, server.name(), &|run| of(run).0));
        figures.push(figure(names.p99, server.name(), &|run| of(run).1));
        figures.push(figure(names.added_p50, server.name(), &|run| of(run).0 - run.direct.at(0.5)));
        figures.push(figure(names.added_p99, server.name(), &|run| of(run).1 - run.direct.at(0.99)));
        figures.push(figure(names.cpu, server.name(), &|run| of(run).2));
    }
    figures
}

async fn type_through(
    terminals: &Terminals,
    server: Server,
    typists: usize,
    pause: &std::ops::Range<u64>,
    window: Duration,
) -> Result<Through> {
    let mut viewers = Vec::new();
    for number in 0..typists {
        viewers.push(terminals.viewer(server, number).await?);
    }
    let before = terminals.cpu(server)?;
    let mut typing = JoinSet::new();
    for (number, viewer) in viewers.into_iter().enumerate() {
        typing.spawn(type_keys(Typist::Viewer(Box::new(viewer)), number, pause.clone(), window));
    }
    let latencies = gather(typing).await?;
    Ok(Through { latencies, cpu: terminals.cpu(server)?.saturating_sub(before) })
}

async fn type_directly(upstream: &Upstream, typists: usize, pause: &std::ops::Range<u64>, window: Duration) -> Result<Latencies> {
    let mut typing = JoinSet::new();
    for number in 0..typists {
        let uri: Uri = format!("ws://{}/ws/agents/direct-{number:03}/terminal?since=0", upstream.address()).parse()?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol("raven.terminal.v1");
        let stream = TcpStream::connect(upstream.address()).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = client_async(request, stream).await?;
        typing.spawn(type_keys(Typist::Direct(Box::new(socket)), number, pause.clone(), window));
    }
    gather(typing).await
}

async fn gather(mut typing: JoinSet<Result<Latencies>>) -> Result<Latencies> {
    let mut all = Latencies::default();
    while let Some(one) = typing.join_next().await {
        all.append(one??);
    }
    Ok(all)
}

/// Somebody at a keyboard.
enum Typist {
    Viewer(Box<Viewer>),
    Direct(Box<WebSocketStream<TcpStream>>),
}

impl Typist {
    async fn send(&mut self, key: &str) -> Result<()> {
        match self {
            Self::Viewer(viewer) => viewer.type_keys(key).await,
            Self::Direct(socket) => Ok(socket.send(Message::binary(key.as_bytes().to_vec())).await?),
        }
    }

    async fn read_back(&mut self, key: &str) -> Result<()> {
        match self {
            Self::Viewer(viewer) => viewer.until_shows(key).await,
            Self::Direct(socket) => loop {
                match socket.next().await.context("the stand-in closed a terminal")?? {
                    Message::Binary(bytes) if bytes == key.as_bytes() => return Ok(()),
                    Message::Close(_) => bail!("the stand-in closed a terminal"),
                    Message::Binary(_) | Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                }
            },
        }
    }
}

/// Types one key after the other until the time is over, each after a pause; a key is followed by the next only when it is
/// back.
async fn type_keys(mut typist: Typist, number: usize, pause: std::ops::Range<u64>, window: Duration) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    let began = Instant::now();
    let mut typed = 0_u32;
    while began.elapsed() < window {
        sleep(Duration::from_millis(rand::random_range(pause.clone()))).await;
        // Each is told from all others, those in the history included.
        let key = format!("[{number}.{typed}.{:x}]", rand::random::<u32>());
        let sent = Instant::now();
        typist.send(&key).await?;
        timeout(PATIENCE, typist.read_back(&key)).await.context("a key did not come back in time")??;
        latencies.note(sent.elapsed());
        typed += 1;
    }
    Ok(latencies)
}
