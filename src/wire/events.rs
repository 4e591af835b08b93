//! Which channel tells what of an event, and to whom: one row for each kind (realtime contract §3.3, §4.4, §4.5, §6).
//!
//! There are three: the broadcast on the default namespace, `mcp:event` for what happens to agents, and `agent:event`
//! in its envelope, which server-sent events carry too. All three have the same `eventId`, and the time at which the
//! event was recorded. Whatever is told of an agent is an object with its id (RT-25).

use std::{collections::HashSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{problem::Problem, time::Timestamp};
use crate::model::{
    event::{AgentBrief, Entry, EventKind, TaskBrief, Via},
    ids::{AgentId, PageId, ProjectId, SpaceId, TaskId, UserId},
    listener::{Audience, EVENT_TYPES_MAX, Listener, People, Published, Room, Told},
    shown,
    terminal_rights::Viewers,
};

/// The forms in which a stream may carry events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// As `agent:event`, in its envelope.
    #[default]
    Agent,
    /// As `mcp:event`.
    Mcp,
    /// As on the default namespace.
    Workspace,
}

/// Which events a stream carries, and from where on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Only events of this agent.
    pub agent_id: Option<String>,
    /// Only events of these types, with commas between them; 1 to 64.
    #[param(example = "agent.status_changed,agent.error")]
    pub event_types: Option<String>,
    /// The form of the events: `agent` unless said otherwise.
    #[param(inline)]
    pub channel: Option<Channel>,
    /// Goes on after this position; `Last-Event-ID` goes before it.
    #[param(example = "AAAAAAAAAAc")]
    pub cursor: Option<String>,
}

/// What a stream was asked for.
#[derive(Debug)]
pub struct Selection {
    pub agent: Option<AgentId>,
    types: Option<HashSet<String>>,
    channel: Channel,
}

impl StreamQuery {
    /// Errors: an agent's id that cannot be, and no types or too many.
    pub fn selection(&self) -> Result<Selection, Problem> {
        let agent = self.agent_id.as_deref().map(str::parse::<AgentId>).transpose();
        let agent = agent.map_err(|error| Problem::invalid("agentId", &error.to_string()))?;
        let types = self.event_types.as_deref().map(|types| types.split(',').map(str::trim).filter(|name| !name.is_empty()));
        let types: Option<HashSet<String>> = types.map(|types| types.map(str::to_owned).collect());
        if types.as_ref().is_some_and(|types| !(1..=EVENT_TYPES_MAX).contains(&types.len())) {
            return Err(Problem::invalid("eventTypes", "must be 1 to 64 types"));
        }
        Ok(Selection { agent, types, channel: self.channel.unwrap_or_default() })
    }
}

impl Selection {
    /// The frame of an event, if it was asked for.
    #[must_use]
    pub fn frame(&self, event: &Published) -> Option<Bytes> {
        if self.agent.is_some() && self.agent != event.agent {
            return None;
        }
        let told = match self.channel {
            Channel::Agent => &event.agent_event,
            Channel::Mcp => &event.resource,
            Channel::Workspace => &event.broadcast,
        };
        let wanted = |told: &&Told| self.types.as_ref().is_none_or(|types| types.contains(told.name));
        let Told { name, text } = told.as_ref().filter(wanted)?;
        Some(format!("id: {}\nevent: {name}\ndata: {text}\n\n", cursor(event.seq)).into())
    }
}

/// A position among all events, as clients keep it.
#[must_use]
pub fn cursor(seq: i64) -> String {
    URL_SAFE_NO_PAD.encode(seq.to_be_bytes())
}

/// Reads what [`cursor`] wrote.
#[must_use]
pub fn position(cursor: &str) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    Some(i64::from_be_bytes(bytes.try_into().ok()?)).filter(|seq| *seq >= 0)
}

/// The first frame of a stream: how soon to come back after a break, in milliseconds, and from where.
#[must_use]
pub fn greeting(seq: i64) -> Bytes {
    format!("retry: 1000\nid: {}\n: connected\n\n", cursor(seq)).into()
}

/// Keeps a connection open, and moves the position past what was not asked for.
#[must_use]
pub fn heartbeat(seq: i64) -> Bytes {
    format!("id: {}\n: heartbeat\n\n", cursor(seq)).into()
}

/// Says that events up to a position are not told: what they changed has to be asked for.
#[must_use]
pub fn gap(seq: i64) -> Bytes {
    let newest = cursor(seq);
    format!("id: {newest}\nevent: gap\ndata: {}\n\n", json!({"newest": newest})).into()
}

