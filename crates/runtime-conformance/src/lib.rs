//! Conformance kit: the same scenarios against any runtime, told apart only by its base URL.
//!
//! [`run`] plays the scenarios of a [`Plan`] on a [`Target`] and gives a [`Report`]. Nothing here
//! knows how a runtime is built: whatever is claimed was seen through requests and sockets and,
//! where a process id was given, in `/proc`.
//!
//! [`original`] is a replica of the runtime that the project took over from: it has the original's
//! routes, frames and defects, so that scenarios and the link can be tried against them over real sockets.

pub mod original;
mod report;
mod scenarios;
mod stage;
mod target;
mod terminal;
mod trouble;

use std::time::Duration;

pub use report::{Finding, Outcome, Played, Report};
pub use scenarios::Scenario;
pub use target::{Reply, Target};
pub use terminal::Framing;
pub use trouble::Trouble;

use crate::stage::Stage;

/// Which runtime is expected behind the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Dialect D1 with everything that the contract asks of ours.
    Raven,
    /// Dialect D2 of the original, with the defects that are known of it expected as such.
    Parallax,
}

/// What kind of agent plays the scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AgentType {
    /// A shell that the script is typed into; every runtime has it.
    Echo,
    /// A command that is the script.
    Custom,
}

/// What is played, and what the runtime's owner allows.
#[derive(Clone, Debug)]
pub struct Plan {
    pub profile: Profile,
    pub framings: Vec<Framing>,
    pub agent_type: AgentType,
    /// All of them when empty.
    pub scenarios: Vec<Scenario>,
    /// A command of the shell that kills the runtime hard and starts it again on the same address.
    pub restart: Option<String>,
    /// Whether agents must outlive the runtime, rather than be reported as gone.
    pub agents_survive: bool,
    /// The runtime's process id, for its memory.
    pub pid: Option<u32>,
    /// An agent type whose program shows a login prompt as soon as it starts.
    pub login_type: Option<String>,
    /// How long the slow reader reads nothing.
    pub stall: Duration,
    /// How long anything awaited may take.
    pub patience: Duration,
}

impl Plan {
    /// Everything in both framings, as far as it needs no help of the runtime's owner.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let (framings, agent_type) = match profile {
            Profile::Raven => (vec![Framing::Default, Framing::Negotiated], AgentType::Custom),
            Profile::Parallax => (vec![Framing::Default], AgentType::Echo),
        };
        Self {
            profile,
            framings,
            agent_type,
            scenarios: Vec::new(),
            restart: None,
            agents_survive: false,
            pid: None,
            login_type: None,
            stall: Duration::from_secs(10),
            patience: Duration::from_secs(20),
        }
    }
}

/// Plays the scenarios one after the other. Agents that they started are ended with each.
pub async fn run(target: &Target, plan: &Plan) -> Report {
    let chosen = if plan.scenarios.is_empty() { Scenario::ALL.to_vec() } else { plan.scenarios.clone() };
    let mut played = Vec::new();
    for scenario in chosen {
        let stage = Stage::new(target, plan);
        played.push(scenarios::play(scenario, &stage).await);
        stage.clear().await;
    }
    Report { base: target.base().to_owned(), profile: plan.profile, played }
}
