//! The program as an operator starts it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::support::program::{Folder, Program, answers, free_port, raven_agents, send_signal, set_up};

/// Settings of `up` on free ports in a folder of its own.
struct Up {
    folder: Folder,
    port: u16,
    runtime_port: u16,
}

impl Drop for Up {
    /// A test that failed half-way leaves no runtime behind.
    fn drop(&mut self) {
        let left = std::fs::read_to_string(self.folder.path().join("runtime.pid")).ok();
        let pid = left.as_deref().and_then(|text| text.split(' ').next()?.parse::<i32>().ok());
        let Some(pid) =
            pid.filter(|pid| Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok_and(|exe| exe.ends_with("raven-runtime")))
        else {
            return;
        };
        send_signal(pid, libc::SIGKILL);
    }
}

impl Up {
    fn new() -> Self {
        Self { folder: Folder::new(), port: free_port(), runtime_port: free_port() }
    }

    fn command(&self) -> tokio::process::Command {
        let folder = self.folder.path().display().to_string();
        raven_agents(
            &["up"],
            &[("RAVEN_DATA_DIR", &folder), ("PORT", &self.port.to_string()), ("RUNTIME_PORT", &self.runtime_port.to_string())],
        )
    }

    /// Sets the workspace up: a client, the base of the API and the owner's token.
    async fn owner(&self) -> (reqwest::Client, String, String) {
        rustls::crypto::ring::default_provider().install_default().ok();
        let (http, api) = (reqwest::Client::new(), format!("http://127.0.0.1:{}/api", self.port));
        let token = set_up(&http, &api).await;
        (http, api, token)
    }

    async fn start(&self) -> Program {
        let mut program = Program::start(self.command());
        let line = program.until_says("is ready").await;
        assert!(line.contains(&format!("http://127.0.0.1:{}", self.port)), "{line}");
        program
    }
}

