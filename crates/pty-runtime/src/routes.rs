//! The REST surface and the doors to the two sockets.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use bytes::Bytes;
use runtime_protocol::{
    AgentHandle, AgentList, AgentMetrics, ContextFile, Health, LogEntries, LogEntry, MinimalSpawnRequest, SpawnReply, SpawnRequest,
    TERMINAL_PROTOCOL, keys,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::{
    adapter::Preset,
    agents::{Agent, Order, Patience},
    callbacks,
    config::{ANSWER_TIMEOUT_MS, Config},
    context_files,
    event_stream::{self, Filter, Form},
    extract::{BODY_BYTES_MAX, Json, Named, Params, Workspace, invalid_member},
    limits::{self, Limits},
    output_stream,
    problem::Problem,
    process::{Input, Mode, Size},
    replies::{self, Replies},
    server::App,
    socket::{self, Goodbye, Handshake},
    terminal_socket::{self, Framing, Start},
    text, thread_routes,
    threads::Thread,
};

/// Longest id, name or capability, in bytes: they travel in every event, so they stay small.
const LABEL_BYTES_MAX: usize = 200;
const CAPABILITIES_MAX: usize = 64;
/// Arguments and environment together, in bytes: far below what the kernel takes (about 2 MiB).
const LAUNCH_BYTES_MAX: usize = 256 * 1024;
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a caller can ask to wait before an agent is killed, in milliseconds.
pub(crate) const STOP_TIMEOUT_MILLIS_MAX: u64 = 60_000;
/// Lines that one request for logs gets at the most; the ring rarely holds more.
const TAIL_MAX: usize = 10_000;
const TAIL_DEFAULT: usize = 100;

/// Longest time that an agent may be given, in seconds: a year.
const PERIOD_SECONDS_MAX: u64 = 365 * 24 * 3600;

pub(crate) type Shared = State<Arc<App>>;

pub(crate) fn router(app: Arc<App>) -> Router {
    let rest = || {
        Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/spawn", post(spawn))
            .route("/stop", post(stop_named))
            .route("/agents", get(list).post(create))
            .route("/agents/{id}", get(show).delete(stop))
            .route("/agents/{id}/stop", post(stop))
            .route("/agents/{id}/send", post(send))
            .route("/agents/{id}/pause", post(pause))
            .route("/agents/{id}/resume", post(resume))
            .route("/agents/{id}/logs", get(logs))
            .route("/agents/{id}/output", get(output))
            .route("/agents/{id}/stream", get(output_stream::stream))
            .route("/agents/{id}/keys", post(press))
            .route("/agents/{id}/restart", post(restart))
            .route("/executions/{id}/resources", delete(release_execution))
            .route("/threads", get(thread_routes::list).post(thread_routes::create))
            .route("/threads/{id}", get(thread_routes::show).delete(thread_routes::stop))
            .route("/threads/{id}/send", post(thread_routes::send))
            .route("/agents/{id}/metrics", get(metrics))
            .route("/agents/{id}/input/end", post(end_input))
            .method_not_allowed_fallback(method_not_allowed)
    };
    Router::new()
        .merge(rest())
        .nest("/api", rest())
        .route("/", get(describe))
        .route("/ws", get(general_socket))
        .route("/ws/events", get(event_socket))
        .route("/ws/agents/{id}/terminal", get(terminal_socket))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(route_not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), admit))
        .with_state(app)
}

async fn route_not_found(method: Method, uri: Uri) -> Problem {
    Problem::RouteNotFound(format!("{method} {}", uri.path()))
}

async fn method_not_allowed(method: Method) -> Problem {
    Problem::MethodNotAllowed(method.to_string())
}

/// Lets only callers in that have the token, or, where none is set, only local programs.
async fn admit(State(app): Shared, request: Request, next: Next) -> Result<Response, Problem> {
    let headers = request.headers();
    let open = matches!(request.uri().path(), "/health" | "/api/health" | "/ready" | "/api/ready");
    if app.config.token.is_some() {
        if !open && !has_token(&app.config, headers) {
            return Err(Problem::Unauthorized);
        }
    } else if headers.contains_key(header::ORIGIN) || !names_this_host(&app.config, headers) {
        // Any web page can send requests to loopback. It gives itself away by its origin, or, if
        // it had its own name resolved to loopback, by that name.
        return Err(Problem::Forbidden("pages in a browser are not served without a token".into()));
    }
    Ok(next.run(request).await)
}

