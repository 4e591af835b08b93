//! Tool calls that wait for a person's approval (REST contract §2.7, §5.6, D-09).

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    cursor::Cursor,
    ids::{AgentId, ApprovalId, UserId, WorkspaceId},
};

/// How long a call waits for a decision at the most: a person has to come by.
pub const LIFETIME: TimeDelta = TimeDelta::hours(1);
/// How long a call that was approved may be used at the least: whoever asked has to learn of it and to call again.
pub const USABLE: TimeDelta = TimeDelta::minutes(10);
/// Bytes of arguments that one page of what waits has at the most, unless its first call alone has more: two calls of the
/// largest size that is taken (1 MiB).
pub const PAGE_BYTES_MAX: i64 = 2 * 1024 * 1024;
/// Calls of one requester that wait at the same time.
pub const WAITING_MAX: u32 = 20;
/// The argument by which a repeated call names its approval; it is not part of what was approved.
pub const APPROVAL_ARGUMENT: &str = "approvalId";

/// Where an approval stands. An expired one is told by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalStatus {
    Pending,
    Approved,
    Rejected,
    Consumed,
    Expired,
}

impl ApprovalStatus {
    const ALL: [Self; 5] = [Self::Pending, Self::Approved, Self::Rejected, Self::Consumed, Self::Expired];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Consumed => "consumed",
            Self::Expired => "expired",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// What a person is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalKind {
    /// To let exactly one call go on.
    Call,
    /// To let an agent have a permission for a while.
    Permission,
}

impl ApprovalKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Permission => "permission",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Call, Self::Permission].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The method under which requests for a permission are kept. No tool has it.
pub const PERMISSION_METHOD: &str = "permission.grant";
/// How long a granted permission lasts when the agent does not say, in minutes.
pub const GRANT_MINUTES: u32 = 60;
/// How long one lasts at the most, in minutes: what an agent needs for longer is its admins' to grant.
pub const GRANT_MINUTES_MAX: u32 = 24 * 60;

/// A tool call or a permission that waits for a person, or waited.
#[derive(Clone, Debug)]
pub struct ToolApproval {
    pub id: ApprovalId,
    pub kind: ApprovalKind,
    pub workspace: WorkspaceId,
    /// The account that called: a person's, or the one that stands for an agent.
    pub requested_by: Option<UserId>,
    pub agent: Option<AgentId>,
    /// Dotted name of the call.
    pub method: String,
    pub params: Value,
    /// What the approval is bound to, see [`digest`].
    pub params_hash: String,
    /// Why the call was stopped; of what was asked for in advance, and of a permission, what the caller says it is for.
    pub reason: Option<String>,
    /// Whether the caller asked for its call before it made it.
    pub in_advance: bool,
    pub status: ApprovalStatus,
    /// Until when it can be decided, or what was decided counts.
    pub expires_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

impl ToolApproval {
    /// This one's place among those that wait.
    #[must_use]
    pub fn cursor(&self) -> Cursor<ApprovalId> {
        Cursor { at: self.created_at, id: self.id }
    }

    /// Where it stands at `now`: what nobody used in time has expired.
    #[must_use]
    pub fn status_at(&self, now: DateTime<Utc>) -> ApprovalStatus {
        let is_open = matches!(self.status, ApprovalStatus::Pending | ApprovalStatus::Approved);
        if is_open && self.expires_at <= now { ApprovalStatus::Expired } else { self.status }
    }

    /// How long a permission that is asked for lasts once it is granted; `None` for a call.
    #[must_use]
    pub fn grant_lasts(&self) -> Option<TimeDelta> {
        let minutes = self.params.get("minutes").and_then(Value::as_u64).and_then(|minutes| u32::try_from(minutes).ok());
        (self.kind == ApprovalKind::Permission)
            .then(|| TimeDelta::minutes(i64::from(minutes.unwrap_or(GRANT_MINUTES).min(GRANT_MINUTES_MAX))))
    }
}

/// A permission that an agent has for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The approval by which it has it, and by which that is ended.
    pub approval: ApprovalId,
    pub permission: String,
    /// Until when, if nobody ends it before.
    pub expires_at: DateTime<Utc>,
}

/// An approval that waits, for whoever decides about it.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub approval: ToolApproval,
    pub named: Vec<Named>,
}

/// Something that an argument of a call names by its id: people decide about what they can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Name of the argument.
    pub argument: String,
    pub kind: NamedKind,
    /// Of a comment the title of its page.
    pub title: Option<String>,
}

/// What can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedKind {
    Page,
    Task,
    Project,
    Space,
    Comment,
    Person,
}

impl NamedKind {
    const ALL: [Self; 6] = [Self::Page, Self::Task, Self::Project, Self::Space, Self::Comment, Self::Person];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Task => "task",
            Self::Project => "project",
            Self::Space => "space",
            Self::Comment => "comment",
            Self::Person => "person",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The arguments of a call that may name something, with the ids that they give.
pub fn ids_in(params: &Value) -> impl Iterator<Item = (&str, &str)> {
    let fields = params.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).filter(|(name, _)| name.ends_with("Id"))
}

/// SHA-256 of a call: its method and its arguments in canonical form, without the approval's own.
#[must_use]
pub fn digest(method: &str, arguments: &Map<String, Value>) -> String {
    let mut text = format!("{method}\n");
    let arguments: Map<String, Value> =
        arguments.iter().filter(|(name, _)| *name != APPROVAL_ARGUMENT).map(|(name, value)| (name.clone(), value.clone())).collect();
    write_canonical(&Value::Object(arguments), &mut text);
    super::hex(&Sha256::digest(text.as_bytes()))
}

/// JSON with the fields of every object in order.
fn write_canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            into.push('{');
            for name in names {
                into.push_str(&Value::from(name.as_str()).to_string());
                into.push(':');
                write_canonical(&fields[name], into);
                into.push(',');
            }
            into.push('}');
        }
        Value::Array(items) => {
            into.push('[');
            for item in items {
                write_canonical(item, into);
                into.push(',');
            }
            into.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => into.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(arguments: &Value) -> String {
        digest("page.delete", arguments.as_object().unwrap())
    }

    #[test]
    fn a_digest_is_bound_to_the_arguments_and_not_to_their_order_or_the_approval() {
        let one = of(&json!({"pageId": "1", "deep": {"a": 1, "b": [2, 3]}}));
        assert_eq!(one, of(&json!({"deep": {"b": [2, 3], "a": 1}, "pageId": "1", "approvalId": "x"})));
        assert_ne!(one, of(&json!({"pageId": "2", "deep": {"a": 1, "b": [2, 3]}})));
        assert_ne!(one, of(&json!({"pageId": "1", "deep": {"a": 1, "b": [3, 2]}})));
        assert_ne!(one, digest("page.get", json!({"pageId": "1", "deep": {"a": 1, "b": [2, 3]}}).as_object().unwrap()));
    }
}
