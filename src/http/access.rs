//! What agents send before they have a key.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};

use super::{callers::MaybeRuntime, input::Body};
use crate::{
    app::App,
    domain::{
        agents::{self, Requester},
        invites,
    },
    model::{
        agent::{AgentState, AgentView},
        ids::WorkspaceId,
        secret::Secret,
    },
    wire::{
        access::{AccessRequest, Claim, Claimed, PublicRequest, RegisterAgent, RegisteredAgent, Requested, RequestedAgent},
        agents::{Agent, ApprovedAgent},
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
        repeat::{RepeatErrors, Repeatable},
    },
};

/// Ask for access.
///
/// With the webhook secret, or without it where the workspace takes public requests. Asking again
/// under a pending or denied id needs the webhook secret or the claim secret of the first time.
#[utoipa::path(post, path = "/api/parallax-agents/access-request", operation_id = "requestAccess", tag = "access",
    security(("webhook" = []), ()),
    params(Repeatable), request_body = AccessRequest, responses((status = 201, body = Envelope<Requested>), PersonErrors, AdminErrors, RepeatErrors))]
pub(super) async fn request_access(
    State(app): State<App>,
    MaybeRuntime(trusted): MaybeRuntime,
    headers: HeaderMap,
    Body(body): Body<AccessRequest>,
) -> Result<Envelope<Requested>, Problem> {
    if !trusted && body.workspace_id.is_none() && headers.get("x-workspace-id").is_none() {
        return Err(Problem::unauthorized());
    }
    let workspace = body.workspace_id.map_or_else(|| header_workspace(&headers), Ok)?;
    let requester = if trusted { Requester::Trusted } else { Requester::Public };
    let profile = body.profile()?;
    let claim_secret = body.claim_secret.as_deref().map(Secret::presented);
    let mut tx = app.begin().await?;
    let requested =
        agents::request_access(&mut tx, workspace, requester, body.agent_id, profile, body.justification, claim_secret.as_ref()).await?;
    tx.commit().await?;
    let claim_secret = requested.claim_secret.map(|secret| secret.expose().to_owned());
    let agent = Agent::full(AgentView { agent: requested.agent, run: None });
    Ok(Envelope::created(if trusted {
        Requested::Trusted(Box::new(RequestedAgent { agent, claim_secret }))
    } else {
        Requested::Public(PublicRequest { id: agent.id, status: agent.status, claim_secret })
    }))
}

fn header_workspace(headers: &HeaderMap) -> Result<WorkspaceId, Problem> {
    let text = headers.get("x-workspace-id").and_then(|value| value.to_str().ok());
    let text = text.ok_or_else(|| Problem::invalid("workspaceId", "is missing"))?;
    text.parse().map_err(|_| Problem::invalid("X-Workspace-Id", "must be a UUID"))
}

/// Collect the key of an approved request.
///
/// Tells how the request stands; the key is there exactly once, the first time after approval.
#[utoipa::path(post, path = "/api/parallax-agents/access-request/claim", operation_id = "claimKey", tag = "access",
    request_body = Claim, responses((status = 200, body = Envelope<Claimed>), PersonErrors, AdminErrors))]
pub(super) async fn claim(State(app): State<App>, Body(body): Body<Claim>) -> Result<Envelope<Claimed>, Problem> {
    let mut tx = app.begin().await?;
    let secret = Secret::presented(&body.claim_secret);
    let claimed = agents::claim(&mut tx, &app.policy, body.workspace_id, &body.agent_id, &secret).await?;
    tx.commit().await?;
    let state = &claimed.agent.state;
    Ok(Envelope::ok(Claimed {
        status: state.status(),
        granted_permissions: matches!(state, AgentState::Approved { .. }).then(|| claimed.agent.granted().to_strings()),
        denial_reason: match state {
            AgentState::Denied { reason, .. } => Some(reason.clone()),
            AgentState::Pending | AgentState::Approved { .. } | AgentState::Revoked { .. } => None,
        },
        mcp_api_key: claimed.key.map(|key| key.expose().to_owned()),
    }))
}

/// Register with an invite.
///
/// Lets the agent in with the invite's permissions and returns its key, this once. The answer is
/// in the envelope and beside it, so that agents which read it either way find it.
#[utoipa::path(post, path = "/api/parallax-agents/register", operation_id = "registerAgent", tag = "access",
    params(Repeatable), request_body = RegisterAgent, responses((status = 201, body = RegisteredAgent), PersonErrors, AdminErrors, RepeatErrors))]
pub(super) async fn register(
    State(app): State<App>,
    Body(body): Body<RegisterAgent>,
) -> Result<(StatusCode, Json<RegisteredAgent>), Problem> {
    let profile = body.profile()?;
    let claim_secret = body.claim_secret.as_deref().map(Secret::presented);
    let token = Secret::presented(&body.invite_token);
    let mut tx = app.begin().await?;
    let approved = invites::register(&mut tx, &app.policy, &token, body.agent_id, profile, claim_secret.as_ref()).await?;
    tx.commit().await?;
    let agent = || Agent::full(AgentView { agent: approved.agent.clone(), run: None });
    let key = approved.key.expose().to_owned();
    let data = ApprovedAgent { agent: agent(), mcp_api_key: key.clone() };
    let answer = RegisteredAgent { data, success: true, status: StatusCode::CREATED.as_u16(), agent: agent(), mcp_api_key: key };
    Ok((StatusCode::CREATED, Json(answer)))
}