fn has_token(config: &Config, headers: &HeaderMap) -> bool {
    let Some(token) = &config.token else {
        return true;
    };
    let given = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes).unwrap_or_default();
    let (scheme, credential) = given.split_at(given.len().min(b"Bearer ".len()));
    scheme.eq_ignore_ascii_case(b"Bearer ") && token.is(credential)
}

fn names_this_host(config: &Config, headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let Ok(url) = reqwest::Url::parse(&format!("http://{host}/")) else {
        return false;
    };
    let public = config.public_url.as_deref().and_then(|url| reqwest::Url::parse(url).ok());
    callbacks::is_loopback(&url) || public.is_some_and(|public| public.host_str() == url.host_str())
}

/// What this is and where its doors are; or, for whoever opens a socket here, the door of `/ws`.
async fn describe(app: Shared, workspace: Workspace, params: Params, request: Request) -> Result<Response, Problem> {
    if request.headers().contains_key(header::UPGRADE) {
        return general_socket(app, workspace, params, request).await;
    }
    Ok(axum::Json(json!({
        "service": "Raven PTY Runtime",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": {
            "health": "/api/health",
            "ready": "/api/ready",
            "spawn": "/api/spawn",
            "stop": "/api/stop",
            "agents": "/api/agents",
            "agent": "/api/agents/:id",
            "send": "/api/agents/:id/send",
            "keys": "/api/agents/:id/keys",
            "logs": "/api/agents/:id/logs",
            "output": "/api/agents/:id/output",
            "stream": "/api/agents/:id/stream",
            "pause": "/api/agents/:id/pause",
            "resume": "/api/agents/:id/resume",
            "metrics": "/api/agents/:id/metrics",
            "endInput": "/api/agents/:id/input/end",
            "restart": "/api/agents/:id/restart",
            "threads": "/api/threads",
            "executionResources": "/api/executions/:id/resources",
            "events": "/ws/events",
            "general": "/ws",
            "terminal": "/ws/agents/:id/terminal",
        },
    }))
    .into_response())
}

/// Open to all, for whatever watches over the host; details are for callers with the token.
/// Always 200, since existing clients take any other status for a runtime that is gone.
async fn health(State(app): Shared, headers: HeaderMap) -> axum::Json<Health> {
    let healthy = !app.agents.draining();
    if !has_token(&app.config, &headers) {
        return axum::Json(Health { healthy, message: None, version: None, active_agents: None, uptime_seconds: None });
    }
    let live = app.agents.live();
    axum::Json(Health {
        healthy,
        message: Some(if healthy { format!("{live} agents running") } else { "shutting down".into() }),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        active_agents: u32::try_from(live).ok(),
        uptime_seconds: Some(app.started.elapsed().as_secs()),
    })
}

/// Whether requests should be sent here. A runtime at its limit is ready: it still serves the
/// agents that it has, and says so itself to whoever wants one more.
async fn ready(State(app): Shared) -> Result<axum::Json<Value>, Problem> {
    if app.agents.draining() { Err(Problem::ShuttingDown) } else { Ok(axum::Json(json!({ "ready": true }))) }
}

