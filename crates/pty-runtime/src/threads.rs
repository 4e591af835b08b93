//! Managed threads: an agent together with the objective that it was started for.
//!
//! A thread lives as long as its agent. One task per thread follows the agent: its events, its
//! state and its output become the thread's events, in their order. The thread itself holds no
//! state that its agent has already, and what it was started for lies with the agent's record: so
//! the next runtime takes it over with the agent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use runtime_protocol::{AgentStatus, EventName, ThreadEvent, ThreadEventType, ThreadHandle, ThreadStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use terminal_screen::Decoder;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    agents::{Agent, Agents, Order, Patience},
    event_stream::{Concerned, EventLog, Follower, Missed, Recorded},
    lock::lock,
    problem::Problem,
    ring::Found,
    text,
};

/// What control planes know this kind of runtime by.
const RUNTIME_NAME: &str = "local";
/// How long a thread that ended stays listed, as long as its agent does.
const ENDED_KEPT_FOR: Duration = Duration::from_mins(10);
/// Ended threads listed at once, each a few kilobytes.
const ENDED_KEPT_MAX: usize = 100;
/// How often a thread's output is told: whoever wants each byte watches the terminal.
const OUTPUT_EVERY: Duration = Duration::from_secs(2);
/// Output in one event, in bytes: the end of what came since the last one, two plain screens.
const OUTPUT_BYTES_MAX: usize = 4096;
/// How long the objective may wait for the agent to take it.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// A thread to start: a request after every check that needs no agent.
pub(crate) struct ThreadOrder {
    pub(crate) thread: ThreadRecord,
    /// The path of its memory file as the agent sees it, which is empty where there is none.
    pub(crate) memory_file: String,
    pub(crate) agent: Order,
}

/// What a thread is for, as the next runtime has to know it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ThreadRecord {
    pub(crate) id: String,
    pub(crate) execution_id: String,
    pub(crate) objective: String,
    pub(crate) workspace: Option<Map<String, Value>>,
    pub(crate) metadata: Option<Map<String, Value>>,
    pub(crate) created_at: DateTime<Utc>,
}

pub(crate) struct Thread {
    pub(crate) record: Arc<ThreadRecord>,
    pub(crate) workspace_id: Option<String>,
    agent_id: String,
    agent_type: String,
    role: Option<String>,
    stage: Mutex<Stage>,
}

struct Stage {
    /// Known once it is started, and let go of at the end with everything that it printed.
    agent: Option<Arc<Agent>>,
    /// The agent waits for an answer that nobody gave yet.
    blocked: bool,
    /// Somebody ended it before its agent was there, which then ends at once.
    stopping: bool,
    ended: Option<(ThreadStatus, Instant)>,
    updated_at: DateTime<Utc>,
}

impl Stage {
    fn status(&self) -> ThreadStatus {
        match (&self.ended, &self.agent) {
            (Some((status, _)), _) => *status,
            (None, None) => ThreadStatus::Pending,
            (None, Some(agent)) => {
                let status = ThreadStatus::from(agent.status());
                let waits = self.blocked && matches!(status, ThreadStatus::Starting | ThreadStatus::Ready | ThreadStatus::Running);
                if waits { ThreadStatus::Blocked } else { status }
            }
        }
    }
}

impl Thread {
    pub(crate) fn handle(&self) -> ThreadHandle {
        self.describe(&lock(&self.stage))
    }

    pub(crate) fn status(&self) -> ThreadStatus {
        lock(&self.stage).status()
    }

    pub(crate) fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    pub(crate) fn agent_type(&self) -> &str {
        &self.agent_type
    }

    /// The agent that works on the thread.
    ///
    /// Errors: `AgentStopped` before its start and after its end.
    pub(crate) fn agent(&self) -> Result<Arc<Agent>, Problem> {
        lock(&self.stage).agent.clone().ok_or_else(|| Problem::AgentStopped(self.agent_id.clone()))
    }

    /// The agent that is to be ended with the thread: `None` after its end, and before its start, when
    /// the thread notes that the agent has to end as soon as it is there.
    pub(crate) fn stopping(&self, agents: &Agents) -> Option<Arc<Agent>> {
        let mut stage = lock(&self.stage);
        if stage.agent.is_none() && stage.ended.is_none() {
            stage.stopping = true;
            return agents.find(&self.agent_id).ok();
        }
        stage.agent.clone()
    }

    /// Notes that somebody answered, so that the thread is not blocked any more.
    pub(crate) fn answered(&self) {
        let mut stage = lock(&self.stage);
        stage.blocked = false;
        stage.updated_at = Utc::now();
    }

