//! Terminal sessions and their states (realtime contract §5.9).

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ids::{AgentId, SessionId, UserId, WorkspaceId},
    login::Login,
    runtime::RuntimeName,
};

/// Where a terminal session stands. Terminated is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    Pending,
    Connecting,
    Active,
    LoginRequired,
    Disconnected,
    Terminated,
}

impl SessionStatus {
    pub const ALL: [Self; 6] = [Self::Pending, Self::Connecting, Self::Active, Self::LoginRequired, Self::Disconnected, Self::Terminated];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Connecting => "connecting",
            Self::Active => "active",
            Self::LoginRequired => "login_required",
            Self::Disconnected => "disconnected",
            Self::Terminated => "terminated",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The status after `news`, or `None` when they change nothing.
    ///
    /// `login_pending` says that the run waits for a login: then an open connection shows
    /// `login_required`, and only the agent becoming ready ends that.
    #[must_use]
    pub fn after(self, news: SessionNews, login_pending: bool) -> Option<Self> {
        let open = if login_pending { Self::LoginRequired } else { Self::Active };
        match (self, news) {
            (Self::Pending | Self::Disconnected, SessionNews::Dialing) => Some(Self::Connecting),
            (Self::Pending | Self::Connecting | Self::Disconnected, SessionNews::Connected) => Some(open),
            (Self::Connecting | Self::Active | Self::LoginRequired, SessionNews::Lost) => Some(Self::Disconnected),
            (Self::Pending | Self::Connecting | Self::Active, SessionNews::LoginRequired) => Some(Self::LoginRequired),
            (Self::LoginRequired, SessionNews::AgentReady) => Some(Self::Active),
            (Self::Pending | Self::Connecting | Self::Active | Self::LoginRequired | Self::Disconnected, SessionNews::Ended) => {
                Some(Self::Terminated)
            }
            (Self::Terminated, _)
            | (Self::Connecting | Self::Active | Self::LoginRequired, SessionNews::Dialing)
            | (Self::Active | Self::LoginRequired, SessionNews::Connected)
            | (Self::Pending | Self::Disconnected, SessionNews::Lost)
            | (Self::LoginRequired | Self::Disconnected, SessionNews::LoginRequired)
            | (Self::Pending | Self::Connecting | Self::Active | Self::Disconnected, SessionNews::AgentReady) => None,
        }
    }
}

/// What moves a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionNews {
    /// The connection to the runtime's terminal is being opened.
    Dialing,
    Connected,
    /// The connection to the runtime's terminal broke.
    Lost,
    /// The agent waits for a login.
    LoginRequired,
    AgentReady,
    /// The process ended, or somebody with the right to ended the session.
    Ended,
}

impl SessionNews {
    /// What a runtime says that reports a status of a session which stands at `known`. Nothing is news that it is pending,
    /// which no session becomes.
    #[must_use]
    pub fn of_report(reported: SessionStatus, known: SessionStatus) -> Option<Self> {
        Some(match reported {
            SessionStatus::Pending => return None,
            SessionStatus::Connecting => Self::Dialing,
            // A login that was required is done.
            SessionStatus::Active if known == SessionStatus::LoginRequired => Self::AgentReady,
            SessionStatus::Active => Self::Connected,
            SessionStatus::LoginRequired => Self::LoginRequired,
            SessionStatus::Disconnected => Self::Lost,
            SessionStatus::Terminated => Self::Ended,
        })
    }
}

/// A terminal's size in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    cols: u16,
    rows: u16,
}

impl Size {
    pub const DEFAULT: Self = Self { cols: 80, rows: 24 };

    /// `None` outside 1..=1000 columns and 1..=500 rows (realtime contract §5.6).
    #[must_use]
    pub fn new(cols: i64, rows: i64) -> Option<Self> {
        let cols = u16::try_from(cols).ok().filter(|cols| (1..=1000).contains(cols))?;
        let rows = u16::try_from(rows).ok().filter(|rows| (1..=500).contains(rows))?;
        Some(Self { cols, rows })
    }

