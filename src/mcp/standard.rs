//! MCP as one REST operation per method, as Raven Docs and its bridge speak it (REST contract §5.1, §5.2).

use axum::{
    extract::{FromRequest, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::{
    answers, authorization,
    catalogue::{Category, ToolError, code},
    listing::{self, Wanted},
    pipeline, prompts, resources,
};
use crate::{
    app::App,
    model::actor::KeyHolder,
    wire::{
        input::{self, Body},
        mcp::FoundTools,
        mcp::{
            Anything, CallTool, Categories, CategoryTools, Completion, GetPrompt, Initialized, ListTools, NameCategory, NameResource,
            PromptText, Prompts, Reply, ResourceContents, Resources, SearchTools, Subscribed, ToolResult, Tools, Unsubscribed,
        },
        problem::{Problem, ProblemBody},
    },
};

/// Where this door is.
const DOOR: &str = "/api/mcp-standard";
/// The version of MCP whose bodies these are.
const PROTOCOL_VERSION: &str = "2024-11-05";

/// The routes of this door.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(initialize))
        .routes(routes!(list_tools))
        .routes(routes!(search_tools))
        .routes(routes!(list_categories))
        .routes(routes!(get_tools_by_category))
        .routes(routes!(call_tool))
        .routes(routes!(list_resources))
        .routes(routes!(read_resource))
        .routes(routes!(subscribe))
        .routes(routes!(unsubscribe))
        .routes(routes!(complete))
        .routes(routes!(list_prompts))
        .routes(routes!(get_prompt))
}

/// Greet the server.
///
/// Needs no key.
#[utoipa::path(post, path = "/api/mcp-standard/initialize", operation_id = "mcpInitialize", tag = "mcp", request_body = Option<Anything>,
    responses((status = 200, body = Reply<Initialized>), (status = 400, body = ProblemBody, description = "The body is no object")))]
async fn initialize(_: Body<Anything>) -> Reply<Initialized> {
    let mut greeting = answers::initialized(PROTOCOL_VERSION);
    // As Raven Docs says of itself; no operation of either sets a level.
    greeting.capabilities["logging"] = json!({});
    Reply::ok(greeting)
}

/// List tools.
///
/// Without a key all there are, with one those that it may call.
#[utoipa::path(post, path = "/api/mcp-standard/list_tools", operation_id = "mcpListTools", tag = "mcp", security((), ("agent" = [])),
    request_body = Option<ListTools>, responses(
    (status = 200, body = Reply<Tools>),
    (status = 400, body = ProblemBody, description = "The body breaks a rule, or there is no such category"),
    (status = 401, body = ProblemBody, description = "A key that is not good"),
))]
async fn list_tools(State(app): State<App>, MaybeKeyed(caller, body): MaybeKeyed<ListTools>) -> Result<Reply<Tools>, Problem> {
    let category = body.category.as_deref().map(category).transpose()?;
    let mut tools = listing::allowed(&app, caller.as_ref()).await.map_err(problem)?;
    tools.retain(|entry| category.is_none_or(|category| entry.tool.category == category));
    Ok(Reply::ok(Tools { tools: tools.into_iter().map(listing::describe).collect() }))
}

/// Look for tools.
///
/// The best fit comes first. Without a key among all tools, with one among those that it may call.
#[utoipa::path(post, path = "/api/mcp-standard/search_tools", operation_id = "mcpSearchTools", tag = "mcp", security((), ("agent" = [])),
    request_body = Option<SearchTools>, responses(
    (status = 200, body = Reply<FoundTools>),
    (status = 400, body = ProblemBody, description = "The body breaks a rule, or there is no such category"),
    (status = 401, body = ProblemBody, description = "A key that is not good"),
))]
async fn search_tools(State(app): State<App>, MaybeKeyed(caller, body): MaybeKeyed<SearchTools>) -> Result<Reply<FoundTools>, Problem> {
    let tools = listing::allowed(&app, caller.as_ref()).await.map_err(problem)?;
    let wanted = Wanted {
        query: body.query.as_deref().unwrap_or_default(),
        category: body.category.as_deref().map(category).transpose()?,
        tags: body.tags.iter().flatten().map(String::as_str).collect(),
        limit: body.limit.map_or(listing::FOUND, |limit| limit as usize),
    };
    Ok(Reply::ok(listing::search(&tools, &wanted)))
}

/// List the categories of tools.
///
/// Without a key with the numbers of all tools, with one of those that it may call.
#[utoipa::path(post, path = "/api/mcp-standard/list_categories", operation_id = "mcpListCategories", tag = "mcp",
    security((), ("agent" = [])), request_body = Option<Anything>, responses(
    (status = 200, body = Reply<Categories>),
    (status = 400, body = ProblemBody, description = "The body is no object"),
    (status = 401, body = ProblemBody, description = "A key that is not good"),
))]
async fn list_categories(State(app): State<App>, MaybeKeyed(caller, _): MaybeKeyed<Anything>) -> Result<Reply<Categories>, Problem> {
    let tools = listing::allowed(&app, caller.as_ref()).await.map_err(problem)?;
    Ok(Reply::ok(Categories { categories: listing::categories(&tools) }))
}

