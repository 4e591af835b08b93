//! Runtimes that a workspace may use, how each of them is, and where a new agent goes.
//!
//! A workspace knows its runtimes by name. `default` is the operator's, which all workspaces share;
//! `custom` is the one from the workspace's settings; all others are named by its admins.

use std::{fmt, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ids::{RuntimeId, WorkspaceId},
    settings::{AGENTS_MAX, CustomRuntime},
};

/// Runtimes that one workspace may name: a fleet of hosts, and few enough to look at all of them for every spawn.
pub const RUNTIMES_PER_WORKSPACE_MAX: usize = 20;
/// Runtimes that one node follows in all: each costs a connection and two tasks.
pub const RUNTIMES_MAX: usize = 500;
/// A runtime that was silent for longer is offline: three heartbeats at the usual pace (runtime contract §12).
pub const SILENCE_MAX: TimeDelta = TimeDelta::seconds(90);

/// Length of a runtime's name in characters at the most.
const NAME_CHARS_MAX: usize = 40;
const DEFAULT: &str = "default";
const CUSTOM: &str = "custom";

/// What a workspace calls a runtime: 1 to 40 of `a-z 0-9 -`, no dash at the start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "gpu", min_length = 1, max_length = 40, pattern = "^[a-z0-9][a-z0-9-]*$")]
pub struct RuntimeName(String);

/// The text is no name of a runtime.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 40 characters of a-z, 0-9 and '-', and not start with '-'")]
pub struct InvalidRuntimeName;

impl RuntimeName {
    /// The operator's runtime.
    #[must_use]
    pub fn environment() -> Self {
        Self(DEFAULT.to_owned())
    }

    /// The runtime from the workspace's settings.
    #[must_use]
    pub fn custom() -> Self {
        Self(CUSTOM.to_owned())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_environment(&self) -> bool {
        self.0 == DEFAULT
    }

    /// Whether no admin may give it to a runtime.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0 == DEFAULT || self.0 == CUSTOM
    }
}

impl FromStr for RuntimeName {
    type Err = InvalidRuntimeName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=NAME_CHARS_MAX).contains(&text.len()) && !text.starts_with('-') && text.chars().all(allowed);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidRuntimeName) }
    }
}

