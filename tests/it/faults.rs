//! Programs are killed, the network goes silent, and somebody floods or does not read: what the contract
//! promises holds, and memory stays.

use std::time::{Duration, Instant};

use raven_agents::storage::StorageError;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::{interval, timeout};

use crate::support::{
    DEADLINE, LocalRuntime, RUNTIME_TOKEN, World, config,
    fake_runtime::FakeRuntime,
    program::{Folder, Program, free_port, raven_runtime, resident_kib},
    proxy::{Carried, Proxy},
    service::Service,
    terminal::Socket,
};

/// Prints numbers for as long as it lives.
const COUNTING: &str = "i=0; while :; do i=$((i+1)); printf '%d;' $i; sleep 0.02; done\n";
/// A dead connection is noticed within a minute of silence, and looked for again at least every half minute.
const SILENCE_NOTICED: Duration = Duration::from_secs(100);
/// What the service's memory may grow by under any flood, in KiB: up to 32 MiB are put aside for the recording, and the
/// allocator keeps for a while what was given back. A queue without an end would hold as much of the flood again.
const GROWTH_KIB_MAX: u64 = 88 * 1024;

/// The runtime's own program, on a port and in a folder that outlive a kill.
pub(crate) struct RuntimeProgram {
    pub(crate) folder: Folder,
    pub(crate) port: u16,
    pub(crate) program: Program,
}

impl RuntimeProgram {
    pub(crate) async fn start() -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let program = Self::launch(&folder, port).await;
        Self { folder, port, program }
    }

    pub(crate) async fn launch(folder: &Folder, port: u16) -> Program {
        let root = folder.path().display().to_string();
        let settings = [
            ("RUNTIME_PORT", port.to_string()),
            ("RUNTIME_TOKEN", RUNTIME_TOKEN.to_owned()),
            ("RUNTIME_WORKDIR_ROOT", root.clone()),
            ("HOME", root),
        ];
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut program = Program::start(raven_runtime(&settings));
        program.until_says("listening").await;
        program
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every agent that it knows, as it says.
    async fn agents(&self) -> Vec<Value> {
        let list = reqwest::Client::new().get(format!("{}/api/agents", self.endpoint())).bearer_auth(RUNTIME_TOKEN).send().await.unwrap();
        list.json::<Value>().await.unwrap()["agents"].as_array().unwrap().clone()
    }

    /// Ends it and all its agents.
    pub(crate) async fn end(self) {
        let http = reqwest::Client::new();
        for agent in self.agents().await {
            let path = format!("{}/api/agents/{}?force=true", self.endpoint(), agent["id"].as_str().unwrap());
            http.delete(path).bearer_auth(RUNTIME_TOKEN).send().await.unwrap();
        }
        self.program.kill().await;
    }
}

/// A shell of the service in whose terminal numbers are counted: the owner's token, its id, its session, the terminal.
async fn counting(service: &Service) -> (String, String, Value, Socket) {
    let (_, token, id) = service.with_shell().await;
    let session = service.until(&token, &format!("/terminal/agents/{id}/session"), |session| session["status"] == "active").await;
    let mut terminal = Socket::connect(&service.base, "/terminal", &format!("authToken={token}")).await;
    terminal.attach(&id).await;
    terminal.emit("input", json!(COUNTING)).await;
    terminal.until_shows(";10;").await;
    (token, id, session, terminal)
}

/// The numbers on a screen after the last of anything else; the first and the last may be cut.
fn counted(screen: &str) -> Vec<u64> {
    let numbers = screen.rsplit(|character: char| !character.is_ascii_digit() && character != ';').next().unwrap_or_default();
    let numbers: Vec<u64> = numbers.split(';').filter_map(|number| number.parse().ok()).collect();
    numbers.get(1..numbers.len().saturating_sub(1)).unwrap_or_default().to_vec()
}

