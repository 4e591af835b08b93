//! REST: translates requests into domain calls and their outcome into answers.

mod access;
mod activity;
mod agents;
mod approvals;
mod assignments;
mod auth;
mod callers;
mod client;
mod console;
mod events;
mod files;
mod guard;
mod health;
mod idempotency;
mod invites;
mod keys;
mod limits;
mod neighbours;
mod problem;
mod recordings;
mod reference;
mod revocation;
mod runs;
mod runtime;
mod runtimes;
mod settings;
mod spawns;
mod terminals;
mod webhooks;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderMap, Method, Uri},
    middleware,
    routing::get,
};
use tower::{ServiceBuilder, ServiceExt as _};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use client::{Client, ClientSettings};

use crate::{app::App, wire::input};

/// Bytes of a request body at the most; no route needs more (REST contract §0.3 allows 1 MiB).
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What search engines may read: nothing, since all of it is behind a sign-in (REST contract §2.9).
const ROBOTS: &str = "User-agent: *\nDisallow: /\n";

/// Where MCP is served, and the shorter path that means the same.
const MCP: [&str; 2] = ["/api/mcp", "/mcp"];

/// A request whose path has no slash at its end and none twice, which mean nothing (REST contract §0.3), and with one
/// path for MCP.
fn plain(mut request: Request) -> Request {
    let path = request.uri().path();
    if path.trim_end_matches('/') == MCP[1] {
        *request.uri_mut() = Uri::from_static(MCP[0]);
        return request;
    }
    if !path.starts_with("/api/") || !(path.ends_with('/') || path.contains("//")) {
        return request;
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("/{}{query}", segments.join("/")).parse() {
        *request.uri_mut() = uri;
    }
    request
}

#[derive(OpenApi)]
#[openapi(
    info(title = "raven-agents", description = "The agent control plane of Raven Docs", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    servers((url = "/", description = "This service")),
    tags(
        (name = "auth", description = "Setup, sign-in, the caller's account"),
        (name = "access", description = "What agents send before they have a key"),
        (name = "agents", description = "Agents and decisions about them"),
        (name = "invites", description = "Invites by which agents register"),
        (name = "keys", description = "API keys of people and agents"),
        (name = "assignments", description = "What agents are assigned to"),
        (name = "approvals", description = "Tool calls that wait for a person"),
        (name = "settings", description = "What admins decide about agents"),
        (name = "workspace", description = "What the web UI's pages read of the workspace"),
        (name = "runs", description = "Agents on a runtime"),
        (name = "runtimes", description = "Where a workspace's agents run"),
        (name = "terminals", description = "Terminal sessions"),
        (name = "activity", description = "What happened"),
        (name = "mcp", description = "Tools for agents"),
        (name = "operations", description = "For operators and runtimes"),
    ),
    modifiers(&Security),
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer =
            |description| SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build());
        components.add_security_scheme("person", bearer("A person's access token"));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(input::SESSION_COOKIE))));
        components.add_security_scheme("agent", bearer("An agent's API key"));
        components
            .add_security_scheme("registration", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(keys::REGISTRATION_TOKEN_HEADER))));
        components.add_security_scheme("webhook", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(input::WEBHOOK_SECRET_HEADER))));
    }
}

