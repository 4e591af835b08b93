//! Which agents exist, what state each is in, and the only ways to change it.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use reqwest::Url;
use runtime_protocol::{
    AgentHandle, AgentLimits, AgentMetrics, AgentStatus, CallbackStatus, ContextFile, EventName, Login, SpawnCallback, SpawnedAgent,
};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    adapter::{Adapter, Preset},
    callbacks::Callbacks,
    config::Config,
    context_files,
    event_stream::EventLog,
    following::Following,
    limits::{Limits, Means},
    lock::lock,
    own_process,
    problem::Problem,
    process::{self, End, Exit, Input, Launch, Listener, Mode, Process, Size, Waiter},
    records::{self, Record, Records},
    replies,
    ring::Output,
    structured::Lines,
    threads::ThreadRecord,
    workdir,
};

/// How long a stopped agent stays listed, for whoever wants its last words or its exit code.
const STOPPED_KEPT_FOR: Duration = Duration::from_mins(10);
/// Stopped agents listed at once; each holds up to 1 MiB of output.
const STOPPED_KEPT_MAX: usize = 100;
/// How long a killed process may take to disappear before the stop is reported as failed.
const KILLED_WITHIN: Duration = Duration::from_secs(3);
/// How long it may take after that until the end of what was killed past its supervisor is seen.
const ABANDONED_WITHIN: Duration = Duration::from_secs(2);
/// How long supervisors get to read that their agents are to end, when a runtime is dropped.
const TOLD_WITHIN: Duration = Duration::from_millis(250);

/// How long what is typed may wait for the agent to take it, and for the agent's start.
pub(crate) const TYPED_WITHIN: Duration = Duration::from_secs(10);

/// Supervisors of an earlier runtime that are spoken with at the same time; one that does not answer
/// takes two seconds.
const ADOPTED_AT_ONCE: usize = 32;

/// An agent to start: a request after every check that needs no agent.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) preset: Preset,
    pub(crate) capabilities: Vec<String>,
    pub(crate) workspace_id: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) reports_to: Option<String>,
    pub(crate) execution_id: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) thread: Option<Arc<ThreadRecord>>,
    pub(crate) callback_url: Option<Url>,
    pub(crate) command: Option<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: HashMap<String, String>,
    pub(crate) workdir: Option<PathBuf>,
    pub(crate) context_files: Arc<[ContextFile]>,
    pub(crate) size: Size,
    pub(crate) mode: Mode,
    pub(crate) limits: Limits,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
}

pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) workspace_id: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) execution_id: Option<String>,
    request_id: Option<String>,
    pub(crate) thread: Option<Arc<ThreadRecord>>,
    pub(crate) runtime_session_id: String,
    pub(crate) output: Arc<Output>,
    pub(crate) mode: Mode,
    pub(crate) following: Following,
    pub(crate) events: Arc<EventLog>,
    capabilities: Vec<String>,
    endpoint: String,
    callback_url: Option<Url>,
    reports_to: Option<String>,
    /// What a restart starts again: without the context files, which lie in the agent's folder by
    /// then. Holds secrets in its environment, so nothing of it is ever shown or kept for the next
    /// runtime, which has none of it.
    order: Option<Order>,
    started_at: DateTime<Utc>,
    state: watch::Sender<State>,
    /// Set before the agent leaves `pending`.
    process: OnceLock<Process>,
    /// Where the next runtime reads of it; locked while that is written.
    folder: Mutex<PathBuf>,
    /// The size for its terminal; what is wished before there is one is kept for it.
    wished: Mutex<Size>,
    /// When the CPU time was last asked for, and what it was in seconds.
    measured: Mutex<Option<(Instant, f64)>>,
}

#[derive(Clone)]
pub(crate) struct State {
    pub(crate) status: AgentStatus,
    pub(crate) exit: Option<Exit>,
    /// What it waits for while it is `authenticating`.
    pub(crate) login: Option<Login>,
    pub(crate) was_ready: bool,
    paused: bool,
    error: Option<String>,
    stop_reason: Option<Cow<'static, str>>,
    ended_at: Option<Instant>,
}

impl Agent {
    pub(crate) fn handle(&self) -> AgentHandle {
        self.describe(&self.state.borrow())
    }

