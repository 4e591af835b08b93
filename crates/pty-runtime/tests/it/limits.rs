//! What holds an agent back, and what it is told to have used.

use std::fs;

use pty_runtime::Limits;
use serde_json::{Value, json};

use crate::world::{World, eventually, scripted};

fn limited(script: &str, resources: Value) -> Value {
    let mut request = scripted(script);
    request["config"]["resources"] = resources;
    request
}

/// Living processes of a session.
fn processes_of(session: u64) -> usize {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let in_session = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().map(str::to_owned).collect();
        (fields[0] != "Z" && fields[3] == session.to_string()).then_some(())
    };
    numbers.filter(|pid| in_session(pid).is_some()).count()
}

#[tokio::test]
async fn one_process_gets_no_more_memory_than_the_agent_may_have() {
    let world = World::new().await;
    let hog = "sleep 0.2; x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done";
    let id = world.spawn(&limited(hog, json!({ "memory": "64Mi", "cpu": 64 }))).await;
    let agent = world.get(&format!("/api/agents/{id}")).await.body;
    assert_eq!((&agent["limits"]["memoryBytes"], &agent["limits"]["by"]), (&json!(64 << 20), &json!("rlimit")));
    assert!(agent["limits"]["cpus"].as_f64().unwrap() <= 64.0, "{agent}");
    world.until_status(&id, "stopped").await;
    let logs = world.get(&format!("/api/agents/{id}/logs")).await.body.to_string();
    assert!(logs.contains("cannot allocate"), "{logs}");
}

#[tokio::test]
async fn all_processes_of_an_agent_share_its_memory() {
    let world = World::new().await;
    let mut events = world.events("").await;
    // What comes after the sleep keeps the shell, and what it holds, from being replaced by it.
    let hogs = "for i in 1 2 3 4; do (x=$(head -c 16000000 /dev/zero | tr '\\0' x); sleep 1000; :) & done; wait";
    world.spawn(&limited(hogs, json!({ "memory": "48Mi" }))).await;
    let stopped = events.until_event("agent_stopped").await;
    assert_eq!(stopped["data"]["reason"], "memory limit");
}

