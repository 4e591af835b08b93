//! What the arguments and answers of the tools for content have in common.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde_json::{Map, Value, json};

use super::super::{
    catalogue::{Call, ToolError},
    pipeline,
};
use crate::{
    domain::{content::ContentError, spaces::Page},
    model::{
        account::{Account, Author},
        document::Document,
        position::is_position,
        space::PageRequest,
    },
    wire::time::Timestamp,
};

/// Pages of a list that can be asked for: further ones are searched for, not leafed to.
const PAGE_MAX: i64 = 1000;
/// Items of one page of a list at the most.
const LIMIT_MAX: i64 = 100;
/// Length of an id or a short id in characters at the most.
const ID_CHARS_MAX: usize = 64;

/// An id that has to be there.
pub(super) fn id(description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": ID_CHARS_MAX, "description": description})
}

/// An id that may be left out.
pub(super) fn optional_id(description: &str) -> Value {
    json!({"type": ["string", "null"], "minLength": 1, "maxLength": ID_CHARS_MAX, "description": description})
}

/// A text that has to be there and to say something.
pub(super) fn text(chars_max: usize, description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": chars_max, "pattern": "\\S", "description": description})
}

/// A text that may be left out.
pub(super) fn optional_text(chars_max: usize, description: &str) -> Value {
    json!({"type": ["string", "null"], "maxLength": chars_max, "description": description})
}

/// One of some words, which may be left out.
pub(super) fn optional_word(words: &[&str], description: &str) -> Value {
    let words: Vec<Value> = words.iter().map(|word| json!(word)).chain([Value::Null]).collect();
    json!({"enum": words, "description": description})
}

/// A yes or no, which may be left out.
pub(super) fn optional_flag(description: &str) -> Value {
    json!({"type": ["boolean", "null"], "description": description})
}

/// An instant or a day, which may be left out.
pub(super) fn optional_instant(description: &str) -> Value {
    json!({"type": ["string", "null"], "maxLength": 40, "description": format!("{description} ISO 8601, such as 2030-01-31T09:00:00Z or 2030-01-31.")})
}

/// A document, or plain text that becomes one.
pub(super) fn document(description: &str) -> Value {
    json!({
        "type": ["object", "string"],
        "description": format!("{description} A ProseMirror document ({{\"type\": \"doc\", \"content\": [...]}}), or plain text whose empty lines divide paragraphs.")
    })
}

/// What a schema says under `not` where at least one of these arguments has to be there. The same under `anyOf` would keep
/// models from the tool: their interfaces take no schema that has it at its top.
pub(super) fn none_of(names: &[&str]) -> Value {
    let absent: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), Value::Bool(false))).collect();
    json!({"properties": absent})
}

/// Adds the fields by which a list is leafed through.
pub(super) fn leafed(mut properties: Value, limit: i64) -> Value {
    properties["page"] = json!({"type": ["integer", "null"], "minimum": 1, "maximum": PAGE_MAX, "default": 1, "description": "Which page of the list, from 1."});
    properties["limit"] =
        json!({"type": ["integer", "null"], "minimum": 1, "maximum": LIMIT_MAX, "default": limit, "description": "Items per page."});
    properties
}

/// The part of a list that a call asks for.
pub(super) fn request(call: &Call<'_>, limit: i64) -> PageRequest {
    let query = call.text("query").or_else(|| call.text("searchTerm")).map(str::trim).filter(|query| !query.is_empty());
    PageRequest { page: call.whole("page").unwrap_or(1), limit: self::limit(call, limit), query: query.map(str::to_owned) }
}

/// The number of items that a call asks for.
pub(super) fn limit(call: &Call<'_>, usual: i64) -> i64 {
    call.whole("limit").unwrap_or(usual)
}

/// Whether an argument says yes; `None` when it is left out.
pub(super) fn flag(call: &Call<'_>, name: &str) -> Option<bool> {
    call.arguments.get(name).and_then(Value::as_bool)
}

/// The text of an argument that the schema requires, without spaces around it.
pub(super) fn required(call: &Call<'_>, name: &str) -> Result<String, ToolError> {
    let text = call.text(name).map(str::trim).filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| ToolError::invalid(name, "is missing"))
}

/// Which of two names of one argument counts: null counts only where the other is not given either.
///
/// Errors: both are given and differ.
pub(super) fn either(call: &Call<'_>, names: [&'static str; 2]) -> Result<&'static str, ToolError> {
    let [one, other] = names;
    let given = |name: &str| call.arguments.get(name).filter(|value| !value.is_null());
    match (given(one), given(other)) {
        (Some(first), Some(second)) if first != second => Err(ToolError::invalid(other, &format!("must be the same as {one}"))),
        (Some(_), _) => Ok(one),
        (None, Some(_)) => Ok(other),
        (None, None) => Ok(if call.arguments.contains_key(other) { other } else { one }),
    }
}

