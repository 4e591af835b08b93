//! Plain JSON-RPC 2.0: the methods of MCP and the dotted names of the tools, one call or several at once
//! (REST contract §5.1).

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    answers, authorization,
    catalogue::{self, ToolError, code},
    listing, pipeline, prompts, resources,
};
use crate::{
    app::App,
    model::actor::KeyHolder,
    wire::{input, mcp::Completion},
};

/// The newest version of MCP in which several calls could be sent at once.
const PROTOCOL_VERSION: &str = "2025-03-26";
/// Calls sent at once at the most. They are carried out one after the other.
const BATCH_MAX: usize = 50;
/// How long after its arrival a batch may begin another call: as long as one tool may work.
const BATCH_WITHIN: Duration = Duration::from_secs(30);

/// Answers a text of JSON-RPC; `None` where nothing is to be answered. The headers have the caller's key.
pub(super) async fn answer(app: &App, caller: &KeyHolder, headers: &HeaderMap, text: &[u8]) -> Option<Value> {
    match serde_json::from_slice(text) {
        Err(_) => Some(failed(&Value::Null, &no_json())),
        Ok(Value::Array(calls)) if calls.is_empty() || calls.len() > BATCH_MAX => {
            let error = ToolError::new(code::INVALID_REQUEST, format!("a batch has 1 to {BATCH_MAX} calls"));
            Some(failed(&Value::Null, &error))
        }
        Ok(Value::Array(calls)) => {
            let answers = several(app, caller, headers, calls).await;
            (!answers.is_empty()).then_some(Value::Array(answers))
        }
        Ok(call) => one(app, Ok(caller), call).await,
    }
}

/// Calls a tool by its dotted name. Its answer is the result itself.
pub(super) async fn native(app: &App, caller: &KeyHolder, method: &str, mut params: Map<String, Value>) -> Result<Value, ToolError> {
    params.remove("_meta");
    match catalogue::find(method) {
        Some(_) if method.contains('.') => pipeline::call(app, caller, method, params).await,
        Some(_) | None => Err(ToolError::new(code::METHOD_NOT_FOUND, "there is no such method")),
    }
}

/// Why a text that was refused is no call of the streamable door, as its sender is told.
pub(super) fn refusal(text: &[u8]) -> Value {
    let call = match serde_json::from_slice(text) {
        Err(_) => return failed(&Value::Null, &no_json()),
        Ok(Value::Object(call)) => call,
        Ok(Value::Array(_)) => {
            let error = ToolError::new(code::INVALID_REQUEST, "calls are sent one by one in this version; several go to /api/mcp-standard");
            return failed(&Value::Null, &error);
        }
        Ok(_) => return failed(&Value::Null, &ToolError::new(code::INVALID_REQUEST, "a call is an object")),
    };
    let id = call.get("id");
    let is_call = call.get("jsonrpc").is_some_and(|version| version == "2.0")
        && call.get("method").is_some_and(Value::is_string)
        && id.is_none_or(|id| id.is_string() || id.is_i64())
        && !call.contains_key("result")
        && !call.contains_key("error");
    let error = match params(call.get("params").cloned()) {
        Err(error) if is_call => error,
        Ok(_) | Err(_) => no_call(),
    };
    failed(readable(id), &error)
}

/// What is wrong with the parameters of a method of the protocol, where they could not be read; `None` for a method that
/// is none of the protocol's.
pub(super) fn misfit(method: &str, params: &Map<String, Value>) -> Option<ToolError> {
    use Kind::{MaybeObject, Object, Text};
    let fields: &[(&str, Kind)] = match method {
        "initialize" => &[
            ("protocolVersion", Text),
            ("capabilities", Object),
            ("clientInfo", Object),
            ("clientInfo.name", Text),
            ("clientInfo.version", Text),
        ],
        "tools/call" | "prompts/get" => &[("name", Text), ("arguments", MaybeObject)],
        "resources/read" => &[("uri", Text)],
        "completion/complete" => &[("ref", Object), ("argument", Object)],
        "ping" | "server/discover" | "tools/list" | "resources/list" | "resources/templates/list" | "prompts/list" => &[],
        _ => return None,
    };
    let misfit = fields.iter().chain(&[("_meta", MaybeObject)]).find_map(|(field, kind)| {
        let (outer, inner) = field.split_once('.').map_or((*field, None), |(outer, inner)| (outer, Some(inner)));
        let found = params.get(outer);
        let found = inner.map_or(found, |inner| found.and_then(|found| found.get(inner)));
        kind.broken_by(found).map(|rule| wrong(field, rule))
    });
    Some(misfit.unwrap_or_else(|| ToolError::new(code::INVALID_PARAMS, "params do not fit the method")))
}

/// The parameters of a call, which come by name.
pub(super) fn params(params: Option<Value>) -> Result<Map<String, Value>, ToolError> {
    match params {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(params)) => Ok(params),
        Some(_) => Err(ToolError::new(code::INVALID_PARAMS, "params must be an object")),
    }
}

/// Every list has one page, so no cursor was ever given out.
pub(super) fn no_such_page() -> ToolError {
    wrong("cursor", "must be one that was given out")
}

/// The answer to a call that failed.
pub(super) fn failed(id: &Value, error: &ToolError) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": answers::told(error)})
}

/// Carries out calls one after the other, each as if it came alone: a key that is withdrawn or has used up its budget
/// meanwhile has the rest refused. The first was let in at the door.
async fn several(app: &App, caller: &KeyHolder, headers: &HeaderMap, calls: Vec<Value>) -> Vec<Value> {
    let (mut answers, until) = (Vec::with_capacity(calls.len()), Instant::now() + BATCH_WITHIN);
    for (place, call) in calls.into_iter().enumerate() {
        answers.extend(if place == 0 {
            one(app, Ok(caller), call).await
        } else {
            match admitted(app, headers, until).await {
                Ok(caller) => one(app, Ok(&caller), call).await,
                Err(refused) => one(app, Err(refused), call).await,
            }
        });
    }
    answers
}

