//! What neighbouring pages of the web UI ask for, which this service answers with "there is none"
//! (REST contract §8.5): they stay free of error messages.

use serde::Serialize;
use utoipa::ToSchema;

/// The version that runs. We never call out, so the latest is not known.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"currentVersion": "0.1.0", "latestVersion": "", "releaseUrl": ""}))]
pub struct Version {
    #[schema(value_type = String, example = "0.1.0")]
    pub current_version: &'static str,
    #[schema(value_type = String, example = "")]
    pub latest_version: &'static str,
    #[schema(value_type = String, example = "")]
    pub release_url: &'static str,
}

impl Version {
    pub const CURRENT: Self = Self { current_version: env!("CARGO_PKG_VERSION"), latest_version: "", release_url: "" };
}

/// A token for the collaboration server.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"token": "eyJ…"}))]
pub struct CollabToken {
    pub token: String,
}

/// Which coding agents have a provider key here: none, since agents bring their own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"providers": {"claude": {"keyPresent": false, "source": "none", "available": false}, "codex": {"keyPresent": false, "source": "none", "available": false}, "gemini": {"keyPresent": false, "source": "none", "available": false}, "aider": {"keyPresent": false, "source": "none", "available": false}}}))]
pub struct AgentProviders {
    pub providers: ProviderList,
}

/// One entry per coding agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"claude": {"keyPresent": false, "source": "none", "available": false}, "codex": {"keyPresent": false, "source": "none", "available": false}, "gemini": {"keyPresent": false, "source": "none", "available": false}, "aider": {"keyPresent": false, "source": "none", "available": false}}))]
pub struct ProviderList {
    pub claude: Provider,
    pub codex: Provider,
    pub gemini: Provider,
    pub aider: Provider,
}

/// Whether a provider's key is there.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"keyPresent": false, "source": "none", "available": false}))]
pub struct Provider {
    pub key_present: bool,
    #[schema(value_type = String, example = "none")]
    pub source: &'static str,
    pub available: bool,
}

impl AgentProviders {
    #[must_use]
    pub fn none() -> Self {
        let none = Provider { key_present: false, source: "none", available: false };
        Self { providers: ProviderList { claude: none, codex: none, gemini: none, aider: none } }
    }
}

/// Which subscriptions are connected: none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"providers": {"anthropic-subscription": {"connected": false, "source": null, "connectedAt": null, "expiresAt": null}, "openai-codex": {"connected": false, "source": null, "connectedAt": null, "expiresAt": null}}}))]
pub struct SubscriptionStatus {
    pub providers: SubscriptionList,
}

/// One entry per subscription.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"anthropic-subscription": {"connected": false, "source": null, "connectedAt": null, "expiresAt": null}, "openai-codex": {"connected": false, "source": null, "connectedAt": null, "expiresAt": null}}))]
pub struct SubscriptionList {
    #[serde(rename = "anthropic-subscription")]
    pub anthropic: Subscription,
    #[serde(rename = "openai-codex")]
    pub codex: Subscription,
}

/// Whether a subscription is connected.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"connected": false, "source": null, "connectedAt": null, "expiresAt": null}))]
pub struct Subscription {
    pub connected: bool,
    #[schema(required, value_type = Option<String>)]
    pub source: Option<&'static str>,
    #[schema(required, value_type = Option<String>)]
    pub connected_at: Option<&'static str>,
    #[schema(required, value_type = Option<String>)]
    pub expires_at: Option<&'static str>,
}

impl SubscriptionStatus {
    #[must_use]
    pub fn none() -> Self {
        let none = Subscription { connected: false, source: None, connected_at: None, expires_at: None };
        Self { providers: SubscriptionList { anthropic: none, codex: none } }
    }
}

/// Which programs the workspace is connected to: none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"integrations": []}))]
pub struct Integrations {
    #[schema(inline)]
    pub integrations: Vec<String>,
}

/// Whether GitHub is connected: it is not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"connected": false}))]
pub struct IntegrationStatus {
    pub connected: bool,
}

/// That a report was taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"received": true}))]
pub struct BugReport {
    pub received: bool,
}

/// A report of something that went wrong in the page. What it holds is not kept (D-51).
#[derive(Debug, serde::Deserialize, validator::Validate, ToSchema)]
#[schema(example = json!({"title": "Cannot read properties of undefined"}))]
pub struct ReportBug {
    #[validate(length(max = 500, message = "must be at most 500 characters"))]
    pub title: Option<String>,
}
