//! Takes over what a database of Raven Docs keeps and a migration cannot convert.

use crate::{
    model::{invite::Invite, seal::Sealer},
    storage::{self, StorageError, Tx},
};

pub use crate::storage::adoption::{Contents, Found, Rehearsal, inspect, rehearse};

/// Plain tokens read at a time.
const TOKENS_READ: i64 = 500;

/// Seals the invite tokens that the original kept in plain text (D-04), each for the invite that it still
/// opens, and forgets the plain text of all. Without any, or at the second call, it changes nothing.
/// Returns how many it sealed. Whoever else is about to waits for the end of the transaction.
pub async fn seal_tokens(tx: &mut Tx, sealer: &Sealer) -> Result<u64, StorageError> {
    let now = tx.now();
    let mut sealed = 0;
    let mut after = None;
    storage::adoption::lock_sealing(tx.conn()).await?;
    if storage::adoption::count_plain_tokens(tx.conn()).await? == 0 {
        return Ok(sealed);
    }
    loop {
        let found = storage::adoption::plain_tokens(tx.conn(), after, TOKENS_READ).await?;
        let Some((last, _)) = found.last() else { break };
        after = Some(*last);
        for (id, token) in &found {
            let secret = sealer.seal(&Invite::seal_place(*id), token);
            sealed += storage::adoption::set_sealed_token(tx.conn(), *id, &token.hash(), &secret, now).await?;
        }
    }
    storage::adoption::forget_plain_tokens(tx.conn()).await?;
    Ok(sealed)
}

/// Invite tokens that wait to be sealed.
pub async fn count_unsealed(tx: &mut Tx) -> Result<i64, StorageError> {
    storage::adoption::count_plain_tokens(tx.conn()).await
}
