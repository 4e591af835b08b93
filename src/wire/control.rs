//! Who is at a terminal and who controls it, as the REST API and the terminal gateway show it.

use serde::Serialize;
use utoipa::ToSchema;

use super::time::Timestamp;
use crate::model::{
    ids::UserId,
    terminal_control::{Controller, Watcher, Watchers},
    terminal_rights::TerminalRights,
};

/// Somebody at a terminal.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "viewerId": "9f3c1b7a52e4d680", "userId": "019a0000-0000-7000-8000-000000000002", "name": "Ada", "canWrite": true, "controls": false,
    "wantsControl": false
}))]
pub struct TerminalViewer {
    /// One socket's place: somebody with two pages has two.
    pub viewer_id: String,
    pub user_id: UserId,
    pub name: String,
    pub can_write: bool,
    /// Whether this is the one who alone types and resizes.
    pub controls: bool,
    /// Whether they asked the one who controls the terminal to hand it over.
    pub wants_control: bool,
}

impl From<Watcher> for TerminalViewer {
    fn from(watcher: Watcher) -> Self {
        Self {
            viewer_id: watcher.id.to_string(),
            user_id: watcher.user,
            name: watcher.name,
            can_write: watcher.can_write,
            controls: watcher.controls,
            wants_control: watcher.wants_control,
        }
    }
}

/// `controller`: who controls a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "viewerId": "9f3c1b7a52e4d680", "userId": "019a0000-0000-7000-8000-000000000002", "name": "Ada", "since": "2030-01-01T09:00:00.000Z"
}))]
pub struct TerminalController {
    /// Null while the holder is gone: control waits for them for 30 seconds.
    #[schema(required)]
    pub viewer_id: Option<String>,
    pub user_id: UserId,
    pub name: String,
    #[schema(value_type = Timestamp)]
    pub since: String,
}

impl From<Controller> for TerminalController {
    fn from(controller: Controller) -> Self {
        Self {
            viewer_id: controller.viewer.map(|viewer| viewer.to_string()),
            user_id: controller.user,
            name: controller.name,
            since: controller.since.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        }
    }
}

/// Everybody at a terminal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "viewers": [{"viewerId": "9f3c1b7a52e4d680", "userId": "019a0000-0000-7000-8000-000000000002", "name": "Ada", "canWrite": true,
                 "controls": true, "wantsControl": false}],
    "count": 1,
    "controller": {"viewerId": "9f3c1b7a52e4d680", "userId": "019a0000-0000-7000-8000-000000000002", "name": "Ada",
                   "since": "2030-01-01T09:00:00.000Z"}
}))]
pub struct TerminalViewers {
    /// At most 100.
    pub viewers: Vec<TerminalViewer>,
    pub count: usize,
    /// Null while everybody who may write types.
    #[schema(required)]
    pub controller: Option<TerminalController>,
}

impl TerminalViewers {
    #[must_use]
    pub fn new(watchers: Watchers, controller: Option<Controller>) -> Self {
        let viewers = watchers.listed.into_iter().map(Into::into).collect();
        Self { viewers, count: watchers.count, controller: controller.map(Into::into) }
    }
}

/// `rights`: what a viewer may do from now on.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RightsChange {
    pub can_write: bool,
    pub can_terminate: bool,
}

impl From<TerminalRights> for RightsChange {
    fn from(rights: TerminalRights) -> Self {
        Self { can_write: rights.write, can_terminate: rights.terminate }
    }
}

/// `error` on the terminal gateway where it names somebody.
#[derive(Clone, Debug, Serialize)]
pub struct NamedProblem {
    pub message: String,
    pub code: &'static str,
}
