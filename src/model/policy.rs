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
    pub control_plane: ControlPlanePolicy,
    pub tool_approvals: ToolApprovalPolicy,
    /// Hosts where agents of any type may log in, beside those that are known for their types.
    pub login_hosts: Vec<String>,
}

/// What the control plane is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct ControlPlanePolicy {
    /// Whether it is told of decisions at all: it has an address, and we share a secret with it.
    pub is_told: bool,
    /// Whether agents' keys may go to it: it is reached by https.
    pub may_get_keys: bool,
}

/// Which tool calls of agents wait for a person's approval (REST contract §5.6).
#[derive(Clone, Debug, Default)]
pub struct ToolApprovalPolicy {
    pub enabled: bool,
    /// Dotted names such as `page.delete`.
    pub methods: Vec<String>,
}

impl ToolApprovalPolicy {
    #[must_use]
    pub fn covers(&self, method: &str) -> bool {
        self.enabled && self.methods.iter().any(|covered| covered == method)
    }
}

/// Access requests of one workspace that may wait for a decision at the same time. Beyond it an
/// admin could not read them anyway, and a flood of requests must not fill the table.
pub const PENDING_AGENTS_MAX: u32 = 100;
