//! REST calls to a runtime of any dialect (runtime contract §4.1, §16.1).
//!
//! Which routes a runtime serves is found by asking: every need has its routes in the order of the contract,
//! and a route that is not served gives way to the next. What was found is remembered for ten minutes, and
//! forgotten as soon as it turns out to be wrong.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url, header, redirect::Policy};
use runtime_protocol::{AgentHandle, AgentList, ErrorBody, Health, SpawnReply, SpawnRequest, SpawnedAgent};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{self, ClientRequestBuilder, http::Uri};
use uuid::Uuid;

use super::CONNECT_TIMEOUT;
use crate::model::{ids::WorkspaceId, told};

/// A spawn may start a container and a program that loads for long. This is for all of it: which routes there are, the
/// order, and whether the agent is there after an answer that was no good.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(55);
/// Everything else answers at once, but for a stop, which waits up to five seconds for the process.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Finding out which routes a runtime serves is no more than two small requests.
const DETECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was found is believed (§16.1).
const DIALECT_KEPT: Duration = Duration::from_mins(10);
/// One answer is at most this long, in bytes: a ring of 1 MiB of output, escaped as JSON, is below it.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Codes of our own runtime that come with a status from 500 on although nothing was carried out.
const REFUSALS: [&str; 5] = ["CLI_NOT_FOUND", "MAX_AGENTS", "RESOURCE_LIMIT", "SHUTTING_DOWN", "SPAWN_FAILED"];

/// Why a runtime did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No answer; whether the call was carried out is not known.
    #[error("the runtime cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No answer in all the time that there was for it.
    #[error("the runtime did not answer in time")]
    Late,
    #[error("the runtime refused: {message}")]
    Refused { status: u16, code: Option<String>, message: String },
    /// None of the routes that mean this exists there.
    #[error("the runtime does not offer this")]
    NotServed,
    #[error("the runtime answered with something else than its contract says")]
    BadReply(#[source] BadReply),
}

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub enum BadReply {
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

impl RuntimeError {
    /// Whether the call was certainly not carried out. A server in between may give up on a call that goes on, so
    /// an error that is not the caller's is certain only where the runtime says which one it is.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Refused { status, code, .. } => {
                (matches!(status, 400..=499) && *status != 408) || code.as_deref().is_some_and(|code| REFUSALS.contains(&code))
            }
            Self::NotServed => true,
            Self::Unreachable(error) => error.is_connect(),
            Self::Late | Self::BadReply(_) => false,
        }
    }

    /// Whether the runtime, or a server before it, answered that it does not do this.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NotServed)
    }

    /// Whether the runtime says that it does not know the agent.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refused { status: 404, .. } => true,
            // The original answers 500 with this text for an agent that it does not know.
            Self::Refused { status: 500, message, .. } => message.to_ascii_lowercase().contains("not found"),
            Self::Refused { .. } | Self::NotServed | Self::Unreachable(_) | Self::Late | Self::BadReply(_) => false,
        }
    }
}

/// An address that cannot be a runtime's.
#[derive(Debug, thiserror::Error)]
#[error("must be an absolute http or https URL such as http://127.0.0.1:8081")]
pub struct BadEndpoint;

/// Scheme, host and port of an http or https URL, and its host where that is an address. `None` for
/// anything else, and for a URL that carries a user name.
#[must_use]
pub fn origin_of(url: &str) -> Option<(String, Option<IpAddr>)> {
    let url: Url = url.trim().parse().ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    let address = url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok();
    plain.then(|| (url.origin().ascii_serialization(), address))
}

/// Begins a client; the TLS provider that every client needs is installed with the first.
pub(super) fn builder() -> reqwest::ClientBuilder {
    if rustls::crypto::CryptoProvider::get_default().is_none() && rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("another thread installed the TLS provider first");
    }
    reqwest::Client::builder()
}

/// Talks to one runtime.
#[derive(Clone)]
pub struct RuntimeClient {
    http: reqwest::Client,
    endpoint: Url,
    token: Option<String>,
    /// Shared by all clones, since it is about the runtime.
    dialect: Arc<Mutex<Option<Dialect>>>,
}

