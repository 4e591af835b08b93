//! The door of the protocol: streamable HTTP, stateless, one JSON answer per request (decision 0037).

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock, OnceLock},
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{OriginalUri, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use http_body_util::Full;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest, CustomResult, ErrorCode,
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation, ListPromptsResult, ListResourceTemplatesResult,
        ListResourcesResult, ListToolsResult, PaginatedRequestParams, Prompt, PromptArgument, PromptMessage, ProtocolVersion,
        ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, RequestId, Resource, ResourceContents, Role,
        ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
    },
    service::RequestContext,
    transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager},
};
use serde_json::{Value, json};

use super::{
    BODY_BYTES_MAX, answers, authorization,
    catalogue::{self, Entry, ToolError},
    listing, pipeline, prompts, resources, rpc,
};
use crate::{
    app::App,
    model::actor::KeyHolder,
    wire::{input, problem::Problem},
};

/// Versions of the protocol that are spoken. Clients of earlier ones have the JSON-RPC door.
static VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];
/// Says which version a request is in.
const VERSION: &str = "mcp-protocol-version";
/// From this version on a missing permission is told with 403, and clients know what to do about it.
const SCOPES_SINCE: &str = "2025-11-25";
/// The oldest version that is spoken. Before it several calls could be sent at once.
const OLDEST: &str = "2025-06-18";
/// What a request is told whose version is not spoken here.
const OTHER_VERSION: &str = "MCP-Protocol-Version must be 2025-06-18, 2025-11-25 or 2026-07-28";

/// Answers a request of the streamable door.
pub(super) async fn serve(State(app): State<App>, OriginalUri(uri): OriginalUri, request: Request) -> Response {
    let path = uri.path().to_owned();
    let (caller, mut parts, body) = match taken(&app, &path, request).await {
        Ok(taken) => taken,
        Err(refused) => return refused,
    };
    let version = parts.headers.get(VERSION).and_then(|version| version.to_str().ok()).unwrap_or_default().to_owned();
    if !version.is_empty() && version.as_str() < OLDEST {
        return Problem::new(StatusCode::BAD_REQUEST, "UNSUPPORTED_PROTOCOL_VERSION", OTHER_VERSION).into_response();
    }
    if parts.method == Method::POST && version.is_empty() && body.trim_ascii_start().starts_with(b"[") {
        return answered(Box::pin(rpc::answer(&app, &caller, &parts.headers, &body)).await);
    }
    accept_both(&mut parts.headers);
    let is_said_to_be_json = input::is_json(&parts.headers);
    let refusal = Refusal { has_status: version.as_str() >= SCOPES_SINCE, said: Arc::default() };
    parts.extensions.insert(caller);
    parts.extensions.insert(refusal.clone());
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
    let response = Box::pin(service.handle(Request::from_parts(parts, Full::new(body.clone())))).await.map(Body::new);
    if let Some(said) = refusal.said.get() {
        let response = Json(&said.answer).into_response();
        return match &said.scope {
            Some(scope) if refusal.has_status => authorization::insufficient_scope(&app, &path, scope, response),
            Some(_) | None => response,
        };
    }
    // What its parser makes nothing of is looked at here; what is good is parsed once.
    if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE && is_said_to_be_json {
        return (StatusCode::BAD_REQUEST, Json(rpc::refusal(&body))).into_response();
    }
    in_our_shape(response)
}

/// Answers plain JSON-RPC.
pub(super) async fn plain(State(app): State<App>, OriginalUri(uri): OriginalUri, request: Request) -> Response {
    match taken(&app, uri.path(), request).await {
        Ok((caller, parts, body)) => answered(rpc::answer(&app, &caller, &parts.headers, &body).await),
        Err(refused) => refused,
    }
}

