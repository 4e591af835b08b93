//! Signed webhooks: an alternative to sending the shared secret itself.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use chrono::Utc;

use super::{input, problem};
use crate::{
    app::{App, StorageError},
    domain::webhooks::{self, Signed},
    wire::problem::Problem,
};

/// `sha256=` and the HMAC in hex of `<timestamp>.<id>.<body>`.
const SIGNATURE: &str = "x-webhook-signature";
/// Seconds since 1970.
const TIMESTAMP: &str = "x-webhook-timestamp";
/// Unique to the delivery.
const ID: &str = "x-webhook-id";

/// What became of the signature of a request that carries one.
#[derive(Clone)]
pub(super) enum Signature {
    /// Good, for the delivery of this id.
    Good(String),
    Bad,
}

/// Checks the signature of a request that carries one, before it is counted among strangers' requests.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(SIGNATURE) {
        return next.run(request).await;
    }
    let (mut request, body) = match input::buffered(request).await {
        Ok(buffered) => buffered,
        Err(refused) => return refused.into_response(),
    };
    let signature = genuine(&app, request.headers(), &body).map_or(Signature::Bad, Signature::Good);
    request.extensions_mut().insert(signature);
    next.run(request).await
}

/// The id of the delivery, if its signature is good.
fn genuine(app: &App, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let delivery = Signed { id: text(ID)?, timestamp: text(TIMESTAMP)?, signature: text(SIGNATURE)?, body };
    let secret = app.settings.webhook_secret.as_deref().unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "the sender's clock is compared with this machine's")]
    let now = app.clock.at(Utc::now());
    webhooks::is_genuine(&delivery, secret, now).then(|| delivery.id.to_owned())
}

/// Has a signed delivery count once: the same id again is answered 409 and changes nothing, unless the
/// first was refused or never came to its end. One whose signature is bad is refused.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = match request.extensions().get::<Signature>() {
        None => return next.run(request).await,
        Some(Signature::Bad) => return Problem::unauthorized().into_response(),
        Some(Signature::Good(id)) => id.clone(),
    };
    // A sender who hangs up does not leave its delivery half taken in.
    let work = app.spawn({
        let app = app.clone();
        async move { take_in(&app, &id, request, next).await }
    });
    work.await.unwrap_or_else(|_| problem::internal().into_response())
}

async fn take_in(app: &App, id: &str, request: Request, next: Next) -> Response {
    match begin(app, id).await {
        Ok(true) => {}
        Ok(false) => {
            let message = "a delivery with this X-Webhook-Id was taken in already";
            return Problem::new(StatusCode::CONFLICT, "WEBHOOK_REPLAYED", message).into_response();
        }
        Err(error) => return Problem::from(error).into_response(),
    }
    let response = next.run(request).await;
    if let Err(error) = end(app, id, response.status().is_success()).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "what became of a webhook delivery is not noted");
    }
    response
}

async fn begin(app: &App, id: &str) -> Result<bool, StorageError> {
    webhooks::begin(&mut *app.read().await?, id).await
}

async fn end(app: &App, id: &str, taken_in: bool) -> Result<(), StorageError> {
    webhooks::end(&mut *app.read().await?, id, taken_in).await
}
