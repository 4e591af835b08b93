//! Terminals on sockets: what flows, who may dial in, and what nobody can do to the service or to others.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::{SinkExt as _, StreamExt as _};
use raven_agents::{
    app::connections::Kind,
    config::{Config, Quota, RateLimits},
    model::{
        ids::{SessionId, UserId},
        token::Tokens,
    },
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{ClientRequestBuilder, Message},
};

use crate::support::{APP_SECRET, DEADLINE, LocalRuntime, WEBHOOK_SECRET, World, config, node, program, terminal::Socket};

/// Output that a viewer passes by who reads nothing, in megabytes. The service of the tests is not optimised.
const FLOOD_MEGABYTES: &str = if cfg!(debug_assertions) { "10" } else { "100" };

/// Within this the end of a flood is seen after Ctrl-C, in milliseconds.
const INTERRUPT_MS: &str = if cfg!(debug_assertions) { "1000" } else { "150" };

async fn limited(pool: PgPool, limits: RateLimits, change: impl FnOnce(&mut Config)) -> World {
    let mut config = config(None);
    config.rate_limits = Some(limits);
    change(&mut config);
    World::with_config(pool, config, None).await
}

/// Tries to open a connection for sockets; the status of the answer.
async fn knock(base: &str, host: &str, headers: &[(&str, &str)]) -> u16 {
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    String::from_utf8_lossy(&status[9..]).parse().unwrap()
}

/// Waits until a viewer is told this status.
async fn until_status(viewer: &mut Socket, status: &str) -> Value {
    loop {
        let told = viewer.until("status").await;
        if told["status"] == status {
            return told;
        }
    }
}

/// RT-05, RT-14, RT-18, RT-30.
#[sqlx::test]
async fn what_flows_to_viewers_is_exact_and_bounded(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    let session = owner.until_session_is(&id, "active").await;
    let arguments = [&world.base, &owner.cookie(), session["id"].as_str().unwrap(), FLOOD_MEGABYTES, INTERRUPT_MS];
    node::run("stream.mjs", &arguments).await;
    world.end().await;
}

/// RT-32.
#[sqlx::test]
async fn viewers_come_back_when_the_service_restarts(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    let session = owner.until_session_is(&id, "active").await["id"].as_str().unwrap().to_owned();
    let (base, cookie) = (world.base.clone(), owner.cookie());
    let script = tokio::spawn({
        let session = session.clone();
        async move { node::run("returning.mjs", &[&base, &cookie, &session]).await }
    });
    // The command before the restart was printed once this stands in the terminal.
    let terminal = world.app().terminals.get(session.parse().unwrap()).unwrap();
    world.until("the first command", async || terminal.history().contains("before\r\n").then_some(())).await;
    let world = world.restart().await;
    script.await.unwrap();
    world.end().await;
}