async fn spawn(
    State(app): Shared,
    workspace: Workspace,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<(StatusCode, axum::Json<SpawnReply>), Problem> {
    let request = spawn_request(&body)?;
    let workspace_id = workspace.and(Some(label("workspaceId", &request.workspace_id)?))?;
    let orders = orders(&app.config, &request, workspace_id.as_deref())?;
    let reply = spawn_once(app, request_id(&headers)?, workspace_id, orders).await?;
    Ok((StatusCode::CREATED, axum::Json(reply)))
}

/// What tells a repetition of a request, if the caller gave it anything.
fn request_id(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(id) = headers.get("x-request-id").filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let id = id.to_str().map_err(|_| Problem::invalid("X-Request-Id", "must be plain text"))?;
    label("X-Request-Id", id).map(|id| Some(id.into()))
}

/// Starts what is ordered, unless a request with the same id has done so already.
async fn spawn_once(
    app: Arc<App>,
    request_id: Option<String>,
    workspace_id: Option<String>,
    mut orders: Vec<Order>,
) -> Result<SpawnReply, Problem> {
    for order in &mut orders {
        order.request_id.clone_from(&request_id);
    }
    let work = {
        let app = Arc::clone(&app);
        async move {
            match request_id {
                Some(id) => app.replies.once((workspace_id, id), spawn_all(&app, orders)).await,
                None => spawn_all(&app, orders).await,
            }
        }
    };
    // On a task of its own: a caller that hangs up must not leave half a spawn behind.
    app.tasks.spawn(work).await.map_err(|error| Problem::Internal(error.to_string()))?
}

/// The replies that an earlier runtime gave to the requests that started these agents.
pub(crate) fn replies_of(adopted: &[Arc<Agent>]) -> Replies {
    let mut requests: HashMap<replies::Key, SpawnReply> = HashMap::new();
    for agent in adopted {
        if let Some(key) = agent.recent_request() {
            let reply = requests.entry(key).or_insert_with(|| SpawnReply { success: true, ..SpawnReply::default() });
            reply.agents.push(agent.spawned());
        }
    }
    let replies = Replies::default();
    for (key, reply) in requests {
        replies.remember(key, reply);
    }
    replies
}

/// Reads a spawn request of either shape.
fn spawn_request(body: &Value) -> Result<SpawnRequest, Problem> {
    let read = if body.get("agentId").is_some() {
        serde_path_to_error::deserialize::<_, MinimalSpawnRequest>(body).map(Into::into)
    } else {
        serde_path_to_error::deserialize(body)
    };
    read.map_err(|error| invalid_member("", &error))
}

/// Starts all agents that can be started; fails only if none can.
async fn spawn_all(app: &App, orders: Vec<Order>) -> Result<SpawnReply, Problem> {
    let mut reply = SpawnReply { success: true, ..SpawnReply::default() };
    let mut first_problem = None;
    for order in orders {
        match app.agents.spawn(order).await {
            Ok(agent) => reply.agents.push(agent.spawned()),
            Err(problem) => {
                reply.errors.push(problem.to_string());
                first_problem.get_or_insert(problem);
            }
        }
    }
    match first_problem {
        Some(problem) if reply.agents.is_empty() => Err(problem),
        Some(_) | None => Ok(reply),
    }
}

/// The members of a spawn's `config` that mean something here; others belong to other runtimes.
#[derive(Clone, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Options {
    pub(crate) command: Option<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: HashMap<String, String>,
    pub(crate) workdir: Option<PathBuf>,
    pub(crate) cols: Option<u16>,
    pub(crate) rows: Option<u16>,
    pub(crate) mode: Mode,
    pub(crate) resources: Resources,
    /// In seconds without input or output.
    pub(crate) idle_timeout: Option<u64>,
    pub(crate) auto_restart: bool,
    pub(crate) role: Option<String>,
    pub(crate) reports_to: Option<String>,
    pub(crate) execution_id: Option<String>,
    pub(crate) context_files: Vec<ContextFile>,
    pub(crate) repo_url: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) credentials: Map<String, Value>,
    pub(crate) approval_preset: Option<String>,
    pub(crate) adapter_config: AdapterConfig,
}

/// What a spawn says to the adapter.
#[derive(Clone, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct AdapterConfig {
    approval_preset: Option<String>,
}

/// What an agent may use; amounts are numbers or text, as `limits` reads them.
#[derive(Clone, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Resources {
    memory: Option<Value>,
    cpu: Option<Value>,
    processes: Option<Value>,
    /// In seconds from the start.
    timeout: Option<u64>,
}

