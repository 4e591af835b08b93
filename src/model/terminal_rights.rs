//! Who may read a terminal, type into it, and end it (realtime contract RT-10, REST contract §4.6).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{actor::Person, ids::UserId, terminal::TerminalSession, terminal_share::TerminalShare, workspace::Role};

/// Who may watch a workspace's terminals and read what was recorded of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TerminalReaders {
    /// Everybody who belongs to the workspace.
    #[default]
    Members,
    /// Only those who may type.
    Writers,
}

/// Who may type into a workspace's terminals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TerminalWriters {
    /// Owners, admins and whoever spawned the agent.
    #[default]
    Spawner,
    /// Owners and admins.
    Admins,
    /// Everybody who belongs to the workspace.
    Members,
}

/// What a workspace's settings say of its terminals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalRules {
    pub readers: TerminalReaders,
    pub writers: TerminalWriters,
}

/// Settings that say who may what at a terminal, by the names under which they are changed.
const RULE_FIELDS: [&str; 2] = ["terminalReaders", "terminalWriters"];

impl TerminalRules {
    /// Reads the settings of a workspace; what is absent or unknown has its default.
    #[must_use]
    pub fn read(settings: &Value) -> Self {
        let [readers, writers] = RULE_FIELDS.map(|name| settings.get("agent").and_then(|agent| agent.get(name)).cloned());
        Self {
            readers: readers.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default(),
            writers: writers.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default(),
        }
    }

    /// Which members may read the terminal of an agent that this person spawned.
    #[must_use]
    pub fn viewers(self, spawner: Option<UserId>) -> Viewers {
        match (self.readers, self.writers) {
            (TerminalReaders::Members, _) | (TerminalReaders::Writers, TerminalWriters::Members) => Viewers::Members,
            (TerminalReaders::Writers, TerminalWriters::Spawner) => spawner.map_or(Viewers::Nobody, Viewers::Spawner),
            (TerminalReaders::Writers, TerminalWriters::Admins) => Viewers::Nobody,
        }
    }

    /// Whether a change of these settings may change what somebody may do at a terminal.
    #[must_use]
    pub fn follow_from(changed: &[String]) -> bool {
        changed.iter().any(|name| RULE_FIELDS.contains(&name.as_str()))
    }
}

/// Which members may know what a terminal shows; owners and admins always may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Viewers {
    /// Everybody who belongs to the workspace.
    Members,
    /// Only whoever spawned the agent.
    Spawner(UserId),
    /// None. What says nothing of its viewers has no others.
    #[default]
    Nobody,
}

/// Which sessions of their workspace a person may read, as a condition for a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    All,
    /// Those of agents that this person spawned.
    SpawnedBy(UserId),
    None,
}

impl Readable {
    /// Whether the sessions of an agent that this person spawned are among them.
    #[must_use]
    pub fn includes(self, spawner: Option<UserId>) -> bool {
        match self {
            Self::All => true,
            Self::SpawnedBy(user) => spawner == Some(user),
            Self::None => false,
        }
    }

    /// Says of all sessions at once what [`TerminalRights::of`] says of each.
    #[must_use]
    pub fn by(person: &Person, rules: TerminalRules) -> Self {
        match (person.role, rules.readers, rules.writers) {
            (Role::Agent, ..) | (Role::Member, TerminalReaders::Writers, TerminalWriters::Admins) => Self::None,
            (Role::Owner | Role::Admin, ..)
            | (Role::Member, TerminalReaders::Members, _)
            | (Role::Member, TerminalReaders::Writers, TerminalWriters::Members) => Self::All,
            (Role::Member, TerminalReaders::Writers, TerminalWriters::Spawner) => Self::SpawnedBy(person.user),
        }
    }
}

/// By what somebody comes to a terminal.
#[derive(Clone, Copy, Debug)]
pub enum Claim<'a> {
    /// As one of the session's workspace, which has these rules.
    Membership(TerminalRules),
    /// With a share, at this time. Whoever comes with one reads, and no more, whatever they may do otherwise.
    Share(&'a TerminalShare, DateTime<Utc>),
}

/// What somebody may do at one terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalRights {
    pub read: bool,
    /// To type, to resize, to take control and to share.
    pub write: bool,
    /// To end the session, and its process with it.
    pub terminate: bool,
}

