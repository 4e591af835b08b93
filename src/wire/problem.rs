//! Errors on the wire: the original's fields and those of RFC 9457, one shape everywhere.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

/// What went wrong with one field of the input.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({"field": "reason", "message": "must be 1 to 2000 characters"}))]
pub struct FieldProblem {
    /// Name of the field, with dots into objects.
    pub field: String,
    pub message: String,
}

/// A text, or one for each broken rule of a body.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Message {
    One(String),
    Many(Vec<String>),
}

/// The body of every error.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "statusCode": 404, "message": "agent not found", "timestamp": "2026-01-02T03:04:05.678Z", "path": "/api/parallax-agents/scout",
    "type": "about:blank", "title": "Not Found", "status": 404, "detail": "agent not found", "code": "AGENT_NOT_FOUND",
    "requestId": "3e6f6c1e-6b0f-4c36-9d0e-2f2f6d3f8a51"
}))]
pub struct ProblemBody {
    pub status_code: u16,
    pub message: Message,
    pub timestamp: super::time::Timestamp,
    pub path: String,
    /// `about:blank`: the status says it all (RFC 9457, 4.2.1).
    #[serde(rename = "type")]
    pub problem_type: &'static str,
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
    /// Stable, for programs.
    #[schema(value_type = String, example = "AGENT_NOT_FOUND")]
    pub code: &'static str,
    pub request_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// What a program needs to go on, where it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Value>,
}

/// An error on its way out. A layer of the router adds path, time and request id.
#[derive(Clone, Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: Message,
    pub errors: Vec<FieldProblem>,
    /// Boxed, since few have it: every handler's answer has room for a problem.
    pub data: Option<Box<Value>>,
    /// Seconds after which the caller may try again, told as `Retry-After`.
    pub retry_after_s: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: Message::One(message.into()), errors: Vec::new(), data: None, retry_after_s: None }
    }

    /// No credential, or one that is not good. Says no more than the original does.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Unauthorized")
    }

    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", "Forbidden")
    }

    /// One broken rule of the input.
    #[must_use]
    pub fn invalid(field: &str, message: &str) -> Self {
        Self::invalid_fields(vec![FieldProblem { field: field.to_owned(), message: message.to_owned() }])
    }

    /// Broken rules of the input; each message names its field.
    #[must_use]
    pub fn invalid_fields(errors: Vec<FieldProblem>) -> Self {
        let texts = errors.iter().map(|error| format!("{} {}", error.field, error.message)).collect();
        Self { errors, message: Message::Many(texts), ..Self::new(StatusCode::BAD_REQUEST, "VALIDATION_FAILED", "") }
    }

    /// Tells the caller's program what it needs to go on.
    #[must_use]
    pub fn with(self, data: Value) -> Self {
        Self { data: Some(Box::new(data)), ..self }
    }

    /// Tells the caller when to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// The body, once it is known what request it answers.
    #[must_use]
    pub fn body(&self, path: &str, request_id: &str, timestamp: super::time::Timestamp) -> ProblemBody {
        let detail = match &self.message {
            Message::One(text) => text.clone(),
            Message::Many(texts) => texts.join("; "),
        };
        ProblemBody {
            status_code: self.status.as_u16(),
            message: self.message.clone(),
            timestamp,
            path: path.to_owned(),
            problem_type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail,
            code: self.code,
            request_id: request_id.to_owned(),
            errors: self.errors.clone(),
            data: self.data.as_deref().cloned(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Errors of operations for a signed-in person.
#[derive(IntoResponses)]
pub enum PersonErrors {
    /// The input breaks a rule; `errors` names the field.
    #[response(status = 400)]
    Invalid(ProblemBody),
    /// No credential, or one that is not good.
    #[response(status = 401)]
    Unauthorized(ProblemBody),
    /// There is no such thing here.
    #[response(status = 404)]
    NotFound(ProblemBody),
    /// The body is longer than 64 KiB.
    #[response(status = 413)]
    TooLarge(ProblemBody),
    /// A body that comes with the cookie is not said to be JSON.
    #[response(status = 415)]
    NotJson(ProblemBody),
    /// Too many requests; `Retry-After` says in how many seconds the next one is taken.
    #[response(status = 429)]
    TooMany(ProblemBody),
    /// The database cannot be reached; try again.
    #[response(status = 503)]
    Unavailable(ProblemBody),
}

/// Errors of operations for an owner or admin, beside [`PersonErrors`].
#[derive(IntoResponses)]
pub enum AdminErrors {
    /// The person is neither owner nor admin.
    #[response(status = 403)]
    Forbidden(ProblemBody),
    /// The thing is not in a state that allows this, a limit is reached, or a request with the same
    /// `Idempotency-Key` still runs.
    #[response(status = 409)]
    Conflict(ProblemBody),
}