#[tokio::test]
async fn up_brings_everything_ctrl_c_ends_it_and_a_second_start_keeps_the_data() {
    let up = Up::new();
    let program = up.start().await;
    let (http, api, token) = up.owner().await;
    let spawn = http.post(format!("{api}/parallax-agents/spawn")).bearer_auth(&token);
    let spawned: serde_json::Value = spawn.json(&serde_json::json!({"agentType": "custom"})).send().await.unwrap().json().await.unwrap();
    assert_eq!(spawned["data"]["success"], true, "{spawned}");

    program.signal(libc::SIGINT);
    let (succeeded, log) = program.ended().await;
    assert!(succeeded, "{log}");
    assert!(!answers(up.port).await && !answers(up.runtime_port).await, "something still listens");
    let pid_file = up.folder.path().join("postgres/data/postmaster.pid");
    assert!(!pid_file.exists(), "the database still runs");

    let program = up.start().await;
    let me = http.post(format!("{api}/users/me")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(me.status(), 200, "the account and the signing secret are kept");
    let agents = format!("{api}/parallax-agents");
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let listed: serde_json::Value = http.get(&agents).bearer_auth(&token).send().await.unwrap().json().await.unwrap();
        if listed["data"][0]["run"]["status"] == "stopped" {
            break;
        }
        assert!(Instant::now() < deadline, "{listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    program.signal(libc::SIGTERM);
    assert!(program.ended().await.0);
}

#[tokio::test]
async fn after_a_kill_the_next_up_adopts_the_runtime_with_its_agents_and_works_on() {
    let up = Up::new();
    let program = up.start().await;
    let (http, api, token) = up.owner().await;
    let call = async |method: reqwest::Method, path: &str, body: serde_json::Value| -> serde_json::Value {
        let request = http.request(method, format!("{api}{path}")).bearer_auth(&token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let spawn = async || {
        let spawned = call(reqwest::Method::POST, "/parallax-agents/spawn", serde_json::json!({"agentType": "custom"})).await;
        spawned["data"]["spawnedAgents"][0]["id"].as_str().unwrap_or_else(|| panic!("{spawned}")).to_owned()
    };
    let until = async |id: &str, status: &str| {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let agent = call(reqwest::Method::GET, &format!("/parallax-agents/{id}"), serde_json::json!({})).await;
            if agent["data"]["run"]["status"] == status {
                break;
            }
            assert!(Instant::now() < deadline, "{agent} is not {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let first = spawn().await;
    until(&first, "ready").await;

    program.kill().await;
    let mut other = up.command();
    other.env("RUNTIME_PORT", free_port().to_string());
    let mut program = Program::start(other);
    program.until_says("is ready").await;

    until(&first, "ready").await;
    let second = spawn().await;
    until(&second, "ready").await;
    for id in [&first, &second] {
        call(reqwest::Method::POST, &format!("/parallax-agents/{id}/stop"), serde_json::json!({})).await;
        until(id, "stopped").await;
    }
    program.signal(libc::SIGINT);
    let (succeeded, log) = program.ended().await;
    assert!(succeeded && log.contains("adopting"), "{log}");
    assert!(!answers(up.runtime_port).await, "the runtime still listens");
}

#[tokio::test]
async fn a_runtime_that_is_killed_is_started_again_with_its_agents() {
    let up = Up::new();
    let program = up.start().await;
    let (http, api, token) = up.owner().await;
    let call = async |method: reqwest::Method, path: &str, body: serde_json::Value| -> serde_json::Value {
        let request = http.request(method, format!("{api}{path}")).bearer_auth(&token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let spawned = call(reqwest::Method::POST, "/parallax-agents/spawn", serde_json::json!({"agentType": "custom"})).await;
    let id = spawned["data"]["spawnedAgents"][0]["id"].as_str().unwrap_or_else(|| panic!("{spawned}")).to_owned();
    let until = async |status: &str| {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let agent = call(reqwest::Method::GET, &format!("/parallax-agents/{id}"), serde_json::json!({})).await;
            if agent["data"]["run"]["status"] == status {
                break;
            }
            assert!(Instant::now() < deadline, "{agent} is not {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until("ready").await;
    let pid_file = up.folder.path().join("runtime.pid");
    let pid = || std::fs::read_to_string(&pid_file).unwrap().split(' ').next().unwrap().parse::<i32>().unwrap();
    let killed = pid();
    send_signal(killed, libc::SIGKILL);
    let deadline = Instant::now() + Duration::from_secs(15);
    while pid() == killed || !answers(up.runtime_port).await {
        assert!(Instant::now() < deadline, "the runtime was not started again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until("ready").await;
    // The new runtime has the agent in hand: it can end it.
    call(reqwest::Method::POST, &format!("/parallax-agents/{id}/stop"), serde_json::json!({})).await;
    until("stopped").await;
    program.signal(libc::SIGINT);
    let (succeeded, log) = program.ended().await;
    assert!(succeeded && log.contains("starting it again"), "{log}");
}

#[tokio::test]
async fn a_second_up_on_the_same_data_is_refused_and_harms_nothing() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let up = Up::new();
    let program = up.start().await;
    let mut second = up.command();
    second.env("PORT", free_port().to_string()).env("RUNTIME_PORT", free_port().to_string());
    let (succeeded, log) = Program::start(second).ended().await;
    assert!(!succeeded && log.contains("another `raven-agents up` uses"), "{log}");
    let health = reqwest::get(format!("http://127.0.0.1:{}/api/health", up.port)).await.unwrap();
    assert_eq!(health.status(), 200);
    program.signal(libc::SIGINT);
    assert!(program.ended().await.0);
}

#[tokio::test]
async fn up_ends_with_a_sentence_when_its_database_is_gone() {
    let up = Up::new();
    let program = up.start().await;
    let pid_file = std::fs::read_to_string(up.folder.path().join("postgres/data/postmaster.pid")).unwrap();
    let pid: i32 = pid_file.lines().next().unwrap().parse().unwrap();
    send_signal(pid, libc::SIGKILL);
    let (succeeded, log) = program.ended().await;
    assert!(!succeeded && log.contains("the private database ended by itself"), "{log}");
    assert!(!answers(up.runtime_port).await, "the runtime still listens");
}

#[tokio::test]
async fn a_busy_port_is_one_sentence_and_a_failure() {
    for busy_runtime in [false, true] {
        let up = Up::new();
        let port = if busy_runtime { up.runtime_port } else { up.port };
        let _holder = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (succeeded, log) = Program::start(up.command()).ended().await;
        assert!(!succeeded);
        let setting = if busy_runtime { "RUNTIME_PORT" } else { "PORT" };
        let last = log.lines().last().unwrap();
        assert!(last.contains(&format!("port {port}")) && last.contains("in use") && last.contains(setting), "{log}");
    }
}

#[tokio::test]
async fn a_broken_database_url_is_one_sentence_without_the_password() {
    for (url, says) in [("postgres://u:hunter2@127.0.0.1:1/db", "database cannot be used"), ("mysql://u:hunter2@x", "DATABASE_URL")] {
        let up = Up::new();
        let mut command = up.command();
        command.env("DATABASE_URL", url);
        let (succeeded, log) = Program::start(command).ended().await;
        assert!(!succeeded);
        let last = log.lines().last().unwrap();
        assert!(last.contains(says) && last.contains("DATABASE_URL") && !log.contains("hunter2"), "{log}");
        assert!(!answers(up.runtime_port).await, "the runtime was left running");
    }
}

#[tokio::test]
async fn bad_settings_are_reported_together() {
    let command = raven_agents(&["serve"], &[("PORT", "http"), ("LOG_FORMAT", "xml"), ("APP_SECRET", "short")]);
    let (succeeded, log) = Program::start(command).ended().await;
    assert!(!succeeded);
    for name in ["PORT", "LOG_FORMAT", "APP_SECRET"] {
        assert!(log.contains(name), "{log}");
    }
}

#[tokio::test]
async fn serve_refuses_to_start_without_a_secret() {
    let folder = Folder::new();
    let path = folder.path().display().to_string();
    let command = raven_agents(&["serve"], &[("RAVEN_DATA_DIR", &path), ("PORT", &free_port().to_string())]);
    let (succeeded, log) = Program::start(command).ended().await;
    assert!(!succeeded && log.contains("APP_SECRET is missing"), "{log}");
}

#[tokio::test]
async fn the_configuration_of_a_client_is_printed_alone_and_without_a_key() {
    let settings = [("APP_URL", "https://agents.example.com")];
    let printed = raven_agents(&["mcp-config", "claude-code"], &settings).output().await.unwrap();
    assert!(printed.status.success());
    let configuration: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(configuration["mcpServers"]["raven-agents"]["url"], "https://agents.example.com/api/mcp");
    let elsewhere = raven_agents(&["mcp-config", "codex", "--url", "http://localhost:4000/"], &settings).output().await.unwrap();
    assert!(String::from_utf8(elsewhere.stdout).unwrap().contains("\"http://localhost:4000/api/mcp\""));
    let refused = raven_agents(&["mcp-config", "codex", "--url", "localhost"], &[]).output().await.unwrap();
    assert!(!refused.status.success());
}
