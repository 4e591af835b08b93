//! Events as the workspace's sockets see them (realtime contract §3.3).

use serde_json::{Value, json};

use crate::model::{
    event::{EventKind, Via},
    ids::EventId,
};

/// Name and payload for the default namespace, or `None` for what is not broadcast there.
/// `agent` is always an object with an id; `eventId` is the same on every channel.
#[must_use]
pub fn broadcast(id: EventId, kind: &EventKind) -> Option<(&'static str, Value)> {
    let (name, mut payload) = match kind {
        EventKind::RunStarted { agent, runtime_session_id } => {
            ("agent:started", json!({"agent": agent, "runtimeSessionId": runtime_session_id}))
        }
        EventKind::RunReady { agent, runtime_session_id, mcp_endpoint } => {
            ("agent:ready", json!({"agent": agent, "runtimeSessionId": runtime_session_id, "mcpEndpoint": mcp_endpoint}))
        }
        EventKind::RunLoginRequired { agent, login, runtime_session_id } => (
            "agent:login_required",
            json!({"agent": agent, "loginUrl": login.url, "instructions": login.instructions, "deviceCode": login.device_code,
                   "verified": login.verified, "runtimeSessionId": runtime_session_id}),
        ),
        EventKind::RunStopped { agent, reason, exit_code } => {
            ("agent:stopped", json!({"agent": agent, "reason": reason, "exitCode": exit_code}))
        }
        EventKind::RunFailed { agent, error } => ("agent:error", json!({"agent": agent, "error": error})),
        EventKind::AccessRequested { agent, .. } => ("agent:access_requested", json!({"agent": agent})),
        EventKind::AccessApproved { agent, granted_permissions, via } => {
            let via = match via {
                Some(Via::Invite { .. }) => Some("invite"),
                Some(Via::Spawn) => Some("spawn"),
                None => None,
            };
            ("agent:access_approved", json!({"agent": agent, "grantedPermissions": granted_permissions, "via": via}))
        }
        EventKind::AccessDenied { agent, reason } => ("agent:access_denied", json!({"agent": agent, "reason": reason})),
        EventKind::AccessRevoked { agent, reason } => ("agent:access_revoked", json!({"agent": agent, "reason": reason})),
        EventKind::RuntimeOnline { runtime } => ("runtime:online", json!({"runtime": {"name": runtime, "state": "online"}})),
        EventKind::RuntimeOffline { runtime } => ("runtime:offline", json!({"runtime": {"name": runtime, "state": "offline"}})),
        EventKind::PermissionsUpdated { .. }
        | EventKind::KeyClaimed
        | EventKind::KeyRotated { .. }
        | EventKind::KeyCreated { .. }
        | EventKind::KeyRevoked { .. }
        | EventKind::Assigned { .. }
        | EventKind::Unassigned { .. }
        | EventKind::InviteCreated { .. }
        | EventKind::InviteRevoked { .. }
        | EventKind::InviteDeleted { .. }
        | EventKind::SettingsChanged { .. }
        | EventKind::RuntimeChanged { .. }
        | EventKind::UserChanged { .. }
        | EventKind::ApprovalRequested { .. }
        | EventKind::ApprovalDecided { .. }
        | EventKind::ToolExecuted(_)
        | EventKind::StatusChanged { .. }
        | EventKind::ActivityLogged(_)
        | EventKind::TaskClaimed { .. }
        | EventKind::TaskDelegated { .. }
        | EventKind::TaskReceived { .. }
        | EventKind::NotificationGivenUp { .. }
        | EventKind::AgentsSpawned { .. }
        | EventKind::RunStopRequested { .. }
        | EventKind::RunStopUnconfirmed { .. }
        | EventKind::RunMessageSent { .. }
        | EventKind::RunKeysSent { .. }
        | EventKind::RunPaused { .. }
        | EventKind::RunResumed { .. }
        | EventKind::TerminalEnded { .. }
        | EventKind::PageCreated { .. }
        | EventKind::PageUpdated { .. }
        | EventKind::TaskStarted { .. }
        | EventKind::TaskCompleted { .. }
        | EventKind::TaskFailed { .. }
        | EventKind::ContentChanged { .. }
        | EventKind::TerminalChanged { .. } => return None,
    };
    if let Some(fields) = payload.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        fields.insert("eventId".into(), json!(id));
    }
    Some((name, payload))
}
