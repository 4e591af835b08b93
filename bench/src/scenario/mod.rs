//! What is measured, one file per scenario.

mod agents_list;
mod key_verification;
mod revoke;
mod runtime_echo;
mod runtime_idle;
mod runtime_spawn;
mod runtime_throughput;

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
    /// Output of an agent on its way to a viewer
    RuntimeThroughput,
    /// A key on its way to an agent and back
    RuntimeEcho,
    /// Memory of agents that do nothing
    RuntimeIdle,
    /// Agents are started
    RuntimeSpawn,
}

impl Scenario {
    pub(crate) const ALL: [Self; 7] = [
        Self::AgentsList,
        Self::KeyVerification,
        Self::Revoke,
        Self::RuntimeThroughput,
        Self::RuntimeEcho,
        Self::RuntimeIdle,
        Self::RuntimeSpawn,
    ];

    /// Whether the runtime is measured, by itself, rather than the service.
    pub(crate) fn is_of_runtime(self) -> bool {
        match self {
            Self::RuntimeThroughput | Self::RuntimeEcho | Self::RuntimeIdle | Self::RuntimeSpawn => true,
            Self::AgentsList | Self::KeyVerification | Self::Revoke => false,
        }
    }

    /// As on the command line; also the name of the file with the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AgentsList => "agents-list",
            Self::KeyVerification => "key-verification",
            Self::Revoke => "revoke",
            Self::RuntimeThroughput => "runtime-throughput",
            Self::RuntimeEcho => "runtime-echo",
            Self::RuntimeIdle => "runtime-idle",
            Self::RuntimeSpawn => "runtime-spawn",
        }
    }

    /// Starts what the scenario needs, measures, and ends all of it.
    pub(crate) async fn measure(self, program: &Path, plan: &Plan) -> Result<Report> {
        match self {
            Self::AgentsList => agents_list::measure(program, plan).await,
            Self::KeyVerification => key_verification::measure(program, plan).await,
            Self::Revoke => revoke::measure(program, plan).await,
            Self::RuntimeThroughput => runtime_throughput::measure(program, plan).await,
            Self::RuntimeEcho => runtime_echo::measure(program, plan).await,
            Self::RuntimeIdle => runtime_idle::measure(program, plan).await,
            Self::RuntimeSpawn => runtime_spawn::measure(program, plan).await,
        }
    }
}
