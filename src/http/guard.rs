//! What every request passes: a workspace must exist, and a browser must not be led astray.

use std::sync::atomic::Ordering;

use axum::{
    body::HttpBody as _,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{idempotency, input, limits, problem::REQUEST_ID, reference};
use crate::{app::App, domain::workspaces, wire::problem::Problem};

/// API paths that work before there is a workspace (REST contract §1.3).
const WITHOUT_WORKSPACE: [&str; 5] = ["/api/auth/setup", "/api/health", "/api/mcp-standard", reference::DOCUMENT, reference::PAGE];

/// The text by which the web UI knows to offer the setup.
pub(super) fn no_workspace() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "WORKSPACE_NOT_FOUND", "Workspace not found")
}

/// Answers 404 to API calls until the first workspace is set up. Once seen, it is not looked for again.
pub(super) async fn workspace_exists(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let needs_one = path.starts_with("/api/") && !WITHOUT_WORKSPACE.iter().any(|prefix| path.starts_with(prefix));
    if needs_one && !app.workspace_seen.load(Ordering::Relaxed) {
        let found = async { workspaces::resolve(&mut *app.read().await?, None).await };
        match found.await {
            Ok(Some(_)) => app.workspace_seen.store(true, Ordering::Relaxed),
            Ok(None) => return no_workspace().into_response(),
            Err(error) => return Problem::from(error).into_response(),
        }
    }
    next.run(request).await
}

/// Refuses changes that another site's page makes (D-63), with our cookie or to get one: a browser says
/// where the page came from. A request that proves itself in a header is no browser's own.
pub(super) async fn same_origin(State(app): State<App>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let by_cookie = input::bearer(headers).is_none() && input::cookie(headers, input::SESSION_COOKIE).is_some();
    let proven = input::api_key(headers).is_some() || headers.contains_key(input::WEBHOOK_SECRET_HEADER);
    if changes && !proven && !input::is_own_origin(headers, &app.settings.app_url, &app.settings.cors_origins) {
        return Problem::new(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN", "the request comes from another site").into_response();
    }
    // A form of another site cannot send JSON without a browser asking us first.
    if changes && by_cookie && !input::is_json(headers) && !request.body().is_end_stream() {
        return Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "CONTENT_TYPE", "the body must be sent as application/json")
            .into_response();
    }
    next.run(request).await
}

/// Has a request here whole before anybody is asked who sends it: whoever lost a right while the body was on its way has
/// lost it. MCP, whose bodies are longer, sees to that itself once a key is known to be good.
pub(super) async fn whole(request: Request, next: Next) -> Result<Response, Problem> {
    if request.uri().path().starts_with(super::MCP[0]) {
        return Ok(next.run(request).await);
    }
    let (request, _) = input::buffered(request).await?;
    Ok(next.run(request).await)
}

/// What clients of MCP send besides, in a browser too.
const MCP_HEADERS: [&str; 4] = ["mcp-protocol-version", "mcp-method", "mcp-name", "x-api-key"];

/// Lets pages of `origins` use the API from a browser, with the cookie (REST contract §1.8).
pub(super) fn cross_origin(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect();
    let [request_id, workspace_id] = [REQUEST_ID, "x-workspace-id"].map(HeaderName::from_static);
    let own = [header::CONTENT_TYPE, header::ACCEPT, header::AUTHORIZATION, idempotency::KEY, request_id.clone(), workspace_id];
    let allowed: Vec<HeaderName> = own.into_iter().chain(MCP_HEADERS.map(HeaderName::from_static)).collect();
    let told =
        [header::WWW_AUTHENTICATE, request_id, limits::LIMIT, limits::REMAINING, limits::RESET, header::RETRY_AFTER, idempotency::REPLAYED];
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::POST, Method::DELETE, Method::OPTIONS])
        .allow_headers(allowed)
        .expose_headers(told)
}

/// Headers that keep a browser from doing more with our answers than meant.
pub(super) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    // A client that was dropped in brings its own.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(
        HeaderValue::from_static(
            "default-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; img-src 'self' data: https:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
    );
    response
}
