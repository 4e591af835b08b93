//! A workspace's runtimes.

use std::time::Duration;

use axum::extract::State;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    callers::Manager,
    input::{Body, Param, Params},
    settings::check_endpoint,
    spawns::agent_type,
};
use crate::{
    app::{App, StorageError},
    domain::{
        runs,
        runtimes::{self, NewRuntime, RuntimeChange},
    },
    model::{run::Run, runtime::RuntimeName, secret::Secret},
    wire::{
        envelope::{Done, Envelope},
        problem::{AdminErrors, PersonErrors, Problem},
        runtimes::{AddRuntime, RemoveRuntime, Runtime, UpdateRuntime},
    },
};

/// How long all processes on a runtime that is removed may take to end; one that takes longer is left behind.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// List runtimes.
///
/// The operator's first, then the one from the settings, then those of the workspace by name.
#[utoipa::path(get, path = "/api/parallax-agents/runtimes", operation_id = "listRuntimes", tag = "runtimes",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Vec<Runtime>>), PersonErrors, AdminErrors))]
pub(super) async fn list(State(app): State<App>, Manager(admin): Manager) -> Result<Envelope<Vec<Runtime>>, Problem> {
    let found = runtimes::list(&mut *app.read().await?, &app.runtimes, &admin).await?;
    Ok(Envelope::ok(found.into_iter().map(Into::into).collect()))
}

/// Add a runtime.
///
/// Its events are followed within seconds. `state` is `unknown` until it answers.
#[utoipa::path(post, path = "/api/parallax-agents/runtimes", operation_id = "addRuntime", tag = "runtimes",
    security(("person" = []), ("cookie" = [])), request_body = AddRuntime,
    responses((status = 201, body = Envelope<Runtime>), PersonErrors, AdminErrors))]
pub(super) async fn add(
    State(app): State<App>,
    Manager(admin): Manager,
    Body(body): Body<AddRuntime>,
) -> Result<Envelope<Runtime>, Problem> {
    let new = NewRuntime {
        name: body.name,
        endpoint: check_endpoint(&app, "endpoint", &body.endpoint).await?,
        token: body.token.filter(|token| !token.is_empty()).as_deref().map(Secret::presented),
        kinds: kinds(&body.kinds)?,
        agents_max: body.agents_max,
        enabled: body.enabled,
    };
    let mut tx = app.begin().await?;
    let added = runtimes::add(&mut tx, &app.runtimes, &admin, new).await?;
    tx.commit().await?;
    Ok(Envelope::created(added.into()))
}

/// Change a runtime.
///
/// What is absent stays. The ones that no admin named are changed in the settings or by the operator.
#[utoipa::path(patch, path = "/api/parallax-agents/runtimes/{runtimeName}", operation_id = "updateRuntime", tag = "runtimes",
    params(("runtimeName" = String, Path)), security(("person" = []), ("cookie" = [])), request_body = UpdateRuntime,
    responses((status = 200, body = Envelope<Runtime>), PersonErrors, AdminErrors))]
pub(super) async fn update(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(name): Param<RuntimeName>,
    Body(body): Body<UpdateRuntime>,
) -> Result<Envelope<Runtime>, Problem> {
    let endpoint = match &body.endpoint {
        Some(endpoint) => Some(check_endpoint(&app, "endpoint", endpoint).await?),
        None => None,
    };
    let change = RuntimeChange {
        endpoint,
        token: body.token.as_deref().map(Secret::presented),
        kinds: body.kinds.as_deref().map(kinds).transpose()?,
        agents_max: body.agents_max,
        enabled: body.enabled,
    };
    let mut tx = app.begin().await?;
    let changed = runtimes::change(&mut tx, &app.runtimes, &admin, &name, change).await?;
    tx.commit().await?;
    Ok(Envelope::ok(changed.into()))
}

/// Remove a runtime.
///
/// Refused with 409 while agents run there, unless `force` has them ended first. What does not end in time
/// counts as stopped all the same: its key is revoked, and nobody here reaches its process any more.
#[utoipa::path(delete, path = "/api/parallax-agents/runtimes/{runtimeName}", operation_id = "removeRuntime", tag = "runtimes",
    params(("runtimeName" = String, Path), RemoveRuntime), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Done>), PersonErrors, AdminErrors))]
pub(super) async fn remove(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(name): Param<RuntimeName>,
    Params(query): Params<RemoveRuntime>,
) -> Result<Envelope<Done>, Problem> {
    let force = query.force.unwrap_or(false);
    if force {
        let mut tx = app.begin().await?;
        let (live, client) = runtimes::drain(&mut tx, &app.runtimes, &admin, &name).await?;
        tx.commit().await?;
        if let Some(client) = client {
            let ending = join_all(live.iter().map(|run| end(&app, &client, run)));
            if timeout(END_PATIENCE, ending).await.is_err() {
                tracing::warn!(runtime = %name, "not all processes on a runtime that is removed ended in time");
            }
        }
    }
    let mut tx = app.begin().await?;
    runtimes::remove(&mut tx, &admin, &name, force).await?;
    tx.commit().await?;
    Ok(Envelope::ok(Done::OK))
}

async fn end(app: &App, client: &runs::RuntimeClient, run: &Run) {
    let ended = async {
        let Ok(report) = runs::end_process(client, run).await else { return Ok(()) };
        let mut tx = app.begin().await?;
        runs::hear_by_id(&mut tx, run.id, report).await?;
        tx.commit().await
    };
    let ended: Result<(), StorageError> = ended.await;
    if let Err(error) = ended {
        tracing::warn!(agent.id = %run.agent, error = &error as &dyn std::error::Error, "the end of a process is not noted yet");
    }
}

/// Agent types in any spelling, the known ones as canonical ones.
fn kinds(spellings: &[String]) -> Result<Vec<String>, Problem> {
    let mut kinds = Vec::new();
    for spelling in spellings {
        let kind = agent_type("kinds", spelling)?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}
