//! What is measured, one file per scenario.

mod agents_list;
mod key_verification;
mod mcp_calls;
mod revoke;
mod runtime_echo;
mod runtime_idle;
mod runtime_spawn;
mod runtime_throughput;
mod terminal_attach;
mod terminal_cycles;
mod terminal_echo;
mod terminal_fanout;
mod terminal_idle;
mod terminal_recording;
mod terminal_throughput;

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::{Plan, Programs, Report};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Scenario {
    /// A person lists the agents of the workspace
    AgentsList,
    /// Agents call a tool with their keys
    KeyVerification,
    /// Agents call a tool as MCP clients do
    McpCalls,
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
    /// People type at terminals of the service
    TerminalEcho,
    /// Output of a terminal on its way through the service to a viewer
    TerminalThroughput,
    /// Output of a terminal to many viewers, and Ctrl-C under a flood
    TerminalFanout,
    /// Viewers come late
    TerminalAttach,
    /// Memory of terminals at which nothing happens
    TerminalIdle,
    /// Viewers come and go
    TerminalCycles,
    /// What the recording of terminals costs
    TerminalRecording,
}

impl Scenario {
    pub(crate) const ALL: [Self; 15] = [
        Self::AgentsList,
        Self::KeyVerification,
        Self::McpCalls,
        Self::Revoke,
        Self::RuntimeThroughput,
        Self::RuntimeEcho,
        Self::RuntimeIdle,
        Self::RuntimeSpawn,
        Self::TerminalEcho,
        Self::TerminalThroughput,
        Self::TerminalFanout,
        Self::TerminalAttach,
        Self::TerminalIdle,
        Self::TerminalCycles,
        Self::TerminalRecording,
    ];

    /// The programs that it takes.
    pub(crate) fn needs(self, programs: &Programs) -> Vec<&PathBuf> {
        match self {
            Self::RuntimeThroughput | Self::RuntimeEcho | Self::RuntimeIdle | Self::RuntimeSpawn => vec![&programs.runtime],
            Self::TerminalFanout => vec![&programs.service, &programs.runtime],
            Self::AgentsList
            | Self::KeyVerification
            | Self::McpCalls
            | Self::Revoke
            | Self::TerminalEcho
            | Self::TerminalThroughput
            | Self::TerminalAttach
            | Self::TerminalIdle
            | Self::TerminalCycles
            | Self::TerminalRecording => vec![&programs.service],
        }
    }

    /// As on the command line; also the name of the file with the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AgentsList => "agents-list",
            Self::KeyVerification => "key-verification",
            Self::McpCalls => "mcp-calls",
            Self::Revoke => "revoke",
            Self::RuntimeThroughput => "runtime-throughput",
            Self::RuntimeEcho => "runtime-echo",
            Self::RuntimeIdle => "runtime-idle",
            Self::RuntimeSpawn => "runtime-spawn",
            Self::TerminalEcho => "terminal-echo",
            Self::TerminalThroughput => "terminal-throughput",
            Self::TerminalFanout => "terminal-fanout",
            Self::TerminalAttach => "terminal-attach",
            Self::TerminalIdle => "terminal-idle",
            Self::TerminalCycles => "terminal-cycles",
            Self::TerminalRecording => "terminal-recording",
        }
    }

    /// Starts what the scenario needs, measures, and ends all of it.
    pub(crate) async fn measure(self, programs: &Programs, plan: &Plan) -> Result<Report> {
        let Programs { service, runtime } = programs;
        match self {
            Self::AgentsList => agents_list::measure(service, plan).await,
            Self::KeyVerification => key_verification::measure(service, plan).await,
            Self::McpCalls => mcp_calls::measure(service, plan).await,
            Self::Revoke => revoke::measure(service, plan).await,
            Self::RuntimeThroughput => runtime_throughput::measure(runtime, plan).await,
            Self::RuntimeEcho => runtime_echo::measure(runtime, plan).await,
            Self::RuntimeIdle => runtime_idle::measure(runtime, plan).await,
            Self::RuntimeSpawn => runtime_spawn::measure(runtime, plan).await,
            Self::TerminalEcho => terminal_echo::measure(service, plan).await,
            Self::TerminalThroughput => terminal_throughput::measure(service, plan).await,
            Self::TerminalFanout => terminal_fanout::measure(service, runtime, plan).await,
            Self::TerminalAttach => terminal_attach::measure(service, plan).await,
            Self::TerminalIdle => terminal_idle::measure(service, plan).await,
            Self::TerminalCycles => terminal_cycles::measure(service, plan).await,
            Self::TerminalRecording => terminal_recording::measure(service, plan).await,
        }
    }
}
