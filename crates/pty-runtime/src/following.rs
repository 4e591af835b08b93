//! Follows what an agent shows for as long as it lives: when it is ready, waits for a login, asks
//! something, works and is done. [`Follower`] puts the screen, the detection and the turns together;
//! the rest carries out what they find.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::Utc;
use runtime_protocol::{AgentMessage, AgentStatus, BlockingPrompt, CallbackStatus, Direction, EventName, Login};
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    time::{sleep, sleep_until, timeout, timeout_at},
};

use crate::{
    adapter::Adapter,
    agents::{Agent, Agents, TYPED_WITHIN},
    detection::{Detection, Finding, Known, Phase},
    lock::lock,
    problem::Problem,
    process::{Input, Mode, Size},
    ring::Output,
    screen::{Screen, Snapshot},
    text,
    turns::{Closed, Turns},
};

/// How long a burst of output may gather before the screen is looked at.
const LOOK_AFTER: Duration = Duration::from_millis(50);
/// Pause between the keys of an automatic answer, in which a menu moves.
const KEY_PAUSE: Duration = Duration::from_millis(150);
/// Callers that may wait for an answer of one agent at once.
const ASKING_MAX: usize = 16;
/// Bytes of one message, as what comes over a terminal's socket: several wait in memory for a program
/// that reads nothing.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Messages longer than this go in as a paste, since programs take fast long typing for one anyway.
const TYPED_CHARS_MAX: usize = 200;

/// What is kept to follow one agent.
pub(crate) struct Following {
    follower: Mutex<Follower>,
    /// One caller at a time waits for an answer; the others queue up for this.
    turn: tokio::sync::Mutex<()>,
    asking: AtomicUsize,
}

impl Following {
    pub(crate) fn new(adapter: Arc<Adapter>, size: Size) -> Self {
        Self { follower: Mutex::new(Follower::new(adapter, size)), turn: tokio::sync::Mutex::default(), asking: AtomicUsize::new(0) }
    }

    /// Numbers the messages of an adopted agent from `first` on, which no message before them had.
    pub(crate) fn number_messages_from(&self, first: u64) {
        self.follower().turns.number_from(first);
    }

    fn follower(&self) -> MutexGuard<'_, Follower> {
        lock(&self.follower)
    }
}

/// Screen, detection and turns of one agent, without clock and without I/O.
pub(crate) struct Follower {
    adapter: Arc<Adapter>,
    screen: Screen,
    /// Made when the agent is first looked at.
    detection: Option<Detection>,
    /// How far the output was when the detection last heard of it; snapshots read further.
    heard: u64,
    turns: Turns,
}

impl Follower {
    pub(crate) fn new(adapter: Arc<Adapter>, size: Size) -> Self {
        Self { adapter, screen: Screen::new(size), detection: None, heard: 0, turns: Turns::default() }
    }

    /// Starts to judge an agent that stands as `known`.
    pub(crate) fn begin(&mut self, known: Known, now: Instant) {
        self.detection = Some(Detection::new(Arc::clone(&self.adapter), known, now));
    }

    /// Notes that `message` goes to the agent now.
    pub(crate) fn message_sent(&mut self, now: Instant, output: &Output, message: &str, reply: Option<oneshot::Sender<AgentMessage>>) {
        self.screen.catch_up(output, self.screen.size());
        self.turns.open(message, &mut self.screen, reply);
        if let Some(detection) = &mut self.detection {
            detection.message_sent(now);
        }
    }

    /// Looks at what the agent shows; `automation` as for [`Detection::look`].
    pub(crate) fn look(&mut self, now: Instant, output: &Output, size: Size, automation: bool) -> Vec<Finding> {
        self.screen.catch_up(output, size);
        let Some(detection) = &mut self.detection else {
            return Vec::new();
        };
        if self.screen.offset() > self.heard {
            self.heard = self.screen.offset();
            detection.printed(now);
        }
        let findings = detection.look(now, self.screen.view(), automation);
        if findings.contains(&Finding::Working) {
            self.turns.open("", &mut self.screen, None);
        }
        findings
    }

    /// The text of the turn that is over.
    pub(crate) fn close_turn(&mut self) -> Option<Closed> {
        self.turns.close(&mut self.screen, &self.adapter)
    }

    /// When to look again although nothing was printed.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.detection.as_ref().and_then(Detection::wake_at)
    }
}

