//! What is left out of events and rows for those who may not know it: the one rule.
//!
//! Of what an agent's terminal shows, for those who may not watch it, that is how to log in, what the agent asks, and what
//! went wrong, which may be a line of the terminal. Of a call with a person's key it is what was called for and what came
//! of it: that may be of spaces that only the person sees.

use serde_json::Value;

use super::{
    activity::Activity,
    event::EventKind,
    login::Login,
    run::{Run, RunStatus},
    terminal_rights::Viewers,
};

/// Said in place of what went wrong.
const FAILED: &str = "the agent failed";
/// As [`FAILED`], of an agent that goes on.
const IN_TROUBLE: &str = "the agent reports an error";
/// Types of activity whose metadata are from a terminal, and which of them are; see [`EventKind::activity`]. Other types have
/// fields of these names that are from none, such as the error of a tool call.
const ACTIVITY_TYPES: [&str; 3] = ["spawn_requires_login", "spawn_failed", "agent_error"];
const ACTIVITY_FIELDS: [&str; 4] = ["loginUrl", "instructions", "verified", "error"];

/// An event's kind without what not everybody who hears of it may know; `None` where they may.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "few kinds tell more than everybody may know")]
pub fn event_without(kind: &EventKind) -> Option<EventKind> {
    let hidden = |viewers: &Viewers| *viewers != Viewers::Members;
    Some(match kind {
        EventKind::RunLoginRequired { agent, runtime_session_id, viewers, .. } if hidden(viewers) => EventKind::RunLoginRequired {
            agent: agent.clone(),
            login: Login::default(),
            runtime_session_id: runtime_session_id.clone(),
            viewers: Viewers::Members,
        },
        EventKind::RunWaiting { agent, viewers, .. } if hidden(viewers) => {
            EventKind::RunWaiting { agent: agent.clone(), prompt: None, viewers: Viewers::Members }
        }
        EventKind::RunTroubled { agent, viewers, .. } if hidden(viewers) => {
            EventKind::RunTroubled { agent: agent.clone(), error: IN_TROUBLE.to_owned(), viewers: Viewers::Members }
        }
        EventKind::RunFailed { agent, viewers, .. } if hidden(viewers) => {
            EventKind::RunFailed { agent: agent.clone(), error: FAILED.to_owned(), viewers: Viewers::Members }
        }
        EventKind::ToolExecuted { caller, is_agent: false, tool, params, success, duration_ms, error, result_summary }
            if !params.is_null() || error.is_some() || result_summary.is_some() =>
        {
            let (tool, params) = (tool.clone(), Value::Null);
            let (caller, success, duration_ms) = (*caller, *success, *duration_ms);
            EventKind::ToolExecuted { caller, is_agent: false, tool, params, success, duration_ms, error: None, result_summary: None }
        }
        _ => return None,
    })
}

/// A run without what its terminal shows.
#[must_use]
pub fn run_without(run: Run) -> Run {
    let reason = if run.status == RunStatus::Failed { run.reason.map(|_| FAILED.to_owned()) } else { run.reason };
    Run { login: Login::default(), reason, ..run }
}

/// A row of the feed without what its agent's terminal showed.
#[must_use]
pub fn activity_without(mut row: Activity) -> Activity {
    if ACTIVITY_TYPES.contains(&row.activity_type.as_str())
        && let Some(fields) = row.metadata.as_object_mut()
    {
        fields.retain(|name, _| !ACTIVITY_FIELDS.contains(&name.as_str()));
    }
    row
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::model::{
        event::AgentBrief,
        ids::{EventId, WorkspaceId},
    };

    /// Whatever the feed keeps of an event is without what the event itself is without.
    #[test]
    fn the_feed_leaves_out_what_events_leave_out() {
        let agent = || AgentBrief { id: "scout".parse().unwrap(), name: "Scout".into(), agent_type: None, status: "ready".into() };
        let said = || "hidden".to_owned();
        let login = Login { url: Some(said()), instructions: Some(said()), device_code: Some(said()), verified: true };
        let viewers = Viewers::Nobody;
        for kind in [
            EventKind::RunLoginRequired { agent: agent(), login, runtime_session_id: None, viewers },
            EventKind::RunTroubled { agent: agent(), error: said(), viewers },
            EventKind::RunFailed { agent: agent(), error: said(), viewers },
        ] {
            let note = kind.activity(None).unwrap();
            assert!(note.metadata.to_string().contains("hidden") && !note.description.contains("hidden"), "{note:?}");
            let row = Activity {
                id: EventId::generate(),
                agent: Some(agent().id),
                workspace: WorkspaceId::generate(),
                actor: None,
                activity_type: note.activity_type.into_owned(),
                description: Some(note.description),
                metadata: note.metadata,
                project: None,
                task: None,
                page: None,
                created_at: DateTime::UNIX_EPOCH,
            };
            let left = activity_without(row.clone()).metadata;
            assert!(!left.to_string().contains("hidden") && left["agentName"] == "Scout", "{left}");
            let call = Activity { activity_type: "tool_executed".into(), metadata: json!({"error": "no page"}), ..row };
            assert_eq!(activity_without(call).metadata, json!({"error": "no page"}));
            let bare = event_without(&kind).unwrap();
            assert!(!serde_json::to_string(&bare).unwrap().contains("hidden"), "{bare:?}");
            assert!(event_without(&bare).is_none(), "it is bare already");
        }
    }
}
