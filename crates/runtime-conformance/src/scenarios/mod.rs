//! What is played, one file per scenario.

mod crash;
mod flood;
mod input;
mod login;
mod malformed_upgrade;
mod output;
mod resize;
mod restart;
mod slow_reader;
mod spawn;
mod stop;

use std::time::Instant;

use crate::{
    report::{Findings, Played},
    stage::Stage,
};

/// In the order in which they are played: those that may end the runtime come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Identify the dialect, start agents, and ask for what cannot be started
    Spawn,
    /// Every byte arrives, and no character is cut
    Output,
    /// Keys arrive in order and nothing is mistaken for control
    Input,
    /// A resize reaches the program, a bad one is never typed
    Resize,
    /// A login prompt is told with its address, instructions and code
    Login,
    /// An agent ends with its children, and that is told once
    Stop,
    /// An agent ends by a signal, and never because of a word
    Crash,
    /// 64 MiB of output
    Flood,
    /// A viewer that reads nothing for a while
    SlowReader,
    /// Bytes that are no handshake
    MalformedUpgrade,
    /// The runtime is killed and started again
    Restart,
}

impl Scenario {
    pub const ALL: [Self; 11] = [
        Self::Spawn,
        Self::Output,
        Self::Input,
        Self::Resize,
        Self::Login,
        Self::Stop,
        Self::Crash,
        Self::Flood,
        Self::SlowReader,
        Self::MalformedUpgrade,
        Self::Restart,
    ];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spawn => "spawn",
            Self::Output => "output",
            Self::Input => "input",
            Self::Resize => "resize",
            Self::Login => "login",
            Self::Stop => "stop",
            Self::Crash => "crash",
            Self::Flood => "flood",
            Self::SlowReader => "slow-reader",
            Self::MalformedUpgrade => "malformed-upgrade",
            Self::Restart => "restart",
        }
    }
}

pub(crate) async fn play(scenario: Scenario, stage: &Stage<'_>) -> Played {
    let began = Instant::now();
    let mut findings = Findings::default();
    let played = match scenario {
        Scenario::Spawn => spawn::play(stage, &mut findings).await,
        Scenario::Output => output::play(stage, &mut findings).await,
        Scenario::Input => input::play(stage, &mut findings).await,
        Scenario::Resize => resize::play(stage, &mut findings).await,
        Scenario::Login => login::play(stage, &mut findings).await,
        Scenario::Stop => stop::play(stage, &mut findings).await,
        Scenario::Crash => crash::play(stage, &mut findings).await,
        Scenario::Flood => flood::play(stage, &mut findings).await,
        Scenario::SlowReader => slow_reader::play(stage, &mut findings).await,
        Scenario::MalformedUpgrade => malformed_upgrade::play(stage, &mut findings).await,
        Scenario::Restart => restart::play(stage, &mut findings).await,
    };
    Played { scenario, findings: findings.end(played), took: began.elapsed() }
}
