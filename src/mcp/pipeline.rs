//! What every call passes, whatever door it came by (REST contract §5.3): tool, permission, identity,
//! arguments, policy, the tool itself, and the trace that it leaves.

use std::{
    borrow::Cow,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc::error::TrySendError, time::timeout};

use super::catalogue::{self, Call, Entry, Need, Tool, ToolError, code, workspace_of};
use crate::{
    app::{App, Proviso},
    domain::{
        tool_approvals::{self, Gate},
        tool_calls,
    },
    model::{
        account::Account,
        actor::{AgentCaller, KeyHolder},
        ids::ApprovalId,
        policy::{CallNames, Verdict},
        tool_approval::APPROVAL_ARGUMENT,
        tool_call::{self, ToolCall},
    },
    wire::time::Timestamp,
};

/// How long one tool may work: each does a few queries, which take milliseconds.
const CALL_MAX: Duration = Duration::from_secs(30);
/// How long a call that found no room in the queue may take to write its own row: its caller waits for the answer.
const RECORD_MAX: Duration = Duration::from_secs(10);

/// Calls a tool as whoever the key belongs to, under any of its names.
///
/// The call goes on when its caller goes away, so that what it did is always recorded.
pub(super) async fn call(app: &App, caller: &KeyHolder, name: &str, arguments: Map<String, Value>) -> Result<Value, ToolError> {
    let (app, caller, name) = (app.clone(), caller.clone(), name.to_owned());
    let work = app.clone().spawn(async move {
        let started = Instant::now();
        let at = now(&app);
        let entry = catalogue::find(&name);
        let done = match entry {
            None => Err(ToolError::new(code::METHOD_NOT_FOUND, format!("unknown tool: {}", tool_call::shorten(&name)))),
            Some(entry) => outcome(entry.tool.name, carry_out(&app, &caller, at, entry, &arguments)).await,
        };
        let tool = entry.map_or_else(|| tool_call::shorten(&name), |entry| entry.tool.name.to_owned());
        put_on_record(&app, noted(&caller, at, tool, &arguments, &done, started.elapsed())).await;
        done
    });
    work.await.unwrap_or_else(|_| Err(failed()))
}

/// The holder with everything that it may do now, if that meets a need: also what an agent was granted for a while.
///
/// Errors: it does not; the permissions that would, and how an agent asks for one.
pub(super) async fn admit<'a>(app: &App, caller: &'a KeyHolder, need: Need) -> Result<Cow<'a, KeyHolder>, ToolError> {
    if need.is_met_by(caller) {
        return Ok(Cow::Borrowed(caller));
    }
    let KeyHolder::Agent(agent) = caller else {
        return Err(ToolError::denied("this tool is for agents; the key is a person's"));
    };
    // Boxed, as are the other ways that few calls take: what is moved about with every call stays small.
    let granted = Box::pin(granted(app, agent)).await?;
    if need.is_met_by(&granted) {
        return Ok(Cow::Owned(granted));
    }
    let needed = need.permissions();
    let Some(first) = needed.first() else { return Err(ToolError::denied("this tool is not for agents")) };
    let ask = json!({"tool": "approval_request", "arguments": {"permission": first, "reason": "what it is for"}});
    let data = json!({"requiredPermissions": needed, "ask": ask});
    Err(ToolError::denied(format!("this needs the permission {}, which was not granted", needed.join(" or "))).with(data))
}

/// The agent with what it was granted for a while.
pub(super) async fn granted(app: &App, agent: &AgentCaller) -> Result<KeyHolder, ToolError> {
    let mut tx = app.begin().await?;
    let permissions = tool_approvals::with_grants(&mut tx, agent).await?;
    Ok(KeyHolder::Agent(AgentCaller { permissions, ..agent.clone() }))
}