impl Resources {
    fn limits(&self) -> Result<Limits, Problem> {
        Ok(Limits {
            memory_bytes: amount("resources.memory", "bytes such as 2Gi, 16Mi at the least", self.memory.as_ref(), limits::memory)?,
            cpus: amount("resources.cpu", "a number of CPUs from 0.01 to 4096", self.cpu.as_ref(), limits::cpus)?,
            processes: amount("resources.processes", "a number from 1 to 1000000", self.processes.as_ref(), limits::processes)?,
        })
    }
}

fn amount<T>(field: &str, form: &str, given: Option<&Value>, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, Problem> {
    given.map(|value| read(value).ok_or_else(|| Problem::invalid(field, format!("must be {form}, not {value}")))).transpose()
}

fn period(field: &str, seconds: Option<u64>) -> Result<Option<Duration>, Problem> {
    if seconds.is_some_and(|seconds| !(1..=PERIOD_SECONDS_MAX).contains(&seconds)) {
        return Err(Problem::invalid(field, format!("must be seconds from 1 to {PERIOD_SECONDS_MAX}")));
    }
    Ok(seconds.map(Duration::from_secs))
}

fn orders(config: &Config, request: &SpawnRequest, workspace_id: Option<&str>) -> Result<Vec<Order>, Problem> {
    let count = usize::try_from(request.count).unwrap_or(usize::MAX);
    if !(1..=config.max_agents).contains(&count) {
        return Err(Problem::invalid("count", format!("must be from 1 to {}", config.max_agents)));
    }
    let mut options: Options = serde_path_to_error::deserialize(&request.config).map_err(|error| invalid_member("config.", &error))?;
    let callback_url = request.callback_url.as_deref().map(|url| callbacks::allowed_target(config, url)).transpose()?;
    // One copy for all, since they may be large.
    context_files::check("config.contextFiles", &options.context_files)?;
    let context_files: Arc<[ContextFile]> = std::mem::take(&mut options.context_files).into();
    (1..=count)
        .map(|number| {
            let name = request.name.as_ref().map(|name| if count == 1 { name.clone() } else { format!("{name}-{number}") });
            let id = request.id.clone().filter(|_| count == 1);
            let capabilities = request.capabilities.clone();
            let order = order(config, id, name, &request.agent_type, capabilities, options.clone())?;
            let (workspace_id, callback_url) = (workspace_id.map(Into::into), callback_url.clone());
            Ok(Order { workspace_id, callback_url, context_files: Arc::clone(&context_files), ..order })
        })
        .collect()
}

/// Everything about one agent that both ways to ask for it have in common, checked.
pub(crate) fn order(
    config: &Config,
    id: Option<String>,
    name: Option<String>,
    agent_type: &str,
    capabilities: Vec<String>,
    mut options: Options,
) -> Result<Order, Problem> {
    let adapter = config.adapters.find(agent_type).ok_or_else(|| Problem::UnsupportedType(agent_type.into()))?;
    let preset = options.adapter_config.approval_preset.as_deref().or(options.approval_preset.as_deref());
    let preset = preset.map(Preset::named).transpose()?.unwrap_or_default();
    adapter.check_arguments(preset, &options.args)?;
    for (name, value) in adapter.credentials(&options.credentials)? {
        options.env.entry(name).or_insert(value);
    }
    id.as_deref().map(|id| plain_id("id", id)).transpose()?;
    options.execution_id.as_deref().map(|id| plain_id("executionId", id)).transpose()?;
    for (field, text) in [("role", &options.role), ("reportsTo", &options.reports_to)] {
        text.as_deref().map(|text| label(field, text)).transpose()?;
    }
    if options.repo_url.is_some() || options.branch.is_some() {
        let why = "this runtime fetches no repositories; put one under its folder and name it in workdir";
        return Err(Problem::invalid("config.repoUrl and config.branch", why));
    }
    if options.command.is_some() && !adapter.commands.is_empty() {
        return Err(Problem::invalid("config.command", format!("is for the type custom; {} runs a program of its own", adapter.name)));
    }
    context_files::check("contextFiles", &options.context_files)?;
    name.as_deref().map(|name| label("name", name)).transpose()?;
    if capabilities.len() > CAPABILITIES_MAX {
        return Err(Problem::invalid("capabilities", format!("must be at most {CAPABILITIES_MAX}")));
    }
    for capability in &capabilities {
        label("capabilities", capability)?;
    }
    if let Some((name, _)) = options.env.iter().find(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'))
    {
        return Err(Problem::invalid("config.env", format!("{name:?} cannot be a variable")));
    }
    if options.args.iter().any(|arg| arg.contains('\0')) {
        return Err(Problem::invalid("config.args", "must not contain NUL"));
    }
    if options.auto_restart {
        return Err(Problem::invalid("autoRestart", "is not offered by this runtime: an agent's program is started once"));
    }
    let env_bytes: usize = options.env.iter().map(|(name, value)| name.len() + value.len()).sum();
    if env_bytes + options.args.iter().map(String::len).sum::<usize>() > LAUNCH_BYTES_MAX {
        return Err(Problem::invalid("config.env and config.args", format!("must be at most {LAUNCH_BYTES_MAX} bytes")));
    }
    let mut env = options.env;
    if let Some(execution_id) = &options.execution_id {
        env.insert("PARALLAX_EXECUTION_ID".into(), execution_id.clone());
    }
    let size = Size::new(options.cols.unwrap_or(Size::DEFAULT.cols), options.rows.unwrap_or(Size::DEFAULT.rows));
    Ok(Order {
        id,
        name,
        adapter,
        preset,
        capabilities,
        workspace_id: None,
        role: options.role,
        reports_to: options.reports_to,
        execution_id: options.execution_id,
        request_id: None,
        thread: None,
        callback_url: None,
        command: options.command,
        args: options.args,
        env,
        workdir: options.workdir,
        context_files: options.context_files.into(),
        mode: options.mode,
        limits: options.resources.limits()?,
        lifetime: period("resources.timeout", options.resources.timeout)?,
        idle_timeout: period("idleTimeout", options.idle_timeout)?,
        size: size.ok_or_else(|| Problem::invalid("config.cols and config.rows", "must be at most 1000 and 500, and positive"))?,
    })
}

/// Names a folder or a row somewhere, so it is no part of a path and nothing hidden.
pub(crate) fn plain_id<'a>(field: &str, id: &'a str) -> Result<&'a str, Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if label(field, id)?.bytes().all(plain) && !id.starts_with('.') {
        Ok(id)
    } else {
        Err(Problem::invalid(field, "must be letters, digits, dashes, underscores and dots"))
    }
}

