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
    login::{Login, LoginHint},
    runtime::RuntimeName,
    terminal::Size,
    told,
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
            | (_, RunNews::StopReported { .. })
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
        hint: LoginHint,
    },
    /// A runtime that reads ends off the screen tells of one. It moves nothing until it is confirmed (RUN-05).
    StopReported {
        reason: Option<String>,
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
    /// The same news with texts that are fit to be kept.
    #[must_use]
    pub fn readable(self) -> Self {
        let text = |said: String| told::readable(&said, told::TEXT_CHARS_MAX);
        match self {
            Self::Stopped { reason, exit_code } => Self::Stopped { reason: reason.and_then(text), exit_code },
            Self::StopReported { reason } => Self::StopReported { reason: reason.and_then(text) },
            Self::Failed { error } => Self::Failed { error: told::text(&error) },
            // A hint is sorted and cut when it is read as a login.
            Self::Started | Self::Ready | Self::LoginRequired { .. } => self,
        }
    }

    /// The same news for a run whose end was asked for: however its process ended, it was stopped,
    /// and for the reason that was given.
    #[must_use]
    pub fn or_stopped_on_request(self, run: &Run) -> Self {
        match self {
            Self::Stopped { exit_code, .. } if run.stop_requested_at.is_some() => Self::Stopped { reason: run.reason.clone(), exit_code },
            Self::Failed { .. } if run.stop_requested_at.is_some() => Self::Stopped { reason: run.reason.clone(), exit_code: None },
            Self::Started
            | Self::Ready
            | Self::LoginRequired { .. }
            | Self::StopReported { .. }
            | Self::Stopped { .. }
            | Self::Failed { .. } => self,
        }
    }
}

/// An end that a runtime told of and that nothing has confirmed or refuted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReport {
    pub at: DateTime<Utc>,
    pub reason: Option<String>,
}

impl StopReport {
    /// The exit code, where the reason tells it as the original does: `exit code 7` or `normal exit`.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self.reason.as_deref()? {
            "normal exit" => Some(0),
            reason => reason.strip_prefix("exit code ")?.trim().parse().ok(),
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
    /// How the agent is logged in, while it waits for that.
    pub login: Login,
    /// Undecided; a repeat changes nothing.
    pub stop_report: Option<StopReport>,
    /// When a reported end last turned out to be none.
    pub stop_refuted_at: Option<DateTime<Utc>>,
    /// Since when a person has the terminal to themselves.
    pub paused_at: Option<DateTime<Utc>>,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub requested_by: Option<UserId>,
    pub started_at: DateTime<Utc>,
    pub stop_requested_at: Option<DateTime<Utc>>,
    pub stopped_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_transition_happens_once_whatever_the_order_of_the_news() {
        use RunStatus::{Failed, LoginRequired, Ready, Spawning, Starting, Stopped};
        let login = RunNews::LoginRequired { hint: LoginHint::default() };
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
    fn a_reported_end_moves_nothing_by_itself() {
        for status in RunStatus::ALL {
            assert_eq!(status.after(&RunNews::StopReported { reason: None }), None);
        }
        let report = |reason: &str| StopReport { at: DateTime::UNIX_EPOCH, reason: Some(reason.to_owned()) };
        assert_eq!(report("exit code 7").exit_code(), Some(7));
        assert_eq!(report("normal exit").exit_code(), Some(0));
        assert_eq!(report("container exited").exit_code(), None);
    }

    fn news() -> impl Strategy<Value = RunNews> {
        prop_oneof![
            Just(RunNews::Started),
            Just(RunNews::Ready),
            Just(RunNews::LoginRequired { hint: LoginHint::default() }),
            Just(RunNews::StopReported { reason: None }),
            Just(RunNews::Stopped { reason: None, exit_code: Some(0) }),
            Just(RunNews::Failed { error: "no".into() }),
        ]
    }

    proptest! {
        /// RUN-05: whatever is heard, in whatever order and however often, an end is final, a repeat changes nothing, and
        /// nothing goes back to before the start.
        #[test]
        fn no_order_of_news_undoes_an_end_or_repeats_a_transition(heard in prop::collection::vec((news(), 1usize..4), 0..40)) {
            let mut status = RunStatus::Spawning;
            for (news, times) in heard {
                let before = status;
                let mut transitions = 0;
                for _ in 0..times {
                    if let Some(after) = status.after(&news) {
                        status = after;
                        transitions += 1;
                    }
                }
                prop_assert!(transitions <= 1, "{news:?} counted {transitions} times at {}", before.as_str());
                prop_assert!(!before.is_final() || status == before);
                prop_assert!(before == RunStatus::Spawning || status != RunStatus::Spawning);
            }
        }
    }
}
