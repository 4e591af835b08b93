//! The replica's REST surface (runtime contract §3): small, unauthenticated, with errors as it pleases.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use super::{
    REQUESTS_KEPT, Recorded, Shared,
    agents::{Agent, Order},
    locked, sockets,
};

/// A larger body is answered with a page.
const BODY_BYTES_MAX: usize = 100 * 1024;
const JSON: &str = "application/json; charset=utf-8";
const LOGS_DEFAULT: usize = 100;
const STOP_TIMEOUT_MS: u64 = 5_000;

/// The connection is destroyed instead of an answer.
#[derive(Debug)]
pub(super) struct Destroyed;

impl std::fmt::Display for Destroyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is destroyed")
    }
}

impl std::error::Error for Destroyed {}

type Answer = Response<Full<Bytes>>;

/// An answer for what went wrong.
struct Failure {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

/// Serves until the replica is killed.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.killed.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let of = Arc::clone(&shared);
        let service = service_fn(move |request| answer(Arc::clone(&of), request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        let killed = shared.killed.clone();
        shared.tasks.spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::trace!(%error, "connection ended");
                    }
                }
                () = killed.cancelled() => {}
            }
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Destroyed> {
    record(&shared, &request);
    if request.headers().contains_key(header::UPGRADE) {
        return sockets::open(&shared, request);
    }
    let is_post = request.method() == Method::POST;
    let response = route(&shared, request).await;
    if is_post {
        let knobs = shared.knobs();
        sleep(knobs.answer_delay).await;
        if knobs.loses_answers {
            return Err(Destroyed);
        }
    }
    Ok(response.unwrap_or_else(|failure| typed_answer(failure.status, failure.content_type, failure.body)))
}

fn record(shared: &Shared, request: &Request<Incoming>) {
    let mut requests = locked(&shared.requests);
    if requests.len() == REQUESTS_KEPT {
        requests.pop_front();
    }
    requests.push_back(Recorded {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: request.headers().clone(),
    });
}

async fn route(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Failure> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (method, segments.as_slice()) {
        (Method::GET, []) => Ok(json_answer(
            StatusCode::OK,
            &json!({"service": "Parallax Local Runtime", "version": "0.1.0",
                    "endpoints": {"health": "GET /api/health", "agents": "GET /api/agents", "spawn": "POST /api/agents"}}),
        )),
        (Method::GET, ["api", "health"]) => {
            let count = locked(&shared.agents).len();
            let healthy = !shared.knobs().is_unhealthy;
            Ok(json_answer(StatusCode::OK, &json!({"healthy": healthy, "message": format!("{count} agents running")})))
        }
        (Method::GET, ["api", "agents"]) => Ok(list(shared, &query)),
        (Method::POST, ["api", "agents"]) => spawn(shared, &json_body(request).await?),
        (Method::GET, ["api", "agents", id]) => {
            let agent = shared.agent(id).ok_or_else(|| failure(StatusCode::NOT_FOUND, "Agent not found"))?;
            Ok(json_answer(StatusCode::OK, &agent.handle()))
        }
        (Method::DELETE, ["api", "agents", id]) => stop(shared, id, &query).await,
        (Method::POST, ["api", "agents", id, "send"]) => {
            let body = json_body(request).await?;
            let message = body.get("message").and_then(Value::as_str).filter(|message| !message.is_empty());
            let message = message.ok_or_else(|| failure(StatusCode::BAD_REQUEST, "message is required"))?;
            let agent = shared.agent(id).ok_or_else(|| unknown(id))?;
            agent.send(message);
            Ok(json_answer(StatusCode::OK, &json!({"sent": true, "response": sent(&agent, message)})))
        }
        (Method::GET, ["api", "agents", id, "logs"]) => {
            let tail = values(&query, "tail").next().map_or(LOGS_DEFAULT, |tail| tail.parse().unwrap_or(0));
            let logs = shared.agent(id).ok_or_else(|| unknown(id))?.logs(tail);
            Ok(json_answer(StatusCode::OK, &json!({"count": logs.len(), "logs": logs})))
        }
        (Method::GET, ["api", "agents", id, "metrics"]) => {
            let agent = shared.agent(id).ok_or_else(|| failure(StatusCode::NOT_FOUND, "Agent not found"))?;
            Ok(json_answer(StatusCode::OK, &json!({"uptime": agent.uptime().as_secs()})))
        }
        _ => Err(page(StatusCode::NOT_FOUND, &format!("Cannot find {path}"))),
    }
}

