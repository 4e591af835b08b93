//! Takes, hands over and gives up control of a terminal.
//!
//! Who controls it is decided in memory, where keystrokes ask; the session's row notes it, so that a restart of the
//! service gives it to nobody else at once.

use super::{
    events,
    terminals::{self, TerminalError},
};
use crate::{
    model::{
        actor::Person,
        event::{Event, EventKind},
        terminal::{SessionStatus, TerminalSession},
        terminal_control::ViewerId,
    },
    runtime::control::Taken,
    storage::{self, StorageError, Tx},
};

pub use crate::runtime::control::{Awaited, Changing, ControlError, HOLDER_AWAITED, Pass, Room, Seat, Silenced};

/// Why control stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ControlFailure {
    #[error(transparent)]
    Refused(#[from] ControlError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<TerminalError> for ControlFailure {
    fn from(error: TerminalError) -> Self {
        match error {
            TerminalError::Storage(storage) => storage.into(),
            TerminalError::Forbidden => ControlError::ReadOnly.into(),
            TerminalError::NotFound | TerminalError::Terminated | TerminalError::NoRuntime => ControlError::Terminated.into(),
        }
    }
}

/// Gives control to the viewer with this pass, for good once what is returned is kept after the commit. Taking it from somebody else takes `force`, and being an owner, an admin or
/// whoever spawned the agent.
///
/// Records [`EventKind::TerminalControlTaken`], unless the same person had it.
/// Errors: `Refused`, `Storage`.
pub async fn take(tx: &mut Tx, person: &Person, pass: &Pass, force: bool) -> Result<Changing, ControlFailure> {
    let (session, may_force) = locked(tx, person, pass.room()).await?;
    let now = tx.now();
    let changing = pass.room().changing();
    let taken = pass.take(force, may_force, now)?;
    note(tx, pass.room()).await?;
    let from_user = match taken {
        Taken::Own => return Ok(changing),
        Taken::Free => None,
        Taken::From(user) => Some(user),
    };
    record(tx, &session, person, EventKind::TerminalControlTaken { session_id: session.id, from_user }).await?;
    Ok(changing)
}

/// Gives control from its holder, who has this pass, to another viewer who may write; as [`take`] for good.
///
/// Records [`EventKind::TerminalControlHandedOver`]. Errors: `Refused`, `Storage`.
pub async fn hand_over(tx: &mut Tx, person: &Person, pass: &Pass, to: ViewerId) -> Result<Changing, ControlFailure> {
    let (session, _) = locked(tx, person, pass.room()).await?;
    let now = tx.now();
    let changing = pass.room().changing();
    let to_user = pass.hand_over(to, now)?;
    note(tx, pass.room()).await?;
    record(tx, &session, person, EventKind::TerminalControlHandedOver { session_id: session.id, to_user }).await?;
    Ok(changing)
}

/// Gives control up, as [`take`] for good: everybody who may write types again.
///
/// Errors: `Refused`, `Storage`.
pub async fn release(tx: &mut Tx, pass: &Pass) -> Result<Changing, ControlFailure> {
    storage::terminals::lock(tx.conn(), pass.room().session()).await?;
    let changing = pass.room().changing();
    pass.release()?;
    note(tx, pass.room()).await?;
    Ok(changing)
}

/// Frees a terminal whose holder did not come back.
pub async fn give_up(tx: &mut Tx, room: &Room, awaited: Awaited) -> Result<(), StorageError> {
    storage::terminals::lock(tx.conn(), room.session()).await?;
    room.give_up(awaited);
    note(tx, room).await
}

/// The session of a room, locked, so that what is noted last is what holds; and whether the person may take control
/// from others.
async fn locked(tx: &mut Tx, person: &Person, room: &Room) -> Result<(TerminalSession, bool), ControlFailure> {
    let session = storage::terminals::lock(tx.conn(), room.session()).await?;
    let session = session.filter(|session| session.status != SessionStatus::Terminated).ok_or(ControlError::Terminated)?;
    let rights = terminals::rights(tx.conn(), person, &session).await?;
    if !rights.write {
        return Err(ControlError::ReadOnly.into());
    }
    Ok((session, rights.terminate))
}

/// Writes down who controls the terminal. The session's row is locked.
async fn note(tx: &mut Tx, room: &Room) -> Result<(), StorageError> {
    let controller = room.controller().map(|controller| (controller.user, controller.since));
    storage::terminal_control::set_controller(tx.conn(), room.session(), controller).await
}

async fn record(tx: &mut Tx, session: &TerminalSession, person: &Person, kind: EventKind) -> Result<(), ControlFailure> {
    let event = Event { workspace: session.workspace, agent: Some(session.agent.clone()), actor: Some(person.user), kind };
    events::record(tx, event).await?;
    Ok(())
}