    fn describe(&self, state: &State) -> AgentHandle {
        AgentHandle {
            id: self.id.clone(),
            name: self.name.clone(),
            agent_type: self.kind().into(),
            status: state.status,
            capabilities: self.capabilities.clone(),
            workspace_id: self.workspace_id.clone(),
            role: self.role.clone(),
            reports_to: self.reports_to.clone(),
            execution_id: self.execution_id.clone(),
            thread_id: self.thread_id().map(Into::into),
            runtime_session_id: Some(self.runtime_session_id.clone()),
            endpoint: Some(self.endpoint.clone()),
            pid: self.process.get().map(Process::pid),
            started_at: Some(self.started_at),
            last_activity_at: self.output.progress().last_at.or(Some(self.started_at)),
            error: state.error.clone(),
            exit_code: state.exit.as_ref().and_then(Exit::code),
            signal: state.exit.as_ref().and_then(Exit::signal).map(Into::into),
            limits: self.process.get().and_then(limits_in_force),
            login: state.login.clone().filter(|_| state.status == AgentStatus::Authenticating),
            paused: state.paused,
        }
    }

    /// What the agent has used so far; only the time where it has ended or the host does not tell.
    pub(crate) fn metrics(&self) -> AgentMetrics {
        let ended_at = self.state.borrow().ended_at;
        let since_end = ended_at.map_or(0.0, |at| at.elapsed().as_secs_f64());
        let age = (Utc::now() - self.started_at).to_std().unwrap_or_default().as_secs_f64();
        let output_bytes = self.output.progress().end;
        let uptime = (age - since_end).max(0.0);
        let alive = self.process.get().filter(|_| ended_at.is_none());
        let Some(usage) = alive.and_then(Process::usage) else {
            return AgentMetrics { uptime, output_bytes, ..AgentMetrics::default() };
        };
        let mut measured = lock(&self.measured);
        let (period, before) = measured.map_or((age, 0.0), |(at, seconds)| (at.elapsed().as_secs_f64(), seconds));
        *measured = Some((Instant::now(), usage.cpu_seconds));
        // The kernel counts in hundredths of a second, so a shorter period says nothing.
        let cpu_percent = (usage.cpu_seconds - before).max(0.0) / period.max(0.01) * 100.0;
        AgentMetrics {
            uptime,
            cpu_seconds: Some(usage.cpu_seconds),
            cpu_percent: Some(cpu_percent),
            memory_bytes: Some(usage.memory_bytes),
            processes: Some(usage.processes),
            output_bytes,
        }
    }

    fn record(&self) -> Record {
        let state = self.state.borrow();
        Record {
            id: self.id.clone(),
            name: self.name.clone(),
            kind: self.adapter.name.clone(),
            mode: self.mode,
            workspace_id: self.workspace_id.clone(),
            role: self.role.clone(),
            reports_to: self.reports_to.clone(),
            execution_id: self.execution_id.clone(),
            request_id: self.request_id.clone(),
            thread: self.thread.as_deref().cloned(),
            runtime_session_id: self.runtime_session_id.clone(),
            capabilities: self.capabilities.clone(),
            callback_url: self.callback_url.as_ref().map(ToString::to_string),
            started_at: self.started_at,
            status: state.status,
            was_ready: state.was_ready,
            login: state.login.clone(),
            paused: state.paused,
            stop_reason: state.stop_reason.as_ref().map(ToString::to_string),
        }
    }

    /// Keeps how the agent stands for the next runtime, unless it has ended: then its folder is gone.
    fn keep(&self) {
        let folder = lock(&self.folder);
        let record = self.record();
        if !record.status.is_final()
            && let Err(error) = record.write(&folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(agent.id = self.id, %error, "agent is not recorded");
        }
    }

    /// The canonical name of its type.
    pub(crate) fn kind(&self) -> &str {
        &self.adapter.name
    }

    pub(crate) fn status(&self) -> AgentStatus {
        self.state.borrow().status
    }

    /// Whether it has ever been ready.
    pub(crate) fn was_ready(&self) -> bool {
        self.state.borrow().was_ready
    }

    /// The thread that it was started for.
    pub(crate) fn thread_id(&self) -> Option<&str> {
        self.thread.as_ref().map(|thread| thread.id.as_str())
    }

    /// What the reply to its spawn says of it.
    pub(crate) fn spawned(&self) -> SpawnedAgent {
        SpawnedAgent {
            id: self.id.clone(),
            name: Some(self.name.clone()),
            agent_type: Some(self.kind().into()),
            status: Some(self.status()),
            runtime_session_id: Some(self.runtime_session_id.clone()),
            runtime_endpoint: Some(self.endpoint.clone()),
        }
    }

    /// The id of the request that started it, if that was so lately that it may be repeated.
    pub(crate) fn recent_request(&self) -> Option<replies::Key> {
        let age = (Utc::now() - self.started_at).to_std().unwrap_or_default();
        let id = self.request_id.clone().filter(|_| age < replies::KEPT_FOR)?;
        Some((self.workspace_id.clone(), id))
    }

