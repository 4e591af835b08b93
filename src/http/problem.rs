//! Errors to answers: the one place where the domain's errors get their status.

use std::{any::Any, error::Error};

use axum::{
    Json,
    extract::{OriginalUri, Request},
    http::{HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    app::StorageError,
    domain::{
        agents::RequestError, approvals::ApprovalError, assignments::AssignmentError, auth::LoginError, idempotency::RepeatError,
        invites::InviteError, invites::RegisterError, keys::KeyError, runs::StopError, runtimes::HeartbeatError, runtimes::PlacementError,
        runtimes::RuntimeProblem, settings::SettingsError, shares::ShareError, spawns::SpawnError, steering::SteerError,
        terminals::OfferError, terminals::TerminalError, tool_approvals::DecisionError, workspaces::SetupError,
    },
    model::{agent::IllegalTransition, runtime::NoRuntime},
    wire::problem::Problem,
};

/// Carries the id of a request, given by the caller or made here.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// Seconds after which a request whose first attempt still runs may be sent again: most take less.
const REPEAT_AFTER_S: u64 = 1;

/// Completes each [`Problem`] with what it answers, and gives every answer a request id.
pub(super) async fn render(OriginalUri(uri): OriginalUri, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| is_request_id(id));
    let request_id = given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let method = request.method().clone();
    let response = next.run(request).await;
    if let Some(problem) = response.extensions().get::<Problem>().filter(|problem| problem.status.is_server_error()) {
        tracing::warn!(%method, path = uri.path(), code = problem.code, request.id = request_id, "request failed");
    }
    let mut response = written(response, uri.path(), &request_id);
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The id of the request that is being answered.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);

/// The answer with its body, where it is a [`Problem`] that has none yet.
pub(super) fn written(mut response: Response, path: &str, request_id: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    #[expect(clippy::disallowed_methods, reason = "the time of an answer needs no transaction")]
    let now = chrono::Utc::now();
    let body = problem.body(path, request_id, now.into());
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(axum::http::header::CONTENT_LENGTH);
    parts.headers.remove(axum::http::header::CONTENT_TYPE);
    let kept = std::mem::take(&mut parts.headers);
    (parts.status, kept, Json(body)).into_response()
}

fn is_request_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A handler panicked: the caller learns that we failed, the log says how.
#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(panic = text.as_deref().unwrap_or("unknown"), "a request handler panicked");
    internal().into_response()
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "this path does not know the method")
}

pub(super) fn internal() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "Internal server error")
}

/// A fault of storage: logged with its causes, told without them.
fn storage_problem(error: &StorageError) -> Problem {
    match error {
        StorageError::Unavailable(_) => {
            tracing::error!(error = error as &dyn Error, "the database is unavailable");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE", "the database cannot be reached, try again")
        }
        StorageError::KeyWithdrawn => Problem::unauthorized(),
        StorageError::ApprovalEnded => Problem::new(StatusCode::CONFLICT, "APPROVAL_OVER", error.to_string()),
        StorageError::Query(_) | StorageError::Corrupt { .. } => {
            tracing::error!(error = error as &dyn Error, "storage failed");
            internal()
        }
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        storage_problem(&error)
    }
}

impl From<IllegalTransition> for Problem {
    fn from(error: IllegalTransition) -> Self {
        Self::new(StatusCode::CONFLICT, "ILLEGAL_TRANSITION", error.to_string())
    }
}