/// List the tools of a category.
#[utoipa::path(post, path = "/api/mcp-standard/get_tools_by_category", operation_id = "mcpGetToolsByCategory", tag = "mcp",
    security((), ("agent" = [])), request_body = NameCategory, responses(
    (status = 200, body = Reply<CategoryTools>),
    (status = 400, body = ProblemBody, description = "The body breaks a rule, or there is no such category"),
    (status = 401, body = ProblemBody, description = "A key that is not good"),
))]
async fn get_tools_by_category(
    State(app): State<App>,
    MaybeKeyed(caller, body): MaybeKeyed<NameCategory>,
) -> Result<Reply<CategoryTools>, Problem> {
    let category = category(&body.category)?;
    let mut tools = listing::allowed(&app, caller.as_ref()).await.map_err(problem)?;
    tools.retain(|entry| entry.tool.category == category);
    Ok(Reply::ok(CategoryTools { category: listing::brief(category), tools: tools.into_iter().map(listing::describe).collect() }))
}

/// Call a tool.
///
/// The result is there as MCP clients read it, and again in an envelope. A tool that fails answers
/// 200 with `isError` and a text `{code, message, data}`.
#[utoipa::path(post, path = "/api/mcp-standard/call_tool", operation_id = "callTool", tag = "mcp", security(("agent" = [])),
    request_body = CallTool, responses(
    (status = 200, body = Reply<ToolResult>),
    (status = 400, body = ProblemBody, description = "The body breaks a rule"),
    (status = 401, body = ProblemBody, description = "No key, or one that is not good"),
    (status = 413, body = ProblemBody, description = "The body is longer than 1 MiB"),
    (status = 429, body = ProblemBody, description = "Too many requests; `Retry-After` says in how many seconds the next one is taken"),
    (status = 503, body = ProblemBody, description = "The database cannot be reached; try again"),
))]
async fn call_tool(State(app): State<App>, Keyed(caller, body): Keyed<CallTool>) -> Reply<ToolResult> {
    Reply::ok(answers::tool_result(pipeline::call(&app, &caller, &body.name, body.arguments).await))
}

/// List resources.
#[utoipa::path(post, path = "/api/mcp-standard/list_resources", operation_id = "mcpListResources", tag = "mcp", security(("agent" = [])),
    request_body = Option<Anything>, responses(
    (status = 200, body = Reply<Resources>),
    (status = 400, body = ProblemBody, description = "The body is no object"),
    (status = 401, body = ProblemBody, description = "No key, or one that is not good"),
))]
async fn list_resources(State(app): State<App>, Keyed(caller, _): Keyed<Anything>) -> Result<Reply<Resources>, Problem> {
    Ok(Reply::ok(Resources { resources: resources::list(&app, &caller).await.map_err(problem)? }))
}

/// Read a resource.
///
/// Where a person has to approve it, it is read again once that is done, with `?approvalId=` and the id behind its address.
#[utoipa::path(post, path = "/api/mcp-standard/read_resource", operation_id = "mcpReadResource", tag = "mcp", security(("agent" = [])),
    request_body = NameResource, responses(
    (status = 200, body = Reply<ResourceContents>),
    (status = 400, body = ProblemBody, description = "The body breaks a rule"),
    (status = 401, body = ProblemBody, description = "No key, or one that is not good"),
    (status = 403, body = ProblemBody, description = "A permission is missing, or an approval; `data` says which, and how to go on"),
    (status = 404, body = ProblemBody, description = "There is no such resource"),
))]
async fn read_resource(State(app): State<App>, Keyed(caller, body): Keyed<NameResource>) -> Result<Reply<ResourceContents>, Response> {
    let content = resources::read(&app, &caller, &body.uri).await.map_err(|error| {
        let scope = pipeline::lacking(&error).first().map(|scope| (*scope).to_owned());
        let refused = problem(error).into_response();
        match scope {
            Some(scope) => authorization::insufficient_scope(&app, DOOR, &scope, refused),
            None => refused,
        }
    })?;
    Ok(Reply::ok(ResourceContents { contents: vec![content] }))
}

/// Subscribe to a resource.
///
/// Nothing follows from it: resources are read, not watched. Events tell what changes.
#[utoipa::path(post, path = "/api/mcp-standard/subscribe", operation_id = "mcpSubscribe", tag = "mcp", security(("agent" = [])),
    request_body = NameResource, responses(
    (status = 200, body = Reply<Subscribed>),
    (status = 400, body = ProblemBody, description = "The body breaks a rule"),
    (status = 401, body = ProblemBody, description = "No key, or one that is not good"),
))]
async fn subscribe(_: Keyed<NameResource>) -> Reply<Subscribed> {
    Reply::ok(Subscribed { subscribed: true })
}

