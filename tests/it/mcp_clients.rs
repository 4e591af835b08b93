//! The official MCP clients, as agents use them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sqlx::PgPool;
use tokio::{process::Command, time::timeout};

use crate::support::{World, node};

/// How long the script of a client may take as a whole.
const SCRIPT_DEADLINE: Duration = Duration::from_mins(2);

#[sqlx::test]
async fn the_official_typescript_client_works_until_its_agent_is_revoked(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let cookie = world.owner().await.cookie();
    node::run("mcp.mjs", &[&world.base, &key, &cookie]).await;
    world.end().await;
}

#[sqlx::test]
async fn the_official_python_client_works_until_its_agent_is_revoked(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.approved_agent("scout").await;
    let cookie = world.owner().await.cookie();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp-client/client.py");
    let mut command = Command::new(python());
    command.arg(script).args([&world.base, &key, &cookie]).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(SCRIPT_DEADLINE, command.output()).await.expect("the script did not end in time").unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("ok - "), "the script failed:\n{printed}");
    world.end().await;
}

#[sqlx::test]
async fn an_owner_decides_about_calls_in_the_browser(pool: PgPool) {
    let world = World::new(pool).await;
    let key = world.agent_with_key("scout", &["read:tasks", "write:tasks"]).await;
    let space = world.first_space().await.to_string();
    node::run("approvals.mjs", &[&world.base, &world.owner().await.cookie(), &key, &space]).await;
    world.end().await;
}

/// The interpreter where `cargo xtask test` puts it, if it has the version of the client that the project wants.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_raven-agents")).ancestors().nth(2).unwrap().join("mcp-client");
    let wanted = include_str!("../mcp-client/requirements.txt");
    let installed = fs::read_to_string(folder.join("requirements.txt")).is_ok_and(|installed| installed == wanted);
    assert!(installed, "the Python client is not installed: run `cargo xtask test mcp_clients`");
    folder.join("bin/python")
}
