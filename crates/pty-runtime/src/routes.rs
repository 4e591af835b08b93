//! The REST surface and the doors to the two sockets.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use runtime_protocol::{
    AgentHandle, AgentList, AgentMetrics, Health, SpawnReply, SpawnRequest, SpawnedAgent, TERMINAL_PROTOCOL, canonical_agent_type,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    agents::{Agent, Order, Patience},
    callbacks,
    config::Config,
    event_stream::{self, Filter},
    extract::{BODY_BYTES_MAX, Json, Named, Params, Workspace, invalid_member},
    limits::{self, Limits},
    problem::Problem,
    process::{Mode, Size},
    server::App,
    socket::{self, Goodbye, Handshake},
    terminal_socket::{self, Framing, Start},
    text,
};

/// Longest id, name or capability, in bytes: they travel in every event, so they stay small.
const LABEL_BYTES_MAX: usize = 200;
const CAPABILITIES_MAX: usize = 64;
/// Arguments and environment together, in bytes: far below what the kernel takes (about 2 MiB).
const LAUNCH_BYTES_MAX: usize = 256 * 1024;
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Lines that one request for logs gets at the most; the ring rarely holds more.
const TAIL_MAX: usize = 10_000;
const TAIL_DEFAULT: usize = 100;

/// Longest time that an agent may be given, in seconds: a year.
const PERIOD_SECONDS_MAX: u64 = 365 * 24 * 3600;

type Shared = State<Arc<App>>;

pub(crate) fn router(app: Arc<App>) -> Router {
    let rest = || {
        Router::new()
            .route("/health", get(health))
            .route("/spawn", post(spawn))
            .route("/agents", get(list).post(create))
            .route("/agents/{id}", get(show).delete(stop))
            .route("/agents/{id}/stop", post(stop))
            .route("/agents/{id}/send", post(send))
            .route("/agents/{id}/logs", get(logs))
            .route("/agents/{id}/output", get(output))
            .route("/agents/{id}/metrics", get(metrics))
            .route("/agents/{id}/input/end", post(end_input))
            .method_not_allowed_fallback(method_not_allowed)
    };
    Router::new()
        .merge(rest())
        .nest("/api", rest())
        .route("/", get(describe))
        .route("/ws", get(event_socket))
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
    let open = matches!(request.uri().path(), "/health" | "/api/health");
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

async fn describe() -> Response {
    axum::Json(json!({
        "service": "Raven PTY Runtime",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": {
            "health": "/api/health",
            "spawn": "/api/spawn",
            "agents": "/api/agents",
            "events": "/ws/events",
            "terminal": "/ws/agents/:id/terminal",
        },
    }))
    .into_response()
}

/// Open to all, for whatever watches over the host; details are for callers with the token.
async fn health(State(app): Shared, headers: HeaderMap) -> axum::Json<Health> {
    let healthy = !app.agents.draining();
    if !has_token(&app.config, &headers) {
        return axum::Json(Health { healthy, message: None, version: None, active_agents: None });
    }
    let live = app.agents.live();
    axum::Json(Health {
        healthy,
        message: Some(if healthy { format!("{live} agents running") } else { "shutting down".into() }),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        active_agents: u32::try_from(live).ok(),
    })
}

async fn spawn(
    State(app): Shared,
    workspace: Workspace,
    headers: HeaderMap,
    Json(request): Json<SpawnRequest>,
) -> Result<(StatusCode, axum::Json<SpawnReply>), Problem> {
    let workspace_id = workspace.and(Some(label("workspaceId", &request.workspace_id)?))?;
    let orders = orders(&app.config, &request, workspace_id.as_deref())?;
    let id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let key = id.map(|id| label("X-Request-Id", id)).transpose()?.map(|id| (workspace_id, id.to_owned()));
    let work = {
        let app = Arc::clone(&app);
        async move {
            match key {
                Some(key) => app.replies.once(key, spawn_all(&app, orders)).await,
                None => spawn_all(&app, orders).await,
            }
        }
    };
    // On a task of its own: a caller that hangs up must not leave half a spawn behind.
    let reply = app.tasks.spawn(work).await.map_err(|error| Problem::Internal(error.to_string()))??;
    Ok((StatusCode::CREATED, axum::Json(reply)))
}

