//! Invites by which agents register.

use axum::extract::State;

use super::{
    callers::Manager,
    input::{self, Body, Param, Params},
};
use crate::{
    app::App,
    domain::invites,
    model::{ids::InviteId, invite::InviteOrder},
    wire::{
        envelope::{Done, Envelope},
        invites::{CreateInvite, Invite, InviteQuery},
        problem::{AdminErrors, PersonErrors, Problem},
        repeat::{RepeatErrors, Repeatable},
    },
};

/// List invites.
///
/// Newest first, revoked ones only if asked for. Tokens are whole while the invite can admit somebody.
#[utoipa::path(get, path = "/api/parallax-agents/invites", operation_id = "listInvites", tag = "invites", params(InviteQuery),
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Vec<Invite>>), PersonErrors, AdminErrors))]
pub(super) async fn list(
    State(app): State<App>,
    Manager(admin): Manager,
    Params(query): Params<InviteQuery>,
) -> Result<Envelope<Vec<Invite>>, Problem> {
    let mut tx = app.begin().await?;
    let found = invites::list(&mut tx, &app.policy, &admin).await?;
    let shown = found.into_iter().filter(|view| query.include_revoked.unwrap_or(false) || view.invite.revoked_at.is_none());
    Ok(Envelope::ok(shown.map(Into::into).collect()))
}

/// List invites that can admit somebody.
#[utoipa::path(get, path = "/api/parallax-agents/invites/active", operation_id = "listActiveInvites", tag = "invites",
    security(("person" = []), ("cookie" = [])), responses((status = 200, body = Envelope<Vec<Invite>>), PersonErrors, AdminErrors))]
pub(super) async fn active(State(app): State<App>, Manager(admin): Manager) -> Result<Envelope<Vec<Invite>>, Problem> {
    let mut tx = app.begin().await?;
    let found = invites::list_active(&mut tx, &app.policy, &admin).await?;
    Ok(Envelope::ok(found.into_iter().map(Into::into).collect()))
}

/// Get an invite.
#[utoipa::path(get, path = "/api/parallax-agents/invites/{inviteId}", operation_id = "getInvite", tag = "invites",
    params(("inviteId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Invite>), PersonErrors, AdminErrors))]
pub(super) async fn get(State(app): State<App>, Manager(admin): Manager, Param(id): Param<InviteId>) -> Result<Envelope<Invite>, Problem> {
    let mut tx = app.begin().await?;
    let found = invites::get(&mut tx, &app.policy, &admin, id).await?;
    Ok(Envelope::ok(found.into()))
}

/// Create an invite.
#[utoipa::path(post, path = "/api/parallax-agents/invites", operation_id = "createInvite", tag = "invites",
    security(("person" = []), ("cookie" = [])), params(Repeatable), request_body = CreateInvite,
    responses((status = 201, body = Envelope<Invite>), PersonErrors, AdminErrors, RepeatErrors))]
pub(super) async fn create(
    State(app): State<App>,
    Manager(admin): Manager,
    Body(body): Body<CreateInvite>,
) -> Result<Envelope<Invite>, Problem> {
    let order = InviteOrder {
        name: body.name.trim().to_owned(),
        description: body.description,
        permissions: input::permissions("permissions", &body.permissions)?,
        uses: body.uses_remaining,
        expires_at: body.expires_at,
    };
    let mut tx = app.begin().await?;
    let created = invites::create(&mut tx, &app.policy, &admin, order).await?;
    tx.commit().await?;
    Ok(Envelope::created(created.into()))
}

/// Revoke an invite.
///
/// Agents that came in by it stay. Revoking it again changes nothing.
#[utoipa::path(post, path = "/api/parallax-agents/invites/{inviteId}/revoke", operation_id = "revokeInvite", tag = "invites",
    params(("inviteId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Invite>), PersonErrors, AdminErrors))]
pub(super) async fn revoke(
    State(app): State<App>,
    Manager(admin): Manager,
    Param(id): Param<InviteId>,
) -> Result<Envelope<Invite>, Problem> {
    let mut tx = app.begin().await?;
    let revoked = invites::revoke(&mut tx, &admin, id).await?;
    tx.commit().await?;
    Ok(Envelope::ok(revoked.into()))
}

/// Delete an invite.
///
/// Ends it and takes it out of every list; the records that name it stay.
#[utoipa::path(delete, path = "/api/parallax-agents/invites/{inviteId}", operation_id = "deleteInvite", tag = "invites",
    params(("inviteId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Done>), PersonErrors, AdminErrors))]
pub(super) async fn delete(State(app): State<App>, Manager(admin): Manager, Param(id): Param<InviteId>) -> Result<Envelope<Done>, Problem> {
    let mut tx = app.begin().await?;
    invites::delete(&mut tx, &admin, id).await?;
    tx.commit().await?;
    Ok(Envelope::ok(Done::OK))
}