/// A request taken apart, and whoever its key speaks for now that all of it is there: what has been withdrawn while a body
/// was on its way counts no more. Nobody without a good key has a body read.
async fn taken(app: &App, path: &str, request: Request) -> Result<(KeyHolder, Parts, Bytes), Response> {
    holder(app, path, request.headers()).await?;
    let (parts, body) = input::taken(request).await.map_err(IntoResponse::into_response)?;
    Ok((holder(app, path, &parts.headers).await?, parts, body))
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

/// A refusal of the SDK that is plain text, in the shape of all others.
fn in_our_shape(mut response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (code, message) = match status {
        StatusCode::BAD_REQUEST => ("UNSUPPORTED_PROTOCOL_VERSION", OTHER_VERSION),
        StatusCode::METHOD_NOT_ALLOWED => ("METHOD_NOT_ALLOWED", "there are no streams to open and no sessions to end: send POST"),
        StatusCode::NOT_ACCEPTABLE => ("NOT_ACCEPTABLE", "answers are application/json, which Accept must allow"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("CONTENT_TYPE", "the body must be sent as application/json"),
        _ => ("INTERNAL", "something went wrong on the server"),
    };
    let mut told = Problem::new(status, code, message).into_response();
    if let Some(allowed) = response.headers_mut().remove(header::ALLOW) {
        told.headers_mut().insert(header::ALLOW, allowed);
    }
    told
}

/// That a call is not allowed, for an answer of our own. The SDK would give it neither the status that it has since
/// 2025-11-25 nor, in requests of 2026-07-28, its code.
#[derive(Clone)]
struct Refusal {
    /// Whether a missing permission has a status in the request's version.
    has_status: bool,
    said: Arc<OnceLock<Said>>,
}

struct Said {
    /// The permission that was missing, if that was it.
    scope: Option<String>,
    answer: Value,
}

impl Refusal {
    /// An error for the SDK; what is not allowed is kept.
    fn told(&self, id: &RequestId, error: ToolError) -> ErrorData {
        if error.code == catalogue::code::PERMISSION_DENIED {
            let scope = pipeline::lacking(&error).first().map(|scope| (*scope).to_owned());
            self.said.get_or_init(|| Said { scope, answer: rpc::failed(&json!(id), &error) });
        }
        fault(error)
    }
}

/// What the SDK asks.
#[derive(Clone)]
struct Door(App);

impl Door {
    /// Who calls, as proven before the SDK saw the request.
    fn caller(context: &RequestContext<RoleServer>) -> Result<(&KeyHolder, &Refusal), ErrorData> {
        let proven = context.extensions.get::<Parts>().map(|parts| &parts.extensions);
        let caller = proven.and_then(|proven| Some((proven.get::<KeyHolder>()?, proven.get::<Refusal>()?)));
        caller.ok_or_else(|| ErrorData::internal_error("nobody is known to call", None))
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

/// Lists have one page.
fn first_page(asked: Option<PaginatedRequestParams>) -> Result<(), ErrorData> {
    asked.and_then(|asked| asked.cursor).map_or(Ok(()), |_| Err(fault(rpc::no_such_page())))
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
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        first_page(asked)?;
        let (caller, _) = Self::caller(&context)?;
        let allowed = listing::allowed(&self.0, Some(caller)).await.map_err(fault)?;
        let is_allowed = |tool: &&Tool| allowed.iter().any(|entry| entry.tool.name == tool.name);
        Ok(ListToolsResult::with_all_items(TOOLS.iter().filter(is_allowed).cloned().collect()))
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let (caller, refusal) = Self::caller(&context)?;
        let done = pipeline::call(&self.0, caller, &request.name, request.arguments.unwrap_or_default()).await;
        // Clients take nothing but an error from an answer of this status.
        let done = match done {
            Err(error) if refusal.has_status && !pipeline::lacking(&error).is_empty() => return Err(refusal.told(&context.id, error)),
            done => done,
        };
        let result = answers::tool_result(done);
        let content = result.content.into_iter().map(|content| ContentBlock::text(content.text)).collect();
        let result = if result.is_error { CallToolResult::error(content) } else { CallToolResult::success(content) };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        asked: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        first_page(asked)?;
        let (caller, _) = Self::caller(&context)?;
        let found = resources::list(&self.0, caller).await.map_err(fault)?;
        let told = found.into_iter().map(|resource| {
            Resource::new(resource.uri, resource.name).with_description(resource.description).with_mime_type(resource.mime_type)
        });
        Ok(ListResourcesResult::with_all_items(told.collect()))
    }

    async fn list_resource_templates(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        first_page(asked)?;
        Ok(ListResourceTemplatesResult::default())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let (caller, refusal) = Self::caller(&context)?;
        match resources::read(&self.0, caller, &request.uri).await {
            Ok(content) => {
                let told = ResourceContents::text(content.text, content.uri).with_mime_type(content.mime_type);
                Ok(ReadResourceResult::new(vec![told]).into())
            }
            Err(error) => Err(refusal.told(&context.id, error)),
        }
    }

    async fn list_prompts(
        &self,
        asked: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        first_page(asked)?;
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

    /// The dotted names of the tools are methods of their own. A method of the protocol comes here when its parameters
    /// could not be read.
    async fn on_custom_request(&self, request: CustomRequest, context: RequestContext<RoleServer>) -> Result<CustomResult, ErrorData> {
        let (caller, refusal) = Self::caller(&context)?;
        let params = rpc::params(request.params).map_err(fault)?;
        if let Some(error) = rpc::misfit(&request.method, &params) {
            return Err(fault(error));
        }
        let done = rpc::native(&self.0, caller, &request.method, params).await;
        done.map(CustomResult::new).map_err(|error| refusal.told(&context.id, error))
    }
}
