//! Shares of terminals as the REST API shows them.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::time::Timestamp;
use crate::model::{
    ids::{SessionId, ShareId, UserId},
    terminal_share::{NewShare, TerminalShare as Row},
};

/// How long a share is good where nobody says otherwise, in minutes.
const DEFAULT_MINUTES: u32 = 60;

/// Body that shares a terminal.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"expiresInMinutes": 60}))]
pub struct CreateShare {
    /// 60 when absent; a week at the most.
    #[validate(range(min = 1, max = 10_080, message = "must be a whole number from 1 to 10080"))]
    #[schema(minimum = 1, maximum = 10_080)]
    pub expires_in_minutes: Option<u32>,
}

impl CreateShare {
    #[must_use]
    pub fn lifetime(&self) -> TimeDelta {
        TimeDelta::minutes(self.expires_in_minutes.unwrap_or(DEFAULT_MINUTES).into())
    }
}

/// A share of a terminal.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "019a0000-0000-7000-8000-000000000006", "sessionId": "019a0000-0000-7000-8000-000000000005",
    "createdBy": "019a0000-0000-7000-8000-000000000002", "createdAt": "2030-01-01T09:00:00.000Z", "expiresAt": "2030-01-01T10:00:00.000Z",
    "revokedAt": null
}))]
pub struct TerminalShare {
    pub id: ShareId,
    pub session_id: SessionId,
    pub created_by: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    #[schema(required)]
    pub revoked_at: Option<Timestamp>,
}

impl From<Row> for TerminalShare {
    fn from(share: Row) -> Self {
        Self {
            id: share.id,
            session_id: share.session,
            created_by: share.created_by,
            created_at: share.created_at.into(),
            expires_at: share.expires_at.into(),
            revoked_at: share.revoked_at.map(Into::into),
        }
    }
}

/// A share that was just made: its token is shown this once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "share": {"id": "019a0000-0000-7000-8000-000000000006", "sessionId": "019a0000-0000-7000-8000-000000000005",
              "createdBy": "019a0000-0000-7000-8000-000000000002", "createdAt": "2030-01-01T09:00:00.000Z",
              "expiresAt": "2030-01-01T10:00:00.000Z", "revokedAt": null},
    "token": "term_share_…", "link": "https://agents.example.com/terminal/019a0000-0000-7000-8000-000000000005#share=term_share_…"
}))]
pub struct CreatedShare {
    pub share: TerminalShare,
    pub token: String,
    /// The console's page of the terminal. The token is behind the `#`, which browsers send to nobody.
    pub link: String,
}

impl CreatedShare {
    #[must_use]
    pub fn new(app_url: &str, NewShare { share, token }: NewShare) -> Self {
        let link = format!("{app_url}/terminal/{}#share={}", share.session, token.expose());
        Self { share: share.into(), token: token.expose().to_owned(), link }
    }
}
