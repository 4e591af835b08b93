//! Agents outlive the runtime: the program itself is killed, stopped and started again.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::ClientRequestBuilder;

use crate::world::{Reply, SOON, Viewer, eventually, reply, scripted};

/// The program on a folder that outlives it.
struct Program {
    child: Child,
    address: String,
    client: reqwest::Client,
}

impl Program {
    async fn start(root: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = command(root, settings).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = timeout(SOON, lines.next_line()).await.unwrap().unwrap().expect("the runtime ended");
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.to_owned();
            }
        };
        // Only the first test of a process can install it.
        let _installed = rustls::crypto::ring::default_provider().install_default().is_ok();
        let client = reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap();
        // What it says from now on is read and thrown away, so that it never waits for us.
        tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
        Self { child, address, client }
    }

    async fn get(&self, path: &str) -> Reply {
        reply(self.client.get(format!("http://{}{path}", self.address))).await
    }

    async fn agent(&self, id: &str) -> Value {
        self.get(&format!("/api/agents/{id}")).await.body
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        reply(self.client.post(format!("http://{}{path}", self.address)).json(body)).await
    }

    async fn spawn(&self, id: &str, mut request: Value) -> Value {
        request["id"] = json!(id);
        let reply = self.post("/api/spawn", &request).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        self.agent(id).await
    }

    async fn until_status(&self, id: &str, status: &str) -> Value {
        eventually(status, async || {
            let agent = self.agent(id).await;
            if agent["status"] == status { Ok(agent) } else { Err(agent) }
        })
        .await
    }

    async fn terminal(&self, id: &str, query: &str) -> Viewer {
        let uri = format!("ws://{}/ws/agents/{id}/terminal{query}", self.address).parse().unwrap();
        Viewer::open(ClientRequestBuilder::new(uri).with_sub_protocol(runtime_protocol::TERMINAL_PROTOCOL)).await
    }

    async fn events(&self) -> Viewer {
        Viewer::open(ClientRequestBuilder::new(format!("ws://{}/ws/events?since=0", self.address).parse().unwrap())).await
    }

    /// Ends the program as a crash would.
    async fn crash(mut self) {
        self.child.kill().await.unwrap();
    }

    async fn signal(&self, signal: &str) {
        send_signal(signal, self.child.id().unwrap()).await;
    }
}

fn command(root: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raven-runtime"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("RUNTIME_PORT", "0").env("RUNTIME_WORKDIR_ROOT", root).envs(settings.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn send_signal(signal: &str, pid: u32) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().await.unwrap();
    assert!(sent.success());
}