/// RT-02, RT-03: with the secret, for one session, once.
#[sqlx::test]
async fn a_runtime_dials_in_for_its_session_alone(pool: PgPool) {
    // Nothing answers where the session's runtime should be.
    let world = World::with_config(pool, config(Some("http://127.0.0.1:9".to_owned())), None).await;
    let owner = world.owner().await;
    world.approved_agent("scout").await;
    let offer = json!({"workspaceId": world.workspace, "agentId": "scout", "runtimeSessionId": "pty-1"});
    world.control_plane().post("/terminal/sessions", offer).await;

    for (session, auth, code) in [
        ("pty-1", json!({}), "UNAUTHORIZED"),
        ("pty-1", json!({"secret": "wrong"}), "UNAUTHORIZED"),
        ("pty-2", json!({"secret": WEBHOOK_SECRET}), "SESSION_NOT_FOUND"),
    ] {
        let mut stranger = Socket::connect_runtime(&world.base, session, &auth).await;
        assert_eq!(stranger.until("error").await["code"], code, "{auth}");
        stranger.until_closed().await;
    }
    let mut runtime = Socket::connect_runtime(&world.base, "pty-1", &json!({"secret": WEBHOOK_SECRET})).await;
    let mut second = Socket::connect_runtime(&world.base, "pty-1", &json!({"secret": WEBHOOK_SECRET})).await;
    assert_eq!(second.until("error").await["code"], "FORBIDDEN");
    second.until_closed().await;

    runtime.emit("status", json!({"runtimeSessionId": "pty-1", "status": "active"})).await;
    owner.until_session_is("scout", "active").await;
    let mut viewer = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    viewer.attach("scout").await;
    viewer.emit("output", json!({"runtimeSessionId": "pty-1", "data": "forged"})).await;
    viewer.emit("status", json!({"runtimeSessionId": "pty-1", "status": "terminated"})).await;
    runtime.emit("output", json!({"runtimeSessionId": "pty-2", "data": "foreign"})).await;
    assert_eq!(runtime.until("error").await["code"], "INVALID_PAYLOAD");
    viewer.emit("input", json!("né\r")).await;
    runtime.emit("output", json!({"runtimeSessionId": "pty-1", "data": "hello 🦀"})).await;
    assert_eq!(runtime.until("input").await, "né\r");
    viewer.until_shows("hello 🦀").await;
    viewer.emit("resize", json!({"cols": 99, "rows": 33})).await;
    while runtime.until("resize").await != json!({"cols": 99, "rows": 33}) {}
    assert!(!viewer.screen.contains("forged") && !viewer.screen.contains("foreign"), "{:?}", viewer.screen);

    let login = json!({"runtimeSessionId": "pty-1", "status": "login_required", "loginUrl": "javascript:alert(1)"});
    runtime.emit("status", login).await;
    let told = until_status(&mut viewer, "login_required").await;
    assert_eq!(told.get("loginUrl"), None, "{told}");
    drop(runtime);
    until_status(&mut viewer, "disconnected").await;
    viewer.emit("input", json!("x")).await;
    assert_eq!(viewer.until("error").await["code"], "RUNTIME_NOT_CONNECTED");

    // Its next connection is the session's line again.
    let mut runtime = Socket::connect_runtime(&world.base, "pty-1", &json!({"secret": WEBHOOK_SECRET})).await;
    runtime.emit("output", json!({"data": "back"})).await;
    viewer.until_shows("back").await;
    runtime.emit("status", json!({"status": "terminated"})).await;
    until_status(&mut viewer, "terminated").await;
    runtime.until_closed().await;
    world.end().await;
}

/// RT-23: what a runtime reports moves a session as what is heard of its line does, and an address may follow.
#[sqlx::test]
async fn a_session_that_has_begun_is_not_reported_pending_and_is_told_where_to_log_in_when_that_is_known(pool: PgPool) {
    let mut settings = config(Some("http://127.0.0.1:9".to_owned()));
    settings.login_hosts = vec!["login.example.com".to_owned()];
    let world = World::with_config(pool.clone(), settings, None).await;
    let owner = world.owner().await;
    world.approved_agent("scout").await;
    let offer = json!({"workspaceId": world.workspace, "agentId": "scout", "runtimeSessionId": "pty-1"});
    world.control_plane().post("/terminal/sessions", offer).await.expect(StatusCode::CREATED);
    let mut runtime = Socket::connect_runtime(&world.base, "pty-1", &json!({"secret": WEBHOOK_SECRET})).await;
    runtime.emit("status", json!({"status": "active"})).await;
    owner.until_session_is("scout", "active").await;
    let mut viewer = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    viewer.attach("scout").await;

    runtime.emit("status", json!({"status": "pending"})).await;
    assert_eq!(runtime.until("error").await["code"], "INVALID_PAYLOAD");
    let reported = world.control_plane().post("/terminal/sessions/pty-1/status", json!({"status": "pending"})).await;
    reported.expect_problem(StatusCode::CONFLICT, "ILLEGAL_TRANSITION");

    runtime.emit("status", json!({"status": "login_required"})).await;
    assert_eq!(until_status(&mut viewer, "login_required").await.get("loginUrl"), None);
    let login = json!({"status": "login_required", "loginUrl": "https://login.example.com/device"});
    runtime.emit("status", login.clone()).await;
    assert_eq!(until_status(&mut viewer, "login_required").await["loginUrl"], login["loginUrl"]);
    let stored = sqlx::query_scalar::<_, Option<String>>("SELECT login_url FROM terminal_sessions").fetch_one(&pool).await.unwrap();
    assert_eq!(json!(stored), login["loginUrl"]);
    drop(runtime);
    until_status(&mut viewer, "disconnected").await;
    world.end().await;
}

