//! Finds things by their names, of whatever kind.

use super::{content::ContentError, pages};
use crate::{
    model::{account::Account, ids::SpaceId, page::Suggestion},
    storage::{self, Conn, pages::Kinds},
};

/// Permissions that say which kinds are suggested, beside pages.
pub const SUGGESTED: [&str; 3] = ["read:spaces", "read:projects", "read:tasks"];

/// Spaces, pages, projects and tasks whose name holds the text, those that begin with it first. Kinds that the account
/// has no permission to read are left out.
///
/// Errors: `NotFound` (the space), `Storage`.
pub async fn suggest(
    conn: &mut Conn,
    account: &Account,
    text: &str,
    space: Option<SpaceId>,
    limit: i64,
) -> Result<Vec<Suggestion>, ContentError> {
    if let Some(space) = space {
        pages::role_in(conn, account, space).await?;
    }
    let pages = account.may("read:pages") || account.may("execute:search");
    let [spaces, projects, tasks] = SUGGESTED.map(|permission| account.may(permission));
    let kinds = Kinds { spaces, pages, projects, tasks };
    Ok(storage::pages::suggest(conn, account, text, space, kinds, limit).await?)
}
