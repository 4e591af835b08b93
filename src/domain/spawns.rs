//! Spawns agents on a runtime: rows and keys first, then the call, then what came of it.
//!
//! 1. [`plan`] commits an approved agent with its key and a run in `spawning` for each.
//! 2. [`launch`] asks the runtime, with no transaction open.
//! 3. [`settle`] commits the outcome: the run has started, or nothing is left of the agent.
//!
//! A crash between the steps is made up for by the reconciler: a run that the runtime has is
//! adopted, one that it does not have is ended after a deadline.

use std::time::Duration;

use runtime_protocol::{SpawnRequest, wire_agent_type};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{
    approvals::{self, ApprovalError},
    assignments::{self, AssignmentError},
    events, keys,
    runs::{self, Report},
    runtimes::{self, Placement, PlacementError},
};
use crate::{
    model::{
        actor::{Admin, Approver},
        agent::{Agent, Profile},
        assignment::Target,
        event::{Event, EventKind},
        ids::{AgentId, RunId},
        login::Login,
        mcp_config,
        permission::PermissionSet,
        policy::Policy,
        run::{Run, RunNews, RunStatus},
        runtime::RuntimeName,
        secret::Secret,
        settings::WorkspaceRules,
        terminal::Size,
        told,
    },
    runtime::{RuntimeClient, RuntimeError, Runtimes},
    storage::{self, StorageError, Tx},
};

/// How long a spawn that failed may take to be taken back; after that it is pursued behind the caller's back. With the
/// 55 seconds that the client spends on a spawn at the most, an order takes a minute.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What an admin asks for.
#[derive(Clone, Debug)]
pub struct SpawnOrder {
    /// The canonical one where it is known; of others the runtime says whether it knows them.
    pub agent_type: String,
    pub count: u32,
    /// Where they are to run; without it each goes where there is most room.
    pub runtime: Option<RuntimeName>,
    pub name: Option<String>,
    pub capabilities: Vec<String>,
    /// What the agents are granted; the workspace's defaults when absent.
    pub permissions: Option<PermissionSet>,
    /// Where each agent is put to work once it is made.
    pub assignments: Vec<Target>,
    /// Size of each terminal at its start.
    pub size: Size,
    pub config: Map<String, Value>,
}

/// One agent that is about to be launched.
pub struct Planned {
    pub agent: Agent,
    pub run: Run,
    runtime: RuntimeClient,
    key: Secret,
}

/// Where a spawned process finds the service.
#[derive(Clone, Debug)]
pub struct Callbacks {
    /// Base URL of this service, without a slash at its end.
    pub app_url: String,
}

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    #[error(transparent)]
    Placement(#[from] PlacementError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Makes the agents of an order: approved by the admin, each with a key of its own and a place on a runtime.
///
/// Errors: `LimitReached` when not all of them fit, `Placement` when no runtime takes them all, `Storage`.
pub async fn plan(
    tx: &mut Tx,
    policy: &Policy,
    runtimes: &Runtimes,
    admin: &Admin,
    order: &SpawnOrder,
) -> Result<Vec<Planned>, SpawnError> {
    let rules = storage::workspaces::lock(tx.conn(), admin.workspace()).await?.ok_or(ApprovalError::NotFound)?;
    if !rules.agents_enabled {
        return Err(ApprovalError::SwitchedOff.into());
    }
    let places = runtimes::choose(tx, runtimes, admin.workspace(), &order.agent_type, order.runtime.as_ref(), order.count).await?;
    let mut planned = Vec::new();
    for (number, place) in (1..).zip(places) {
        planned.push(plan_one(tx, policy, &rules, admin, place, order, number).await?);
    }
    Ok(planned)
}

async fn plan_one(
    tx: &mut Tx,
    policy: &Policy,
    rules: &WorkspaceRules,
    admin: &Admin,
    place: Placement,
    order: &SpawnOrder,
    number: u32,
) -> Result<Planned, SpawnError> {
    let now = tx.now();
    let id = AgentId::generate();
    let base = order.name.as_deref().unwrap_or(wire_agent_type(&order.agent_type));
    let name = match (order.count, &order.name) {
        (1, Some(name)) => name.clone(),
        (1, None) => format!("{base}-{}", &id.as_str()[..6]),
        _ => format!("{base}-{number}"),
    };
    let permissions = order.permissions.clone().unwrap_or_else(|| rules.default_permissions.clone());
    let profile = Profile {
        name: name.clone(),
        description: None,
        avatar_url: None,
        capabilities: order.capabilities.clone(),
        requested: permissions.clone(),
        metadata: json!({"agentType": wire_agent_type(&order.agent_type), "spawnedBy": admin.user()}),
        endpoint: None,
    };
    let agent = Agent::requested(admin.workspace(), id, profile, now);
    storage::agents::insert(tx.conn(), &agent).await?;
    let approved = approvals::admit(tx, policy, rules, &Approver::Spawn(admin.user()), agent, permissions).await?;
    let run = Run {
        id: RunId::generate(),
        workspace: admin.workspace(),
        agent: approved.agent.id.clone(),
        agent_name: name,
        agent_type: order.agent_type.clone(),
        runtime: place.name,
        runtime_endpoint: place.client.endpoint().to_owned(),
        runtime_agent_id: approved.agent.id.as_str().to_owned(),
        runtime_session_id: None,
        terminal_session: None,
        status: RunStatus::Spawning,
        size: order.size,
        login: Login::default(),
        stop_report: None,
        stop_refuted_at: None,
        paused_at: None,
        exit_code: None,
        reason: None,
        requested_by: Some(admin.user()),
        started_at: now,
        stop_requested_at: None,
        stopped_at: None,
    };
    storage::runs::insert(tx.conn(), &run).await?;
    for target in &order.assignments {
        assignments::assign_new(tx, rules, admin.person(), &approved.agent, *target).await?;
    }
    Ok(Planned { agent: approved.agent, run, runtime: place.client, key: approved.key })
}

/// Why an agent could not be launched.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct LaunchError {
    #[source]
    pub error: RuntimeError,
    /// Whether its process may run all the same: then it is pursued until the runtime says that it does not.
    pub may_run: bool,
}

