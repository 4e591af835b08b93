//! A workspace's agent settings (REST contract §2.8).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::{Validate, ValidationError};

use crate::model::{
    runtime::RuntimeName,
    settings::{self, RUNTIME_KEY_SEALED, WorkspaceRules},
    terminal_rights::{TerminalReaders, TerminalWriters},
};

/// How much a coding swarm may do by itself.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SwarmPermissionLevel {
    Readonly,
    #[default]
    Standard,
    Permissive,
    Yolo,
}

/// Where agents run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostingMode {
    #[default]
    Local,
    Parallax,
    Custom,
}

/// How the workspace's own runtime is authenticated to.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeAuthType {
    ApiKey,
    #[default]
    None,
}

/// Which of an agent's writes go on by themselves, wait, or are refused.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Validate, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[schema(example = json!({"allowAutoApply": [], "requireApproval": ["page.delete"], "deny": []}))]
pub struct AgentPolicy {
    #[validate(custom(function = method_list))]
    pub allow_auto_apply: Vec<String>,
    #[validate(custom(function = method_list))]
    pub require_approval: Vec<String>,
    #[validate(custom(function = method_list))]
    pub deny: Vec<String>,
}

fn method_list(items: &[String]) -> Result<(), ValidationError> {
    let fits = |item: &String| (1..=100).contains(&item.chars().count());
    if items.len() <= 200 && items.iter().all(fits) {
        return Ok(());
    }
    Err(ValidationError::new("methods").with_message("must be at most 200 texts of 1 to 100 characters".into()))
}

/// Whether and for how long terminals are recorded.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[schema(example = json!({"enabled": true, "keepDays": 30, "maxMegabytes": 1024, "input": false}))]
pub struct RecordingSettings {
    pub enabled: bool,
    /// The operator may allow less.
    #[validate(range(min = 1, max = 3650, message = "must be a whole number from 1 to 3650"))]
    #[schema(minimum = 1, maximum = 3650)]
    pub keep_days: u32,
    /// What all recordings may take together; the oldest go first. The operator may allow less.
    #[validate(range(min = 1, max = 1_000_000, message = "must be a whole number from 1 to 1000000"))]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max_megabytes: u32,
    /// Whether what people type is recorded, too; never while a login is required.
    pub input: bool,
}

impl Default for RecordingSettings {
    fn default() -> Self {
        Self { enabled: true, keep_days: settings::RECORDING_DAYS, max_megabytes: settings::RECORDING_MEGABYTES, input: false }
    }
}

/// What is to change of how terminals are recorded; what is absent stays.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"keepDays": 30, "maxMegabytes": 1024}))]
pub struct UpdateRecordingSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The operator may allow less.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 1, max = 3650, message = "must be a whole number from 1 to 3650"))]
    #[schema(minimum = 1, maximum = 3650)]
    pub keep_days: Option<u32>,
    /// What all recordings may take together; the oldest go first. The operator may allow less.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 1, max = 1_000_000, message = "must be a whole number from 1 to 1000000"))]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max_megabytes: Option<u32>,
    /// Whether what people type is recorded, too; never while a login is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<bool>,
}

/// When agents work by themselves.
#[derive(Clone, Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[schema(example = json!({"dailyEnabled": true, "dailyHour": 7, "weeklyEnabled": true, "weeklyDay": 1, "monthlyEnabled": true, "monthlyDay": 1, "timezone": "UTC"}))]
pub struct AutonomySchedule {
    pub daily_enabled: bool,
    #[validate(range(max = 23, message = "must be an hour from 0 to 23"))]
    #[schema(minimum = 0, maximum = 23)]
    pub daily_hour: u8,
    pub weekly_enabled: bool,
    #[validate(range(max = 7, message = "must be a day from 0 to 7"))]
    #[schema(minimum = 0, maximum = 7)]
    pub weekly_day: u8,
    pub monthly_enabled: bool,
    #[validate(range(min = 1, max = 31, message = "must be a day from 1 to 31"))]
    #[schema(minimum = 1, maximum = 31)]
    pub monthly_day: u8,
    #[validate(length(min = 1, max = 64, message = "must be 1 to 64 characters"))]
    #[schema(min_length = 1, max_length = 64)]
    pub timezone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 40, message = "must be at most 40 characters"))]
    #[schema(max_length = 40)]
    pub last_daily_run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 40, message = "must be at most 40 characters"))]
    #[schema(max_length = 40)]
    pub last_weekly_run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 40, message = "must be at most 40 characters"))]
    #[schema(max_length = 40)]
    pub last_weekly_review_run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 40, message = "must be at most 40 characters"))]
    #[schema(max_length = 40)]
    pub last_monthly_run: Option<String>,
}