pub(crate) fn label<'a>(field: &str, text: &'a str) -> Result<&'a str, Problem> {
    let fits = (1..=LABEL_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    if fits { Ok(text) } else { Err(Problem::invalid(field, format!("must be 1 to {LABEL_BYTES_MAX} bytes of text"))) }
}

/// Body of `POST /agents`: one agent, with the [`Options`] beside its name.
#[derive(Deserialize)]
struct AgentConfig {
    id: Option<String>,
    name: String,
    #[serde(rename = "type")]
    agent_type: String,
    #[serde(default)]
    capabilities: Vec<String>,
}

async fn create(
    State(app): Shared,
    Workspace(workspace_id): Workspace,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<(StatusCode, axum::Json<AgentHandle>), Problem> {
    let invalid = |error| invalid_member("", &error);
    let config: AgentConfig = serde_path_to_error::deserialize(&body).map_err(invalid)?;
    let options = serde_path_to_error::deserialize(&body).map_err(invalid)?;
    let order = order(&app.config, config.id, Some(config.name), &config.agent_type, config.capabilities, options)?;
    let order = Order { workspace_id: workspace_id.clone(), ..order };
    let reply = spawn_once(Arc::clone(&app), request_id(&headers)?, workspace_id, vec![order]).await?;
    let id = reply.agents.first().map(|agent| agent.id.as_str()).unwrap_or_default();
    Ok((StatusCode::CREATED, axum::Json(app.agents.find(id)?.handle())))
}

async fn list(State(app): Shared, workspace: Workspace, params: Params) -> axum::Json<AgentList> {
    let wanted = |agent: &Agent| {
        let status = json!(agent.status());
        workspace.sees(agent)
            && params.admit("status", status.as_str())
            && admits_type(&app.config, &params, "type", agent.kind())
            && params.admit("role", agent.role.as_deref())
    };
    let agents: Vec<_> = app.agents.list().iter().filter(|agent| wanted(agent)).map(|agent| agent.handle()).collect();
    axum::Json(AgentList { count: agents.len(), agents })
}

/// Whether agents of type `kind` are among those asked for, in whichever spelling.
pub(crate) fn admits_type(config: &Config, params: &Params, name: &str, kind: &str) -> bool {
    let mut asked = params.texts(name).peekable();
    asked.peek().is_none() || asked.any(|spelling| config.adapters.find(spelling).map_or(spelling == kind, |adapter| adapter.name == kind))
}

async fn show(Named(agent): Named) -> axum::Json<AgentHandle> {
    axum::Json(agent.handle())
}

async fn stop(State(app): Shared, Named(agent): Named, params: Params) -> Result<StatusCode, Problem> {
    let patience = patience(params.number("timeout", 0..=STOP_TIMEOUT_MILLIS_MAX)?, params.flag("force")?);
    end(&app, agent, patience).await
}

/// Body of `POST /stop`, which names the agent there instead of in the path.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StopRequest {
    agent_id: String,
    force: Option<bool>,
    timeout: Option<u64>,
}

