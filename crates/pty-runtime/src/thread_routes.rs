//! REST for managed threads.

use std::{path::PathBuf, sync::Arc};

use axum::{extract::State, http::StatusCode};
use chrono::Utc;
use runtime_protocol::{ThreadHandle, ThreadList, ThreadRequest};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    agents::Order,
    config::Config,
    extract::{Json, NamedThread, Params, Workspace},
    problem::Problem,
    routes::{self, KeyNames, Options, Shared},
    threads::{ThreadOrder, ThreadRecord},
};

/// Bytes of an objective, which goes into the agent's environment and into every event of its thread.
const OBJECTIVE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of `workspace` and of `metadata`, as JSON, which go into every event too.
const DETAILS_BYTES_MAX: usize = 8 * 1024;
/// Bytes that `raw` may have, as much as one message to a terminal.
const RAW_BYTES_MAX: usize = 1024 * 1024;

pub(crate) async fn create(
    State(app): Shared,
    Workspace(workspace_id): Workspace,
    Json(request): Json<ThreadRequest>,
) -> Result<(StatusCode, axum::Json<ThreadHandle>), Problem> {
    let order = thread_order(&app.config, request, workspace_id)?;
    let threads = Arc::clone(&app.threads);
    // On a task of its own: a caller that hangs up must not leave half a start behind.
    let starting = app.tasks.spawn(async move { threads.start(order).await });
    let thread = starting.await.map_err(|error| Problem::Internal(error.to_string()))??;
    Ok((StatusCode::CREATED, axum::Json(thread.handle())))
}

pub(crate) async fn list(State(app): Shared, workspace: Workspace, params: Params) -> axum::Json<ThreadList> {
    let threads = app.threads.list().into_iter().filter(|thread| {
        let status = json!(thread.status());
        workspace.includes(thread.workspace_id.as_deref())
            && params.admit("executionId", Some(&thread.record.execution_id))
            && params.admit("status", status.as_str())
            && params.admit("role", thread.role())
            && routes::admits_type(&app.config, &params, "agentType", thread.agent_type())
    });
    let threads: Vec<_> = threads.map(|thread| thread.handle()).collect();
    axum::Json(ThreadList { count: threads.len(), threads })
}

pub(crate) async fn show(NamedThread(thread): NamedThread) -> axum::Json<ThreadHandle> {
    axum::Json(thread.handle())
}

/// Ends a thread with its agent; it stays listed as stopped for a while.
pub(crate) async fn stop(State(app): Shared, NamedThread(thread): NamedThread, params: Params) -> Result<StatusCode, Problem> {
    let timeout = params.number("timeout", 0..=routes::STOP_TIMEOUT_MILLIS_MAX)?;
    let patience = routes::patience(timeout, params.flag("force")?);
    match thread.stopping(&app.agents) {
        Some(agent) => routes::end(&app, agent, patience).await,
        None => Ok(StatusCode::NO_CONTENT),
    }
}

/// Body of `POST /threads/:id/send`: exactly one of the three.
#[derive(Deserialize)]
pub(crate) struct ThreadInput {
    message: Option<String>,
    raw: Option<String>,
    keys: Option<KeyNames>,
}

pub(crate) async fn send(
    State(app): Shared,
    NamedThread(thread): NamedThread,
    Json(input): Json<ThreadInput>,
) -> Result<axum::Json<Value>, Problem> {
    let agent = thread.agent()?;
    match input {
        ThreadInput { message: Some(message), raw: None, keys: None } => agent.send(&message).await?,
        ThreadInput { message: None, raw: Some(raw), keys: None } if (1..=RAW_BYTES_MAX).contains(&raw.len()) => {
            routes::type_raw(&agent, raw.into()).await?;
        }
        ThreadInput { message: None, raw: Some(_), keys: None } => {
            return Err(Problem::invalid("raw", format!("must be 1 to {RAW_BYTES_MAX} bytes")));
        }
        ThreadInput { message: None, raw: None, keys: Some(keys) } => routes::press_keys(&app, agent, keys).await?,
        ThreadInput { .. } => return Err(Problem::invalid("message, raw, keys", "exactly one of them must be there")),
    }
    thread.answered();
    Ok(axum::Json(json!({ "sent": true })))
}

fn thread_order(config: &Config, request: ThreadRequest, workspace_id: Option<String>) -> Result<ThreadOrder, Problem> {
    request.id.as_deref().map(|id| routes::plain_id("id", id)).transpose()?;
    let objective_fits = (1..=OBJECTIVE_BYTES_MAX).contains(&request.objective.len()) && !request.objective.trim().is_empty();
    if !objective_fits || request.objective.contains('\0') {
        return Err(Problem::invalid("objective", format!("must be 1 to {OBJECTIVE_BYTES_MAX} bytes of text")));
    }
    let preparation = request.preparation.unwrap_or_default();
    let workspace = preparation.workspace.or(request.workspace);
    for (field, details) in [("workspace", &workspace), ("metadata", &request.metadata)] {
        if json!(details).to_string().len() > DETAILS_BYTES_MAX {
            return Err(Problem::invalid(field, format!("must be at most {DETAILS_BYTES_MAX} bytes")));
        }
    }
    let options = Options {
        role: request.role,
        approval_preset: request.approval_preset,
        execution_id: Some(request.execution_id.clone()),
        env: preparation.env.unwrap_or(request.env),
        workdir: workspace.as_ref().map(folder).transpose()?.flatten(),
        context_files: preparation.context_files.unwrap_or(request.context_files),
        ..Options::default()
    };
    // By convention of the clients the first file is the one that the agent keeps its notes in.
    let memory_file = options.context_files.first().map(|file| file.path.clone()).unwrap_or_default();
    let agent = routes::order(config, None, Some(request.name), &request.agent_type, Vec::new(), options)?;
    Ok(ThreadOrder {
        thread: ThreadRecord {
            id: request.id.unwrap_or_else(|| format!("thread-{}", Uuid::new_v4().simple())),
            execution_id: request.execution_id,
            objective: request.objective,
            workspace,
            metadata: request.metadata,
            created_at: Utc::now(),
        },
        memory_file,
        agent: Order { workspace_id, ..agent },
    })
}

/// The folder that a thread's workspace names, which the start confines as any other.
fn folder(workspace: &Map<String, Value>) -> Result<Option<PathBuf>, Problem> {
    match workspace.get("path") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(path)) => Ok(Some(path.into())),
        Some(_) => Err(Problem::invalid("workspace.path", "must be text")),
    }
}
