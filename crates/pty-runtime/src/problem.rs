//! Failures as the runtime's callers see them: an HTTP status, a stable code and a sentence.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use runtime_protocol::ErrorBody;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    Invalid(String),
    #[error("agent type {0:?} is not supported")]
    UnsupportedType(String),
    #[error("a valid bearer token is required")]
    Unauthorized,
    #[error("{0}")]
    Forbidden(String),
    #[error("agent {0:?} is not known here")]
    AgentNotFound(String),
    #[error("thread {0:?} is not known here")]
    ThreadNotFound(String),
    #[error("no such route: {0}")]
    RouteNotFound(String),
    #[error("this route does not take {0}")]
    MethodNotAllowed(String),
    #[error("agent {0:?} already exists")]
    AgentExists(String),
    #[error("agent {0:?} was started by an earlier runtime, which alone knew its environment; spawn it anew")]
    CannotRestart(String),
    #[error("thread {0:?} already exists")]
    ThreadExists(String),
    #[error("agent {0:?} has stopped")]
    AgentStopped(String),
    #[error("the input of agent {0:?} has ended")]
    InputEnded(String),
    #[error("the request body is larger than {0} bytes")]
    PayloadTooLarge(usize),
    #[error("the request body did not arrive in time")]
    BodyTooSlow,
    #[error("command {0:?} is not on the runtime's PATH")]
    CliNotFound(String),
    // The wording is the one that existing clients look for.
    #[error("Maximum agent limit reached ({0})")]
    MaxAgents(usize),
    #[error("agent could not be started: {0}")]
    SpawnFailed(String),
    #[error("the runtime is shutting down")]
    ShuttingDown,
    #[error("agent {0:?} did not end in time")]
    Timeout(String),
    #[error("agent {0:?} takes no input at the moment")]
    InputTimeout(String),
    #[error("agent {0:?} did not answer in time")]
    NoAnswer(String),
    #[error("agent {0:?} waits for a login")]
    AuthRequired(String),
    #[error("{0} callers wait for this agent already")]
    TooManyWaiting(usize),
    #[error("the runtime failed: {0}")]
    Internal(String),
}

impl Problem {
    /// A member of the request that cannot be used, and why.
    pub(crate) fn invalid(field: &str, why: impl std::fmt::Display) -> Self {
        Self::Invalid(format!("{field}: {why}"))
    }

    /// The stable code, for answers that have no status.
    pub(crate) fn code(&self) -> &'static str {
        self.status_and_code().1
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            Self::UnsupportedType(_) => (StatusCode::BAD_REQUEST, "UNSUPPORTED_TYPE"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            Self::AgentNotFound(_) => (StatusCode::NOT_FOUND, "AGENT_NOT_FOUND"),
            Self::ThreadNotFound(_) => (StatusCode::NOT_FOUND, "THREAD_NOT_FOUND"),
            Self::RouteNotFound(_) => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::AgentExists(_) => (StatusCode::CONFLICT, "AGENT_EXISTS"),
            Self::CannotRestart(_) => (StatusCode::CONFLICT, "CANNOT_RESTART"),
            Self::ThreadExists(_) => (StatusCode::CONFLICT, "THREAD_EXISTS"),
            Self::AgentStopped(_) => (StatusCode::CONFLICT, "AGENT_STOPPED"),
            Self::InputEnded(_) => (StatusCode::CONFLICT, "INPUT_ENDED"),
            Self::PayloadTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "TIMEOUT"),
            Self::CliNotFound(_) => (StatusCode::UNPROCESSABLE_ENTITY, "CLI_NOT_FOUND"),
            Self::MaxAgents(_) => (StatusCode::TOO_MANY_REQUESTS, "MAX_AGENTS"),
            Self::SpawnFailed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "SPAWN_FAILED"),
            Self::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "SHUTTING_DOWN"),
            Self::Timeout(_) | Self::InputTimeout(_) | Self::NoAnswer(_) => (StatusCode::GATEWAY_TIMEOUT, "TIMEOUT"),
            Self::AuthRequired(_) => (StatusCode::CONFLICT, "AUTH_REQUIRED"),
            Self::TooManyWaiting(_) => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_WAITING"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        if status.is_server_error() {
            tracing::warn!(code, error = %self, "request failed");
        }
        (status, Json(ErrorBody { error: self.to_string(), code: Some(code.into()) })).into_response()
    }
}