/// What the runtime made of one planned agent.
pub struct Launched {
    pub runtime_agent_id: String,
    pub runtime_session_id: Option<String>,
}

/// Asks its runtime for one planned agent. Its key goes into the environment of its process, and
/// nowhere else (D-47). The run's id makes a repeated call harmless.
pub async fn launch(planned: &Planned, order: &SpawnOrder, callbacks: &Callbacks) -> Result<Launched, LaunchError> {
    let runtime = &planned.runtime;
    let mut config = order.config.clone();
    let mut env = config.get("env").and_then(Value::as_object).cloned().unwrap_or_default();
    env.insert("MCP_SERVER_URL".into(), json!(callbacks.app_url));
    env.insert(mcp_config::URL_VARIABLE.into(), json!(format!("{}{}", callbacks.app_url, mcp_config::PATH)));
    env.insert(mcp_config::KEY_VARIABLE.into(), json!(planned.key.expose()));
    env.insert("RAVEN_WORKSPACE_ID".into(), json!(planned.run.workspace));
    env.insert("RAVEN_AGENT_ID".into(), json!(planned.agent.id));
    config.insert("env".into(), Value::Object(env));
    config.insert("cols".into(), json!(order.size.cols()));
    config.insert("rows".into(), json!(order.size.rows()));
    let request = SpawnRequest {
        agent_type: order.agent_type.clone(),
        count: 1,
        name: Some(planned.agent.profile.name.clone()),
        capabilities: order.capabilities.clone(),
        permissions: planned.agent.granted().to_strings(),
        config,
        workspace_id: planned.run.workspace.to_string(),
        callback_url: Some(format!("{}/api/parallax-agents/spawn-callback", callbacks.app_url)),
        id: Some(planned.run.runtime_agent_id.clone()),
    };
    let reply = match runtime.spawn(&request, &planned.run.id.to_string()).await {
        Ok(reply) => reply,
        Err(error) if error.is_certain() => return Err(LaunchError { error, may_run: false }),
        Err(error) => {
            // It may have been carried out, and nothing must run that nobody knows of.
            let stopping = runtime.stop(planned.run.workspace, &planned.run.runtime_agent_id);
            let stopped = timeout(STOP_PATIENCE, stopping).await.is_ok_and(|answer| answer.is_ok());
            return Err(LaunchError { error, may_run: !stopped });
        }
    };
    let refusal = || RuntimeError::Refused {
        status: 200,
        code: None,
        message: reply.errors.first().map_or_else(|| "no agent was started".to_owned(), |error| told::text(error)),
    };
    let agent = reply.agents.first().ok_or_else(|| LaunchError { error: refusal(), may_run: false })?;
    // What cannot be a name is left aside: the agent was asked for by one that can.
    let runtime_agent_id = if told::is_name(&agent.id) { &agent.id } else { &planned.run.runtime_agent_id };
    Ok(Launched { runtime_agent_id: runtime_agent_id.clone(), runtime_session_id: agent.runtime_session_id.clone() })
}

/// Commits what came of launching one agent: it has started; or agent, key and account are gone; or,
/// where its process may run all the same, its key is revoked and its end asked for.
pub async fn settle(tx: &mut Tx, planned: &Planned, outcome: Result<&Launched, &LaunchError>) -> Result<(), StorageError> {
    let (workspace, agent) = (planned.run.workspace, &planned.agent.id);
    match outcome {
        Ok(launched) => {
            if let Some(mut run) = storage::runs::lock(tx.conn(), planned.run.id).await?
                && run.runtime_agent_id != launched.runtime_agent_id
            {
                run.runtime_agent_id.clone_from(&launched.runtime_agent_id);
                storage::runs::save(tx.conn(), &run).await?;
            }
            let report = Report { news: RunNews::Started, runtime_session_id: launched.runtime_session_id.clone(), mcp_endpoint: None };
            runs::hear_by_id(tx, planned.run.id, report).await
        }
        Err(failure) if failure.may_run => {
            runs::request_stop(tx, workspace, agent, planned.run.requested_by, "the spawn was not confirmed").await?;
            keys::revoke_all(tx, workspace, agent).await?;
            Ok(())
        }
        Err(failure) => runs::undo_spawn(tx, planned.run.id, &failure.to_string()).await,
    }
}

/// Leaves the record of an order as a whole.
pub async fn record_order(
    tx: &mut Tx,
    admin: &Admin,
    order: &SpawnOrder,
    spawned: Vec<AgentId>,
    errors: Vec<String>,
) -> Result<(), StorageError> {
    let kind = EventKind::AgentsSpawned {
        agent_type: wire_agent_type(&order.agent_type).to_owned(),
        count: order.count,
        spawned_agents: spawned,
        errors,
    };
    events::record(tx, Event { workspace: admin.workspace(), agent: None, actor: Some(admin.user()), kind }).await?;
    Ok(())
}
