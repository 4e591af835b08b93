//! Terminals with many viewers, many sessions, and programs and connections that end while they print: every viewer gets
//! every byte, once, or is told to start over from what is whole.

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::{process::Command, sync::watch, task::JoinHandle, time::interval};

use crate::{
    faults::RuntimeProgram,
    support::{
        Caller, WEBHOOK_SECRET, World, config, node,
        printing_runtime::PrintingRuntime,
        program::{Program, free_port, set_up},
        service::Service,
        terminal::Socket,
    },
};

/// Characters of one to four bytes, of which none is a control character: what stands on a line.
const CHARACTERS: [char; 16] = ['a', 'b', 'c', 'é', 'ß', 'ж', '┌', '─', '┐', '│', '語', '文', '🦀', '🚀', '👍', ' '];
/// Characters of a line, which is then told from all others by chance alone.
const LINE_CHARACTERS: usize = 70;
/// What a terminal prints at once in the tests of exactness, in bytes: half of what is kept for a viewer who is behind.
const PORTION_BYTES: usize = 200 * 1024;
/// The pause between two numbers.
const NUMBER_EVERY: Duration = Duration::from_millis(4);

/// Random lines of this many bytes at least.
fn random_lines(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + LINE_CHARACTERS * 4);
    while text.len() < bytes {
        // A blank at the end would not be told from an empty cell of a screen.
        text.extend((1..LINE_CHARACTERS).map(|_| CHARACTERS[rand::random_range(0..CHARACTERS.len())]));
        text.push_str("x\r\n");
    }
    text
}

/// A service on the printing runtime, whose workspace may have many agents.
async fn world_on(pool: PgPool, runtime: &PrintingRuntime) -> World {
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut config = config(Some(runtime.endpoint()));
    config.agents_per_workspace_max = 1000;
    World::with_config(pool, config, None).await
}

/// Has the runtime offer a terminal of a new agent; the session's id.
async fn offer(world: &World, name: &str) -> String {
    world.approved_agent(name).await;
    let body = json!({"workspaceId": world.workspace, "agentId": name, "runtimeSessionId": name});
    let made = world.control_plane().post("/terminal/sessions", body).await.expect(StatusCode::CREATED);
    made["data"]["id"].as_str().unwrap().to_owned()
}