impl Default for AutonomySchedule {
    fn default() -> Self {
        Self {
            daily_enabled: true,
            daily_hour: 7,
            weekly_enabled: true,
            weekly_day: 1,
            monthly_enabled: true,
            monthly_day: 1,
            timezone: "UTC".to_owned(),
            last_daily_run: None,
            last_weekly_run: None,
            last_weekly_review_run: None,
            last_monthly_run: None,
        }
    }
}

/// What a runtime last said of itself; `connected` only while it says so often enough (D-17).
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[schema(example = json!({"connected": true, "lastHeartbeat": "2030-01-01T09:00:00.000Z", "activeAgents": 2, "version": "0.1.0"}))]
pub struct RuntimeStatus {
    pub connected: bool,
    #[schema(required)]
    pub last_heartbeat: Option<String>,
    #[schema(required)]
    pub active_agents: Option<u32>,
    #[schema(required)]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Makes the settings, their stored form and the body that changes them from one list of fields:
/// the name, the type, the rule and the default.
macro_rules! agent_settings {
    ($($(#[doc = $doc:literal])* $name:ident: $type:ty = $default:expr, $(#[$rule:meta])*;)+) => {
        /// A workspace's agent settings, with defaults for what nobody set. Secrets are never among them (D-19).
        #[derive(Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        #[schema(example = json!({
            "enabled": true, "enableDailySummary": true, "enableAutoTriage": true, "enableMemoryAutoIngest": true,
            "enableActivityTracking": true, "enableGoalAutoLink": true, "enablePlannerLoop": true, "enableProactiveQuestions": true,
            "enableAutonomousLoop": false, "enableMemoryInsights": true, "allowAgentChat": true, "allowTaskWrites": false,
            "allowPageWrites": false, "allowProjectWrites": false, "allowGoalWrites": false, "allowResearchWrites": false,
            "allowPublicAgentRegistration": false, "allowOwnApproval": false, "chatDraftLimit": 300, "swarmPermissionLevel": "standard", "hostingMode": "local",
            "runtimeAuthType": "none", "terminalReaders": "members", "terminalWriters": "spawner", "policy": {"allowAutoApply": [], "requireApproval": [], "deny": []},
            "autonomySchedule": {"dailyEnabled": true, "dailyHour": 7, "weeklyEnabled": true, "weeklyDay": 1, "monthlyEnabled": true,
                                 "monthlyDay": 1, "timezone": "UTC"},
            "recording": {"enabled": true, "keepDays": 30, "maxMegabytes": 1024, "input": false},
            "spaceOverrides": {}, "runtimeEndpoint": null, "defaultRegion": null, "runtimeApiKeySet": false,
            "runtimeStatus": {"connected": true, "lastHeartbeat": "2030-01-01T09:00:00.000Z", "activeAgents": 2, "version": "0.1.0"},
            "parallax": {"enabled": true, "maxAgents": null, "maxAgentsPerProject": 10, "defaultPermissions": ["read:pages"],
                         "sendKeyToControlPlane": false}
        }))]
        pub struct AgentSettings {
            $($(#[doc = $doc])* pub $name: $type,)+
            pub recording: RecordingSettings,
            #[schema(required)]
            pub runtime_endpoint: Option<String>,
            #[schema(required)]
            pub default_region: Option<String>,
            /// Whether the workspace's own runtime has an API key; the key itself is never shown.
            pub runtime_api_key_set: bool,
            pub runtime_status: RuntimeStatus,
            pub parallax: ParallaxSettings,
        }

        /// Fields to change; what is absent stays.
        #[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
        #[serde(rename_all = "camelCase")]
        #[schema(example = json!({"allowPublicAgentRegistration": true, "hostingMode": "local"}))]
        pub struct UpdateAgentSettings {
            $(
                #[serde(skip_serializing_if = "Option::is_none")]
                $(#[$rule])*
                pub $name: Option<$type>,
            )+
            #[serde(skip_serializing_if = "Option::is_none")]
            #[validate(nested)]
            pub recording: Option<UpdateRecordingSettings>,
            /// Base URL of the workspace's own runtime: the configured one, or on one of the origins that the operator allows.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
            #[schema(max_length = 2000)]
            pub runtime_endpoint: Option<String>,
            /// Kept encrypted and never shown again; an empty text takes it away.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
            #[schema(max_length = 2000)]
            pub runtime_api_key: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            #[validate(length(max = 100, message = "must be at most 100 characters"))]
            #[schema(max_length = 100)]
            pub default_region: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            #[validate(nested)]
            pub parallax: Option<UpdateParallaxSettings>,
        }

        impl AgentSettings {
            /// Reads what is stored field by field: one that another program stored in another type has its default.
            #[must_use]
            pub fn read(stored: &Value) -> Self {
                let agent = settings::section(stored, "agent");
                let text = |name: &str| agent.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
                Self {
                    $($name: read(&agent, stringify!($name)).unwrap_or_else(|| $default),)+
                    recording: read(&agent, "recording").unwrap_or_default(),
                    runtime_endpoint: text("runtimeEndpoint"),
                    default_region: text("defaultRegion"),
                    runtime_api_key_set: agent.contains_key(RUNTIME_KEY_SEALED) || agent.contains_key(settings::RUNTIME_KEY),
                    runtime_status: read(&agent, "runtime_status").unwrap_or_default(),
                    parallax: ParallaxSettings::read(stored),
                }
            }
        }
    };
}

agent_settings! {
    enabled: bool = true,;
    enable_daily_summary: bool = true,;
    enable_auto_triage: bool = true,;
    enable_memory_auto_ingest: bool = true,;
    enable_activity_tracking: bool = true,;
    enable_goal_auto_link: bool = true,;
    enable_planner_loop: bool = true,;
    enable_proactive_questions: bool = true,;
    enable_autonomous_loop: bool = false,;
    enable_memory_insights: bool = true,;
    allow_agent_chat: bool = true,;
    allow_task_writes: bool = false,;
    allow_page_writes: bool = false,;
    allow_project_writes: bool = false,;
    allow_goal_writes: bool = false,;
    allow_research_writes: bool = false,;
    /// Whether agents may ask for access without the webhook secret (D-18).
    allow_public_agent_registration: bool = false,;
    /// Whether people may approve tool calls of their own keys; else another owner or admin does (D-09).
    allow_own_approval: bool = false,;
    chat_draft_limit: u32 = 300, #[validate(range(min = 50, max = 2000, message = "must be a whole number from 50 to 2000"))] #[schema(minimum = 50, maximum = 2000)];
    swarm_permission_level: SwarmPermissionLevel = SwarmPermissionLevel::default(),;
    hosting_mode: HostingMode = HostingMode::default(),;
    runtime_auth_type: RuntimeAuthType = RuntimeAuthType::default(),;
    /// Who may watch terminals and read their recordings.
    terminal_readers: TerminalReaders = TerminalReaders::default(),;
    /// Who may type into terminals, control and share them.
    terminal_writers: TerminalWriters = TerminalWriters::default(),;
    policy: AgentPolicy = AgentPolicy::default(), #[validate(nested)];
    autonomy_schedule: AutonomySchedule = AutonomySchedule::default(), #[validate(nested)];
    space_overrides: Map<String, Value> = Map::new(), #[validate(custom(function = small_object))];
}

/// Bytes of JSON that the settings of single spaces may take.
const SPACE_OVERRIDES_BYTES_MAX: usize = 16 * 1024;

fn small_object(overrides: &Map<String, Value>) -> Result<(), ValidationError> {
    let bytes = serde_json::to_vec(overrides).map_or(usize::MAX, |bytes| bytes.len());
    if bytes <= SPACE_OVERRIDES_BYTES_MAX {
        Ok(())
    } else {
        Err(ValidationError::new("size").with_message("must be at most 16 KiB".into()))
    }
}

/// A stored field by its Rust name; `None` when it is not there or of another type.
fn read<T: serde::de::DeserializeOwned>(section: &Map<String, Value>, rust_name: &str) -> Option<T> {
    let value = section.get(&super::input::camel_case(rust_name))?;
    serde_json::from_value(value.clone()).ok()
}

impl UpdateAgentSettings {
    /// The fields for `settings.agent` and those for `settings.parallax`, by the names that are stored.
    #[must_use]
    pub fn fields(&self) -> (Map<String, Value>, Map<String, Value>) {
        let mut agent = object(self);
        let parallax = agent.remove("parallax").and_then(|value| value.as_object().cloned()).unwrap_or_default();
        (agent, parallax)
    }
}

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Limits and defaults for the agents of a workspace.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"enabled": true, "maxAgents": null, "maxAgentsPerProject": 10, "defaultPermissions": ["read:pages"], "sendKeyToControlPlane": false}))]
pub struct ParallaxSettings {
    /// Whether agents may come in at all.
    pub enabled: bool,
    /// Agents that can act at the same time; null leaves it to the operator.
    #[schema(required)]
    pub max_agents: Option<u32>,
    pub max_agents_per_project: u32,
    /// What a spawned agent is granted when nobody says otherwise.
    pub default_permissions: Vec<String>,
    /// Whether the control plane is sent an approved agent's key, where it is reached by https (D-20).
    pub send_key_to_control_plane: bool,
}