fn is_gapless(numbers: &[u64]) -> bool {
    !numbers.is_empty() && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

#[sqlx::test]
async fn killed_and_started_again_the_runtime_has_its_agents_and_their_output_goes_on(pool: PgPool) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut runtime = RuntimeProgram::start().await;
    let service = Service::start(&pool, &runtime.endpoint()).await;
    let (token, id, session, mut terminal) = counting(&service).await;
    let pid = runtime.agents().await[0]["pid"].clone();

    runtime.program.kill().await;
    let session_path = format!("/terminal/agents/{id}/session");
    service.until(&token, &session_path, |session| session["status"] == "disconnected").await;
    let before = counted(&terminal.screen).last().copied().unwrap();
    runtime.program = RuntimeProgram::launch(&runtime.folder, runtime.port).await;

    let again = service.until(&token, &session_path, |session| session["status"] == "active").await;
    assert_eq!(again["id"], session["id"]);
    let agents = runtime.agents().await;
    assert_eq!((agents.len(), &agents[0]["pid"]), (1, &pid), "{agents:?}");
    terminal.until_shows(&format!(";{};", before + 100)).await;
    assert!(is_gapless(&counted(&terminal.screen)), "{}", terminal.screen);
    let events: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, count(*) FROM outbox WHERE name LIKE 'run.%' GROUP BY name ORDER BY name")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(events, [("run.ready".to_owned(), 1), ("run.started".to_owned(), 1)]);
    service.program.kill().await;
    runtime.end().await;
}

#[sqlx::test]
async fn killed_with_agents_that_print_and_a_spawn_under_way_the_service_comes_back_to_exactly_those(pool: PgPool) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = RuntimeProgram::start().await;
    let service = Service::start(&pool, &runtime.endpoint()).await;
    let (token, id, _, terminal) = counting(&service).await;
    let before = counted(&terminal.screen).last().copied().unwrap();
    let spawn = reqwest::Client::new().post(format!("{}/api/parallax-agents/spawn", service.base)).bearer_auth(&token);
    let spawning = tokio::spawn(spawn.json(&json!({"agentType": "custom", "name": "pair", "count": 2})).send());
    // The runtime has been asked, and the service may or may not have heard the answer.
    let deadline = Instant::now() + DEADLINE;
    while runtime.agents().await.len() < 3 {
        assert!(Instant::now() < deadline, "the runtime was not asked for two more");
    }
    service.program.kill().await;
    spawning.await.unwrap().ok();
    let spawned = loop {
        let agents = runtime.agents().await;
        if agents.iter().all(|agent| agent["pid"].is_u64()) {
            break agents;
        }
        assert!(Instant::now() < deadline, "the runtime started none of them: {agents:?}");
    };

    let service = Service::start(&pool, &runtime.endpoint()).await;
    let ready = |agents: &Value| {
        agents.as_array().is_some_and(|agents| agents.len() == 3 && agents.iter().all(|agent| agent["run"]["status"] == "ready"))
    };
    service.until(&token, "/parallax-agents", ready).await;
    let pids = |agents: &[Value]| agents.iter().map(|agent| (agent["id"].clone(), agent["pid"].clone())).collect::<Vec<_>>();
    assert_eq!(pids(&runtime.agents().await), pids(&spawned), "nothing was ended, and nothing started twice");
    let doubled: Vec<(String, i64)> = sqlx::query_as(
        "SELECT name || ' ' || coalesce(agent_id, ''), count(*) FROM outbox WHERE name IN ('run.started', 'run.ready') GROUP BY 1 HAVING count(*) > 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(doubled, []);
    let sessions: i64 = sqlx::query_scalar("SELECT count(*) FROM terminal_sessions").fetch_one(&pool).await.unwrap();
    assert_eq!(sessions, 3);
    let mut terminal = Socket::connect(&service.base, "/terminal", &format!("authToken={token}")).await;
    terminal.attach(&id).await;
    terminal.until_shows(&format!(";{};", before + 100)).await;
    assert!(is_gapless(&counted(&terminal.screen)), "{}", terminal.screen);
    service.program.kill().await;
    runtime.end().await;
}

