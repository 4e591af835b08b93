//! The door of the protocol: streamable HTTP, stateless, one JSON answer per request (decision 0037).

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock, OnceLock},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{FromRequest as _, OriginalUri, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use http_body_util::Full;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest, CustomResult, ErrorCode,
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation, ListPromptsResult, ListResourcesResult,
        ListToolsResult, PaginatedRequestParams, Prompt, PromptArgument, PromptMessage, ProtocolVersion, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, Resource, ResourceContents, Role, ServerCapabilities, ServerConfig, Tool,
        ToolAnnotations,
    },
    service::RequestContext,
    transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager},
};
use serde_json::{Map, Value};

use super::{
    BODY_BYTES_MAX, answers, authorization,
    catalogue::{self, Entry, ToolError},
    listing, pipeline, prompts, resources, rpc,
};
use crate::{app::App, model::actor::KeyHolder, wire::problem::Problem};

/// Versions of the protocol that are spoken. Clients of earlier ones have the JSON-RPC door.
static VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];
/// Says which version a request is in.
const VERSION: &str = "mcp-protocol-version";
/// From this version on a missing permission is told with 403, and clients know what to do about it.
const SCOPES_SINCE: &str = "2025-11-25";
/// From this version on no client sends several calls at once.
const NO_BATCHES_SINCE: &str = "2025-06-18";

/// Answers a request of the streamable door.
pub(super) async fn serve(State(app): State<App>, OriginalUri(uri): OriginalUri, request: Request) -> Response {
    let path = uri.path().to_owned();
    let caller = match holder(&app, &path, request.headers()).await {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let (mut parts, body) = match buffered(request).await {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    let version = parts.headers.get(VERSION).and_then(|version| version.to_str().ok()).unwrap_or_default().to_owned();
    if parts.method == Method::POST && body.trim_ascii_start().starts_with(b"[") && version.as_str() < NO_BATCHES_SINCE {
        return answered(Box::pin(rpc::answer(&app, &caller, &body)).await);
    }
    accept_both(&mut parts.headers);
    let lack = (version.as_str() >= SCOPES_SINCE).then(Lack::default);
    parts.extensions.insert(caller);
    if let Some(lack) = &lack {
        parts.extensions.insert(lack.clone());
    }
    // It is not told of the service's end: nothing streams, and a call that has begun is answered within the drain. Its
    // client would else take for undone what was done.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(None)
        .with_max_request_body_bytes(BODY_BYTES_MAX)
        // Origins are checked above. A key is in no browser, so there is no other name to be led to.
        .disable_allowed_hosts();
    let door = Door(app.clone());
    let service = StreamableHttpService::new(move || Ok(door.clone()), Arc::new(NeverSessionManager::default()), config);
    // Boxed: each layer around this one moves what it waits for.
    let response = Box::pin(service.handle(Request::from_parts(parts, Full::new(body)))).await.map(Body::new);
    match lack.as_ref().and_then(|lack| lack.0.get()) {
        Some(scope) => authorization::insufficient_scope(&app, &path, scope, response),
        None => response,
    }
}

/// Answers plain JSON-RPC.
pub(super) async fn plain(State(app): State<App>, OriginalUri(uri): OriginalUri, request: Request) -> Response {
    let caller = match holder(&app, uri.path(), request.headers()).await {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    match buffered(request).await {
        Ok((_, body)) => answered(rpc::answer(&app, &caller, &body).await),
        Err(refused) => refused,
    }
}

async fn holder(app: &App, path: &str, headers: &HeaderMap) -> Result<KeyHolder, Response> {
    if !authorization::is_known_origin(app, headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN", "the request comes from another site").into_response());
    }
    match authorization::holder(app, headers).await {
        Ok(Some(caller)) => Ok(caller),
        Ok(None) => Err(authorization::unauthorized(app, path, false)),
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => Err(authorization::unauthorized(app, path, true)),
        Err(problem) => Err(problem.into_response()),
    }
}

async fn buffered(request: Request) -> Result<(Parts, Bytes), Response> {
    let (parts, body) = request.into_parts();
    match Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await {
        Ok(body) => Ok((parts, body)),
        Err(_) => Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "the body is longer than 1 MiB").into_response()),
    }
}

fn answered(answer: Option<Value>) -> Response {
    answer.map_or_else(|| StatusCode::ACCEPTED.into_response(), |answer| Json(answer).into_response())
}

/// The protocol has clients accept both JSON and event streams. One that names only JSON, or nothing, gets what it
/// would have got.
fn accept_both(headers: &mut HeaderMap) {
    let takes_json = headers.get(header::ACCEPT).is_none_or(|accept| {
        let accept = accept.to_str().unwrap_or_default();
        accept.contains("application/json") || accept.contains("*/*")
    });
    if takes_json {
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    }
}

/// The permission that a call turned out to lack, for the answer's status. Only requests whose version has a status
/// for it carry one.
#[derive(Clone, Default)]
struct Lack(Arc<OnceLock<String>>);

/// What the SDK asks.
#[derive(Clone)]
struct Door(App);

impl Door {
    /// Who calls, as proven before the SDK saw the request.
    fn caller(context: &RequestContext<RoleServer>) -> Result<(&KeyHolder, Option<&Lack>), ErrorData> {
        let parts = context.extensions.get::<Parts>();
        let caller = parts.and_then(|parts| parts.extensions.get::<KeyHolder>());
        let caller = caller.ok_or_else(|| ErrorData::internal_error("nobody is known to call", None))?;
        Ok((caller, parts.and_then(|parts| parts.extensions.get::<Lack>())))
    }
}

/// The tools as the SDK sends them, by their published name.
static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| catalogue::all().iter().map(described).collect());

