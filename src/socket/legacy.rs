//! Runtimes that dial in (realtime contract §5.10): a socket with the webhook secret and the name of one
//! session is that session's line, and nobody else's.

use std::sync::Arc;

use axum::{extract::Query, http::HeaderMap};
use serde::Deserialize;
use socketioxide::extract::SocketRef;

use super::{
    display::emit,
    inbox::{self, Inbox},
    payload::Payload,
    terminal::{problem_of, unavailable},
};
use crate::{
    app::App,
    domain::terminals::{self, Input, LegacyUpstream, OfferError},
    model::terminal::{SessionStatus, TerminalSession},
    wire::{
        input::{self, WEBHOOK_SECRET_HEADER},
        terminals::{Resized, TerminalProblem},
    },
};

/// Output in one event is at most this long, in bytes; a message as a whole is bounded, too.
const OUTPUT_BYTES_MAX: usize = 512 * 1024;

/// The session whose runtime a socket says to be.
pub(super) struct Claim(String);

impl Claim {
    /// What the address of a socket's connection claims.
    pub(super) fn of(socket: &SocketRef) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Claimed {
            runtime_session_id: Option<String>,
        }
        let claimed = Query::<Claimed>::try_from_uri(&socket.req_parts().uri).ok()?;
        claimed.0.runtime_session_id.map(Self)
    }
}

/// Why a socket is no runtime's, for it to be told once it is connected.
#[derive(Clone)]
pub(super) struct Refused(pub(super) TerminalProblem);

/// Marks a socket that is a runtime's.
#[derive(Clone)]
pub(super) struct Runtime;

/// Makes a socket the line of its session, if it knows the secret and the session has none.
pub(super) async fn admit(app: &App, socket: &SocketRef, Claim(name): Claim, secret: Option<&str>) {
    match open(app, &socket.req_parts().headers, &name, secret).await {
        Ok((session, line)) => {
            socket.extensions.insert(Runtime);
            register(socket, app.clone(), session, line);
        }
        Err(problem) => {
            socket.extensions.insert(Refused(problem));
        }
    }
}

async fn open(
    app: &App,
    headers: &HeaderMap,
    name: &str,
    secret: Option<&str>,
) -> Result<(TerminalSession, LegacyUpstream), TerminalProblem> {
    let in_header = || headers.get(WEBHOOK_SECRET_HEADER).map(axum::http::HeaderValue::as_bytes);
    let presented = secret.map(str::as_bytes).or_else(in_header).unwrap_or_default();
    if !input::is_secret(presented, app.settings.webhook_secret.as_deref()) {
        return Err(TerminalProblem::UNAUTHORIZED);
    }
    let mut tx = app.begin().await.map_err(unavailable)?;
    let session = terminals::named(&mut tx, name).await.map_err(problem_of_offer)?;
    let line = terminals::open_legacy(tx.conn(), &app.terminals, &session).await.map_err(unavailable)?;
    let line = line.ok_or(TerminalProblem::RUNTIME_TAKEN)?;
    tx.commit().await.map_err(unavailable)?;
    Ok((session, line))
}

/// Registers the runtime's events, which no other socket has (RT-02), and starts the tasks of its line.
fn register(socket: &SocketRef, app: App, session: TerminalSession, mut line: LegacyUpstream) {
    // What is said of the session must not keep its output waiting.
    let (outputs, statuses) = (Inbox::new(None), Inbox::new(None));
    let name = Arc::new(session.runtime_session_id.clone());
    let own = Arc::clone(&name);
    outputs.on(socket, "output", move |payload| match payload.text("data") {
        Some(data) if is_own(&payload, &own) && data.len() <= OUTPUT_BYTES_MAX => Ok(Output(data.to_owned())),
        Some(_) | None => Err(TerminalProblem::INVALID_OUTPUT),
    });
    let own = Arc::clone(&name);
    statuses.on(socket, "status", move |payload| match payload.text("status").and_then(SessionStatus::parse) {
        Some(status) if is_own(&payload, &own) => Ok(Status(status, payload.text("loginUrl").map(str::to_owned))),
        Some(_) | None => Err(TerminalProblem::INVALID_STATUS),
    });
    let gone = super::Gone::watch(socket);
    let socket = socket.clone();
    let (tasks, shutdown) = (app.tasks.clone(), app.shutdown.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = carry(&socket, &mut line, &outputs) => super::refuse(&socket),
            () = hear(&socket, &app, &session, &statuses) => {}
            () = gone.0.cancelled() => {}
            () = shutdown.cancelled() => super::close_transport(&socket),
        }
        outputs.close();
        statuses.close();
    });
}