/// The network between service and runtime carries nothing any more, and closes nothing.
#[sqlx::test]
async fn a_connection_that_is_half_open_is_noticed_and_nothing_printed_meanwhile_is_lost(pool: PgPool) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = LocalRuntime::start().await;
    let proxy = Proxy::start(&runtime.endpoint()).await;
    let world = World::with_config(pool, config(Some(proxy.endpoint())), Some(runtime)).await;
    let owner = world.owner().await;
    let (id, mut terminal) = owner.attached_shell().await;
    terminal.emit("input", json!(COUNTING)).await;
    terminal.until_shows(";10;").await;

    let silent_since = Instant::now();
    proxy.carry(Carried::Nothing);
    let session = async {
        let mut looks = interval(Duration::from_millis(200));
        loop {
            looks.tick().await;
            let session = owner.get(&format!("/terminal/agents/{id}/session")).await.expect(StatusCode::OK);
            if session["data"]["status"] == "disconnected" {
                return;
            }
        }
    };
    tokio::select! {
        noticed = timeout(SILENCE_NOTICED, session) => assert!(noticed.is_ok(), "nobody noticed the silence"),
        () = terminal.follow() => {}
    }
    println!("noticed after {:?}", silent_since.elapsed());
    assert!(silent_since.elapsed() > Duration::from_secs(5), "a pause is no loss");
    let before = counted(&terminal.screen).last().copied().unwrap();
    proxy.carry(Carried::Everything);
    let active = async || owner.get(&format!("/terminal/agents/{id}/session")).await.expect(StatusCode::OK)["data"]["status"] == "active";
    let deadline = Instant::now() + SILENCE_NOTICED;
    while !active().await {
        assert!(Instant::now() < deadline, "the connection did not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    terminal.until_shows(&format!(";{};", before + 500)).await;
    assert!(is_gapless(&counted(&terminal.screen)), "{}", terminal.screen);
    world.end().await;
}

#[sqlx::test]
async fn fifty_thousand_events_a_second_leave_the_memory_alone_and_the_newest_state_in_view(pool: PgPool) {
    const PER_TICK: u32 = 500;
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = FakeRuntime::start().await;
    let service = Service::start(&pool, &runtime.endpoint()).await;
    let (_, token, id) = service.with_shell().await;
    let agent = runtime.agent().unwrap();
    let before = resident_kib(service.program.pid());
    let message = json!({"agent": {"id": agent, "status": "ready"},
        "message": {"id": "m", "agentId": agent, "direction": "outbound", "type": "response", "content": "x".repeat(100)}});
    let (mut peak, mut ticks) = (before, interval(Duration::from_millis(10)));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        ticks.tick().await;
        for _ in 0..PER_TICK {
            runtime.tell("message", &message);
        }
        peak = peak.max(resident_kib(service.program.pid()));
    }
    runtime.be("stopped");
    runtime.tell("agent_stopped", &json!({"agent": {"id": agent, "status": "stopped"}, "reason": "exit code 3", "exitCode": 3}));
    let told = Instant::now();
    service.until(&token, &format!("/parallax-agents/{id}"), |agent| agent["run"]["status"] == "stopped").await;
    println!("seen {:?} after it was told; {before} KiB before, {peak} KiB at the most", told.elapsed());
    assert!(peak.saturating_sub(before) < GROWTH_KIB_MAX, "{before} KiB before, {peak} KiB at the most");
    service.program.kill().await;
}