/// What a runtime was found to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dialect {
    prefix: Prefix,
    spawn: Option<SpawnRoute>,
    found_at: Instant,
}

/// Where its routes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    /// Below `/api`, as in the dialects D1 and D2.
    Api,
    /// Right below the base URL, as in D3 and D4.
    Bare,
}

/// How agents are spawned there, in the order in which it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpawnRoute {
    /// `POST /api/spawn` (D1).
    Order,
    /// `POST /api/agents` (D2), one agent at a time.
    Agent,
    /// `POST /agents` (D4).
    BareAgent,
    /// `POST /spawn` (D3).
    BareOrder,
}

impl SpawnRoute {
    const ALL: [Self; 4] = [Self::Order, Self::Agent, Self::BareAgent, Self::BareOrder];

    fn segments(self) -> &'static [&'static str] {
        match self {
            Self::Order => &["api", "spawn"],
            Self::Agent => &["api", "agents"],
            Self::BareAgent => &["agents"],
            Self::BareOrder => &["spawn"],
        }
    }
}

/// One way to ask for something.
struct Route<'a> {
    method: Method,
    prefix: Prefix,
    segments: &'a [&'a str],
    query: &'a [(&'a str, String)],
    body: Option<Value>,
}

impl<'a> Route<'a> {
    fn new(method: Method, prefix: Prefix, segments: &'a [&'a str]) -> Self {
        Self { method, prefix, segments, query: &[], body: None }
    }

    /// The same route with and without the prefix.
    fn both(method: &Method, segments: &'a [&'a str]) -> Vec<Self> {
        [Prefix::Api, Prefix::Bare].map(|prefix| Self::new(method.clone(), prefix, segments)).into()
    }

    fn with_query(self, query: &'a [(&'a str, String)]) -> Self {
        Self { query, ..self }
    }

    fn with_body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// The base URL that an endpoint names: without query and fragment.
