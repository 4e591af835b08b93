//! What is posted to the control plane without being asked: how spawns turned out, and heartbeats.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use reqwest::{Client, Response, StatusCode, Url, redirect::Policy};
use runtime_protocol::{Heartbeat, SpawnCallback};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    agents::{Agent, Agents},
    config::Config,
    lock::lock,
    problem::Problem,
};

/// Callbacks waiting for delivery, one per agent, so this is many times the usual limit of agents.
const WAITING_MAX: usize = 256;
/// Deliveries under way at once, so that one dead receiver does not hold up the others.
const AT_ONCE_MAX: usize = 8;
const ATTEMPTS: u32 = 5;
const FIRST_RETRY_AFTER: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Workspaces remembered for heartbeats: each costs a request every 30 s.
const WORKSPACES_MAX: usize = 200;
/// A refusal that is longer is not read for its code.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;
/// As much of a code as is logged.
const CODE_CHARS_MAX: usize = 100;
const HEARTBEAT_PATH: &str = "/api/parallax-agents/runtime/heartbeat";

/// Takes callbacks in; delivery happens behind.
pub(crate) struct Callbacks {
    queue: Arc<Queue>,
}

/// What waits for delivery. Of one agent only the newest does, and only one is under way, so that its
/// states are told in their order.
#[derive(Default)]
struct Queue {
    lists: Mutex<Lists>,
    changed: Notify,
}

#[derive(Default)]
struct Lists {
    waiting: VecDeque<(String, Delivery)>,
    /// Agents of which a callback is under way.
    under_way: HashSet<String>,
}

impl Queue {
    /// Returns whether there was room.
    fn add(&self, agent_id: &str, delivery: Delivery) -> bool {
        let mut lists = lock(&self.lists);
        let is_full = lists.waiting.len() >= WAITING_MAX;
        match lists.waiting.iter_mut().find(|(of, _)| of == agent_id) {
            Some((_, older)) => *older = delivery,
            None if is_full => return false,
            None => lists.waiting.push_back((agent_id.into(), delivery)),
        }
        drop(lists);
        self.changed.notify_one();
        true
    }

    /// The first whose agent has none under way; it is under way from now on.
    fn take(&self) -> Option<(String, Delivery)> {
        let lists = &mut *lock(&self.lists);
        let first = lists.waiting.iter().position(|(agent_id, _)| !lists.under_way.contains(agent_id))?;
        let next = lists.waiting.remove(first)?;
        lists.under_way.insert(next.0.clone());
        Some(next)
    }

    async fn next(&self) -> (String, Delivery) {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.changed.notified().await;
        }
    }

    fn is_done(&self, agent_id: &str) {
        lock(&self.lists).under_way.remove(agent_id);
        self.changed.notify_one();
    }

    /// Whether a newer one waits than the one under way.
    fn has_newer(&self, agent_id: &str) -> bool {
        lock(&self.lists).waiting.iter().any(|(of, _)| of == agent_id)
    }
}

struct Delivery {
    url: Url,
    workspace_id: String,
    body: Value,
}

impl Callbacks {
    /// Queues one callback, in place of an older one of the same agent. A full queue drops it: the control plane learns the same from the
    /// event stream and from listing agents.
    pub(crate) fn post(&self, url: &Url, workspace_id: &str, body: &SpawnCallback) {
        let delivery = Delivery { url: url.clone(), workspace_id: workspace_id.into(), body: json!(body) };
        if !self.queue.add(&body.agent_id, delivery) {
            tracing::warn!(agent.id = body.agent_id, "callback dropped: too many are waiting");
        }
    }
}

/// Delivers what [`Callbacks`] takes in and sends heartbeats, until `closing`.
pub(crate) struct Courier {
    config: Arc<Config>,
    tasks: TaskTracker,
    closing: CancellationToken,
    client: Client,
}

impl Courier {
    /// Errors: when no HTTP client can be built.
    pub(crate) fn start(config: Arc<Config>, tasks: TaskTracker, closing: CancellationToken) -> reqwest::Result<(Arc<Self>, Callbacks)> {
        // A redirect could carry the secret to an origin that nobody allowed.
        let client = || Client::builder().timeout(ATTEMPT_TIMEOUT).redirect(Policy::none());
        let client = client().build().or_else(|error| {
            // Hosts without root certificates exist, and need none for callbacks over plain HTTP.
            tracing::warn!(%error, "callbacks over https are off");
            client().tls_certs_only([]).build()
        })?;
        let courier = Arc::new(Self { config, tasks, closing, client });
        let queue = Arc::new(Queue::default());
        let closing = courier.closing.clone();
        let work = Arc::clone(&courier).deliver_all(Arc::clone(&queue));
        courier.tasks.spawn(async move { closing.run_until_cancelled(work).await });
        Ok((courier, Callbacks { queue }))
    }

