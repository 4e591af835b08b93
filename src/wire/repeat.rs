//! Requests that may be sent again without harm.

use utoipa::{IntoParams, IntoResponses};

use super::problem::ProblemBody;

/// What such a request says beside its body.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Repeatable {
    /// Names the request, for example by a UUID: 1 to 255 visible ASCII characters. Sent again by the same
    /// caller within 24 hours, it does nothing more and gets the first answer again.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
}

/// Errors of such operations, beside those of a conflict: 409 while the first request still runs.
#[derive(IntoResponses)]
pub enum RepeatErrors {
    /// The `Idempotency-Key` was used with another body.
    #[response(status = 422)]
    KeyReused(ProblemBody),
}