async fn stop_named(State(app): Shared, workspace: Workspace, Json(request): Json<StopRequest>) -> Result<StatusCode, Problem> {
    if request.timeout.is_some_and(|millis| millis > STOP_TIMEOUT_MILLIS_MAX) {
        return Err(Problem::invalid("timeout", format!("must be at most {STOP_TIMEOUT_MILLIS_MAX}")));
    }
    let agent = app.agents.find(&request.agent_id)?;
    if !workspace.sees(&agent) {
        return Err(Problem::Forbidden(format!("agent {:?} belongs to another workspace", agent.id)));
    }
    end(&app, agent, patience(request.timeout, request.force)).await
}

pub(crate) fn patience(timeout_millis: Option<u64>, force: Option<bool>) -> Patience {
    if force == Some(true) { Patience::KillAtOnce } else { Patience::Wait(timeout_millis.map_or(STOP_TIMEOUT, Duration::from_millis)) }
}

/// Ends an agent on a task of its own: a caller that hangs up must not save it from being killed.
pub(crate) async fn end(app: &App, agent: Arc<Agent>, patience: Patience) -> Result<StatusCode, Problem> {
    let agents = Arc::clone(&app.agents);
    let stopping = app.tasks.spawn(async move { agents.stop(&agent, patience, "stopped").await });
    stopping.await.map_err(|error| Problem::Internal(error.to_string()))??;
    Ok(StatusCode::NO_CONTENT)
}

async fn restart(State(app): Shared, Named(agent): Named, params: Params) -> Result<axum::Json<AgentHandle>, Problem> {
    let patience = patience(params.number("timeout", 0..=STOP_TIMEOUT_MILLIS_MAX)?, params.flag("force")?);
    if agent.thread.is_some() {
        return Err(Problem::invalid("id", "is an agent of a thread, which ends with it; start another thread"));
    }
    let agents = Arc::clone(&app.agents);
    let restarting = app.tasks.spawn(async move { agents.restart(&agent, patience).await });
    let agent = restarting.await.map_err(|error| Problem::Internal(error.to_string()))??;
    Ok(axum::Json(agent.handle()))
}