    async fn deliver_all(self: Arc<Self>, queue: Arc<Queue>) {
        let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let (agent_id, delivery) = queue.next().await;
            let (courier, queue) = (Arc::clone(&self), Arc::clone(&queue));
            self.tasks.spawn(async move {
                courier.closing.run_until_cancelled(courier.deliver(delivery, || queue.has_newer(&agent_id))).await;
                queue.is_done(&agent_id);
                drop(place);
            });
        }
    }

    /// Tries again after a failure, unless it `is_outdated`: then nobody needs it any more.
    async fn deliver(&self, delivery: Delivery, is_outdated: impl Fn() -> bool) {
        // The same in every attempt, so that the receiver can tell a repetition.
        let id = Uuid::new_v4().to_string();
        let mut pause = FIRST_RETRY_AFTER;
        for attempt in 1..=ATTEMPTS {
            let outcome = self.attempt(&delivery, &id).await;
            match outcome {
                Ok((status, _)) if status.is_success() => return,
                Ok((status, ref code)) => tracing::warn!(%status, code, attempt, "callback was refused"),
                Err(ref error) => tracing::warn!(%error, attempt, "callback was not delivered"),
            }
            if outcome.is_ok_and(|(status, _)| !worth_repeating(status)) || is_outdated() {
                return;
            }
            if attempt < ATTEMPTS {
                sleep(pause).await;
                pause *= 2;
                if is_outdated() {
                    return;
                }
            }
        }
    }

    /// The status of the answer, and the code of the problem that it tells of.
    async fn attempt(&self, delivery: &Delivery, id: &str) -> reqwest::Result<(StatusCode, Option<String>)> {
        let mut request =
            self.client.post(delivery.url.clone()).header("x-workspace-id", &delivery.workspace_id).header("x-delivery-id", id);
        if let Some(secret) = &self.config.webhook_secret {
            request = request.header("x-webhook-secret", secret.expose());
        }
        let response = request.json(&delivery.body).send().await?;
        let status = response.status();
        Ok((status, if status.is_success() { None } else { code_of(response).await }))
    }

    /// Tells the control plane regularly, per workspace that ever had an agent here, that this
    /// runtime lives, also while it has nothing to do. Before the first agent there is nothing to
    /// tell, since a heartbeat belongs to a workspace.
    pub(crate) async fn send_heartbeats(self: Arc<Self>, agents: Arc<Agents>, runtime_id: String) {
        let Some(mut url) = self.config.callback_url.clone() else {
            return;
        };
        url.set_path(HEARTBEAT_PATH);
        url.set_query(None);
        url.set_fragment(None);
        let mut ticks = tokio::time::interval(self.config.heartbeat_every);
        let mut workspaces = Workspaces::default();
        while self.closing.run_until_cancelled(ticks.tick()).await.is_some() {
            workspaces.look_at(&agents.list());
            let beat = |(workspace_id, seen): (&String, &Seen)| Delivery {
                url: url.clone(),
                workspace_id: workspace_id.clone(),
                body: json!(Heartbeat {
                    workspace_id: workspace_id.clone(),
                    runtime_id: runtime_id.clone(),
                    active_agents: Some(seen.living),
                    version: Some(env!("CARGO_PKG_VERSION").into()),
                    metadata: None,
                }),
            };
            let beats: Vec<_> = workspaces.0.iter().map(beat).map(|beat| Arc::clone(&self).beat(beat)).collect();
            let sent = stream::iter(beats).for_each_concurrent(AT_ONCE_MAX, |beat| beat);
            if self.closing.run_until_cancelled(sent).await.is_none() {
                return;
            }
        }
    }

    /// One attempt: the next heartbeat is the repetition.
    async fn beat(self: Arc<Self>, beat: Delivery) {
        match self.attempt(&beat, &Uuid::new_v4().to_string()).await {
            Ok((status, _)) if status.is_success() => {}
            Ok((status, code)) => tracing::warn!(%status, code, "heartbeat was refused"),
            Err(error) => tracing::warn!(%error, "heartbeat was not delivered"),
        }
    }
}

/// The `code` in the body of a refusal; `None` where there is none, or the body is longer than a refusal.
async fn code_of(mut response: Response) -> Option<String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > REFUSAL_BYTES_MAX {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    let body: Value = serde_json::from_slice(&body).ok()?;
    Some(body.get("code")?.as_str()?.chars().take(CODE_CHARS_MAX).collect())
}