/// The account that calls, with what its agent was granted for a while where it lacks one of `permissions` by itself: what
/// a tool tells beyond what it needs depends on them.
pub(super) async fn account(call: &Call<'_>, permissions: &[&str]) -> Result<Account, ToolError> {
    let own = Account::from(call.caller);
    match call.caller {
        KeyHolder::Agent(agent) if permissions.iter().any(|permission| !own.may(permission)) => {
            Ok(Account::from(&granted(call.app, agent).await?))
        }
        KeyHolder::Agent(_) | KeyHolder::Person { .. } => Ok(own),
    }
}

/// The permissions that a refused call needed one of; empty when it was refused for something else.
pub(super) fn lacking(error: &ToolError) -> Vec<&str> {
    let needed = error.data.as_ref().filter(|_| error.code == code::PERMISSION_DENIED).and_then(|data| data.get("requiredPermissions"));
    needed.and_then(Value::as_array).map(|needed| needed.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

async fn carry_out(
    app: &App,
    caller: &KeyHolder,
    at: DateTime<Utc>,
    entry: &Entry,
    arguments: &Map<String, Value>,
) -> Result<Value, ToolError> {
    catalogue::without_nul(arguments)?;
    let caller = admit(app, caller, entry.tool.need).await?;
    let arguments = entry.understood(arguments);
    own_identity(&caller, &arguments)?;
    let mut own = arguments.clone();
    for name in ["workspaceId", "agentId", APPROVAL_ARGUMENT] {
        own.remove(name);
    }
    entry.check(&own)?;
    let approval = pass_policy(app, &caller, entry, &arguments).await?;
    let named_approval = arguments.get(APPROVAL_ARGUMENT).and_then(Value::as_str);
    let call = Call { app, caller: &caller, at, arguments: &own, named_approval, approval };
    (entry.tool.run)(&call).await
}

/// Whether a person's approval could bring a call about: nobody is asked for what is refused whatever they say.
///
/// Errors: what the call would be refused with.
pub(super) async fn may_be_approved(app: &App, caller: &KeyHolder, entry: &Entry, arguments: &Map<String, Value>) -> Result<(), ToolError> {
    let caller = admit(app, caller, entry.tool.need).await?;
    own_identity(&caller, arguments)?;
    match tool_approvals::verdict(&app.policy, &caller, &CallNames { names: &entry.policy_names, also: &entry.also_named(arguments) }) {
        Verdict::Denied => Err(denied_by_policy(entry)),
        Verdict::Goes | Verdict::Asks(_) => Ok(()),
    }
}

fn denied_by_policy(entry: &Entry) -> ToolError {
    ToolError::denied(format!("the workspace's policy denies {}", entry.tool.method))
}

/// Who calls is known from the key; arguments may repeat it and must not differ (D-28).
fn own_identity(caller: &KeyHolder, arguments: &Map<String, Value>) -> Result<(), ToolError> {
    let same = |name: &str, own: &str| arguments.get(name).is_none_or(|given| given.is_null() || given.as_str() == Some(own));
    let is_own_agent = match caller {
        KeyHolder::Agent(agent) => same("agentId", agent.agent.as_str()),
        KeyHolder::Person { .. } => arguments.get("agentId").is_none_or(Value::is_null),
    };
    if is_own_agent && same("workspaceId", &workspace_of(caller).to_string()) {
        return Ok(());
    }
    Err(ToolError::denied("agentId and workspaceId must be the caller's own"))
}

/// Whether the policies let a call go on; the approval that it is to use up, if it needs one.
async fn pass_policy(
    app: &App,
    caller: &KeyHolder,
    entry: &Entry,
    arguments: &Map<String, Value>,
) -> Result<Option<ApprovalId>, ToolError> {
    match tool_approvals::verdict(&app.policy, caller, &CallNames { names: &entry.policy_names, also: &entry.also_named(arguments) }) {
        Verdict::Goes => Ok(None),
        Verdict::Denied => Err(denied_by_policy(entry)),
        Verdict::Asks(why) => Box::pin(pass_gate(app, caller, entry.tool, arguments, why)).await,
    }
}

/// Whether a call that needs a person's approval has it. One that reads uses it up here and now; of one that changes
/// something it is used up with the change.
async fn pass_gate(
    app: &App,
    caller: &KeyHolder,
    tool: &Tool,
    arguments: &Map<String, Value>,
    why: String,
) -> Result<Option<ApprovalId>, ToolError> {
    let method = tool.method;
    let mut tx = app.begin().await?;
    let gate = tool_approvals::pass(&mut tx, caller, method, arguments, &why).await?;
    let reads = tool.annotations.is_read_only();
    let used_up = if let Gate::Open(approval) = gate { Some(approval).filter(|_| reads) } else { None };
    tx.provided(Proviso { key_id: caller.key_id().to_owned(), approval: used_up });
    tx.commit().await?;
    match gate {
        Gate::Open(approval) => Ok((!reads).then_some(approval)),
        Gate::Waits { id, expires_at, lasts: _ } => {
            let message = format!("{method} needs a person's approval ({why}); repeat the call with approvalId once it is given");
            let data = json!({"approvalId": id, "expiresAt": Timestamp(expires_at), "method": method, "reason": why});
            Err(ToolError::new(code::APPROVAL_REQUIRED, message).with(data))
        }
        Gate::Refused(why) => Err(ToolError::denied(why)),
        Gate::TooMany { limit } => Err(ToolError::denied(format!("{limit} calls of yours wait for approval already"))),
    }
}

/// What comes of a tool's work, whatever that is: one that takes too long or panics has failed, and leaves a row as others do.
async fn outcome(tool: &str, work: impl Future<Output = Result<Value, ToolError>>) -> Result<Value, ToolError> {
    match timeout(CALL_MAX, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => {
            tracing::error!(tool, "a tool panicked");
            Err(failed())
        }
        Err(_) => {
            tracing::error!(tool, "a tool took too long");
            Err(ToolError::new(code::SERVER, "the call took too long and was given up"))
        }
    }
}

fn failed() -> ToolError {
    ToolError::new(code::INTERNAL, "something went wrong on the server")
}

fn noted(
    caller: &KeyHolder,
    at: DateTime<Utc>,
    tool: String,
    arguments: &Map<String, Value>,
    done: &Result<Value, ToolError>,
    took: Duration,
) -> ToolCall {
    let (agent, user) = match caller {
        KeyHolder::Agent(agent) => (Some(agent.agent.clone()), agent.user),
        KeyHolder::Person { person, .. } => (None, person.user),
    };
    let outcome = match done {
        Ok(result) => Ok(tool_call::summary(result)),
        Err(error) => Err(tool_call::shorten(&format!("{}: {}", error.code, error.message))),
    };
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    ToolCall { workspace: workspace_of(caller), agent, user, at, tool, params: tool_call::redact(arguments), duration_ms, outcome }
}

/// Hands a call to the worker that writes many at once. When its queue is full, or closed at the end of the
/// service, the call is written here and now, so that none is lost while the database answers in time.
async fn put_on_record(app: &App, call: ToolCall) {
    let Err(TrySendError::Full(call) | TrySendError::Closed(call)) = app.tool_calls.try_send(call) else { return };
    let user = call.user;
    let written = async {
        let mut tx = app.begin().await?;
        tool_calls::record(&mut tx, vec![call]).await?;
        tx.commit().await
    };
    match timeout(RECORD_MAX, Box::pin(written)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, %user, "a tool call could not be put on record"),
        Err(_) => tracing::error!(%user, "a tool call could not be put on record in time"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of a call is noted without a transaction")]
fn now(app: &App) -> DateTime<Utc> {
    app.clock.at(Utc::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tool_that_panics_has_failed() {
        let panics = outcome("test", async { panic!("on purpose") }).await;
        assert_eq!(panics.unwrap_err().code, code::INTERNAL);
        assert_eq!(outcome("test", async { Ok(json!(1)) }).await.unwrap(), json!(1));
    }
}
