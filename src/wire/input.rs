//! Reads what callers send, at whatever edge, and says which field is wrong when something is.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Once,
    time::Duration,
};

use axum::{
    RequestExt as _,
    body::{Bytes, to_bytes},
    extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Query, Request},
    http::{Extensions, HeaderMap, StatusCode, header, request::Parts},
};
use http_body_util::LengthLimitError;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;
use validator::{Validate, ValidationErrors, ValidationErrorsKind};

use super::problem::{FieldProblem, Problem};
use crate::model::{
    address,
    ids::WorkspaceId,
    origin,
    permission::{PermissionSet, UnknownPermissions},
};

/// How long a request's body may take to arrive, so that nobody holds a connection with one that never ends: 1 MiB, which
/// is the longest, needs 280 kbit/s for it.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A JSON body, deserialised and validated. A missing body counts as `{}` whatever its content type
/// says (REST contract §0.3). Unknown fields are ignored.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Validate> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (_, bytes) = taken(request).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // Reading one as the fields in their order would go by an order that nobody documents.
        if text.trim_ascii_start().starts_with(b"[") {
            return Err(Problem::invalid("body", "must be an object"));
        }
        let mut json = serde_json::Deserializer::from_slice(text);
        let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| bad_json(&error))?;
        json.end().map_err(|error| Problem::invalid("body", &error.to_string()))?;
        // Postgres takes no NUL in a text; nobody needs one either.
        if holds_nul(text) {
            return Err(Problem::invalid("body", "must not contain the character U+0000"));
        }
        value.validate().map_err(|errors| Problem::invalid_fields(broken_rules(&errors)))?;
        Ok(Self(value))
    }
}

/// Reads the body of a request for somebody on its way, and puts it back for the handler.
pub async fn buffered(request: Request) -> Result<(Request, Bytes), Problem> {
    let (parts, bytes) = taken(request).await?;
    Ok((Request::from_parts(parts, bytes.clone().into()), bytes))
}

/// Takes a request apart into its head and its whole body, which is as long as its route allows and comes in time.
pub async fn taken(request: Request) -> Result<(Parts, Bytes), Problem> {
    taken_within(BODY_WITHIN, request).await
}

async fn taken_within(within: Duration, request: Request) -> Result<(Parts, Bytes), Problem> {
    let (parts, body) = request.with_limited_body().into_parts();
    match timeout(within, to_bytes(body, usize::MAX)).await {
        Ok(Ok(bytes)) => Ok((parts, bytes)),
        Ok(Err(error)) if is_too_long(&error) => Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "the body is too long")),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "BODY_UNREADABLE", "the body could not be read")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW", "the body did not arrive in time")),
    }
}

/// Whether a body could not be read because it is longer than its route allows.
fn is_too_long(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|cause| cause.downcast_ref::<LengthLimitError>().is_some())
}

/// One text of a JSON object, for somebody on the way of the request. A body without it is the handler's
/// to refuse.
#[must_use]
pub fn text_field(body: &[u8], field: &str) -> Option<String> {
    serde_json::from_slice::<serde_json::Value>(body).ok()?.get(field)?.as_str().map(str::to_owned)
}

/// The workspace that an access request names, in its body or else in its header.
#[must_use]
pub fn named_workspace(body: &[u8], headers: &HeaderMap) -> Option<WorkspaceId> {
    let header = || headers.get("x-workspace-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    text_field(body, "workspaceId").or_else(header)?.parse().ok()
}

/// Whether the JSON text holds a NUL character, written out or escaped.
fn holds_nul(text: &[u8]) -> bool {
    fn in_value(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::String(text) => text.contains('\0'),
            serde_json::Value::Array(items) => items.iter().any(in_value),
            serde_json::Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || in_value(value)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => false,
        }
    }
    // Only a text with the escape can hold one: JSON has no raw control characters.
    text.windows(6).any(|window| window.eq_ignore_ascii_case(b"\\u0000"))
        && serde_json::from_slice(text).is_ok_and(|value| in_value(&value))
}

fn bad_json(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    let field = error.path().to_string();
    let text = inner.to_string();
    // The position in the text helps nobody who built the body with a program; the value may be a secret.
    let reason = text.split(" at line ").next().unwrap_or(&text);
    let reason =
        reason.split_once(", expected ").map_or_else(|| reason.to_owned(), |(_, expected)| format!("must be {}", in_plain_words(expected)));
    Problem::invalid(if matches!(field.as_str(), "." | "?") { "body" } else { &field }, &reason)
}

/// What the deserialiser expected, without the names of our types.
fn in_plain_words(expected: &str) -> &str {
    match expected {
        "i32" | "i64" | "u16" | "u32" | "u64" => "a whole number",
        _ if expected.starts_with("struct ") => "an object",
        _ if expected.starts_with("a sequence") => "an array",
        _ if expected.starts_with("a map") => "an object",
        _ => expected,
    }
}

/// Flattens what the validator found into a list. Its own form would repeat the values, secrets too.
fn broken_rules(errors: &ValidationErrors) -> Vec<FieldProblem> {
    let mut found: Vec<FieldProblem> = errors
        .errors()
        .iter()
        .flat_map(|(field, kind)| match kind {
            ValidationErrorsKind::Field(rules) => rules
                .iter()
                .take(1)
                .map(|rule| FieldProblem {
                    field: camel_case(field),
                    message: rule.message.as_ref().map_or_else(|| "is invalid".to_owned(), ToString::to_string),
                })
                .collect::<Vec<_>>(),
            ValidationErrorsKind::Struct(inner) => broken_rules(inner),
            ValidationErrorsKind::List(items) => items.values().flat_map(|inner| broken_rules(inner)).collect(),
        })
        .collect();
    found.sort_by(|a, b| a.field.cmp(&b.field));
    found
}

