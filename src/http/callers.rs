//! Who is asking: extractors that prove it, so that a handler's signature says who may call.

use axum::{
    extract::FromRequestParts,
    http::{Extensions, HeaderMap, StatusCode, request::Parts},
};

use super::webhooks::Signature;
use crate::{
    app::{App, connections::Holder},
    domain::{
        auth,
        credentials::Credential,
        keys::{self, Ticket},
        workspaces,
    },
    model::{
        actor::{Admin, Person},
        ids::WorkspaceId,
        secret::Secret,
    },
    wire::{
        input::{self, SESSION_COOKIE, WEBHOOK_SECRET_HEADER},
        problem::Problem,
    },
};

/// A signed-in person. A bearer token goes before the cookie (D-63).
pub(super) struct Member(pub(super) Person);

impl FromRequestParts<App> for Member {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = token(parts).ok_or_else(Problem::unauthorized)?;
        let person = if parts.method.is_safe() {
            auth::person(&app.pool, &app.clock, &app.access_cache, &app.tokens, token).await?
        } else {
            // What somebody changes is not decided by a role that they had a moment ago.
            auth::person_now(&mut *app.read().await?, &app.tokens, token).await?
        };
        let person = person.ok_or_else(Problem::unauthorized)?;
        if app.settings.cloud {
            let label = input::host_label(&parts.headers).unwrap_or_default();
            if workspaces::resolve(&mut *app.read().await?, Some(label)).await? != Some(person.workspace) {
                return Err(Problem::unauthorized());
            }
        }
        Ok(Self(person))
    }
}

fn token(parts: &Parts) -> Option<&str> {
    input::bearer(&parts.headers).or_else(|| input::cookie(&parts.headers, SESSION_COOKIE))
}

/// Whoever may open a stream: a signed-in person, or an API key in `Authorization: Bearer` or `X-API-Key`.
pub(super) struct Listening {
    pub(super) holder: Holder,
    pub(super) credential: Credential,
    /// Taken before the look-up.
    pub(super) ticket: Ticket,
}

impl FromRequestParts<App> for Listening {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let ticket = app.access_cache.ticket();
        match Member::from_request_parts(parts, app).await {
            Ok(Member(person)) => {
                let credential = Credential::Token(token(parts).unwrap_or_default().to_owned());
                Ok(Self { holder: Holder::Person(person), credential, ticket })
            }
            Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
                let key = input::api_key(&parts.headers).map(Secret::presented).ok_or(problem)?;
                let holder = keys::verify(&app.pool, &app.clock, &app.access_cache, &app.policy, &key).await?;
                let holder = Holder::Key(holder.ok_or_else(Problem::unauthorized)?);
                Ok(Self { holder, credential: Credential::Key(key), ticket })
            }
            Err(problem) => Err(problem),
        }
    }
}

/// A signed-in owner or admin; other members get 403.
pub(super) struct Manager(pub(super) Admin);

impl FromRequestParts<App> for Manager {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Member(person) = Member::from_request_parts(parts, app).await?;
        Admin::from_person(person).map(Self).ok_or_else(Problem::forbidden)
    }
}

/// The workspace that a request without a credential is about.
pub(super) struct Attached(pub(super) WorkspaceId);

impl FromRequestParts<App> for Attached {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let label = app.settings.cloud.then(|| input::host_label(&parts.headers).unwrap_or_default());
        let mut conn = app.read().await?;
        let workspace = workspaces::resolve(&mut conn, label).await?;
        workspace.map(Self).ok_or_else(super::guard::no_workspace)
    }
}

/// Somebody who knows the webhook secret. Without a configured secret nobody does.
pub(super) struct RuntimeCaller;

impl FromRequestParts<App> for RuntimeCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match webhook_secret(&parts.extensions, &parts.headers, app) {
            Some(true) => Ok(Self),
            Some(false) | None => Err(Problem::unauthorized()),
        }
    }
}

/// Whether the caller knows the webhook secret; a wrong one is refused, none makes a public caller.
pub(super) struct MaybeRuntime(pub(super) bool);

impl FromRequestParts<App> for MaybeRuntime {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match webhook_secret(&parts.extensions, &parts.headers, app) {
            Some(true) => Ok(Self(true)),
            None => Ok(Self(false)),
            Some(false) => Err(Problem::unauthorized()),
        }
    }
}

/// Whether the caller shares our webhook secret, by showing it or by having signed with it; `None` when
/// neither is tried.
pub(super) fn webhook_secret(extensions: &Extensions, headers: &HeaderMap, app: &App) -> Option<bool> {
    match extensions.get::<Signature>() {
        Some(Signature::Good(_)) => return Some(true),
        Some(Signature::Bad) => return Some(false),
        None => {}
    }
    let presented = headers.get(WEBHOOK_SECRET_HEADER)?;
    Some(input::is_secret(presented.as_bytes(), app.settings.webhook_secret.as_deref()))
}