    fn describe(&self, stage: &Stage) -> ThreadHandle {
        ThreadHandle {
            id: self.record.id.clone(),
            execution_id: self.record.execution_id.clone(),
            runtime_name: RUNTIME_NAME.into(),
            agent_id: Some(self.agent_id.clone()),
            agent_type: self.agent_type.clone(),
            role: self.role.clone(),
            status: stage.status(),
            workspace: self.record.workspace.clone(),
            objective: self.record.objective.clone(),
            created_at: self.record.created_at,
            updated_at: stage.updated_at,
            last_activity_at: stage.agent.as_ref().and_then(|agent| agent.output.progress().last_at),
            metadata: self.record.metadata.clone(),
        }
    }

    fn ended_at(&self) -> Option<Instant> {
        lock(&self.stage).ended.map(|(_, at)| at)
    }
}

/// All threads of one runtime.
pub(crate) struct Threads {
    agents: Arc<Agents>,
    events: Arc<EventLog>,
    tasks: TaskTracker,
    /// One task per thread that has not ended.
    followers: TaskTracker,
    closing: CancellationToken,
    listed: Mutex<HashMap<String, Arc<Thread>>>,
}

impl Threads {
    pub(crate) fn new(agents: Arc<Agents>, events: Arc<EventLog>, tasks: TaskTracker, closing: CancellationToken) -> Self {
        Self { agents, events, tasks, followers: TaskTracker::new(), closing, listed: Mutex::default() }
    }

    /// In the order of their start.
    pub(crate) fn list(&self) -> Vec<Arc<Thread>> {
        let mut threads: Vec<_> = lock(&self.listed).values().cloned().collect();
        threads.sort_by(|a, b| (a.record.created_at, &a.record.id).cmp(&(b.record.created_at, &b.record.id)));
        threads
    }

    pub(crate) fn find(&self, id: &str) -> Result<Arc<Thread>, Problem> {
        lock(&self.listed).get(id).cloned().ok_or_else(|| Problem::ThreadNotFound(id.into()))
    }

    pub(crate) fn forget(&self, thread: &Arc<Thread>) {
        lock(&self.listed).retain(|_, other| !Arc::ptr_eq(other, thread));
    }

    pub(crate) fn forget_old(&self) {
        forget_old(&mut lock(&self.listed));
    }

    /// Waits until the end of every thread is told, once all agents have ended.
    pub(crate) async fn all_told(&self) {
        self.followers.close();
        self.followers.wait().await;
    }

    /// Lists a thread and then starts its agent, so that nothing that happens to it goes untold.
    ///
    /// Errors: `ThreadExists`, and those of [`Agents::spawn`], of which the thread stays listed as failed.
    pub(crate) async fn start(self: &Arc<Self>, order: ThreadOrder) -> Result<Arc<Thread>, Problem> {
        let ThreadOrder { thread: record, memory_file, agent: mut agent_order } = order;
        let record = Arc::new(record);
        let agent_id = Uuid::new_v4().simple().to_string();
        for (name, value) in [
            ("PARALLAX_THREAD_ID", &record.id),
            ("PARALLAX_THREAD_OBJECTIVE", &record.objective),
            ("PARALLAX_THREAD_MEMORY_FILE", &memory_file),
        ] {
            agent_order.env.insert(name.into(), value.clone());
        }
        agent_order.id = Some(agent_id.clone());
        agent_order.thread = Some(Arc::clone(&record));
        let thread = Arc::new(Thread {
            workspace_id: agent_order.workspace_id.clone(),
            agent_id,
            agent_type: agent_order.adapter.name.clone(),
            role: agent_order.role.clone(),
            stage: Mutex::new(Stage { agent: None, blocked: false, stopping: false, ended: None, updated_at: record.created_at }),
            record,
        });
        self.insert(&thread)?;

        let follower = self.events.follow();
        match self.agents.spawn(agent_order).await {
            Ok(agent) => {
                let stopping = {
                    let mut stage = lock(&thread.stage);
                    stage.agent = Some(Arc::clone(&agent));
                    stage.stopping
                };
                let output = NewOutput::since(&agent, 0);
                self.attend(&thread, Arc::clone(&agent), follower, output, Told::Nothing);
                if stopping {
                    self.agents.stop(&agent, Patience::KillAtOnce, "stopped").await?;
                }
                Ok(thread)
            }
            Err(problem) => {
                self.end(&thread, ThreadEventType::Failed, json!({ "error": problem.to_string(), "code": problem.code() }));
                Err(problem)
            }
        }
    }

