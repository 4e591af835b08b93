//! The tools, a module for each kind.

mod agents;
mod approvals;
mod comments;
mod fields;
mod memories;
mod pages;
mod projects;
mod search;
mod spaces;
mod system;
mod tasks;
mod users;

use super::catalogue::Tool;

/// Every tool, by the module that has it.
pub(super) static ALL: &[&[Tool]] = &[
    agents::TOOLS,
    approvals::TOOLS,
    comments::TOOLS,
    memories::TOOLS,
    pages::TOOLS,
    projects::TOOLS,
    search::TOOLS,
    spaces::TOOLS,
    system::TOOLS,
    tasks::TOOLS,
    users::TOOLS,
];
