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

use std::{fmt::Write as _, pin::Pin, time::Instant};

use sha2::{Digest as _, Sha256};

use crate::{
    report::{Findings, Played},
    stage::Stage,
    trouble::Trouble,
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
    let playing: Pin<Box<dyn Future<Output = Result<(), Trouble>> + '_>> = match scenario {
        Scenario::Spawn => Box::pin(spawn::play(stage, &mut findings)),
        Scenario::Output => Box::pin(output::play(stage, &mut findings)),
        Scenario::Input => Box::pin(input::play(stage, &mut findings)),
        Scenario::Resize => Box::pin(resize::play(stage, &mut findings)),
        Scenario::Login => Box::pin(login::play(stage, &mut findings)),
        Scenario::Stop => Box::pin(stop::play(stage, &mut findings)),
        Scenario::Crash => Box::pin(crash::play(stage, &mut findings)),
        Scenario::Flood => Box::pin(flood::play(stage, &mut findings)),
        Scenario::SlowReader => Box::pin(slow_reader::play(stage, &mut findings)),
        Scenario::MalformedUpgrade => Box::pin(malformed_upgrade::play(stage, &mut findings)),
        Scenario::Restart => Box::pin(restart::play(stage, &mut findings)),
    };
    let played = playing.await;
    Played { scenario, findings: findings.end(played), took: began.elapsed() }
}

/// In hexadecimal digits, as `sha256sum` prints it.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