/// Starts all agents that can be started; fails only if none can.
async fn spawn_all(app: &App, orders: Vec<Order>) -> Result<SpawnReply, Problem> {
    let mut reply = SpawnReply { success: true, ..SpawnReply::default() };
    let mut first_problem = None;
    for order in orders {
        match app.agents.spawn(order).await {
            Ok(agent) => reply.agents.push(SpawnedAgent {
                id: agent.id.clone(),
                name: Some(agent.name.clone()),
                agent_type: Some(agent.kind.into()),
                status: Some(agent.status()),
                runtime_session_id: Some(agent.runtime_session_id.clone()),
                runtime_endpoint: Some(agent.endpoint().into()),
            }),
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
#[serde(default)]
struct Options {
    command: Option<String>,
    args: Vec<String>,
    env: HashMap<String, String>,
    workdir: Option<PathBuf>,
    cols: Option<u16>,
    rows: Option<u16>,
    mode: Mode,
    resources: Resources,
    /// In seconds without input or output.
    #[serde(rename = "idleTimeout")]
    idle_timeout: Option<u64>,
    #[serde(rename = "autoRestart")]
    auto_restart: bool,
}

/// What an agent may use; amounts are numbers or text, as `limits` reads them.
#[derive(Clone, Deserialize, Default)]
#[serde(default)]
struct Resources {
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
    let options = Value::Object(request.config.clone());
    let options: Options = serde_path_to_error::deserialize(options).map_err(|error| invalid_member("config.", &error))?;
    let callback_url = request.callback_url.as_deref().map(|url| callbacks::allowed_target(config, url)).transpose()?;
    (1..=count)
        .map(|number| {
            let name = request.name.as_ref().map(|name| if count == 1 { name.clone() } else { format!("{name}-{number}") });
            let id = request.id.clone().filter(|_| count == 1);
            let capabilities = request.capabilities.clone();
            let order = order(id, name, &request.agent_type, capabilities, options.clone())?;
            Ok(Order { workspace_id: workspace_id.map(Into::into), callback_url: callback_url.clone(), ..order })
        })
        .collect()
}

/// Everything about one agent that both ways to ask for it have in common, checked.
fn order(
    id: Option<String>,
    name: Option<String>,
    agent_type: &str,
    capabilities: Vec<String>,
    options: Options,
) -> Result<Order, Problem> {
    let canonical = canonical_agent_type(agent_type).ok_or_else(|| Problem::UnsupportedType(agent_type.into()))?;
    if let Some(id) = &id {
        // It names a folder too, so no part of a path and nothing hidden.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !label("id", id)?.bytes().all(plain) || id.starts_with('.') {
            return Err(Problem::invalid("id", "must be letters, digits, dashes, underscores and dots"));
        }
    }
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
    let size = Size::new(options.cols.unwrap_or(Size::DEFAULT.cols), options.rows.unwrap_or(Size::DEFAULT.rows));
    Ok(Order {
        id,
        name,
        agent_type: canonical,
        capabilities,
        workspace_id: None,
        callback_url: None,
        command: options.command,
        args: options.args,
        env: options.env,
        workdir: options.workdir,
        mode: options.mode,
        limits: options.resources.limits()?,
        lifetime: period("resources.timeout", options.resources.timeout)?,
        idle_timeout: period("idleTimeout", options.idle_timeout)?,
        size: size.ok_or_else(|| Problem::invalid("config.cols and config.rows", "must be at most 1000 and 500, and positive"))?,
    })
}

fn label<'a>(field: &str, text: &'a str) -> Result<&'a str, Problem> {
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
    #[serde(default)]
    credentials: Map<String, Value>,
}

