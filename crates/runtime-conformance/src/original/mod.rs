//! A replica of the original local runtime (dialect D2; runtime contract §3, §6, §7).
//!
//! It serves what the original serves and nothing else, over real sockets and with a shell on a real
//! pseudo-terminal behind every agent. Its defects are there on purpose: no authentication, errors of
//! unknown agents as 500, handles without exit code, live output only, terminals that stay open after
//! the end, events without numbers, stops that are read off the screen. Left out are its threads and its
//! reading of model output.
//!
//! Tests turn knobs on it: connections are dropped, events repeated, answers delayed or lost, sockets
//! frozen as behind a dead network, or the whole runtime killed. As a headless runtime it stands for the
//! container runtimes, which accept every WebSocket path as the general one (§14, §15).

mod agents;
mod http;
mod sockets;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::Utc;
use hyper::HeaderMap;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{broadcast, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use agents::Agent;

/// Printing this makes an agent ask for a login.
pub const LOGIN_PHRASE: &str = "Please run /login";
/// What the original then puts where the address of the login belongs (RUN-03).
pub const LOGIN_SENTENCE: &str = "Run /login in the terminal and follow what it says";
/// Printing this makes an agent that waits for a login ready again.
pub const LOGGED_IN_PHRASE: &str = "Login successful";
/// Printing this word makes the original believe that the agent has ended (RUN-05).
pub const EXIT_WORD: &str = "exit";

/// Agents that the original runs at the most, unless it is told otherwise.
const AGENTS_MAX: usize = 10;
/// Events that a socket may be behind. The original queues without a bound; a test that needs more would
/// rather see the events lost than the memory gone.
const EVENTS_QUEUED: usize = 16 * 1024;
/// Requests remembered for tests to look at.
const REQUESTS_KEPT: usize = 2_000;

/// How a replica is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 chooses a free one.
    pub address: SocketAddr,
    /// Whether it behaves as the container runtimes do: every WebSocket is the general one, and there is no terminal.
    pub headless: bool,
    pub agents_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), headless: false, agents_max: AGENTS_MAX }
    }
}

/// A request that the replica got.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
}

/// A running replica. Dropping it kills it.
pub struct Original {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// One event, as it goes to every socket that wants it.
#[derive(Debug)]
struct Event {
    name: String,
    data: Value,
    agent: Option<String>,
}

/// What tests have changed about the replica.
#[derive(Clone, Debug, Default)]
struct Knobs {
    /// How often each event is sent beyond the first time.
    repeats: usize,
    answer_delay: Duration,
    loses_answers: bool,
    is_unhealthy: bool,
}

/// What all connections share.
struct Shared {
    options: Options,
    agents: Mutex<Vec<Arc<Agent>>>,
    events: broadcast::Sender<Arc<Event>>,
    knobs: Mutex<Knobs>,
    frozen: watch::Sender<bool>,
    requests: Mutex<VecDeque<Recorded>>,
    /// Ends the sockets that are open now.
    sockets: Mutex<CancellationToken>,
    tasks: TaskTracker,
    killed: CancellationToken,
}

impl Original {
    /// Starts a replica on a free port of this machine.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts a replica as the container runtimes are.
    pub async fn start_headless() -> io::Result<Self> {
        Self::start_with(Options { headless: true, ..Options::default() }).await
    }

    pub async fn start_with(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.address).await?;
        let address = listener.local_addr()?;
        let killed = CancellationToken::new();
        let shared = Arc::new(Shared {
            options,
            agents: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_QUEUED),
            knobs: Mutex::default(),
            frozen: watch::Sender::new(false),
            requests: Mutex::default(),
            sockets: Mutex::new(killed.child_token()),
            tasks: TaskTracker::new(),
            killed,
        });
        shared.tasks.spawn(http::serve(Arc::clone(&shared), listener));
        Ok(Self { address, shared })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, without a slash at its end.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on sends every event `times` times beyond the first.
    pub fn repeat_events(&self, times: usize) {
        locked(&self.shared.knobs).repeats = times;
    }