/// One viewer reads nothing, and later the runtime reads nothing, ten seconds in all.
#[sqlx::test]
async fn ten_seconds_without_reading_on_either_side_slow_nobody_else(pool: PgPool) {
    const STALL: Duration = Duration::from_secs(5);
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = RuntimeProgram::start().await;
    let proxy = Proxy::start(&runtime.endpoint()).await;
    let service = Service::start(&pool, &proxy.endpoint()).await;
    let (_, token, id) = service.with_shell().await;
    service.until(&token, &format!("/terminal/agents/{id}/session"), |session| session["status"] == "active").await;
    let cookie = format!("authToken={token}");
    let (mut stuck, mut fast) =
        (Socket::connect(&service.base, "/terminal", &cookie).await, Socket::connect(&service.base, "/terminal", &cookie).await);
    stuck.attach(&id).await;
    fast.attach(&id).await;
    let before = resident_kib(service.program.pid());
    let began = Instant::now();
    // Whoever missed something starts behind a line break, so the last word comes in two lines.
    fast.emit("input", json!("head -c 33554432 /dev/zero | tr '\\0' x; echo; echo E''ND; echo E''ND\n")).await;
    until_shows_the_end_of_a_flood(&mut fast).await;

    assert!(began.elapsed() < STALL, "the flood took {:?}", began.elapsed());
    let mut slowest = Duration::ZERO;
    while began.elapsed() < STALL {
        slowest = slowest.max(echo(&mut fast).await);
    }
    let peak = resident_kib(service.program.pid());
    println!("{before} KiB before, {peak} KiB after the flood");
    assert!(slowest < Duration::from_secs(1), "an echo took {slowest:?}");
    assert!(peak.saturating_sub(before) < GROWTH_KIB_MAX, "{before} KiB before, {peak} KiB now");
    // It is shown what is newest, however much it missed.
    fast.emit("input", json!("echo fi''n\n")).await;
    stuck.until_shows("fin").await;

    // A program that takes whatever comes, and keys that end it.
    fast.emit("input", json!("PS1='pro''mpt: '; stty -icanon -echo; echo G''O; cat > /dev/null\n")).await;
    fast.until_shows("GO").await;
    proxy.carry(Carried::FromRuntime);
    let began = Instant::now();
    let typing = tokio::spawn(async move {
        // Somewhat less than may wait.
        for _ in 0..100 {
            fast.emit("input", json!("#".repeat(8000))).await;
        }
        fast
    });
    let http = reqwest::Client::new();
    while began.elapsed() < STALL {
        let asked = Instant::now();
        let answer = http.get(format!("{}/api/parallax-agents", service.base)).bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(asked.elapsed() < Duration::from_secs(1), "an answer took {:?}", asked.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let peak = resident_kib(service.program.pid());
    assert!(peak.saturating_sub(before) < GROWTH_KIB_MAX, "{before} KiB before, {peak} KiB now");
    proxy.carry(Carried::Everything);
    let mut fast = timeout(DEADLINE, typing).await.expect("what was typed is not taken").unwrap();
    fast.emit("input", json!("\u{3}")).await;
    fast.until_shows("prompt: ").await;
    fast.emit("input", json!("stty sane; echo still$((1))here\n")).await;
    fast.until_shows("still1here").await;
    service.program.kill().await;
    runtime.end().await;
}

/// Reads on until the flood's last line is on the screen, keeping only the end of it.
async fn until_shows_the_end_of_a_flood(terminal: &mut Socket) {
    let reading = async {
        while !terminal.screen.contains("END") {
            terminal.next().await;
            let keep = terminal.screen.floor_char_boundary(terminal.screen.len().saturating_sub(64 * 1024));
            terminal.screen.drain(..keep);
        }
    };
    timeout(DEADLINE, reading)
        .await
        .unwrap_or_else(|_| panic!("the end of the flood is not shown but {:?}", &terminal.screen[..terminal.screen.len().min(300)]));
}

/// Types something and waits for its answer.
async fn echo(terminal: &mut Socket) -> Duration {
    terminal.screen.clear();
    let typed = Instant::now();
    terminal.emit("input", json!("echo a$((2))b\n")).await;
    terminal.until_shows("a2b").await;
    typed.elapsed()
}

/// What is done again when it is told by a database that is away, that stands by, or that met another transaction.
#[sqlx::test]
async fn what_a_database_says_that_is_away_or_stands_by_is_no_refusal(pool: PgPool) {
    for (code, is_transient) in [
        ("08006", true),
        ("08P01", true),
        ("25006", true),
        ("40001", true),
        ("40P01", true),
        ("53300", true),
        ("57P03", true),
        ("58030", true),
        ("22001", false),
        ("23505", false),
        ("25P02", false),
        ("42P01", false),
    ] {
        let raised = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")));
        let error = StorageError::from(raised.execute(&pool).await.unwrap_err());
        assert_eq!(error.is_transient(), is_transient, "{code}");
    }
    let mut standby = pool.begin_with("BEGIN READ ONLY").await.unwrap();
    let written = sqlx::query("DELETE FROM workspaces").execute(&mut *standby).await;
    assert!(matches!(StorageError::from(written.unwrap_err()), StorageError::Unavailable(_)));
}
