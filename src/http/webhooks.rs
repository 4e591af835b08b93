//! Signed webhooks: an alternative to sending the shared secret itself.

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use chrono::Utc;

use super::BODY_BYTES_MAX;
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

/// Says that a request carried a good signature.
#[derive(Clone, Copy)]
pub(super) struct Verified;

/// Checks the signature of a request that carries one. A delivery counts once: the same id again is
/// answered 409 and changes nothing, unless the first was refused.
pub(super) async fn verify(State(app): State<App>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(SIGNATURE) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, BODY_BYTES_MAX).await else {
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "the body is longer than 64 KiB").into_response();
    };
    let Some(id) = genuine(&app, &parts.headers, &bytes) else { return Problem::unauthorized().into_response() };
    match begin(&app, &id).await {
        Ok(true) => {}
        Ok(false) => {
            return Problem::new(StatusCode::CONFLICT, "WEBHOOK_REPLAYED", "a delivery with this X-Webhook-Id was taken in already")
                .into_response();
        }
        Err(error) => return Problem::from(error).into_response(),
    }
    parts.extensions.insert(Verified);
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    if !response.status().is_success()
        && let Err(error) = undo(&app, &id).await
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "a refused webhook delivery cannot be repeated");
    }
    response
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

async fn begin(app: &App, id: &str) -> Result<bool, StorageError> {
    webhooks::begin(&mut *app.read().await?, id).await
}

async fn undo(app: &App, id: &str) -> Result<(), StorageError> {
    webhooks::undo(&mut *app.read().await?, id).await
}
