//! Steering a running agent over REST.

use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, ToSchema,
    openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type},
};
use validator::{Validate, ValidationError};

/// Lines of a log when nobody says how many, and at the most.
pub const TAIL_DEFAULT: u32 = 100;
const TAIL_MAX: u32 = 1_000;
/// Keys of one request at the most.
const KEYS_MAX: usize = 100;
/// Longest name of a key, or text typed in its place, in characters: as many keys of this length fit into a body.
const KEY_CHARS_MAX: usize = 200;

/// Body that sends a message.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"message": "Summarise what you have done so far"}))]
pub struct SendMessage {
    /// Typed into the agent's terminal and confirmed with Enter.
    #[validate(length(min = 1, max = 16000, message = "must be 1 to 16000 characters"), custom(function = super::access::visible_text))]
    #[schema(min_length = 1, max_length = 16000, pattern = r"\S")]
    pub message: String,
}

/// Body that presses keys.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"keys": ["ctrl+c", "enter"]}))]
pub struct PressKeys {
    /// One key or several. Known names: `enter`, `tab`, `escape`, `space`, `backspace`, `delete`, `insert`, arrows, `home`, `end`,
    /// `pageup`, `pagedown`, `f1` to `f12`, `ctrl+` and `alt+` a letter, modifiers with arrows; any other text is typed.
    #[validate(custom(function = within_bounds))]
    #[schema(schema_with = keys_schema)]
    pub keys: Keys,
}

/// One key or several.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be text or a list of texts")]
pub enum Keys {
    One(String),
    Many(Vec<String>),
}

impl Keys {
    /// The keys in their order.
    #[must_use]
    pub fn into_names(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        }
    }
}

fn keys_schema() -> Schema {
    let name = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(KEY_CHARS_MAX)).build();
    let names = ArrayBuilder::new().items(name.clone()).min_items(Some(1)).max_items(Some(KEYS_MAX));
    OneOfBuilder::new().item(name).item(names).into()
}

fn within_bounds(keys: &Keys) -> Result<(), ValidationError> {
    let names = match keys {
        Keys::One(name) => std::slice::from_ref(name),
        Keys::Many(names) => names,
    };
    let fit = (1..=KEYS_MAX).contains(&names.len()) && names.iter().all(|name| (1..=KEY_CHARS_MAX).contains(&name.chars().count()));
    if fit { Ok(()) } else { Err(ValidationError::new("keys").with_message("must be 1 to 100 names of 1 to 200 characters".into())) }
}

/// How much of a log is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TailQuery {
    /// Lines from the end, 1 to 1000; 100 when absent.
    #[param(minimum = 1, maximum = 1000)]
    pub tail: Option<u32>,
}

impl TailQuery {
    /// The number of lines; `None` out of bounds.
    #[must_use]
    pub fn lines(&self) -> Option<u32> {
        Some(self.tail.unwrap_or(TAIL_DEFAULT)).filter(|tail| (1..=TAIL_MAX).contains(tail))
    }
}

/// That something was sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"sent": true}))]
pub struct Sent {
    pub sent: bool,
}

/// What an agent printed last. Runtimes that log as they read have pieces of lines.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"logs": ["$ make", "done"], "count": 2}))]
pub struct AgentLogs {
    pub logs: Vec<String>,
    pub count: usize,
}

/// An agent's output as a terminal gets it, with its escape sequences.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"output": "$ make\r\ndone\r\n$ "}))]
pub struct AgentOutput {
    pub output: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_text_nor_a_list_is_told_so() {
        let problem = serde_json::from_str::<PressKeys>(r#"{"keys": [1]}"#).unwrap_err().to_string();
        assert!(problem.starts_with("must be text or a list of texts"), "{problem}");
    }
}
