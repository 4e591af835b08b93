//! The envelope around every successful answer (REST contract §1.4).

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// `{"data": …, "success": true, "status": 200}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<T> {
    pub data: T,
    /// Always `true`: errors have another shape.
    #[schema(example = true)]
    pub success: bool,
    /// The HTTP status.
    #[schema(example = 200)]
    pub status: u16,
}

impl<T> Envelope<T> {
    /// With status 200.
    pub fn ok(data: T) -> Self {
        Self::with(StatusCode::OK, data)
    }

    /// With status 201.
    pub fn created(data: T) -> Self {
        Self::with(StatusCode::CREATED, data)
    }

    fn with(status: StatusCode, data: T) -> Self {
        Self { data, success: true, status: status.as_u16() }
    }
}

impl<T: Serialize> IntoResponse for Envelope<T> {
    fn into_response(self) -> Response {
        (StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK), Json(self)).into_response()
    }
}

/// An answer that carries nothing: `{"success": true, "status": 200}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Empty {
    pub success: bool,
    pub status: u16,
}

impl Empty {
    pub const OK: Self = Self { success: true, status: 200 };
}

impl IntoResponse for Empty {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// `{"success": true}` inside an envelope.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    pub success: bool,
}

impl Done {
    pub const OK: Self = Self { success: true };
}
