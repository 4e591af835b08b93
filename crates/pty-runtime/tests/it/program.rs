//! The program itself, as an operator starts and stops it.

use std::process::Stdio;

use futures_util::StreamExt;
use pty_runtime::{Config, Runtime};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
    time::timeout,
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{ClientRequestBuilder, Message},
};

use crate::world::{SOON, eventually, reply};

fn runtime() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raven-runtime"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn secrets_stay_in_the_runtime_and_a_signal_ends_it_in_good_order() {
    let root = tempfile::tempdir().unwrap();
    let mut child = runtime()
        .env("RUNTIME_PORT", "0")
        .env("RUNTIME_TOKEN", "token-of-the-runtime")
        .env("PARALLAX_WEBHOOK_SECRET", "secret-of-the-callbacks")
        .env("OWNERS_KEY", "key-of-the-owner")
        .env("COMPANY_PROXY", "proxy for agents")
        .env("RUNTIME_INHERIT_ENV", "COMPANY_PROXY")
        .env("RUNTIME_WORKDIR_ROOT", root.path())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = timeout(SOON, lines.next_line()).await.unwrap().unwrap().expect("the runtime ended");
        assert!(!line.contains("-of-the-"), "{line}");
        if let Some((_, address)) = line.split_once("listening on http://") {
            break address.to_owned();
        }
    };

    // Only the first test of a process can install it.
    let _installed = rustls::crypto::ring::default_provider().install_default().is_ok();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({
        "agentType": "custom",
        "workspaceId": "w1",
        "id": "spy",
        "config": { "args": ["-c", "env; cat /proc/$PPID/cmdline; echo; echo END; sleep 1000"] },
    });
    let spawned = reply(client.post(format!("http://{address}/api/spawn")).bearer_auth("token-of-the-runtime").json(&body)).await;
    assert_eq!(spawned.status, 201, "{}", spawned.body);
    let output = eventually("END", async || {
        let output = client.get(format!("http://{address}/api/agents/spy/output")).bearer_auth("token-of-the-runtime");
        let output = reply(output).await.body["output"].as_str().unwrap().to_owned();
        if output.contains("END") { Ok(output) } else { Err(output) }
    })
    .await;
    assert!(!output.contains("-of-the-") && output.contains("proxy for agents"), "{output}");

    let events = ClientRequestBuilder::new(format!("ws://{address}/ws/events").parse().unwrap());
    let (mut events, _) = connect_async(events.with_header("authorization", "Bearer token-of-the-runtime")).await.unwrap();
    let killed = Command::new("kill").arg(child.id().unwrap().to_string()).status().await.unwrap();
    assert!(killed.success());
    let ended = timeout(std::time::Duration::from_secs(6), child.wait()).await.expect("took too long").unwrap();
    assert!(ended.success(), "{ended}");
    let mut close = None;
    while let Some(Ok(message)) = events.next().await {
        if let Message::Close(Some(frame)) = message {
            close = Some(u16::from(frame.code));
        }
    }
    assert_eq!(close, Some(1001));
}

#[tokio::test]
async fn a_runtime_without_its_program_says_where_it_looked() {
    let root = tempfile::tempdir().unwrap();
    let mut config = Config::new(root.path().into());
    config.program = root.path().join("raven-runtime");
    let refused = Runtime::start(config, TcpListener::bind("127.0.0.1:0").await.unwrap()).err().unwrap().to_string();
    assert!(refused.contains(&root.path().join("raven-runtime").display().to_string()), "{refused}");
}

#[tokio::test]
async fn bad_settings_are_told_together_and_nothing_starts() {
    let output = runtime().env("RUNTIME_PORT", "http").env("RUNTIME_HOST", "0.0.0.0").env("MAX_AGENTS", "many").output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    for setting in ["RUNTIME_PORT", "RUNTIME_TOKEN", "MAX_AGENTS", "RUNTIME_WORKDIR_ROOT"] {
        assert!(told.contains(setting), "{told}");
    }
}
