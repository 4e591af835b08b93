//! What neighbouring pages of the web UI call (REST contract §2.9, §8.5).

use axum::extract::State;

use super::{callers::Member, input::Body};
use crate::{
    app::App,
    domain::{auth, spaces},
    wire::{
        envelope::Envelope,
        lists::{Group, List, ListRequest, Member as ListedMember, RecentPage, RecentPagesRequest, Space},
        neighbours::{AgentProviders, BugReport, CollabToken, IntegrationStatus, Integrations, ReportBug, SubscriptionStatus, Version},
        problem::{PersonErrors, Problem},
    },
};

/// Get the version.
///
/// The latest version is empty: the service never calls out for it.
#[utoipa::path(post, path = "/api/version", operation_id = "getVersion", tag = "operations", security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Version>), PersonErrors))]
pub(super) async fn version(_: Member) -> Envelope<Version> {
    Envelope::ok(Version::CURRENT)
}

/// Get a token for the collaboration server.
#[utoipa::path(post, path = "/api/auth/collab-token", operation_id = "getCollabToken", tag = "auth",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<CollabToken>), PersonErrors))]
pub(super) async fn collab_token(State(app): State<App>, Member(person): Member) -> Envelope<CollabToken> {
    Envelope::ok(CollabToken { token: auth::collab_token(&app.tokens, &app.clock, &person) })
}

/// List the caller's spaces.
#[utoipa::path(post, path = "/api/spaces", operation_id = "listSpaces", tag = "workspace", security(("person" = []), ("cookie" = [])),
    request_body = Option<ListRequest>, responses((status = 200, body = Envelope<List<Space>>), PersonErrors))]
pub(super) async fn spaces(
    State(app): State<App>,
    Member(person): Member,
    Body(body): Body<ListRequest>,
) -> Result<Envelope<List<Space>>, Problem> {
    let request = body.request();
    let page = spaces::list(&mut *app.read().await?, &person, &request).await?;
    Ok(Envelope::ok(List::of(page.items, page.has_next, &request)))
}

/// List pages that changed recently.
///
/// Of all spaces that the caller belongs to, or of one.
#[utoipa::path(post, path = "/api/pages/recent", operation_id = "listRecentPages", tag = "workspace",
    security(("person" = []), ("cookie" = [])), request_body = Option<RecentPagesRequest>,
    responses((status = 200, body = Envelope<List<RecentPage>>), PersonErrors))]
pub(super) async fn recent_pages(
    State(app): State<App>,
    Member(person): Member,
    Body(body): Body<RecentPagesRequest>,
) -> Result<Envelope<List<RecentPage>>, Problem> {
    let request = body.request();
    let page = spaces::recent_pages(&mut *app.read().await?, &person, body.space_id, &request).await?;
    Ok(Envelope::ok(List::of(page.items, page.has_next, &request)))
}

/// List groups.
#[utoipa::path(post, path = "/api/groups", operation_id = "listGroups", tag = "workspace", security(("person" = []), ("cookie" = [])),
    request_body = Option<ListRequest>, responses((status = 200, body = Envelope<List<Group>>), PersonErrors))]
pub(super) async fn groups(
    State(app): State<App>,
    Member(person): Member,
    Body(body): Body<ListRequest>,
) -> Result<Envelope<List<Group>>, Problem> {
    let request = body.request();
    let page = spaces::groups(&mut *app.read().await?, &person, &request).await?;
    Ok(Envelope::ok(List::of(page.items, page.has_next, &request)))
}

/// List people of the workspace.
///
/// Accounts of agents are not among them.
#[utoipa::path(post, path = "/api/workspace/members", operation_id = "listMembers", tag = "workspace",
    security(("person" = []), ("cookie" = [])), request_body = Option<ListRequest>,
    responses((status = 200, body = Envelope<List<ListedMember>>), PersonErrors))]
pub(super) async fn members(
    State(app): State<App>,
    Member(person): Member,
    Body(body): Body<ListRequest>,
) -> Result<Envelope<List<ListedMember>>, Problem> {
    let request = body.request();
    let page = spaces::people(&mut *app.read().await?, &person, &request).await?;
    Ok(Envelope::ok(List::of(page.items, page.has_next, &request)))
}

/// Get which coding agents have a provider key.
///
/// None has: agents bring their own.
#[utoipa::path(post, path = "/api/users/agent-providers", operation_id = "getAgentProviders", tag = "workspace",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<AgentProviders>), PersonErrors))]
pub(super) async fn agent_providers(_: Member) -> Envelope<AgentProviders> {
    Envelope::ok(AgentProviders::none())
}

/// Get which subscriptions are connected.
///
/// None is.
#[utoipa::path(post, path = "/api/subscription/status", operation_id = "getSubscriptionStatus", tag = "workspace",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<SubscriptionStatus>), PersonErrors))]
pub(super) async fn subscription_status(_: Member) -> Envelope<SubscriptionStatus> {
    Envelope::ok(SubscriptionStatus::none())
}

/// List the workspace's integrations.
///
/// There are none.
#[utoipa::path(post, path = "/api/workspace/integrations", operation_id = "listIntegrations", tag = "workspace",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Integrations>), PersonErrors))]
pub(super) async fn integrations(_: Member) -> Envelope<Integrations> {
    Envelope::ok(Integrations { integrations: Vec::new() })
}

/// Get whether GitHub is connected.
///
/// It is not.
#[utoipa::path(get, path = "/api/integrations/github/status", operation_id = "getGithubStatus", tag = "workspace",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<IntegrationStatus>), PersonErrors))]
pub(super) async fn github_status(_: Member) -> Envelope<IntegrationStatus> {
    Envelope::ok(IntegrationStatus { connected: false })
}

/// Query agents' memory as a person.
///
/// Answers nothing so far: memory is for agents.
#[utoipa::path(post, path = "/api/memory/query", operation_id = "queryMemory", tag = "workspace",
    security(("person" = []), ("cookie" = [])), responses(
    (status = 200, body = Envelope<Vec<String>>, example = json!({"data": [], "success": true, "status": 200})), PersonErrors))]
pub(super) async fn memory_query(_: Member) -> Envelope<Vec<String>> {
    Envelope::ok(Vec::new())
}

/// List knowledge sources.
///
/// There are none.
#[utoipa::path(get, path = "/api/knowledge/sources", operation_id = "listKnowledgeSources", tag = "workspace",
    security(("person" = []), ("cookie" = [])), responses(
    (status = 200, body = Envelope<Vec<String>>, example = json!({"data": [], "success": true, "status": 200})), PersonErrors))]
pub(super) async fn knowledge_sources(_: Member) -> Envelope<Vec<String>> {
    Envelope::ok(Vec::new())
}

/// Report something that went wrong in the page.
///
/// It is noted in the service's log that there was a report; what it holds is not kept (D-51).
#[utoipa::path(post, path = "/api/bug-reports/auto", operation_id = "reportBug", tag = "operations",
    security(("person" = []), ("cookie" = [])), request_body = Option<ReportBug>,
    responses((status = 200, body = Envelope<BugReport>), PersonErrors))]
pub(super) async fn report_bug(Member(person): Member, _: Body<ReportBug>) -> Envelope<BugReport> {
    tracing::info!(workspace.id = %person.workspace, user.id = %person.user, "the page reports an error");
    Envelope::ok(BugReport { received: true })
}
