use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::world::{World, eventually};

/// Numbered lines in bursts, so that viewers come in at every stage.
const COUNTING: &str = "for i in $(seq 1 200); do seq $((i * 100 - 99)) $((i * 100)); sleep 0.005; done";

fn counted() -> String {
    use std::fmt::Write;
    (1..=20_000).fold(String::new(), |mut text, number| {
        write!(text, "{number}\r\n").unwrap();
        text
    })
}

#[tokio::test]
async fn every_viewer_sees_every_byte_exactly_once_whenever_it_comes() {
    let world = World::new().await;
    let id = world.script(COUNTING).await;
    let mut first = world.negotiated(&id, "").await;
    assert_eq!((&first.greeting["cols"], &first.greeting["rows"]), (&json!(80), &json!(24)));
    let mut later = Vec::new();
    for mark in ["\n2000\r", "\n9000\r", "\n15000\r"] {
        first.until(mark).await;
        later.push(world.negotiated(&id, "").await);
        later.push(world.default_framing(&id, "?replay=1").await);
    }
    assert_eq!(first.read_to_end().await, Some(4410));
    assert_eq!(first.controls, [json!({ "type": "exited", "exitCode": 0 })]);
    let after_the_end = world.negotiated(&id, "").await;
    for mut viewer in later.into_iter().chain([first, after_the_end]) {
        viewer.read_to_end().await;
        assert_eq!(viewer.closed, Some(4410));
        assert!(viewer.text() == counted(), "{} bytes", viewer.seen.len());
    }
}

#[tokio::test]
async fn a_viewer_that_comes_back_goes_on_where_it_was() {
    let world = World::new().await;
    let id = world.script(COUNTING).await;
    let mut seen = Vec::new();
    for mark in ["\n1000\r", "\n7000\r", "\n14000\r"] {
        let mut viewer = world.negotiated(&id, &format!("?since={}", seen.len())).await;
        assert_eq!(viewer.offset(), seen.len() as u64);
        while !String::from_utf8_lossy(&seen).contains(mark) {
            assert!(viewer.step().await);
            seen.append(&mut viewer.seen);
        }
    }
    let mut last = world.negotiated(&id, &format!("?since={}", seen.len())).await;
    last.read_to_end().await;
    seen.append(&mut last.seen);
    assert!(String::from_utf8_lossy(&seen) == counted());
}

#[tokio::test]
async fn the_default_framing_is_live_only_unless_asked() {
    let world = World::new().await;
    let id = world.script("echo before; read line; echo after").await;
    world.until_logs(&id, "before").await;
    let mut viewer = world.default_framing(&id, "").await;
    assert_eq!(viewer.greeting["agentId"], *id);
    viewer.send(Message::text("x\r")).await;
    assert_eq!(viewer.read_to_end().await, Some(4410));
    assert!(viewer.text().contains("after") && !viewer.text().contains("before"), "{:?}", viewer.text());
}

#[tokio::test]
async fn pasted_json_arrives_verbatim_in_both_framings() {
    let world = World::new().await;
    let paste = r#"{"a":1}{"type":"snapshot"}"#;
    let script = format!("stty raw -echo; printf R; exec head -c {}", paste.len());
    for (negotiated, message) in
        [(true, Message::binary(paste)), (true, Message::text(paste)), (false, Message::text(paste)), (false, Message::binary(paste))]
    {
        let id = world.script(&script).await;
        let mut viewer = if negotiated { world.negotiated(&id, "").await } else { world.default_framing(&id, "?replay=1").await };
        viewer.until("R").await;
        viewer.send(message).await;
        assert_eq!(viewer.read_to_end().await, Some(4410));
        let guard = if negotiated { "" } else { "\0" };
        assert_eq!(viewer.text(), format!("R{guard}{paste}"));
    }
}

