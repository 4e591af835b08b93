//! What is measured, one file per scenario.

mod agents_list;
mod key_verification;
mod revoke;

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;

use crate::{Plan, Report};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Scenario {
    /// A person lists the agents of the workspace
    AgentsList,
    /// Agents call a tool with their keys
    KeyVerification,
    /// An agent with many open sockets is revoked
    Revoke,
}

impl Scenario {
    pub(crate) const ALL: [Self; 3] = [Self::AgentsList, Self::KeyVerification, Self::Revoke];

    /// As on the command line; also the name of the file with the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AgentsList => "agents-list",
            Self::KeyVerification => "key-verification",
            Self::Revoke => "revoke",
        }
    }

    /// Starts what the scenario needs, measures, and ends all of it.
    pub(crate) async fn measure(self, service: &Path, plan: &Plan) -> Result<Report> {
        match self {
            Self::AgentsList => agents_list::measure(service, plan).await,
            Self::KeyVerification => key_verification::measure(service, plan).await,
            Self::Revoke => revoke::measure(service, plan).await,
        }
    }
}