fn described(entry: &Entry) -> Tool {
    let (tool, annotations) = (entry.tool, entry.tool.annotations);
    let told = ToolAnnotations::with_title(tool.title)
        .read_only(annotations.is_read_only())
        .destructive(annotations.is_destructive())
        .idempotent(annotations.is_idempotent())
        .open_world(false);
    Tool::new(tool.name, tool.description, entry.schema.clone()).with_title(tool.title).with_annotations(told)
}

fn fault(error: ToolError) -> ErrorData {
    ErrorData::new(ErrorCode(error.code), error.message, error.data)
}

/// Notes what a refusal says is missing, where that is told by status.
fn note_lack(lack: Option<&Lack>, error: &ToolError) -> bool {
    let missing = pipeline::lacking(error);
    let Some(lack) = lack.filter(|_| !missing.is_empty()) else { return false };
    lack.0.get_or_init(|| missing.join(" "));
    true
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().build();
        let own = Implementation::new(answers::NAME, answers::VERSION);
        ServerConfig::new(capabilities).with_server_info(own).with_instructions(answers::INSTRUCTIONS)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&VERSIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (caller, _) = Self::caller(&context)?;
        let allowed = listing::allowed(&self.0, Some(caller)).await.map_err(fault)?;
        let is_allowed = |tool: &&Tool| allowed.iter().any(|entry| entry.tool.name == tool.name);
        Ok(ListToolsResult::with_all_items(TOOLS.iter().filter(is_allowed).cloned().collect()))
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let (caller, lack) = Self::caller(&context)?;
        let done = pipeline::call(&self.0, caller, &request.name, request.arguments.unwrap_or_default()).await;
        // Clients take nothing but an error from an answer of this status.
        let done = match done {
            Err(error) if note_lack(lack, &error) => return Err(fault(error)),
            done => done,
        };
        let result = answers::tool_result(done);
        let content = result.content.into_iter().map(|content| ContentBlock::text(content.text)).collect();
        let result = if result.is_error { CallToolResult::error(content) } else { CallToolResult::success(content) };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let (caller, _) = Self::caller(&context)?;
        let found = resources::list(&self.0, caller).await.map_err(fault)?;
        let told = found.into_iter().map(|resource| {
            Resource::new(resource.uri, resource.name).with_description(resource.description).with_mime_type(resource.mime_type)
        });
        Ok(ListResourcesResult::with_all_items(told.collect()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let (caller, lack) = Self::caller(&context)?;
        match resources::read(&self.0, caller, &request.uri).await {
            Ok(content) => {
                let told = ResourceContents::text(content.text, content.uri).with_mime_type(content.mime_type);
                Ok(ReadResourceResult::new(vec![told]).into())
            }
            Err(error) => {
                note_lack(lack, &error);
                let unknown = error.code == catalogue::code::NOT_FOUND;
                Err(if unknown { ErrorData::resource_not_found(error.message, error.data) } else { fault(error) })
            }
        }
    }

    async fn list_prompts(&self, _: Option<PaginatedRequestParams>, _: RequestContext<RoleServer>) -> Result<ListPromptsResult, ErrorData> {
        let told = prompts::list().into_iter().map(|prompt| {
            let arguments = prompt
                .arguments
                .iter()
                .map(|argument| PromptArgument::new(argument.name).with_description(argument.description).with_required(argument.required));
            Prompt::new(prompt.name, Some(prompt.description), Some(arguments.collect())).with_title(prompt.title)
        });
        Ok(ListPromptsResult::with_all_items(told.collect()))
    }

    async fn get_prompt(&self, request: GetPromptRequestParams, _: RequestContext<RoleServer>) -> Result<GetPromptResponse, ErrorData> {
        let text = prompts::get(&request.name, &request.arguments.unwrap_or_default()).map_err(fault)?;
        let messages = text.messages.into_iter().map(|message| PromptMessage::new_text(Role::User, message.content.text)).collect();
        Ok(GetPromptResult::new(messages).with_description(text.description).into())
    }

    /// The dotted names of the tools are methods of their own.
    async fn on_custom_request(&self, request: CustomRequest, context: RequestContext<RoleServer>) -> Result<CustomResult, ErrorData> {
        let (caller, lack) = Self::caller(&context)?;
        let params: Map<String, Value> = match request.params {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(ErrorData::invalid_params("params must be an object", None)),
        };
        match rpc::native(&self.0, caller, &request.method, params).await {
            Ok(result) => Ok(CustomResult::new(result)),
            Err(error) => {
                note_lack(lack, &error);
                Err(fault(error))
            }
        }
    }
}
