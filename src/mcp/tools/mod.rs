//! The tools, a module for each kind.

mod agents;
mod approvals;
mod system;

use super::catalogue::Tool;

/// Every tool, by the module that has it.
pub(super) static ALL: &[&[Tool]] = &[agents::TOOLS, approvals::TOOLS, system::TOOLS];