/// Whoever a further call of a batch is by, as things are now.
async fn admitted(app: &App, headers: &HeaderMap, until: Instant) -> Result<KeyHolder, ToolError> {
    let now = Instant::now();
    if now >= until {
        return Err(ToolError::new(code::SERVER, "the batch took too long, and this call was not begun"));
    }
    if let (Some(calls), Some(key)) = (&app.calls_by_key, input::api_key(headers)) {
        calls.take(key, now).map_err(|exhausted| {
            let seconds = exhausted.retry_in.as_secs() + 1;
            ToolError::new(code::SERVER, format!("too many calls, try again in {seconds} s")).with(json!({"retryAfter": seconds}))
        })?;
    }
    match authorization::holder(app, headers).await {
        Ok(Some(caller)) => Ok(caller),
        Err(problem) if problem.status != StatusCode::UNAUTHORIZED => {
            Err(ToolError::new(code::SERVER, "whether the key is good cannot be found out; try again"))
        }
        Ok(None) | Err(_) => Err(ToolError::new(code::SERVER, "the key is no longer good")),
    }
}

/// Answers one call of `caller`, or with why it is refused.
async fn one(app: &App, caller: Result<&KeyHolder, ToolError>, call: Value) -> Option<Value> {
    let Value::Object(mut fields) = call else {
        return Some(failed(&Value::Null, &ToolError::new(code::INVALID_REQUEST, "a call is an object")));
    };
    let id = fields.remove("id");
    let is_named = id.as_ref().is_none_or(|id| id.is_string() || id.is_number() || id.is_null());
    let method = match (fields.get("jsonrpc").and_then(Value::as_str), fields.get("method").and_then(Value::as_str)) {
        (Some("2.0"), Some(method)) if is_named => method.to_owned(),
        _ => return Some(failed(readable(id.as_ref()), &no_call())),
    };
    let params = params(fields.remove("params"));
    // Notifications are taken and change nothing; a tool is called only by whoever reads its answer.
    let id = id?;
    let done = match (caller, params) {
        (Ok(caller), Ok(params)) => dispatch(app, caller, &method, params).await,
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    };
    Some(match done {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => failed(&id, &error),
    })
}

async fn dispatch(app: &App, caller: &KeyHolder, method: &str, mut params: Map<String, Value>) -> Result<Value, ToolError> {
    match method {
        "initialize" => Ok(json!(answers::initialized(PROTOCOL_VERSION))),
        "ping" => Ok(json!({})),
        "tools/list" => {
            first_page(&params)?;
            let tools = listing::allowed(app, Some(caller)).await?;
            Ok(json!({"tools": tools.into_iter().map(listing::describe).collect::<Vec<_>>()}))
        }
        "tools/call" => {
            let name = text(&params, "name")?;
            let arguments = arguments(&mut params)?;
            Ok(json!(answers::tool_result(pipeline::call(app, caller, &name, arguments).await)))
        }
        "resources/list" => {
            first_page(&params)?;
            Ok(json!({"resources": resources::list(app, caller).await?}))
        }
        "resources/templates/list" => first_page(&params).map(|()| json!({"resourceTemplates": []})),
        "resources/read" => Ok(json!({"contents": [resources::read(app, caller, &text(&params, "uri")?).await?]})),
        "prompts/list" => first_page(&params).map(|()| json!({"prompts": prompts::list()})),
        "prompts/get" => Ok(json!(prompts::get(&text(&params, "name")?, &arguments(&mut params)?)?)),
        "completion/complete" => Ok(json!(Completion::none())),
        _ => native(app, caller, method, params).await,
    }
}

/// What a parameter must be.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Object,
    MaybeObject,
}

impl Kind {
    /// The rule that a value breaks.
    fn broken_by(self, value: Option<&Value>) -> Option<&'static str> {
        let is_left_out = value.is_none_or(Value::is_null);
        match self {
            Self::MaybeObject if is_left_out => None,
            Self::Text => (!value.is_some_and(Value::is_string)).then_some("must be a text"),
            Self::Object | Self::MaybeObject => (!value.is_some_and(Value::is_object)).then_some("must be an object"),
        }
    }
}

fn text(params: &Map<String, Value>, field: &str) -> Result<String, ToolError> {
    let text = params.get(field).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| wrong(field, "must be a text"))
}

fn arguments(params: &mut Map<String, Value>) -> Result<Map<String, Value>, ToolError> {
    match params.remove("arguments") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(arguments)) => Ok(arguments),
        Some(_) => Err(wrong("arguments", "must be an object")),
    }
}

fn first_page(params: &Map<String, Value>) -> Result<(), ToolError> {
    if params.get("cursor").is_none_or(Value::is_null) { Ok(()) } else { Err(no_such_page()) }
}

/// A parameter breaks a rule.
fn wrong(field: &str, rule: &str) -> ToolError {
    let data = json!({"errors": [{"field": field, "message": rule}]});
    ToolError::new(code::INVALID_PARAMS, format!("{field} {rule}")).with(data)
}

fn no_json() -> ToolError {
    ToolError::new(code::PARSE, "the body is no JSON")
}

fn no_call() -> ToolError {
    ToolError::new(code::INVALID_REQUEST, "a call has jsonrpc \"2.0\", a method, and an id that is a text or a whole number")
}

/// The id of a call that is none, if it has one.
fn readable(id: Option<&Value>) -> &Value {
    id.filter(|id| id.is_string() || id.is_number()).unwrap_or(&Value::Null)
}
