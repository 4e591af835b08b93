//! Turns what a caller presents into who it is.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::{
    model::{
        actor::{KeyHolder, Person},
        clock::Clock,
        ids::{UserId, WorkspaceId},
        token::{Claims, SignIn, TokenHash, Tokens},
        workspace::{Role, User, Workspace},
    },
    storage::{self, Conn, StorageError, Tx, access_cache::AccessCache},
};

/// Cost of password hashes, as the original's.
const BCRYPT_COST: u32 = 12;

/// Compared with when there is no account, so that the answer takes as long as for one (D-52).
static NOBODYS_HASH: LazyLock<String> =
    LazyLock::new(|| bcrypt::hash("nobody's password", BCRYPT_COST).expect("a fixed short text can be hashed"));

/// Why a sign-in failed. The two are one to the caller.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("email or password is wrong")]
    Refused,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Hashes a password; takes a quarter of a second, so it runs where blocking is allowed.
pub async fn hash_password(password: String) -> String {
    let hash = tokio::task::spawn_blocking(move || bcrypt::hash(password, BCRYPT_COST));
    hash.await.expect("hashing does not panic").expect("bcrypt hashes any text of up to 72 bytes")
}

async fn password_matches(password: String, hash: Option<String>) -> bool {
    let compare = move || {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS_HASH.clone());
        bcrypt::verify(password, &hash).unwrap_or(false) && known
    };
    tokio::task::spawn_blocking(compare).await.unwrap_or(false)
}

/// Signs a person in and returns an access token. Agents' accounts never sign in. The comparison
/// takes long, so no transaction is open meanwhile.
///
/// Errors: `Refused` for an unknown address, a wrong password and an account without one, alike.
pub async fn login(
    pool: &PgPool,
    clock: &Clock,
    tokens: &Tokens,
    workspace: WorkspaceId,
    email: &str,
    password: String,
) -> Result<String, LoginError> {
    let account = storage::users::credentials(&mut *pool.acquire().await.map_err(StorageError::from)?, workspace, email).await?;
    let usable = account.filter(|account| account.role != Role::Agent);
    let hash = usable.as_ref().and_then(|account| account.password_hash.clone());
    if !password_matches(password, hash).await {
        return Err(LoginError::Refused);
    }
    let account = usable.ok_or(LoginError::Refused)?;
    let mut tx = Tx::begin(pool, clock).await?;
    let now = tx.now();
    storage::users::touch_login(tx.conn(), account.id, now).await?;
    tx.commit().await?;
    Ok(tokens.issue(account.id, workspace, &account.email, now))
}

/// The person behind an access token: signed by us, not expired, the account active and no agent's. A
/// person who came in by the same token a moment ago costs no query.
pub async fn person(
    pool: &PgPool,
    clock: &Clock,
    cache: &AccessCache,
    tokens: &Tokens,
    token: &str,
) -> Result<Option<Person>, StorageError> {
    let Some(claims) = tokens.check(token) else { return Ok(None) };
    let by = SignIn { token: TokenHash::of(token), issued_at: claims.iat };
    let remembered_as = format!("person {}", by.token);
    #[expect(clippy::disallowed_methods, reason = "a person who is remembered is checked without a transaction")]
    let now = clock.at(Utc::now());
    if let Some((KeyHolder::Person { person, .. }, _)) = cache.get(&remembered_as, now) {
        return Ok(Some(person));
    }
    let ticket = cache.ticket();
    let Some(person) = look_up(&mut *pool.acquire().await?, &claims, by).await? else { return Ok(None) };
    cache.put(ticket, remembered_as, KeyHolder::Person { person: person.clone(), key_id: String::new() }, None);
    Ok(Some(person))
}

/// As [`person`], asking the database whatever is remembered: for what must not be decided by a role that
/// somebody had a moment ago.
pub async fn person_now(conn: &mut Conn, tokens: &Tokens, token: &str) -> Result<Option<Person>, StorageError> {
    match tokens.check(token) {
        Some(claims) => look_up(conn, &claims, SignIn { token: TokenHash::of(token), issued_at: claims.iat }).await,
        None => Ok(None),
    }
}

async fn look_up(conn: &mut Conn, claims: &Claims, by: SignIn) -> Result<Option<Person>, StorageError> {
    let user = storage::users::signed_in(conn, claims.workspace_id, claims.sub, by).await?;
    let person =
        |user: User| Person { user: user.id, workspace: user.workspace_id, role: user.role, expires_at: claims.exp, sign_in: Some(by) };
    Ok(user.filter(|user| user.role != Role::Agent).map(person))
}

/// The person as they are now; `None` once their account or what they signed in with is good no more.
pub async fn again(conn: &mut Conn, clock: &Clock, person: &Person) -> Result<Option<Person>, StorageError> {
    #[expect(clippy::disallowed_methods, reason = "whether a token has ended needs no transaction")]
    let now = clock.at(Utc::now());
    if person.expires_at <= now.timestamp() {
        return Ok(None);
    }
    let user = match person.sign_in {
        Some(by) => storage::users::signed_in(conn, person.workspace, person.user, by).await?,
        None => storage::users::active(conn, person.workspace, person.user).await?,
    };
    Ok(user.filter(|user| user.role != Role::Agent).map(|user| Person { role: user.role, ..person.clone() }))
}

/// Ends what the person came in by, before its token does. Every node closes what was opened with it, upon what the
/// database tells. A key goes on.
pub async fn sign_out(tx: &mut Tx, person: &Person) -> Result<(), StorageError> {
    let Some(by) = person.sign_in else { return Ok(()) };
    let expires_at = DateTime::from_timestamp(person.expires_at, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    storage::users::end_sign_in(tx.conn(), person.workspace, &by.token, expires_at).await
}

/// Forgets the ends of sign-ins whose tokens are over; returns how many.
pub async fn prune(tx: &mut Tx) -> Result<u64, StorageError> {
    let now = tx.now();
    storage::users::prune_sign_ins(tx.conn(), now).await
}

/// A person's own account and workspace, with the number of people in it.
pub async fn profile(conn: &mut Conn, person: &Person) -> Result<Option<(User, Workspace, i64)>, StorageError> {
    let Some(user) = storage::users::active(conn, person.workspace, person.user).await? else { return Ok(None) };
    let Some(workspace) = storage::workspaces::get(conn, person.workspace).await? else { return Ok(None) };
    let members = storage::workspaces::member_count(conn, person.workspace).await?;
    Ok(Some((user, workspace, members)))
}

/// A token for somebody who has just been proven otherwise, such as the owner of a new workspace.
#[must_use]
pub fn token_for(tx: &Tx, tokens: &Tokens, workspace: WorkspaceId, user: UserId, email: &str) -> String {
    tokens.issue(user, workspace, email, tx.now())
}

/// A token with which the person's page connects to the collaboration server.
#[must_use]
pub fn collab_token(tokens: &Tokens, clock: &Clock, person: &Person) -> String {
    #[expect(clippy::disallowed_methods, reason = "a token's lifetime needs no transaction")]
    let now = clock.at(Utc::now());
    tokens.issue_collab(person.user, person.workspace, now)
}
