//! Recordings of terminals over REST.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use super::{
    callers::{Manager, Member},
    problem,
};
use crate::{
    app::App,
    domain::{
        agents, auth,
        recordings::{self, Conn, Description, Playback, SearchPlace, Wanted},
        terminals::{self, TerminalError},
    },
    model::{
        actor::Person,
        ids::{AgentId, SessionId},
        recording::{Moment, What},
        terminal::Size,
        transcript::Lines,
    },
    wire::{
        envelope::{Empty, Envelope},
        input::{self, Param, Params},
        problem::{AdminErrors, PersonErrors, Problem},
        recordings::{
            Cast, CastQuery, CastVersion, QUERY_CHARS_MAX, Recording, RecordingMatch, RecordingMatches, RecordingSearch, RecordingSummary,
            RecordingsQuery,
        },
    },
};

/// How long one request searches; it says where to go on.
const SEARCH_WITHIN: Duration = Duration::from_secs(2);

/// List an agent's recordings.
///
/// Newest first.
#[utoipa::path(get, path = "/api/terminal/agents/{agentId}/recordings", operation_id = "listAgentRecordings", tag = "terminals",
    params(("agentId" = String, Path), RecordingsQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Vec<RecordingSummary>>), PersonErrors))]
pub(super) async fn of_agent(
    State(app): State<App>,
    Member(person): Member,
    Param(agent): Param<AgentId>,
    Params(query): Params<RecordingsQuery>,
) -> Result<Envelope<Vec<RecordingSummary>>, Problem> {
    let limit = input::limit(query.limit, 50)?;
    let mut conn = app.read().await?;
    let wanted = wanted(&mut conn, &person, agent).await?;
    let found = recordings::of_agent(&mut conn, &wanted, limit).await?;
    Ok(Envelope::ok(found.into_iter().map(Into::into).collect()))
}

/// Search an agent's recordings.
///
/// In all its sessions, newest first. One request searches for two seconds at the most; `nextCursor` goes on. Of one person one
/// search goes on at a time, and few of all.
#[utoipa::path(get, path = "/api/terminal/agents/{agentId}/recordings/search", operation_id = "searchAgentRecordings", tag = "terminals",
    params(("agentId" = String, Path), RecordingSearch), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<RecordingMatches>), PersonErrors))]
pub(super) async fn search(
    State(app): State<App>,
    Member(person): Member,
    Param(agent): Param<AgentId>,
    Params(query): Params<RecordingSearch>,
) -> Result<Envelope<RecordingMatches>, Problem> {
    let wanted = wanted(&mut *app.read().await?, &person, agent).await?;
    if query.q.trim().is_empty() || query.q.chars().count() > QUERY_CHARS_MAX {
        return Err(Problem::invalid("q", "must be 1 to 200 characters, not only spaces"));
    }
    let limit = usize::try_from(input::limit(query.limit, 50)?).unwrap_or(usize::MAX);
    let from =
        query.cursor.as_deref().map(|text| place(text).ok_or_else(|| Problem::invalid("cursor", "is not one of ours"))).transpose()?;
    let _search = app.searches.begin(person.user).ok_or_else(busy)?;
    let matches = recordings::search(&app.pool, &wanted, &query.q, from, limit, SEARCH_WITHIN).await?;
    Ok(Envelope::ok(RecordingMatches {
        items: matches.found.into_iter().map(|(recording, hit)| RecordingMatch::new(recording, hit)).collect(),
        next_cursor: matches.next.map(|next| format!("{}-{}", next.offset, next.session)),
    }))
}

fn place(cursor: &str) -> Option<SearchPlace> {
    let (offset, session) = cursor.split_once('-')?;
    Some(SearchPlace { session: session.parse().ok()?, offset: offset.parse().ok()? })
}

/// Get the recording of a terminal session.
#[utoipa::path(get, path = "/api/terminal/sessions/{sessionId}/recording", operation_id = "getRecording", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Envelope<Recording>), PersonErrors))]
pub(super) async fn get(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<SessionId>,
) -> Result<Envelope<Recording>, Problem> {
    let Description { recording, marks } = found(&app, &person, id).await?;
    Ok(Envelope::ok(Recording::new(recording, marks)))
}

/// Download a recording as asciicast.
///
/// In version 3 or 2, for any player of asciinema. What is no UTF-8 is U+FFFD in it.
#[utoipa::path(get, path = "/api/terminal/sessions/{sessionId}/recording/asciicast", operation_id = "downloadAsciicast", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path), CastQuery), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = String, content_type = "application/x-asciicast",
               example = "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24},\"timestamp\":1767323045}\n[0.1, \"o\", \"ready\"]\n"), PersonErrors))]
