//! `Idempotency-Key`: a request that comes again gets the first answer again.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts as _, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    callers::{self, Manager, Member},
    input,
    problem::{self, RequestId},
};
use crate::{
    app::{App, StorageError},
    domain::idempotency::{self, Answer, Attempt, Begun, Caller},
    model::{ids::SessionId, secret::Secret},
    wire::problem::Problem,
};

/// Names a request, so that it can be sent again without harm.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Characters of a key at the most; a UUID has 36.
const KEY_CHARS_MAX: usize = 255;
/// Bytes of an answer at the most. The largest echo a profile twice, which a body of 64 KiB has carried,
/// and escapes make a character six times as long at the worst.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The operations that take a key.
#[derive(Clone, Copy)]
enum Operation {
    RequestAccess,
    Register,
    CreateInvite,
    ShareTerminal(SessionId),
    Spawn,
}

impl Operation {
    fn of(method: &Method, path: &str) -> Option<Self> {
        match (method == Method::POST).then_some(path)? {
            "/api/parallax-agents/access-request" => Some(Self::RequestAccess),
            "/api/parallax-agents/register" => Some(Self::Register),
            "/api/parallax-agents/invites" => Some(Self::CreateInvite),
            "/api/parallax-agents/spawn" => Some(Self::Spawn),
            path => shared_terminal(path).map(Self::ShareTerminal),
        }
    }

    /// As in the OpenAPI document.
    fn id(self) -> &'static str {
        match self {
            Self::RequestAccess => "requestAccess",
            Self::Register => "registerAgent",
            Self::CreateInvite => "createInvite",
            Self::ShareTerminal(_) => "shareTerminal",
            Self::Spawn => "spawnAgents",
        }
    }
}

/// The session in the path by which its terminal is shared.
fn shared_terminal(path: &str) -> Option<SessionId> {
    path.strip_prefix("/api/terminal/sessions/")?.strip_suffix("/shares")?.parse().ok()
}

/// Carries a request with a key out once. Requests without one, and those whose caller is not proven,
/// are the handler's alone.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(operation) = Operation::of(request.method(), request.uri().path()) else { return next.run(request).await };
    let key = match key(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    match begin(&app, operation, &key, request).await {
        Err(problem) => problem.into_response(),
        Ok((request, None)) => next.run(request).await,
        Ok((_, Some(Begun::Answered(answer)))) => again(answer),
        Ok((request, Some(Begun::CarryOut(attempt)))) => carry_out(app, attempt, request, next).await,
    }
}

/// The key of a request, if it has one.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(KEY).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_key = |text: &&str| (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    match value.to_str().ok().filter(is_key) {
        Some(text) if values.next().is_none() => Ok(Some(text.to_owned())),
        Some(_) | None => Err(Problem::invalid("Idempotency-Key", "must be one text of 1 to 255 visible ASCII characters")),
    }
}

async fn begin(app: &App, operation: Operation, key: &str, request: Request) -> Result<(Request, Option<Begun>), Problem> {
    let (request, body) = input::buffered(request).await?;
    let (mut parts, rest) = request.into_parts();
    let caller = match operation {
        Operation::CreateInvite | Operation::Spawn => {
            Manager::from_request_parts(&mut parts, app).await.ok().map(|Manager(admin)| Caller::Admin(admin))
        }
        Operation::ShareTerminal(session) => {
            Member::from_request_parts(&mut parts, app).await.ok().map(|Member(person)| Caller::Sharer(person, session))
        }
        Operation::Register => input::text_field(&body, "inviteToken").map(|token| Caller::Invited(Secret::presented(&token))),
        Operation::RequestAccess => requester(app, &parts, &body),
    };
    let request = Request::from_parts(parts, rest);
    let Some(caller) = caller else { return Ok((request, None)) };
    let named = idempotency::Request::new(operation.id(), &caller, key, &body);
    let mut tx = app.begin().await?;
    let begun = idempotency::begin(&mut tx, &app.policy, &named).await?;
    tx.commit().await?;
    Ok((request, Some(begun)))
}

