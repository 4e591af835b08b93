//! Settings that the rules of the domain depend on.

use super::seal::Sealer;

/// What the operator decided, as far as the domain needs it.
#[derive(Clone)]
pub struct Policy {
    /// Agents of one workspace that can act at the same time.
    pub agents_per_workspace_max: u32,
    /// Prefix of the API keys that agents get.
    pub agent_key_prefix: String,
    pub sealer: Sealer,
}

/// Access requests of one workspace that may wait for a decision at the same time. Beyond it an
/// admin could not read them anyway, and a flood of requests must not fill the table.
pub const PENDING_AGENTS_MAX: u32 = 100;
