//! Tells the control plane of decisions about agents (REST contract §2.10, runtime contract §13).

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Url, header, redirect::Policy};
use serde_json::Value;
use sha2::Sha256;

use super::{CONNECT_TIMEOUT, client::BadEndpoint};
use crate::model::{hex, notification::Notification};

/// How long one notification may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a notification did not arrive. Says nothing of what it held.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("the control plane cannot be reached")]
    Unreachable,
    #[error("the control plane answered {0}")]
    Refused(u16),
}

/// The control plane: where it is, and the secret that we share.
#[derive(Clone)]
pub struct ControlPlane {
    http: reqwest::Client,
    url: Url,
    secret: String,
}

impl ControlPlane {
    /// `url` is its base URL and may have a path prefix.
    pub fn new(url: &str, secret: String) -> Result<Self, BadEndpoint> {
        let url: Url = url.parse().map_err(|_| BadEndpoint)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(BadEndpoint);
        }
        let http = super::client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).redirect(Policy::none()).build();
        Ok(Self { http: http.expect("a client without a proxy file can always be built"), url, secret })
    }

    /// Posts one decision. The signature covers the body, which holds the event's id and time, so that
    /// the receiver can tell repeats and old ones.
    pub async fn notify(&self, notification: &Notification, body: &Value) -> Result<(), NotifyError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            let (agent, workspace) = (notification.agent.as_str(), notification.workspace.to_string());
            segments.pop_if_empty().extend(["api", "agents", agent, "workspaces", &workspace, notification.decision.as_str()]);
        }
        let body = serde_json::to_vec(body).unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(&body);
        let answer = self
            .http
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-webhook-secret", &self.secret)
            .header("x-raven-signature", format!("sha256={}", hex(&mac.finalize().into_bytes())))
            .header("x-raven-event-id", notification.event.to_string())
            .body(body)
            .send()
            .await
            .map_err(|_| NotifyError::Unreachable)?;
        if answer.status().is_success() { Ok(()) } else { Err(NotifyError::Refused(answer.status().as_u16())) }
    }
}