    /// Wakes at every change of state. Subscribe before looking.
    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(crate) fn size(&self) -> Size {
        self.process.get().map_or_else(|| *lock(&self.wished), Process::size)
    }

    pub(crate) fn resize(&self, size: Size) {
        let mut wished = lock(&self.wished);
        *wished = size;
        if let Some(process) = self.process.get() {
            process.resize(size);
        }
    }

    /// Gives the agent its process, and that the size that was wished for meanwhile.
    fn has_started(&self, process: Process) {
        let wished = lock(&self.wished);
        let process = self.process.get_or_init(|| process);
        if process.size() != *wished {
            process.resize(*wished);
        }
    }

    /// Waits for the agent's start where it is still to come.
    ///
    /// Errors: `InputTimeout` when it takes too long, `AgentStopped` once the program has ended.
    pub(crate) async fn input_when_started(&self) -> Result<mpsc::Sender<Input>, Problem> {
        let mut state = self.watch();
        let started = timeout(TYPED_WITHIN, state.wait_for(|state| state.status != AgentStatus::Pending)).await;
        started.map_err(|_| Problem::InputTimeout(self.id.clone()))?.map_err(|_| Problem::AgentStopped(self.id.clone()))?;
        self.input()
    }

    /// Errors: `AgentStopped` before the program runs and once it has ended, `InputEnded` once its input has.
    pub(crate) fn input(&self) -> Result<mpsc::Sender<Input>, Problem> {
        let process = self.process.get();
        let input = process.and_then(Process::input).ok_or_else(|| Problem::AgentStopped(self.id.clone()))?;
        if process.is_some_and(Process::input_ended) { Err(Problem::InputEnded(self.id.clone())) } else { Ok(input) }
    }

    /// Types `input` as soon as there is room for it.
    ///
    /// Errors: as [`Self::input_when_started`], also when no room comes in time.
    pub(crate) async fn type_in(&self, input: Input) -> Result<(), Problem> {
        let typed = timeout(TYPED_WITHIN, self.input_when_started().await?.send(input)).await;
        typed.map_err(|_| Problem::InputTimeout(self.id.clone()))?.map_err(|_| Problem::AgentStopped(self.id.clone()))
    }

    /// Ends a structured program's input, as one-shot programs expect.
    ///
    /// Errors: `Invalid` for an agent on a terminal, whose input never ends; `AgentStopped`; `InputEnded`; and
    /// `InputTimeout` when the program does not take it in time.
    pub(crate) async fn end_input(&self) -> Result<(), Problem> {
        if self.mode != Mode::Structured {
            return Err(Problem::invalid("agent", "its input is a terminal, which has no end"));
        }
        self.type_in(Input::End).await?;
        if let Some(process) = self.process.get() {
            process.end_input();
        }
        Ok(())
    }

    /// Switches the automatic answers to the agent's questions off or on; its process goes on.
    ///
    /// Errors: `AgentStopped`.
    pub(crate) fn pause(&self, paused: bool) -> Result<(), Problem> {
        if self.status().is_final() {
            return Err(Problem::AgentStopped(self.id.clone()));
        }
        self.state.send_if_modified(|state| std::mem::replace(&mut state.paused, paused) != paused);
        Ok(())
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.state.borrow().paused
    }

    /// Goes from one status to another; nothing happens in any other status.
    pub(crate) fn becomes(&self, from: AgentStatus, to: AgentStatus) {
        self.state.send_if_modified(|state| {
            let applies = state.status == from;
            if applies {
                state.status = to;
            }
            applies
        });
    }
}

fn limits_in_force(process: &Process) -> Option<AgentLimits> {
    let restraint = process.restraint();
    let by = match restraint.by? {
        Means::Cgroup => "cgroup",
        Means::Rlimit => "rlimit",
    };
    let Limits { memory_bytes, cpus, processes } = restraint.limits;
    Some(AgentLimits { memory_bytes, cpus, processes, by: by.into() })
}

/// [`workdir::find`] or [`workdir::under`].
type Locate = fn(&Path, &Path) -> Result<PathBuf, Problem>;

/// How patient a stop is.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    Wait(Duration),
    KillAtOnce,
}

/// All agents of one runtime.
pub(crate) struct Agents {
    config: Arc<Config>,
    endpoint: String,
    pub(crate) events: Arc<EventLog>,
    callbacks: Callbacks,
    tasks: TaskTracker,
    closing: CancellationToken,
    records: Records,
    listed: Mutex<Listed>,
}