impl From<ApprovalError> for Problem {
    fn from(error: ApprovalError) -> Self {
        match error {
            ApprovalError::NotFound => agent_not_found(),
            ApprovalError::Illegal(illegal) => illegal.into(),
            ApprovalError::Changed { .. } => Self::new(StatusCode::CONFLICT, "REQUEST_CHANGED", error.to_string()),
            ApprovalError::Exceeds(_) => Self::new(StatusCode::CONFLICT, "GRANT_EXCEEDS_REQUEST", error.to_string()),
            ApprovalError::LimitReached { .. } => Self::new(StatusCode::CONFLICT, "AGENT_LIMIT_REACHED", error.to_string()),
            ApprovalError::SwitchedOff => Self::new(StatusCode::FORBIDDEN, "AGENTS_SWITCHED_OFF", error.to_string()),
            ApprovalError::Storage(storage) => storage.into(),
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            // Not the text by which the web UI knows to offer the setup.
            RequestError::WorkspaceNotFound => Self::new(StatusCode::NOT_FOUND, "WORKSPACE_UNKNOWN", "no such workspace"),
            RequestError::NotPublic => Self::unauthorized(),
            RequestError::Forbidden => Self::new(StatusCode::FORBIDDEN, "AGENT_ID_NOT_YOURS", error.to_string()),
            RequestError::Illegal(illegal) => illegal.into(),
            RequestError::TooManyPending { .. } => Self::new(StatusCode::CONFLICT, "TOO_MANY_PENDING", error.to_string()),
            RequestError::SwitchedOff => Self::new(StatusCode::FORBIDDEN, "AGENTS_SWITCHED_OFF", error.to_string()),
            RequestError::WrongSecret => Self::new(StatusCode::FORBIDDEN, "CLAIM_REFUSED", error.to_string()),
            RequestError::Seal(_) => {
                tracing::error!(error = &error as &dyn Error, "an unclaimed key cannot be opened");
                Self::new(
                    StatusCode::CONFLICT,
                    "KEY_LOST",
                    "the key can no longer be handed out; ask an admin to revoke and approve you again",
                )
            }
            RequestError::Storage(storage) => storage.into(),
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::InviteRefused => Self::new(StatusCode::FORBIDDEN, "INVITE_REFUSED", "the invite is not valid"),
            RegisterError::Revoked => Self::new(StatusCode::FORBIDDEN, "AGENT_REVOKED", error.to_string()),
            RegisterError::Taken => Self::new(StatusCode::CONFLICT, "AGENT_ID_TAKEN", error.to_string()),
            RegisterError::Approval(approval) => approval.into(),
            RegisterError::Storage(storage) => storage.into(),
        }
    }
}

impl From<SpawnError> for Problem {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Approval(approval) => approval.into(),
            SpawnError::Assignment(assignment) => assignment.into(),
            SpawnError::Placement(placement) => placement.into(),
            SpawnError::Storage(storage) => storage.into(),
        }
    }
}

impl From<PlacementError> for Problem {
    fn from(error: PlacementError) -> Self {
        let why = match error {
            PlacementError::None(why) => why,
            PlacementError::Storage(storage) => return storage.into(),
        };
        match why {
            NoRuntime::NotConfigured => Self::new(StatusCode::SERVICE_UNAVAILABLE, "RUNTIME_NOT_CONFIGURED", why.to_string()),
            NoRuntime::Offline => Self::new(StatusCode::SERVICE_UNAVAILABLE, "RUNTIME_UNREACHABLE", why.to_string()),
            NoRuntime::Unknown => Self::new(StatusCode::NOT_FOUND, "RUNTIME_NOT_FOUND", why.to_string()),
            NoRuntime::Disabled => Self::new(StatusCode::CONFLICT, "RUNTIME_DISABLED", why.to_string()),
            NoRuntime::TypeNotTaken => Self::new(StatusCode::CONFLICT, "RUNTIME_TYPE_NOT_TAKEN", why.to_string()),
            NoRuntime::Full => Self::new(StatusCode::CONFLICT, "RUNTIME_FULL", why.to_string()),
        }
    }
}

impl From<RuntimeProblem> for Problem {
    fn from(error: RuntimeProblem) -> Self {
        match error {
            RuntimeProblem::NotFound => Self::new(StatusCode::NOT_FOUND, "RUNTIME_NOT_FOUND", error.to_string()),
            RuntimeProblem::Taken => Self::new(StatusCode::CONFLICT, "RUNTIME_NAME_TAKEN", error.to_string()),
            RuntimeProblem::Reserved => Self::invalid("name", "must not be default or custom"),
            RuntimeProblem::LimitReached { .. } => Self::new(StatusCode::CONFLICT, "RUNTIME_LIMIT_REACHED", error.to_string()),
            RuntimeProblem::InUse => Self::new(StatusCode::CONFLICT, "RUNTIME_IN_USE", error.to_string()),
            RuntimeProblem::Storage(storage) => storage.into(),
        }
    }
}