/// Carries both directions until the session is over.
async fn carry(socket: &SocketRef, line: &mut LegacyUpstream, outputs: &Inbox<Result<Output, TerminalProblem>>) {
    let mut characters = Characters::default();
    loop {
        tokio::select! {
            (output, asked) = outputs.take() => {
                let outcome = output.map(|Output(data)| line.output(data.into()));
                if let Err(problem) = outcome {
                    super::tell(socket, problem);
                }
                asked.answer(outcome);
            }
            next = line.next() => match next {
                Some(Input::Bytes(bytes)) => emit(socket, "input", &characters.take(&bytes)).await,
                Some(Input::Resize) => emit(socket, "resize", &Resized::from(line.size())).await,
                None => return,
            },
        }
    }
}

/// Takes in what the runtime says of its session, for as long as it does.
async fn hear(socket: &SocketRef, app: &App, session: &TerminalSession, statuses: &Inbox<Result<Status, TerminalProblem>>) {
    loop {
        let (said, asked) = statuses.take().await;
        let outcome = match said {
            Ok(Status(status, url)) => report(app, session, status, url).await,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = outcome {
            super::tell(socket, problem);
        }
        asked.answer(outcome);
    }
}

/// Takes in one status, as over REST.
async fn report(app: &App, session: &TerminalSession, status: SessionStatus, url: Option<String>) -> Result<(), TerminalProblem> {
    let mut tx = app.begin().await.map_err(unavailable)?;
    let (workspace, name) = (Some(session.workspace), session.runtime_session_id.as_str());
    terminals::report_status(&mut tx, &app.policy, workspace, name, status, url).await.map_err(problem_of_offer)?;
    tx.commit().await.map_err(unavailable)
}

/// What the terminal printed next.
struct Output(String);

impl inbox::Command for Result<Output, TerminalProblem> {
    fn input_bytes(&self) -> usize {
        self.as_ref().map_or(0, |Output(data)| data.len())
    }

    fn join(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Ok(Output(output)), Ok(Output(more))) if output.len() + more.len() <= OUTPUT_BYTES_MAX => {
                output.push_str(&more);
                None
            }
            (_, next) => Some(next),
        }
    }
}

/// How the session stands, and where to log in.
struct Status(SessionStatus, Option<String>);

impl inbox::Command for Result<Status, TerminalProblem> {
    fn input_bytes(&self) -> usize {
        0
    }

    fn join(&mut self, next: Self) -> Option<Self> {
        Some(next)
    }
}

/// Whether an event is for the session of its socket. One that names none is.
fn is_own(payload: &Payload, name: &str) -> bool {
    payload.text("runtimeSessionId").is_none_or(|named| named == name)
}

/// Makes texts of input, whose characters may come in parts.
#[derive(Default)]
struct Characters(Vec<u8>);

impl Characters {
    fn take(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.0) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Ok(_) | Err(_) => self.0.len(),
        };
        let rest = self.0.split_off(whole);
        let text = String::from_utf8_lossy(&self.0).into_owned();
        self.0 = rest;
        text
    }
}

fn problem_of_offer(error: OfferError) -> TerminalProblem {
    match error {
        OfferError::Session(error) => problem_of(error),
        OfferError::Storage(error) => unavailable(error),
        OfferError::Begun(_) => TerminalProblem::SESSION_BEGUN,
        // A name of several workspaces' sessions is none's here.
        OfferError::AgentNotFound | OfferError::ForeignEndpoint | OfferError::Taken | OfferError::Ambiguous => {
            TerminalProblem::SESSION_NOT_FOUND
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_come_in_parts_go_on_whole() {
        let mut characters = Characters::default();
        let crab = "a🦀".as_bytes();
        let texts: Vec<String> = crab.iter().map(|byte| characters.take(&[*byte])).collect();
        assert_eq!(texts, ["a", "", "", "", "🦀"]);
        assert_eq!(characters.take(b"\xffb"), "\u{fffd}b");
    }
}