impl Agent {
    /// Types `message` and then Enter, as one input; queued when this returns.
    ///
    /// Control characters are taken out, so that a message cannot press keys. Records the `message`.
    /// Errors: `Invalid` when nothing is left of it or it is too long, `AuthRequired`, `AgentStopped`,
    /// `InputTimeout` when the program does not take it in time.
    pub(crate) async fn send(&self, message: &str) -> Result<(), Problem> {
        let sending = async {
            if self.mode == Mode::Structured {
                return self.send_line(message).await;
            }
            let message = plain(message)?;
            self.post(&message, None).await.map(drop)
        };
        timeout(TYPED_WITHIN, sending).await.map_err(|_| Problem::InputTimeout(self.id.clone()))?
    }

    /// Tells a structured program something, in one line of its input: as it is where the caller or the
    /// program's adapter has no other form.
    async fn send_line(&self, message: &str) -> Result<(), Problem> {
        let message = message.trim_end_matches(['\n', '\r']);
        if message.trim().is_empty() {
            return Err(Problem::invalid("message", "must not be empty"));
        }
        // Whoever sends an object speaks the program's own language.
        let is_object = serde_json::from_str::<Value>(message).is_ok_and(|value| value.is_object());
        let line = if is_object { message.to_owned() } else { self.adapter.structured_line(message) };
        if line.contains(['\n', '\r']) {
            return Err(Problem::invalid("message", "must be one line"));
        }
        if line.len() > MESSAGE_BYTES_MAX {
            return Err(too_long());
        }
        self.type_in(Input::Keys(format!("{line}\n").into())).await?;
        self.becomes(AgentStatus::Ready, AgentStatus::Busy);
        Ok(())
    }

    /// Sends `message` when the agent is ready for it, and waits for the text of the turn that
    /// follows, `limit` at the most for both. Others who ask wait until that turn is over.
    ///
    /// Errors: as for [`Self::send`], `Invalid` for a structured program, whose answers are events;
    /// `TooManyWaiting`, and `NoAnswer` when the time is over.
    pub(crate) async fn ask(&self, message: &str, limit: Duration) -> Result<AgentMessage, Problem> {
        if self.mode == Mode::Structured {
            return Err(Problem::invalid("expectResponse", "is not offered for structured programs: their answers are events"));
        }
        let message = plain(message)?;
        let deadline = tokio::time::Instant::now() + limit;
        let _place = Place::take(&self.following.asking)?;
        let late = |_| Problem::NoAnswer(self.id.clone());
        let answer = async {
            let _turn = self.following.turn.lock().await;
            let answer = self.post_when_ready(&message).await?;
            answer.await.map_err(|_| self.no_turn())
        };
        timeout_at(deadline, answer).await.map_err(late)?
    }

    /// The screen as it stands, with everything printed so far.
    pub(crate) fn snapshot(&self) -> Snapshot {
        if self.status().is_final() {
            let mut screen = Screen::new(self.size());
            screen.catch_up(&self.output, self.size());
            return screen.snapshot();
        }
        let mut follower = self.following.follower();
        follower.screen.catch_up(&self.output, self.size());
        follower.screen.snapshot()
    }

    /// Whether cursor keys go to the program in application mode.
    pub(crate) fn wants_application_keys(&self) -> bool {
        // Neither has a screen that anybody follows.
        if self.mode == Mode::Structured || self.status().is_final() {
            return false;
        }
        let mut follower = self.following.follower();
        follower.screen.catch_up(&self.output, self.size());
        follower.screen.wants_application_keys()
    }

    async fn post_when_ready(&self, message: &str) -> Result<oneshot::Receiver<AgentMessage>, Problem> {
        let mut state = self.watch();
        loop {
            let waits = |status: AgentStatus| matches!(status, AgentStatus::Pending | AgentStatus::Starting | AgentStatus::Busy);
            let status = match state.wait_for(|state| !waits(state.status)).await {
                Ok(state) => state.status,
                Err(_) => return Err(Problem::AgentStopped(self.id.clone())),
            };
            if status != AgentStatus::Ready {
                return Err(self.no_turn());
            }
            let (reply, answer) = oneshot::channel();
            if self.post(message, Some(reply)).await? {
                return Ok(answer);
            }
        }
    }