    #[must_use]
    pub fn cols(self) -> u16 {
        self.cols
    }

    #[must_use]
    pub fn rows(self) -> u16 {
        self.rows
    }
}

/// A terminal session.
#[derive(Clone, Debug)]
pub struct TerminalSession {
    pub id: SessionId,
    pub workspace: WorkspaceId,
    pub agent: AgentId,
    pub runtime_session_id: String,
    pub status: SessionStatus,
    pub title: Option<String>,
    pub size: Size,
    /// The runtime that the session's run was started on; `None` for one that a runtime offered by itself.
    pub runtime: Option<RuntimeName>,
    pub runtime_endpoint: Option<String>,
    /// What the runtime calls the agent; the terminal is reached under this name.
    pub runtime_agent_id: Option<String>,
    /// The canonical type of the agent whose run has the session.
    pub agent_type: Option<String>,
    pub login: Login,
    pub last_activity_at: Option<DateTime<Utc>>,
    pub connected_user: Option<UserId>,
    /// Who spawned the agent; they may type beside the admins.
    pub spawned_by: Option<UserId>,
    /// Whether the agent waits for a login.
    pub login_pending: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub terminated_at: Option<DateTime<Utc>>,
}

/// A session about to be stored.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub workspace: WorkspaceId,
    pub agent: AgentId,
    pub runtime_session_id: String,
    pub title: String,
    pub runtime_endpoint: String,
    pub size: Size,
}

/// One line of a session's log.
#[derive(Clone, Debug)]
pub struct SessionLog {
    pub id: uuid::Uuid,
    pub session: SessionId,
    /// `stdin`, `stdout`, `stderr` or `system`.
    pub log_type: String,
    pub content: Option<String>,
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_terminated_and_everything_live_can_end() {
        use SessionNews::{AgentReady, Connected, Dialing, Ended, LoginRequired, Lost};
        for news in [Dialing, Connected, Lost, LoginRequired, AgentReady, Ended] {
            assert_eq!(SessionStatus::Terminated.after(news, false), None);
        }
        for live in SessionStatus::ALL.into_iter().filter(|status| *status != SessionStatus::Terminated) {
            assert_eq!(live.after(Ended, false), Some(SessionStatus::Terminated));
        }
    }

    #[test]
    fn connecting_never_hides_that_a_login_is_required() {
        assert_eq!(SessionStatus::Connecting.after(SessionNews::Connected, true), Some(SessionStatus::LoginRequired));
        assert_eq!(SessionStatus::LoginRequired.after(SessionNews::Connected, false), None);
        assert_eq!(SessionStatus::LoginRequired.after(SessionNews::AgentReady, false), Some(SessionStatus::Active));
    }

    #[test]
    fn a_reported_status_moves_a_session_as_the_same_news_do() {
        use SessionStatus::{Active, Connecting, Disconnected, LoginRequired, Pending, Terminated};
        let after = |known: SessionStatus, reported| SessionNews::of_report(reported, known).and_then(|news| known.after(news, false));
        for known in SessionStatus::ALL {
            assert_eq!(after(known, Pending), None, "{known:?}");
            assert_eq!(after(known, known), None, "{known:?}");
        }
        for (known, reported) in [(Pending, Connecting), (Connecting, Active), (LoginRequired, Active), (Active, LoginRequired)] {
            assert_eq!(after(known, reported), Some(reported));
        }
        for (known, reported) in [(Disconnected, Active), (Active, Disconnected), (LoginRequired, Disconnected), (Pending, Terminated)] {
            assert_eq!(after(known, reported), Some(reported));
        }
    }

    #[test]
    fn sizes_have_bounds() {
        assert!(Size::new(1, 1).is_some() && Size::new(1000, 500).is_some());
        for (cols, rows) in [(0, 24), (80, 0), (-1, 24), (1001, 24), (80, 501), (i64::MAX, 1)] {
            assert_eq!(Size::new(cols, rows), None);
        }
    }
}
