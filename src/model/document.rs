//! Rich text as the editor keeps it: a `ProseMirror` document, and the plain text that is searched.

use serde_json::{Value, json};

/// Length of a document's JSON in bytes at the most: 512 KiB is some 200 printed sheets.
pub const DOCUMENT_BYTES_MAX: usize = 512 * 1024;
/// How deep nodes may lie in each other: lists in tables in columns need about 20, and readers recurse.
const DEPTH_MAX: usize = 60;

/// A document whose shape was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    json: Value,
    text: String,
}

/// Why a value is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDocument {
    #[error("must be a document: an object of the type \"doc\" with an array of nodes in content")]
    Shape,
    #[error("must hold nodes only, each an object with a type, and text as text")]
    Node,
    #[error("must not be deeper than 60 nodes")]
    TooDeep,
    #[error("must be at most 512 KiB")]
    TooLong,
    #[error("must not contain the character U+0000")]
    Nul,
}

impl Document {
    /// Checks a document as the editor makes it. What kinds of node and mark there are is the editor's matter.
    pub fn parse(json: Value) -> Result<Self, NoDocument> {
        if json["type"] != "doc" || !json.get("content").is_none_or(Value::is_array) {
            return Err(NoDocument::Shape);
        }
        let mut text = String::new();
        check(&json, 0, &mut text)?;
        if json.to_string().len() > DOCUMENT_BYTES_MAX {
            return Err(NoDocument::TooLong);
        }
        if holds_nul(&json) {
            return Err(NoDocument::Nul);
        }
        text.truncate(text.trim_end().len());
        Ok(Self { json, text })
    }

    /// A document of paragraphs, which empty lines divide; other line breaks are kept.
    pub fn from_text(text: &str) -> Result<Self, NoDocument> {
        let text = text.replace("\r\n", "\n");
        let paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
        let content: Vec<Value> = paragraphs.map(|lines| json!({"type": "paragraph", "content": inline(lines)})).collect();
        Self::parse(json!({"type": "doc", "content": content}))
    }

    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The words of the document, a line for each block.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Default for Document {
    /// One on which nothing is written.
    fn default() -> Self {
        Self { json: json!({"type": "doc", "content": []}), text: String::new() }
    }
}

/// Text nodes with hard breaks between the lines.
fn inline(lines: &str) -> Vec<Value> {
    let mut nodes = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        if number > 0 {
            nodes.push(json!({"type": "hardBreak"}));
        }
        if !line.is_empty() {
            nodes.push(json!({"type": "text", "text": line}));
        }
    }
    nodes
}

/// Checks a node and those below it, and gathers their text.
fn check(node: &Value, depth: usize, text: &mut String) -> Result<(), NoDocument> {
    if depth > DEPTH_MAX {
        return Err(NoDocument::TooDeep);
    }
    let kind = node.get("type").and_then(Value::as_str).ok_or(NoDocument::Node)?;
    match (kind, node.get("text")) {
        ("text", Some(Value::String(words))) => text.push_str(words),
        ("text", _) => return Err(NoDocument::Node),
        ("hardBreak", _) => text.push('\n'),
        _ => {}
    }
    let Some(children) = node.get("content").filter(|content| !content.is_null()) else { return Ok(()) };
    for child in children.as_array().ok_or(NoDocument::Node)? {
        check(child, depth + 1, text)?;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(())
}

/// Whether a JSON value holds the character that Postgres takes in no text.
#[must_use]
pub fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_document_has_a_line_for_each_block() {
        let document = Document::parse(json!({"type": "doc", "content": [
            {"type": "heading", "attrs": {"level": 1}, "content": [{"type": "text", "text": "Plan"}]},
            {"type": "bulletList", "content": [{"type": "listItem", "content": [{"type": "paragraph", "content": [
                {"type": "text", "text": "one", "marks": [{"type": "bold"}]}, {"type": "hardBreak"}, {"type": "text", "text": "two"}]}]}]},
            {"type": "paragraph"},
        ]}));
        assert_eq!(document.unwrap().text(), "Plan\none\ntwo");
    }

    #[test]
    fn plain_text_becomes_paragraphs_and_reads_back() {
        let document = Document::from_text("Hello\nthere\r\n\r\n\n\nagain").unwrap();
        assert_eq!(document.json()["content"].as_array().unwrap().len(), 2);
        assert_eq!(document.text(), "Hello\nthere\nagain");
        assert_eq!(Document::from_text("").unwrap().text(), "");
    }

    #[test]
    fn what_no_editor_could_open_is_no_document() {
        let mut deep = json!({"type": "paragraph"});
        for _ in 0..=DEPTH_MAX {
            deep = json!({"type": "blockquote", "content": [deep]});
        }
        let long = json!({"type": "doc", "content": [{"type": "text", "text": "x".repeat(DOCUMENT_BYTES_MAX)}]});
        for (bad, why) in [
            (json!("doc"), NoDocument::Shape),
            (json!({"type": "paragraph"}), NoDocument::Shape),
            (json!({"type": "doc", "content": {}}), NoDocument::Shape),
            (json!({"type": "doc", "content": ["text"]}), NoDocument::Node),
            (json!({"type": "doc", "content": [{"text": "x"}]}), NoDocument::Node),
            (json!({"type": "doc", "content": [{"type": "text", "text": 1}]}), NoDocument::Node),
            (json!({"type": "doc", "content": [deep]}), NoDocument::TooDeep),
            (long, NoDocument::TooLong),
            (json!({"type": "doc", "content": [{"type": "text", "text": "a\u{0}"}]}), NoDocument::Nul),
            (json!({"type": "doc", "attrs": {"a\u{0}": 1}}), NoDocument::Nul),
        ] {
            assert_eq!(Document::parse(bad), Err(why));
        }
    }
}