#[tokio::test]
async fn an_agent_that_multiplies_is_ended() {
    let world = World::new().await;
    let mut events = world.events("").await;
    let id = world.spawn(&limited("b() { b | b & }; b; sleep 1000", json!({ "processes": 32 }))).await;
    let pid = world.get(&format!("/api/agents/{id}")).await.body["pid"].as_u64().unwrap();
    let stopped = events.until_event("agent_stopped").await;
    assert_eq!((&stopped["data"]["reason"], &stopped["data"]["signal"]), (&json!("process limit"), &json!("SIGKILL")));
    eventually("no process", async || match processes_of(pid) {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
}

#[tokio::test]
async fn an_agent_runs_on_as_many_cpus_as_it_may_use() {
    let world = World::new().await;
    let id = world.spawn(&limited("echo cpus=$(nproc).", json!({ "cpu": "500m" }))).await;
    world.until_logs(&id, "cpus=1.").await;
}

#[tokio::test]
async fn the_operators_limits_hold_for_every_agent() {
    let most = Limits { memory_bytes: Some(64 << 20), cpus: None, processes: Some(50) };
    let world = World::with(|config| config.agent_limits = most).await;
    let id = world.spawn(&limited("ulimit -d; sleep 1000", json!({ "memory": "1Gi", "processes": 10 }))).await;
    let agent = world.get(&format!("/api/agents/{id}")).await.body;
    assert_eq!(agent["limits"], json!({ "memoryBytes": 64 << 20, "processes": 10, "by": "rlimit" }));
    world.until_logs(&id, "65536").await;
    let unlimited = world.script("sleep 1000").await;
    let agent = world.get(&format!("/api/agents/{unlimited}")).await.body;
    assert_eq!(agent["limits"], json!({ "memoryBytes": 64 << 20, "processes": 50, "by": "rlimit" }));
}

#[tokio::test]
async fn limits_hold_where_the_named_folder_is_no_cgroup() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(|config| config.cgroup = Some(folder.path().into())).await;
    let id = world.spawn(&limited("ulimit -d; sleep 1000", json!({ "memory": "64Mi" }))).await;
    let agent = world.get(&format!("/api/agents/{id}")).await.body;
    assert_eq!(agent["limits"], json!({ "memoryBytes": 64 << 20, "by": "rlimit" }));
    world.until_logs(&id, "65536").await;
}

#[tokio::test]
async fn what_cannot_be_granted_is_refused() {
    let world = World::new().await;
    for (member, value, named) in [
        ("resources", json!({ "memory": "2 apples" }), "resources.memory"),
        ("resources", json!({ "memory": 1 }), "resources.memory"),
        ("resources", json!({ "cpu": "0" }), "resources.cpu"),
        ("resources", json!({ "processes": 0 }), "resources.processes"),
        ("resources", json!({ "timeout": 0 }), "resources.timeout"),
        ("resources", json!(5), "resources"),
        ("idleTimeout", json!(0), "idleTimeout"),
        ("idleTimeout", json!("soon"), "idleTimeout"),
        ("autoRestart", json!(true), "autoRestart"),
        ("mode", json!("psychic"), "mode"),
    ] {
        let mut request = scripted("true");
        request["config"][member] = value.clone();
        let refused = world.post("/api/spawn", &request).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some("INVALID_REQUEST")), "{member}: {value}");
        assert!(refused.body["error"].as_str().unwrap().contains(named), "{}", refused.body);
        let mut single = json!({ "name": "x", "type": "echo" });
        single[member] = value;
        assert_eq!(world.post("/api/agents", &single).await.status, 400, "{single}");
    }
    assert_eq!(world.get("/api/agents").await.body["count"], 0);
}

#[tokio::test]
async fn an_agent_ends_when_its_time_is_over_or_when_nothing_happens() {
    let world = World::new().await;
    let mut events = world.events("").await;
    world.spawn(&limited("while :; do echo busy; sleep 0.1; done", json!({ "timeout": 1 }))).await;
    assert_eq!(events.until_event("agent_stopped").await["data"]["reason"], "timeout");
    let mut idle = scripted("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.2; done; sleep 1000");
    // Many times the pause between two lines: other tests may leave this one little time.
    idle["config"]["idleTimeout"] = json!(6);
    let id = world.spawn(&idle).await;
    assert_eq!(events.until_event("agent_stopped").await["data"]["reason"], "idle timeout");
    world.until_logs(&id, "8").await;
}

#[tokio::test]
async fn an_agent_tells_what_it_uses() {
    let world = World::new().await;
    let id = world.script("sleep 1000 & echo up; while :; do :; done").await;
    let path = format!("/agents/{id}/metrics");
    let metrics = eventually("some work", async || {
        let metrics = world.get(&path).await.body;
        if metrics["cpuSeconds"].as_f64() > Some(0.3) && metrics["outputBytes"] == 4 { Ok(metrics) } else { Err(metrics) }
    })
    .await;
    assert_eq!(metrics["processes"], 2, "{metrics}");
    assert!(metrics["uptime"].as_f64().unwrap() >= 0.3, "{metrics}");
    assert!((100_000..100_000_000).contains(&metrics["memoryBytes"].as_u64().unwrap()), "{metrics}");
    assert!((0.0..=250.0).contains(&metrics["cpuPercent"].as_f64().unwrap()), "{metrics}");
    world.delete(&format!("/agents/{id}?force=true")).await;
    let after = world.get(&format!("/api{path}")).await.body;
    assert_eq!((&after["outputBytes"], &after["processes"]), (&json!(4), &Value::Null));
    assert_eq!(world.get("/agents/nobody/metrics").await.status, 404);
}
