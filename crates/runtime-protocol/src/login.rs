//! What an agent needs before it can work: a login (runtime contract §9).

use serde::{Deserialize, Serialize};

/// A login that an agent waits for, as read from its screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// Absolute, http or https. It comes from what a program printed: only where `verified` is
    /// set does its host belong to the program's maker, so a page shows no other as a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_code: Option<String>,
    pub method: LoginMethod,
    /// Whether `login_url` leads to a host that the agent's adapter allows, over https.
    #[serde(default)]
    pub verified: bool,
}

/// The kinds of login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginMethod {
    ApiKey,
    CliAuth,
    DeviceCode,
    Oauth,
    Browser,
}