impl From<HeartbeatError> for Problem {
    fn from(error: HeartbeatError) -> Self {
        match error {
            HeartbeatError::WorkspaceUnknown => Self::new(StatusCode::NOT_FOUND, "WORKSPACE_UNKNOWN", error.to_string()),
            HeartbeatError::Foreign => Self::new(StatusCode::NOT_FOUND, "RUNTIME_NOT_FOUND", error.to_string()),
            HeartbeatError::Storage(storage) => storage.into(),
        }
    }
}

impl From<AssignmentError> for Problem {
    fn from(error: AssignmentError) -> Self {
        match error {
            AssignmentError::AgentNotFound => agent_not_found(),
            AssignmentError::TargetNotFound(_) => Self::new(StatusCode::NOT_FOUND, "TARGET_NOT_FOUND", error.to_string()),
            AssignmentError::NotFound => Self::new(StatusCode::NOT_FOUND, "ASSIGNMENT_NOT_FOUND", error.to_string()),
            AssignmentError::Forbidden => Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", error.to_string()),
            AssignmentError::Illegal(illegal) => illegal.into(),
            AssignmentError::Already(_) => Self::new(StatusCode::CONFLICT, "ALREADY_ASSIGNED", error.to_string()),
            AssignmentError::Ended => Self::new(StatusCode::CONFLICT, "ASSIGNMENT_ENDED", error.to_string()),
            AssignmentError::AgentLimit { .. } => Self::new(StatusCode::CONFLICT, "ASSIGNMENT_LIMIT_REACHED", error.to_string()),
            AssignmentError::NotLive => Self::new(StatusCode::CONFLICT, "TASK_NOT_LIVE", error.to_string()),
            AssignmentError::Taken => Self::new(StatusCode::CONFLICT, "TASK_TAKEN", error.to_string()),
            AssignmentError::ProjectLimit { .. } => Self::new(StatusCode::CONFLICT, "PROJECT_LIMIT_REACHED", error.to_string()),
            AssignmentError::Storage(storage) => storage.into(),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::NotFound => Self::new(StatusCode::NOT_FOUND, "API_KEY_NOT_FOUND", error.to_string()),
            KeyError::AgentNotFound => agent_not_found(),
            KeyError::Illegal(illegal) => illegal.into(),
            KeyError::ExpiryPast => Self::invalid("expiresAt", "must be in the future"),
            KeyError::LimitReached { .. } => Self::new(StatusCode::CONFLICT, "API_KEY_LIMIT_REACHED", error.to_string()),
            KeyError::AgentLimit { .. } => Self::new(StatusCode::CONFLICT, "AGENT_LIMIT_REACHED", error.to_string()),
            KeyError::UserUnknown => Self::invalid("userId", "is no person of the workspace who may hold a key"),
            KeyError::Storage(storage) => storage.into(),
        }
    }
}

impl From<DecisionError> for Problem {
    fn from(error: DecisionError) -> Self {
        match error {
            DecisionError::NotFound => Self::new(StatusCode::NOT_FOUND, "APPROVAL_NOT_FOUND", error.to_string()),
            DecisionError::Over(_) => Self::new(StatusCode::CONFLICT, "APPROVAL_OVER", error.to_string()),
            DecisionError::Own => Self::new(StatusCode::FORBIDDEN, "OWN_APPROVAL", error.to_string()),
            DecisionError::Storage(storage) => storage.into(),
        }
    }
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::TooManyAgents { limit } => {
                Self::invalid("parallax.maxAgents", &format!("must be at most {limit}, the operator's limit"))
            }
            SettingsError::RuntimeInUse => Self::new(StatusCode::CONFLICT, "RUNTIME_IN_USE", error.to_string()),
            SettingsError::Storage(storage) => storage.into(),
        }
    }
}

impl From<InviteError> for Problem {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::NotFound => Self::new(StatusCode::NOT_FOUND, "INVITE_NOT_FOUND", "invite not found"),
            InviteError::ExpiryPast => Self::invalid("expiresAt", "must be in the future"),
            InviteError::Storage(storage) => storage.into(),
        }
    }
}

impl From<RepeatError> for Problem {
    fn from(error: RepeatError) -> Self {
        match error {
            RepeatError::InUse => Self::new(StatusCode::CONFLICT, "IDEMPOTENCY_KEY_IN_USE", error.to_string()).retry_after(REPEAT_AFTER_S),
            RepeatError::Reused => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED", error.to_string()),
            RepeatError::Seal(_) => {
                tracing::error!(error = &error as &dyn Error, "a kept answer cannot be opened");
                Self::new(StatusCode::CONFLICT, "ANSWER_LOST", "the request was carried out and its answer can no longer be read")
            }
            RepeatError::Storage(storage) => storage.into(),
        }
    }
}