fn requester(app: &App, parts: &axum::http::request::Parts, body: &Bytes) -> Option<Caller> {
    let workspace = input::named_workspace(body, &parts.headers)?;
    match callers::webhook_secret(&parts.extensions, &parts.headers, app) {
        Some(true) => Some(Caller::ControlPlane(workspace)),
        Some(false) => None,
        None => {
            let claim_secret = input::text_field(body, "claimSecret").map(|secret| Secret::presented(&secret));
            let address = input::subscriber(&parts.extensions, &parts.headers, &app.settings.trusted_proxies);
            Some(Caller::Requester { workspace, claim_secret, address })
        }
    }
}

/// Runs the handler to its end, also when its caller goes away: that caller is the one who will ask again.
async fn carry_out(app: App, attempt: Attempt, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let request_id = request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone()).unwrap_or_default();
    let work = app.spawn(run(app.clone(), attempt.clone(), request, next, path, request_id));
    match work.await {
        Ok(response) => response,
        Err(error) => {
            note(forget(&app, &attempt).await);
            match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => problem::internal().into_response(),
            }
        }
    }
}

async fn run(app: App, attempt: Attempt, request: Request, next: Next, path: String, request_id: String) -> Response {
    let response = tokio::select! {
        response = next.run(request) => response,
        never = show_life(&app, &attempt) => match never {},
    };
    if !is_final(response.status()) {
        note(forget(&app, &attempt).await);
        return response;
    }
    // With the path and the id of this request, which the kept answer has too.
    let (parts, body) = problem::written(response, &path, &request_id).into_parts();
    let text = to_bytes(body, ANSWER_BYTES_MAX).await.ok().and_then(|bytes| String::from_utf8(bytes.into()).ok());
    let Some(body) = text else {
        note(forget(&app, &attempt).await);
        return problem::internal().into_response();
    };
    let answer = Answer { status: parts.status.as_u16(), body };
    note(keep(&app, &attempt, &answer).await);
    Response::from_parts(parts, Body::from(answer.body))
}

/// Whether the same request would be answered the same: not by a fault of ours, and not when all that
/// was wrong is who asks or when, such as at a limit.
fn is_final(status: StatusCode) -> bool {
    let about_now =
        matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS);
    !status.is_server_error() && !about_now
}

/// Says for ever that the attempt still runs.
async fn show_life(app: &App, attempt: &Attempt) -> Infallible {
    loop {
        tokio::time::sleep(idempotency::SIGN_OF_LIFE_EVERY).await;
        let shown = async {
            let mut tx = app.begin().await?;
            idempotency::keep_alive(&mut tx, attempt).await?;
            tx.commit().await
        };
        note(shown.await);
    }
}

async fn keep(app: &App, attempt: &Attempt, answer: &Answer) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    idempotency::finish(&mut tx, &app.policy, attempt, answer).await?;
    tx.commit().await
}

async fn forget(app: &App, attempt: &Attempt) -> Result<(), StorageError> {
    let mut tx = app.begin().await?;
    idempotency::forget(&mut tx, attempt).await?;
    tx.commit().await
}

/// The request was carried out, so its caller gets the answer all the same; the next one takes over.
fn note(outcome: Result<(), StorageError>) {
    if let Err(error) = outcome {
        tracing::error!(error = &error as &dyn std::error::Error, "what came of a request with an Idempotency-Key could not be noted");
    }
}

fn again(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let json = HeaderValue::from_static("application/json");
    let replayed = HeaderValue::from_static("true");
    (status, [(header::CONTENT_TYPE, json), (REPLAYED, replayed)], answer.body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Option<String>, &'static str> {
        let values = values.iter().map(|value| (KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        key(&values.collect()).map_err(|problem| problem.code)
    }

    #[test]
    fn a_key_is_one_visible_text_of_bounded_length() {
        assert_eq!(read(&[]), Ok(None));
        for good in ["a".to_owned(), "\"quoted\"".to_owned(), "x".repeat(255)] {
            assert_eq!(read(&[&good]), Ok(Some(good)));
        }
        for bad in [vec![""], vec!["two words"], vec!["caf\u{e9}"], vec!["a", "a"]] {
            assert_eq!(read(&bad), Err("VALIDATION_FAILED"), "{bad:?}");
        }
        assert_eq!(read(&[&"x".repeat(256)]), Err("VALIDATION_FAILED"));
    }

    #[test]
    fn only_answers_that_would_be_given_again_are_final() {
        for (status, expected) in
            [(201, true), (400, true), (409, false), (401, false), (403, false), (429, false), (500, false), (503, false)]
        {
            assert_eq!(is_final(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
