//! Tool calls that wait for a person's approval.

use axum::extract::State;

use super::{callers::Member, input::Body};
use crate::{
    app::App,
    domain::tool_approvals,
    wire::{
        approvals::{ApprovalsPage, Confirmed, ConfirmedResult, DecideApproval, ListApprovals, Rejected},
        envelope::Envelope,
        problem::{AdminErrors, PersonErrors, Problem},
    },
};

/// List tool calls that wait for approval.
///
/// For owners and admins those of the whole workspace, for others those of their own keys. What
/// was asked for first comes first; `nextCursor` leads to what was asked for later. An answer has about 2 MiB at the most,
/// so that it may have fewer than `limit`.
#[utoipa::path(post, path = "/api/approvals/list", operation_id = "listApprovals", tag = "approvals",
    security(("person" = []), ("cookie" = [])), request_body = Option<ListApprovals>,
    responses((status = 200, body = ApprovalsPage), PersonErrors))]
pub(super) async fn list(
    State(app): State<App>,
    Member(person): Member,
    Body(body): Body<ListApprovals>,
) -> Result<ApprovalsPage, Problem> {
    let (limit, after) = body.read()?;
    let mut tx = app.begin().await?;
    let (found, next) = tool_approvals::waiting(&mut tx, &person, after, limit).await?;
    Ok(ApprovalsPage::of(found, next))
}

/// Approve a tool call.
///
/// The caller may then repeat exactly this call, once, within ten minutes at the least. What a person's own key asked for is approved by another owner or
/// admin, unless the setting `allowOwnApproval` is on (`OWN_APPROVAL`).
#[utoipa::path(post, path = "/api/approvals/confirm", operation_id = "confirmApproval", tag = "approvals",
    security(("person" = []), ("cookie" = [])), request_body = DecideApproval,
    responses((status = 200, body = Envelope<Confirmed>), PersonErrors, AdminErrors))]
pub(super) async fn confirm(
    State(app): State<App>,
    Member(person): Member,
    Body(body): Body<DecideApproval>,
) -> Result<Envelope<Confirmed>, Problem> {
    let mut tx = app.begin().await?;
    tool_approvals::decide(&mut tx, &person, body.approval_token, true).await?;
    tx.commit().await?;
    let result = ConfirmedResult { approval_id: body.approval_token, status: "approved" };
    Ok(Envelope::ok(Confirmed { approved: true, result }))
}

/// Refuse a tool call.
///
/// Also a permission that an agent asks for. One that it was granted and has still is ended by this, with effect on its
/// next call.
#[utoipa::path(post, path = "/api/approvals/reject", operation_id = "rejectApproval", tag = "approvals",
    security(("person" = []), ("cookie" = [])), request_body = DecideApproval,
    responses((status = 200, body = Envelope<Rejected>), PersonErrors, AdminErrors))]
pub(super) async fn reject(
    State(app): State<App>,
    Member(person): Member,
    Body(body): Body<DecideApproval>,
) -> Result<Envelope<Rejected>, Problem> {
    let mut tx = app.begin().await?;
    tool_approvals::decide(&mut tx, &person, body.approval_token, false).await?;
    tx.commit().await?;
    Ok(Envelope::ok(Rejected { deleted: true }))
}