/// Ends and forgets all agents and threads of an execution that the caller sees. What they wrote stays.
async fn release_execution(
    State(app): Shared,
    workspace: Workspace,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(id) = id.map_err(|error| Problem::Invalid(error.body_text()))?;
    plain_id("executionId", &id)?;
    let releasing = {
        let app = Arc::clone(&app);
        async move {
            let of_execution = |thread: &Thread| workspace.includes(thread.workspace_id.as_deref()) && thread.record.execution_id == id;
            for thread in app.threads.list().iter().filter(|thread| of_execution(thread)) {
                // What it gives is among the agents below; one that is not there yet ends when it is.
                drop(thread.stopping(&app.agents));
            }
            let its = app.agents.list().into_iter().filter(|agent| workspace.sees(agent) && agent.execution_id.as_deref() == Some(&id));
            let stops = its.map(|agent| {
                let agents = &app.agents;
                async move {
                    agents.stop(&agent, Patience::Wait(STOP_TIMEOUT), "execution released").await?;
                    agents.forget(&agent);
                    Ok(())
                }
            });
            futures_util::future::join_all(stops).await.into_iter().collect::<Result<(), Problem>>()?;
            for thread in app.threads.list() {
                if of_execution(&thread) {
                    app.threads.forget(&thread);
                }
            }
            Ok(())
        }
    };
    app.tasks.spawn(releasing).await.map_err(|error| Problem::Internal(error.to_string()))??;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendRequest {
    message: String,
    #[serde(default)]
    expect_response: bool,
    /// In milliseconds.
    timeout: Option<u64>,
}

async fn send(State(app): Shared, Named(agent): Named, Json(request): Json<SendRequest>) -> Result<axum::Json<Value>, Problem> {
    if let Some(millis) = request.timeout.filter(|millis| !ANSWER_TIMEOUT_MS.contains(millis)) {
        return Err(Problem::invalid("timeout", format!("must be from 1 to {}, got {millis}", ANSWER_TIMEOUT_MS.end())));
    }
    if !request.expect_response {
        agent.send(&request.message).await?;
        return Ok(axum::Json(json!({ "sent": true })));
    }
    let limit = request.timeout.map_or(app.config.answer_timeout, Duration::from_millis);
    let response = agent.ask(&request.message, limit).await?;
    Ok(axum::Json(json!({ "sent": true, "response": response })))
}

async fn pause(Named(agent): Named) -> Result<axum::Json<AgentHandle>, Problem> {
    agent.pause(true)?;
    Ok(axum::Json(agent.handle()))
}

async fn resume(Named(agent): Named) -> Result<axum::Json<AgentHandle>, Problem> {
    agent.pause(false)?;
    Ok(axum::Json(agent.handle()))
}

/// One key or several, by name.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum KeyNames {
    One(String),
    Several(Vec<String>),
}

impl KeyNames {
    fn into_names(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Several(names) => names,
        }
    }
}

#[derive(Deserialize)]
struct KeysRequest {
    keys: KeyNames,
}

async fn press(State(app): Shared, Named(agent): Named, Json(request): Json<KeysRequest>) -> Result<axum::Json<Value>, Problem> {
    press_keys(&app, agent, request.keys).await?;
    Ok(axum::Json(json!({ "sent": true })))
}

/// Presses keys in their order, on a task of its own: who hangs up does not leave half of them.
pub(crate) async fn press_keys(app: &App, agent: Arc<Agent>, names: KeyNames) -> Result<(), Problem> {
    let pieces = keys::encode(&names.into_names(), agent.wants_application_keys()).map_err(|error| Problem::invalid("keys", error))?;
    let typing = async move {
        let mut first = true;
        for piece in pieces {
            if !std::mem::take(&mut first) {
                sleep(keys::AFTER_ESCAPE).await;
            }
            type_raw(&agent, piece.into()).await?;
        }
        Ok(())
    };
    app.tasks.spawn(typing).await.map_err(|error| Problem::Internal(error.to_string()))?
}

/// Types bytes as they are.
pub(crate) async fn type_raw(agent: &Agent, bytes: Bytes) -> Result<(), Problem> {
    agent.type_in(Input::Keys(bytes)).await
}