/// Has a terminal print random lines in portions, each upon an input; what a viewer is to see of it.
fn prepare(runtime: &PrintingRuntime, name: &str, session: &str, portions: usize, portion_bytes: usize) -> Value {
    let mut texts: Vec<String> = (0..portions).map(|_| random_lines(portion_bytes)).collect();
    texts[0].insert_str(0, "BEGIN;");
    texts[portions - 1].push_str(";END");
    let all = texts.concat();
    // The client counts in units of UTF-16.
    let mut length = 0;
    let lengths = texts.iter().map(|text| {
        length += text.encode_utf16().count();
        length
    });
    let expected = json!({"id": session, "portions": lengths.collect::<Vec<_>>(), "sha256": hex(&Sha256::digest(&all))});
    // Of odd lengths, so that frames end within characters.
    runtime.cut_frames(name, 1021);
    runtime.print_upon_input(name, texts.into_iter().map(String::into_bytes).collect());
    expected
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// RT-12, RT-14, RT-15, RT-18.
#[sqlx::test]
async fn fifty_real_viewers_of_one_terminal_see_the_same_bytes_and_those_who_stall_delay_nobody(pool: PgPool) {
    let runtime = PrintingRuntime::start().await;
    let world = world_on(pool, &runtime).await;
    let session = offer(&world, "scout").await;
    let expected = prepare(&runtime, "scout", &session, 8, PORTION_BYTES);
    let plan = json!({"sessions": [expected], "viewers": 50, "stalled": 5});
    node::run("terminals_whole.mjs", &[&world.base, &world.owner().await.cookie(), &plan.to_string()]).await;
    world.end().await;
}

/// RT-14, RT-16.
#[sqlx::test]
async fn two_hundred_terminals_that_print_at_once_keep_their_output_apart(pool: PgPool) {
    let runtime = PrintingRuntime::start().await;
    let world = world_on(pool, &runtime).await;
    let mut sessions = Vec::new();
    for number in 0..200 {
        let name = format!("scout-{number}");
        let session = offer(&world, &name).await;
        sessions.push(prepare(&runtime, &name, &session, 2, PORTION_BYTES / 10));
    }
    let plan = json!({"sessions": sessions, "viewers": 1, "stalled": 0});
    node::run("terminals_whole.mjs", &[&world.base, &world.owner().await.cookie(), &plan.to_string()]).await;
    world.end().await;
}

/// One terminal for each byte after which its connection breaks, all at once.
#[sqlx::test]
async fn any_byte_of_a_frame_may_be_the_last_of_a_connection(pool: PgPool) {
    const FRAME: &str = "x🦀é┌─┐\u{1b}[32mgreen\u{1b}[0m\r\n";
    const FRAMES: usize = 3;
    let runtime = PrintingRuntime::start().await;
    let world = world_on(pool, &runtime).await;
    // With the header of each frame, which is two bytes while it is that short.
    let breaks: Vec<usize> = (0..=FRAMES * (FRAME.len() + 2)).collect();
    let owner = world.owner().await;
    let mut sessions = Vec::new();
    for after in &breaks {
        let name = format!("breaks-{after}");
        runtime.break_after(&name, *after);
        runtime.cut_frames(&name, FRAME.len());
        let session = offer(&world, &name).await;
        sessions.push((name, session));
    }
    // Only now, and all at once: a viewer who reads nothing for long is taken for gone.
    let attached = sessions.into_iter().map(async |(name, session)| {
        let mut viewer = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
        viewer.emit("attach", json!({"sessionId": session})).await;
        viewer.until("attached").await;
        (name, viewer)
    });
    let viewers = join_all(attached).await;
    let text = format!("BEGIN;{}END", FRAME.repeat(FRAMES));
    for (name, _) in &viewers {
        runtime.print(name, text.as_bytes());
    }
    let seen = viewers.into_iter().map(async |(name, mut viewer)| {
        viewer.until_shows("END").await;
        let shown = viewer.screen.split_once("BEGIN;").map(|(_, rest)| format!("BEGIN;{rest}"));
        assert_eq!(shown.as_deref(), Some(text.as_str()), "{name}, connected {} times", runtime.connections(&name));
        runtime.connections(&name)
    });
    let connections: Vec<u32> = join_all(seen).await;
    assert!(connections.iter().all(|count| *count >= 2), "every connection broke once: {connections:?}");
    world.end().await;
}

/// A script with real clients that says how far it is.
struct Numbers(Program);

impl Numbers {
    fn start(base: &str, cookie: &str, plan: &Value) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
        let mut command = Command::new("node");
        command.arg(folder.join("terminals_numbers.mjs")).args([base, cookie, &plan.to_string()]).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Self(Program::start(command))
    }

    async fn until_round(&mut self, round: usize) {
        self.0.until_says(&format!("round {round}")).await;
    }

    async fn until_all_saw_the_end(mut self) {
        self.0.until_says("ok - ").await;
        let (succeeded, said) = self.0.ended().await;
        assert!(succeeded, "{said}");
    }
}

/// Prints numbers on terminals for as long as it lives; then their end.
struct Counting {
    names: Vec<String>,
    number: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Counting {
    fn start(runtime: &Arc<PrintingRuntime>, names: &[String]) -> Self {
        let (last, number) = watch::channel(0);
        let (runtime, all) = (Arc::clone(runtime), names.to_vec());
        let task = tokio::spawn(async move {
            let mut every = interval(NUMBER_EVERY);
            for number in 1_u32.. {
                every.tick().await;
                for name in &all {
                    runtime.print(name, format!("{number:08}\r\n").as_bytes());
                }
                last.send_replace(number);
            }
        });
        Self { names: names.to_vec(), number, task }
    }

    async fn end(self, runtime: &PrintingRuntime) {
        self.task.abort();
        self.task.await.ok();
        let last = *self.number.borrow();
        for name in &self.names {
            runtime.print(name, format!("END {last:08}\r\n").as_bytes());
        }
    }
}

/// RT-13, RT-14; realtime contract §5.8.
#[sqlx::test]
async fn viewers_that_leave_and_come_back_at_random_moments_miss_nothing_and_see_nothing_twice(pool: PgPool) {
    const LEAVES: usize = 15;
    let runtime = Arc::new(PrintingRuntime::start().await);
    let world = world_on(pool, &runtime).await;
    let names: Vec<String> = (0..4).map(|number| format!("scout-{number}")).collect();
    let mut sessions = Vec::new();
    for name in &names {
        sessions.push(offer(&world, name).await);
    }
    let counting = Counting::start(&runtime, &names);
    let plan = json!({"sessions": sessions, "viewers": 8, "leaves": LEAVES, "round": "attached"});
    let mut numbers = Numbers::start(&world.base, &world.owner().await.cookie(), &plan);
    numbers.until_round(LEAVES + 1).await;
    counting.end(&runtime).await;
    numbers.until_all_saw_the_end().await;
    world.end().await;
}

/// Realtime contract §5.8.
#[sqlx::test]
async fn the_service_is_killed_again_and_again_and_every_viewer_comes_back_to_whole_output(pool: PgPool) {
    const KILLS: usize = 3;
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = Arc::new(PrintingRuntime::start().await);
    let port = free_port();
    let mut service = Service::start_on(&pool, &runtime.endpoint(), port).await;
    let http = reqwest::Client::new();
    let token = set_up(&http, &format!("{}/api", service.base)).await;
    let names: Vec<String> = (0..5).map(|number| format!("scout-{number}")).collect();
    let mut sessions = Vec::new();
    for name in &names {
        sessions.push(offer_to(&service, &http, &token, name).await);
    }
    let counting = Counting::start(&runtime, &names);
    let plan = json!({"sessions": sessions, "viewers": 10, "leaves": 0, "round": "attached"});
    let mut numbers = Numbers::start(&service.base, &format!("authToken={token}"), &plan);
    for kill in 1..=KILLS {
        numbers.until_round(kill).await;
        service.program.kill().await;
        service = Service::start_on(&pool, &runtime.endpoint(), port).await;
    }
    numbers.until_round(KILLS + 1).await;
    counting.end(&runtime).await;
    numbers.until_all_saw_the_end().await;
    service.program.kill().await;
}

/// Registers an agent by an invite and offers its terminal; the session's id.
async fn offer_to(service: &Service, http: &reqwest::Client, token: &str, name: &str) -> String {
    let post = async |path: &str, body: Value| -> Value {
        let request = http.post(format!("{}/api{path}", service.base)).bearer_auth(token).header("x-webhook-secret", WEBHOOK_SECRET);
        let answer = request.json(&body).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path} answered {status}: {body}");
        body["data"].clone()
    };
    let invite = post("/parallax-agents/invites", json!({"name": name, "permissions": ["read:pages"]})).await;
    let body = json!({"inviteToken": invite["token"], "agentId": name, "name": name, "capabilities": ["code"],
                      "requestedPermissions": ["read:pages"]});
    post("/parallax-agents/register", body).await;
    let agents = http.get(format!("{}/api/parallax-agents", service.base)).bearer_auth(token).send().await.unwrap();
    let workspace = agents.json::<Value>().await.unwrap()["data"][0]["workspaceId"].clone();
    let session = post("/terminal/sessions", json!({"workspaceId": workspace, "agentId": name, "runtimeSessionId": name})).await;
    session["id"].as_str().unwrap().to_owned()
}

