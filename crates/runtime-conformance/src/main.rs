//! The kit as a program: one runtime in, a report out.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use runtime_conformance::{AgentType, Framing, Plan, Profile, Scenario, Target};

/// Which framings of the terminal are played.
#[derive(Clone, Copy, ValueEnum)]
enum Framings {
    Default,
    Negotiated,
    Both,
}

/// Runs the same scenarios against any runtime and reports how it keeps the contract.
#[derive(Parser)]
#[command(name = "runtime-conformance")]
struct Arguments {
    /// Base URL of the runtime, such as `http://127.0.0.1:8081`
    url: String,
    /// Sent as a bearer token
    #[arg(long, env = "RUNTIME_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What is expected: the whole contract, or the original with its known defects
    #[arg(long, default_value = "raven")]
    profile: Profile,
    /// Framings of the terminal [default: both; default with the profile parallax]
    #[arg(long)]
    framing: Option<Framings>,
    /// What plays the scripts [default: custom; echo with the profile parallax]
    #[arg(long)]
    agent_type: Option<AgentType>,
    /// Only this scenario; may be given several times
    #[arg(long)]
    scenario: Vec<Scenario>,
    /// Allows the restart scenario: a command of the shell that kills the runtime hard and starts it again
    #[arg(long, value_name = "COMMAND")]
    allow_restart: Option<String>,
    /// Agents must outlive the restart, rather than be reported as gone
    #[arg(long)]
    agents_survive: bool,
    /// Process id of the runtime, whose memory is then watched
    #[arg(long)]
    pid: Option<u32>,
    /// An agent type whose program asks for a login as soon as it starts
    #[arg(long, value_name = "TYPE")]
    login_type: Option<String>,
    /// How long the slow reader reads nothing, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    stall: u64,
    /// How long anything awaited may take, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=300))]
    patience: u64,
    /// Also write the report here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("runtime-conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool> {
    let patience = Duration::from_secs(arguments.patience);
    let target = Target::new(&arguments.url, arguments.token, patience)?;
    target.check().await?;
    let mut plan = Plan::of(arguments.profile);
    if let Some(framing) = arguments.framing {
        plan.framings = match framing {
            Framings::Default => vec![Framing::Default],
            Framings::Negotiated => vec![Framing::Negotiated],
            Framings::Both => vec![Framing::Default, Framing::Negotiated],
        };
    }
    plan.agent_type = arguments.agent_type.unwrap_or(plan.agent_type);
    plan.scenarios = arguments.scenario;
    plan.restart = arguments.allow_restart;
    plan.agents_survive = arguments.agents_survive;
    plan.pid = arguments.pid;
    plan.login_type = arguments.login_type;
    plan.stall = Duration::from_secs(arguments.stall);
    let report = runtime_conformance::run(&target, &plan).await;
    print!("{}", report.to_text());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report.to_json())? + "\n";
        std::fs::write(path, text).with_context(|| format!("{} could not be written", path.display()))?;
    }
    Ok(report.passed())
}