fn list(shared: &Shared, query: &str) -> Answer {
    let wanted = |name: &str, value: &str| {
        let mut wanted = values(query, name).peekable();
        wanted.peek().is_none() || wanted.any(|wanted| wanted == value)
    };
    let agents = locked(&shared.agents).clone();
    let handles: Vec<Value> = agents
        .iter()
        .filter(|agent| wanted("status", agent.status()) && wanted("type", &agent.kind))
        .filter(|agent| wanted("role", agent.role.as_deref().unwrap_or_default()))
        .map(|agent| agent.handle())
        .collect();
    json_answer(StatusCode::OK, &json!({"count": handles.len(), "agents": handles}))
}

fn spawn(shared: &Arc<Shared>, body: &Value) -> Result<Answer, Failure> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(agent_type), Some(name)) = (text("type"), text("name")) else {
        return Err(failure(StatusCode::BAD_REQUEST, "type and name are required"));
    };
    let order = Order {
        id: text("id"),
        name,
        agent_type,
        capabilities: body.get("capabilities").cloned().unwrap_or_else(|| json!([])),
        role: text("role"),
        workdir: text("workdir").map(Into::into),
        env: body.get("env").and_then(Value::as_object).cloned().unwrap_or_default(),
        execution_id: text("executionId"),
    };
    let agent = Agent::start(shared, order).map_err(|error| failure(StatusCode::INTERNAL_SERVER_ERROR, &error))?;
    Ok(json_answer(StatusCode::CREATED, &agent.handle()))
}

async fn stop(shared: &Shared, id: &str, query: &str) -> Result<Answer, Failure> {
    let agent = shared.agent(id).ok_or_else(|| unknown(id))?;
    let force = values(query, "force").next() == Some("true");
    let patience = values(query, "timeout").next().and_then(|timeout| timeout.parse().ok()).unwrap_or(STOP_TIMEOUT_MS);
    agent.stop(force, Duration::from_millis(patience)).await;
    // One that was stopped on request is forgotten; one that ended by itself stays listed for ever.
    locked(&shared.agents).retain(|other| other.id != id);
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(answer)
}

/// The message as the original echoes it back.
fn sent(agent: &Agent, message: &str) -> Value {
    json!({"id": format!("{}-msg-1", agent.id), "agentId": agent.id, "direction": "inbound", "type": "task", "content": message,
           "timestamp": super::timestamp()})
}

async fn json_body(request: Request<Incoming>) -> Result<Value, Failure> {
    match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => serde_json::from_slice(&body.to_bytes()).map_err(|_| page(StatusCode::BAD_REQUEST, "SyntaxError: the body is no JSON")),
        Err(error) if error.is::<LengthLimitError>() => Err(page(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeError")),
        Err(_) => Err(page(StatusCode::BAD_REQUEST, "the body did not arrive")),
    }
}

/// The values of one name in a query; ids and statuses need no decoding.
pub(super) fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    query.split('&').filter_map(move |pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

fn unknown(id: &str) -> Failure {
    failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("Agent {id} not found"))
}

fn failure(status: StatusCode, error: &str) -> Failure {
    Failure { status, content_type: JSON, body: json!({"error": error}).to_string() }
}

/// The page with which the original's framework answers what it does not know.
fn page(status: StatusCode, text: &str) -> Failure {
    let body = format!("<!DOCTYPE html><html><body><pre>{text}</pre></body></html>");
    Failure { status, content_type: "text/html; charset=utf-8", body }
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    typed_answer(status, JSON, body.to_string())
}

fn typed_answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}