/// An answer to a change, without the texts that only readers are told: who may write may not read for that.
pub(super) async fn without_unread(call: &Call<'_>, reads: &[&str], mut told: Value, texts: &[&str]) -> Value {
    // The change is made: where nobody can say now what was granted for a while, the texts stay untold.
    let account = pipeline::account(call, reads).await.unwrap_or_else(|_| Account::from(call.caller));
    if !reads.iter().any(|permission| account.may(permission))
        && let Some(fields) = told.as_object_mut()
    {
        fields.retain(|name, _| !texts.contains(&name.as_str()));
    }
    told
}

/// A change of something that may be taken away: by null, or by a text that says nothing.
#[expect(clippy::option_option, reason = "left out, taken away and given are three things")]
pub(super) fn text_change(call: &Call<'_>, name: &str) -> Option<Option<String>> {
    let value = call.arguments.get(name)?;
    Some(value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned))
}

/// A change of a reference that may be taken away by null.
#[expect(clippy::option_option, reason = "left out, taken away and given are three things")]
pub(super) fn id_change<T: std::str::FromStr>(call: &Call<'_>, name: &str) -> Result<Option<Option<T>>, ToolError> {
    match call.arguments.get(name) {
        None => Ok(None),
        Some(_) => call.id(name).map(Some),
    }
}

/// The instant in an argument, if it is there; a day is its beginning in UTC.
pub(super) fn instant(call: &Call<'_>, name: &str) -> Result<Option<DateTime<Utc>>, ToolError> {
    let Some(text) = call.text(name) else { return Ok(None) };
    let day = || text.parse::<NaiveDate>().ok().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let found = DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc)).or_else(day);
    // Years that Postgres has and others cannot write.
    let found = found.filter(|at| (0..10_000).contains(&chrono::Datelike::year(at)));
    found.map(Some).ok_or_else(|| ToolError::invalid(name, "must be a time such as 2030-01-31T09:00:00Z, or a day such as 2030-01-31"))
}

/// A change of an instant that may be taken away by null.
#[expect(clippy::option_option, reason = "left out, taken away and given are three things")]
pub(super) fn instant_change(call: &Call<'_>, name: &str) -> Result<Option<Option<DateTime<Utc>>>, ToolError> {
    match call.arguments.get(name) {
        None => Ok(None),
        Some(_) => instant(call, name).map(Some),
    }
}

/// The document in an argument, if it is there.
pub(super) fn document_in(call: &Call<'_>, name: &str) -> Result<Option<Document>, ToolError> {
    let document = match call.arguments.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => Document::from_text(text),
        Some(json) => Document::parse(json.clone()),
    };
    document.map(Some).map_err(|error| ToolError::invalid(name, &error.to_string()))
}

/// A position among siblings, if one is asked for.
pub(super) fn position(call: &Call<'_>) -> Result<Option<String>, ToolError> {
    match call.text("position") {
        Some(position) if !is_position(position) => {
            Err(ToolError::invalid("position", "must be made of letters and digits, as other positions are"))
        }
        found => Ok(found.map(str::to_owned)),
    }
}

/// Where a page of a list stands, as every list of the contract tells it.
fn pagination<T>(slice: &Page<T>, request: &PageRequest) -> Value {
    json!({"limit": request.limit, "page": request.page, "hasNextPage": slice.has_next, "hasPrevPage": request.page > 1})
}

/// A list under its name, with where it stands.
pub(super) fn listed<T>(name: &str, slice: &Page<T>, request: &PageRequest, item: impl Fn(&T) -> Value) -> Value {
    let items: Vec<Value> = slice.items.iter().map(item).collect();
    let fields = [(name.to_owned(), Value::Array(items)), ("pagination".to_owned(), pagination(slice, request))];
    Value::Object(Map::from_iter(fields))
}

/// Somebody whom content names. Addresses of people are for who may read users.
pub(super) fn author(author: Option<&Author>) -> Value {
    author.map_or(Value::Null, |author| json!({"id": author.id, "name": author.name, "avatarUrl": author.avatar_url}))
}

pub(super) fn optional_time(at: Option<DateTime<Utc>>) -> Value {
    json!(at.map(Timestamp))
}

impl From<ContentError> for ToolError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::NotFound(_) => Self::not_found(error.to_string()),
            ContentError::ReadOnly | ContentError::Refused(_) => Self::denied(error.to_string()),
            ContentError::NotPermitted(permission) => {
                let ask = json!({"tool": "approval_request", "arguments": {"permission": permission, "reason": "what it is for"}});
                Self::denied(error.to_string()).with(json!({"requiredPermissions": [permission], "ask": ask}))
            }
            ContentError::Invalid { field, reason } => Self::invalid(field, reason),
            ContentError::Storage(error) => error.into(),
        }
    }
}