pub(super) async fn asciicast(
    State(app): State<App>,
    Member(person): Member,
    Param(id): Param<SessionId>,
    Params(query): Params<CastQuery>,
) -> Result<Response, Problem> {
    let version = match query.version.unwrap_or(3) {
        2 => CastVersion::Two,
        3 => CastVersion::Three,
        _ => return Err(Problem::invalid("version", "must be 2 or 3")),
    };
    let recording = found(&app, &person, id).await?.recording;
    let cast = Cast::new(version, recording.title, recording.size, recording.started_at);
    let exit_code = recording.exit_code.filter(|_| recording.ended_at.is_some());
    Ok(download(app, person, id, Form::Cast { cast, exit_code }, "application/x-asciicast", "cast"))
}

/// Download a recording as plain text.
///
/// Without escape sequences, and without what was overwritten in a line.
#[utoipa::path(get, path = "/api/terminal/sessions/{sessionId}/recording/text", operation_id = "downloadRecordingText", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = String, content_type = "text/plain", example = "ready\n"), PersonErrors))]
pub(super) async fn text(State(app): State<App>, Member(person): Member, Param(id): Param<SessionId>) -> Result<Response, Problem> {
    found(&app, &person, id).await?;
    Ok(download(app, person, id, Form::Text(Lines::default()), "text/plain; charset=utf-8", "txt"))
}

/// Delete the recording of a terminal session.
///
/// What was recorded until now; a session that goes on is recorded further.
#[utoipa::path(delete, path = "/api/terminal/sessions/{sessionId}/recording", operation_id = "deleteRecording", tag = "terminals",
    params(("sessionId" = uuid::Uuid, Path)), security(("person" = []), ("cookie" = [])),
    responses((status = 200, body = Empty), PersonErrors, AdminErrors))]
pub(super) async fn delete(State(app): State<App>, Manager(admin): Manager, Param(id): Param<SessionId>) -> Result<Empty, Problem> {
    let mut tx = app.begin().await?;
    if !recordings::delete(&mut tx, &admin, id).await? {
        return Err(not_found());
    }
    tx.commit().await?;
    Ok(Empty::OK)
}

/// The recordings of an agent that the person may read. Errors: the agent is none of the person's workspace.
async fn wanted(conn: &mut Conn, person: &Person, agent: AgentId) -> Result<Wanted, Problem> {
    agents::find(conn, person.workspace, &agent).await?.ok_or_else(problem::agent_not_found)?;
    Ok(Wanted { workspace: person.workspace, agent, readable: terminals::readable(conn, person).await? })
}

fn busy() -> Problem {
    let message = "another search goes on, of the same person or of many";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_SEARCHES", message).retry_after(SEARCH_WITHIN.as_secs())
}

/// The recording of a session that the person may read.
async fn found(app: &App, person: &Person, id: SessionId) -> Result<Description, Problem> {
    let mut conn = app.read().await?;
    let session = terminals::get(&mut conn, person, id).await?;
    recordings::describe(&mut conn, session.workspace, session.id).await?.ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "RECORDING_NOT_FOUND", "nothing is recorded of this session")
}

/// What a recording is written as.
enum Form {
    Cast { cast: Cast, exit_code: Option<i32> },
    Text(Lines),
}

impl Form {
    fn write(&mut self, size: Size, moments: &[Moment], into: &mut String) {
        match self {
            Self::Cast { cast, .. } => cast.write(size, moments, into),
            Self::Text(lines) => {
                for moment in moments {
                    if let What::Output(bytes) = &moment.what {
                        lines.read(bytes, into);
                    }
                }
            }
        }
    }

    fn finish(&mut self, into: &mut String) {
        match self {
            Self::Cast { cast, exit_code } => cast.finish(*exit_code, into),
            Self::Text(lines) => lines.finish(into),
        }
    }
}

/// A download that reads a segment whenever the caller has taken the one before; it holds no connection meanwhile, and
/// breaks off when the caller may no longer read.
struct Download {
    app: App,
    person: Person,
    session: SessionId,
    playback: Playback,
    form: Form,
    is_over: bool,
}

impl Download {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, TerminalError> {
        let mut text = String::new();
        while text.is_empty() {
            if self.is_over {
                return Ok(None);
            }
            let mut conn = self.app.read().await?;
            let person = auth::again(&mut conn, &self.app.clock, &self.person).await?.ok_or(TerminalError::NotFound)?;
            terminals::get(&mut conn, &person, self.session).await?;
            let next = self.playback.next(&mut conn).await?;
            drop(conn);
            if let Some((size, moments)) = next {
                self.form.write(size, &moments, &mut text);
            } else {
                self.form.finish(&mut text);
                self.is_over = true;
            }
        }
        Ok(Some((text.into(), self)))
    }
}

fn download(app: App, person: Person, session: SessionId, form: Form, content_type: &'static str, extension: &str) -> Response {
    let download = Download { app, person, session, playback: Playback::new(session), form, is_over: false };
    let mut response = Body::from_stream(stream::try_unfold(download, Download::next)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename=\"terminal-{session}.{extension}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}
