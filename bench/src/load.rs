//! The load: a closed loop of clients, each with one connection that sends its next request upon an answer.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use hyper::StatusCode;
use tokio::{
    task::JoinSet,
    time::{sleep_until, timeout},
};

use crate::{
    http::{Connection, Request},
    machine,
    program::Program,
};

/// Sent before anything counts: connections are made, statements prepared, caches and compilers warm.
const WARM_UP: Duration = Duration::from_secs(1);

/// An answer that takes longer fails the run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Latencies are kept in microseconds, up to this, with three digits.
const LATENCY_MAX_US: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// What CPU times are counted in.
const TICK_SECONDS: f64 = 0.01;

/// What one measurement found.
pub(crate) struct Run {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// CPU that the measured process took per request, in milliseconds.
    pub(crate) cpu_ms: f64,
    pub(crate) requests_per_cpu_second: f64,
    /// CPU that Postgres took per request, in milliseconds, if it is ours.
    pub(crate) database_cpu_ms: Option<f64>,
    /// Cores that the load itself kept busy.
    pub(crate) load_cores: f64,
    /// Cores that were busy with anything else, a database that is not ours included: disturbance.
    pub(crate) other_cores: f64,
}

/// CPU that everybody took so far.
struct Cpu {
    server: Duration,
    database: Option<Duration>,
    load: Duration,
    machine: Duration,
}

impl Cpu {
    fn read(server: &Program, database: Option<u32>) -> Result<Self> {
        let load = machine::cpu_of(std::process::id())?;
        Ok(Self {
            server: server.cpu()?,
            database: database.map(machine::cpu_of_family).transpose()?,
            load,
            machine: machine::cpu_of_machine()?,
        })
    }
}

/// Sends the requests in turn over `connections` connections and measures for `window`.
///
/// Errors: a server that answers otherwise than with `status`, late, or not at all.
pub(crate) async fn measure(
    server: &Program,
    database: Option<u32>,
    requests: &Arc<[Request]>,
    status: StatusCode,
    connections: usize,
    window: Duration,
) -> Result<Run> {
    let from = Instant::now() + WARM_UP;
    let until = from + window;
    let mut clients = JoinSet::new();
    for first in 0..connections {
        clients.spawn(client(server.address(), Arc::clone(requests), first, connections, status, from..until));
    }
    sleep_until(from.into()).await;
    let before = Cpu::read(server, database)?;
    sleep_until(until.into()).await;
    let after = Cpu::read(server, database)?;

    let mut latencies = histogram()?;
    let gather = async {
        while let Some(client) = clients.join_next().await {
            latencies.add(client??).context("latencies could not be added up")?;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, gather).await.with_context(|| format!("{} did not answer in time", server.name()))??;
    if latencies.is_empty() {
        bail!("{} answered nothing at all", server.name());
    }
    Ok(summarize(&latencies, &before, &after, window))
}

async fn client(
    address: SocketAddr,
    requests: Arc<[Request]>,
    first: usize,
    step: usize,
    status: StatusCode,
    counted: std::ops::Range<Instant>,
) -> Result<Histogram<u64>> {
    let mut connection = Connection::open(address).await?;
    let mut latencies = histogram()?;
    let mut next = first;
    loop {
        let sent = Instant::now();
        let answer = connection.send(&requests[next % requests.len()]).await?;
        let answered = Instant::now();
        if answer.status != status {
            bail!("an answer was {} instead of {status}: {}", answer.status, answer.json());
        }
        if answered >= counted.end {
            return Ok(latencies);
        }
        if answered >= counted.start {
            latencies.saturating_record(u64::try_from((answered - sent).as_micros()).unwrap_or(u64::MAX));
        }
        next += step;
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_max(LATENCY_MAX_US, DIGITS).context("no histogram could be made")
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 requests or microseconds")]
fn summarize(latencies: &Histogram<u64>, before: &Cpu, after: &Cpu, window: Duration) -> Run {
    let requests = latencies.len() as f64;
    let ms = |us: u64| us as f64 / 1000.0;
    let machine = after.machine.saturating_sub(before.machine).as_secs_f64();
    let load = after.load.saturating_sub(before.load).as_secs_f64();
    let cpu = after.server.saturating_sub(before.server).as_secs_f64();
    let database = after.database.zip(before.database).map(|(after, before)| after.saturating_sub(before).as_secs_f64());
    // Less than a tick is a rounding error of the subtraction.
    let others = machine - cpu - load - database.unwrap_or_default();
    let others = if others < TICK_SECONDS { 0.0 } else { others };
    Run {
        requests_per_second: requests / window.as_secs_f64(),
        p50_ms: ms(latencies.value_at_quantile(0.5)),
        p99_ms: ms(latencies.value_at_quantile(0.99)),
        max_ms: ms(latencies.max()),
        cpu_ms: cpu * 1000.0 / requests,
        requests_per_cpu_second: requests / cpu,
        database_cpu_ms: database.map(|cpu| cpu * 1000.0 / requests),
        load_cores: load / window.as_secs_f64(),
        other_cores: others / window.as_secs_f64(),
    }
}