impl ParallaxSettings {
    fn read(stored: &Value) -> Self {
        let rules = WorkspaceRules::read(stored);
        Self {
            enabled: rules.agents_enabled,
            max_agents: rules.agents_max,
            max_agents_per_project: rules.agents_per_project_max,
            default_permissions: rules.default_permissions.to_strings(),
            send_key_to_control_plane: rules.sends_key_to_control_plane,
        }
    }
}

/// Limits and defaults to change; what is absent stays.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"maxAgents": 10}))]
pub struct UpdateParallaxSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// 0 leaves it to the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 0, max = 10_000, message = "must be a whole number from 0 to 10000"))]
    #[schema(minimum = 0, maximum = 10_000)]
    pub max_agents: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 1, max = 1000, message = "must be a whole number from 1 to 1000"))]
    #[schema(minimum = 1, maximum = 1000)]
    pub max_agents_per_project: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 64, message = "must be at most 64 permissions"))]
    #[schema(max_items = 64)]
    pub default_permissions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_key_to_control_plane: Option<bool>,
}

/// Whether a runtime answers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"connected": true, "latency": 3, "version": "0.1.0", "activeAgents": 2}))]
pub struct RuntimeHealth {
    pub connected: bool,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_agents: Option<u32>,
    /// Why it is not connected; where it is, what was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Body that tests a runtime.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({}))]
pub struct TestRuntime {
    /// The name of one of the workspace's runtimes; goes before `endpoint`.
    pub name: Option<RuntimeName>,
    /// Base URL; the runtime that the workspace uses when both are absent.
    #[validate(length(max = 2000, message = "must be at most 2000 characters"))]
    #[schema(max_length = 2000)]
    pub endpoint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::AGENTS_PER_PROJECT_MAX;
    use serde_json::json;

    #[test]
    fn what_another_program_stored_in_another_type_has_its_default_and_secrets_stay() {
        let stored = json!({"agent": {"enabled": "yes", "chatDraftLimit": 100, "runtimeApiKey": "plain", "slackToken": "xoxb"}});
        let shown = serde_json::to_value(AgentSettings::read(&stored)).unwrap();
        assert_eq!((&shown["enabled"], &shown["chatDraftLimit"]), (&json!(true), &json!(100)));
        assert_eq!(shown["runtimeApiKeySet"], true);
        assert_eq!(shown["parallax"]["maxAgentsPerProject"], AGENTS_PER_PROJECT_MAX);
        let text = shown.to_string();
        assert!(!text.contains("plain") && !text.contains("xoxb"), "{text}");
    }
}