    /// Queues `message`. With a `reply` only if the agent is ready for a turn of its own; returns
    /// whether it was.
    async fn post(&self, message: &str, reply: Option<oneshot::Sender<AgentMessage>>) -> Result<bool, Problem> {
        let input = self.input_when_started().await?;
        let chars = message.chars().count();
        let paste = chars > TYPED_CHARS_MAX || message.contains(['\n', '\r']);
        let text = if paste { format!("\u{1b}[200~{message}\u{1b}[201~") } else { message.to_owned() };
        // Programs that detect pastes by speed take an Enter that comes too soon for a part of it.
        let pause = Duration::from_millis((50 + 25 * (chars as u64 / 1000)).min(400));
        // A place in the queue first: what is noted as sent must be typed without a wait.
        let place = input.reserve().await.map_err(|_| Problem::AgentStopped(self.id.clone()))?;
        let mut follower = self.following.follower();
        let status = self.status();
        if status == AgentStatus::Authenticating {
            return Err(Problem::AuthRequired(self.id.clone()));
        }
        if reply.is_some() && status != AgentStatus::Ready {
            return Ok(false);
        }
        if matches!(status, AgentStatus::Ready | AgentStatus::Busy) {
            follower.message_sent(Instant::now(), &self.output, message, reply);
            self.becomes(AgentStatus::Ready, AgentStatus::Busy);
        }
        // Recorded first: the message may well end the agent.
        let inbound = follower.turns.message(&self.id, Direction::Inbound, message, false, Utc::now());
        self.events.record(EventName::Message, self, json!({ "message": inbound }));
        place.send(Input::Message { text, pause });
        Ok(true)
    }

    /// Why there is no turn, as the agent stands.
    fn no_turn(&self) -> Problem {
        if self.status() == AgentStatus::Authenticating {
            Problem::AuthRequired(self.id.clone())
        } else {
            Problem::AgentStopped(self.id.clone())
        }
    }
}