/// The workspaces that had an agent here since the start.
#[derive(Default)]
struct Workspaces(BTreeMap<String, Seen>);

struct Seen {
    living: u32,
    at: Instant,
}

impl Workspaces {
    fn look_at(&mut self, agents: &[Arc<Agent>]) {
        self.0.values_mut().for_each(|seen| seen.living = 0);
        for agent in agents {
            if let Some(workspace_id) = &agent.workspace_id {
                self.see(workspace_id, u32::from(!agent.status().is_final()));
            }
        }
    }

    /// Counts `living` more agents of a workspace; the one not seen for longest makes room.
    fn see(&mut self, workspace_id: &str, living: u32) {
        let at = Instant::now();
        if let Some(seen) = self.0.get_mut(workspace_id) {
            seen.living += living;
            seen.at = at;
            return;
        }
        if self.0.len() == WORKSPACES_MAX {
            let longest_gone = self.0.iter().min_by_key(|(_, seen)| seen.at).map(|(id, _)| id.clone());
            longest_gone.map(|id| self.0.remove(&id));
        }
        self.0.insert(workspace_id.into(), Seen { living, at });
    }
}

fn worth_repeating(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// Checks where a spawn wants its callback: at the configured control plane, or, without one,
/// on this host. Anything else would let a caller aim the runtime's secret at any server.
pub(crate) fn allowed_target(config: &Config, target: &str) -> Result<Url, Problem> {
    let url = Url::parse(target).map_err(|error| Problem::invalid("callbackUrl", error))?;
    let allowed = match &config.callback_url {
        Some(control_plane) => url.origin() == control_plane.origin(),
        None => matches!(url.scheme(), "http" | "https") && is_loopback(&url),
    };
    if allowed { Ok(url) } else { Err(Problem::invalid("callbackUrl", "its origin is not allowed here")) }
}

/// Whether the address names this host itself.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_agent_the_newest_waits_and_one_is_under_way() {
        let queue = Queue::default();
        let delivery = |said: &str| Delivery { url: Url::parse("http://localhost").unwrap(), workspace_id: "w1".into(), body: json!(said) };
        let next = || queue.take().map(|(agent_id, delivery)| (agent_id, delivery.body));
        queue.add("a", delivery("login"));
        assert_eq!(next(), Some(("a".into(), json!("login"))));
        queue.add("a", delivery("ready"));
        queue.add("b", delivery("ready"));
        queue.add("a", delivery("failed"));
        assert!(queue.has_newer("a"));
        assert_eq!(next(), Some(("b".into(), json!("ready"))));
        assert_eq!(next(), None);
        queue.is_done("a");
        assert_eq!(next(), Some(("a".into(), json!("failed"))));
        assert!(!queue.has_newer("a"));
        let room = (0..=WAITING_MAX).filter(|number| queue.add(&number.to_string(), delivery("ready"))).count();
        assert_eq!(room, WAITING_MAX);
    }

    #[test]
    fn workspaces_are_remembered_up_to_the_limit() {
        let mut workspaces = Workspaces::default();
        for number in 0..=WORKSPACES_MAX {
            workspaces.see(&format!("w{number}"), 1);
        }
        assert_eq!(workspaces.0.len(), WORKSPACES_MAX);
        assert!(!workspaces.0.contains_key("w0") && workspaces.0.contains_key("w1"));
        workspaces.look_at(&[]);
        assert!(workspaces.0.values().all(|seen| seen.living == 0));
    }

    #[test]
    fn callbacks_go_to_the_control_plane_or_else_to_this_host_only() {
        let mut config = Config::new("/tmp".into());
        let allowed = |config: &Config, target: &str| allowed_target(config, target).is_ok();
        for (target, here) in [
            ("http://127.0.0.1:3000/cb", true),
            ("http://[::1]/cb", true),
            ("https://localhost/cb", true),
            ("http://127.0.0.1.example.com/cb", false),
            ("http://user@10.0.0.1/", false),
            ("ftp://127.0.0.1/", false),
            ("/cb", false),
        ] {
            assert_eq!(allowed(&config, target), here, "{target}");
        }
        config.callback_url = Url::parse("https://raven.example").ok();
        assert!(allowed(&config, "https://raven.example:443/api/cb"));
        assert!(!allowed(&config, "http://raven.example/api/cb"));
        assert!(!allowed(&config, "http://127.0.0.1/api/cb"));
    }
}
