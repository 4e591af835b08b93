//! The kit on runtimes that are known: ours as a program, and the replica of the original.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod runtime;

use std::time::Duration;

use runtime_conformance::{
    AgentType, Framing, Plan, Profile, Report, Scenario, Target,
    original::{Options, Original},
};

use crate::runtime::{Runtime, TOKEN};

/// How long anything awaited may take; far above what it takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Without those that kill the runtime or wait for long, which have tests of their own.
const QUICK: [Scenario; 8] = [
    Scenario::Spawn,
    Scenario::Output,
    Scenario::Input,
    Scenario::Resize,
    Scenario::Stop,
    Scenario::Crash,
    Scenario::Flood,
    Scenario::MalformedUpgrade,
];

async fn played(runtime: &Runtime, plan: Plan) -> Report {
    let target = Target::new(&runtime.base(), Some(TOKEN.to_owned()), PATIENCE).unwrap();
    runtime_conformance::run(&target, &Plan { patience: PATIENCE, ..plan }).await
}

#[track_caller]
fn keeps(report: &Report) {
    assert!(report.passed() && report.played.iter().all(|played| played.verdict() == "pass"), "{}", report.to_text());
}

/// RUN-01, RUN-02, RUN-05, RUN-08, RUN-09, RUN-11, RUN-14, RUN-15 and RUN-19.
#[tokio::test]
async fn our_runtime_keeps_the_contract_in_both_framings() {
    let runtime = Runtime::start().await;
    let plan = Plan { scenarios: QUICK.to_vec(), pid: Some(runtime.pid()), ..Plan::of(Profile::Raven) };
    keeps(&played(&runtime, plan).await);
}

#[tokio::test]
async fn a_wrong_token_and_a_dead_address_are_told_before_anything_is_played() {
    let runtime = Runtime::start().await;
    let told = async |base: &str, token: &str| {
        let checked = Target::new(base, Some(token.to_owned()), PATIENCE).unwrap().check().await;
        checked.err().map(|trouble| trouble.to_string())
    };
    assert_eq!(told(&runtime.base(), TOKEN).await, None);
    assert!(told(&runtime.base(), "wrong").await.unwrap().starts_with("the runtime refuses the token"));
    assert_eq!(told("http://127.0.0.1:1", TOKEN).await.unwrap(), "nobody answers at http://127.0.0.1:1");
}

#[tokio::test]
async fn scripts_typed_into_a_shell_find_the_same() {
    let runtime = Runtime::start().await;
    let scenarios = vec![Scenario::Output, Scenario::Input, Scenario::Resize, Scenario::Crash];
    keeps(&played(&runtime, Plan { scenarios, agent_type: AgentType::Echo, ..Plan::of(Profile::Raven) }).await);
}

#[tokio::test]
async fn ten_seconds_without_reading_slow_nobody_else() {
    let runtime = Runtime::start().await;
    keeps(&played(&runtime, Plan { scenarios: vec![Scenario::SlowReader], ..Plan::of(Profile::Raven) }).await);
}

#[tokio::test]
async fn agents_outlive_a_kill_of_the_runtime() {
    let runtime = Runtime::start().await;
    let restart = Some(runtime.restart_command());
    let plan = Plan { scenarios: vec![Scenario::Restart], restart, agents_survive: true, ..Plan::of(Profile::Raven) };
    keeps(&played(&runtime, plan).await);
}

/// RUN-03
#[tokio::test]
async fn a_login_prompt_is_told_in_members_of_its_own() {
    let runtime = Runtime::start().await;
    let login_type = Some("codex".to_owned());
    keeps(&played(&runtime, Plan { scenarios: vec![Scenario::Login], login_type, ..Plan::of(Profile::Raven) }).await);
}

/// The defects of the original are there, and what it can do it does.
#[tokio::test]
async fn the_replica_of_the_original_is_recognised_with_its_defects() {
    let options = Options { agents_max: 100, ..Options::default() };
    let original = Original::start_with(options).await.unwrap();
    let target = Target::new(&original.endpoint(), None, PATIENCE).unwrap();
    let plan = Plan { scenarios: QUICK.to_vec(), stall: Duration::from_secs(5), patience: PATIENCE, ..Plan::of(Profile::Parallax) };
    let report = runtime_conformance::run(&target, &plan).await;
    keeps(&report);
    let slow = Plan { scenarios: vec![Scenario::SlowReader], ..plan };
    keeps(&runtime_conformance::run(&target, &slow).await);
}

#[tokio::test]
async fn a_runtime_of_the_other_dialect_fails_and_the_report_says_where() {
    let original = Original::start().await.unwrap();
    let target = Target::new(&original.endpoint(), None, PATIENCE).unwrap();
    let plan = Plan { scenarios: vec![Scenario::Spawn], framings: vec![Framing::Default], ..Plan::of(Profile::Raven) };
    let report = runtime_conformance::run(&target, &plan).await;
    assert!(!report.passed());
    assert!(report.to_text().contains("FAIL  health names version and active agents"), "{}", report.to_text());
    assert_eq!(report.to_json()["scenarios"][0]["result"], "fail");
}