    /// Takes over the threads of the agents that were adopted.
    pub(crate) fn adopt(self: &Arc<Self>) {
        for agent in self.agents.list() {
            let Some(record) = agent.thread.clone() else {
                continue;
            };
            let thread = Arc::new(Thread {
                workspace_id: agent.workspace_id.clone(),
                agent_id: agent.id.clone(),
                agent_type: agent.kind().into(),
                role: agent.role.clone(),
                stage: Mutex::new(Stage {
                    agent: Some(Arc::clone(&agent)),
                    blocked: false,
                    stopping: false,
                    ended: None,
                    updated_at: Utc::now(),
                }),
                record,
            });
            lock(&self.listed).insert(thread.record.id.clone(), Arc::clone(&thread));
            // An agent that ended meanwhile has told so already; what it printed was told by the
            // runtime before.
            let (follower, output) = (self.events.follow_from_the_start(), NewOutput::since(&agent, agent.output.bounds().1));
            let told = if agent.was_ready() { Told::Objective } else { Told::Nothing };
            self.attend(&thread, agent, follower, output, told);
        }
    }

    fn attend(self: &Arc<Self>, thread: &Arc<Thread>, agent: Arc<Agent>, events: Follower, output: NewOutput, told: Told) {
        let (threads, thread) = (Arc::clone(self), Arc::clone(thread));
        self.followers.spawn(async move {
            tokio::select! { () = threads.closing.cancelled() => {}, () = threads.follow(&thread, &agent, events, output, told) => {} }
        });
    }

    fn insert(&self, thread: &Arc<Thread>) -> Result<(), Problem> {
        let mut listed = lock(&self.listed);
        forget_old(&mut listed);
        if listed.get(&thread.record.id).is_some_and(|other| other.ended_at().is_none()) {
            return Err(Problem::ThreadExists(thread.record.id.clone()));
        }
        listed.insert(thread.record.id.clone(), Arc::clone(thread));
        Ok(())
    }

    /// Tells what happens to a thread until its agent has ended.
    async fn follow(&self, thread: &Thread, agent: &Arc<Agent>, mut events: Follower, mut output: NewOutput, mut told: Told) {
        let mut state = agent.watch();
        // It may have come far already.
        state.mark_changed();
        let mut status = AgentStatus::Pending;
        loop {
            tokio::select! {
                biased;
                event = events.next_about(&agent.id) => {
                    let gone = match event {
                        Ok(event) => self.tell(thread, agent, &mut output, &event),
                        Err(Missed) => self.tell_end_by_state(thread, agent, &mut output),
                    };
                    if gone {
                        return;
                    }
                }
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let before = std::mem::replace(&mut status, state.borrow_and_update().status);
                    if before != status && matches!(status, AgentStatus::Ready | AgentStatus::Busy) {
                        // It goes on, so somebody answered, be it in the terminal.
                        thread.answered();
                    }
                    if status == AgentStatus::Ready && std::mem::replace(&mut told, Told::Objective) == Told::Nothing {
                        self.tell_objective(thread, agent);
                    } else if before == AgentStatus::Busy && status == AgentStatus::Ready {
                        self.tell_output(thread, &mut output);
                        self.record(thread, ThreadEventType::TurnComplete, Value::Null);
                    }
                }
                () = output.due() => self.tell_output(thread, &mut output),
            }
        }
    }

    /// Passes one event of the agent on; true when it was the last.
    fn tell(&self, thread: &Thread, agent: &Agent, output: &mut NewOutput, event: &Recorded) -> bool {
        let kind = match event.event {
            EventName::AgentStarted => ThreadEventType::Started,
            EventName::AgentReady => ThreadEventType::Ready,
            EventName::LoginRequired => ThreadEventType::AuthRequired,
            EventName::BlockingPrompt | EventName::Question => ThreadEventType::Blocked,
            EventName::AgentStopped => ThreadEventType::Stopped,
            EventName::AgentError if agent.status().is_final() => ThreadEventType::Failed,
            EventName::AgentError | EventName::Message | EventName::ThreadEvent | EventName::Unknown(_) => {
                return false;
            }
        };
        let mut data = match serde_json::from_str::<Value>(&event.text) {
            Ok(mut frame) => frame["data"].take(),
            Err(_) => Value::Null,
        };
        // The thread beside it says all of the agent that concerns it.
        if let Some(data) = data.as_object_mut() {
            data.remove("agent");
        }
        match kind {
            ThreadEventType::Stopped | ThreadEventType::Failed => {
                self.tell_output(thread, output);
                self.end(thread, kind, data);
                true
            }
            ThreadEventType::Blocked => {
                lock(&thread.stage).blocked = data["autoResponded"] != true;
                self.record(thread, kind, data);
                false
            }
            ThreadEventType::Started
            | ThreadEventType::Ready
            | ThreadEventType::AuthRequired
            | ThreadEventType::Output
            | ThreadEventType::TurnComplete => {
                self.record(thread, kind, data);
                false
            }
        }
    }

    /// Makes up for events that were missed: only an end must not be.
    fn tell_end_by_state(&self, thread: &Thread, agent: &Agent, output: &mut NewOutput) -> bool {
        let kind = match agent.status() {
            AgentStatus::Stopped => ThreadEventType::Stopped,
            AgentStatus::Error => ThreadEventType::Failed,
            AgentStatus::Pending
            | AgentStatus::Starting
            | AgentStatus::Authenticating
            | AgentStatus::Ready
            | AgentStatus::Busy
            | AgentStatus::Stopping => return false,
        };
        self.tell_output(thread, output);
        self.end(thread, kind, Value::Null);
        true
    }

    /// Sends the objective as the first message, on a task of its own: the thread is followed meanwhile.
    fn tell_objective(&self, thread: &Thread, agent: &Arc<Agent>) {
        let (agent, objective) = (Arc::clone(agent), thread.record.objective.clone());
        self.tasks.spawn(async move {
            match timeout(TAKEN_WITHIN, agent.send(&objective)).await {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => tracing::warn!(agent.id, %problem, "objective was not sent"),
                Err(_) => tracing::warn!(agent.id, "objective was not taken in time"),
            }
        });
    }

    fn tell_output(&self, thread: &Thread, output: &mut NewOutput) {
        if let Some((output, offset)) = output.take() {
            self.record(thread, ThreadEventType::Output, json!({ "output": output, "offset": offset }));
        }
    }

    fn record(&self, thread: &Thread, kind: ThreadEventType, data: Value) {
        let mut stage = lock(&thread.stage);
        stage.updated_at = Utc::now();
        self.record_at(thread, &stage, kind, data);
    }

    /// Tells the end of a thread and lets go of its agent.
    fn end(&self, thread: &Thread, kind: ThreadEventType, data: Value) {
        let mut stage = lock(&thread.stage);
        let status = if kind == ThreadEventType::Failed { ThreadStatus::Failed } else { ThreadStatus::Stopped };
        stage.ended = Some((status, Instant::now()));
        stage.updated_at = Utc::now();
        self.record_at(thread, &stage, kind, data);
        stage.agent = None;
    }

    fn record_at(&self, thread: &Thread, stage: &Stage, kind: ThreadEventType, data: Value) {
        tracing::debug!(thread.id = thread.record.id, ?kind, "thread event");
        let event = ThreadEvent {
            thread_id: thread.record.id.clone(),
            execution_id: thread.record.execution_id.clone(),
            kind,
            timestamp: stage.updated_at,
            data,
        };
        let concerned = Concerned {
            agent: &thread.agent_id,
            thread: Some(&thread.record.id),
            workspace: thread.workspace_id.as_deref(),
            runtime_session: stage.agent.as_ref().map(|agent| agent.runtime_session_id.as_str()),
        };
        self.events.record_for(EventName::ThreadEvent, &concerned, json!({ "thread": thread.describe(stage), "event": event }));
    }
}