#[derive(Default)]
struct Listed {
    draining: bool,
    agents: HashMap<String, Arc<Agent>>,
}

impl Listed {
    fn live(&self) -> usize {
        self.agents.values().filter(|agent| !agent.status().is_final()).count()
    }

    fn forget_old(&mut self) {
        self.agents.retain(|_, agent| agent.state.borrow().ended_at.is_none_or(|at| at.elapsed() < STOPPED_KEPT_FOR));
        let mut ended: Vec<(Instant, String)> =
            self.agents.values().filter_map(|agent| Some((agent.state.borrow().ended_at?, agent.id.clone()))).collect();
        ended.sort_unstable();
        for (_, id) in &ended[..ended.len().saturating_sub(STOPPED_KEPT_MAX)] {
            self.agents.remove(id);
        }
    }
}

impl Agents {
    pub(crate) fn new(
        config: Arc<Config>,
        endpoint: String,
        events: Arc<EventLog>,
        callbacks: Callbacks,
        tasks: TaskTracker,
        closing: CancellationToken,
        records: Records,
    ) -> Self {
        Self { config, endpoint, events, callbacks, tasks, closing, records, listed: Mutex::default() }
    }

    /// In the order of their start.
    pub(crate) fn list(&self) -> Vec<Arc<Agent>> {
        let mut agents: Vec<_> = lock(&self.listed).agents.values().cloned().collect();
        agents.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        agents
    }

    pub(crate) fn find(&self, id: &str) -> Result<Arc<Agent>, Problem> {
        lock(&self.listed).agents.get(id).cloned().ok_or_else(|| Problem::AgentNotFound(id.into()))
    }

    pub(crate) fn live(&self) -> usize {
        lock(&self.listed).live()
    }

    pub(crate) fn draining(&self) -> bool {
        lock(&self.listed).draining
    }

    pub(crate) fn forget_old(&self) {
        lock(&self.listed).forget_old();
    }

    /// Starts one agent. Its `agent_started` is recorded when this returns.
    ///
    /// Errors: `Invalid` and `CliNotFound` before anything happened; `AgentExists`, also for an id of
    /// another workspace, `MaxAgents` and `ShuttingDown` as the list stands; `SpawnFailed`, also told as `agent_error`.
    pub(crate) async fn spawn(self: &Arc<Self>, mut order: Order) -> Result<Arc<Agent>, Problem> {
        let id = order.id.clone().unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        let session_id = Uuid::new_v4().to_string();
        let folder = self.records.folder(&session_id);
        let name = order.name.clone().unwrap_or_else(|| format!("{}-{}", order.adapter.name, id.chars().take(8).collect::<String>()));
        let context_files = std::mem::replace(&mut order.context_files, [].into());
        let agent = Arc::new(Agent {
            name,
            following: Following::new(Arc::clone(&order.adapter), order.size),
            events: Arc::clone(&self.events),
            adapter: Arc::clone(&order.adapter),
            workspace_id: order.workspace_id.clone(),
            role: order.role.clone(),
            reports_to: order.reports_to.clone(),
            execution_id: order.execution_id.clone(),
            request_id: order.request_id.clone(),
            thread: order.thread.clone(),
            order: Some(order.clone()),
            runtime_session_id: session_id,
            mode: order.mode,
            folder: Mutex::new(folder.clone()),
            wished: Mutex::new(order.size),
            measured: Mutex::default(),
            output: Arc::new(Output::new()),
            capabilities: order.capabilities.clone(),
            endpoint: self.endpoint.clone(),
            callback_url: order.callback_url.clone(),
            started_at: Utc::now(),
            state: watch::Sender::new(State {
                status: AgentStatus::Pending,
                exit: None,
                login: None,
                was_ready: false,
                paused: false,
                error: None,
                stop_reason: None,
                ended_at: None,
            }),
            process: OnceLock::new(),
            id: id.clone(),
        });
        let program = program(&self.config, &order)?;
        let (agents, wanted, named) = (Arc::clone(self), order.clone(), id.clone());
        let finding = tokio::task::spawn_blocking(move || agents.folders(&wanted, &named, workdir::find)).await;
        finding.map_err(|error| Problem::Internal(error.to_string()))??;
        self.insert(&agent)?;

        let (agents, its) = (Arc::clone(self), Arc::clone(&agent));
        let starting = tokio::task::spawn_blocking(move || {
            let folders = agents.folders(&order, &id, workdir::under)?;
            agents
                .records
                .claim(&id, order.workspace_id.as_deref())
                .map_err(|error| Problem::SpawnFailed(format!("no record: {error}")))?;
            its.record().begin(&folder).map_err(|error| Problem::SpawnFailed(format!("no record: {error}")))?;
            let launch = launch(&agents.config, &order, folders, program, folder)?;
            context_files::write(&launch.cwd, &context_files)?;
            let started = Process::start(&agents.config.program, &launch, &its.output);
            let (process, waiter) = started.map_err(|error| Problem::SpawnFailed(format!("{error:#}")))?;
            its.has_started(process);
            agents.change(&its, |state| {
                state.status = AgentStatus::Starting;
                Some((EventName::AgentStarted, json!({})))
            });
            agents.attend(&its, waiter).map_err(|error| Problem::SpawnFailed(error.to_string()))
        });
        let started = starting.await.unwrap_or_else(|error| Err(Problem::SpawnFailed(error.to_string())));
        match started {
            Ok(()) => Ok(agent),
            Err(problem) => {
                self.start_failed(&agent, &problem);
                Err(problem)
            }
        }
    }

