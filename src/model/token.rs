//! Access tokens of people (REST contract §1.2).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{
    clock::Clock,
    ids::{UserId, WorkspaceId},
};

/// Issuer in every token; the original sets it too.
const ISSUER: &str = "Raven Docs";
/// The only type that signs a person in.
const ACCESS: &str = "access";
/// The type that the collaboration server takes, and no door of ours.
const COLLAB: &str = "collab";
/// How long a token for the collaboration server is good.
const COLLAB_LIFETIME: TimeDelta = TimeDelta::hours(24);

/// Claims of an access token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    pub sub: UserId,
    pub email: String,
    pub workspace_id: WorkspaceId,
    #[serde(rename = "type")]
    pub token_type: String,
    /// Seconds since 1970.
    pub iat: i64,
    pub exp: i64,
    pub iss: String,
}

/// Issues and checks access tokens: HS256 under `APP_SECRET`.
#[derive(Clone)]
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    lifetime: TimeDelta,
}

impl Tokens {
    #[must_use]
    pub fn new(app_secret: &str, lifetime: TimeDelta) -> Self {
        Self {
            encoding: EncodingKey::from_secret(app_secret.as_bytes()),
            decoding: DecodingKey::from_secret(app_secret.as_bytes()),
            lifetime,
        }
    }

    #[must_use]
    pub fn issue(&self, user: UserId, workspace: WorkspaceId, email: &str, now: DateTime<Utc>) -> String {
        let claims = Claims {
            sub: user,
            email: email.to_owned(),
            workspace_id: workspace,
            token_type: ACCESS.to_owned(),
            iat: now.timestamp(),
            exp: (now + self.lifetime).timestamp(),
            iss: ISSUER.to_owned(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).expect("claims always serialise")
    }

    /// A token for the collaboration server; it signs nobody in here.
    #[must_use]
    pub fn issue_collab(&self, user: UserId, workspace: WorkspaceId, now: DateTime<Utc>) -> String {
        let claims = serde_json::json!({
            "sub": user, "workspaceId": workspace, "type": COLLAB,
            "iat": now.timestamp(), "exp": (now + COLLAB_LIFETIME).timestamp(), "iss": ISSUER,
        });
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).expect("claims always serialise")
    }

    /// The claims of a token that we signed, that has not expired and that is an access token.
    #[must_use]
    pub fn check(&self, token: &str) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).ok()?.claims;
        (claims.token_type == ACCESS).then_some(claims)
    }
}

/// What credentials of connections that stay open are judged by.
#[derive(Clone, Copy)]
pub struct Judges<'a> {
    pub clock: &'a Clock,
    pub tokens: &'a Tokens,
    /// How often each is looked at, unless it ends sooner.
    pub every: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(tokens: &Tokens, now: DateTime<Utc>) -> String {
        tokens.issue(UserId::generate(), WorkspaceId::generate(), "ada@example.com", now)
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the library compares with the system's clock")]
    fn a_token_is_good_for_its_lifetime_and_under_its_secret() {
        let tokens = Tokens::new("secret", TimeDelta::hours(1));
        let token = issue(&tokens, Utc::now());
        let claims = tokens.check(&token).unwrap();
        assert_eq!((claims.iss.as_str(), claims.exp - claims.iat), ("Raven Docs", 3600));
        assert!(Tokens::new("other", TimeDelta::hours(1)).check(&token).is_none());
        assert!(tokens.check(&issue(&tokens, Utc::now() - TimeDelta::hours(2))).is_none());
        let collab = tokens.issue_collab(UserId::generate(), WorkspaceId::generate(), Utc::now());
        assert!(tokens.check(&collab).is_none(), "a collaboration token signs nobody in");
    }
}