/// Unsubscribe from a resource.
#[utoipa::path(post, path = "/api/mcp-standard/unsubscribe", operation_id = "mcpUnsubscribe", tag = "mcp", security(("agent" = [])),
    request_body = NameResource, responses(
    (status = 200, body = Reply<Unsubscribed>),
    (status = 400, body = ProblemBody, description = "The body breaks a rule"),
    (status = 401, body = ProblemBody, description = "No key, or one that is not good"),
))]
async fn unsubscribe(_: Keyed<NameResource>) -> Reply<Unsubscribed> {
    Reply::ok(Unsubscribed { unsubscribed: true })
}

/// Complete an argument.
///
/// No values are known for any.
#[utoipa::path(post, path = "/api/mcp-standard/complete", operation_id = "mcpComplete", tag = "mcp", security(("agent" = [])),
    request_body = Option<Anything>, responses(
    (status = 200, body = Reply<Completion>),
    (status = 400, body = ProblemBody, description = "The body is no object"),
    (status = 401, body = ProblemBody, description = "No key, or one that is not good"),
))]
async fn complete(_: Keyed<Anything>) -> Reply<Completion> {
    Reply::ok(Completion::none())
}

/// List prompts.
#[utoipa::path(post, path = "/api/mcp-standard/list_prompts", operation_id = "mcpListPrompts", tag = "mcp", security(("agent" = [])),
    request_body = Option<Anything>, responses(
    (status = 200, body = Reply<Prompts>),
    (status = 400, body = ProblemBody, description = "The body is no object"),
    (status = 401, body = ProblemBody, description = "No key, or one that is not good"),
))]
async fn list_prompts(_: Keyed<Anything>) -> Reply<Prompts> {
    Reply::ok(Prompts { prompts: prompts::list() })
}

/// Get a prompt.
#[utoipa::path(post, path = "/api/mcp-standard/get_prompt", operation_id = "mcpGetPrompt", tag = "mcp", security(("agent" = [])),
    request_body = GetPrompt, responses(
    (status = 200, body = Reply<PromptText>),
    (status = 400, body = ProblemBody, description = "The body breaks a rule, there is no such prompt, or an argument is missing"),
    (status = 401, body = ProblemBody, description = "No key, or one that is not good"),
))]
async fn get_prompt(keyed: Keyed<GetPrompt>) -> Result<Reply<PromptText>, Problem> {
    let Keyed(_, body) = keyed;
    prompts::get(&body.name, &body.arguments).map(Reply::ok).map_err(problem)
}

fn category(id: &str) -> Result<Category, Problem> {
    Category::find(id).ok_or_else(|| Problem::invalid("category", "must be the id of a category"))
}

/// An error of what is no tool call, as these operations answer it.
fn problem(error: ToolError) -> Problem {
    let (status, name) = match error.code {
        code::NOT_FOUND => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        code::PERMISSION_DENIED | code::APPROVAL_REQUIRED => (StatusCode::FORBIDDEN, "FORBIDDEN"),
        code::EXISTS => (StatusCode::CONFLICT, "CONFLICT"),
        code::SERVER => (StatusCode::SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE"),
        code::INTERNAL => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        _ => (StatusCode::BAD_REQUEST, "VALIDATION_FAILED"),
    };
    let problem = Problem::new(status, name, error.message);
    match error.data {
        Some(data) => problem.with(data),
        None => problem,
    }
}

/// A body, and whoever an API key in `Authorization: Bearer` or `X-API-Key` speaks for once all of it is there. Nobody
/// without a good key has it read.
struct Keyed<T>(KeyHolder, T);

impl<T: DeserializeOwned + Validate + Send> FromRequest<App> for Keyed<T> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        if input::api_key(request.headers()).is_none() {
            return Err(authorization::unauthorized(app, DOOR, false));
        }
        let MaybeKeyed(caller, body) = MaybeKeyed::from_request(request, app).await?;
        Ok(Self(caller.ok_or_else(|| authorization::unauthorized(app, DOOR, false))?, body))
    }
}

/// As [`Keyed`], where there is a key.
struct MaybeKeyed<T>(Option<KeyHolder>, T);

impl<T: DeserializeOwned + Validate + Send> FromRequest<App> for MaybeKeyed<T> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let headers = request.headers().clone();
        holder(app, &headers).await?;
        let Body(body) = Body::from_request(request, app).await.map_err(IntoResponse::into_response)?;
        Ok(Self(holder(app, &headers).await?, body))
    }
}

async fn holder(app: &App, headers: &HeaderMap) -> Result<Option<KeyHolder>, Response> {
    authorization::holder(app, headers).await.map_err(|problem| match problem.status {
        StatusCode::UNAUTHORIZED => authorization::unauthorized(app, DOOR, true),
        _ => problem.into_response(),
    })
}
