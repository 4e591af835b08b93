//! Tells the control plane of decisions, at least once each and in order per agent (D-20).
//!
//! A row is written with the decision; a worker delivers it. The agent's key goes along only where the
//! workspace wants it and the control plane is reached by https.

use serde_json::json;
use uuid::Uuid;

use super::events;
use crate::{
    model::{
        agent::Agent,
        event::{Event, EventKind},
        ids::EventId,
        notification::{Decision, Notification},
        policy::Policy,
        secret::Secret,
        settings::WorkspaceRules,
    },
    runtime::control_plane::ControlPlane,
    storage::{self, StorageError, Tx},
};

/// Notifications that one round of the worker takes at the most.
const TAKEN_MAX: i64 = 20;

/// A decision as the control plane is told of it.
pub(super) enum News<'a> {
    Approved { granted: Vec<String>, key: &'a Secret },
    Denied { reason: &'a str },
    Revoked { reason: &'a str },
}

/// Queues the notification of a decision, if a control plane is configured.
pub(super) async fn queue(
    tx: &mut Tx,
    policy: &Policy,
    rules: &WorkspaceRules,
    agent: &Agent,
    event: EventId,
    news: News<'_>,
) -> Result<(), StorageError> {
    if !policy.control_plane.is_told {
        return Ok(());
    }
    let now = tx.now();
    let id = Uuid::now_v7();
    let (decision, mut body, key) = match news {
        News::Approved { granted, key } => (Decision::Approved, json!({"grantedPermissions": granted}), Some(key)),
        News::Denied { reason } => (Decision::Denied, json!({"reason": reason}), None),
        News::Revoked { reason } => (Decision::Revoked, json!({"reason": reason}), None),
    };
    body["eventId"] = json!(event);
    body["occurredAt"] = json!(now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    let sends_key = rules.sends_key_to_control_plane && policy.control_plane.may_get_keys;
    let notification = Notification {
        id,
        event,
        workspace: agent.workspace,
        agent: agent.id.clone(),
        decision,
        body,
        key_sealed: key.filter(|_| sends_key).map(|key| policy.sealer.seal(&Notification::seal_place(id), key)),
        attempts: 0,
        last_attempt: false,
    };
    storage::notifications::insert(tx.conn(), &notification, now).await
}

/// Takes notifications that are due. The caller commits before it delivers them.
pub async fn take_due(tx: &mut Tx) -> Result<Vec<Notification>, StorageError> {
    storage::notifications::take_due(tx.conn(), TAKEN_MAX).await
}

/// Delivers one notification, with no transaction open. The error is a sentence for the log and the row.
pub async fn deliver(control_plane: &ControlPlane, policy: &Policy, notification: &Notification) -> Result<(), String> {
    let mut body = notification.body.clone();
    if let Some(sealed) = &notification.key_sealed {
        let key = policy.sealer.open(&Notification::seal_place(notification.id), sealed).map_err(|error| error.to_string())?;
        body["mcpApiKey"] = json!(key.expose());
    }
    control_plane.notify(notification, &body).await.map_err(|error| error.to_string())
}

/// Notes what came of a delivery.
///
/// Records [`EventKind::NotificationGivenUp`] when it failed for the last time.
pub async fn settle(tx: &mut Tx, notification: &Notification, outcome: &Result<(), String>) -> Result<(), StorageError> {
    let Err(error) = outcome else { return storage::notifications::delivered(tx.conn(), notification.id).await };
    storage::notifications::failed(tx.conn(), notification.id, error, notification.last_attempt).await?;
    if notification.last_attempt {
        let decision = notification.decision.as_str().to_owned();
        let kind = EventKind::NotificationGivenUp { decision, attempts: notification.attempts, error: error.clone() };
        let event = Event { workspace: notification.workspace, agent: Some(notification.agent.clone()), actor: None, kind };
        events::record(tx, event).await?;
    }
    Ok(())
}

/// Forgets notifications that were settled long ago; returns how many.
pub async fn prune(tx: &mut Tx) -> Result<u64, StorageError> {
    storage::notifications::prune(tx.conn()).await
}
