//! Puts on record what was called with a key, for the activity feed and for whoever watches (D-41).

use std::time::Duration;

use serde_json::{Map, Value};

use super::events;
use crate::{
    model::{
        actor::KeyHolder,
        event::{Event, EventKind},
        told,
    },
    storage::{StorageError, Tx},
};

/// Bytes of arguments that are kept with a call at the most.
const PARAMS_BYTES_MAX: usize = 4 * 1024;
/// Characters of what came of a call that are kept at the most.
const SUMMARY_CHARS_MAX: usize = 300;
/// Parts of names whose values may be secrets.
const SECRET_NAMES: [&str; 6] = ["secret", "token", "password", "key", "authorization", "credential"];

/// A call that was carried out or refused.
pub struct ToolCall<'a> {
    pub tool: &'a str,
    pub arguments: &'a Map<String, Value>,
    pub took: Duration,
    /// What came of it in short, or why nothing did.
    pub outcome: Result<&'a str, &'a str>,
}

/// Records [`EventKind::ToolExecuted`]; a call by an agent is a row of its activity too.
pub async fn record(tx: &mut Tx, caller: &KeyHolder, call: &ToolCall<'_>) -> Result<(), StorageError> {
    let (workspace, user, agent) = match caller {
        KeyHolder::Agent(agent) => (agent.workspace, agent.user, Some(agent.agent.clone())),
        KeyHolder::Person { person, .. } => (person.workspace, person.user, None),
    };
    let kind = EventKind::ToolExecuted {
        caller: user,
        is_agent: agent.is_some(),
        tool: call.tool.to_owned(),
        params: fit_to_keep(call.arguments),
        success: call.outcome.is_ok(),
        duration_ms: u64::try_from(call.took.as_millis()).unwrap_or(u64::MAX),
        error: call.outcome.err().and_then(|text| told::readable(text, SUMMARY_CHARS_MAX)),
        result_summary: call.outcome.ok().and_then(|text| told::readable(text, SUMMARY_CHARS_MAX)),
    };
    events::record(tx, Event { workspace, agent, actor: None, kind }).await?;
    Ok(())
}

/// The arguments without values that may be secrets, and without all of them where they are long.
fn fit_to_keep(arguments: &Map<String, Value>) -> Value {
    let kept = Value::Object(arguments.iter().map(|(name, value)| (name.clone(), without_secrets(name, value))).collect());
    if kept.to_string().len() > PARAMS_BYTES_MAX { Value::Null } else { kept }
}

fn without_secrets(name: &str, value: &Value) -> Value {
    let lower = name.to_ascii_lowercase();
    if SECRET_NAMES.iter().any(|part| lower.contains(part)) {
        return Value::from("[redacted]");
    }
    match value {
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (name.clone(), without_secrets(name, value))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(|item| without_secrets(name, item)).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_kept() {
        let arguments = json!({"status": "done", "apiKey": "mcp_1", "deep": [{"password": "p", "name": "n"}]});
        let kept = fit_to_keep(arguments.as_object().unwrap());
        assert_eq!(kept, json!({"status": "done", "apiKey": "[redacted]", "deep": [{"password": "[redacted]", "name": "n"}]}));
        let long = json!({"text": "x".repeat(PARAMS_BYTES_MAX)});
        assert_eq!(fit_to_keep(long.as_object().unwrap()), Value::Null);
    }
}