/// Realtime contract §5.8; the agents live in pseudo-terminals that outlive the runtime.
#[sqlx::test]
async fn the_runtime_is_killed_again_and_again_and_no_viewer_misses_a_number(pool: PgPool) {
    const KILLS: usize = 3;
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut runtime = RuntimeProgram::start().await;
    let world = World::with_config(pool, config(Some(runtime.endpoint())), None).await;
    let owner = world.owner().await;
    // Without digits, which would be taken for what is counted.
    let name: String = (0..24).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect();
    let counted = std::env::temp_dir().join(format!("raven-test-{name}"));
    let mut typing = Vec::new();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let (session, terminal) = counting_shell(&world, &owner, &counted).await;
        sessions.push(session);
        typing.push(terminal);
    }
    let plan = json!({"sessions": sessions, "viewers": 8, "leaves": 0, "round": "status"});
    let mut numbers = Numbers::start(&world.base, &owner.cookie(), &plan);
    for kill in 0..KILLS {
        // Before anything was killed everybody is attached; from then on a round is that all are connected again.
        if kill == 0 {
            numbers.0.until_says("attached").await
        } else {
            numbers.0.until_says(&format!("round {kill}")).await
        };
        runtime.program.kill().await;
        runtime.program = RuntimeProgram::launch(&runtime.folder, runtime.port).await;
    }
    numbers.until_round(KILLS).await;
    for terminal in &mut typing {
        terminal.emit("input", json!("echo; echo EN''D 00000000\r")).await;
    }
    std::fs::write(&counted, "").unwrap();
    numbers.until_all_saw_the_end().await;
    std::fs::remove_file(&counted).unwrap();
    world.end().await;
    runtime.end().await;
}

/// A shell that counts until there is this file: its session, and a terminal to type into. Neither an interrupt nor what the shell
/// itself reads would end it for certain: either may come in the moment in which a program has just ended, or a `read` given up.
async fn counting_shell(world: &World, owner: &Caller<'_>, counted: &Path) -> (String, Socket) {
    let id = owner.spawn_shell().await;
    let session = owner.until_session_is(&id, "active").await;
    let mut terminal = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    terminal.attach(&id).await;
    let (stty, count) = ("stty -echo; PS1=; i=0", "i=$((i+1)); printf '%08d\\n' $i; sleep 0.01");
    let line = format!("{stty}; while [ ! -e '{}' ]; do {count}; done\r", counted.display());
    terminal.emit("input", json!(line)).await;
    terminal.until_shows("00000010").await;
    (session["id"].as_str().unwrap().to_owned(), terminal)
}