/// What one kind of event is told as.
struct Row<'a> {
    people: People,
    /// A person whom it concerns, whatever their role.
    user: Option<UserId>,
    /// Whether the agent that it is about hears of it.
    agent: bool,
    broadcast: Option<(&'static str, Value)>,
    /// Type, operation and data.
    resource: Option<(&'static str, &'static str, Value)>,
    agent_event: Option<(&'static str, Value)>,
    /// What the resource is and its id, where it is not the agent.
    subject: Option<(&'a str, Uuid)>,
}

/// Where in the knowledge base something happened.
#[derive(Default)]
struct Place {
    space: Option<SpaceId>,
    project: Option<ProjectId>,
    task: Option<TaskId>,
    page: Option<PageId>,
}

/// The event as every channel tells it; `None` for what only moves machinery.
#[must_use]
pub fn publish(seq: i64, entry: &Entry) -> Option<Published> {
    let row = row(entry)?;
    let Place { space, project, task, page } = place(&entry.kind);
    let mut rooms = vec![Room::Workspace];
    rooms.extend(entry.agent.clone().map(Room::Agent));
    rooms.extend(entry.actor.or(row.user).map(Room::User));
    rooms.extend(project.map(Room::Project));
    rooms.extend(task.map(Room::Task));
    rooms.extend(page.map(Room::Page));
    rooms.extend(space.map(Room::Space));
    let tool_call_of = if let EventKind::ToolExecuted { caller, .. } = &entry.kind { Some(*caller) } else { None };
    Some(Published {
        seq,
        id: entry.id,
        workspace: entry.workspace,
        agent: entry.agent.clone(),
        audience: Audience { people: row.people, user: row.user, agent: row.agent },
        rooms,
        broadcast: row.broadcast.map(|(name, payload)| told(name, &with_id(payload, entry))),
        resource: row.resource.map(|(kind, operation, data)| told(kind, &resource(entry, kind, operation, data, row.subject, space))),
        agent_event: row.agent_event.map(|(name, data)| told(name, &envelope(entry, name, data))),
        tool_call_of,
        bare: shown::event_without(&entry.kind).and_then(|kind| publish(seq, &Entry { kind, ..entry.clone() })).map(Box::new),
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "few kinds have a place in the knowledge base")]
fn place(kind: &EventKind) -> Place {
    match kind {
        EventKind::Assigned { assignment, .. }
        | EventKind::Unassigned { assignment, .. }
        | EventKind::TaskClaimed { assignment, .. }
        | EventKind::TaskReceived { assignment, .. } => {
            Place { space: assignment.space_id, project: assignment.project_id, task: assignment.task_id, page: None }
        }
        EventKind::TaskDelegated { task_id, space_id, .. } => Place { space: *space_id, task: Some(*task_id), ..Place::default() },
        EventKind::PageCreated { page } | EventKind::PageUpdated { page, .. } => {
            Place { space: Some(page.space_id), page: Some(page.id), ..Place::default() }
        }
        EventKind::TaskStarted { task } | EventKind::TaskCompleted { task } | EventKind::TaskFailed { task } => {
            Place { space: Some(task.space_id), project: task.project_id, task: Some(task.id), page: None }
        }
        EventKind::ContentChanged { content, .. } => {
            Place { space: content.space_id, project: content.project_id, task: content.task_id, page: content.page_id }
        }
        _ => Place::default(),
    }
}

/// A person's presence on a page, as whoever has the page open hears of it.
#[must_use]
pub fn presence(listener: &Listener, page: PageId, space: SpaceId, status: &str, cursor: Option<(f64, f64)>, at: Timestamp) -> Value {
    let mut data = json!({"status": status});
    if let Some((x, y)) = cursor {
        data["cursorPosition"] = json!({"x": x, "y": y});
    }
    json!({
        "type": "presence", "resource": "page", "operation": "update", "resourceId": page, "timestamp": at, "data": data,
        "userId": listener.user(), "workspaceId": listener.workspace, "spaceId": space,
    })
}

/// What each channel tells of an event, and who may hear it.
fn row(entry: &Entry) -> Option<Row<'_>> {
    let named = |agent: &AgentBrief, more: Value| merged(json!({"agentId": agent.id, "agentName": agent.name}), more);
    let actor = entry.actor;
    Some(match &entry.kind {
        EventKind::AccessRequested { agent, capabilities, requested_permissions, .. } => of_agent(
            ("agent:access_requested", json!({"agent": agent})),
            (
                "agent_access_requested",
                "create",
                named(agent, json!({"capabilities": capabilities, "requestedPermissions": requested_permissions})),
            ),
            (
                "agent.access_requested",
                json!({"agent": agent, "capabilities": capabilities, "requestedPermissions": requested_permissions}),
            ),
        ),
        EventKind::AccessApproved { agent, granted_permissions, via } => {
            let via = match via {
                Some(Via::Invite { .. }) => Some("invite"),
                Some(Via::Spawn) => Some("spawn"),
                None => None,
            };
            let payload = json!({"agent": agent, "grantedPermissions": granted_permissions, "via": via});
            of_agent(
                ("agent:access_approved", payload.clone()),
                ("agent_access_approved", "approve", named(agent, json!({"grantedPermissions": granted_permissions, "approvedBy": actor}))),
                ("agent.access_approved", merged(payload, json!({"approvedBy": actor}))),
            )
        }
        EventKind::AccessDenied { agent, reason } => of_agent(
            ("agent:access_denied", json!({"agent": agent, "reason": reason})),
            ("agent_access_denied", "deny", named(agent, json!({"reason": reason, "deniedBy": actor}))),
            ("agent.access_denied", json!({"agent": agent, "reason": reason, "deniedBy": actor})),
        ),
        EventKind::AccessRevoked { agent, reason } => of_agent(
            ("agent:access_revoked", json!({"agent": agent, "reason": reason})),
            ("agent_access_revoked", "revoke", named(agent, json!({"reason": reason}))),
            ("agent.access_revoked", json!({"agent": agent, "reason": reason})),
        ),
        EventKind::PermissionsUpdated { agent, old_permissions, new_permissions } => {
            let payload = json!({"agent": agent, "oldPermissions": old_permissions, "grantedPermissions": new_permissions});
            of_agent(
                ("agent:permissions_updated", payload.clone()),
                (
                    "permission_changed",
                    "update",
                    named(agent, json!({"oldPermissions": old_permissions, "grantedPermissions": new_permissions})),
                ),
                ("agent.permissions_updated", payload),
            )
        }
        EventKind::KeyClaimed => {
            let payload = json!({"agent": {"id": entry.agent}});
            for_admins(("agent:key_claimed", payload.clone()), ("agent.key_claimed", payload))
        }
        EventKind::KeyRotated { agent, key_id, grace_seconds } => {
            let payload = json!({"agent": agent, "keyId": key_id, "graceSeconds": grace_seconds});
            Row { agent: true, ..for_admins(("agent:key_rotated", payload.clone()), ("agent.key_rotated", payload)) }
        }
        EventKind::KeyCreated { key_id, key_name, user_id } => {
            let payload = json!({"keyId": key_id, "keyName": key_name, "userId": user_id});
            Row { user: Some(*user_id), ..for_admins(("key:created", payload.clone()), ("key.created", payload)) }
        }
        EventKind::KeyRevoked { key_id, key_name, user_id } => {
            let payload = merged(json!({"keyId": key_id, "keyName": key_name}), agent_of(entry));
            Row { user: *user_id, agent: true, ..for_admins(("key:revoked", payload.clone()), ("key.revoked", payload)) }
        }
        EventKind::Assigned { agent, assignment } => {
            let data = json!({"assignmentType": assignment.assignment_type, "projectId": assignment.project_id,
                              "taskId": assignment.task_id, "role": assignment.role});
            let name = if assignment.project_id.is_some() { "agent.project_assigned" } else { "agent.task_assigned" };
            in_space(
                assignment.space_id,
                ("agent:assigned", json!({"agent": agent, "assignment": assignment})),
                ("agent_assigned", "assign", named(agent, data)),
                (name, json!({"agent": agent, "assignment": assignment})),
            )
        }
        EventKind::Unassigned { agent, assignment } => {
            let target = assignment.project_id.map(|id| id.0).or(assignment.task_id.map(|id| id.0));
            in_space(
                assignment.space_id,
                ("agent:unassigned", json!({"agent": agent, "assignment": assignment})),
                ("agent_unassigned", "unassign", named(agent, json!({"assignmentType": assignment.assignment_type, "targetId": target}))),
                ("agent.unassigned", json!({"agent": agent, "assignment": assignment})),
            )
        }
        EventKind::InviteCreated { invite_id, invite_name, permissions } => {
            let payload = json!({"inviteId": invite_id, "inviteName": invite_name, "permissions": permissions});
            for_admins(("invite:created", payload.clone()), ("invite.created", payload))
        }
        EventKind::InviteRevoked { invite_id, invite_name } => {
            let payload = json!({"inviteId": invite_id, "inviteName": invite_name});
            for_admins(("invite:revoked", payload.clone()), ("invite.revoked", payload))
        }
        EventKind::InviteDeleted { invite_id, invite_name } => {
            let payload = json!({"inviteId": invite_id, "inviteName": invite_name});
            for_admins(("invite:deleted", payload.clone()), ("invite.deleted", payload))
        }
        EventKind::SettingsChanged { fields } => {
            let payload = json!({"fields": fields});
            for_admins(("settings:changed", payload.clone()), ("settings.changed", payload))
        }
        EventKind::RuntimeChanged { runtime, change } => {
            let payload = json!({"runtime": {"name": runtime}, "change": change});
            for_admins(("runtime:changed", payload.clone()), ("runtime.changed", payload))
        }
        EventKind::RuntimeOnline { runtime } => {
            let payload = json!({"runtime": {"name": runtime, "state": "online"}});
            for_everyone(("runtime:online", payload.clone()), ("runtime.online", payload))
        }
        EventKind::RuntimeOffline { runtime } => {
            let payload = json!({"runtime": {"name": runtime, "state": "offline"}});
            for_everyone(("runtime:offline", payload.clone()), ("runtime.offline", payload))
        }
        EventKind::UserChanged { user_id, change } => {
            let payload = json!({"userId": user_id, "change": change});
            Row { user: Some(*user_id), ..for_admins(("user:changed", payload.clone()), ("user.changed", payload)) }
        }
        EventKind::ApprovalRequested { approval_id, method, requester } => {
            let payload = merged(json!({"approvalId": approval_id, "method": method}), agent_of(entry));
            let row = for_admins(("approval:requested", payload.clone()), ("approval.requested", payload));
            Row { user: *requester, agent: true, ..row }
        }
        EventKind::ApprovalDecided { approval_id, method, approved, requester, permission: _ } => {
            let payload = merged(json!({"approvalId": approval_id, "method": method, "approved": approved}), agent_of(entry));
            let row = for_admins(("approval:decided", payload.clone()), ("approval.decided", payload));
            Row { user: *requester, agent: true, ..row }
        }
        EventKind::ToolExecuted { caller, is_agent, tool, params, success, duration_ms, error, result_summary } => {
            let data = json!({"tool": tool, "params": params, "success": success, "durationMs": duration_ms, "error": error,
                              "resultSummary": result_summary, "isAgent": is_agent, "agentId": entry.agent});
            // What people name in their calls may be in spaces that admins do not see.
            let is_bare = shown::event_without(&entry.kind).is_none();
            Row {
                people: if is_bare { People::Admins } else { People::Themselves },
                user: Some(*caller),
                agent: true,
                broadcast: None,
                resource: Some(("tool_executed", "execute", data.clone())),
                agent_event: Some(("agent.tool_executed", data)),
                subject: None,
            }
        }
        // Why it is so is for owners and admins, in the feed: an agent may say there what it has read.
        EventKind::StatusChanged { agent, previous_status, new_status, .. } => {
            of_run(agent, new_status, None, json!({"agent": agent, "previousStatus": previous_status}))
        }
        EventKind::ActivityLogged(logged) => {
            let data = json!({"activityType": logged.activity_type, "description": logged.description, "details": logged.details,
                              "projectId": logged.project_id, "taskId": logged.task_id, "pageId": logged.page_id});
            Row {
                people: People::Admins,
                user: None,
                agent: true,
                broadcast: None,
                resource: Some(("agent_activity", "create", named(&logged.agent, data.clone()))),
                agent_event: Some(("agent.activity_logged", merged(json!({"agent": logged.agent}), data))),
                subject: None,
            }
        }
        EventKind::TaskClaimed { agent, assignment } => {
            let data = json!({"assignmentType": assignment.assignment_type, "taskId": assignment.task_id, "role": assignment.role});
            let payload = json!({"agent": agent, "assignment": assignment});
            in_space(
                assignment.space_id,
                ("agent:assigned", payload.clone()),
                ("agent_assigned", "assign", named(agent, data)),
                ("agent.task_assigned", payload),
            )
        }
        EventKind::TaskReceived { agent, assignment, from_agent, reason } => {
            let data = json!({"assignmentType": assignment.assignment_type, "taskId": assignment.task_id, "role": assignment.role,
                              "fromAgentId": from_agent.id, "fromAgentName": from_agent.name});
            let payload = json!({"agent": agent, "assignment": assignment});
            in_space(
                assignment.space_id,
                ("agent:assigned", payload.clone()),
                ("agent_assigned", "assign", named(agent, data)),
                ("agent.task_assigned", merged(payload, json!({"fromAgent": from_agent, "reason": reason}))),
            )
        }
        EventKind::TaskDelegated { agent, task_id, space_id, to_agent, reason } => {
            let data = json!({"activityType": "task_delegated", "taskId": task_id, "toAgentId": to_agent.id, "toAgentName": to_agent.name});
            let payload = json!({"agent": agent, "taskId": task_id, "toAgent": to_agent, "reason": reason});
            Row {
                people: People::Space(*space_id),
                user: None,
                agent: true,
                broadcast: None,
                resource: Some(("agent_activity", "assign", named(agent, data))),
                agent_event: Some(("agent.task_delegated", payload)),
                subject: None,
            }
        }
        EventKind::PageCreated { page } => {
            of_content(entry, "created", ("page", page.id.0), Some(page.space_id), json!({"page": page}), "agent.page_created")
        }
        EventKind::PageUpdated { page, change } => {
            let data = json!({"page": page, "change": change});
            of_content(entry, change, ("page", page.id.0), Some(page.space_id), data, "agent.page_updated")
        }
        EventKind::TaskStarted { task } => of_task(entry, task, "agent.task_started"),
        EventKind::TaskCompleted { task } => of_task(entry, task, "agent.task_completed"),
        EventKind::TaskFailed { task } => of_task(entry, task, "agent.task_failed"),
        EventKind::ContentChanged { content, change } => {
            let data = json!({"content": content, "change": change});
            of_content(entry, change, (content.kind.as_str(), content.id), content.space_id, data, "agent.content_changed")
        }
        EventKind::NotificationGivenUp { decision, attempts, error } => {
            let payload = merged(json!({"decision": decision, "attempts": attempts, "error": error}), agent_of(entry));
            for_admins(("notification:given_up", payload.clone()), ("notification.given_up", payload))
        }
        EventKind::AgentsSpawned { agent_type, count, spawned_agents, errors } => {
            let payload = json!({"agentType": agent_type, "count": count, "spawnedAgents": spawned_agents, "errors": errors});
            for_admins(("agents:spawned", payload.clone()), ("agents.spawned", payload))
        }
        EventKind::RunStarted { agent, runtime_session_id } => {
            let payload = json!({"agent": agent, "runtimeSessionId": runtime_session_id});
            of_run(agent, "starting", Some(("agent:started", payload.clone())), payload)
        }
        EventKind::RunReady { agent, runtime_session_id, mcp_endpoint } => {
            let payload = json!({"agent": agent, "runtimeSessionId": runtime_session_id, "mcpEndpoint": mcp_endpoint});
            of_run(agent, "ready", Some(("agent:ready", payload.clone())), payload)
        }
        EventKind::RunLoginRequired { agent, login, runtime_session_id, viewers } => {
            let payload = json!({"agent": agent, "loginUrl": login.url, "instructions": login.instructions,
                                 "deviceCode": login.device_code, "verified": login.verified, "runtimeSessionId": runtime_session_id});
            for_viewers(*viewers, of_run(agent, "login_required", Some(("agent:login_required", payload.clone())), payload))
        }
        EventKind::RunWaiting { agent, prompt, viewers } => {
            for_viewers(*viewers, of_run(agent, "waiting", None, json!({"agent": agent, "prompt": prompt})))
        }
        EventKind::RunPaused { agent } => {
            let payload = json!({"agent": agent});
            of_run(agent, "paused", Some(("agent:paused", payload.clone())), payload)
        }
        EventKind::RunResumed { agent } => {
            let payload = json!({"agent": agent});
            of_run(agent, &agent.status, Some(("agent:resumed", payload.clone())), payload)
        }
        EventKind::RunStopped { agent, reason, exit_code } => {
            let payload = json!({"agent": agent, "reason": reason, "exitCode": exit_code});
            of_run(agent, "stopped", Some(("agent:stopped", payload.clone())), payload)
        }
        EventKind::RunFailed { agent, error, viewers } => {
            let payload = json!({"agent": agent, "error": error});
            let row = of_run(agent, "error", Some(("agent:error", payload.clone())), payload.clone());
            for_viewers(*viewers, Row { agent_event: Some(("agent.error", payload)), ..row })
        }
        EventKind::RunTroubled { agent, error, viewers } => {
            let payload = json!({"agent": agent, "error": error});
            // Its process goes on, so no status changes.
            let row = Row { resource: None, ..of_run(agent, &agent.status, Some(("agent:error", payload.clone())), json!({})) };
            for_viewers(*viewers, Row { agent_event: Some(("agent.error", payload)), ..row })
        }
        EventKind::SecretLeaked { agent, session_id, kind, secret_id, label } => {
            let payload = json!({"agent": agent, "sessionId": session_id, "secretKind": kind, "secretId": secret_id, "label": label});
            for_admins(("agent:secret_leaked", payload.clone()), ("agent.secret_leaked", payload))
        }
        EventKind::TerminalControlTaken { session_id, from_user } => {
            let payload = json!({"sessionId": session_id, "controlledBy": actor, "takenFrom": from_user});
            of_control(merged(payload, agent_of(entry)))
        }
        EventKind::TerminalControlHandedOver { session_id, to_user } => {
            let payload = json!({"sessionId": session_id, "controlledBy": to_user, "handedOverBy": actor});
            of_control(merged(payload, agent_of(entry)))
        }
        EventKind::RunStopRequested { .. }
        | EventKind::RunStopUnconfirmed { .. }
        | EventKind::RunMessageSent { .. }
        | EventKind::RunKeysSent { .. }
        | EventKind::TerminalEnded { .. }
        | EventKind::TerminalShared { .. }
        | EventKind::TerminalShareRevoked { .. }
        | EventKind::RecordingDeleted { .. }
        | EventKind::TerminalChanged { .. } => return None,
    })
}

/// What the whole workspace and the agent itself hear.
fn of_agent(
    broadcast: (&'static str, Value),
    resource: (&'static str, &'static str, Value),
    agent_event: (&'static str, Value),
) -> Row<'static> {
    Row {
        people: People::Everyone,
        user: None,
        agent: true,
        broadcast: Some(broadcast),
        resource: Some(resource),
        agent_event: Some(agent_event),
        subject: None,
    }
}

/// A change of an agent's process.
fn of_run(agent: &AgentBrief, status: &str, broadcast: Option<(&'static str, Value)>, payload: Value) -> Row<'static> {
    let payload = merged(payload, json!({"status": status}));
    let data = merged(json!({"agentId": agent.id, "agentName": agent.name}), payload.clone());
    Row {
        people: People::Everyone,
        user: None,
        agent: true,
        broadcast,
        resource: Some(("agent_status_changed", "update", data)),
        agent_event: Some(("agent.status_changed", payload)),
        subject: None,
    }
}

/// What shows of a terminal, for those who may know; the others hear of it in a form without it.
fn for_viewers(viewers: Viewers, row: Row<'_>) -> Row<'_> {
    let user = match viewers {
        Viewers::Members => return row,
        Viewers::Spawner(user) => Some(user),
        Viewers::Nobody => None,
    };
    Row { people: People::Admins, user, agent: false, ..row }
}

/// What whoever is in the space hears, and the agent itself.
fn in_space(
    space: Option<SpaceId>,
    broadcast: (&'static str, Value),
    resource: (&'static str, &'static str, Value),
    agent_event: (&'static str, Value),
) -> Row<'static> {
    Row { people: People::Space(space), ..of_agent(broadcast, resource, agent_event) }
}

fn for_admins(broadcast: (&'static str, Value), agent_event: (&'static str, Value)) -> Row<'static> {
    Row {
        people: People::Admins,
        user: None,
        agent: false,
        broadcast: Some(broadcast),
        resource: None,
        agent_event: Some(agent_event),
        subject: None,
    }
}

/// A change of the knowledge base with a key. Titles are in it: only who may read the content hears of it. What an agent
/// does is an event of that agent too.
fn of_content<'a>(
    entry: &Entry,
    change: &str,
    subject: (&'a str, Uuid),
    space: Option<SpaceId>,
    data: Value,
    agent_event: &'static str,
) -> Row<'a> {
    let (kind, operation) = match change {
        "created" => ("created", "create"),
        "moved" => ("moved", "move"),
        "deleted" => ("deleted", "delete"),
        _ => ("updated", "update"),
    };
    Row {
        // That a memory was kept, which is in no space, is for the whole workspace; what it says is not told.
        people: space.map_or(if subject.0 == "memory" { People::Everyone } else { People::Admins }, People::Readers),
        user: None,
        agent: true,
        broadcast: None,
        resource: Some((kind, operation, merged(data.clone(), json!({"agentId": entry.agent})))),
        agent_event: entry.agent.is_some().then(|| (agent_event, merged(data, agent_of(entry)))),
        subject: Some(subject),
    }
}

fn of_task(entry: &Entry, task: &TaskBrief, agent_event: &'static str) -> Row<'static> {
    of_content(entry, "updated", ("task", task.id.0), Some(task.space_id), json!({"task": task}), agent_event)
}

/// Somebody else controls a terminal.
fn of_control(payload: Value) -> Row<'static> {
    for_admins(("terminal:control", payload.clone()), ("terminal.control", payload))
}

fn for_everyone(broadcast: (&'static str, Value), agent_event: (&'static str, Value)) -> Row<'static> {
    Row { people: People::Everyone, ..for_admins(broadcast, agent_event) }
}

/// The agent of an event whose kind does not carry it.
fn agent_of(entry: &Entry) -> Value {
    entry.agent.as_ref().map_or(json!({}), |agent| json!({"agent": {"id": agent}}))
}

/// The `mcp:event`: what happened to which resource, and who did it.
fn resource(entry: &Entry, kind: &str, operation: &str, data: Value, subject: Option<(&str, Uuid)>, space: Option<SpaceId>) -> Value {
    let user = if let EventKind::ToolExecuted { caller, .. } = &entry.kind { Some(*caller) } else { entry.actor };
    let agent = || entry.agent.as_ref().map(AgentId::to_string).or_else(|| user.map(|user| user.to_string()));
    let (resource, id) = subject.map_or_else(|| ("agent", agent()), |(resource, id)| (resource, Some(id.to_string())));
    without_nulls(json!({
        "type": kind, "resource": resource, "operation": operation, "resourceId": id, "timestamp": Timestamp(entry.at),
        "data": without_nulls(data), "userId": user.map_or_else(|| "system".to_owned(), |user| user.to_string()),
        "workspaceId": entry.workspace, "spaceId": space, "eventId": entry.id,
    }))
}

/// The `agent:event`.
fn envelope(entry: &Entry, name: &str, data: Value) -> Value {
    without_nulls(json!({
        "type": name, "workspaceId": entry.workspace, "agentId": entry.agent, "timestamp": Timestamp(entry.at),
        "data": without_nulls(data), "eventId": entry.id,
    }))
}

fn with_id(payload: Value, entry: &Entry) -> Value {
    merged(without_nulls(payload), json!({"eventId": entry.id, "timestamp": Timestamp(entry.at)}))
}

/// The members of both; those of `more` count where both have one.
fn merged(mut value: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (value.as_object_mut(), more) {
        fields.extend(more);
    }
    value
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

fn told(name: &'static str, payload: &impl Serialize) -> Told {
    let text = serde_json::value::to_raw_value(payload).unwrap_or_else(|_| RawValue::NULL.to_owned());
    Told { name, text: Arc::from(text) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chrono::DateTime;

    use super::*;
    use crate::model::{
        actor::Person,
        event::{AssignmentBrief, ContentBrief, LoggedActivity, OWN_ACTIVITY_TYPES, PageBrief},
        ids::{ApprovalId, AssignmentId, EventId, InviteId, ProjectId, SessionId, TaskId, WorkspaceId},
        login::Login,
        workspace::Role,
    };

    /// Types and operations that clients know (realtime contract §4.4).
    const TYPES: [&str; 16] = [
        "created",
        "updated",
        "deleted",
        "moved",
        "permission_changed",
        "presence",
        "navigation",
        "agent_access_requested",
        "agent_access_approved",
        "agent_access_denied",
        "agent_access_revoked",
        "agent_assigned",
        "agent_unassigned",
        "agent_activity",
        "agent_status_changed",
        "tool_executed",
    ];
    const OPERATIONS: [&str; 14] = [
        "create",
        "read",
        "update",
        "delete",
        "move",
        "add_member",
        "remove_member",
        "navigate",
        "approve",
        "deny",
        "revoke",
        "assign",
        "unassign",
        "execute",
    ];

    fn entry(kind: EventKind) -> Entry {
        let agent = Some("scout".parse().unwrap());
        Entry { id: EventId::generate(), workspace: WorkspaceId::generate(), agent, actor: None, kind, at: DateTime::UNIX_EPOCH }
    }

    fn brief() -> AgentBrief {
        AgentBrief { id: "scout".parse().unwrap(), name: "Scout".into(), agent_type: Some("claude".into()), status: "ready".into() }
    }

    fn assignment(project: bool) -> AssignmentBrief {
        AssignmentBrief {
            id: AssignmentId::generate(),
            assignment_type: if project { "project" } else { "task" }.into(),
            project_id: project.then(ProjectId::generate),
            task_id: (!project).then(TaskId::generate),
            space_id: Some(SpaceId::generate()),
            role: "member".into(),
        }
    }

    fn page() -> PageBrief {
        PageBrief { id: PageId::generate(), title: "Plan".into(), space_id: SpaceId::generate() }
    }

    fn task() -> TaskBrief {
        TaskBrief {
            id: TaskId::generate(),
            title: "Write".into(),
            status: "done".into(),
            space_id: SpaceId::generate(),
            project_id: Some(ProjectId::generate()),
        }
    }

    fn content(space_id: Option<SpaceId>) -> ContentBrief {
        ContentBrief {
            kind: if space_id.is_some() { "project" } else { "memory" }.into(),
            id: Uuid::now_v7(),
            title: "Plan".into(),
            space_id,
            project_id: None,
            task_id: None,
            page_id: None,
        }
    }

    /// One of every kind, with the names that the three channels give it and which people hear it: `*` everyone, `s`
    /// the space, `r` who may read it, `a` admins; `+` where the agent does too.
    fn table() -> Vec<(EventKind, [Option<&'static str>; 3], &'static str)> {
        let agent = brief;
        let text = String::new;
        let runtime = || serde_json::from_value(json!("gpu")).unwrap();
        vec![
            (
                EventKind::AccessRequested {
                    agent: agent(),
                    capabilities: vec![],
                    requested_permissions: vec![],
                    justification: Some("because".into()),
                },
                [Some("agent:access_requested"), Some("agent_access_requested"), Some("agent.access_requested")],
                "*+",
            ),
            (
                EventKind::AccessApproved { agent: agent(), granted_permissions: vec![], via: Some(Via::Spawn) },
                [Some("agent:access_approved"), Some("agent_access_approved"), Some("agent.access_approved")],
                "*+",
            ),
            (
                EventKind::AccessDenied { agent: agent(), reason: text() },
                [Some("agent:access_denied"), Some("agent_access_denied"), Some("agent.access_denied")],
                "*+",
            ),
            (
                EventKind::AccessRevoked { agent: agent(), reason: text() },
                [Some("agent:access_revoked"), Some("agent_access_revoked"), Some("agent.access_revoked")],
                "*+",
            ),
            (
                EventKind::PermissionsUpdated { agent: agent(), old_permissions: vec![], new_permissions: vec![] },
                [Some("agent:permissions_updated"), Some("permission_changed"), Some("agent.permissions_updated")],
                "*+",
            ),
            (EventKind::KeyClaimed, [Some("agent:key_claimed"), None, Some("agent.key_claimed")], "a"),
            (
                EventKind::KeyRotated { agent: agent(), key_id: text(), grace_seconds: 0 },
                [Some("agent:key_rotated"), None, Some("agent.key_rotated")],
                "a+",
            ),
            (
                EventKind::KeyCreated { key_id: text(), key_name: text(), user_id: UserId::generate() },
                [Some("key:created"), None, Some("key.created")],
                "a",
            ),
            (
                EventKind::KeyRevoked { key_id: text(), key_name: text(), user_id: None },
                [Some("key:revoked"), None, Some("key.revoked")],
                "a+",
            ),
            (
                EventKind::Assigned { agent: agent(), assignment: assignment(true) },
                [Some("agent:assigned"), Some("agent_assigned"), Some("agent.project_assigned")],
                "s+",
            ),
            (
                EventKind::Assigned { agent: agent(), assignment: assignment(false) },
                [Some("agent:assigned"), Some("agent_assigned"), Some("agent.task_assigned")],
                "s+",
            ),
            (
                EventKind::Unassigned { agent: agent(), assignment: assignment(false) },
                [Some("agent:unassigned"), Some("agent_unassigned"), Some("agent.unassigned")],
                "s+",
            ),
            (
                EventKind::InviteCreated { invite_id: InviteId::generate(), invite_name: text(), permissions: vec![] },
                [Some("invite:created"), None, Some("invite.created")],
                "a",
            ),
            (
                EventKind::InviteRevoked { invite_id: InviteId::generate(), invite_name: text() },
                [Some("invite:revoked"), None, Some("invite.revoked")],
                "a",
            ),
            (
                EventKind::InviteDeleted { invite_id: InviteId::generate(), invite_name: text() },
                [Some("invite:deleted"), None, Some("invite.deleted")],
                "a",
            ),
            (EventKind::SettingsChanged { fields: vec![] }, [Some("settings:changed"), None, Some("settings.changed")], "a"),
            (
                EventKind::RuntimeChanged { runtime: runtime(), change: text() },
                [Some("runtime:changed"), None, Some("runtime.changed")],
                "a",
            ),
            (EventKind::RuntimeOnline { runtime: runtime() }, [Some("runtime:online"), None, Some("runtime.online")], "*"),
            (EventKind::RuntimeOffline { runtime: runtime() }, [Some("runtime:offline"), None, Some("runtime.offline")], "*"),
            (
                EventKind::UserChanged { user_id: UserId::generate(), change: text() },
                [Some("user:changed"), None, Some("user.changed")],
                "a",
            ),
            (
                EventKind::ApprovalRequested { approval_id: ApprovalId::generate(), method: text(), requester: None },
                [Some("approval:requested"), None, Some("approval.requested")],
                "a+",
            ),
            (
                EventKind::ApprovalDecided {
                    approval_id: ApprovalId::generate(),
                    method: text(),
                    approved: true,
                    requester: None,
                    permission: None,
                },
                [Some("approval:decided"), None, Some("approval.decided")],
                "a+",
            ),
            (
                EventKind::ToolExecuted {
                    caller: UserId::generate(),
                    is_agent: true,
                    tool: text(),
                    params: json!({}),
                    success: true,
                    duration_ms: 1,
                    error: None,
                    result_summary: None,
                },
                [None, Some("tool_executed"), Some("agent.tool_executed")],
                "a+",
            ),
            (
                EventKind::StatusChanged {
                    agent: agent(),
                    previous_status: None,
                    new_status: "working".into(),
                    reason: Some("because".into()),
                },
                [None, Some("agent_status_changed"), Some("agent.status_changed")],
                "*+",
            ),
            (
                EventKind::ActivityLogged(LoggedActivity {
                    agent: agent(),
                    activity_type: text(),
                    description: text(),
                    details: json!({}),
                    project_id: None,
                    task_id: None,
                    page_id: None,
                }),
                [None, Some("agent_activity"), Some("agent.activity_logged")],
                "a+",
            ),
            (
                EventKind::TaskClaimed { agent: agent(), assignment: assignment(false) },
                [Some("agent:assigned"), Some("agent_assigned"), Some("agent.task_assigned")],
                "s+",
            ),
            (
                EventKind::TaskReceived { agent: agent(), assignment: assignment(false), from_agent: agent(), reason: None },
                [Some("agent:assigned"), Some("agent_assigned"), Some("agent.task_assigned")],
                "s+",
            ),
            (
                EventKind::TaskDelegated {
                    agent: agent(),
                    task_id: TaskId::generate(),
                    space_id: Some(SpaceId::generate()),
                    to_agent: agent(),
                    reason: None,
                },
                [None, Some("agent_activity"), Some("agent.task_delegated")],
                "s+",
            ),
            (EventKind::PageCreated { page: page() }, [None, Some("created"), Some("agent.page_created")], "r+"),
            (EventKind::PageUpdated { page: page(), change: "moved".into() }, [None, Some("moved"), Some("agent.page_updated")], "r+"),
            (EventKind::TaskStarted { task: task() }, [None, Some("updated"), Some("agent.task_started")], "r+"),
            (EventKind::TaskCompleted { task: task() }, [None, Some("updated"), Some("agent.task_completed")], "r+"),
            (EventKind::TaskFailed { task: task() }, [None, Some("updated"), Some("agent.task_failed")], "r+"),
            (
                EventKind::ContentChanged { content: content(Some(SpaceId::generate())), change: "deleted".into() },
                [None, Some("deleted"), Some("agent.content_changed")],
                "r+",
            ),
            (
                EventKind::ContentChanged { content: content(None), change: "created".into() },
                [None, Some("created"), Some("agent.content_changed")],
                "*+",
            ),
            (
                EventKind::NotificationGivenUp { decision: text(), attempts: 1, error: text() },
                [Some("notification:given_up"), None, Some("notification.given_up")],
                "a",
            ),
            (
                EventKind::AgentsSpawned { agent_type: text(), count: 1, spawned_agents: vec![], errors: vec![] },
                [Some("agents:spawned"), None, Some("agents.spawned")],
                "a",
            ),
            (
                EventKind::TerminalControlTaken { session_id: SessionId::generate(), from_user: None },
                [Some("terminal:control"), None, Some("terminal.control")],
                "a",
            ),
            (
                EventKind::TerminalControlHandedOver { session_id: SessionId::generate(), to_user: UserId::generate() },
                [Some("terminal:control"), None, Some("terminal.control")],
                "a",
            ),
            (
                EventKind::RunStarted { agent: agent(), runtime_session_id: None },
                [Some("agent:started"), Some("agent_status_changed"), Some("agent.status_changed")],
                "*+",
            ),
            (
                EventKind::RunReady { agent: agent(), runtime_session_id: None, mcp_endpoint: None },
                [Some("agent:ready"), Some("agent_status_changed"), Some("agent.status_changed")],
                "*+",
            ),
            (
                EventKind::RunLoginRequired {
                    agent: agent(),
                    login: Login::default(),
                    runtime_session_id: None,
                    viewers: Viewers::Members,
                },
                [Some("agent:login_required"), Some("agent_status_changed"), Some("agent.status_changed")],
                "*+",
            ),
            (
                EventKind::RunWaiting { agent: agent(), prompt: None, viewers: Viewers::Members },
                [None, Some("agent_status_changed"), Some("agent.status_changed")],
                "*+",
            ),
            (
                EventKind::RunPaused { agent: agent() },
                [Some("agent:paused"), Some("agent_status_changed"), Some("agent.status_changed")],
                "*+",
            ),
            (
                EventKind::RunResumed { agent: agent() },
                [Some("agent:resumed"), Some("agent_status_changed"), Some("agent.status_changed")],
                "*+",
            ),
            (
                EventKind::RunStopped { agent: agent(), reason: None, exit_code: None },
                [Some("agent:stopped"), Some("agent_status_changed"), Some("agent.status_changed")],
                "*+",
            ),
            (
                EventKind::RunFailed { agent: agent(), error: text(), viewers: Viewers::Members },
                [Some("agent:error"), Some("agent_status_changed"), Some("agent.error")],
                "*+",
            ),
            (
                EventKind::RunTroubled { agent: agent(), error: text(), viewers: Viewers::Members },
                [Some("agent:error"), None, Some("agent.error")],
                "*+",
            ),
        ]
    }

    /// RT-25, RT-26, D-04.
    #[test]
    fn each_kind_is_told_by_its_names_to_its_audience_with_one_id() {
        for (kind, names, audience) in table() {
            let entry = entry(kind);
            let name = entry.kind.name();
            let published = publish(7, &entry).unwrap();
            let channels = [&published.broadcast, &published.resource, &published.agent_event];
            assert_eq!(channels.map(|told| told.as_ref().map(|told| told.name)), names, "{name}");
            for told in channels.into_iter().flatten() {
                let payload: Value = serde_json::from_str(told.text.get()).unwrap();
                assert_eq!(payload["eventId"], json!(entry.id), "{name}");
                assert_eq!(payload["timestamp"], "1970-01-01T00:00:00.000Z", "{name}");
                assert!(told.name.starts_with("agent:") <= payload["agent"]["id"].is_string(), "{name}: no agent in {payload}");
                assert!(!told.text.get().contains("null"), "{name}: {payload}");
                assert!(!told.text.get().contains("because"), "{name}: the justification is for admins");
            }
            let heard = match published.audience.people {
                People::Everyone => "*",
                People::Space(_) => "s",
                People::Readers(_) => "r",
                People::Admins => "a",
                People::Themselves => "t",
            };
            let agent = if published.audience.agent { "+" } else { "" };
            assert_eq!(format!("{heard}{agent}"), audience, "{name}");
        }
    }

    /// What a terminal shows goes to nobody who may not watch it.
    #[test]
    fn what_the_service_writes_into_the_feed_no_agent_writes_but_what_it_did_with_a_task() {
        for (kind, ..) in table() {
            let own = kind.activity(None).filter(|_| !matches!(kind, EventKind::ActivityLogged(_)));
            let Some(activity_type) = own.map(|note| note.activity_type) else { continue };
            let of_a_task = ["task_started", "task_completed", "task_failed"].contains(&activity_type.as_ref());
            assert_ne!(OWN_ACTIVITY_TYPES.contains(&activity_type.as_ref()), of_a_task, "{activity_type}");
        }
    }

    #[test]
    fn only_viewers_of_the_terminal_hear_what_it_shows() {
        let spawner = UserId::generate();
        let login = Login {
            url: Some("https://claude.ai/hidden".into()),
            instructions: Some("hidden".into()),
            device_code: Some("hidden".into()),
            verified: true,
        };
        for viewers in [Viewers::Members, Viewers::Spawner(spawner), Viewers::Nobody] {
            for kind in [
                EventKind::RunLoginRequired { agent: brief(), login: login.clone(), runtime_session_id: None, viewers },
                EventKind::RunWaiting { agent: brief(), prompt: Some("hidden".into()), viewers },
                EventKind::RunTroubled { agent: brief(), error: "hidden".into(), viewers },
                EventKind::RunFailed { agent: brief(), error: "hidden".into(), viewers },
            ] {
                let stored = serde_json::to_value(&kind).unwrap();
                let entry = entry(serde_json::from_value(stored).unwrap());
                let event = publish(7, &entry).unwrap();
                let names = |event: &Published| {
                    [&event.broadcast, &event.resource, &event.agent_event].map(|told| told.as_ref().map(|told| told.name))
                };
                let hears_all = |user: UserId, role: Role| {
                    let person = Person { user, workspace: entry.workspace, role, expires_at: 0, sign_in: None };
                    let heard = Listener::person(&person).hears(&event).unwrap();
                    assert_eq!(names(heard), names(&event));
                    let told = [&heard.broadcast, &heard.resource, &heard.agent_event].into_iter().flatten();
                    let with_details: Vec<bool> = told.map(|told| told.text.get().contains("hidden")).collect();
                    assert!(with_details.iter().all(|has| *has == with_details[0]), "{heard:?}");
                    with_details[0]
                };
                let heard = [(UserId::generate(), Role::Admin), (spawner, Role::Member), (UserId::generate(), Role::Member)]
                    .map(|(user, role)| hears_all(user, role));
                let spawner_may = viewers != Viewers::Nobody;
                assert_eq!(heard, [true, spawner_may, viewers == Viewers::Members], "{viewers:?} {:?}", entry.kind);
            }
        }
    }

    #[test]
    fn resource_events_keep_to_the_words_that_clients_know() {
        let mut seen = HashSet::new();
        for (kind, ..) in table() {
            let entry = entry(kind);
            let Some(told) = publish(7, &entry).unwrap().resource else { continue };
            let event: Value = serde_json::from_str(told.text.get()).unwrap();
            let word = |field: &str| event[field].as_str().unwrap().to_owned();
            assert!(TYPES.contains(&word("type").as_str()) && OPERATIONS.contains(&word("operation").as_str()), "{event}");
            assert_eq!(word("workspaceId"), entry.workspace.to_string());
            assert_eq!(word("resource") == "agent", word("resourceId") == "scout", "{event}");
            assert_eq!(word("resource") == "agent", !entry.kind.is_content(), "{event}");
            assert_eq!(event["data"]["agentId"], "scout", "{event}");
            assert_eq!(word("userId") == "system", told.name != "tool_executed", "{event}");
            seen.insert(word("type"));
        }
        assert_eq!(seen.len(), 14, "{seen:?}");
    }

    #[test]
    fn what_an_agent_says_of_itself_and_the_life_of_its_process_are_changes_of_status() {
        let statuses = table().into_iter().filter_map(|(kind, ..)| {
            let told = publish(7, &entry(kind)).unwrap().agent_event.unwrap();
            let event: Value = serde_json::from_str(told.text.get()).unwrap();
            event["data"]["status"].as_str().filter(|_| told.name == "agent.status_changed").map(str::to_owned)
        });
        let statuses: Vec<String> = statuses.collect();
        assert_eq!(statuses, ["working", "starting", "ready", "login_required", "waiting", "paused", "ready", "stopped"]);
    }

    #[test]
    fn a_stream_has_what_was_asked_for_and_goes_on_from_a_position() {
        let event = publish(7, &entry(EventKind::RunStarted { agent: brief(), runtime_session_id: None })).unwrap();
        let query = |agent: Option<&str>, types: Option<&str>, channel: Option<Channel>| {
            let query = StreamQuery { agent_id: agent.map(Into::into), event_types: types.map(Into::into), channel, cursor: None };
            query.selection().unwrap().frame(&event).map(|frame| String::from_utf8(frame.to_vec()).unwrap())
        };
        let frame = query(Some("scout"), Some("agent.error, agent.status_changed"), None).unwrap();
        assert!(frame.starts_with("id: AAAAAAAAAAc\nevent: agent.status_changed\ndata: {") && frame.ends_with("}\n\n"), "{frame}");
        assert_eq!(query(Some("other"), None, None), None);
        assert_eq!(query(None, Some("agent.error"), None), None);
        assert!(query(None, None, Some(Channel::Workspace)).unwrap().contains("event: agent:started\n"));
        assert!(query(None, None, Some(Channel::Mcp)).unwrap().contains("event: agent_status_changed\n"));
        let none = StreamQuery { agent_id: None, event_types: Some(" ,".into()), channel: None, cursor: None };
        assert!(none.selection().is_err(), "no types are no stream");
        for seq in [0, 7, i64::MAX] {
            assert_eq!(position(&cursor(seq)), Some(seq));
        }
        for wrong in ["", "7", "AAAA", "__________8", "AAAAAAAAAAcA"] {
            assert_eq!(position(wrong), None, "{wrong}");
        }
        assert!(StreamQuery { agent_id: Some("a b".into()), event_types: None, channel: None, cursor: None }.selection().is_err());
    }

    #[test]
    fn what_only_moves_machinery_is_told_to_nobody() {
        let (login, session_id) = (Login::default(), SessionId::generate());
        for kind in [
            EventKind::RunStopRequested { reason: String::new() },
            EventKind::RunStopUnconfirmed { agent: brief(), reason: None },
            EventKind::RunMessageSent { agent: brief(), characters: 3 },
            EventKind::RunKeysSent { agent: brief(), keys: 3 },
            EventKind::TerminalEnded { session_id },
            EventKind::TerminalChanged { session_id, status: "active".into(), login, drain: false },
        ] {
            assert!(publish(7, &entry(kind)).is_none());
        }
    }
}