    /// The home and the working folder that an order comes to, as `locate` finds or makes them.
    ///
    /// Errors: those of `locate`; `AgentExists` for a home of another workspace and `Invalid` for a
    /// working folder in one, or for the root, which holds them all, unless the host's owner asks.
    fn folders(&self, order: &Order, id: &str, locate: Locate) -> Result<(PathBuf, PathBuf), Problem> {
        let (root, workspace_id) = (&self.config.workdir_root, order.workspace_id.as_deref());
        if self.records.is_foreign(id, workspace_id) {
            return Err(Problem::AgentExists(id.into()));
        }
        let allowed = |folder: &Path| {
            let real = workdir::find(root, folder)?;
            let real_root = workdir::find(root, Path::new("."))?;
            let home = real.strip_prefix(&real_root).ok().and_then(|inside| inside.iter().next()).and_then(|name| name.to_str());
            if workspace_id.is_some() && home.is_none_or(|home| self.records.is_foreign(home, workspace_id)) {
                return Err(Problem::invalid("workdir", format!("{} is not this workspace's alone", folder.display())));
            }
            Ok(())
        };
        let home = Path::new(id);
        allowed(home)?;
        let Some(workdir) = &order.workdir else {
            let home = locate(root, home)?;
            return Ok((home.clone(), home));
        };
        allowed(workdir)?;
        Ok((locate(root, home)?, locate(root, workdir)?))
    }

    /// Follows a running agent until its end. Blocks while what it has printed so far is taken over.
    fn attend(self: &Arc<Self>, agent: &Arc<Agent>, waiter: Waiter) -> io::Result<()> {
        let (agents, its) = (Arc::clone(self), Arc::clone(agent));
        waiter.wait(self.listener(agent), move |end| agents.ended(&its, &end))?;
        let (agents, its) = (Arc::clone(self), Arc::clone(agent));
        self.tasks.spawn(async move {
            tokio::select! { () = agents.closing.cancelled() => {}, () = agents.follow(&its) => {} }
        });
        let (closing, its) = (self.closing.clone(), Arc::clone(agent));
        let mut state = its.watch();
        its.keep();
        self.tasks.spawn(async move {
            while closing.run_until_cancelled(state.changed()).await.is_some_and(|changed| changed.is_ok()) && !its.status().is_final() {
                let kept = Arc::clone(&its);
                if let Err(error) = tokio::task::spawn_blocking(move || kept.keep()).await {
                    tracing::warn!(agent.id = its.id, %error, "agent is not recorded");
                }
            }
        });
        Ok(())
    }

    /// Tells every message that a structured program prints.
    fn listener(&self, agent: &Arc<Agent>) -> Option<Listener> {
        if agent.mode != Mode::Structured {
            return None;
        }
        let (events, its, mut lines) = (Arc::clone(&self.events), Arc::clone(agent), Lines::new());
        Some(Box::new(move |offset, bytes, seen| {
            for line in lines.take(offset, bytes, seen) {
                let message = json!({
                    // The same, if it is told again by the next runtime.
                    "id": format!("{}-msg-{}", its.id, line.offset),
                    "agentId": its.id,
                    "direction": "outbound",
                    "type": "response",
                    "content": line.text,
                    "metadata": line.value,
                    "timestamp": Utc::now(),
                });
                events.record(EventName::Message, &its, json!({ "message": message }));
            }
        }))
    }

