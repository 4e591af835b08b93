//! Reads requests: JSON bodies, queries, ids and callers, each with our kind of error.

use std::{ops::RangeInclusive, str::FromStr, sync::Arc, time::Duration};

use axum::{
    RequestPartsExt,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, request::Parts},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{agents::Agent, problem::Problem, server::App, threads::Thread};

/// Body limit in bytes: room for an agent's files in a spawn request.
pub(crate) const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// How long a body may take to arrive: the largest one over a line of 3 Mbit/s.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// A JSON body; errors name the member that is wrong. The content type is not looked at, as the
/// reference clients do not all send one.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes =
            timeout(BODY_WITHIN, Bytes::from_request(request, state)).await.map_err(|_| Problem::BodyTooSlow)?.map_err(|rejection| {
                if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
                    Problem::PayloadTooLarge(BODY_BYTES_MAX)
                } else {
                    Problem::Invalid(rejection.body_text())
                }
            })?;
        // Reading a list as the members in their order would go by an order that nobody documents.
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(Problem::Invalid("the body must be an object".into()));
        }
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| invalid_member("", &error))?;
        json.end().map_err(|error| Problem::Invalid(told(&error)))?;
        Ok(Self(value))
    }
}

/// Names the member at which reading failed, below `parent`.
pub(crate) fn invalid_member(parent: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    match error.path().to_string().as_str() {
        // What cannot be read at all is not one member's fault.
        _ if is_unreadable(error.inner()) => Problem::Invalid(told(error.inner())),
        // Where nothing was read there is no member to name.
        "." | "?" if parent.is_empty() => Problem::Invalid(told(error.inner())),
        "." | "?" => Problem::invalid(parent.trim_end_matches('.'), told(error.inner())),
        path => Problem::invalid(&format!("{parent}{path}"), told(error.inner())),
    }
}

fn is_unreadable(error: &serde_json::Error) -> bool {
    error.is_syntax() || error.is_eof()
}

/// What is wrong with a body, in the words of who sent it.
fn told(error: &serde_json::Error) -> String {
    if is_unreadable(error) {
        return format!("the request body is not JSON (line {}, column {})", error.line(), error.column());
    }
    let text = error.to_string();
    if text.contains("expected struct ") {
        return "must be an object".into();
    }
    if text.contains("untagged enum") { "has none of the forms that it may have".into() } else { text }
}

/// The query's parameters.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// The last value given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).last()
    }

    /// Every value of a parameter that may be repeated.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Whether `value` is among those asked for; so is every value where none is asked for.
    pub(crate) fn admit(&self, name: &str, value: Option<&str>) -> bool {
        let mut asked = self.texts(name).peekable();
        asked.peek().is_none() || asked.any(|text| Some(text) == value)
    }

    /// Errors: `Invalid`, naming the parameter, when it is no number or not within `range`.
    pub(crate) fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let why = || Problem::invalid(name, format!("must be a whole number from {} to {}", range.start(), range.end()));
        number.ok_or_else(why).map(Some)
    }

    /// Errors: `Invalid` unless `true`, `false`, `1` or `0`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.text(name) {
            None => Ok(None),
            Some("1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(_) => Err(Problem::invalid(name, "must be true or false")),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(params) =
            parts.extract().await.map_err(|error: axum::extract::rejection::QueryRejection| Problem::Invalid(error.body_text()))?;
        Ok(Self(params))
    }
}

/// The workspace that the caller acts for: it sees that workspace's agents and no others.
/// A caller that names none is the host's owner and sees all.
pub(crate) struct Workspace(pub(crate) Option<String>);

impl Workspace {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get("x-workspace-id") else {
            return Ok(Self(None));
        };
        let text = value.to_str().map_err(|_| Problem::invalid("X-Workspace-Id", "must be plain text"))?.trim();
        Ok(Self(Some(text.to_owned()).filter(|text| !text.is_empty())))
    }

    /// Errors: `Forbidden` when both name a workspace and not the same.
    pub(crate) fn and(self, named: Option<&str>) -> Result<Option<String>, Problem> {
        match (self.0, named) {
            (Some(own), Some(named)) if own != named => Err(Problem::Forbidden("the request names two different workspaces".into())),
            (own, named) => Ok(own.or_else(|| named.map(Into::into))),
        }
    }

    pub(crate) fn sees(&self, agent: &Agent) -> bool {
        self.includes(agent.workspace_id.as_deref())
    }

    pub(crate) fn includes(&self, workspace_id: Option<&str>) -> bool {
        self.0.is_none() || self.0.as_deref() == workspace_id
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Workspace {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

/// The agent that the path names, if the caller may see it.
pub(crate) struct Named(pub(crate) Arc<Agent>);

impl FromRequestParts<Arc<App>> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Path(id) = parts.extract::<Path<String>>().await.map_err(|error| Problem::Invalid(error.body_text()))?;
        let agent = app.agents.find(&id)?;
        if Workspace::of(&parts.headers)?.sees(&agent) {
            Ok(Self(agent))
        } else {
            Err(Problem::Forbidden(format!("agent {id:?} belongs to another workspace")))
        }
    }
}

/// The thread that the path names, if the caller may see it.
pub(crate) struct NamedThread(pub(crate) Arc<Thread>);

impl FromRequestParts<Arc<App>> for NamedThread {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Path(id) = parts.extract::<Path<String>>().await.map_err(|error| Problem::Invalid(error.body_text()))?;
        let thread = app.threads.find(&id)?;
        if Workspace::of(&parts.headers)?.includes(thread.workspace_id.as_deref()) {
            Ok(Self(thread))
        } else {
            Err(Problem::Forbidden(format!("thread {id:?} belongs to another workspace")))
        }
    }
}
