//! Tools for what agents keep for later (REST contract §5.7).

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{
    super::catalogue::{Annotations, Call, Category, Need, Tool, ToolError},
    fields,
};
use crate::{
    domain::memories,
    model::{
        account::Account,
        memory::{DEFAULT_SOURCE, Memory, MemoryFilter, MemoryHit, NewMemory, SUMMARY_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX},
        page::SearchWords,
    },
    wire::time::Timestamp,
};

/// Memories of one answer when the caller does not say.
const LIMIT: i64 = 20;
/// Days of one answer when the caller does not say.
const DAYS: i64 = 30;
/// Memories of one day, or days, that one answer has at the most.
const LIMIT_MAX: i64 = 100;
/// Bytes of JSON that the memories of one answer have at the most: what a model can read at once is less.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Length of where a memory comes from in characters at the most.
const SOURCE_CHARS_MAX: usize = 200;
/// Entities of one memory at the most.
const ENTITIES_MAX: usize = 100;

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "memory_ingest",
        aliases: &["memory_store", "memory_add"],
        method: "memory.ingest",
        category: Category::Memory,
        tags: &["memory", "write", "remember"],
        title: "Keep a memory",
        description: "Keeps something for later. Only the caller reads it again.",
        need: Need::Permission("write:memory"),
        input: || {
            json!({"properties": {
                "content": {"type": ["string", "object", "array"], "minLength": 1, "minProperties": 1, "minItems": 1,
                            "description": "What is to be kept: a text, or any JSON, up to 64 KiB."},
                "source": fields::optional_text(SOURCE_CHARS_MAX, "Where it comes from; the agent if left out."),
                "summary": fields::optional_text(SUMMARY_CHARS_MAX, "It in a sentence; its first line if left out."),
                "tags": tags("Words under which it is found."),
                "spaceId": fields::optional_id("Id of the space that it is about: it is read for as long as the caller belongs to that."),
                "timestamp": fields::optional_instant("When it happened; now if left out."),
                "metadata": {"type": ["object", "null"], "description": "Anything to be kept beside it."},
                "entities": {"type": ["array", "null"], "maxItems": ENTITIES_MAX, "description": "Whom or what it is about."},
            }, "required": ["content"]})
        },
        annotations: Annotations::Writes,
        run: |call| Box::pin(ingest(call)),
    },
    Tool {
        name: "memory_query",
        aliases: &["memory_search"],
        method: "memory.query",
        category: Category::Memory,
        tags: &["memory", "search", "recall"],
        title: "Look for memories",
        description: "Finds the caller's own memories that hold any of the words, those with the most of them first; * or nothing finds the latest. \
            Of long ones fewer are told than asked for.",
        need: Need::Permission("read:memory"),
        input: || {
            json!({"properties": narrowed(json!({"query": {"type": "string", "maxLength": 500, "description": "Words to look for."}})),
                   "required": ["query"]})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(query(call)),
    },
    Tool {
        name: "memory_daily",
        aliases: &[],
        method: "memory.daily",
        category: Category::Memory,
        tags: &["memory", "day"],
        title: "Read the memories of a day",
        description: "Lists the caller's own memories of one day (UTC), the latest first; of today if no day is given.",
        need: Need::Permission("read:memory"),
        input: || {
            let date =
                json!({"type": ["string", "null"], "pattern": "^\\d{4}-\\d{2}-\\d{2}$", "description": "The day, such as 2030-01-31."});
            json!({"properties": {"date": date, "spaceId": fields::optional_id("Only memories of this space."), "tags": tags("Only memories with all of these."), "limit": limit()}})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(daily(call)),
    },
    Tool {
        name: "memory_days",
        aliases: &[],
        method: "memory.days",
        category: Category::Memory,
        tags: &["memory", "overview"],
        title: "List days with memories",
        description: "Lists the days (UTC) that have memories of the caller, the latest first, with how many each has.",
        need: Need::Permission("read:memory"),
        input: || {
            let days = json!({"type": ["integer", "null"], "minimum": 1, "maximum": LIMIT_MAX, "description": "How many days are wanted at the most."});
            json!({"properties": {"days": days, "limit": days, "spaceId": fields::optional_id("Only memories of this space.")}})
        },
        annotations: Annotations::Reads,
        run: |call| Box::pin(days(call)),
    },
];

fn tags(description: &str) -> Value {
    json!({"type": ["array", "null"], "items": {"type": "string", "minLength": 1, "maxLength": TAG_CHARS_MAX}, "maxItems": TAGS_MAX, "description": description})
}

fn limit() -> Value {
    json!({"type": ["integer", "null"], "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT, "description": "How many are wanted at the most."})
}

/// Adds the fields by which memories are narrowed down.
fn narrowed(mut properties: Value) -> Value {
    properties["spaceId"] = fields::optional_id("Only memories of this space.");
    properties["tags"] = tags("Only memories with all of these.");
    properties["from"] = fields::optional_instant("Only memories from then on.");
    properties["to"] = fields::optional_instant("Only memories before then.");
    properties["own"] = fields::optional_flag("Whatever it says: only what the caller itself kept is found.");
    properties["limit"] = limit();
    properties
}

async fn ingest(call: &Call<'_>) -> Result<Value, ToolError> {
    let kept = call.arguments.get("content").cloned().unwrap_or_default();
    let beside = |name: &str| call.arguments.get(name).filter(|value| !value.is_null()).cloned();
    let content = match (beside("metadata"), beside("entities")) {
        (None, None) => kept,
        (metadata, entities) => json!({"text": kept, "metadata": metadata, "entities": entities}),
    };
    let memory = NewMemory {
        space: call.id("spaceId")?,
        source: fields::text_change(call, "source").flatten().unwrap_or_else(|| DEFAULT_SOURCE.to_owned()),
        summary: fields::text_change(call, "summary").flatten(),
        content,
        tags: owned(call.texts("tags")),
        at: fields::instant(call, "timestamp")?,
    };
    let mut tx = call.begin().await?;
    let kept = memories::ingest(&mut tx, &Account::from(call.caller), memory).await?;
    tx.commit().await?;
    Ok(told(&kept))
}

async fn query(call: &Call<'_>) -> Result<Value, ToolError> {
    let words = SearchWords::parse(call.text("query").unwrap_or_default());
    let filter = MemoryFilter {
        space: call.id("spaceId")?,
        tags: owned(call.texts("tags")),
        from: fields::instant(call, "from")?,
        to: fields::instant(call, "to")?,
    };
    let found = memories::query(&mut *call.read().await?, &Account::from(call.caller), &words, &filter, fields::limit(call, LIMIT)).await?;
    Ok(as_many_as_fit(found.iter().map(hit)))
}

async fn daily(call: &Call<'_>) -> Result<Value, ToolError> {
    let mut tx = call.begin().await?;
    let date = match call.text("date") {
        None => tx.now().date_naive(),
        Some(text) => text.parse::<NaiveDate>().map_err(|_| ToolError::invalid("date", "must be a day such as 2030-01-31"))?,
    };
    let from: DateTime<Utc> = date.and_time(NaiveTime::MIN).and_utc();
    let filter =
        MemoryFilter { space: call.id("spaceId")?, tags: owned(call.texts("tags")), from: Some(from), to: Some(from + TimeDelta::days(1)) };
    let words = SearchWords::parse("");
    let found = memories::query(tx.conn(), &Account::from(call.caller), &words, &filter, fields::limit(call, LIMIT_MAX)).await?;
    tx.commit().await?;
    Ok(as_many_as_fit(found.iter().map(|found| told(&found.memory))))
}

async fn days(call: &Call<'_>) -> Result<Value, ToolError> {
    let wanted = call.whole(fields::either(call, ["days", "limit"])?).unwrap_or(DAYS);
    let filter = MemoryFilter { space: call.id("spaceId")?, ..MemoryFilter::default() };
    let found = memories::days(&mut *call.read().await?, &Account::from(call.caller), &filter, wanted).await?;
    Ok(Value::Array(found.iter().map(|day| json!({"date": day.date, "count": day.count})).collect()))
}

fn owned(tags: Vec<&str>) -> Vec<String> {
    tags.into_iter().map(str::to_owned).collect()
}

/// A list up to the length that an answer may have; the first one is always in it.
fn as_many_as_fit(memories: impl Iterator<Item = Value>) -> Value {
    let mut bytes = 0;
    let fits = |memory: &Value| {
        let before = bytes;
        bytes += memory.to_string().len();
        before == 0 || bytes <= ANSWER_BYTES_MAX
    };
    Value::Array(memories.take_while(fits).collect())
}

fn hit(hit: &MemoryHit) -> Value {
    let mut told = told(&hit.memory);
    told["score"] = json!(hit.score);
    told
}

/// A memory as tools tell it.
fn told(memory: &Memory) -> Value {
    json!({
        "id": memory.id,
        "workspaceId": memory.workspace,
        "spaceId": memory.space,
        "creatorId": memory.creator,
        "source": memory.source,
        "summary": memory.summary,
        "content": memory.content,
        "tags": memory.tags,
        "timestamp": Timestamp(memory.at),
    })
}
