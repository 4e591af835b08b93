//! Access tokens of people (REST contract §1.2).

use std::{fmt, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

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

/// SHA-256 of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let is_whole = text.len() == 64 && text.is_ascii();
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)).filter(|_| is_whole) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        is_whole.then_some(Self(bytes))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&super::hex(&self.0))
    }
}

/// What somebody came in by, which ends when they sign out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignIn {
    pub token: TokenHash,
    /// Seconds since 1970.
    pub issued_at: i64,
}

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
    /// Tells two of the same second apart, so that each ends by itself. Tokens of Raven Docs have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
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
            jti: Some(uuid::Uuid::new_v4().to_string()),
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
    fn a_tokens_hash_is_read_as_it_is_written() {
        let hash = TokenHash::of("abc");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(TokenHash::parse(&hash.to_string()), Some(hash));
        for other in ["", "ba78", &"x".repeat(64), &"é".repeat(32)] {
            assert_eq!(TokenHash::parse(other), None, "{other}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the library compares with the system's clock")]
    fn a_token_is_good_for_its_lifetime_and_under_its_secret() {
        let tokens = Tokens::new("secret", TimeDelta::hours(1));
        let token = issue(&tokens, Utc::now());
        let claims = tokens.check(&token).unwrap();
        assert_eq!((claims.iss.as_str(), claims.exp - claims.iat), ("Raven Docs", 3600));
        assert_ne!(token, issue(&tokens, Utc::now()), "each is one of its own");
        assert!(Tokens::new("other", TimeDelta::hours(1)).check(&token).is_none());
        assert!(tokens.check(&issue(&tokens, Utc::now() - TimeDelta::hours(2))).is_none());
        let collab = tokens.issue_collab(UserId::generate(), WorkspaceId::generate(), Utc::now());
        assert!(tokens.check(&collab).is_none(), "a collaboration token signs nobody in");
    }
}