/// A session ends while its runtime dials in: it has no line then.
#[sqlx::test]
async fn a_runtime_that_dials_in_while_its_session_ends_opens_nothing(pool: PgPool) {
    let world = World::with_config(pool.clone(), config(Some("http://127.0.0.1:9".to_owned())), None).await;
    world.approved_agent("scout").await;
    let offer = json!({"workspaceId": world.workspace, "agentId": "scout", "runtimeSessionId": "pty-1"});
    let session = world.control_plane().post("/terminal/sessions", offer).await.expect(StatusCode::CREATED)["data"]["id"].clone();
    let session: SessionId = session.as_str().unwrap().parse().unwrap();
    let terminals = &world.app().terminals;
    world.until("the terminal", || async { terminals.get(session).map(drop) }).await;
    let mut ending = pool.begin().await.unwrap();
    let ended = "UPDATE terminal_sessions SET status = 'terminated', terminated_at = now() WHERE id = $1";
    sqlx::query(ended).bind(session.0).execute(&mut *ending).await.unwrap();
    terminals.end(session, false);

    let secret = json!({"secret": WEBHOOK_SECRET});
    let ends = async {
        let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                       WHERE NOT l.granted AND a.datname = current_database() AND a.query LIKE '%FOR UPDATE OF s%'";
        world
            .until("the runtime to wait", || async {
                (sqlx::query_scalar::<_, i64>(waiting).fetch_one(&pool).await.unwrap() > 0).then_some(())
            })
            .await;
        ending.commit().await.unwrap();
    };
    let (mut runtime, ()) = tokio::join!(Socket::connect_runtime(&world.base, "pty-1", &secret), ends);
    assert_eq!(runtime.until("error").await["code"], "SESSION_TERMINATED");
    runtime.until_closed().await;
    assert!(terminals.get(session).is_none());
    world.end().await;
}

/// RT-08: a name that somebody else had point here for a moment.
#[sqlx::test]
async fn a_page_that_was_loaded_under_another_name_gets_no_socket(pool: PgPool) {
    let mut settings = config(None);
    settings.app_url = Some("https://agents.example.com".to_owned());
    settings.cors_origins = vec!["https://console.example.com".to_owned()];
    let world = World::with_config(pool, settings, None).await;
    for (host, origin, status) in [
        ("evil.example:3000", "http://evil.example:3000", 403),
        ("agents.example.com", "https://agents.example.com", 101),
        ("upstream:3000", "https://console.example.com", 101),
        ("127.0.0.1:3000", "http://127.0.0.1:3000", 101),
    ] {
        assert_eq!(knock(&world.base, host, &[("origin", origin)]).await, status, "{host} for {origin}");
    }
    assert_eq!(knock(&world.base, "evil.example", &[]).await, 101, "who has no origin is no browser");
    world.end().await;
}