    /// Takes over every agent that an earlier runtime left, as it stands. Blocks, for two seconds
    /// where a supervisor does not answer. Called before anything is served.
    pub(crate) fn adopt(self: &Arc<Self>) -> io::Result<()> {
        for folders in self.records.folders()?.chunks(ADOPTED_AT_ONCE) {
            thread::scope(|scope| {
                let connecting: Vec<_> = folders
                    .iter()
                    .map(|folder| {
                        let output = Arc::new(Output::new());
                        (folder, Arc::clone(&output), scope.spawn(move || Process::connect(folder, &output)))
                    })
                    .collect();
                for (folder, output, connection) in connecting {
                    let connection = connection.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the connection failed")));
                    self.take_over(folder, output, connection);
                }
            });
        }
        Ok(())
    }

    fn take_over(self: &Arc<Self>, folder: &Path, output: Arc<Output>, connection: anyhow::Result<(Process, Waiter)>) {
        let record = Record::read(folder).and_then(|record| Some((self.config.adapters.find(&record.kind)?, record)));
        let Some((adapter, record)) = record else {
            tracing::warn!(folder = %folder.display(), "folder of an unknown agent is removed");
            process::abandon(folder);
            records::remove(folder);
            return;
        };
        let status = if record.status == AgentStatus::Pending { AgentStatus::Starting } else { record.status };
        let size = connection.as_ref().map_or(Size::DEFAULT, |(process, _)| process.size());
        let agent = Arc::new(Agent {
            id: record.id,
            name: record.name,
            following: Following::new(Arc::clone(&adapter), size),
            wished: Mutex::new(size),
            events: Arc::clone(&self.events),
            adapter,
            workspace_id: record.workspace_id,
            role: record.role,
            reports_to: record.reports_to,
            execution_id: record.execution_id,
            request_id: record.request_id,
            thread: record.thread.map(Arc::new),
            order: None,
            runtime_session_id: record.runtime_session_id,
            output,
            mode: record.mode,
            capabilities: record.capabilities,
            endpoint: self.endpoint.clone(),
            callback_url: record.callback_url.as_deref().and_then(|url| Url::parse(url).ok()),
            started_at: record.started_at,
            state: watch::Sender::new(State {
                status,
                exit: None,
                error: None,
                was_ready: record.was_ready,
                login: record.login,
                paused: record.paused,
                stop_reason: record.stop_reason.map(Cow::Owned),
                ended_at: None,
            }),
            process: OnceLock::new(),
            folder: Mutex::new(folder.to_owned()),
            measured: Mutex::default(),
        });
        // No agent has as many messages as its life has milliseconds, so these numbers are new ones.
        let age = (Utc::now() - agent.started_at).num_milliseconds();
        agent.following.number_messages_from(u64::try_from(age).unwrap_or_default());
        lock(&self.listed).agents.insert(agent.id.clone(), Arc::clone(&agent));
        let attended = connection.and_then(|(process, waiter)| {
            let process = agent.process.get_or_init(|| process);
            if status == AgentStatus::Stopping {
                process.kill();
            }
            Ok(self.attend(&agent, waiter)?)
        });
        match attended {
            Ok(()) => tracing::info!(agent.id, "agent was adopted"),
            Err(error) => {
                tracing::warn!(agent.id, error = format!("{error:#}"), "agent could not be adopted");
                let end = process::abandon(folder);
                records::remove(folder);
                agent.output.finish();
                self.ended(&agent, &end);
            }
        }
    }

    /// One critical section, so that of two with the same id, or for the last place, one loses.
    fn insert(&self, agent: &Arc<Agent>) -> Result<(), Problem> {
        let mut listed = lock(&self.listed);
        if listed.draining {
            return Err(Problem::ShuttingDown);
        }
        listed.forget_old();
        let foreign = |other: &Agent| agent.workspace_id.is_some() && other.workspace_id != agent.workspace_id;
        if listed.agents.get(&agent.id).is_some_and(|other| !other.status().is_final() || foreign(other)) {
            return Err(Problem::AgentExists(agent.id.clone()));
        }
        if listed.live() >= self.config.max_agents {
            return Err(Problem::MaxAgents(self.config.max_agents));
        }
        listed.agents.insert(agent.id.clone(), Arc::clone(agent));
        Ok(())
    }

    fn start_failed(&self, agent: &Arc<Agent>, problem: &Problem) {
        if let Some(process) = agent.process.get() {
            process.kill();
            process.release();
        }
        records::remove(&lock(&agent.folder));
        // Off the list first: a caller that heard of the failure may use the id again.
        lock(&self.listed).agents.retain(|_, other| !Arc::ptr_eq(other, agent));
        let error = problem.to_string();
        self.change(agent, |state| {
            state.status = AgentStatus::Error;
            state.error = Some(error.clone());
            Some((EventName::AgentError, json!({ "error": error })))
        });
        self.call_back(agent, CallbackStatus::Failed, Some(error));
    }