impl TryFrom<String> for RuntimeName {
    type Error = InvalidRuntimeName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RuntimeName> for String {
    fn from(name: RuntimeName) -> Self {
        name.0
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a runtime is heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeState {
    /// Nothing was heard of it yet.
    #[default]
    Unknown,
    Online,
    Offline,
}

impl RuntimeState {
    const ALL: [Self; 3] = [Self::Unknown, Self::Online, Self::Offline];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A runtime that a workspace's admins named.
#[derive(Clone, Debug)]
pub struct NamedRuntime {
    pub id: RuntimeId,
    pub workspace: WorkspaceId,
    pub name: RuntimeName,
    pub endpoint: String,
    /// Its bearer token, sealed for [`NamedRuntime::token_place`].
    pub token_enc: Option<Vec<u8>>,
    /// Canonical agent types that it takes; empty: all.
    pub kinds: Vec<String>,
    /// Agents that it takes at the same time; `None`: as many as there are.
    pub agents_max: Option<u32>,
    /// Whether new agents are spawned there.
    pub enabled: bool,
    pub created_at: DateTime<Utc>,
}

impl NamedRuntime {
    /// Where its token is sealed for.
    #[must_use]
    pub fn token_place(&self) -> String {
        format!("agent_runtimes/{}/token", self.id)
    }
}

/// What was last heard of a runtime.
#[derive(Clone, Debug, Default)]
pub struct RuntimeHealth {
    pub state: RuntimeState,
    /// When we last reached it.
    pub last_contact_at: Option<DateTime<Utc>>,
    /// When it last reached us.
    pub last_heartbeat_at: Option<DateTime<Utc>>,
    pub version: Option<String>,
    pub active_agents: Option<u32>,
}

impl RuntimeHealth {
    /// When a sign of life was last seen, from either side.
    #[must_use]
    pub fn last_seen_at(&self) -> Option<DateTime<Utc>> {
        self.last_contact_at.max(self.last_heartbeat_at)
    }
}

/// A runtime as one workspace sees it.
#[derive(Clone, Debug)]
pub struct WorkspaceRuntime {
    pub name: RuntimeName,
    pub endpoint: String,
    pub kinds: Vec<String>,
    pub agents_max: Option<u32>,
    pub enabled: bool,
    /// `None` for those that no admin named.
    pub created_at: Option<DateTime<Utc>>,
    pub health: RuntimeHealth,
    /// Agents of ours that run there now.
    pub live_runs: u32,
}

impl WorkspaceRuntime {
    /// The operator's runtime, which is shown without a limit of its own.
    #[must_use]
    pub fn environment(endpoint: &str) -> Self {
        Self::unlimited(RuntimeName::environment(), endpoint)
    }

    /// The runtime from the workspace's settings.
    #[must_use]
    pub fn custom(custom: &CustomRuntime) -> Self {
        Self::unlimited(RuntimeName::custom(), &custom.endpoint)
    }

    fn unlimited(name: RuntimeName, endpoint: &str) -> Self {
        Self {
            name,
            endpoint: endpoint.to_owned(),
            kinds: Vec::new(),
            agents_max: None,
            enabled: true,
            created_at: None,
            health: RuntimeHealth::default(),
            live_runs: 0,
        }
    }

    #[must_use]
    pub fn takes(&self, agent_type: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == agent_type)
    }

    #[must_use]
    pub fn has_room(&self) -> bool {
        self.agents_max.is_none_or(|max| self.live_runs < max)
    }

    /// How much of it is in use, in parts of a million. One without a limit counts as if it had a workspace's.
    fn load(&self) -> u64 {
        u64::from(self.live_runs) * 1_000_000 / u64::from(self.agents_max.unwrap_or(AGENTS_MAX).max(1))
    }
}

impl From<NamedRuntime> for WorkspaceRuntime {
    fn from(named: NamedRuntime) -> Self {
        Self {
            kinds: named.kinds,
            agents_max: named.agents_max,
            enabled: named.enabled,
            created_at: Some(named.created_at),
            ..Self::unlimited(named.name, &named.endpoint)
        }
    }
}

/// Why no runtime takes an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRuntime {
    #[error("no agent runtime is configured; set AGENT_RUNTIME_ENDPOINT or add one to the workspace")]
    NotConfigured,
    /// The one that was asked for.
    #[error("the workspace has no runtime of this name")]
    Unknown,
    #[error("the runtime is switched off")]
    Disabled,
    #[error("no runtime of the workspace takes agents of this type")]
    TypeNotTaken,
    #[error("the runtime is offline")]
    Offline,
    #[error("the runtimes have no room for so many agents")]
    Full,
}

/// Places `count` agents of a type: on the runtime `wanted`, or each on the least loaded one that takes it.
/// With `own_only` the operator's runtime gets only what is for it by name. Returns a position in
/// `runtimes` for each agent; what stands earlier wins a tie.
///
/// Errors: the reason that the fewest runtimes get past.
pub fn place(
    runtimes: &[WorkspaceRuntime],
    agent_type: &str,
    wanted: Option<&RuntimeName>,
    own_only: bool,
    count: u32,
) -> Result<Vec<usize>, NoRuntime> {
    let mut left: Vec<(usize, WorkspaceRuntime)> = runtimes.iter().cloned().enumerate().collect();
    let mut narrow = |why, good: &dyn Fn(&WorkspaceRuntime) -> bool| {
        left.retain(|(_, runtime)| good(runtime));
        if left.is_empty() { Err(why) } else { Ok(()) }
    };
    match wanted {
        Some(name) => narrow(NoRuntime::Unknown, &|runtime| runtime.name == *name)?,
        None => narrow(NoRuntime::NotConfigured, &|runtime| !(own_only && runtime.name.is_environment()))?,
    }
    narrow(NoRuntime::Disabled, &|runtime| runtime.enabled)?;
    narrow(NoRuntime::TypeNotTaken, &|runtime| runtime.takes(agent_type))?;
    narrow(NoRuntime::Offline, &|runtime| runtime.health.state != RuntimeState::Offline)?;
    let mut places = Vec::new();
    for _ in 0..count {
        let best = left.iter_mut().filter(|(_, runtime)| runtime.has_room()).min_by_key(|(_, runtime)| runtime.load());
        let (position, runtime) = best.ok_or(NoRuntime::Full)?;
        runtime.live_runs += 1;
        places.push(*position);
    }
    Ok(places)
}

/// What one link to a runtime may speak of: runs on this endpoint that were started over it. Whatever a
/// runtime says of others is no news, even where it calls an agent by the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pub endpoint: String,
    /// The workspaces that use the link, each with its name for the runtime; `None` is for all workspaces
    /// that use the operator's.
    pub users: Vec<(Option<WorkspaceId>, RuntimeName)>,
}

impl Reach {
    /// Whether runs of every workspace on the operator's runtime are within it.
    #[must_use]
    pub fn includes_environment(&self) -> bool {
        self.users.iter().any(|(workspace, _)| workspace.is_none())
    }