async fn logs(Named(agent): Named, params: Params) -> Result<Response, Problem> {
    let tail = match params.number("tail", 1..=TAIL_MAX)? {
        Some(tail) => tail,
        None => params.number("lines", 1..=TAIL_MAX)?.unwrap_or(TAIL_DEFAULT),
    };
    let (bytes, times) = agent.output.timed();
    let output = String::from_utf8_lossy(&bytes);
    let lines = text::lines(&output, tail);
    match params.text("format") {
        None | Some("text") => {
            let logs: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
            Ok(axum::Json(json!({ "count": logs.len(), "logs": logs })).into_response())
        }
        Some("json") => {
            // The times are those of the last lines; whatever is before them has lost its own.
            let untimed = output.split_inclusive('\n').count().saturating_sub(times.len());
            let timestamp = |feeds: usize| feeds.checked_sub(untimed).and_then(|index| *times.get(index)?);
            let entry = |(feeds, message)| LogEntry { timestamp: timestamp(feeds), level: "info".into(), message };
            let entries: Vec<_> = lines.into_iter().map(entry).collect();
            Ok(axum::Json(LogEntries { count: entries.len(), entries }).into_response())
        }
        Some(_) => Err(Problem::invalid("format", "must be text or json")),
    }
}

async fn output(Named(agent): Named) -> axum::Json<Value> {
    axum::Json(json!({ "output": String::from_utf8_lossy(&agent.output.all().1) }))
}

async fn metrics(Named(agent): Named) -> Result<axum::Json<AgentMetrics>, Problem> {
    // Reads a file per process of the host.
    let metrics = tokio::task::spawn_blocking(move || agent.metrics()).await;
    metrics.map(axum::Json).map_err(|error| Problem::Internal(error.to_string()))
}

async fn end_input(Named(agent): Named) -> Result<StatusCode, Problem> {
    agent.end_input().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn event_socket(State(app): Shared, workspace: Workspace, params: Params, request: Request) -> Result<Response, Problem> {
    listen(app, workspace, &params, request, Form::Events)
}

async fn general_socket(State(app): Shared, workspace: Workspace, params: Params, request: Request) -> Result<Response, Problem> {
    listen(app, workspace, &params, request, Form::General)
}

fn listen(app: Arc<App>, workspace: Workspace, params: &Params, mut request: Request, form: Form) -> Result<Response, Problem> {
    let handshake = Handshake::check(&mut request, None)?;
    let filter = Filter {
        agent_id: params.text("agentId").map(Into::into),
        thread_id: params.text("threadId").map(Into::into),
        workspace_id: workspace.and(params.text("workspaceId"))?,
        since: params.number("since", 0..=u64::MAX)?,
    };
    let tasks = app.tasks.clone();
    Ok(handshake.accept(&tasks, move |socket| event_stream::serve(socket, app, form, filter)))
}

async fn terminal_socket(
    State(app): Shared,
    workspace: Workspace,
    id: Result<Path<String>, PathRejection>,
    params: Params,
    mut request: Request,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|error| Problem::Invalid(error.body_text()))?;
    let handshake = Handshake::check(&mut request, Some(TERMINAL_PROTOCOL))?;
    let negotiated = handshake.protocol.is_some() || params.text("framing") == Some("binary");
    let framing = if negotiated { Framing::Negotiated } else { Framing::Default };
    let from_screen = match params.text("start") {
        None => false,
        Some("snapshot") if negotiated => true,
        Some(_) => return Err(Problem::invalid("start", "must be snapshot, with the negotiated framing")),
    };
    let snapshots = from_screen || (negotiated && params.flag("snapshots")? == Some(true));
    let start = match (params.number("since", 0..=u64::MAX)?, params.flag("replay")?) {
        _ if from_screen => Start::Snapshot,
        (Some(offset), _) => Start::Offset(offset),
        (None, Some(true)) => Start::Oldest,
        (None, Some(false)) => Start::Live,
        (None, None) => {
            if negotiated {
                Start::Oldest
            } else {
                Start::Live
            }
        }
    };
    let agent = match app.agents.find(&id) {
        Ok(agent) if workspace.sees(&agent) => agent,
        Ok(_) => {
            return Err(Problem::Forbidden(format!("agent {id:?} belongs to another workspace")));
        }
        // Existing clients learn this from the close code, not from the handshake.
        Err(_) => {
            return Ok(handshake.accept(&app.tasks, |socket| socket::refuse(socket, Goodbye::AGENT_NOT_FOUND)));
        }
    };
    let closing = app.closing.clone();
    Ok(handshake.accept(&app.tasks, move |socket| terminal_socket::serve(socket, agent, framing, start, snapshots, closing)))
}