    fn ended(&self, agent: &Agent, end: &End) {
        let exit = &end.exit;
        if let Some(process) = agent.process.get() {
            process.release();
        }
        let mut failed = None;
        self.change(agent, |state| {
            if state.status.is_final() {
                return None;
            }
            let reason = match (state.stop_reason.as_deref().or(end.reason.as_deref()), exit) {
                (Some(reason), _) => reason.to_owned(),
                (None, Exit::Code(0)) => "normal exit".to_owned(),
                (None, Exit::Code(code)) => format!("exit code {code}"),
                (None, Exit::Signal(name)) => format!("signal {name}"),
            };
            // Who asked for the end knows why the agent never became ready.
            failed = (!state.was_ready && state.stop_reason.is_none()).then(|| format!("agent ended before it was ready: {reason}"));
            state.status = AgentStatus::Stopped;
            state.exit = Some(exit.clone());
            state.ended_at = Some(Instant::now());
            Some((EventName::AgentStopped, json!({ "reason": reason, "exitCode": exit.code(), "signal": exit.signal() })))
        });
        if let Some(error) = failed {
            self.call_back(agent, CallbackStatus::Failed, Some(error));
        }
    }

    /// Changes an agent's state and records the event for it as one step, so that events tell
    /// the states in the order in which they were. Returns whether anything changed.
    pub(crate) fn change(&self, agent: &Agent, change: impl FnOnce(&mut State) -> Option<(EventName, serde_json::Value)>) -> bool {
        agent.state.send_if_modified(|state| {
            let Some((event, mut data)) = change(state) else {
                return false;
            };
            tracing::info!(agent.id, ?event, status = ?state.status, "agent changed");
            data["agent"] = json!(agent.describe(state));
            self.events.record(event, agent, data);
            true
        })
    }

    pub(crate) fn call_back(&self, agent: &Agent, status: CallbackStatus, error: Option<String>) {
        let login = agent.state.borrow().login.clone().filter(|_| status == CallbackStatus::RequiresLogin);
        let (Some(url), Some(workspace_id)) = (&agent.callback_url, &agent.workspace_id) else {
            return;
        };
        let body = SpawnCallback {
            workspace_id: workspace_id.clone(),
            agent_id: agent.id.clone(),
            status,
            error,
            login_url: login.as_ref().and_then(|login| login.login_url.clone()),
            instructions: login.as_ref().and_then(|login| login.instructions.clone()),
            device_code: login.and_then(|login| login.device_code),
            mcp_endpoint: None,
            runtime_session_id: Some(agent.runtime_session_id.clone()),
            runtime_endpoint: Some(agent.endpoint.clone()),
        };
        self.callbacks.post(url, workspace_id, &body);
    }

    /// Ends an agent with everything it started; returns when it is gone.
    ///
    /// Errors: `Timeout` when even a killed process does not disappear.
    pub(crate) async fn stop(&self, agent: &Agent, patience: Patience, reason: &'static str) -> Result<(), Problem> {
        let mut state = agent.watch();
        let gone = |state: &State| state.status.is_final();
        // A program that is just being started can be ended only once it runs.
        if state.wait_for(|state| state.status != AgentStatus::Pending).await.is_ok_and(|state| gone(&state)) {
            return Ok(());
        }
        agent.state.send_if_modified(|state| {
            let live = !gone(state);
            if live {
                state.status = AgentStatus::Stopping;
                state.stop_reason.get_or_insert(Cow::Borrowed(reason));
            }
            live
        });
        let Some(process) = agent.process.get() else {
            return Ok(());
        };
        if let Patience::Wait(limit) = patience {
            process.ask_to_end();
            if timeout(limit, state.wait_for(gone)).await.is_ok() {
                return Ok(());
            }
        }
        process.kill();
        if timeout(KILLED_WITHIN, state.wait_for(gone)).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(agent.id, "supervisor does not end its agent, so both are killed");
        let folder = lock(&agent.folder).clone();
        let killed = tokio::task::spawn_blocking(move || process::abandon(&folder)).await;
        match timeout(ABANDONED_WITHIN, state.wait_for(gone)).await {
            Ok(_) if killed.is_ok() => Ok(()),
            Ok(_) | Err(_) => Err(Problem::Timeout(agent.id.clone())),
        }
    }