impl TerminalRights {
    /// What `person` may do at the terminal of `session`.
    #[must_use]
    pub fn of(person: &Person, session: &TerminalSession, claim: Claim<'_>) -> Self {
        if session.workspace != person.workspace || person.role == Role::Agent {
            return Self::default();
        }
        match claim {
            Claim::Share(share, now) => Self { read: share.admits(session.id, now), ..Self::default() },
            Claim::Membership(rules) => {
                let is_manager = person.role.manages_agents();
                let is_spawner = session.spawned_by == Some(person.user);
                let write = match rules.writers {
                    TerminalWriters::Spawner => is_manager || is_spawner,
                    TerminalWriters::Admins => is_manager,
                    TerminalWriters::Members => true,
                };
                let read = write || rules.readers == TerminalReaders::Members;
                Self { read, write, terminate: is_manager || is_spawner }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::model::{
        ids::{SessionId, ShareId, WorkspaceId},
        login::Login,
        terminal::{SessionStatus, Size},
    };

    fn person(workspace: WorkspaceId, role: Role) -> Person {
        Person { user: UserId::generate(), workspace, role, expires_at: 0, sign_in: None }
    }

    fn session(workspace: WorkspaceId, spawned_by: Option<UserId>) -> TerminalSession {
        let now = DateTime::default();
        TerminalSession {
            id: SessionId::generate(),
            workspace,
            agent: "scout".parse().unwrap(),
            runtime_session_id: "s".into(),
            status: SessionStatus::Active,
            title: None,
            size: Size::DEFAULT,
            runtime: None,
            runtime_endpoint: None,
            runtime_agent_id: None,
            agent_type: None,
            login: Login::default(),
            last_activity_at: None,
            connected_user: None,
            spawned_by,
            login_pending: false,
            created_at: now,
            updated_at: now,
            terminated_at: None,
        }
    }

    fn letters(rights: TerminalRights) -> String {
        let letter = |has, letter| if has { letter } else { '-' };
        [letter(rights.read, 'r'), letter(rights.write, 'w'), letter(rights.terminate, 't')].iter().collect()
    }

    #[test]
    fn roles_by_settings_by_actions() {
        use TerminalReaders::{Members as All, Writers as Few};
        use TerminalWriters::{Admins, Members, Spawner};
        // Readers, writers; then what an owner, an admin, a member who spawned the agent and another member may do.
        let table = [
            (All, Spawner, ["rwt", "rwt", "rwt", "r--"]),
            (All, Admins, ["rwt", "rwt", "r-t", "r--"]),
            (All, Members, ["rwt", "rwt", "rwt", "rw-"]),
            (Few, Spawner, ["rwt", "rwt", "rwt", "---"]),
            (Few, Admins, ["rwt", "rwt", "--t", "---"]),
            (Few, Members, ["rwt", "rwt", "rwt", "rw-"]),
        ];
        let workspace = WorkspaceId::generate();
        for (readers, writers, expected) in table {
            let rules = TerminalRules { readers, writers };
            let spawner = person(workspace, Role::Member);
            let session = session(workspace, Some(spawner.user));
            let people = [person(workspace, Role::Owner), person(workspace, Role::Admin), spawner, person(workspace, Role::Member)];
            for (person, expected) in people.iter().zip(expected) {
                let rights = TerminalRights::of(person, &session, Claim::Membership(rules));
                assert_eq!(letters(rights), expected, "{:?} under {rules:?}", person.role);
                let listed = Readable::by(person, rules).includes(session.spawned_by);
                assert_eq!(listed, rights.read, "{:?} under {rules:?}", person.role);
            }
            for stranger in [person(WorkspaceId::generate(), Role::Owner), person(workspace, Role::Agent)] {
                assert_eq!(TerminalRights::of(&stranger, &session, Claim::Membership(rules)), TerminalRights::default());
            }
        }
    }

    #[test]
    fn a_share_lets_members_read_one_session_until_it_ends() {
        let workspace = WorkspaceId::generate();
        let session = session(workspace, None);
        let now = DateTime::<Utc>::default();
        let share = TerminalShare {
            id: ShareId::generate(),
            workspace,
            session: session.id,
            created_by: UserId::generate(),
            created_at: now,
            expires_at: now + TimeDelta::minutes(1),
            revoked_at: None,
        };
        let may = |person: &Person, share: &TerminalShare, at| letters(TerminalRights::of(person, &session, Claim::Share(share, at)));
        let (owner, member) = (person(workspace, Role::Owner), person(workspace, Role::Member));
        assert_eq!((may(&owner, &share, now), may(&member, &share, now)), ("r--".into(), "r--".into()));
        assert_eq!(may(&member, &share, share.expires_at), "---");
        assert_eq!(may(&member, &TerminalShare { revoked_at: Some(now), ..share.clone() }, now), "---");
        assert_eq!(may(&member, &TerminalShare { session: SessionId::generate(), ..share.clone() }, now), "---");
        assert_eq!(may(&person(WorkspaceId::generate(), Role::Owner), &share, now), "---");
    }

    #[test]
    fn what_is_absent_or_unknown_has_its_default() {
        for settings in [json!({}), json!(null), json!({"agent": {"terminalReaders": "nobody", "terminalWriters": 1}})] {
            assert_eq!(TerminalRules::read(&settings), TerminalRules::default());
        }
        let rules = TerminalRules::read(&json!({"agent": {"terminalReaders": "writers", "terminalWriters": "members"}}));
        assert_eq!(rules, TerminalRules { readers: TerminalReaders::Writers, writers: TerminalWriters::Members });
        assert!(TerminalRules::follow_from(&["enabled".into(), "terminalWriters".into()]));
        assert!(!TerminalRules::follow_from(&["enabled".into()]));
    }
}
