//! How a client learns what to present (RFC 9728, RFC 6750): a key, in a header.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    domain::keys,
    model::{actor::KeyHolder, origin, permission, secret::Secret},
    wire::{input, problem::Problem},
};

/// Where RFC 9728 puts the metadata of a resource, before the resource's own path.
const METADATA: &str = "/.well-known/oauth-protected-resource";
/// Paths of the doors that name their metadata to whoever has no good key. The first is told where a request's is none.
const RESOURCES: [&str; 3] = ["/api/mcp", "/mcp", "/api/mcp-standard"];

/// The routes of the metadata.
pub(super) fn routes() -> Router<App> {
    Router::new().route(METADATA, get(of_default)).route(&format!("{METADATA}/{{*path}}"), get(of_path))
}

async fn of_default(State(app): State<App>) -> Json<Value> {
    Json(metadata(&app, RESOURCES[0]))
}

async fn of_path(State(app): State<App>, Path(path): Path<String>) -> Result<Json<Value>, Problem> {
    let resource = resource(&path).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such resource"))?;
    Ok(Json(metadata(&app, resource)))
}

/// The resource at a path, whose slashes at its end and twice mean nothing (REST contract §0.3).
fn resource(path: &str) -> Option<&'static str> {
    RESOURCES.into_iter().find(|resource| segments(resource).eq(segments(path)))
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// No authorization server is named, since there is none: an admin decides about an agent and it gets a key.
fn metadata(app: &App, path: &str) -> Value {
    let url = &app.settings.app_url;
    let scopes: Vec<&str> = permission::CATALOGUE.iter().map(|permission| permission.id).collect();
    json!({
        "resource": format!("{url}{path}"),
        "resource_name": "raven-agents",
        "bearer_methods_supported": ["header"],
        "scopes_supported": scopes,
        "resource_documentation": format!("{url}/api/docs"),
    })
}

/// Whoever a key in the headers speaks for; `None` when there is no key.
///
/// Errors: a key that is not good, or a fault of ours.
pub(super) async fn holder(app: &App, headers: &HeaderMap) -> Result<Option<KeyHolder>, Problem> {
    let Some(key) = input::api_key(headers) else { return Ok(None) };
    let found = keys::verify(&app.pool, &app.clock, &app.access_cache, &app.policy, &Secret::presented(key)).await?;
    found.map(Some).ok_or_else(Problem::unauthorized)
}

/// Whether a browser's page may speak to the streamable door: only one of our own address or of `CORS_ORIGINS`. A name
/// that was pointed at this host for the occasion is neither.
pub(super) fn is_known_origin(app: &App, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    origin::is_own(origin, None, &app.settings.app_url, &app.settings.cors_origins)
}

/// 401 that says where the metadata of the resource at `path` is.
pub(super) fn unauthorized(app: &App, path: &str, presented: bool) -> Response {
    let mut response = Problem::unauthorized().into_response();
    let error = if presented { r#"error="invalid_token", "# } else { "" };
    challenge(app, path, error, &mut response);
    response
}

/// Makes an answer a 403 that names the scope that is missing.
pub(super) fn insufficient_scope(app: &App, path: &str, scope: &str, mut response: Response) -> Response {
    *response.status_mut() = StatusCode::FORBIDDEN;
    challenge(app, path, &format!(r#"error="insufficient_scope", scope="{scope}", "#), &mut response);
    response
}

fn challenge(app: &App, path: &str, error: &str, response: &mut Response) {
    let resource = resource(path).unwrap_or(RESOURCES[0]);
    let text = format!(r#"Bearer {error}resource_metadata="{}{METADATA}{resource}""#, app.settings.app_url);
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
}
