//! Tools for agents. So far the plain HTTP door `call_tool`; every door goes through [`call`].

mod tools;

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    domain::keys,
    model::{actor::KeyHolder, secret::Secret},
    wire::{
        input,
        mcp::{CallTool, ToolReply},
        problem::{Problem, ProblemBody},
    },
};

/// The routes of this edge.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(call_tool))
}

/// Call a tool.
///
/// The result is there as MCP clients read it, and again in an envelope. A tool that fails answers
/// 200 with `isError` and a text `{code, message}`.
#[utoipa::path(post, path = "/api/mcp-standard/call_tool", operation_id = "callTool", tag = "mcp", security(("agent" = [])),
    request_body = CallTool, responses(
    (status = 200, body = ToolReply),
    (status = 400, body = ProblemBody, description = "The body breaks a rule"),
    (status = 401, body = ProblemBody, description = "No key, or one that is not good"),
    (status = 413, body = ProblemBody, description = "The body is longer than 64 KiB"),
    (status = 429, body = ProblemBody, description = "Too many requests; `Retry-After` says in how many seconds the next one is taken"),
    (status = 503, body = ProblemBody, description = "The database cannot be reached; try again"),
))]
async fn call_tool(State(app): State<App>, Key(caller): Key, body: input::Body<CallTool>) -> Result<Json<ToolReply>, Problem> {
    let result = tools::call(&app, &caller, &body.0.name, &body.0.arguments).await?;
    Ok(Json(ToolReply { data: result.clone(), result, success: true, status: 200 }))
}

/// Whoever an API key in `Authorization: Bearer` or `X-API-Key` speaks for.
struct Key(KeyHolder);

impl axum::extract::FromRequestParts<App> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &App) -> Result<Self, Problem> {
        let key = input::api_key(&parts.headers).map(Secret::presented).ok_or_else(Problem::unauthorized)?;
        let holder = keys::verify(&app.pool, &app.clock, &app.access_cache, &app.policy, &key).await?;
        holder.map(Self).ok_or_else(Problem::unauthorized)
    }
}