impl From<StopError> for Problem {
    fn from(error: StopError) -> Self {
        match error {
            StopError::NotRunning => Self::new(StatusCode::NOT_FOUND, "AGENT_NOT_RUNNING", "the agent has no running process"),
            StopError::Storage(storage) => storage.into(),
        }
    }
}

impl From<SteerError> for Problem {
    fn from(error: SteerError) -> Self {
        let text = error.to_string();
        match error {
            SteerError::NotRunning => Self::new(StatusCode::NOT_FOUND, "AGENT_NOT_RUNNING", text),
            SteerError::LoginRequired => Self::new(StatusCode::CONFLICT, "AUTH_REQUIRED", text),
            SteerError::Runtime(cause) if cause.is_refusal() => Self::new(StatusCode::CONFLICT, "RUNTIME_REFUSED", cause.to_string()),
            SteerError::Runtime(cause) => {
                tracing::warn!(error = &cause as &dyn std::error::Error, "an agent could not be steered");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "RUNTIME_NOT_CONNECTED", cause.to_string())
            }
            SteerError::Held { .. } => Self::new(StatusCode::CONFLICT, "NOT_CONTROLLER", text),
            SteerError::BadKeys(why) => Self::invalid("keys", &why.to_string()),
            SteerError::Storage(storage) => storage.into(),
        }
    }
}

impl From<TerminalError> for Problem {
    fn from(error: TerminalError) -> Self {
        match error {
            TerminalError::NotFound => Self::new(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND", "session not found"),
            TerminalError::Terminated => Self::new(StatusCode::CONFLICT, "SESSION_TERMINATED", error.to_string()),
            TerminalError::Forbidden => Self::forbidden(),
            TerminalError::NoRuntime => Self::new(StatusCode::SERVICE_UNAVAILABLE, "RUNTIME_NOT_CONNECTED", error.to_string()),
            TerminalError::Storage(storage) => storage.into(),
        }
    }
}

impl From<ShareError> for Problem {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::NotFound => Self::new(StatusCode::NOT_FOUND, "SHARE_NOT_FOUND", error.to_string()),
            ShareError::LimitReached { .. } => Self::new(StatusCode::CONFLICT, "SHARE_LIMIT_REACHED", error.to_string()),
            ShareError::Session(session) => session.into(),
            ShareError::Storage(storage) => storage.into(),
        }
    }
}

impl From<OfferError> for Problem {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::AgentNotFound => agent_not_found(),
            OfferError::ForeignEndpoint => Self::invalid("runtimeEndpoint", "must be one of the workspace's runtimes"),
            OfferError::Taken => Self::new(StatusCode::CONFLICT, "SESSION_TAKEN", error.to_string()),
            OfferError::Ambiguous => Self::invalid("workspaceId", "is missing, and the session is not the only one of its name"),
            OfferError::Begun(_) => Self::new(StatusCode::CONFLICT, "ILLEGAL_TRANSITION", error.to_string()),
            OfferError::Session(session) => session.into(),
            OfferError::Storage(storage) => storage.into(),
        }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Refused => Self::new(StatusCode::UNAUTHORIZED, "LOGIN_REFUSED", "email or password is wrong"),
            LoginError::Storage(storage) => storage.into(),
        }
    }
}

impl From<SetupError> for Problem {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::AlreadySetUp => Self::new(StatusCode::FORBIDDEN, "ALREADY_SET_UP", error.to_string()),
            SetupError::EmailTaken => Self::new(StatusCode::CONFLICT, "EMAIL_TAKEN", error.to_string()),
            SetupError::NotFound => super::guard::no_workspace(),
            SetupError::PersonNotFound => Self::new(StatusCode::NOT_FOUND, "PERSON_NOT_FOUND", error.to_string()),
            SetupError::LastOwner => Self::new(StatusCode::CONFLICT, "LAST_OWNER", error.to_string()),
            SetupError::Storage(storage) => storage.into(),
        }
    }
}

/// For an agent that is not there, and for another workspace's.
pub(super) fn agent_not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND", "agent not found")
}
