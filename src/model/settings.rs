//! What a workspace's admins decided about its agents, as far as rules depend on it.
//!
//! It is kept in `workspaces.settings`, beside what other programs keep there; a value of the wrong
//! type counts as absent.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use serde_json::{Map, Value};

use super::{ids::WorkspaceId, permission::PermissionSet, runtime::RuntimeName, terminal_rights::TerminalRules};

/// Agents that can act at the same time, where neither operator nor workspace says otherwise.
pub const AGENTS_MAX: u32 = 20;
/// Agents on one project, where the workspace does not say otherwise (REST contract §4.7).
pub const AGENTS_PER_PROJECT_MAX: u32 = 10;

/// Where `settings.agent` keeps how terminals are recorded.
pub const RECORDING: &str = "recording";
/// How long a terminal's recording is kept, in days, where the workspace does not say otherwise.
pub const RECORDING_DAYS: u32 = 30;
/// What a workspace's recordings may take, in megabytes, where it does not say otherwise.
pub const RECORDING_MEGABYTES: u32 = 1024;
const BYTES_PER_MEGABYTE: u64 = 1024 * 1024;

/// Where `settings.agent` keeps the sealed API key of the workspace's own runtime.
pub const RUNTIME_KEY_SEALED: &str = "runtimeApiKeySealed";
/// Where the original kept it in plain text, and where callers send it.
pub const RUNTIME_KEY: &str = "runtimeApiKey";

/// Rules of one workspace.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch that admins set by itself")]
pub struct WorkspaceRules {
    /// Whether agents may come in at all.
    pub agents_enabled: bool,
    /// Whether agents may ask for access without the webhook secret (D-18).
    pub public_registration: bool,
    /// Whether people may approve what their own keys asked for (D-09).
    pub own_approval: bool,
    /// `None` leaves it to the operator.
    pub agents_max: Option<u32>,
    pub agents_per_project_max: u32,
    /// What a spawned agent is granted when nobody says otherwise.
    pub default_permissions: PermissionSet,
    /// Whether the control plane is sent an approved agent's key (D-20).
    pub sends_key_to_control_plane: bool,
    /// Who may read terminals and type into them.
    pub terminals: TerminalRules,
}

impl WorkspaceRules {
    #[must_use]
    pub fn read(settings: &Value) -> Self {
        let at = |path: &str| settings.pointer(path);
        let flag = |path: &str, default| at(path).and_then(Value::as_bool).unwrap_or(default);
        let count = |path: &str| at(path).and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
        let permissions = at("/parallax/defaultPermissions").and_then(Value::as_array);
        let permissions = permissions.map(|items| items.iter().filter_map(Value::as_str).collect::<Vec<_>>());
        Self {
            agents_enabled: flag("/parallax/enabled", true),
            public_registration: flag("/agent/allowPublicAgentRegistration", false),
            own_approval: flag("/agent/allowOwnApproval", false),
            agents_max: count("/parallax/maxAgents").filter(|max| *max > 0),
            agents_per_project_max: count("/parallax/maxAgentsPerProject").unwrap_or(AGENTS_PER_PROJECT_MAX),
            default_permissions: permissions.and_then(|names| PermissionSet::parse(&names).ok()).unwrap_or_else(PermissionSet::defaults),
            sends_key_to_control_plane: flag("/parallax/sendKeyToControlPlane", false),
            terminals: TerminalRules::read(settings),
        }
    }

    /// Agents that can act at the same time: the workspace may ask for fewer than the operator allows, not for more.
    #[must_use]
    pub fn agents_max(&self, operators: u32) -> u32 {
        self.agents_max.map_or(operators, |own| own.min(operators))
    }
}

/// What the operator lets recordings of terminals take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingBounds {
    /// `None` leaves it to the workspaces.
    pub kept: Option<TimeDelta>,
    /// Per workspace.
    pub megabytes_max: u32,
}

/// Whether and for how long a workspace's terminals are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingRules {
    pub enabled: bool,
    pub keep_days: u32,
    pub max_megabytes: u32,
    /// Whether what people type is recorded, too (RT-17).
    pub input: bool,
}

impl RecordingRules {
    #[must_use]
    pub fn read(settings: &Value) -> Self {
        let at = |name: &str| settings.pointer(&format!("/agent/recording/{name}"));
        let flag = |name, default| at(name).and_then(Value::as_bool).unwrap_or(default);
        let count = |name, default| {
            let count = at(name).and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
            count.filter(|count| *count > 0).unwrap_or(default)
        };
        Self {
            enabled: flag("enabled", true),
            keep_days: count("keepDays", RECORDING_DAYS),
            max_megabytes: count("maxMegabytes", RECORDING_MEGABYTES),
            input: flag("input", false),
        }
    }

    /// How long recordings are kept: the workspace may ask for less than the operator allows, not for more.
    #[must_use]
    pub fn kept(&self, bounds: RecordingBounds) -> TimeDelta {
        let own = TimeDelta::days(self.keep_days.into());
        bounds.kept.map_or(own, |kept| own.min(kept))
    }