impl Agents {
    /// Follows an agent until it ends.
    pub(crate) async fn follow(&self, agent: &Agent) {
        if agent.mode == Mode::Structured {
            return self.follow_structured(agent).await;
        }
        let (mut output, mut state) = (agent.output.subscribe(), agent.watch());
        let phase = match agent.status() {
            AgentStatus::Ready => Phase::Ready,
            AgentStatus::Busy => Phase::Busy,
            AgentStatus::Authenticating => Phase::Authenticating,
            AgentStatus::Pending | AgentStatus::Starting | AgentStatus::Stopping | AgentStatus::Stopped | AgentStatus::Error => {
                Phase::Starting
            }
        };
        let known = Known { phase, was_ready: agent.was_ready(), login: agent.handle().login };
        agent.following.follower().begin(known, Instant::now());
        loop {
            output.mark_unchanged();
            state.mark_unchanged();
            if agent.status().is_final() {
                break;
            }
            let wake_at = self.look(agent).await;
            let wake = async {
                match wake_at {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let alive = tokio::select! {
                changed = output.changed() => changed.is_ok(),
                changed = state.changed() => changed.is_ok(),
                () = wake => true,
            };
            if !alive {
                break;
            }
            sleep(LOOK_AFTER).await;
        }
        let follower = &mut *agent.following.follower();
        follower.turns.abandon(&mut follower.screen);
        // What is still asked for is read from the ring again; the model is not worth its memory.
        follower.screen = Screen::new(agent.size());
    }

    /// A structured program takes messages from its start; it is busy until it has been quiet for a while.
    async fn follow_structured(&self, agent: &Agent) {
        self.is_ready(agent);
        let (mut output, mut state) = (agent.output.subscribe(), agent.watch());
        loop {
            let status = match state.wait_for(|state| state.status == AgentStatus::Busy || state.status.is_final()).await {
                Ok(state) => state.status,
                Err(_) => return,
            };
            if status.is_final() {
                return;
            }
            while timeout(agent.adapter.times.turn_quiet, output.changed()).await.is_ok_and(|changed| changed.is_ok()) {}
            agent.becomes(AgentStatus::Busy, AgentStatus::Ready);
        }
    }

    /// Looks once and does what follows from it. Gives the time to look again.
    async fn look(&self, agent: &Agent) -> Option<Instant> {
        let mut answers = Vec::new();
        let wake_at = {
            let mut follower = agent.following.follower();
            let automation = !agent.is_paused() && agent.status() != AgentStatus::Stopping;
            let findings = follower.look(Instant::now(), &agent.output, agent.size(), automation);
            for finding in findings {
                answers.extend(self.carry_out(agent, &mut follower, finding));
            }
            follower.wake_at()
        };
        for (index, keys) in answers.into_iter().enumerate() {
            if index > 0 {
                sleep(KEY_PAUSE).await;
            }
            // Without waiting: an agent that takes no input is not to be answered later.
            let typed = agent.input().is_ok_and(|input| input.try_send(Input::Keys(Bytes::from(keys))).is_ok());
            if !typed {
                tracing::warn!(agent.id, "automatic answer was not typed");
                break;
            }
        }
        wake_at
    }

    /// Changes the agent's state and tells. Returns keys to type.
    fn carry_out(&self, agent: &Agent, follower: &mut Follower, finding: Finding) -> Vec<String> {
        match finding {
            Finding::Ready => self.is_ready(agent),
            Finding::Login(login) => self.needs_login(agent, &login),
            Finding::Working => agent.becomes(AgentStatus::Ready, AgentStatus::Busy),
            Finding::TurnComplete => {
                if let Some(closed) = follower.close_turn() {
                    let message = follower.turns.message(&agent.id, Direction::Outbound, &closed.text, closed.cut, Utc::now());
                    self.events.record(EventName::Message, agent, json!({ "message": message }));
                    if closed.reply.is_some_and(|reply| reply.send(message).is_err()) {
                        tracing::debug!(agent.id, "nobody waits for the answer any more");
                    }
                }
                agent.becomes(AgentStatus::Busy, AgentStatus::Ready);
            }
            Finding::Prompt { prompt, answer } => {
                self.asks(agent, &prompt, !answer.is_empty());
                return answer;
            }
            Finding::Question(question) => {
                self.events.record(EventName::Question, agent, json!({ "agent": agent.handle(), "question": question }));
            }
        }
        Vec::new()
    }

    fn is_ready(&self, agent: &Agent) {
        let ready = self.change(agent, |state| {
            if !matches!(state.status, AgentStatus::Starting | AgentStatus::Authenticating) {
                return None;
            }
            state.status = AgentStatus::Ready;
            state.was_ready = true;
            state.login = None;
            Some((EventName::AgentReady, json!({})))
        });
        if ready {
            self.call_back(agent, CallbackStatus::Ready, None);
        }
    }

    fn needs_login(&self, agent: &Agent, login: &Login) {
        let told = self.change(agent, |state| {
            if !matches!(state.status, AgentStatus::Starting | AgentStatus::Authenticating | AgentStatus::Ready) {
                return None;
            }
            state.status = AgentStatus::Authenticating;
            state.login = Some(login.clone());
            Some((EventName::LoginRequired, json!(login)))
        });
        if told {
            self.call_back(agent, CallbackStatus::RequiresLogin, None);
        }
    }

    fn asks(&self, agent: &Agent, prompt: &BlockingPrompt, answered: bool) {
        tracing::info!(agent.id, prompt.kind, prompt.prompt, answered, "agent asks something");
        let data: Value = json!({ "agent": agent.handle(), "prompt": prompt, "autoResponded": answered });
        self.events.record(EventName::BlockingPrompt, agent, data);
    }
}

/// One of the places for callers who wait for an answer.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize) -> Result<Self, Problem> {
        let free = |count: usize| (count < ASKING_MAX).then_some(count + 1);
        match taken.try_update(Ordering::AcqRel, Ordering::Acquire, free) {
            Ok(_) => Ok(Self(taken)),
            Err(_) => Err(Problem::TooManyWaiting(ASKING_MAX)),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn too_long() -> Problem {
    Problem::invalid("message", format!("must be at most {MESSAGE_BYTES_MAX} bytes"))
}

fn plain(message: &str) -> Result<String, Problem> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(too_long());
    }
    let message = text::plain(message).trim().to_owned();
    if message.is_empty() { Err(Problem::invalid("message", "must not be empty")) } else { Ok(message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Adapters;

    #[test]
    fn output_that_a_snapshot_read_first_still_counts_as_printed() {
        let (start, output) = (Instant::now(), Output::new());
        let mut follower = Follower::new(Adapters::built_in().find("custom").unwrap(), Size::DEFAULT);
        let at = |millis| start + Duration::from_millis(millis);
        follower.begin(Phase::Ready.into(), start);
        follower.message_sent(start, &output, "go", None);
        output.append(0, b"still at it");
        follower.screen.catch_up(&output, Size::DEFAULT);
        assert_eq!(follower.look(at(1400), &output, Size::DEFAULT, true), []);
        assert_eq!(follower.look(at(1600), &output, Size::DEFAULT, true), []);
        assert_eq!(follower.look(at(2900), &output, Size::DEFAULT, true), [Finding::TurnComplete]);
    }
}