    /// Ends an agent and starts it again as it was ordered, with the same id.
    ///
    /// Errors: `CannotRestart` for an agent that an earlier runtime started; as [`Agents::stop`] and
    /// [`Agents::spawn`], after one of the latter the agent stays stopped.
    pub(crate) async fn restart(self: &Arc<Self>, agent: &Agent, patience: Patience) -> Result<Arc<Agent>, Problem> {
        let order = agent.order.clone().ok_or_else(|| Problem::CannotRestart(agent.id.clone()))?;
        self.stop(agent, patience, "restart").await?;
        self.spawn(Order { id: Some(agent.id.clone()), name: Some(agent.name.clone()), ..order }).await
    }

    /// Takes an agent that has ended off the list.
    pub(crate) fn forget(&self, agent: &Arc<Agent>) {
        lock(&self.listed).agents.retain(|_, other| !Arc::ptr_eq(other, agent));
    }

    /// Refuses new agents and ends all there are, at the same time.
    pub(crate) async fn drain(&self, patience: Patience) {
        lock(&self.listed).draining = true;
        let stops = self.list().into_iter().map(|agent| async move {
            if let Err(problem) = self.stop(&agent, patience, "runtime shutdown").await {
                tracing::error!(agent.id, %problem, "agent was left behind");
            }
        });
        futures_util::future::join_all(stops).await;
    }

    /// Refuses new agents and leaves those there are to the next runtime.
    pub(crate) fn leave_all(&self) {
        lock(&self.listed).draining = true;
        self.list().iter().filter_map(|agent| agent.process.get()).for_each(Process::detach);
    }

    /// Ends all agents without waiting: for a runtime that is dropped rather than shut down.
    pub(crate) fn kill_all(&self) {
        lock(&self.listed).draining = true;
        let agents = self.list();
        let live = || agents.iter().filter(|agent| !agent.status().is_final()).filter_map(|agent| Some((agent, agent.process.get()?)));
        live().for_each(|(_, process)| process.end_unheard());
        let deadline = Instant::now() + TOLD_WITHIN;
        for (agent, process) in live() {
            process.told_by(deadline);
            records::remove(&lock(&agent.folder));
        }
    }
}

/// The file that an order's type and command come to.
///
/// Errors: `Invalid` for a command that is not on the allow-list, `CliNotFound`.
fn program(config: &Config, order: &Order) -> Result<PathBuf, Problem> {
    if !order.adapter.commands.is_empty() {
        let found = order.adapter.commands.iter().find_map(|command| on_path(config, command).ok());
        return found.ok_or_else(|| Problem::CliNotFound(order.adapter.commands[0].clone()));
    }
    let command = match &order.command {
        Some(command) if config.commands.contains(command) => command.as_str(),
        Some(command) => {
            let allowed = config.commands.join(", ");
            return Err(Problem::invalid("config.command", format!("{command:?} is not allowed here (allowed: {allowed})")));
        }
        None => config.commands.first().map_or("sh", String::as_str),
    };
    on_path(config, command)
}

/// Looks on the runtime's own PATH: one that comes with a request could smuggle in any program
/// under an allowed name.
fn on_path(config: &Config, command: &str) -> Result<PathBuf, Problem> {
    let executable = |path: &Path| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    let path = config.inherited_env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_str()).unwrap_or_default();
    // Joining an absolute command gives the command itself.
    let found =
        std::env::split_paths(path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(command)).find(|path| executable(path));
    found.ok_or_else(|| Problem::CliNotFound(command.into()))
}

fn launch(config: &Config, order: &Order, (home, cwd): (PathBuf, PathBuf), program: PathBuf, folder: PathBuf) -> Result<Launch, Problem> {
    let home = home
        .into_os_string()
        .into_string()
        .map_err(|path| Problem::SpawnFailed(io::Error::other(format!("{} is not UTF-8", path.display())).to_string()))?;
    let mut env: HashMap<String, String> = config.inherited_env.iter().cloned().collect();
    env.insert("HOME".into(), home);
    env.extend(order.adapter.environment.clone());
    env.extend(order.env.clone());
    // What viewers understand, whatever the request or the runtime's own terminal says.
    env.insert("TERM".into(), "xterm-256color".into());
    env.insert("COLORTERM".into(), "truecolor".into());
    let mut args = order.adapter.arguments(&program, order.preset, order.mode);
    args.extend(order.args.iter().cloned());
    Ok(Launch {
        folder,
        mode: order.mode,
        program,
        args,
        env: env.into_iter().collect(),
        cwd,
        size: order.size,
        limits: order.limits.within(config.agent_limits),
        cgroup: config.cgroup.clone(),
        lifetime: order.lifetime,
        idle_timeout: order.idle_timeout,
        orphan_timeout: config.orphan_timeout,
        open_files: own_process::open_files_before(),
    })
}