fn is_alive(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

async fn until_gone(pid: u64) {
    eventually("its end", async || if is_alive(pid) { Err(pid) } else { Ok(()) }).await;
}

async fn until_folder_is_empty(root: &Path) {
    let agents = root.join(".runtime/agents");
    eventually("an empty folder", async || {
        let left: Vec<_> = fs::read_dir(&agents).unwrap().map(|entry| entry.unwrap().path()).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

/// The supervisor of an agent, as its folder tells.
fn supervisor(root: &Path) -> u64 {
    let folder = fs::read_dir(root.join(".runtime/agents")).unwrap().next().unwrap().unwrap().path();
    let processes: Value = serde_json::from_slice(&fs::read(folder.join("processes.json")).unwrap()).unwrap();
    processes["supervisor"]["pid"].as_u64().unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_killed_runtime_costs_no_line_of_an_agent_that_goes_on() {
    let root = folder();
    let first = Program::start(root.path(), &[]).await;
    // Quiet at first, so that it is ready soon.
    let counting = "echo up; sleep 0.3; i=0; while [ ! -e stop ]; do i=$((i+1)); echo line $i.; sleep 0.002; done; echo done; sleep 1000";
    first.spawn("counter", scripted(counting)).await;
    let before = first.until_status("counter", "ready").await;
    let mut viewer = first.terminal("counter", "").await;
    viewer.until("line 100.").await;
    first.crash().await;
    while viewer.step().await {}
    let cursor = viewer.offset() + viewer.seen.len() as u64;

    let second = Program::start(root.path(), &[]).await;
    let after = second.agent("counter").await;
    for same in ["id", "name", "pid", "runtimeSessionId", "startedAt", "workspaceId", "status"] {
        assert_eq!(before[same], after[same], "{same}: {before} {after}");
    }
    let mut again = second.terminal("counter", &format!("?since={cursor}")).await;
    assert_eq!(again.offset(), cursor);
    again.step().await;
    fs::write(root.path().join("counter/stop"), "").unwrap();
    again.until("done").await;
    assert_eq!(again.controls, [Value::Null; 0], "nothing was lost");
    let all = viewer.text() + &again.text();
    let lines: Vec<_> = all.lines().filter_map(|line| line.strip_prefix("line ")).collect();
    let expected: Vec<_> = (1..=lines.len()).map(|number| format!("{number}.")).collect();
    assert_eq!(lines, expected);

    assert_eq!(second.post("/api/agents/counter/stop", &json!({})).await.status, 204);
    assert!(!is_alive(before["pid"].as_u64().unwrap()));
    until_folder_is_empty(root.path()).await;
}

#[tokio::test]
async fn an_agent_that_ended_meanwhile_is_told_once_with_its_code() {
    let root = folder();
    let first = Program::start(root.path(), &[]).await;
    let waiting = "echo up; while [ ! -e stop ]; do sleep 0.01; done; echo last words; exit 7";
    let before = first.spawn("brief", scripted(waiting)).await;
    first.until_status("brief", "ready").await;
    let its_supervisor = supervisor(root.path());
    first.crash().await;
    fs::write(root.path().join("brief/stop"), "").unwrap();
    until_gone(before["pid"].as_u64().unwrap()).await;

    let second = Program::start(root.path(), &[]).await;
    let stopped = second.until_status("brief", "stopped").await;
    assert_eq!((&stopped["exitCode"], &stopped["runtimeSessionId"]), (&json!(7), &before["runtimeSessionId"]));
    let event = second.events().await.until_event("agent_stopped").await;
    assert_eq!((&event["data"]["agent"]["id"], &event["data"]["reason"]), (&json!("brief"), &json!("exit code 7")));
    let output = second.get("/api/agents/brief/output").await.body;
    assert!(output["output"].as_str().unwrap().contains("last words"), "{output}");
    until_gone(its_supervisor).await;
    until_folder_is_empty(root.path()).await;

    second.crash().await;
    let third = Program::start(root.path(), &[]).await;
    assert_eq!(third.get("/api/agents").await.body["count"], 0);
}

#[tokio::test]
async fn an_agent_whose_supervisor_is_gone_is_told_as_ended() {
    let root = folder();
    let first = Program::start(root.path(), &[]).await;
    let orphaned = first.spawn("orphaned", scripted("trap '' HUP; echo up; while :; do sleep 1; done")).await;
    first.until_status("orphaned", "ready").await;
    let its_supervisor = supervisor(root.path());
    first.crash().await;
    send_signal("KILL", u32::try_from(its_supervisor).unwrap()).await;
    until_gone(its_supervisor).await;

    let second = Program::start(root.path(), &[]).await;
    let stopped = second.until_status("orphaned", "stopped").await;
    assert_eq!(stopped["signal"], "unknown");
    until_gone(orphaned["pid"].as_u64().unwrap()).await;

    let lost = second.spawn("lost", scripted("trap '' HUP; echo up; while :; do sleep 1; done")).await;
    second.until_status("lost", "ready").await;
    send_signal("KILL", u32::try_from(supervisor(root.path())).unwrap()).await;
    second.until_status("lost", "stopped").await;
    until_gone(lost["pid"].as_u64().unwrap()).await;
    until_folder_is_empty(root.path()).await;
}

#[tokio::test]
async fn a_supervisor_that_does_not_answer_is_ended_with_its_agent() {
    let root = folder();
    let first = Program::start(root.path(), &[]).await;
    let agent = first.spawn("deaf", scripted("sleep 1000")).await;
    let its_supervisor = supervisor(root.path());
    first.crash().await;
    send_signal("STOP", u32::try_from(its_supervisor).unwrap()).await;

    let second = Program::start(root.path(), &[]).await;
    second.until_status("deaf", "stopped").await;
    until_gone(its_supervisor).await;
    until_gone(agent["pid"].as_u64().unwrap()).await;
}

#[tokio::test]
async fn an_agent_whose_supervisor_is_stopped_freezes_nobody_and_can_be_ended() {
    let root = folder();
    // With one worker, one wait of it would be everybody's.
    let runtime = Program::start(root.path(), &[("TOKIO_WORKER_THREADS", "1")]).await;
    let started = runtime.spawn("stuck", scripted("sleep 1000")).await;
    let pid = supervisor(root.path());
    send_signal("STOP", u32::try_from(pid).unwrap()).await;
    let end = || runtime.client.delete(format!("http://{}/api/agents/stuck?force=true", runtime.address));
    let ended = reply(end()).await;
    assert_eq!(ended.status, 204, "{}", ended.body);
    until_gone(pid).await;
    until_gone(started["pid"].as_u64().unwrap()).await;
    until_folder_is_empty(root.path()).await;

    runtime.spawn("stuck", scripted("sleep 1000")).await;
    let pid = supervisor(root.path());
    send_signal("STOP", u32::try_from(pid).unwrap()).await;
    let mut viewer = runtime.terminal("stuck", "").await;
    for size in 0..2000 {
        let resize = json!({ "type": "resize", "cols": 80 + size % 2, "rows": 24 });
        viewer.send(tokio_tungstenite::tungstenite::Message::text(resize.to_string())).await;
    }
    for _ in 0..20 {
        timeout(Duration::from_secs(2), runtime.get("/api/health")).await.expect("the runtime is frozen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(reply(end()).await.status, 204);
    until_gone(pid).await;
}

#[tokio::test]
async fn what_left_an_agents_session_ends_with_it_and_nobody_reads_its_environment() {
    let root = folder();
    let runtime = Program::start(root.path(), &[]).await;
    let script = "setsid sh -c 'trap \"\" TERM HUP; echo $$ >outside; sleep 1000 & wait' & sleep 0.3; echo up; sleep 1000";
    let agent = runtime.spawn("leaver", scripted(script)).await;
    let outside = eventually("its number", async || {
        let number = fs::read_to_string(root.path().join("leaver/outside")).unwrap_or_default();
        number.trim().parse::<u64>().map_err(|_| number)
    })
    .await;
    assert!(is_alive(outside));
    // Who traces other processes may read everything, so only the attribute itself tells: what
    // belongs to the superuser there is nobody else's to read.
    for pid in [supervisor(root.path()), u64::from(runtime.child.id().unwrap())] {
        assert!(fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid() == 0, "{pid}");
    }
    let metrics = runtime.get("/api/agents/leaver/metrics").await;
    assert_eq!(metrics.status, 200, "{}", metrics.body);
    let ended = reply(runtime.client.delete(format!("http://{}/api/agents/leaver", runtime.address))).await;
    assert_eq!(ended.status, 204, "{}", ended.body);
    until_gone(agent["pid"].as_u64().unwrap()).await;
    until_gone(outside).await;
}

#[tokio::test]
async fn stopping_an_adopted_agent_ends_what_it_started() {
    let root = folder();
    let first = Program::start(root.path(), &[]).await;
    first.spawn("parent", scripted("sleep 1000 & echo child=$!.; wait")).await;
    let mut viewer = first.terminal("parent", "").await;
    viewer.until(".").await;
    let text = viewer.text();
    let child: u64 = text.split_once("child=").unwrap().1.split_once('.').unwrap().0.parse().unwrap();
    first.crash().await;

    let second = Program::start(root.path(), &[]).await;
    assert!(is_alive(child));
    let stopped = reply(second.client.delete(format!("http://{}/api/agents/parent", second.address))).await;
    assert_eq!(stopped.status, 204, "{}", stopped.body);
    until_gone(child).await;
}

#[tokio::test]
async fn an_agent_without_a_runtime_is_ended_after_a_while() {
    let root = folder();
    let first = Program::start(root.path(), &[("RUNTIME_ORPHAN_TIMEOUT", "1")]).await;
    let agent = first.spawn("orphan", scripted("sleep 1000")).await;
    let its_supervisor = supervisor(root.path());
    first.crash().await;
    until_gone(agent["pid"].as_u64().unwrap()).await;
    until_gone(its_supervisor).await;

    // The supervisor left word before it went.
    let second = Program::start(root.path(), &[]).await;
    let stopped = second.until_status("orphan", "stopped").await;
    assert_eq!(stopped["signal"], "SIGTERM");
    let event = second.events().await.until_event("agent_stopped").await;
    assert_eq!(event["data"]["reason"], "no runtime");
}

#[tokio::test]
async fn an_agent_that_no_runtime_can_find_again_is_ended() {
    let root = folder();
    let program = Program::start(root.path(), &[]).await;
    let agent = program.spawn("stray", scripted("sleep 1000")).await;
    let its_supervisor = supervisor(root.path());
    program.crash().await;
    drop(root);
    until_gone(agent["pid"].as_u64().unwrap()).await;
    until_gone(its_supervisor).await;
}

#[tokio::test]
async fn a_supervisor_that_is_told_to_end_ends_its_agent_first() {
    let root = folder();
    let program = Program::start(root.path(), &[]).await;
    program.spawn("brief", scripted("trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done")).await;
    program.until_status("brief", "ready").await;
    let its_supervisor = supervisor(root.path());
    send_signal("TERM", u32::try_from(its_supervisor).unwrap()).await;
    let stopped = program.until_status("brief", "stopped").await;
    assert_eq!(stopped["exitCode"], 3);
    until_gone(its_supervisor).await;
}

#[tokio::test]
async fn nobody_else_may_enter_an_agents_folder_and_no_secret_of_it_is_there() {
    let root = folder();
    let program = Program::start(root.path(), &[]).await;
    let mut request = scripted("echo up; sleep 1000; : argument-of-the-agent");
    request["config"]["env"] = json!({ "MCP_API_KEY": "key-of-the-agent" });
    program.spawn("secretive", request).await;
    program.until_status("secretive", "ready").await;
    let its_supervisor = supervisor(root.path());
    for told in ["cmdline", "environ"] {
        let told = fs::read(format!("/proc/{its_supervisor}/{told}")).unwrap();
        assert!(!String::from_utf8_lossy(&told).contains("-of-the-agent"));
    }
    let folder = fs::read_dir(root.path().join(".runtime/agents")).unwrap().next().unwrap().unwrap().path();
    for folder in [root.path().join(".runtime"), root.path().join(".runtime/agents"), folder.clone()] {
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700, "{}", folder.display());
    }
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    // A draft is there for a moment whenever the record changes.
    names.retain(|name| name != "agent.json.new");
    names.sort();
    assert_eq!(names, ["agent.json", "processes.json", "socket", "supervisor.log"]);
    for name in names {
        let file = folder.join(&name);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600, "{name}");
        assert!(!fs::read_to_string(&file).is_ok_and(|text| text.contains("-of-the-agent")), "{name}");
    }
}

#[tokio::test]
async fn two_runtimes_never_share_a_folder() {
    let root = folder();
    let _first = Program::start(root.path(), &[]).await;
    let output = command(root.path(), &[]).output().await.unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("another runtime uses") && told.contains("RUNTIME_WORKDIR_ROOT"), "{told}");
}

#[tokio::test]
async fn agents_are_kept_over_an_orderly_restart_where_that_is_wanted() {
    let root = folder();
    let mut first = Program::start(root.path(), &[("RUNTIME_KEEP_AGENTS", "true")]).await;
    let before = first.spawn("kept", json!({ "agentType": "echo", "workspaceId": "w1" })).await;
    first.until_status("kept", "ready").await;
    first.signal("TERM").await;
    assert!(timeout(SOON, first.child.wait()).await.unwrap().unwrap().success());

    let second = Program::start(root.path(), &[]).await;
    let after = second.until_status("kept", "ready").await;
    assert_eq!(before["pid"], after["pid"]);
    let sent = second.post("/api/agents/kept/send", &json!({ "message": "echo $((40 + 2)) still" })).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    second.terminal("kept", "").await.until("42 still").await;
}

#[tokio::test]
async fn a_message_printed_while_no_runtime_was_there_is_told_by_the_next_and_no_other() {
    let root = folder();
    let first = Program::start(root.path(), &[]).await;
    let script = "echo '{\"n\":1}'; while [ ! -e go ]; do sleep 0.01; done; echo '{\"n\":2}'; touch gone; read -r line; echo \"$line\"";
    let mut request = scripted(script);
    request["config"]["mode"] = json!("structured");
    first.spawn("teller", request).await;
    let told = first.events().await.until_event("message").await;
    assert_eq!(told["data"]["message"]["metadata"], json!({ "n": 1 }));
    first.crash().await;
    fs::write(root.path().join("teller/go"), "").unwrap();
    eventually("the second message", async || fs::read(root.path().join("teller/gone"))).await;

    let second = Program::start(root.path(), &[]).await;
    let mut events = second.events().await;
    assert_eq!(events.until_event("message").await["data"]["message"]["metadata"], json!({ "n": 2 }));
    let sent = second.post("/api/agents/teller/send", &json!({ "message": "{\"n\":3}" })).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    assert_eq!(events.until_event("message").await["data"]["message"]["content"], "{\"n\":3}");
    events.until_event("agent_stopped").await;
}

#[tokio::test]
async fn a_stopped_runtime_neither_stalls_an_agent_nor_fills_its_supervisor() {
    const BYTES: u64 = 64 * 1024 * 1024;
    let root = folder();
    let program = Program::start(root.path(), &[]).await;
    let flood = format!(
        "echo up; while [ ! -e go ]; do sleep 0.01; done; stty raw; head -c {BYTES} /dev/zero | tr '\\0' x; touch flooded; printf END; sleep 1000"
    );
    program.spawn("flood", scripted(&flood)).await;
    let its_supervisor = supervisor(root.path());
    let mut viewer = program.terminal("flood", "").await;
    viewer.until("up").await;
    program.signal("STOP").await;
    fs::write(root.path().join("flood/go"), "").unwrap();
    let deadline = Instant::now() + SOON;
    while !root.path().join("flood/flooded").exists() {
        assert!(Instant::now() < deadline, "the agent waits for its runtime");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let private = private_bytes(its_supervisor);
    assert!(private < 8 * 1024 * 1024, "{private}");
    program.signal("CONT").await;
    viewer.until("END").await;
    let lagged = viewer.controls.last().map_or(0, |control| control["offset"].as_u64().unwrap());
    assert!(lagged > BYTES / 2, "{:?}", viewer.controls);
}

/// Memory of a process that it shares with nobody.
fn private_bytes(pid: u64) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>() * 1024
}

#[tokio::test]
async fn a_thread_goes_on_with_its_agent_and_is_not_told_its_objective_again() {
    let root = tempfile::tempdir().unwrap();
    let program = Program::start(root.path(), &[]).await;
    let body = json!({
        "id": "t-1", "executionId": "exec-1", "agentType": "echo", "name": "worker", "role": "engineer",
        "objective": "echo objective $((40 + 2))", "workspace": { "path": "repo" }, "metadata": { "ticket": 7 },
    });
    let created = program.post("/api/threads", &body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let agent_id = created.body["agentId"].as_str().unwrap().to_owned();
    let answered = async |program: &Program| {
        let output = program.get(&format!("/api/agents/{agent_id}/output")).await.body["output"].as_str().unwrap().to_owned();
        if output.contains("objective 42") { Ok(output) } else { Err(output) }
    };
    eventually("its answer", async || answered(&program).await).await;
    program.until_status(&agent_id, "ready").await;
    program.crash().await;

    let program = Program::start(root.path(), &[]).await;
    let thread = program.get("/api/threads/t-1").await.body;
    for member in ["executionId", "objective", "role", "workspace", "metadata", "agentId", "createdAt"] {
        assert_eq!(thread[member], created.body[member], "{member}");
    }
    program.until_status(&agent_id, "ready").await;
    let mut events = program.events().await;
    let sent = program.post("/api/threads/t-1/send", &json!({ "message": "echo $((2 + 3)) more; exit" })).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    loop {
        let frame = events.until_event("thread_event").await;
        if frame["data"]["event"]["type"] == "thread_stopped" {
            assert_eq!((&frame["data"]["thread"]["id"], &frame["data"]["event"]["data"]["exitCode"]), (&json!("t-1"), &json!(0)));
            break;
        }
    }
    let output = answered(&program).await.unwrap();
    assert!(output.contains("5 more") && output.matches("objective 42").count() == 1, "{output}");
    let entries = program.get(&format!("/api/agents/{agent_id}/logs?format=json")).await.body["entries"].clone();
    let line =
        |text: &str| entries.as_array().unwrap().iter().find(|entry| entry["message"] == text).unwrap_or_else(|| panic!("{entries}"));
    assert!(line("objective 42")["timestamp"].is_null(), "{entries}");
    assert!(line("5 more")["timestamp"].is_string(), "{entries}");
    assert_eq!(program.get("/api/agents").await.body["agents"][0]["executionId"], "exec-1");
}

#[tokio::test]
async fn a_request_that_is_repeated_after_a_restart_starts_nothing_twice() {
    let root = folder();
    let first = Program::start(root.path(), &[]).await;
    let spawn = |program: &Program| {
        let url = format!("http://{}/api/spawn", program.address);
        reply(program.client.post(url).header("x-request-id", "r1").json(&scripted("sleep 1000")))
    };
    let before = spawn(&first).await;
    first.crash().await;
    let second = Program::start(root.path(), &[]).await;
    let again = spawn(&second).await;
    assert_eq!((again.status, &again.body["agents"][0]["id"]), (201, &before.body["agents"][0]["id"]));
    assert_eq!(second.get("/api/agents").await.body["count"], 1);
}

#[tokio::test]
async fn an_adopted_agent_cannot_be_restarted_since_nobody_knows_its_environment_any_more() {
    let root = tempfile::tempdir().unwrap();
    let program = Program::start(root.path(), &[]).await;
    program.spawn("a", scripted("sleep 1000")).await;
    program.crash().await;
    let program = Program::start(root.path(), &[]).await;
    let refused = program.post("/api/agents/a/restart", &json!({})).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (409, Some("CANNOT_RESTART")));
    assert!(!program.agent("a").await["status"].as_str().unwrap().starts_with("stop"));
}