#[tokio::test]
async fn a_control_that_cannot_be_followed_is_never_typed() {
    let world = World::new().await;
    for negotiated in [true, false] {
        let id = world.script("stty raw -echo; printf R; exec head -c 3").await;
        let mut viewer = if negotiated { world.negotiated(&id, "").await } else { world.default_framing(&id, "?replay=1").await };
        viewer.until("R").await;
        for nonsense in [r#"{"type":"resize","cols":-1,"rows":5}"#, r#"{"type":"resize","cols":0,"rows":0}"#, r#"{"type":"resize"}"#] {
            viewer.send(Message::text(nonsense)).await;
        }
        viewer.send(Message::text("abc")).await;
        viewer.read_to_end().await;
        assert_eq!(viewer.text(), "Rabc");
    }
}

#[tokio::test]
async fn a_resize_reaches_the_program_and_a_ping_gets_its_pong() {
    let world = World::new().await;
    let id = world.script("echo up; read line; stty size").await;
    let mut viewer = world.negotiated(&id, "").await;
    viewer.until("up").await;
    viewer.send(Message::text(r#"{"type":"resize","cols":100,"rows":30}"#)).await;
    viewer.send(Message::text(r#"{"type":"ping"}"#)).await;
    viewer.send(Message::binary("\r")).await;
    viewer.until("30 100").await;
    viewer.read_to_end().await;
    assert_eq!(viewer.controls[0], json!({ "type": "pong" }));
}

#[tokio::test]
async fn a_code_point_is_never_split_between_text_frames() {
    let world = World::new().await;
    let script =
        r"read line; for b in '\xe2' '\x82' '\xac' '\xf0\x9f' '\x98\x80' '\xff' '{'; do printf $b; sleep 0.05; done; printf '\xe2\x82'";
    let id = world.script(script).await;
    let mut viewer = world.default_framing(&id, "").await;
    viewer.send(Message::text("\r")).await;
    assert_eq!(viewer.read_to_end().await, Some(4410));
    let text = viewer.text().replace('\0', "");
    assert!(text.ends_with("€😀\u{fffd}{\u{fffd}"), "{text:?}");
}

#[tokio::test]
async fn a_slow_viewer_slows_nobody_and_is_told_what_it_lost() {
    const BYTES: u64 = 32 * 1024 * 1024;
    let world = World::new().await;
    let id = world.script(&format!("read line; stty raw; head -c {BYTES} /dev/zero | tr '\\0' x; printf END")).await;
    let mut resumable = world.negotiated(&id, "").await;
    let mut plain = world.default_framing(&id, "").await;
    resumable.send(Message::binary("\r")).await;
    // Neither reads a byte until the agent has printed everything and is gone.
    world.until_status(&id, "stopped").await;

    assert_eq!(plain.read_to_end().await, Some(4408));

    // It may have fallen behind more than once on its way; what follows the last time is whole.
    let (mut resumed_at, mut before) = (0, 0);
    while resumable.step().await {
        if let Some(lagged) = resumable.controls.iter().rfind(|control| control["type"] == "lagged") {
            let offset = lagged["offset"].as_u64().unwrap();
            if offset != resumed_at {
                (resumed_at, before) = (offset, resumable.seen.len());
            }
        }
    }
    assert_eq!(resumable.closed, Some(4410));
    assert!(resumed_at > 0);
    let after = (resumable.seen.len() - before) as u64;
    // The echo of Enter comes before the counted bytes.
    let echo = resumed_at + after - BYTES - 3;
    assert!(echo <= 2, "{resumed_at} + {after}");
    assert!(resumable.seen.ends_with(b"xEND"));
}

#[tokio::test]
async fn inputs_of_two_viewers_never_mix_and_an_unknown_agent_closes_with_its_code() {
    let world = World::new().await;
    let nobody = world.negotiated("nobody", "").await;
    assert_eq!(nobody.closed, Some(4404));
    let id = world.script("stty raw -echo; printf R; exec head -c 40000").await;
    let (mut a, mut b) = (world.negotiated(&id, "").await, world.default_framing(&id, "").await);
    a.until("R").await;
    tokio::join!(a.send(Message::binary(vec![b'a'; 20_000])), b.send(Message::text("b".repeat(20_000))));
    a.read_to_end().await;
    let order = a.text();
    let mut runs: Vec<char> = order.trim_start_matches('R').chars().collect();
    assert_eq!(runs.len(), 40_000);
    runs.dedup();
    assert_eq!(runs.len(), 2, "{runs:?}");
}

#[tokio::test]
async fn a_message_that_is_too_big_closes_only_its_own_socket() {
    let world = World::new().await;
    let id = world.script("stty raw -echo; printf R; exec head -c 2").await;
    let mut big = world.negotiated(&id, "").await;
    let mut small = world.negotiated(&id, "").await;
    small.until("R").await;
    big.send(Message::binary(vec![b'x'; 2 * 1024 * 1024])).await;
    assert!(matches!(big.read_to_end().await, Some(1009) | None));
    small.send(Message::binary("ok")).await;
    small.read_to_end().await;
    assert_eq!(small.text(), "Rok");
}

#[tokio::test]
async fn viewers_come_and_go_without_harm_to_the_agent() {
    let world = World::new().await;
    let id = world.spawn(&json!({ "agentType": "echo", "workspaceId": "w1" })).await;
    for _ in 0..5 {
        let viewer = world.negotiated(&id, "").await;
        drop(viewer);
    }
    world.until_status(&id, "ready").await;
    let mut viewer = world.negotiated(&id, "").await;
    viewer.send(Message::binary("echo $((1 + 1))still here\r")).await;
    viewer.until("2still here").await;
    let pid = eventually("pid", async || world.get(&format!("/agents/{id}")).await.body["pid"].as_u64().ok_or(())).await;
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_viewer_may_start_with_the_screen_instead_of_what_led_to_it() {
    let world = World::new().await;
    let script = r"printf 'first\r\n\033[2J\033[H\033[?2004h\033[1;31mred\033[m here'; read line; printf 'more'; read line";
    let id = world.script(script).await;
    world.until_logs(&id, "red here").await;
    let mut viewer = world.negotiated(&id, "?start=snapshot").await;
    while viewer.seen.is_empty() {
        assert!(viewer.step().await);
    }
    let offset = viewer.offset();
    assert_eq!(viewer.controls, [json!({ "type": "snapshot", "offset": offset, "cols": 80, "rows": 24 })]);
    let drawing = viewer.text();
    assert!(drawing.starts_with("\u{1b}c") && drawing.contains("\u{1b}[?2004h") && drawing.contains("red"), "{drawing:?}");
    viewer.seen.clear();
    viewer.send(Message::binary("\r")).await;
    viewer.until("more").await;
    let mut whole = world.negotiated(&id, "?since=0").await;
    whole.until("more").await;
    assert!(whole.controls.is_empty());
    // What follows the snapshot is exactly what follows its offset.
    let from = usize::try_from(offset).unwrap();
    assert!(whole.seen[from..].starts_with(&viewer.seen), "{:?} {:?}", whole.text(), viewer.text());
    for bad in ["?start=middle", "?start=snapshot&framing=text"] {
        let refused = world.default_framing_refused(&id, bad).await;
        assert_eq!(refused, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_viewer_that_fell_behind_gets_the_screen_if_it_asked_for_it() {
    let world = World::new().await;
    let id = world.script("read line; stty raw; head -c 33554432 /dev/zero | tr '\\0' x; printf 'THE END'").await;
    let mut resyncing = world.negotiated(&id, "?since=0&snapshots=1").await;
    resyncing.send(Message::binary("\r")).await;
    world.until_status(&id, "stopped").await;
    resyncing.read_to_end().await;
    let (exited, pairs) = resyncing.controls.split_last().unwrap();
    assert_eq!(exited["type"], "exited");
    assert!(!pairs.is_empty() && pairs.len() % 2 == 0, "{pairs:?}");
    for pair in pairs.chunks(2) {
        assert_eq!((&pair[0]["type"], &pair[1]["type"]), (&json!("lagged"), &json!("snapshot")));
        assert_eq!(pair[0]["offset"], pair[1]["offset"]);
    }
    assert!(resyncing.text().contains("THE END"));
    // Long gone bytes are answered with the screen at once.
    let mut late = world.negotiated(&id, "?since=5&snapshots=1").await;
    late.read_to_end().await;
    assert_eq!((&late.controls[0]["type"], &late.controls[0]["offset"]), (&json!("snapshot"), &json!(late.offset())));
    assert!(late.text().contains("THE END"));
}
