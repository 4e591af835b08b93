//! Prompts: beginnings of conversations that a client offers to its user.

use serde_json::{Map, Value, json};

use super::catalogue::{ToolError, code};
use crate::wire::mcp::{PromptArgument, PromptContent, PromptDescription, PromptMessage, PromptText};

/// Characters of an argument at the most.
const ARGUMENT_CHARS_MAX: usize = 1000;

/// Every prompt.
pub(super) fn list() -> Vec<PromptDescription> {
    vec![
        PromptDescription {
            name: "create_documentation",
            title: "Write documentation",
            description: "Write a page about a topic, after a look at what is there",
            arguments: vec![PromptArgument { name: "topic", description: "What the page is about", required: true }],
        },
        PromptDescription {
            name: "start_work",
            title: "Start to work",
            description: "Look at one's assignments and take the next task",
            arguments: Vec::new(),
        },
    ]
}

/// One prompt with its arguments filled in.
///
/// Errors: there is no such prompt, or an argument is missing or too long.
pub(super) fn get(name: &str, arguments: &Map<String, Value>) -> Result<PromptText, ToolError> {
    let known = list().into_iter().find(|prompt| prompt.name == name);
    let prompt = known.ok_or_else(|| ToolError::new(code::INVALID_PARAMS, "there is no such prompt").with(json!({"field": "name"})))?;
    let text = if name == "create_documentation" {
        let topic = arguments.get("topic").and_then(Value::as_str).map(str::trim).unwrap_or_default();
        if topic.is_empty() || topic.chars().count() > ARGUMENT_CHARS_MAX {
            return Err(ToolError::invalid("topic", "must be a text of 1 to 1000 characters"));
        }
        format!(
            "Write documentation about this topic: {topic}\n\nFirst look for pages about it with page_search, so that nothing is written \
             twice. Then write the page with page_create, in the space where its readers look."
        )
    } else {
        "Call agent_my_assignments. Take the most urgent task that is still open, say with agent_update_status that you work on it, do it, \
         and note with agent_log_activity what came of it. If nothing is assigned to you, look for a task that is open to agents and take \
         it with agent_claim_task."
            .to_owned()
    };
    let message = PromptMessage { role: "user", content: PromptContent { kind: "text", text } };
    Ok(PromptText { description: prompt.description, messages: vec![message] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_can_be_had_and_says_which_argument_is_missing() {
        for prompt in list() {
            let arguments = prompt.arguments.iter().map(|argument| (argument.name.to_owned(), json!("Deployments"))).collect();
            let text = get(prompt.name, &arguments).unwrap();
            assert!(prompt.arguments.is_empty() || text.messages[0].content.text.contains("Deployments"));
        }
        assert!(get("create_documentation", &Map::new()).unwrap_err().message.contains("topic"));
        assert_eq!(get("other", &Map::new()).unwrap_err().code, code::INVALID_PARAMS);
    }
}
