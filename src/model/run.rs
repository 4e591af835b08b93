//! Runs: one process of a spawned agent on a runtime, and the news that move it.
//!
//! ```text
//! Spawning → Starting → Ready ⇄ LoginRequired → Stopped | Failed
//! ```
//! News come from the spawn reply, the event stream, the callback and the reconciler, repeated and
//! in any order. [`RunStatus::after`] lets each transition happen once; stopped is final.

use chrono::{DateTime, Utc};

use super::{
    ids::{AgentId, RunId, SessionId, UserId, WorkspaceId},
    runtime::RuntimeName,
    terminal::Size,
};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// The runtime was asked; nothing was heard yet.
    Spawning,
    Starting,
    LoginRequired,
    Ready,
    Stopped,
    /// The process never came to be, or the runtime gave it up.
    Failed,
}

impl RunStatus {
    pub const ALL: [Self; 6] = [Self::Spawning, Self::Starting, Self::LoginRequired, Self::Ready, Self::Stopped, Self::Failed];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spawning => "spawning",
            Self::Starting => "starting",
            Self::LoginRequired => "login_required",
            Self::Ready => "ready",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether the process is gone for good.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }

    /// The status after `news`, or `None` when they are old, repeated or too late.
    #[must_use]
    pub fn after(self, news: &RunNews) -> Option<Self> {
        match (self, news) {
            (Self::Stopped | Self::Failed, _)
            | (Self::Starting | Self::LoginRequired | Self::Ready, RunNews::Started)
            | (Self::Ready, RunNews::Ready)
            | (Self::LoginRequired, RunNews::LoginRequired { .. }) => None,
            (Self::Spawning, RunNews::Started) => Some(Self::Starting),
            (Self::Spawning | Self::Starting | Self::LoginRequired, RunNews::Ready) => Some(Self::Ready),
            (Self::Spawning | Self::Starting | Self::Ready, RunNews::LoginRequired { .. }) => Some(Self::LoginRequired),
            (_, RunNews::Stopped { .. }) => Some(Self::Stopped),
            (_, RunNews::Failed { .. }) => Some(Self::Failed),
        }
    }
}

/// What was heard of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunNews {
    Started,
    Ready,
    LoginRequired {
        /// An absolute http or https URL.
        url: Option<String>,
    },
    Stopped {
        reason: Option<String>,
        exit_code: Option<i32>,
    },
    Failed {
        error: String,
    },
}

impl RunNews {
    /// The same news for a run whose end was asked for: however its process ended, it was stopped,
    /// and for the reason that was given.
    #[must_use]
    pub fn or_stopped_on_request(self, run: &Run) -> Self {
        match self {
            Self::Stopped { exit_code, .. } if run.stop_requested_at.is_some() => Self::Stopped { reason: run.reason.clone(), exit_code },
            Self::Failed { .. } if run.stop_requested_at.is_some() => Self::Stopped { reason: run.reason.clone(), exit_code: None },
            Self::Started | Self::Ready | Self::LoginRequired { .. } | Self::Stopped { .. } | Self::Failed { .. } => self,
        }
    }
}

/// One process of a spawned agent.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: RunId,
    pub workspace: WorkspaceId,
    pub agent: AgentId,
    /// The name of the agent, for events.
    pub agent_name: String,
    /// Canonical: `claude`, `codex`, `gemini`, `aider`, `custom` or `echo`.
    pub agent_type: String,
    /// The workspace's name for the runtime that it was started on, and where that was then.
    pub runtime: RuntimeName,
    pub runtime_endpoint: String,
    pub runtime_agent_id: String,
    pub runtime_session_id: Option<String>,
    pub terminal_session: Option<SessionId>,
    pub status: RunStatus,
    /// Size of the terminal that the process starts with.
    pub size: Size,
    pub login_url: Option<String>,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub requested_by: Option<UserId>,
    pub started_at: DateTime<Utc>,
    pub stop_requested_at: Option<DateTime<Utc>>,
    pub stopped_at: Option<DateTime<Utc>>,
}

/// Keeps a login address only if a browser may be sent there: absolute http or https (RT-02).
#[must_use]
pub fn safe_login_url(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"))?;
    let host_follows = rest.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '[');
    let clean = text.len() <= 2048 && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    (host_follows && clean).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transition_happens_once_whatever_the_order_of_the_news() {
        use RunStatus::{Failed, LoginRequired, Ready, Spawning, Starting, Stopped};
        let login = RunNews::LoginRequired { url: None };
        let stopped = RunNews::Stopped { reason: None, exit_code: Some(0) };
        let failed = RunNews::Failed { error: "no".into() };
        let table = [
            (Spawning, [Some(Starting), Some(Ready), Some(LoginRequired), Some(Stopped), Some(Failed)]),
            (Starting, [None, Some(Ready), Some(LoginRequired), Some(Stopped), Some(Failed)]),
            (LoginRequired, [None, Some(Ready), None, Some(Stopped), Some(Failed)]),
            (Ready, [None, None, Some(LoginRequired), Some(Stopped), Some(Failed)]),
            (Stopped, [None; 5]),
            (Failed, [None; 5]),
        ];
        for (from, expected) in table {
            for (news, expected) in [&RunNews::Started, &RunNews::Ready, &login, &stopped, &failed].into_iter().zip(expected) {
                assert_eq!(from.after(news), expected, "{news:?} at {}", from.as_str());
            }
        }
    }

    #[test]
    fn only_web_addresses_are_login_urls() {
        assert!(safe_login_url("https://claude.ai/login?x=1").is_some());
        for bad in ["javascript:alert(1)", "Please run /login", "https://", "https:// evil", "data:text/html,x", "//host/x"] {
            assert_eq!(safe_login_url(bad), None, "{bad}");
        }
    }
}