    /// Bytes that they may take, in the same way.
    #[must_use]
    pub fn stored_bytes_max(&self, bounds: RecordingBounds) -> u64 {
        u64::from(self.max_megabytes.min(bounds.megabytes_max)) * BYTES_PER_MEGABYTE
    }
}

/// The runtime that a workspace's settings choose in place of the operator's (D-21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomRuntime {
    pub endpoint: String,
    /// Its API key, sealed for [`CustomRuntime::key_place`]; `None` where it has none or is not to be sent.
    pub key_enc: Option<Vec<u8>>,
}

impl CustomRuntime {
    /// `None` unless `hostingMode` is `custom` and there is an endpoint. A key is sent unless
    /// `runtimeAuthType` says `none`.
    #[must_use]
    pub fn read(settings: &Value) -> Option<Self> {
        let agent = section(settings, "agent");
        let text = |name: &str| agent.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let endpoint = text("runtimeEndpoint").filter(|_| text("hostingMode") == Some("custom"))?;
        let sealed = text(RUNTIME_KEY_SEALED).filter(|_| text("runtimeAuthType") != Some("none"));
        Some(Self { endpoint: endpoint.to_owned(), key_enc: sealed.and_then(|sealed| STANDARD.decode(sealed).ok()) })
    }

    /// Where the API key of a workspace's own runtime is sealed for.
    #[must_use]
    pub fn key_place(workspace: WorkspaceId) -> String {
        format!("workspaces/{workspace}/{RUNTIME_KEY}")
    }
}

/// The runtime that a workspace uses when nobody chooses one: `custom` where its settings say so, whether or not that can
/// be called, and the operator's otherwise.
#[must_use]
pub fn used_runtime(settings: &Value) -> RuntimeName {
    let is_custom = settings.pointer("/agent/hostingMode").and_then(Value::as_str).map(str::trim) == Some("custom");
    if is_custom { RuntimeName::custom() } else { RuntimeName::environment() }
}

/// One of the objects of a workspace's settings; empty when it is not there.
#[must_use]
pub fn section<'a>(settings: &'a Value, name: &str) -> std::borrow::Cow<'a, Map<String, Value>> {
    match settings.get(name).and_then(Value::as_object) {
        Some(section) => std::borrow::Cow::Borrowed(section),
        None => std::borrow::Cow::Owned(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_absent_or_of_the_wrong_type_has_its_default() {
        for settings in [json!({}), json!(null), json!({"parallax": {"maxAgents": "many", "enabled": 1}, "agent": []})] {
            let rules = WorkspaceRules::read(&settings);
            assert!(rules.agents_enabled && !rules.public_registration && !rules.own_approval && !rules.sends_key_to_control_plane);
            assert_eq!((rules.agents_max, rules.agents_per_project_max), (None, AGENTS_PER_PROJECT_MAX));
            assert_eq!(rules.default_permissions, PermissionSet::defaults());
        }
    }

    #[test]
    fn a_workspace_has_a_runtime_of_its_own_only_where_it_says_so() {
        let read = |agent: Value| CustomRuntime::read(&json!({"agent": agent}));
        assert_eq!(read(json!({"runtimeEndpoint": "http://host:1"})), None);
        assert_eq!(read(json!({"hostingMode": "custom", "runtimeEndpoint": " "})), None);
        let with_key = json!({"hostingMode": "custom", "runtimeEndpoint": "http://host:1", "runtimeApiKeySealed": "AQI="});
        let own = read(with_key.clone()).unwrap();
        assert_eq!((own.endpoint.as_str(), own.key_enc), ("http://host:1", Some(vec![1, 2])));
        let mut without = with_key;
        without["runtimeAuthType"] = json!("none");
        assert_eq!(read(without).unwrap().key_enc, None);
    }

    #[test]
    fn a_workspace_may_keep_less_of_its_recordings_than_the_operator_allows() {
        let bounds = RecordingBounds { kept: Some(TimeDelta::days(10)), megabytes_max: 100 };
        let default = RecordingRules::read(&json!({"agent": {"recording": {"keepDays": "long", "maxMegabytes": 0}}}));
        assert!(default.enabled && !default.input);
        assert_eq!((default.keep_days, default.max_megabytes), (RECORDING_DAYS, RECORDING_MEGABYTES));
        assert_eq!((default.kept(bounds), default.stored_bytes_max(bounds)), (TimeDelta::days(10), 100 * 1024 * 1024));
        let less =
            RecordingRules::read(&json!({"agent": {"recording": {"enabled": false, "keepDays": 3, "maxMegabytes": 7, "input": true}}}));
        assert!(!less.enabled && less.input);
        assert_eq!((less.kept(bounds), less.stored_bytes_max(bounds)), (TimeDelta::days(3), 7 * 1024 * 1024));
    }

    #[test]
    fn a_workspace_may_ask_for_fewer_agents_than_the_operator_allows() {
        let rules = |max| WorkspaceRules::read(&json!({"parallax": {"maxAgents": max}}));
        assert_eq!(rules(5).agents_max(20), 5);
        assert_eq!(rules(500).agents_max(20), 20);
    }
}