async fn create(
    State(app): Shared,
    Workspace(workspace_id): Workspace,
    Json(body): Json<Value>,
) -> Result<(StatusCode, axum::Json<AgentHandle>), Problem> {
    let invalid = |error| invalid_member("", &error);
    let config: AgentConfig = serde_path_to_error::deserialize(&body).map_err(invalid)?;
    let options = serde_path_to_error::deserialize(&body).map_err(invalid)?;
    if !config.credentials.is_empty() {
        return Err(Problem::invalid("credentials", "are not applied by this runtime; pass them in env"));
    }
    let order = order(config.id, Some(config.name), &config.agent_type, config.capabilities, options)?;
    let order = Order { workspace_id, ..order };
    let agents = Arc::clone(&app.agents);
    let spawning = app.tasks.spawn(async move { agents.spawn(order).await });
    let agent = spawning.await.map_err(|error| Problem::Internal(error.to_string()))??;
    Ok((StatusCode::CREATED, axum::Json(agent.handle())))
}

async fn list(State(app): Shared, workspace: Workspace) -> axum::Json<AgentList> {
    let agents: Vec<_> = app.agents.list().iter().filter(|agent| workspace.sees(agent)).map(|agent| agent.handle()).collect();
    axum::Json(AgentList { count: agents.len(), agents })
}

async fn show(Named(agent): Named) -> axum::Json<AgentHandle> {
    axum::Json(agent.handle())
}

async fn stop(State(app): Shared, Named(agent): Named, params: Params) -> Result<StatusCode, Problem> {
    let limit = params.number("timeout", 0..=60_000)?.map_or(STOP_TIMEOUT, Duration::from_millis);
    let patience = if params.flag("force")? == Some(true) { Patience::KillAtOnce } else { Patience::Wait(limit) };
    let agents = Arc::clone(&app.agents);
    // On a task of its own: a caller that hangs up must not save the agent from being killed.
    let stopping = app.tasks.spawn(async move { agents.stop(&agent, patience, "stopped").await });
    stopping.await.map_err(|error| Problem::Internal(error.to_string()))??;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct SendRequest {
    message: String,
}

async fn send(Named(agent): Named, Json(request): Json<SendRequest>) -> Result<axum::Json<Value>, Problem> {
    agent.send(&request.message).await?;
    Ok(axum::Json(json!({ "sent": true })))
}

async fn logs(Named(agent): Named, params: Params) -> Result<axum::Json<Value>, Problem> {
    let tail = match params.number("tail", 1..=TAIL_MAX)? {
        Some(tail) => tail,
        None => params.number("lines", 1..=TAIL_MAX)?.unwrap_or(TAIL_DEFAULT),
    };
    let lines = text::lines(&printed(&agent), tail);
    Ok(axum::Json(json!({ "count": lines.len(), "logs": lines })))
}

async fn output(Named(agent): Named) -> axum::Json<Value> {
    axum::Json(json!({ "output": printed(&agent) }))
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

fn printed(agent: &Agent) -> String {
    String::from_utf8_lossy(&agent.output.all().1).into_owned()
}

async fn event_socket(State(app): Shared, workspace: Workspace, params: Params, mut request: Request) -> Result<Response, Problem> {
    let handshake = Handshake::check(&mut request, None)?;
    let filter = Filter {
        agent_id: params.text("agentId").map(Into::into),
        workspace_id: workspace.and(params.text("workspaceId"))?,
        since: params.number("since", 0..=u64::MAX)?,
    };
    let (events, closing) = (Arc::clone(&app.events), app.closing.clone());
    Ok(handshake.accept(&app.tasks, move |socket| event_stream::serve(socket, events, filter, closing)))
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
    let start = match (params.number("since", 0..=u64::MAX)?, params.flag("replay")?) {
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
    Ok(handshake.accept(&app.tasks, move |socket| terminal_socket::serve(socket, agent, framing, start, closing)))
}