/// RT-30.
#[sqlx::test]
async fn sockets_are_counted_by_person_and_by_address(pool: PgPool) {
    let limits = RateLimits { sockets_by_person: 2, sockets_by_address: 4, ..RateLimits::DEFAULT.times(1000) };
    let world = limited(pool, limits, |config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let (owner, member) = (world.owner().await.cookie(), world.member("mel").await.cookie());
    let first = Socket::connect(&world.base, "/terminal", &owner).await;
    let _second = Socket::connect(&world.base, "/", &owner).await;
    let mut third = Socket::connect(&world.base, "/terminal", &owner).await;
    assert_eq!(third.until("error").await["code"], "RATE_LIMITED");
    third.until_closed().await;
    let _others = Socket::connect(&world.base, "/terminal", &member).await;
    assert_eq!(knock(&world.base, "127.0.0.1", &[]).await, 429, "an address has four");
    let stream = world.owner().await.open_stream("", None).await;
    assert_eq!(stream.status(), 429, "a stream is one too");
    assert_eq!(knock(&world.base, "127.0.0.1", &[("x-forwarded-for", "192.0.2.1")]).await, 101, "another address");
    drop((first, third, stream));
    world.until("room for another", async || (knock(&world.base, "127.0.0.1", &[]).await == 101).then_some(())).await;
    world.until("two sockets", async || (world.open_connections(Kind::Socket) == 2).then_some(())).await;
    let mut again = Socket::connect(&world.base, "/terminal", &owner).await;
    again.emit("attach", json!({"agentId": "nobody"})).await;
    assert_eq!(again.until("error").await["code"], "SESSION_NOT_FOUND", "it was let in");
    world.end().await;
}

/// RT-30.
#[sqlx::test]
async fn who_sends_too_many_events_is_told_so_and_then_shown_out(pool: PgPool) {
    let limits = RateLimits { events_by_socket: Quota { at_once: 50, per_minute: 60 }, ..RateLimits::DEFAULT.times(1000) };
    let world = limited(pool, limits, |_| {}).await;
    let cookie = world.owner().await.cookie();
    let mut socket = Socket::connect(&world.base, "/terminal", &cookie).await;
    for _ in 0..60 {
        socket.emit("unheard-of", json!({"deep": [[[[]]]]})).await;
    }
    assert_eq!(socket.until("error").await["code"], "RATE_LIMITED");
    for _ in 0..60 {
        socket.emit("acknowledge", json!({"offset": "none"})).await;
    }
    socket.until_closed().await;
    let mut other = Socket::connect(&world.base, "/terminal", &cookie).await;
    other.emit("attach", json!({})).await;
    assert_eq!(other.until("error").await["code"], "INVALID_PAYLOAD");
    world.end().await;
}

/// RT-09: to the second, however seldom sockets are looked at.
#[sqlx::test]
async fn a_socket_ends_with_its_token_or_key(pool: PgPool) {
    let limits = RateLimits::DEFAULT.times(1000);
    let world = limited(pool, limits, |config| config.socket_check_every = Duration::from_mins(10)).await;
    let owner = sqlx::query_scalar("SELECT id FROM users WHERE workspace_id = $1 AND role = 'owner'").bind(world.workspace.0);
    let owner = UserId(owner.fetch_one(&world.pool).await.unwrap());
    let now = chrono::Utc::now();
    let token = Tokens::new(APP_SECRET, TimeDelta::seconds(3)).issue(owner, world.workspace, "owner@acme.example", now);
    let mut socket = Socket::connect(&world.base, "/terminal", &format!("authToken={token}")).await;
    let in_time = (now + TimeDelta::seconds(3) - chrono::Utc::now()).to_std().unwrap() + Duration::from_secs(1);
    timeout(in_time, socket.until_closed()).await.expect("the token has expired");

    let expires_at = chrono::Utc::now() + TimeDelta::seconds(3);
    let created = world.owner().await.post("/api-keys", json!({"name": "Laptop", "expiresAt": expires_at})).await;
    let key = created.expect(reqwest::StatusCode::CREATED)["data"]["key"].as_str().unwrap().to_owned();
    let mut socket = Socket::connect_with_key(&world.base, &key).await;
    socket.until("mcp:connected").await;
    let in_time = (expires_at - chrono::Utc::now()).to_std().unwrap() + Duration::from_secs(1);
    timeout(in_time, socket.until_closed()).await.expect("the key has expired");
    world.end().await;
}

/// Whatever is sent, the service goes on, and nothing of the connection is left.
#[sqlx::test]
async fn malformed_packets_harm_nobody(pool: PgPool) {
    let world = World::new(pool).await;
    let cookie = world.owner().await.cookie();
    let mut witness = Socket::connect(&world.base, "/terminal", &cookie).await;
    let url = format!("{}/socket.io/?EIO=4&transport=websocket", world.base.replacen("http", "ws", 1));
    for (number, frames) in malformed().into_iter().enumerate() {
        let request = ClientRequestBuilder::new(url.parse().unwrap()).with_header("cookie", &cookie);
        let (mut stream, _) = connect_async(request).await.unwrap();
        // What is sent after the service has closed the connection cannot be sent.
        for frame in [vec![Message::text("40/terminal,")], frames].concat() {
            stream.send(frame).await.ok();
        }
        // Frames are read in their order: what answers this has read those.
        stream.send(Message::Ping("done".into())).await.ok();
        let answered = timeout(DEADLINE, async {
            while let Some(Ok(message)) = stream.next().await {
                if matches!(message, Message::Pong(payload) if payload == "done") {
                    break;
                }
            }
        });
        answered.await.unwrap_or_else(|_| panic!("case {number} was neither answered nor closed"));
    }
    witness.emit("attach", json!({})).await;
    assert_eq!(witness.until("error").await["code"], "INVALID_PAYLOAD");
    world.until("only the witness is left", async || (world.open_connections(Kind::Socket) == 1).then_some(())).await;
    world.end().await;
}

/// Packets that no client sends.
fn malformed() -> Vec<Vec<Message>> {
    let text = |packet: &str| vec![Message::text(packet.to_owned())];
    let deep = "[".repeat(100_000);
    let mut cases: Vec<Vec<Message>> = [
        "",
        "4",
        "9",
        "4é",
        "42",
        "42/terminal",
        "42/terminal,",
        "42/terminal,{}",
        "42/terminal,[]",
        "42/terminal,[1]",
        "42/terminal,[null]",
        "42/terminal,[\"attach\"",
        "42/terminal,[\"attach\",{\"sessionId\":",
        "42/nowhere,[\"attach\",{}]",
        "40/nowhere,",
        "40/../etc,",
        "40/terminal,{\"token\":[[[[]]]]}",
        "40/terminal,",
        "41/terminal,",
        "43/terminal,7[]",
        "43/terminal,99999999999999999999[]",
        "42/terminal,99999999999999999999[\"attach\",{}]",
        "451-/terminal,[\"input\",{\"_placeholder\":true,\"num\":0}]",
        "45999999999-/terminal,[\"input\"]",
        "45-/terminal,[\"input\"]",
        "46/terminal,1[]",
        "1",
        "2",
        "3probe",
        "5",
        "6",
        "0{}",
        "42/terminal,[\"input\",{}]",
        "42/terminal,[\"resize\",{\"cols\":1e400,\"rows\":-1}]",
        "42/terminal,[\"disconnect\"]",
        "42/terminal,[\"connect\"]",
        "42/terminal,[\"acknowledge\",{\"offset\":-1}]",
        "42/terminal,[\"__proto__\",{\"__proto__\":1}]",
        "42/terminal,[\"attach\",{\"sessionId\":\"\\u0000\",\"agentId\":7}]",
        "42/terminal,[\"attach\",{\"agentId\":\"\\ud800\"}]",
        "42/terminal,[\"attach\",{\"agentId\":\"../../etc\\u001b[2J\"}]",
    ]
    .map(text)
    .into();
    cases.push(text(&format!("42/terminal,[\"attach\",{deep}")));
    cases.push(text(&format!("42/terminal,[\"input\",[{}0]]", "0,".repeat(400_000))));
    cases.push(text(&format!("42/terminal,[\"{}\"]", "x".repeat(900_000))));
    cases.push(text(&format!("42/{},[\"attach\"]", "n".repeat(900_000))));
    cases.push(text(&"4".repeat(1_100_000)));
    cases.push(vec![Message::binary(vec![0xff; 1000])]);
    cases.push(vec![Message::text("451-/terminal,[\"input\",{\"_placeholder\":true,\"num\":0}]"), Message::binary(vec![0xff; 1000])]);
    cases.push(vec![Message::text("451-/terminal,[\"input\",{\"_placeholder\":true,\"num\":9}]"), Message::binary(vec![1])]);
    cases.push(vec![Message::text("452-/terminal,[\"input\",{\"_placeholder\":true,\"num\":0}]"), Message::text("42/terminal,[\"x\"]")]);
    cases.push(vec![Message::Ping(vec![0; 125].into()), Message::Pong(vec![0; 125].into())]);
    // Random ones, the same with every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..150 {
        let alphabet = b"0123456789-,/[]{}\"\\:atnue \x1b_";
        let length = random() % 60;
        let noise: String =
            (0..length).map(|_| char::from(alphabet[usize::try_from(random()).unwrap_or_default() % alphabet.len()])).collect();
        cases.push(vec![Message::text(format!("4{noise}")), Message::text(format!("42/terminal,[\"input\",{noise}"))]);
    }
    cases
}