pub(super) fn base_url(endpoint: &str) -> Result<Url, BadEndpoint> {
    let mut url: Url = endpoint.trim().parse().map_err(|_| BadEndpoint)?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(BadEndpoint);
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

impl RuntimeClient {
    /// `endpoint` is the base URL and may have a path prefix; `token` is sent as a bearer token.
    pub fn new(endpoint: &str, token: Option<String>) -> Result<Self, BadEndpoint> {
        let endpoint = base_url(endpoint)?;
        let http = builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::none())
            .tcp_nodelay(true)
            .build()
            .expect("a client without a proxy file can always be built");
        Ok(Self { http, endpoint, token, dialect: Arc::default() })
    }

    /// The base URL, without a slash at its end: how rows name this runtime.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// Asks for agents. `request_id` makes a repeated call harmless, and so does the id of an order for one
    /// agent: when no sound answer came, the runtime is asked whether it has the agent.
    ///
    /// A runtime that starts one agent at a time is asked for each; who could not be started is in `errors`.
    /// What such a runtime cannot do, such as context files, is refused.
    ///
    /// Errors: `Late` when all of this is not over within [`SPAWN_TIMEOUT`].
    pub async fn spawn(&self, request: &SpawnRequest, request_id: &str) -> Result<SpawnReply, RuntimeError> {
        timeout(SPAWN_TIMEOUT, self.spawn_by_any_route(request, request_id)).await.unwrap_or(Err(RuntimeError::Late))
    }

    async fn spawn_by_any_route(&self, request: &SpawnRequest, request_id: &str) -> Result<SpawnReply, RuntimeError> {
        let known = self.detect().await.spawn;
        let others = SpawnRoute::ALL.into_iter().filter(|route| Some(*route) != known);
        for route in known.into_iter().chain(others) {
            let outcome = match route {
                SpawnRoute::Order => self.spawn_order(request, request_id).await,
                SpawnRoute::Agent | SpawnRoute::BareAgent | SpawnRoute::BareOrder => self.spawn_each(route, request, request_id).await,
            };
            match outcome {
                Err(RuntimeError::NotServed) => self.forget_dialect_if(Some(route) == known),
                Ok(reply) => {
                    self.remember_spawn(route);
                    return Ok(reply);
                }
                Err(error) => return Err(error),
            }
        }
        Err(RuntimeError::NotServed)
    }

    /// Ends an agent's process and waits for it. An agent that is gone already counts as ended.
    pub async fn stop(&self, workspace: WorkspaceId, agent: &str) -> Result<(), RuntimeError> {
        let (one, stop) = (["agents", agent], ["agents", agent, "stop"]);
        let routes = vec![
            Route::new(Method::DELETE, Prefix::Api, &one),
            Route::new(Method::POST, Prefix::Api, &stop),
            Route::new(Method::DELETE, Prefix::Bare, &one),
            Route::new(Method::POST, Prefix::Bare, &stop),
            Route::new(Method::POST, Prefix::Bare, &["stop"]).with_body(json!({"agentId": agent})),
        ];
        match self.first_served(Some(workspace), routes).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            // A bare 404 may mean the route or the agent; the list tells which.
            Err(RuntimeError::NotServed) if self.listed(agent).await?.is_none() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What the runtime says of one agent; `None` when it does not know it.
    pub async fn agent(&self, workspace: WorkspaceId, agent: &str) -> Result<Option<AgentHandle>, RuntimeError> {
        match self.first_served(Some(workspace), Route::both(&Method::GET, &["agents", agent])).await {
            Ok(answer) => read(&answer).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(RuntimeError::NotServed) => self.listed(agent).await,
            Err(error) => Err(error),
        }
    }

    /// Every agent that the runtime knows, stopped ones included. No workspace is named: all are meant.
    pub async fn agents(&self) -> Result<Vec<AgentHandle>, RuntimeError> {
        Ok(read::<AgentList>(&self.first_served(None, Route::both(&Method::GET, &["agents"])).await?)?.agents)
    }

    /// How the runtime is. Where it does not say how many agents it runs, they are counted; that tries the token, too.
    pub async fn health(&self) -> Result<Health, RuntimeError> {
        let (prefix, mut health) = self.raw_health(CALL_TIMEOUT).await?;
        self.remember_prefix(prefix);
        if health.active_agents.is_none() && health.healthy {
            match self.agents().await {
                Ok(agents) => health.active_agents = u32::try_from(agents.iter().filter(|agent| !agent.status.is_final()).count()).ok(),
                // Anybody may ask for its health: only this tells that it does not do what we ask.
                Err(error @ RuntimeError::Refused { status: 401 | 403, .. }) => return Err(error),
                Err(error) => tracing::debug!(runtime = self.endpoint(), error = &error as &dyn std::error::Error, "agents not counted"),
            }
        }
        Ok(health)
    }

    /// Sends a message as if somebody had typed it. No response is waited for.
    pub async fn send(&self, workspace: WorkspaceId, agent: &str, message: &str) -> Result<(), RuntimeError> {
        self.post_to(workspace, agent, "send", &json!({"message": message})).await
    }

    /// Presses keys by their names.
    pub async fn keys(&self, workspace: WorkspaceId, agent: &str, keys: &[String]) -> Result<(), RuntimeError> {
        self.post_to(workspace, agent, "keys", &json!({"keys": keys})).await
    }

    /// Has the runtime leave an agent's keyboard to a person. The process goes on.
    pub async fn pause(&self, workspace: WorkspaceId, agent: &str) -> Result<(), RuntimeError> {
        self.post_to(workspace, agent, "pause", &json!({})).await
    }

    /// Undoes [`Self::pause`].
    pub async fn resume(&self, workspace: WorkspaceId, agent: &str) -> Result<(), RuntimeError> {
        self.post_to(workspace, agent, "resume", &json!({})).await
    }

    /// The last `tail` lines that an agent printed; fragments of lines on runtimes that log as they read.
    pub async fn logs(&self, workspace: WorkspaceId, agent: &str, tail: u32) -> Result<Vec<String>, RuntimeError> {
        // One dialect says `tail`, the other `lines`; either leaves the other's name alone.
        let query = [("tail", tail.to_string()), ("lines", tail.to_string())];
        let segments = ["agents", agent, "logs"];
        let routes = Route::both(&Method::GET, &segments).into_iter().map(|route| route.with_query(&query)).collect();
        let answer: Value = read(&self.first_served(Some(workspace), routes).await?)?;
        let lines = answer.get("logs").unwrap_or(&answer).as_array().cloned().unwrap_or_default();
        Ok(lines.into_iter().filter_map(|line| line.as_str().map(str::to_owned)).collect())
    }

    /// What the runtime holds of an agent's output, raw.
    ///
    /// Errors: `NotServed` from a runtime that holds lines only.
    pub async fn output(&self, workspace: WorkspaceId, agent: &str) -> Result<String, RuntimeError> {
        let answer: Value = read(&self.first_served(Some(workspace), Route::both(&Method::GET, &["agents", agent, "output"])).await?)?;
        Ok(answer.get("output").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// The upgrade request for a WebSocket of this runtime.
    pub(super) fn websocket(
        &self,
        segments: &[&str],
        query: &str,
        protocol: Option<&str>,
    ) -> Result<ClientRequestBuilder, tungstenite::Error> {
        let mut url = self.url(segments);
        url.set_query((!query.is_empty()).then_some(query));
        let address =
            if url.scheme() == "https" { url.as_str().replacen("https", "wss", 1) } else { url.as_str().replacen("http", "ws", 1) };
        let uri: Uri = address.parse().map_err(|_| tungstenite::error::UrlError::UnsupportedUrlScheme)?;
        let mut request = ClientRequestBuilder::new(uri).with_header("x-request-id", Uuid::new_v4().to_string());
        if let Some(token) = &self.token {
            request = request.with_header("authorization", format!("Bearer {token}"));
        }
        if let Some(protocol) = protocol {
            request = request.with_sub_protocol(protocol);
        }
        Ok(request)
    }

    /// The one place where a URL is built: the prefix is kept, every segment is percent-encoded.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(segments);
        url
    }

    async fn spawn_order(&self, request: &SpawnRequest, request_id: &str) -> Result<SpawnReply, RuntimeError> {
        let call = self.spawn_call(SpawnRoute::Order, request, request_id).json(request);
        let outcome = match self.answer(call).await {
            Ok(answer) => read(&answer),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(reply) => Ok(reply),
            Err(error) => {
                let agent = self.started_all_the_same(request, error).await?;
                Ok(SpawnReply { success: true, agents: vec![agent], errors: Vec::new() })
            }
        }
    }

    async fn spawn_each(&self, route: SpawnRoute, request: &SpawnRequest, request_id: &str) -> Result<SpawnReply, RuntimeError> {
        for name in ["contextFiles", "repoUrl", "branch"] {
            let asked = request.config.get(name).is_some_and(|value| !value.is_null() && *value != json!([]) && *value != json!(""));
            if asked {
                let message = format!("this runtime does not take config.{name}");
                return Err(RuntimeError::Refused { status: 422, code: Some("UNSUPPORTED".to_owned()), message });
            }
        }
        let mut reply = SpawnReply::default();
        for number in 1..=request.count {
            match self.spawn_one(route, request, number, request_id).await {
                Ok(agent) => reply.agents.push(agent),
                // Of one agent, or before the first, the whole call has failed.
                Err(error) if number == 1 => return Err(error),
                Err(error) => reply.errors.push(error.to_string()),
            }
        }
        reply.success = reply.errors.is_empty();
        Ok(reply)
    }

    async fn spawn_one(
        &self,
        route: SpawnRoute,
        request: &SpawnRequest,
        number: u32,
        request_id: &str,
    ) -> Result<SpawnedAgent, RuntimeError> {
        let call = self.spawn_call(route, request, request_id).json(&body_of_one(route, request, number));
        let outcome = match self.answer(call).await {
            Ok(answer) => read::<Value>(&answer).map(|body| spawned_by(&body, request)),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(agent) => Ok(agent),
            Err(error) => self.started_all_the_same(request, error).await,
        }
    }

    fn spawn_call(&self, route: SpawnRoute, request: &SpawnRequest, request_id: &str) -> reqwest::RequestBuilder {
        self.http.post(self.url(route.segments())).header("x-workspace-id", &request.workspace_id).header("x-request-id", request_id)
    }

    /// The agent of an order for one, if the runtime has it although the answer was no good: the answer was
    /// lost, or a repeat was refused as a duplicate. Otherwise the error it is about.
    async fn started_all_the_same(&self, request: &SpawnRequest, error: RuntimeError) -> Result<SpawnedAgent, RuntimeError> {
        let (Some(id), 1, Ok(workspace)) = (&request.id, request.count, request.workspace_id.parse()) else { return Err(error) };
        let may_exist = match &error {
            RuntimeError::NotServed => false,
            RuntimeError::Refused { status, message, .. } => {
                !error.is_certain() || *status == 409 || message.to_ascii_lowercase().contains("exist")
            }
            RuntimeError::Unreachable(_) | RuntimeError::Late | RuntimeError::BadReply(_) => !error.is_certain(),
        };
        match if may_exist { self.agent(workspace, id).await } else { Ok(None) } {
            Ok(Some(handle)) => Ok(SpawnedAgent {
                id: handle.id,
                name: Some(handle.name),
                agent_type: Some(handle.agent_type),
                status: Some(handle.status),
                runtime_session_id: handle.runtime_session_id,
                runtime_endpoint: None,
            }),
            Ok(None) | Err(_) => Err(error),
        }
    }

    async fn post_to(&self, workspace: WorkspaceId, agent: &str, action: &str, body: &Value) -> Result<(), RuntimeError> {
        let segments = ["agents", agent, action];
        let routes = Route::both(&Method::POST, &segments).into_iter().map(|route| route.with_body(body.clone())).collect();
        self.first_served(Some(workspace), routes).await.map(drop)
    }

    /// An agent as the list has it.
    async fn listed(&self, agent: &str) -> Result<Option<AgentHandle>, RuntimeError> {
        Ok(self.agents().await?.into_iter().find(|handle| handle.id == agent))
    }

    /// Asks by the first of these routes that is served; those of the runtime's dialect come first.
    async fn first_served(&self, workspace: Option<WorkspaceId>, mut routes: Vec<Route<'_>>) -> Result<Bytes, RuntimeError> {
        let prefix = self.detect().await.prefix;
        routes.sort_by_key(|route| route.prefix != prefix);
        for (place, route) in routes.into_iter().enumerate() {
            match self.ask(workspace, route, CALL_TIMEOUT).await {
                Err(RuntimeError::NotServed) => self.forget_dialect_if(place == 0),
                outcome => return outcome,
            }
        }
        Err(RuntimeError::NotServed)
    }

    async fn ask(&self, workspace: Option<WorkspaceId>, route: Route<'_>, within: Duration) -> Result<Bytes, RuntimeError> {
        let prefix: &[&str] = match route.prefix {
            Prefix::Api => &["api"],
            Prefix::Bare => &[],
        };
        let segments = [prefix, route.segments].concat();
        let mut call = self.http.request(route.method, self.url(&segments)).timeout(within);
        call = call.query(route.query).header("x-request-id", Uuid::new_v4().to_string());
        if let Some(workspace) = workspace {
            call = call.header("x-workspace-id", workspace.to_string());
        }
        if let Some(body) = &route.body {
            call = call.json(body);
        }
        self.answer(call).await
    }

    /// The whole answer.
    ///
    /// Errors: `NotServed` when it says that there is no such route, which unlike an unknown agent has no
    /// error that the contract knows.
    async fn answer(&self, mut call: reqwest::RequestBuilder) -> Result<Bytes, RuntimeError> {
        if let Some(token) = &self.token {
            call = call.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = call.send().await.map_err(RuntimeError::Unreachable)?;
        let status = response.status();
        let body = bounded(response).await;
        if status.is_success() {
            return body.map_err(RuntimeError::BadReply);
        }
        let said = body.ok().and_then(|body| serde_json::from_slice::<ErrorBody>(&body).ok());
        match (status, said) {
            (StatusCode::METHOD_NOT_ALLOWED, _) | (StatusCode::NOT_FOUND, None) => Err(RuntimeError::NotServed),
            // Our own runtime names what it does not find.
            (StatusCode::NOT_FOUND, Some(said)) if said.code.as_deref() == Some("NOT_FOUND") => Err(RuntimeError::NotServed),
            (status, Some(said)) => {
                let code = said.code.filter(|code| told::is_name(code));
                Err(RuntimeError::Refused { status: status.as_u16(), code, message: told::text(&said.error) })
            }
            (status, None) => Err(RuntimeError::Refused { status: status.as_u16(), code: None, message: format!("status {status}") }),
        }
    }

    /// What the runtime serves, as far as it is known or can be found out. One that does not answer is taken
    /// for one like ours; the call that follows will tell.
    async fn detect(&self) -> Dialect {
        let known = self.dialect().filter(|dialect| dialect.found_at.elapsed() < DIALECT_KEPT);
        if let Some(dialect) = known {
            return dialect;
        }
        match self.raw_health(DETECT_TIMEOUT).await {
            Ok((prefix, health)) => {
                let described = self.ask(None, Route::new(Method::GET, Prefix::Bare, &[]), DETECT_TIMEOUT).await;
                let described: Value = described.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
                let version = health.version.as_deref().or_else(|| described["version"].as_str());
                tracing::info!(runtime = self.endpoint(), ?prefix, service = described["service"].as_str(), version, "runtime found");
                self.remember_prefix(prefix)
            }
            Err(_) => Dialect { prefix: Prefix::Api, spawn: None, found_at: Instant::now() },
        }
    }

    async fn raw_health(&self, within: Duration) -> Result<(Prefix, Health), RuntimeError> {
        for prefix in [Prefix::Api, Prefix::Bare] {
            match self.ask(None, Route::new(Method::GET, prefix, &["health"]), within).await {
                Err(RuntimeError::NotServed) => {}
                Ok(answer) => return Ok((prefix, read(&answer)?)),
                Err(error) => return Err(error),
            }
        }
        Err(RuntimeError::NotServed)
    }

    fn remember_prefix(&self, prefix: Prefix) -> Dialect {
        let mut dialect = self.dialect();
        let spawn = dialect.filter(|known| known.prefix == prefix && known.found_at.elapsed() < DIALECT_KEPT).and_then(|known| known.spawn);
        *dialect.insert(Dialect { prefix, spawn, found_at: Instant::now() })
    }

    fn remember_spawn(&self, route: SpawnRoute) {
        if let Some(dialect) = self.dialect().as_mut() {
            dialect.spawn = Some(route);
        }
    }

    fn forget_dialect_if(&self, surprised: bool) {
        if surprised {
            *self.dialect() = None;
        }
    }

    fn dialect(&self) -> MutexGuard<'_, Option<Dialect>> {
        // Every change leaves it whole, so a panic elsewhere does not spoil it.
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a runtime that starts one agent at a time is sent for the agent of this number.
fn body_of_one(route: SpawnRoute, request: &SpawnRequest, number: u32) -> Value {
    let base = request.name.as_deref().unwrap_or(&request.agent_type);
    let name = if request.count == 1 { base.to_owned() } else { format!("{base}-{number}") };
    let id = request.id.as_ref().filter(|_| request.count == 1);
    let env = request.config.get("env").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let execution = request.config.get("executionId").or_else(|| env.get("RAVEN_EXECUTION_ID")).cloned();
    let mut body = if route == SpawnRoute::BareOrder {
        json!({"agentId": id, "agentType": request.agent_type, "name": name, "workspaceId": request.workspace_id})
    } else {
        json!({"id": id, "type": request.agent_type, "name": name})
    };
    body["capabilities"] = json!(request.capabilities);
    body["executionId"] = json!(execution);
    for member in ["workdir", "role", "reportsTo", "credentials"] {
        body[member] = request.config.get(member).cloned().unwrap_or_default();
    }
    body["env"] = env;
    if let Some(members) = body.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    body
}

/// The agent that an answer tells of, however it is put.
fn spawned_by(body: &Value, request: &SpawnRequest) -> SpawnedAgent {
    let agent = body.get("agent").or_else(|| body.get("agents").and_then(|agents| agents.get(0))).unwrap_or(body);
    let text = |name: &str| agent.get(name).and_then(Value::as_str).map(str::to_owned);
    SpawnedAgent {
        id: text("id").or_else(|| text("agentId")).or_else(|| request.id.clone()).unwrap_or_default(),
        name: text("name"),
        agent_type: text("type"),
        status: None,
        runtime_session_id: text("runtimeSessionId"),
        runtime_endpoint: None,
    }
}

/// Reads a body up to its bound.
async fn bounded(mut response: reqwest::Response) -> Result<Bytes, BadReply> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BadReply::Broken)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(BadReply::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, RuntimeError> {
    serde_json::from_slice(answer).map_err(|error| RuntimeError::BadReply(BadReply::Unreadable(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_the_prefix_and_encode_ids() {
        let client = RuntimeClient::new("http://host:1/base/", None).unwrap();
        assert_eq!(client.endpoint(), "http://host:1/base");
        assert_eq!(client.url(&["api", "agents", "a/../b c"]).as_str(), "http://host:1/base/api/agents/a%2F..%2Fb%20c");
    }

    #[test]
    fn only_web_addresses_are_endpoints() {
        for bad in ["", "host:1", "ftp://x", "http://"] {
            assert!(RuntimeClient::new(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_the_runtime_itself_refused_was_certainly_not_carried_out() {
        let refused = |status, code: Option<&str>| RuntimeError::Refused { status, code: code.map(str::to_owned), message: String::new() };
        for certain in
            [refused(400, None), refused(409, None), refused(429, None), refused(500, Some("SPAWN_FAILED")), RuntimeError::NotServed]
        {
            assert!(certain.is_certain(), "{certain:?}");
        }
        for open in [
            refused(408, None),
            refused(500, None),
            refused(502, None),
            refused(504, None),
            refused(500, Some("INTERNAL_ERROR")),
            RuntimeError::Late,
        ] {
            assert!(!open.is_certain(), "{open:?}");
        }
    }

    #[test]
    fn an_order_for_several_becomes_one_body_each() {
        let mut request: SpawnRequest = serde_json::from_value(json!({
            "agentType": "claude", "count": 2, "name": "crew", "capabilities": ["code"], "workspaceId": "w", "id": "x",
            "config": {"workdir": "/srv", "env": {"A": "1", "RAVEN_EXECUTION_ID": "e"}, "cols": 80},
        }))
        .unwrap();
        assert_eq!(
            body_of_one(SpawnRoute::Agent, &request, 2),
            json!({"type": "claude", "name": "crew-2", "capabilities": ["code"], "workdir": "/srv", "executionId": "e",
                   "env": {"A": "1", "RAVEN_EXECUTION_ID": "e"}})
        );
        request.count = 1;
        let one = body_of_one(SpawnRoute::BareOrder, &request, 1);
        assert_eq!(
            (&one["agentId"], &one["agentType"], &one["name"], &one["workspaceId"]),
            (&json!("x"), &json!("claude"), &json!("crew"), &json!("w"))
        );
    }

    #[test]
    fn an_agent_is_found_in_every_kind_of_answer() {
        let request: SpawnRequest = serde_json::from_value(json!({"agentType": "echo", "workspaceId": "w", "id": "mine"})).unwrap();
        for (body, id) in [
            (json!({"id": "a"}), "a"),
            (json!({"agent": {"id": "b"}}), "b"),
            (json!({"agents": [{"id": "c"}]}), "c"),
            (json!({"agentId": "d"}), "d"),
            (json!({"success": true}), "mine"),
        ] {
            assert_eq!(spawned_by(&body, &request).id, id);
        }
    }
}
