use proptest::{
    prelude::{ProptestConfig, Strategy, prop_oneof},
    prop_assert, prop_assert_eq,
    test_runner::TestRunner,
};
use pty_runtime::{Config, Runtime, Secret};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{connect_async, tungstenite::Error};

use crate::world::{SOON, Viewer, World, reply, scripted};

#[tokio::test]
async fn nothing_but_health_answers_without_the_token() {
    let world = World::with(|config| config.token = Some(Secret::new("let-me-in"))).await;
    for path in ["/", "/api/agents", "/agents/x", "/api/agents/x/logs", "/api/nothing", "/ws/events"] {
        let refused = world.get(path).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (401, Some("UNAUTHORIZED")), "{path}");
    }
    assert_eq!(world.post("/api/spawn", &scripted("true")).await.status, 401);
    assert_eq!(world.delete("/api/agents/x").await.status, 401);
    for credential in ["let-me-in", "Bearer", "Bearer ", "Bearer let-me-i", "Bearer let-me-in2", "Basic let-me-in"] {
        let request = world.client.get(world.url("/api/agents")).header("authorization", credential);
        assert_eq!(reply(request).await.status, 401, "{credential}");
    }
    assert_eq!(world.get("/api/health").await.body, json!({ "healthy": true }));

    let authorized = |path: &str| world.client.get(world.url(path)).bearer_auth("let-me-in");
    assert_eq!(reply(authorized("/api/agents")).await.status, 200);
    assert_eq!(reply(authorized("/health")).await.body["activeAgents"], 0);
    for path in ["/ws", "/ws/events", "/ws/agents/x/terminal"] {
        match connect_async(world.socket(path)).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 401),
            other => panic!("{other:?}"),
        }
    }
    Viewer::open(world.socket("/ws/events").with_header("authorization", "Bearer let-me-in")).await;
}

#[tokio::test]
async fn a_runtime_that_others_can_reach_needs_a_token() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert!(Runtime::start(Config::new("/tmp".into()), listener).is_err());
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_use_a_runtime_without_a_token() {
    let world = World::new().await;
    let post = world.client.post(world.url("/api/spawn")).json(&scripted("true")).header("origin", "https://evil.example");
    assert_eq!(reply(post).await.status, 403);
    let rebound = world.client.get(world.url("/api/agents")).header("host", "evil.example:8081");
    assert_eq!(reply(rebound).await.status, 403);
    assert!(connect_async(world.socket("/ws/events").with_header("origin", "https://evil.example")).await.is_err());
}