/// Who comes and goes leaves nothing: no task, no connection and no memory.
#[sqlx::test]
async fn a_thousand_attaches_leave_nothing_behind(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (id, mut first) = owner.attached_shell().await;
    let cycle = async |times: usize| {
        let mut socket = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
        for _ in 0..times {
            socket.attach(&id).await;
            socket.emit("detach", json!(null)).await;
            socket.until("detached").await;
            socket.screen.clear();
        }
    };
    let settled = async || {
        world.until("all but one have left", async || (world.open_connections(Kind::Socket) == 1).then_some(())).await;
        world.app().tasks.len()
    };
    cycle(100).await;
    let tasks = settled().await;
    let before = program::resident_kib(std::process::id());
    for round in 0..10 {
        cycle(100).await;
        // Who reads nothing for long is taken for gone.
        first.emit("input", json!(format!("echo round-{round}-$((1))\r"))).await;
        first.until_shows(&format!("round-{round}-1")).await;
    }
    world.until("as many tasks as before", async || (settled().await <= tasks).then_some(())).await;
    let grown = program::resident_kib(std::process::id()).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more are in use");
    first.emit("input", json!("echo still here\r")).await;
    first.until_shows("still here").await;
    world.end().await;
}

/// RT-11, RT-30: the sockets of one session are counted, and its end makes room.
#[sqlx::test]
async fn a_session_has_so_many_viewers(pool: PgPool) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = LocalRuntime::start().await;
    let mut settings = config(Some(runtime.endpoint()));
    settings.rate_limits = Some(RateLimits { viewers_by_session: 2, ..RateLimits::DEFAULT.times(1000) });
    let world = World::with_config(pool, settings, Some(runtime)).await;
    let owner = world.owner().await;
    let (id, first) = owner.attached_shell().await;
    let mut second = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    second.attach(&id).await;
    second.attach(&id).await;
    let mut third = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    third.emit("attach", json!({"agentId": id})).await;
    assert_eq!(third.until("error").await["code"], "RATE_LIMITED");
    drop(first);
    let room = async {
        loop {
            third.emit("attach", json!({"agentId": id})).await;
            if third.next().await.0 == "attached" {
                return;
            }
        }
    };
    timeout(DEADLINE, room).await.expect("no room was made");
    world.end().await;
}
