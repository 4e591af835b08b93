//! Every operation of the published document against requests that are made from it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;
use tokio::{process::Command, time::timeout};

use crate::support::{self, LocalRuntime, PASSWORD, WEBHOOK_SECRET, World, program::Folder};

/// How long the run may take as a whole; its own settings end it well before.
const RUN_DEADLINE: Duration = Duration::from_mins(3);

/// Chooses the requests, unless the variable [`SEED_VARIABLE`] names another number.
const SEED: u64 = 20_261_121;
const SEED_VARIABLE: &str = "SCHEMATHESIS_SEED";

/// Agents that can act at once, so that requests do not soon meet nothing but the limit.
const AGENTS_MAX: u32 = 10_000;

/// The program where `cargo xtask test` puts it, if it is the version that the project wants.
fn schemathesis() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_raven-agents")).ancestors().nth(2).unwrap().join("schemathesis");
    let wanted = include_str!("../schemathesis/requirements.txt");
    let installed = fs::read_to_string(folder.join("requirements.txt")).is_ok_and(|installed| installed == wanted);
    assert!(installed, "schemathesis is not installed: run `cargo xtask test properties`");
    folder.join("bin/schemathesis")
}

/// The settings of the run with the values of this world.
fn settings(values: &[(&str, &str)]) -> String {
    let template = include_str!("../schemathesis/schemathesis.toml");
    let settings = values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value));
    let left = settings.lines().find(|line| line.contains("${") && !line.starts_with('#'));
    assert_eq!(left, None, "a value is missing");
    settings
}

#[sqlx::test]
async fn no_answer_differs_from_the_document_whatever_is_sent(pool: PgPool) {
    let program = schemathesis();
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = LocalRuntime::start().await;
    let mut config = support::config(Some(runtime.endpoint()));
    config.agents_per_workspace_max = AGENTS_MAX;
    let world = World::with_config(pool, config, Some(runtime)).await;
    let owner = world.owner().await;
    // Agent and invite are of another workspace, so that nothing the owner does ends them.
    let outsider = world.outsider().await;
    let invite = outsider.invite(None).await;
    let registered = outsider.register(&invite, "scout").await.expect(StatusCode::CREATED);
    let key = registered["mcpApiKey"].as_str().unwrap();
    let spawned = owner.spawn_shell().await;
    let claim_secret = world.pending_agent("waiting-1").await;
    for id in ["waiting-2", "waiting-3"] {
        world.pending_agent(id).await;
    }

    let seed = std::env::var(SEED_VARIABLE).unwrap_or_else(|_| SEED.to_string());
    let folder = Folder::new();
    let file = folder.path().join("schemathesis.toml");
    let values = [
        ("SEED", seed.as_str()),
        ("PERSON", owner.cookie().split_once('=').unwrap().1),
        ("AGENT_KEY", key),
        ("WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("WORKSPACE", &world.workspace.to_string()),
        ("SPAWNED", &spawned),
        ("INVITE_TOKEN", &invite),
        ("CLAIM_SECRET", &claim_secret),
        ("PASSWORD", PASSWORD),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fs::write(&file, settings(&values)).unwrap();

    let mut command = Command::new(program);
    command.arg("--config-file").arg(&file).args(["run", &format!("{}/api/openapi.json", world.base), "--no-color"]);
    // Whatever it keeps stays in the folder.
    command.current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(RUN_DEADLINE, command.output()).await.expect("the run did not end in time").unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("to send the same requests again: {SEED_VARIABLE}={seed} cargo xtask test properties");
    assert!(output.status.success(), "an answer differs from the document, see above");

    // Had a request ended what the run lives on, it would have proven little.
    owner.post("/users/me", json!({})).await.expect(StatusCode::OK);
    world.with_key(key).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    world.end().await;
}