/// The name on the wire of a field of ours.
pub(super) fn camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut chars = word.chars();
        name.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        name.push_str(chars.as_str());
        name
    })
}

/// A typed part of the path; one that cannot be is refused with 400.
pub struct Param<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Param<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // As in a query: Postgres takes no NUL in a text.
        if parts.uri.path().contains("%00") {
            return Err(Problem::invalid("path", "must not contain the character U+0000"));
        }
        let Path(value) =
            Path::<T>::from_request_parts(parts, state).await.map_err(|_| Problem::invalid("path", "has an id that is not valid"))?;
        Ok(Self(value))
    }
}

/// Typed query parameters.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // Postgres takes no NUL in a text; nobody needs one either.
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(Problem::invalid("query", "must not contain the character U+0000"));
        }
        let Query(value) = Query::<T>::from_request_parts(parts, state).await.map_err(|error| {
            let text = error.body_text();
            let reason = text.rsplit("query string: ").next().unwrap_or(&text);
            Problem::invalid("query", &format!("is not valid: {reason}"))
        })?;
        Ok(Self(value))
    }
}

/// Checks a list's limit: 1 to 200 (D-59).
pub fn limit(limit: Option<i64>, default: u64) -> Result<u64, Problem> {
    match limit {
        None => Ok(default),
        Some(limit) => {
            let checked = u64::try_from(limit).ok().filter(|limit| (1..=200).contains(limit));
            checked.ok_or_else(|| Problem::invalid("limit", "must be a whole number from 1 to 200"))
        }
    }
}

/// Reads a list of permissions; what is not in the catalogue is named, with the field it came in.
pub fn permissions(field: &str, strings: &[String]) -> Result<PermissionSet, Problem> {
    PermissionSet::parse(strings).map_err(|UnknownPermissions(unknown)| {
        Problem::invalid(field, &format!("must be from the catalogue; unknown: {}", unknown.join(", ")))
    })
}

/// The bearer token of a request.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The API key of a request: `Authorization: Bearer` or `X-API-Key`.
#[must_use]
pub fn api_key(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).or_else(|| headers.get("x-api-key")?.to_str().ok())
}

/// Whether the body is said to be JSON.
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// A cookie of a request.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// Where a request comes from, as limits count it: from the connection, or from `X-Forwarded-For` behind a
/// trusted proxy.
#[must_use]
pub fn subscriber(extensions: &Extensions, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let lines = headers.get_all(FORWARDED_FOR).into_iter().filter_map(|line| line.to_str().ok());
    if trusted_proxies.is_empty() && headers.contains_key(FORWARDED_FOR) {
        UNTRUSTED_PROXY.call_once(|| {
            tracing::warn!(peer = %peer, "X-Forwarded-For is not believed: if this peer is your proxy, set TRUSTED_PROXIES");
        });
    }
    address::subscriber(address::client(peer, lines.flat_map(|line| line.split(',')), trusted_proxies))
}

/// Whether what was presented is the secret, in the same time wherever they differ. Without a secret nothing is.
#[must_use]
pub fn is_secret(presented: &[u8], known: Option<&str>) -> bool {
    known.is_some_and(|known| !known.is_empty() && presented.ct_eq(known.as_bytes()).into())
}

/// Whether a browser that says where its page comes from says that it is ours.
#[must_use]
pub fn is_own_origin(headers: &HeaderMap, app_url: &str, others: &[String]) -> bool {
    let value = |name| headers.get(name).map(header::HeaderValue::as_bytes);
    origin::is_own(value(header::ORIGIN), value(header::HOST), app_url, others)
}

/// Whether a page's origin is our public one or listed by the operator.
#[must_use]
pub fn is_listed_origin(origin: &header::HeaderValue, app_url: &str, others: &[String]) -> bool {
    origin::is_listed(origin.as_bytes(), app_url, others)
}

/// The first label of the host that was asked.
#[must_use]
pub fn host_label(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()?.split(['.', ':']).next()
}

/// Carries the secret that runtimes and the control plane share with us.
pub const WEBHOOK_SECRET_HEADER: &str = "X-Webhook-Secret";

/// Where proxies say whom they speak for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// An operator is told once that limits count a proxy as one caller.
static UNTRUSTED_PROXY: Once = Once::new();

/// The session cookie (REST contract §1.2).
pub const SESSION_COOKIE: &str = "authToken";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_nul_characters_are_found_and_escaped_backslashes_are_not() {
        assert!(holds_nul(br#"{"a":["x\u0000"]}"#));
        assert!(!holds_nul(br#"{"a":"\\u0000"}"#));
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_in_time_or_at_all_is_given_up() {
        let slow = Request::new(axum::body::Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>()));
        assert_eq!(taken_within(Duration::from_millis(20), slow).await.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
        let cut =
            Request::new(axum::body::Body::from_stream(futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("")) })));
        assert_eq!(taken(cut).await.unwrap_err().code, "BODY_UNREADABLE");
        let long = Request::new(vec![b' '; 3 * 1024 * 1024].into());
        assert_eq!(taken(long).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(taken(Request::new("{}".into())).await.unwrap().1, "{}");
    }

    #[test]
    fn field_names_are_told_as_they_are_sent() {
        assert_eq!(camel_case("requested_permissions"), "requestedPermissions");
    }
}