    /// The workspaces and their names for the runtime, as two columns.
    #[must_use]
    pub fn columns(&self) -> (Vec<Option<uuid::Uuid>>, Vec<String>) {
        self.users.iter().map(|(workspace, name)| (workspace.map(|id| id.0), name.to_string())).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(name: &str, live_runs: u32, agents_max: Option<u32>) -> WorkspaceRuntime {
        WorkspaceRuntime { agents_max, live_runs, ..WorkspaceRuntime::unlimited(name.parse().unwrap(), "http://host:1") }
    }

    fn placed(runtimes: &[WorkspaceRuntime], own_only: bool, count: u32) -> Result<Vec<&str>, NoRuntime> {
        let places = place(runtimes, "claude", None, own_only, count)?;
        Ok(places.into_iter().map(|position| runtimes[position].name.as_str()).collect())
    }

    #[test]
    fn names_keep_to_their_alphabet() {
        for good in ["gpu", "a", "eu-west-1", "default", "custom"] {
            assert!(good.parse::<RuntimeName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "GPU", "a b", "a/b", "a.b", &"x".repeat(41)] {
            assert_eq!(bad.parse::<RuntimeName>(), Err(InvalidRuntimeName), "{bad}");
        }
    }

    #[test]
    fn agents_go_where_the_least_is_in_use() {
        let runtimes = [runtime("default", 10, None), runtime("big", 4, Some(10)), runtime("small", 1, Some(2))];
        assert_eq!(placed(&runtimes, false, 4), Ok(vec!["big", "default", "big", "small"]));
        assert_eq!(placed(&runtimes[1..], false, 7), Ok(vec!["big", "big", "small", "big", "big", "big", "big"]));
        assert_eq!(placed(&runtimes[1..], false, 8), Err(NoRuntime::Full));
    }

    #[test]
    fn a_workspace_with_its_own_uses_the_operators_by_name_only() {
        let mut runtimes = [runtime("default", 0, None), runtime("own", 1, Some(2))];
        assert_eq!(placed(&runtimes, false, 2), Ok(vec!["default", "default"]));
        assert_eq!(placed(&runtimes, true, 1), Ok(vec!["own"]));
        assert_eq!(placed(&runtimes, true, 2), Err(NoRuntime::Full));
        assert_eq!(placed(&runtimes[..1], true, 1), Err(NoRuntime::NotConfigured));
        runtimes[1].health.state = RuntimeState::Offline;
        assert_eq!(placed(&runtimes, true, 1), Err(NoRuntime::Offline));
        assert_eq!(place(&runtimes, "claude", Some(&RuntimeName::environment()), true, 1), Ok(vec![0]));
    }

    #[test]
    fn the_reason_is_the_one_that_keeps_the_last_of_them_out() {
        let wanted = "gpu".parse().unwrap();
        let why = |runtimes: &[WorkspaceRuntime], wanted| place(runtimes, "claude", wanted, false, 1).unwrap_err();
        let other = runtime("other", 0, None);
        let gpu = runtime("gpu", 0, Some(1));
        assert_eq!(why(&[], None), NoRuntime::NotConfigured);
        assert_eq!(why(std::slice::from_ref(&other), Some(&wanted)), NoRuntime::Unknown);
        let off = WorkspaceRuntime { enabled: false, ..gpu.clone() };
        assert_eq!(why(&[other.clone(), off], Some(&wanted)), NoRuntime::Disabled);
        let picky = WorkspaceRuntime { kinds: vec!["codex".into()], ..gpu.clone() };
        assert_eq!(why(&[picky], None), NoRuntime::TypeNotTaken);
        let health = RuntimeHealth { state: RuntimeState::Offline, ..RuntimeHealth::default() };
        assert_eq!(why(&[WorkspaceRuntime { health, ..gpu.clone() }], None), NoRuntime::Offline);
        assert_eq!(why(&[WorkspaceRuntime { live_runs: 1, ..gpu },], None), NoRuntime::Full);
    }
}
