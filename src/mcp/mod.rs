//! MCP: tools, resources and prompts for agents. Three doors lead into one pipeline: the streamable one of the
//! protocol, JSON-RPC, and one REST operation per method.

mod answers;
mod authorization;
mod catalogue;
mod listing;
mod pipeline;
mod prompts;
mod resources;
mod rpc;
mod standard;
mod streamable;
mod tools;

use axum::{
    extract::DefaultBodyLimit,
    routing::{any, post},
};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

/// Bytes of a request's body at the most (REST contract §0.3): a page is written with one call.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The routes of this edge.
pub fn routes() -> OpenApiRouter<App> {
    let doors = axum::Router::new()
        .route("/api/mcp", any(streamable::serve))
        .route("/api/mcp-standard", post(streamable::plain))
        .merge(authorization::routes());
    standard::routes().merge(OpenApiRouter::from(doors)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}