/// Every operation with its document. `others` are the routes of other edges that speak REST too.
fn operations(others: OpenApiRouter<App>) -> OpenApiRouter<App> {
    let mut all = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(auth::set_up))
        .routes(routes!(auth::login))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::me))
        .routes(routes!(auth::public_workspace))
        .routes(routes!(access::request_access))
        .routes(routes!(access::claim))
        .routes(routes!(access::register))
        .routes(routes!(agents::list))
        .routes(routes!(agents::pending))
        .routes(routes!(agents::permissions))
        .routes(routes!(agents::available))
        .routes(routes!(agents::watchable))
        .routes(routes!(agents::get))
        .routes(routes!(agents::set_permissions))
        .routes(routes!(agents::approve))
        .routes(routes!(agents::deny))
        .routes(routes!(agents::revoke))
        .routes(routes!(invites::list, invites::create))
        .routes(routes!(invites::active))
        .routes(routes!(invites::get, invites::delete))
        .routes(routes!(invites::revoke))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::mcp_config))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::register))
        .routes(routes!(keys::hand_off))
        .routes(routes!(keys::of_agent))
        .routes(routes!(keys::rotate_agents))
        .routes(routes!(keys::revoke_agents))
        .routes(routes!(assignments::to_project))
        .routes(routes!(assignments::to_task))
        .routes(routes!(assignments::of_agent))
        .routes(routes!(assignments::end))
        .routes(routes!(assignments::on_project))
        .routes(routes!(assignments::on_task))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::confirm))
        .routes(routes!(approvals::reject))
        .routes(routes!(settings::get))
        .routes(routes!(settings::update))
        .routes(routes!(settings::runtime_health))
        .routes(routes!(settings::test_runtime))
        .routes(routes!(runtimes::list, runtimes::add))
        .routes(routes!(runtimes::update, runtimes::remove))
        .routes(routes!(spawns::spawn))
        .routes(routes!(spawns::stop))
        .routes(routes!(runs::send))
        .routes(routes!(runs::press))
        .routes(routes!(runs::logs))
        .routes(routes!(runs::output))
        .routes(routes!(runs::pause))
        .routes(routes!(runs::resume))
        .routes(routes!(runtime::spawn_callback))
        .routes(routes!(runtime::heartbeat))
        .routes(routes!(terminals::list, terminals::register))
        .routes(routes!(terminals::get, terminals::end))
        .routes(routes!(terminals::logs))
        .routes(routes!(recordings::get, recordings::delete))
        .routes(routes!(recordings::asciicast))
        .routes(routes!(recordings::text))
        .routes(routes!(recordings::of_agent))
        .routes(routes!(recordings::search))
        .routes(routes!(terminals::report_status))
        .routes(routes!(terminals::of_agent))
        .routes(routes!(terminals::viewers))
        .routes(routes!(terminals::list_shares, terminals::share))
        .routes(routes!(terminals::revoke_share))
        .routes(routes!(activity::of_workspace))
        .routes(routes!(activity::of_agent))
        .routes(routes!(activity::recent_of_agent))
        .routes(routes!(activity::of_project))
        .routes(routes!(activity::daily))
        .routes(routes!(events::stream))
        .routes(routes!(neighbours::version))
        .routes(routes!(neighbours::collab_token))
        .routes(routes!(neighbours::spaces))
        .routes(routes!(neighbours::recent_pages))
        .routes(routes!(neighbours::groups))
        .routes(routes!(neighbours::members))
        .routes(routes!(neighbours::agent_providers))
        .routes(routes!(neighbours::subscription_status))
        .routes(routes!(neighbours::integrations))
        .routes(routes!(neighbours::github_status))
        .routes(routes!(neighbours::memory_query))
        .routes(routes!(neighbours::knowledge_sources))
        .routes(routes!(neighbours::report_bug))
        .routes(routes!(health::ready))
        .routes(routes!(health::live))
        .merge(others);
    reference::complete(all.get_openapi_mut());
    all
}

/// The OpenAPI document; needs no database.
#[must_use]
pub fn document(others: OpenApiRouter<App>) -> utoipa::openapi::OpenApi {
    operations(others).into_openapi()
}

/// Everything that is served over plain HTTP. A `client` takes the console's place.
pub fn router(app: App, others: OpenApiRouter<App>, client: Option<Client>) -> Router {
    let (api, document) = operations(others).split_for_parts();
    let api = api.merge(reference::routes(&document)).route("/robots.txt", get(ROBOTS));
    let pages = match client.map(Arc::new) {
        Some(client) => api.fallback(async move |method: Method, uri: Uri, asked: HeaderMap| client.serve(method, uri, asked).await),
        None => api.fallback(console::serve),
    };
    let limits = app.settings.rate_limits.as_ref().map(|limits| Arc::new(limits::Limits::new(limits)));
    let cross_origin = (!app.settings.cors_origins.is_empty()).then(|| guard::cross_origin(&app.settings.cors_origins));
    // As one layer: each one that a router is given by itself is allocated anew with every request.
    let passed = ServiceBuilder::new()
        .layer(middleware::from_fn(guard::security_headers))
        .layer(middleware::from_fn(problem::render))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(problem::panicked))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), webhooks::check))
        // Before anything that asks the database.
        .layer(middleware::from_fn_with_state((app.clone(), limits), limits::keep))
        .layer(middleware::from_fn(guard::whole))
        .layer(middleware::from_fn_with_state(app.clone(), guard::same_origin))
        .layer(middleware::from_fn_with_state(app.clone(), guard::workspace_exists))
        .layer(middleware::from_fn_with_state(app.clone(), webhooks::once))
        .layer(middleware::from_fn_with_state(app.clone(), idempotency::once));
    let router = pages.method_not_allowed_fallback(problem::method_not_allowed).layer(passed).with_state(app);
    let router = Router::new().fallback(async move |request: Request| router.oneshot(plain(request)).await);
    // A browser asks before it sends; that goes no further than here.
    match cross_origin {
        Some(cross_origin) => router.layer(cross_origin),
        None => router,
    }
}