    /// From now on waits before every answer to a `POST`, once the work is done.
    pub fn delay_answers(&self, delay: Duration) {
        locked(&self.shared.knobs).answer_delay = delay;
    }

    /// From now on does what a `POST` asks and drops the connection instead of answering.
    pub fn lose_answers(&self, lose: bool) {
        locked(&self.shared.knobs).loses_answers = lose;
    }

    /// From now on says of itself that it is not healthy, still with status 200.
    pub fn be_unhealthy(&self, unhealthy: bool) {
        locked(&self.shared.knobs).is_unhealthy = unhealthy;
    }

    /// Neither reads nor writes any WebSocket while frozen, as if the network were gone.
    pub fn freeze(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }

    /// Breaks every WebSocket that is open, without a farewell.
    pub fn drop_connections(&self) {
        let fresh = self.shared.killed.child_token();
        std::mem::replace(&mut *locked(&self.shared.sockets), fresh).cancel();
    }

    /// Sends an event that the replica would not send by itself.
    pub fn emit(&self, name: &str, data: Value) {
        self.shared.emit(name, data);
    }

    /// What the replica says of an agent; `None` when it has none of this id.
    #[must_use]
    pub fn handle(&self, id: &str) -> Option<Value> {
        self.shared.agent(id).map(|agent| agent.handle())
    }

    /// Ids of all its agents, in the order of their spawns, stopped ones included.
    #[must_use]
    pub fn agent_ids(&self) -> Vec<String> {
        locked(&self.shared.agents).iter().map(|agent| agent.id.clone()).collect()
    }

    /// Whether the process of an agent lives, whatever the replica believes.
    #[must_use]
    pub fn is_alive(&self, id: &str) -> bool {
        self.shared.agent(id).is_some_and(|agent| agent.is_alive())
    }

    /// Forgets an agent and kills its process, without an event.
    pub fn forget(&self, id: &str) {
        let mut agents = locked(&self.shared.agents);
        if let Some(place) = agents.iter().position(|agent| agent.id == id) {
            agents.remove(place).kill();
        }
    }

    /// The requests of the time, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        locked(&self.shared.requests).iter().cloned().collect()
    }

    /// How many requests of this method and path there were.
    #[must_use]
    pub fn count_of(&self, method: &str, path: &str) -> usize {
        locked(&self.shared.requests).iter().filter(|request| request.method == method && request.path == path).count()
    }

    /// Ends as by SIGKILL: all agents are dead, all connections are gone, and nobody was told.
    pub async fn kill(self) {
        self.shared.killed.cancel();
        self.shared.tasks.close();
        self.shared.kill_agents();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.shared.killed.cancel();
        self.shared.tasks.close();
        self.shared.kill_agents();
    }
}

impl Shared {
    fn agent(&self, id: &str) -> Option<Arc<Agent>> {
        locked(&self.agents).iter().find(|agent| agent.id == id).cloned()
    }

    fn knobs(&self) -> Knobs {
        locked(&self.knobs).clone()
    }

    fn sockets(&self) -> CancellationToken {
        locked(&self.sockets).clone()
    }

    fn emit(&self, name: &str, data: Value) {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let agent = data.get("agent").and_then(|agent| text(agent, "id")).or_else(|| text(&data, "agentId"));
        let event = Arc::new(Event { name: name.to_owned(), data, agent });
        for _ in 0..=self.knobs().repeats {
            if self.events.send(Arc::clone(&event)).is_err() {
                tracing::trace!(event = event.name, "nobody listens");
            }
        }
    }

    fn kill_agents(&self) {
        for agent in locked(&self.agents).iter() {
            agent.kill();
        }
    }
}

/// The time as the original writes it.
fn timestamp() -> Value {
    json!(Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

/// Locks what every change leaves whole, so that a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
