//! What is kept of a tool call (REST contract §5.3).

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::ids::{AgentId, UserId, WorkspaceId};

/// Parts of the names of arguments whose values are not kept, whatever their case.
const REDACTED: [&str; 12] =
    ["password", "passwd", "secret", "token", "apikey", "privatekey", "credential", "authorization", "content", "body", "text", "summary"];
/// Characters that a key or a token has at the least, with its prefix.
const SECRET_CHARS_MIN: usize = 32;
/// Characters kept of a text.
const TEXT_CHARS_MAX: usize = 200;
/// Arguments kept of one call.
const ARGUMENTS_MAX: usize = 30;
/// Stands for what is not kept.
const REMOVED: &str = "[redacted]";
/// Stands for a NUL character.
const NUL_SHOWN: &str = "\u{fffd}";

/// A call that was carried out, or refused, with whoever called.
#[derive(Clone, Debug)]
pub struct ToolCall {
    pub workspace: WorkspaceId,
    /// `None` where a person's key was used.
    pub agent: Option<AgentId>,
    /// The person, or the account that stands for the agent.
    pub user: UserId,
    pub at: DateTime<Utc>,
    /// The tool's published name, or what the caller said where no tool has that name.
    pub tool: String,
    /// The arguments as [`redact`] leaves them.
    pub params: Value,
    pub duration_ms: u64,
    /// What came of it in short, or code and message of what it failed with.
    pub outcome: Result<String, String>,
}

/// Arguments as they are kept: without what may be secret or long, and with the kind of a value in place of
/// what is nested.
#[must_use]
pub fn redact(arguments: &Map<String, Value>) -> Value {
    let kept = arguments.iter().take(ARGUMENTS_MAX).map(|(name, value)| (shorten(name), redacted(name, value)));
    Value::Object(kept.collect())
}

fn redacted(name: &str, value: &Value) -> Value {
    let lower = name.to_lowercase().replace(['_', '-'], "");
    if REDACTED.iter().any(|part| lower.contains(part)) {
        return Value::from(REMOVED);
    }
    match value {
        Value::String(text) => Value::from(shorten(text)),
        Value::Array(items) => Value::from(format!("[array of {}]", items.len())),
        Value::Object(_) => Value::from("[object]"),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The beginning of a text, for people who look at what an agent does. Whatever a caller sent can be kept so: of a NUL
/// character, which Postgres takes in no text, only the place is.
#[must_use]
pub fn shorten(text: &str) -> String {
    // What is cut off may be the rest of a key.
    let text = without_keys(text);
    let kept = match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    };
    if kept.contains('\0') { kept.replace('\0', NUL_SHOWN) } else { kept }
}

/// A text without words that look like keys and tokens of the service: long ones of a prefix, `_`, and a random rest.
fn without_keys(text: &str) -> Cow<'_, str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_key = |word: &str| word.len() >= SECRET_CHARS_MIN && word.contains('_') && word.bytes().any(|byte| byte.is_ascii_digit());
    if text.len() < SECRET_CHARS_MIN || !text.split(|c| !is_part(c)).any(is_key) {
        return Cow::Borrowed(text);
    }
    let words = text.split_inclusive(|c| !is_part(c)).map(|word| {
        let bare = word.trim_end_matches(|c| !is_part(c));
        if is_key(bare) { format!("{REMOVED}{}", &word[bare.len()..]) } else { word.to_owned() }
    });
    Cow::Owned(words.collect())
}

/// What a result is, in a few words: its fields or its length, never its values.
#[must_use]
pub fn summary(result: &Value) -> String {
    let told = match result {
        Value::Object(fields) => fields.iter().take(ARGUMENTS_MAX).map(|(name, value)| counted(name, value)).collect::<Vec<_>>().join(", "),
        Value::Array(items) => format!("{} entries", items.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => "a value".to_owned(),
    };
    shorten(&told)
}

fn counted(name: &str, value: &Value) -> String {
    match value {
        Value::Array(items) => format!("{name}: {}", items.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_may_be_secret_or_long_is_not_kept() {
        let arguments = json!({"apiKey": "k", "userPassword": "p", "Content": "c", "bodyText": [1], "claimSecret": 1, "accessToken": null,
                               "title": "x".repeat(300), "deep": {"password": "p"}, "list": [1, 2], "limit": 5, "on": true});
        let kept = redact(arguments.as_object().unwrap());
        for secret in ["apiKey", "userPassword", "Content", "bodyText", "claimSecret", "accessToken"] {
            assert_eq!(kept[secret], REMOVED, "{secret}");
        }
        assert_eq!(kept["title"].as_str().unwrap().chars().count(), 201);
        let rest = json!({"deep": kept["deep"], "list": kept["list"], "limit": kept["limit"], "on": kept["on"]});
        assert_eq!(rest, json!({"deep": "[object]", "list": "[array of 2]", "limit": 5, "on": true}));
        let many: Map<String, Value> = (0..100).map(|number| (number.to_string(), json!(1))).collect();
        assert_eq!(redact(&many).as_object().unwrap().len(), ARGUMENTS_MAX);
    }

    #[test]
    fn no_key_is_kept_wherever_it_was() {
        let key = format!("mcp_agent_{}", "0a1b2c3d".repeat(8));
        let arguments = json!({"query": format!("my key is {key}, ok?"), "api_key": "k", "Private-Key": "k", "id": "01a2003e-0000-7000-8000-000000000005"});
        let kept = redact(arguments.as_object().unwrap());
        assert_eq!(kept["query"], "my key is [redacted], ok?");
        assert_eq!((&kept["api_key"], &kept["Private-Key"]), (&json!(REMOVED), &json!(REMOVED)));
        assert_eq!(kept["id"], arguments["id"]);
        assert_eq!(shorten(&format!("page_list_{key}")), REMOVED);
        assert_eq!(shorten(&format!("{}{key}", "é ".repeat(90))), format!("{}[redacted]", "é ".repeat(90)));
    }

    #[test]
    fn no_nul_is_kept_wherever_it_was() {
        let arguments = json!({"a\u{0}b": "c\u{0}", "deep": {"x\u{0}": 1}, "list": ["\u{0}"]});
        let kept = redact(arguments.as_object().unwrap());
        assert_eq!(kept, json!({"a\u{fffd}b": "c\u{fffd}", "deep": "[object]", "list": "[array of 1]"}));
    }

    #[test]
    fn a_summary_names_fields_and_counts_and_no_values() {
        assert_eq!(summary(&json!({"agents": [{"name": "scout"}], "total": 1})), "agents: 1, total");
        assert_eq!(summary(&json!([1, 2])), "2 entries");
        assert_eq!(summary(&json!("a secret")), "a value");
    }
}