#[tokio::test]
async fn crafted_requests_are_refused_and_harm_nothing() {
    let world = World::new().await;
    let id = world.script("echo up; read line").await;
    let host = format!("Host: {}\r\n", world.runtime.addr());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for request in [
        format!("GET // HTTP/1.1\r\n{host}{upgrade}{key}\r\n"),
        format!("GET //[ HTTP/1.1\r\n{host}{upgrade}{key}\r\n"),
        format!("GET /ws/events HTTP/1.1\r\nHost: [::::\r\n{upgrade}{key}\r\n"),
        format!("GET /ws/events HTTP/1.1\r\n{upgrade}{key}\r\n"),
        format!("GET /ws/events HTTP/1.1\r\n{host}{upgrade}\r\n"),
        format!("GET /ws/events HTTP/1.1\r\n{host}{upgrade}Sec-WebSocket-Key: \u{7f}\r\n\r\n"),
        format!("GET /ws/events HTTP/1.1\r\n{host}{upgrade}Sec-WebSocket-Key: short==\r\n\r\n"),
        format!("GET /ws/events HTTP/1.1\r\n{host}{upgrade}{key}{key}\r\n"),
        format!("GET /ws/events HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: h2c\r\n{key}\r\n"),
        format!("GET /ws/events HTTP/1.1\r\n{host}Connection: close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{key}\r\n"),
        format!("GET /ws/events HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\n{key}\r\n"),
        format!("GET /ws/events HTTP/1.0\r\n{host}{upgrade}{key}\r\n"),
        format!("POST /ws/events HTTP/1.1\r\n{host}{upgrade}{key}\r\n"),
        format!("GET /ws/events?since=x HTTP/1.1\r\n{host}{upgrade}{key}\r\n"),
        format!("GET /ws/agents/%ff/terminal HTTP/1.1\r\n{host}{upgrade}{key}\r\n"),
        format!("GET /ws/agents/{id}/terminal?since=-1 HTTP/1.1\r\n{host}{upgrade}{key}\r\n"),
        format!("GET /ws/anything HTTP/1.1\r\n{host}{upgrade}{key}\r\n"),
        format!("GET http:// HTTP/1.1\r\n{host}{upgrade}{key}\r\n"),
        format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"),
        format!("CONNECT example.com:80 HTTP/1.1\r\n{host}\r\n"),
        format!("GET /api//agents HTTP/1.1\r\n{host}\r\n"),
        format!("GET /api/agents/%2e%2e%2f HTTP/1.1\r\n{host}\r\n"),
        format!("GET /api/agents/%c3%28 HTTP/1.1\r\n{host}\r\n"),
        format!("GET /api/agents/%zz HTTP/1.1\r\n{host}\r\n"),
        format!("GET /api/agents/{id}/logs?tail=%ff HTTP/1.1\r\n{host}\r\n"),
        format!("GET /api/agents/\u{0} HTTP/1.1\r\n{host}\r\n"),
        format!("GET /api/agents/{id} HTTP/1.1\r\n{host}X-Workspace-Id: \u{e9}\r\n\r\n"),
        format!("GET /api/agents HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(300 * 1024)),
        format!("GET /api/agents HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(200)),
        format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(70_000)),
        format!("GET /api/agents/{id}/stream HTTP/1.1\r\n{host}Last-Event-ID: -1\r\n\r\n"),
        format!("POST /api/spawn HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("POST /api/spawn HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n"),
        format!("POST /api/spawn HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        format!("POST /api/threads HTTP/1.1\r\n{host}Content-Length: 2\r\n\r\n[]"),
        format!("DELETE /api/executions/%00/resources HTTP/1.1\r\n{host}\r\n"),
        "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
    ] {
        let status = raw(&world, &request).await;
        assert!(status.starts_with("HTTP/1.") && status[9..].starts_with('4'), "{request:?} got {status:?}");
    }
    // A target in its absolute form names the same route.
    let absolute = raw(&world, &format!("GET http://{}/api/health HTTP/1.1\r\n{host}\r\n", world.runtime.addr())).await;
    assert!(absolute.contains(" 200 "), "{absolute}");
    // A good handshake followed by bytes that are no frame ends that socket only.
    raw(&world, &format!("GET /ws/agents/{id}/terminal HTTP/1.1\r\n{host}{upgrade}{key}\r\n\u{7f}\u{7f}\u{7f}\u{7f}")).await;
    assert_eq!(world.get("/api/health").await.body["activeAgents"], 1);
    assert_eq!(world.until_status(&id, "ready").await["status"], "ready");
}

#[tokio::test]
async fn every_refusal_is_json_with_a_code() {
    let world = World::with(|config| config.token = Some(Secret::new("let-me-in"))).await;
    let id = {
        let spawn = world.client.post(world.url("/api/spawn")).bearer_auth("let-me-in").json(&scripted("sleep 1000"));
        reply(spawn).await.body["agents"][0]["id"].as_str().unwrap().to_owned()
    };
    for (method, path, status, code) in [
        ("GET", "/nowhere".to_owned(), 404, "NOT_FOUND"),
        ("GET", "/api".to_owned(), 404, "NOT_FOUND"),
        ("GET", "/ws/anything".to_owned(), 404, "NOT_FOUND"),
        ("GET", "/ws".to_owned(), 400, "INVALID_REQUEST"),
        ("GET", "/ws/events".to_owned(), 400, "INVALID_REQUEST"),
        ("GET", format!("/ws/agents/{id}/terminal"), 400, "INVALID_REQUEST"),
        ("PUT", "/api/agents".to_owned(), 405, "METHOD_NOT_ALLOWED"),
        ("PATCH", format!("/agents/{id}"), 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/api/health".to_owned(), 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/ws".to_owned(), 405, "METHOD_NOT_ALLOWED"),
        ("GET", format!("/agents/{id}/logs?tail=-1"), 400, "INVALID_REQUEST"),
        ("GET", format!("/agents/{id}/stream?since=x"), 400, "INVALID_REQUEST"),
        ("DELETE", format!("/agents/{id}?timeout=x"), 400, "INVALID_REQUEST"),
        ("POST", format!("/agents/{id}/keys"), 400, "INVALID_REQUEST"),
        ("POST", "/api/threads".to_owned(), 400, "INVALID_REQUEST"),
        ("POST", "/stop".to_owned(), 400, "INVALID_REQUEST"),
        ("DELETE", "/api/agents/nobody".to_owned(), 404, "AGENT_NOT_FOUND"),
        ("POST", "/api/agents/nobody/restart".to_owned(), 404, "AGENT_NOT_FOUND"),
        ("GET", "/api/agents/nobody/stream".to_owned(), 404, "AGENT_NOT_FOUND"),
        ("DELETE", "/api/threads/nothing".to_owned(), 404, "THREAD_NOT_FOUND"),
    ] {
        let request = world.client.request(method.parse().unwrap(), world.url(&path)).bearer_auth("let-me-in").body("{\"keys\":");
        let refused = reply(request).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (status, Some(code)), "{method} {path} {}", refused.body);
        assert!(refused.body["error"].is_string());
        let stranger = reply(world.client.request(method.parse().unwrap(), world.url(&path))).await;
        if path != "/api/health" {
            assert_eq!((stranger.status, stranger.body["code"].as_str()), (401, Some("UNAUTHORIZED")), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn no_door_to_an_agent_opens_for_another_workspace() {
    let world = World::new().await;
    let id = world.script("read line; echo got $line").await;
    world.until_status(&id, "ready").await;
    let handshake = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    for (method, path, body) in [
        ("GET", format!("/agents/{id}"), json!({})),
        ("GET", format!("/agents/{id}/logs"), json!({})),
        ("GET", format!("/agents/{id}/logs?format=json"), json!({})),
        ("GET", format!("/agents/{id}/output"), json!({})),
        ("GET", format!("/agents/{id}/stream"), json!({})),
        ("GET", format!("/ws/agents/{id}/terminal"), json!({})),
        ("POST", format!("/agents/{id}/send"), json!({ "message": "hi" })),
        ("POST", format!("/agents/{id}/keys"), json!({ "keys": "enter" })),
        ("POST", format!("/agents/{id}/restart"), json!({})),
        ("POST", format!("/agents/{id}/stop"), json!({})),
        ("POST", "/stop".to_owned(), json!({ "agentId": id })),
        ("DELETE", format!("/agents/{id}"), json!({})),
    ] {
        let mut request = world.client.request(method.parse().unwrap(), world.url(&path)).header("x-workspace-id", "w2").json(&body);
        if path.starts_with("/ws") {
            request = handshake.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        }
        let refused = reply(request).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (403, Some("FORBIDDEN")), "{method} {path} {}", refused.body);
    }
    assert_eq!(world.get(&format!("/agents/{id}")).await.body["status"], "ready");
}

/// Fragments that requests are made of, whole ones and broken ones.
const FRAGMENTS: [&[u8]; 40] = [
    b"GET ",
    b"POST ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"\0 ",
    b"/",
    b"//",
    b"*",
    b"/api",
    b"/agents",
    b"/a1",
    b"/ws",
    b"/ws/events",
    b"/terminal",
    b"/threads",
    b"/spawn",
    b"/keys",
    b"/stream",
    b"?since=",
    b"?tail=",
    b"%",
    b"%00",
    b"%ff",
    b"[::",
    b"http://",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/9\r\n",
    b"Host: 127.0.0.1\r\n",
    b"Host: [\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Content-Length: 9\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"X-Workspace-Id: \xff\r\n",
    b"\r\n",
    b"{\"agentId\":1",
];

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let fragment = (0..FRAGMENTS.len()).prop_map(|index| FRAGMENTS[index].to_vec());
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..40);
    proptest::collection::vec(prop_oneof![6 => fragment, 1 => bytes], 0..16).prop_map(|pieces| pieces.concat())
}

/// Whatever comes over the wire, the runtime answers the next caller and its agent lives.
#[test]
fn no_bytes_end_the_runtime() {
    let executor = tokio::runtime::Runtime::new().unwrap();
    let world = executor.block_on(World::new());
    let id = executor.block_on(world.script("echo up; read line"));
    executor.block_on(world.until_status(&id, "ready"));
    let mut runner = TestRunner::new(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() });
    let ran = runner.run(&anything(), |bytes| {
        executor.block_on(async {
            let mut stream = TcpStream::connect(world.runtime.addr()).await.unwrap();
            // The runtime may have heard enough before all is sent.
            let sent = stream.write_all(&bytes).await.is_ok() && stream.shutdown().await.is_ok();
            let mut answer = Vec::new();
            let end = timeout(SOON, stream.read_to_end(&mut answer)).await;
            prop_assert!(end.is_ok(), "no end after {sent}");
            prop_assert_eq!(world.get("/api/health").await.body["activeAgents"].as_u64(), Some(1));
            Ok(())
        })
    });
    ran.unwrap();
    assert_eq!(executor.block_on(world.until_status(&id, "ready"))["status"], "ready");
}

/// Sends bytes as they are and gives the first line of the answer.
async fn raw(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.runtime.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let first_line = async {
        let mut buffer = [0; 1024];
        while !answer.contains(&b'\n') {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
            }
        }
    };
    timeout(SOON, first_line).await.unwrap();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_agent_gets_the_requests_environment_and_little_of_the_runtimes() {
    let world = World::new().await;
    let mut body = scripted("env; echo END");
    body["config"]["env"] = json!({ "MCP_API_KEY": "k1", "TERM": "dumb" });
    let id = world.spawn(&body).await;
    let logs = world.until_logs(&id, "END").await;
    let home = world.root.path().canonicalize().unwrap().join(&id);
    for expected in ["MCP_API_KEY=k1", "TERM=xterm-256color", "COLORTERM=truecolor", &format!("HOME={}", home.display()), "PATH="] {
        assert!(logs.contains(expected), "{expected} in {logs}");
    }
    let allowed = |name: &str| {
        let own = ["MCP_API_KEY", "TERM", "COLORTERM", "HOME", "PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL"];
        // The last four are bash's own.
        own.contains(&name) || name.starts_with("LC_") || ["PWD", "OLDPWD", "SHLVL", "_"].contains(&name)
    };
    let names = logs.lines().filter_map(|line| Some(line.split_once('=')?.0));
    assert_eq!(names.filter(|name| !allowed(name)).collect::<Vec<_>>(), [""; 0]);
}