fn forget_old(listed: &mut HashMap<String, Arc<Thread>>) {
    let mut ended: Vec<(Instant, String)> =
        listed.values().filter_map(|thread| Some((thread.ended_at()?, thread.record.id.clone()))).collect();
    ended.sort_unstable();
    let excess = ended.len().saturating_sub(ENDED_KEPT_MAX);
    for (number, (at, id)) in ended.iter().enumerate() {
        if number < excess || at.elapsed() >= ENDED_KEPT_FOR {
            listed.remove(id);
        }
    }
}

/// What a thread's agent was told so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Objective,
}

/// What an agent printed since it was last asked for.
struct NewOutput {
    agent: Arc<Agent>,
    cursor: u64,
    decoder: Decoder,
    ticks: Interval,
}

impl NewOutput {
    /// From the offset `cursor` on.
    fn since(agent: &Arc<Agent>, cursor: u64) -> Self {
        let mut ticks = interval(OUTPUT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        Self { agent: Arc::clone(agent), cursor, decoder: Decoder::default(), ticks }
    }

    /// Waits until it is time to tell of new output; may be dropped and called again.
    async fn due(&mut self) {
        loop {
            self.ticks.tick().await;
            if self.agent.output.bounds().1 > self.cursor {
                return;
            }
        }
    }

    /// The end of the new output as plain text, and the offset behind it.
    fn take(&mut self) -> Option<(String, u64)> {
        let (oldest, end) = self.agent.output.bounds();
        let wanted = end.saturating_sub(OUTPUT_BYTES_MAX as u64).max(oldest);
        if wanted > self.cursor {
            // What is skipped may end in the middle of a code point, as may what waits of one.
            self.decoder = Decoder::default();
            self.cursor = wanted;
        }
        let Found::Bytes(bytes) = self.agent.output.read(self.cursor, OUTPUT_BYTES_MAX) else {
            return None;
        };
        self.cursor += bytes.len() as u64;
        let output = text::plain(&self.decoder.decode(&bytes));
        (!output.trim().is_empty()).then_some((output, self.cursor))
    }
}
