//! Requests that are carried out once however often they come (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! A request is known by its operation, its caller and its key. Its row is committed before it is
//! carried out; its answer is kept sealed, since it may hold an API key or an invite token.
//!
//! The answer is committed after the effects, not with them, so a crash may come in between. A row
//! that showed no life for [`DEAD_AFTER`] is taken over, and the operation is carried out again:
//!
//! - registering: the agent is approved already, so the second attempt is refused as taken and gives
//!   its use of the invite back. Its key was never seen; an admin revokes the agent and approves it anew.
//! - asking for access: with the webhook secret the request is renewed and gets a new claim secret.
//!   Without it, the id belongs to a requester who never heard its claim secret; an admin decides.
//! - creating an invite: there are two invites, both in the admins' list.
//! - sharing a terminal: there are two shares, both in the session's list.
//! - spawning: agents that were planned and not launched are ended by the reconciler; those that run
//!   are adopted, and the second attempt spawns as many again. All of them are in the admins' list.
//!
//! Where the crash came before the effects, which are one transaction each, nothing is left of them.

use std::{net::IpAddr, time::Duration};

use chrono::TimeDelta;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    model::{
        actor::{Admin, Person},
        hex,
        ids::{SessionId, WorkspaceId},
        policy::Policy,
        seal::CannotOpen,
        secret::Secret,
    },
    storage::{
        self, StorageError, Tx,
        idempotency::{Claim, Earlier},
    },
};

/// How long an answer is kept; clients that try again later start over.
const KEEP: TimeDelta = TimeDelta::hours(24);
/// How long an attempt may show no life before the next one takes over.
const DEAD_AFTER: TimeDelta = TimeDelta::seconds(60);
/// How often an attempt shows that it lives: two of three signs may be lost.
pub const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(20);

/// Who asks. Another caller's key is another key.
pub enum Caller {
    /// An owner or admin.
    Admin(Admin),
    /// A person, who shares the terminal of a session.
    Sharer(Person, SessionId),
    /// Whoever has the invite.
    Invited(Secret),
    /// Somebody with the webhook secret, for one workspace.
    ControlPlane(WorkspaceId),
    /// Anybody with the claim secret of an earlier request. Without one there is nothing to know a
    /// caller by but its address and its key; the address keeps keys that are easily guessed apart.
    Requester { workspace: WorkspaceId, claim_secret: Option<Secret>, address: IpAddr },
}

/// A request that is to be carried out once.
pub struct Request {
    id: String,
    operation: &'static str,
    body_hash: String,
}

/// One try at carrying a request out.
#[derive(Clone)]
pub struct Attempt {
    id: String,
    attempt: Uuid,
}

/// An answer that was kept.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// What is to be done with a request.
pub enum Begun {
    /// It is new: carry it out, then [`finish`] or [`forget`] it.
    CarryOut(Attempt),
    /// It was carried out before.
    Answered(Answer),
}

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum RepeatError {
    #[error("a request with this Idempotency-Key still runs")]
    InUse,
    #[error("this Idempotency-Key was used with another body")]
    Reused,
    /// The kept answer was sealed under another `APP_SECRET`.
    #[error(transparent)]
    Seal(#[from] CannotOpen),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Request {
    #[must_use]
    pub fn new(operation: &'static str, caller: &Caller, key: &str, body: &[u8]) -> Self {
        let mut parts = vec![operation.to_owned(), key.to_owned()];
        match caller {
            Caller::Admin(admin) => parts.extend(["admin".to_owned(), admin.workspace().to_string(), admin.user().to_string()]),
            Caller::Sharer(person, session) => {
                parts.extend(["sharer".to_owned(), person.workspace.to_string(), person.user.to_string(), session.to_string()]);
            }
            Caller::Invited(token) => parts.extend(["invite".to_owned(), token.hash()]),
            Caller::ControlPlane(workspace) => parts.extend(["control plane".to_owned(), workspace.to_string()]),
            Caller::Requester { workspace, claim_secret: Some(secret), .. } => {
                parts.extend(["claim".to_owned(), workspace.to_string(), secret.hash()]);
            }
            Caller::Requester { workspace, claim_secret: None, address } => {
                parts.extend(["address".to_owned(), workspace.to_string(), address.to_string()]);
            }
        }
        let mut hash = Sha256::new();
        for part in parts {
            // With its length before it, no part can pass for two.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self { id: hex(&hash.finalize()), operation, body_hash: hex(&Sha256::digest(body)) }
    }
}

/// Finds out whether a request came before, and writes its row if not. The caller commits before it
/// carries the request out.
///
/// Errors: `InUse`, `Reused`, `Seal`, `Storage`.
pub async fn begin(tx: &mut Tx, policy: &Policy, request: &Request) -> Result<Begun, RepeatError> {
    let now = tx.now();
    let attempt = Attempt { id: request.id.clone(), attempt: Uuid::new_v4() };
    let claim = Claim {
        id: &request.id,
        operation: request.operation,
        body_hash: &request.body_hash,
        attempt: attempt.attempt,
        now,
        dead_before: now - DEAD_AFTER,
        forgotten_before: now - KEEP,
    };
    if storage::idempotency::claim(tx.conn(), &claim).await? {
        return Ok(Begun::CarryOut(attempt));
    }
    match storage::idempotency::get(tx.conn(), &request.id).await? {
        Some(Earlier { body_hash, .. }) if body_hash != request.body_hash => Err(RepeatError::Reused),
        // One that was forgotten since our look is carried out by whoever comes next.
        None | Some(Earlier { answer: None, .. }) => Err(RepeatError::InUse),
        Some(Earlier { answer: Some((status, sealed)), .. }) => {
            let body = policy.sealer.open(&seal_place(&request.id), &sealed)?;
            let status = u16::try_from(status).map_err(|_| corrupt(&request.id))?;
            Ok(Begun::Answered(Answer { status, body: body.expose().to_owned() }))
        }
    }
}

/// Says that an attempt still runs.
pub async fn keep_alive(tx: &mut Tx, attempt: &Attempt) -> Result<(), StorageError> {
    let now = tx.now();
    storage::idempotency::keep_alive(tx.conn(), &attempt.id, attempt.attempt, now).await
}

/// Keeps the answer of an attempt.
pub async fn finish(tx: &mut Tx, policy: &Policy, attempt: &Attempt, answer: &Answer) -> Result<(), StorageError> {
    let sealed = policy.sealer.seal(&seal_place(&attempt.id), &Secret::presented(&answer.body));
    storage::idempotency::finish(tx.conn(), &attempt.id, attempt.attempt, answer.status.into(), &sealed).await
}

/// Forgets an attempt whose answer says nothing about the next one's.
pub async fn forget(tx: &mut Tx, attempt: &Attempt) -> Result<(), StorageError> {
    storage::idempotency::forget(tx.conn(), &attempt.id, attempt.attempt).await
}

/// Deletes answers that are no longer kept; returns how many.
pub async fn prune(tx: &mut Tx) -> Result<u64, StorageError> {
    let before = tx.now() - KEEP;
    storage::idempotency::prune(tx.conn(), before).await
}

fn seal_place(id: &str) -> String {
    format!("idempotency_keys/{id}")
}

fn corrupt(id: &str) -> StorageError {
    StorageError::Corrupt { table: "idempotency_keys", column: "status", id: id.to_owned() }
}
