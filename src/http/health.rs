//! Whether the service works.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    app::App,
    domain::health,
    wire::{envelope::Envelope, problem::ProblemBody},
};

/// Check that the service can work.
///
/// The body is raw, without an envelope; 503 when the database cannot be reached.
#[utoipa::path(get, path = "/api/health", operation_id = "getHealth", tag = "operations", responses(
    (status = 200, body = Object, description = "`{status, info, error, details}`",
        example = json!({"status": "ok", "info": {"database": {"status": "up"}}, "error": {}, "details": {"database": {"status": "up"}}})),
    (status = 429, body = ProblemBody, description = "Too many requests; `Retry-After` says in how many seconds the next one is taken"),
    (status = 503, body = Object, description = "The same, with what is down",
        example = json!({"status": "error", "info": {}, "error": {"database": {"status": "down"}}, "details": {"database": {"status": "down"}}}))
))]
pub(super) async fn ready(State(app): State<App>) -> Response {
    let up = health::database(&app.pool).await;
    let state = json!({"database": {"status": if up { "up" } else { "down" }}});
    let (status, word) = if up { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "error") };
    let (info, error) = if up { (state.clone(), json!({})) } else { (json!({}), state.clone()) };
    (status, Json(json!({"status": word, "info": info, "error": error, "details": state}))).into_response()
}

/// Check that the service runs.
#[utoipa::path(get, path = "/api/health/live", operation_id = "getLiveness", tag = "operations", responses(
    (status = 200, body = Envelope<String>, example = json!({"data": "ok", "success": true, "status": 200}))
))]
pub(super) async fn live() -> Envelope<&'static str> {
    Envelope::ok("ok")
}
