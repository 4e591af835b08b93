//! Recordings: everything a terminal shows is kept, once, without secrets, within bounds, and can be read again.

use std::{fmt::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use raven_agents::{
    domain::{
        recordings::{self, Playback},
        terminals::{self, TapeEvent},
    },
    model::{
        clock::Clock,
        ids::SessionId,
        recording::{Moment, What},
        settings::RecordingBounds,
    },
    runtime::LiveTerminals,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::support::{Caller, LocalRuntime, World, config, gate::Gate, program::Folder, service::Service};

/// A burst that a terminal may print without a pause, in bytes: a large file, by mistake.
const FLOOD_BYTES: usize = 16_000_000;
/// How long packing and writing it may take where the program is not optimized and the machine is busy.
const FLOOD_WITHIN: Duration = Duration::from_secs(90);

/// Everything that is recorded of a session, in its order.
async fn moments(pool: &PgPool, session: SessionId) -> Vec<Moment> {
    let mut conn = pool.acquire().await.unwrap();
    let mut playback = Playback::new(session);
    let mut all = Vec::new();
    while let Some((_, moments)) = playback.next(&mut conn).await.unwrap() {
        all.extend(moments);
    }
    all
}

/// The output among moments, which has to be without gaps and to begin with the first byte.
fn output(moments: &[Moment]) -> Vec<u8> {
    let mut all = Vec::new();
    for moment in moments {
        assert_eq!(moment.offset, all.len() as u64, "{moment:?}");
        match &moment.what {
            What::Output(bytes) => all.extend_from_slice(bytes),
            What::Gap(length) => panic!("{length} bytes are missing at {}", moment.offset),
            What::Resized(_) | What::Marker(_) | What::Input(_) => {}
        }
    }
    all
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// RT-10: who may not read a session learns nothing of what was recorded of it, by whatever they ask.
#[sqlx::test]
async fn whoever_may_not_read_finds_nothing_whatever_they_search(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let (owner, member) = (world.owner().await, world.member("mel").await);
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "for i in 1 2 3; do echo need''le; done; echo fin''ished").await;
    until_recorded(&world, &pool, session, b"finished").await;
    let list = format!("/terminal/agents/{id}/recordings");
    let queries = ["q=needle".to_owned(), "q=needle&limit=1".to_owned(), format!("q=needle&limit=1&cursor=0-{session}")];
    for (writers, reads) in [("members", true), ("spawner", false), ("admins", false)] {
        owner.patch_settings(json!({"terminalReaders": "writers", "terminalWriters": writers})).await.expect(StatusCode::OK);
        assert_eq!(member.get(&list).await.expect(StatusCode::OK)["data"].as_array().unwrap().len(), usize::from(reads), "{writers}");
        for query in &queries {
            let all = owner.get(&format!("{list}/search?{query}")).await.expect(StatusCode::OK)["data"].clone();
            assert!(!all["items"].as_array().unwrap().is_empty(), "{query}");
            let found = member.get(&format!("{list}/search?{query}")).await.expect(StatusCode::OK)["data"].clone();
            let expected = if reads { all } else { json!({"items": [], "nextCursor": null}) };
            assert_eq!(found, expected, "{query} where {writers} write");
        }
    }
    world.end().await;
}

/// The operator's and the workspace's bound holds while a terminal prints, and a lower one acts at once.
#[sqlx::test]
async fn what_is_too_much_goes_while_it_is_printed_and_when_the_bound_is_lowered(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let bound = async |megabytes: u32| {
        let settings = json!({"recording": {"enabled": true, "keepDays": 5, "maxMegabytes": megabytes, "input": false}});
        owner.patch_settings(settings).await.expect(StatusCode::OK);
    };
    let stored = async || {
        let stored = sqlx::query_as::<_, (i64, i64)>("SELECT stored_bytes, from_offset FROM terminal_recordings");
        stored.fetch_one(&pool).await.unwrap()
    };
    bound(2).await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "for i in 1 2 3 4 5 6; do head -c 600000 /dev/urandom | base64; sleep 0.4; done; echo fin''ished").await;
    world.until("the end", || async { contains(&tail(&pool, session).await, b"finished").then_some(()) }).await;
    world.until("the bound to hold", || async { (stored().await.0 <= 2_200_000).then_some(()) }).await;
    let (before, from) = stored().await;
    assert!(before > 1_000_000 && from > 0, "{before} bytes are stored, from {from} on");
    bound(1).await;
    world.until("the lower bound to hold", || async { (stored().await.0 <= 1_100_000).then_some(()) }).await;
    world.end().await;
}

/// Waits until the recording of a session has this, and returns its output.
async fn until_recorded(world: &World, pool: &PgPool, session: SessionId, part: &[u8]) -> Vec<u8> {
    world
        .until(&format!("recording of {}", part.escape_ascii()), || async {
            let all = output(&moments(pool, session).await);
            contains(&all, part).then_some(all)
        })
        .await
}

/// Bytes that no terminal answers and no filter touches: no escape, no enquiry, no C1 controls.
fn harmless_bytes(count: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::with_capacity(count);
    while bytes.len() < count {
        bytes.extend(rand::random::<[u8; 32]>().into_iter().filter(|byte| !matches!(byte, 0x1b | 0x05 | 0x80..=0x9f)));
    }
    bytes.truncate(count);
    bytes
}

/// A shell that is ready, with its session.
async fn shell(owner: &Caller<'_>) -> (String, SessionId) {
    let id = owner.spawn_shell().await;
    owner.until_run_is(&id, "ready").await;
    let session = owner.until_session_is(&id, "active").await;
    (id, session["id"].as_str().unwrap().parse().unwrap())
}

/// Has the shell carry out a line, without watching it.
async fn run(owner: &Caller<'_>, id: &str, line: &str) {
    owner.post(&format!("/parallax-agents/{id}/send"), json!({"message": line})).await.expect(StatusCode::OK);
}

fn recording_path(session: SessionId) -> String {
    format!("/terminal/sessions/{session}/recording")
}

/// RT-15, RT-16: one recorder, from the first byte, whoever watches.
#[sqlx::test]
async fn everything_is_recorded_byte_for_byte_from_the_first_byte_on_though_nobody_watches(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    let folder = Folder::new();
    // Three times what the runtime holds for a service that is slow.
    let bytes = harmless_bytes(3_000_000);
    std::fs::write(folder.path().join("bytes"), &bytes).unwrap();

    run(&owner, &id, &format!("stty -echo -opost; cat {}/bytes; echo do''ne", folder.path().display())).await;

    let shown = i64::try_from(bytes.len()).unwrap();
    world
        .until("the bytes in the recording", || async {
            let end = sqlx::query_scalar::<_, i64>("SELECT end_offset FROM terminal_recordings WHERE session_id = $1");
            (end.bind(session.0).fetch_one(&pool).await.unwrap() > shown).then_some(())
        })
        .await;
    let all = until_recorded(&world, &pool, session, b"done").await;
    let start = all.windows(64).position(|window| window == &bytes[..64]).unwrap();
    assert_eq!(Sha256::digest(&all[start..start + bytes.len()]), Sha256::digest(&bytes));
    let described = owner.get(&recording_path(session)).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!((&described["bytes"], &described["lostBytes"]), (&described["toOffset"], &json!(0)));
    world.end().await;
}

/// RT-16: nothing is lost of a burst that comes as fast as a terminal gives it, which is faster than it is packed.
#[sqlx::test]
async fn a_flood_at_full_speed_is_recorded_without_a_gap(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    let folder = Folder::new();
    let random: Vec<u8> = (0..FLOOD_BYTES / 4 * 3).map(|_| rand::random()).collect();
    let lines = STANDARD.encode(random).into_bytes().chunks(76).collect::<Vec<_>>().join(&b'\n');
    std::fs::write(folder.path().join("lines"), &lines).unwrap();

    run(&owner, &id, &format!("stty -echo -opost; cat {}/lines; echo do''ne", folder.path().display())).await;

    let shown = i64::try_from(lines.len()).unwrap();
    let recorded = async {
        let end = "SELECT end_offset FROM terminal_recordings WHERE session_id = $1";
        while sqlx::query_scalar::<_, i64>(end).bind(session.0).fetch_one(&pool).await.unwrap() < shown {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(FLOOD_WITHIN, recorded).await.expect("the recording of the flood");
    world.until("the end", || async { contains(&tail(&pool, session).await, b"done").then_some(()) }).await;
    let all = output(&moments(&pool, session).await);
    let start = all.windows(64).position(|window| window == &lines[..64]).unwrap();
    assert_eq!(Sha256::digest(&all[start..start + lines.len()]), Sha256::digest(&lines));
    let described = owner.get(&recording_path(session)).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!((&described["bytes"], &described["lostBytes"]), (&described["toOffset"], &json!(0)));
    world.end().await;
}

/// RT-16: what the runtime still has is recorded after a crash, and nothing twice.
#[sqlx::test]
async fn killed_in_the_middle_the_service_records_every_byte_once_after_its_return(pool: PgPool) {
    let (runtime, first, (http, token, id)) = Service::with_runtime(&pool).await;
    let session_path = format!("/terminal/agents/{id}/session");
    let session = first.until(&token, &session_path, |session| session["status"] == "active").await;
    let session_id: SessionId = session["id"].as_str().unwrap().parse().unwrap();
    let line = "for i in $(seq 1 20000); do echo line-$i-; done; echo fin''ished";
    let send = http.post(format!("{}/api/parallax-agents/{id}/send", first.base)).bearer_auth(&token).json(&json!({"message": line}));
    assert_eq!(send.send().await.unwrap().status(), StatusCode::OK);
    let recording = format!("/terminal/sessions/{session_id}/recording");
    first.until(&token, &recording, |recording| recording["bytes"].as_u64().is_some_and(|bytes| bytes > 10_000)).await;
    first.program.kill().await;

    let second = Service::start(&pool, &runtime.endpoint()).await;

    second.until(&token, &session_path, |session| session["status"] == "active").await;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let all = loop {
        let all = output(&moments(&pool, session_id).await);
        if contains(&all, b"finished") {
            break String::from_utf8(all).unwrap();
        }
        assert!(std::time::Instant::now() < deadline, "the recording is not complete");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let expected = (1..=20_000).fold(String::new(), |mut text, number| {
        write!(text, "line-{number}-\r\n").unwrap();
        text
    });
    assert!(all.contains(&expected), "every line is there, once and in its order");
    second.program.kill().await;
    runtime.stop().await;
}

#[sqlx::test]
async fn a_database_that_is_away_costs_nothing_that_was_printed(pool: PgPool) {
    let (gate, options) = Gate::before_database(&pool.connect_options()).await;
    let through = PgPoolOptions::new().connect_lazy_with(options);
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = LocalRuntime::start().await;
    let mut world = World::with_config(through, config(Some(runtime.endpoint())), Some(runtime)).await;
    world.pool = pool.clone();
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "(sleep 1; for i in $(seq 1 200000); do echo row-$i-; done; echo fin''ished) &").await;
    assert_ne!(gate.connections(), 0, "the service reaches the database through the gate");
    gate.close();

    let app = world.app().clone();
    world
        .until("the terminal to have printed", || async {
            app.terminals.get(session).filter(|terminal| terminal.history().contains("finished")).map(drop)
        })
        .await;
    gate.reopen();

    let all = String::from_utf8(until_recorded(&world, &pool, session, b"finished").await).unwrap();
    let expected = (1..=200_000).fold(String::new(), |mut text, number| {
        write!(text, "row-{number}-\r\n").unwrap();
        text
    });
    assert!(all.contains(&expected), "every row is there, once and in its order");
    world.end().await;
}

#[sqlx::test]
async fn a_recording_that_the_database_refused_goes_on_once_it_takes_it(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "echo be''fore").await;
    until_recorded(&world, &pool, session, b"before").await;
    // What a sequence counts is not rolled back.
    let refuse = "CREATE SEQUENCE refusals;
                  CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
                      AS $$ BEGIN PERFORM nextval('refusals'); RAISE EXCEPTION 'no more of this'; END $$;
                  CREATE TRIGGER refuse BEFORE INSERT ON terminal_segments EXECUTE FUNCTION refuse();";
    sqlx::raw_sql(refuse).execute(&pool).await.unwrap();
    run(&owner, &id, "echo mean''while").await;
    let terminal = world.app().terminals.get(session).unwrap();
    world.until("the shell to print", || async { terminal.history().contains("meanwhile").then_some(()) }).await;
    world
        .until("the refusal of it", || async {
            // Once with the others, once alone.
            let refusals = sqlx::query_scalar::<_, i64>("SELECT last_value FROM refusals").fetch_one(&pool).await.unwrap();
            (refusals >= 2).then_some(())
        })
        .await;
    sqlx::raw_sql("DROP TRIGGER refuse ON terminal_segments").execute(&pool).await.unwrap();
    run(&owner, &id, "echo af''ter").await;
    let all = until_recorded(&world, &pool, session, b"after").await;
    assert!(contains(&all, b"meanwhile"), "what the ring still had is not lost");
    world.end().await;
}

#[sqlx::test]
async fn a_secret_is_masked_wherever_it_is_read_and_raises_one_alert(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let token = owner.invite(Some(5)).await;
    let key = world.approved_agent("scout").await;
    let (id, session) = shell(&owner).await;
    let (start, end) = key.split_at(30);
    let fake = format!("mcp_agent_{}", "0123456789abcdef".repeat(4));
    let folder = Folder::new();
    // The shell must not echo them either.
    let script = format!(
        "printf 'a %s' '{start}'; sleep 0.4; printf '\\033[1m%s\\033[0m b\\n' '{end}'; echo 'c {token} d'; echo 'e {fake} f'; echo '{key}'; echo fin''ished"
    );
    std::fs::write(folder.path().join("script"), script).unwrap();

    run(&owner, &id, &format!("bash {}/script", folder.path().display())).await;

    let all = String::from_utf8(until_recorded(&world, &pool, session, b"finished").await).unwrap();
    let stars = |text: &str| "*".repeat(text.len());
    assert!(all.contains(&format!("a {}\u{1b}[1m{}\u{1b}[0m b", stars(start), stars(end))), "{all}");
    assert!(all.contains(&format!("c {} d", stars(&token))) && all.contains(&format!("e {} f", stars(&fake))), "{all}");
    world.until("both alerts", || async { (world.activities("secret_leaked", Some(&id)).await == 2).then_some(()) }).await;
    assert_eq!(world.events("secret.leaked").await, 2);
    let told: Vec<Value> = sqlx::query_scalar("SELECT metadata FROM parallax_agent_activity WHERE activity_type = 'secret_leaked'")
        .fetch_all(&pool)
        .await
        .unwrap();
    let mut kinds: Vec<&str> = told.iter().map(|metadata| metadata["secretKind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["invite", "key"]);
    let everything: String = sqlx::query_scalar(
        "SELECT string_agg(t, ' ') FROM (SELECT payload::text AS t FROM outbox UNION ALL SELECT metadata::text FROM parallax_agent_activity) x",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    for path in ["asciicast", "asciicast?version=2", "text"] {
        let body = owner.get(&format!("{}/{path}", recording_path(session))).await.expect(StatusCode::OK);
        let read = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        assert!(read.contains("finished") && !read.contains(&token) && !read.contains(&key) && !read.contains(end), "{read}");
    }
    assert!(!everything.contains(&token) && !everything.contains(&key));
    world.end().await;
}

#[sqlx::test]
async fn a_recording_downloads_as_a_cast_of_either_version_and_as_text(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, mut terminal) = owner.attached_shell().await;
    let session: SessionId = owner.until_session_is(&id, "active").await["id"].as_str().unwrap().parse().unwrap();
    terminal.emit("resize", json!({"cols": 101, "rows": 31})).await;
    terminal.emit("input", json!("printf '\\033[32mgr\\303\\274n\\033[0m 10%%\\r100%%\\n'; echo fin''ished\n")).await;
    terminal.until_shows("finished").await;
    until_recorded(&world, &pool, session, b"finished").await;

    let cast = |version: u8| {
        let owner = owner.clone();
        async move {
            let answer = owner.get(&format!("{}/asciicast?version={version}", recording_path(session))).await;
            assert_eq!(answer.headers["content-type"], "application/x-asciicast");
            let disposition = answer.headers["content-disposition"].to_str().unwrap();
            assert_eq!(disposition, format!("attachment; filename=\"terminal-{session}.cast\""));
            let body = answer.expect(StatusCode::OK);
            body.as_str().unwrap().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
        }
    };
    let (third, second) = (cast(3).await, cast(2).await);
    assert_eq!((&third[0]["version"], &second[0]["version"]), (&json!(3), &json!(2)));
    assert_eq!(third[0]["term"]["cols"], second[0]["width"]);
    let text_of =
        |lines: &[Value]| -> String { lines[1..].iter().filter(|line| line[1] == "o").map(|line| line[2].as_str().unwrap()).collect() };
    assert_eq!(text_of(&third), text_of(&second));
    assert!(text_of(&third).contains("\u{1b}[32mgr\u{fc}n\u{1b}[0m 10%\r100%"));
    assert!(third.iter().any(|line| line[1] == "r" && line[2] == "101x31"));
    // Times of version 3 are intervals that add up to those of version 2.
    let mut since_start = 0.0;
    for (interval, time) in third[1..].iter().zip(&second[1..]) {
        since_start += interval[0].as_f64().unwrap();
        assert!((since_start - time[0].as_f64().unwrap()).abs() < 1e-3, "{interval} {time}");
    }
    let text = owner.get(&format!("{}/text", recording_path(session))).await;
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    let text = text.expect(StatusCode::OK);
    assert!(text.as_str().unwrap().contains("\n100% 10%\n") || text.as_str().unwrap().contains("\n100%10%\n"), "{text}");
    owner.get(&format!("{}/asciicast?version=4", recording_path(session))).await.expect(StatusCode::BAD_REQUEST);
    world.end().await;
}

#[sqlx::test]
async fn words_are_found_in_all_sessions_of_an_agent_across_pieces(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    run(
        &owner,
        &id,
        "printf '\\nNeed'; sleep 0.8; printf 'le\\033[1m Stack\\033[0m\\n'; for i in 1 2 3; do echo needle; done; echo fin''ished",
    )
    .await;
    until_recorded(&world, &pool, session, b"finished").await;
    let path = format!("/terminal/agents/{id}/recordings/search");

    let found = owner.get(&format!("{path}?q=needle%20%20STACK")).await.expect(StatusCode::OK)["data"].clone();

    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    let hit = &found["items"][0];
    assert_eq!(hit["sessionId"], json!(session));
    let offset = usize::try_from(hit["offset"].as_u64().unwrap()).unwrap();
    assert_eq!(&output(&moments(&pool, session).await)[offset..offset + 4], b"Need");
    let (start, length) = (hit["matchStart"].as_u64().unwrap(), hit["matchLength"].as_u64().unwrap());
    let shown: String =
        hit["snippet"].as_str().unwrap().chars().skip(usize::try_from(start).unwrap()).take(usize::try_from(length).unwrap()).collect();
    assert_eq!(shown, "Needle Stack");
    let mut cursor = String::new();
    let mut offsets = Vec::new();
    loop {
        let page = owner.get(&format!("{path}?q=needle&limit=1{cursor}")).await.expect(StatusCode::OK)["data"].clone();
        offsets.extend(page["items"].as_array().unwrap().iter().map(|item| item["offset"].as_u64().unwrap()));
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let all = owner.get(&format!("{path}?q=needle")).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!(json!(offsets), all["items"].as_array().unwrap().iter().map(|item| item["offset"].clone()).collect::<Value>());
    assert!(offsets.len() >= 4);
    owner.get(&format!("{path}?q=%20")).await.expect(StatusCode::BAD_REQUEST);
    owner.get(&format!("{path}?q=a&cursor=x")).await.expect(StatusCode::BAD_REQUEST);
    world.outsider().await.get(&format!("{path}?q=needle")).await.expect(StatusCode::NOT_FOUND);
    world.end().await;
}

#[sqlx::test]
async fn logs_have_the_originals_shape_and_are_paged_through(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "for i in 1 2 3 4 5 6; do echo log-$i; sleep 0.05; done; echo fin''ished").await;
    let all = until_recorded(&world, &pool, session, b"finished").await;
    sqlx::query(
        "INSERT INTO terminal_session_logs (session_id, log_type, content, created_at) VALUES ($1, 'stdout', 'earlier', '2020-01-01')",
    )
    .bind(session.0)
    .execute(&pool)
    .await
    .unwrap();
    let mut logs = Vec::new();
    loop {
        let path = format!("/terminal/sessions/{session}/logs?limit=3&offset={}", logs.len());
        let page = owner.get(&path).await.expect(StatusCode::OK)["data"].as_array().unwrap().clone();
        if page.is_empty() {
            break;
        }
        logs.extend(page);
    }
    assert_eq!((&logs[0]["content"], &logs[0]["logType"]), (&json!("earlier"), &json!("stdout")));
    let text: String = logs[1..].iter().map(|log| log["content"].as_str().unwrap()).collect();
    assert!(String::from_utf8(all).unwrap().starts_with(&text) || text.contains("finished"));
    assert!(logs[1..].iter().all(|log| log["sessionId"] == json!(session) && log["createdAt"].is_string() && log["logType"] == "stdout"));
    let ids: std::collections::HashSet<&str> = logs.iter().map(|log| log["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), logs.len());
    world.end().await;
}

#[sqlx::test]
async fn merged_pieces_read_as_before(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "for i in 1 2 3 4 5; do echo part-$i; sleep 0.3; done; echo fin''ished").await;
    until_recorded(&world, &pool, session, b"finished").await;
    let count = async || {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM terminal_segments WHERE session_id = $1");
        count.bind(session.0).fetch_one(&pool).await.unwrap()
    };
    assert!(count().await > 2);
    let before = moments(&pool, session).await;
    let mut conn = pool.acquire().await.unwrap();
    let mut playback = Playback::new(session);
    let mut followed = playback.next(&mut conn).await.unwrap().unwrap().1;

    let mut tx = world.begin().await;
    recordings::merge(&mut tx, session).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(count().await, 1);
    assert_eq!(moments(&pool, session).await, before);
    while let Some((_, moments)) = playback.next(&mut conn).await.unwrap() {
        followed.extend(moments);
    }
    assert_eq!(followed, before, "who was reading reads on");
    let stored: i64 = sqlx::query_scalar("SELECT stored_bytes FROM terminal_recordings WHERE session_id = $1")
        .bind(session.0)
        .fetch_one(&pool)
        .await
        .unwrap();
    let taken: i64 = sqlx::query_scalar("SELECT sum(octet_length(moments))::bigint FROM terminal_segments").fetch_one(&pool).await.unwrap();
    assert_eq!(stored, taken);
    drop(conn);
    world.end().await;
}

#[sqlx::test]
async fn what_is_too_old_or_too_much_goes_oldest_first_and_the_recording_says_so(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "for i in 1 2 3 4 5; do head -c 20000 /dev/urandom | base64; sleep 0.4; done; echo fin''ished").await;
    until_recorded(&world, &pool, session, b"finished").await;
    sqlx::query(
        "UPDATE terminal_segments SET ended_at = ended_at - interval '31 days' WHERE seq = (SELECT min(seq) FROM terminal_segments)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let bounds = RecordingBounds { kept: Some(TimeDelta::days(90)), megabytes_max: 1024 };
    let prune = async |bounds| {
        let mut tx = world.begin().await;
        let pruned = recordings::prune(&mut tx, world.workspace, bounds).await.unwrap();
        tx.commit().await.unwrap();
        pruned
    };
    let marks = async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM terminal_marks").fetch_one(&pool).await.unwrap();
    assert!(marks().await > 0);
    assert_eq!((prune(bounds).await, prune(bounds).await), (1, 0));
    assert_eq!(marks().await, 0, "marks go with what they mark");
    let described = owner.get(&recording_path(session)).await.expect(StatusCode::OK)["data"].clone();
    assert!(described["prunedAt"].is_string() && described["fromOffset"].as_u64().unwrap() > 0, "{described}");
    let left = moments(&pool, session).await;
    assert_eq!(json!(left[0].offset), described["fromOffset"]);
    let none = RecordingBounds { kept: None, megabytes_max: 0 };
    assert!(prune(none).await > 0);
    assert_eq!(prune(none).await, 0);
    let described = owner.get(&recording_path(session)).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!((&described["bytes"], &described["storedBytes"]), (&json!(0), &json!(0)));
    assert_eq!(described["fromOffset"], described["toOffset"]);
    run(&owner, &id, "echo aft''er").await;
    world.until("recording to go on", || async { contains(&tail(&pool, session).await, b"after").then_some(()) }).await;
    world.end().await;
}

/// Each workspace keeps what its own settings say, by size and by age, and nothing is deleted of another.
#[sqlx::test]
async fn retention_deletes_of_one_workspace_what_that_workspace_does_not_keep(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let (owner, other) = (world.owner().await, world.outsider().await);
    let keep = async |of: &Caller<'_>, days: u32, megabytes: u32| {
        let settings = json!({"recording": {"enabled": true, "keepDays": days, "maxMegabytes": megabytes, "input": false}});
        of.patch_settings(settings).await.expect(StatusCode::OK);
    };
    keep(&owner, 60, 1).await;
    keep(&other, 60, 10).await;
    let ((mine_id, mine), (others_id, others)) = (shell(&owner).await, shell(&other).await);
    for (of, id) in [(&owner, &mine_id), (&other, &others_id)] {
        run(of, id, "for i in 1 2 3 4; do head -c 600000 /dev/urandom | base64; sleep 0.4; done; echo fin''ished").await;
    }
    let stored = async |session: SessionId| {
        let stored = "SELECT coalesce(sum(octet_length(moments)), 0)::bigint FROM terminal_segments WHERE session_id = $1";
        sqlx::query_scalar::<_, i64>(stored).bind(session.0).fetch_one(&pool).await.unwrap()
    };
    for session in [mine, others] {
        world.until("the end", || async { contains(&tail(&pool, session).await, b"finished").then_some(()) }).await;
    }
    world.until("the bound by size", || async { (stored(mine).await <= 1_100_000).then_some(()) }).await;
    assert!(stored(others).await > 1_800_000, "{}", stored(others).await);
    let whole = output(&moments(&pool, others).await);
    assert!(contains(&whole, b"finished"), "from its first byte");
    let described = owner.get(&recording_path(mine)).await.expect(StatusCode::OK)["data"].clone();
    assert!(described["prunedAt"].is_string() && described["fromOffset"].as_u64().unwrap() > 0, "{described}");

    let old = async |session: SessionId| {
        let old = "SELECT count(*) FROM terminal_segments WHERE session_id = $1 AND ended_at < now() - interval '30 days'";
        sqlx::query_scalar::<_, i64>(old).bind(session.0).fetch_one(&pool).await.unwrap()
    };
    sqlx::query("UPDATE terminal_segments SET ended_at = ended_at - interval '31 days'").execute(&pool).await.unwrap();
    let count = old(others).await;
    assert!(count > 0 && old(mine).await > 0);
    keep(&other, 32, 10).await;
    keep(&owner, 30, 1).await;
    world.until("the bound by age", || async { (old(mine).await == 0).then_some(()) }).await;
    assert_eq!(old(others).await, count);
    keep(&other, 30, 10).await;
    world.until("the other's bound by age", || async { (old(others).await == 0).then_some(()) }).await;
    world.end().await;
}

/// What was typed into a session, as far as that was recorded.
async fn typed(pool: &PgPool, session: SessionId) -> String {
    let mut all = Vec::new();
    for moment in moments(pool, session).await {
        if let What::Input(bytes) = moment.what {
            all.extend(bytes);
        }
    }
    String::from_utf8(all).unwrap()
}

/// RT-17: what people type is recorded only while the workspace says so, and without secrets.
#[sqlx::test]
async fn input_is_recorded_only_where_that_is_wanted_and_without_secrets(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    let (id, mut terminal) = owner.attached_shell().await;
    let session: SessionId = owner.until_session_is(&id, "active").await["id"].as_str().unwrap().parse().unwrap();
    let switch = async |input: bool| {
        let settings = json!({"recording": {"enabled": true, "keepDays": 5, "maxMegabytes": 10, "input": input}});
        owner.patch_settings(settings).await.expect(StatusCode::OK);
    };
    terminal.emit("input", json!("echo fir''st\r")).await;
    until_recorded(&world, &pool, session, b"first").await;
    assert_eq!(typed(&pool, session).await, "", "it is not recorded unless somebody wants that");

    switch(true).await;
    let app = world.app();
    let records = |wanted: bool| {
        let terminal = app.terminals.get(session).unwrap();
        async move { (terminal.records_input() == wanted).then_some(()) }
    };
    world.until("input to be recorded", || records(true)).await;
    for piece in ["echo ", &key[..20], &key[20..], " sec''ond\r"] {
        terminal.emit("input", json!(piece)).await;
    }
    until_recorded(&world, &pool, session, b"second").await;
    let expected = format!("echo {} sec''ond\r", "*".repeat(key.len()));
    world.until("what was typed", || async { (typed(&pool, session).await == expected).then_some(()) }).await;
    world.until("the alert", || async { (world.activities("secret_leaked", Some(&id)).await == 1).then_some(()) }).await;
    let stored = moments(&pool, session).await;
    assert!(!stored.iter().any(|moment| matches!(&moment.what, What::Output(bytes) if contains(bytes, key.as_bytes()))));

    switch(false).await;
    world.until("input not to be recorded", || records(false)).await;
    terminal.emit("input", json!("echo thi''rd\r")).await;
    until_recorded(&world, &pool, session, b"third").await;
    assert_eq!(typed(&pool, session).await, expected, "nothing of the time after it");
    world.end().await;
}

/// The newest output of a session that may have lost its beginning.
async fn tail(pool: &PgPool, session: SessionId) -> Vec<u8> {
    let tail = recordings::tail(&mut pool.acquire().await.unwrap(), session).await.unwrap();
    tail.map(|tail| tail.bytes).unwrap_or_default()
}

#[sqlx::test]
async fn a_workspace_that_records_nothing_keeps_nothing_of_that_time(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let switch = async |enabled: bool| {
        let settings = json!({"recording": {"enabled": enabled, "keepDays": 5, "maxMegabytes": 10, "input": false}});
        owner.patch_settings(settings).await.expect(StatusCode::OK);
    };
    switch(false).await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "echo unre''corded").await;
    let app = world.app().clone();
    let shows = |text: &'static str| {
        let terminal = app.terminals.get(session).unwrap();
        async move { terminal.history().contains(text).then_some(()) }
    };
    world.until("the shell to print", || shows("unrecorded")).await;
    assert!(moments(&pool, session).await.is_empty());
    owner.get(&recording_path(session)).await.expect_problem(StatusCode::NOT_FOUND, "RECORDING_NOT_FOUND");

    switch(true).await;
    world.until("the recording to begin", || async { (!moments(&pool, session).await.is_empty()).then_some(()) }).await;
    run(&owner, &id, "echo recor''ded-now").await;
    world.until("recording", || async { contains(&tail(&pool, session).await, b"recorded-now").then_some(()) }).await;
    let all = moments(&pool, session).await;
    assert_eq!(all[0].what, What::Marker("recording was switched off".to_owned()));
    assert!(matches!(all[1].what, What::Gap(_)), "{:?}", all[1]);
    let shown: Vec<u8> =
        all.iter().flat_map(|moment| if let What::Output(bytes) = &moment.what { bytes.clone() } else { Vec::new() }).collect();
    assert!(!contains(&shown, b"unrecorded"));
    let described = owner.get(&recording_path(session)).await.expect(StatusCode::OK)["data"].clone();
    assert_eq!(described["gaps"].as_array().unwrap().len(), 1);
    world.end().await;
}

#[sqlx::test]
async fn a_recording_is_its_workspaces_and_admins_delete_it(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "echo be''fore").await;
    until_recorded(&world, &pool, session, b"before").await;
    let path = recording_path(session);
    let outsider = world.outsider().await;
    for suffix in ["", "/asciicast", "/text"] {
        outsider.get(&format!("{path}{suffix}")).await.expect(StatusCode::NOT_FOUND);
        world.anonymous().get(&format!("{path}{suffix}")).await.expect(StatusCode::UNAUTHORIZED);
    }
    outsider.delete(&path).await.expect(StatusCode::NOT_FOUND);
    world.member("mel").await.delete(&path).await.expect(StatusCode::FORBIDDEN);
    let listed = owner.get(&format!("/terminal/agents/{id}/recordings")).await.expect(StatusCode::OK);
    assert_eq!(listed["data"][0]["sessionId"], json!(session));

    owner.delete(&path).await.expect(StatusCode::OK);

    assert_eq!(world.activities("recording_deleted", Some(&id)).await, 1);
    run(&owner, &id, "echo aft''er").await;
    world.until("recording to go on", || async { contains(&tail(&pool, session).await, b"after").then_some(()) }).await;
    assert!(!contains(&tail(&pool, session).await, b"before"));
    world.end().await;
}

/// RT-16: a runtime without positions begins anew, while the recording does not.
#[sqlx::test]
async fn a_runtime_that_dials_in_goes_on_behind_a_recording_of_which_nothing_is_left(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "echo be''fore").await;
    until_recorded(&world, &pool, session, b"before").await;
    owner.delete(&recording_path(session)).await.expect(StatusCode::OK);

    let (news, _told) = mpsc::channel(16);
    let restarted = LiveTerminals::new(news, Clock::default(), TaskTracker::new(), CancellationToken::new());
    let mut conn = pool.acquire().await.unwrap();
    let found = terminals::of_machinery(&mut conn, session).await.unwrap().unwrap();
    let line = terminals::open_legacy(&mut conn, &restarted, &found).await.unwrap().unwrap();
    line.output("and on".into());

    let recorded = recordings::progress(&mut conn, session).await.unwrap().unwrap();
    let mut tape = restarted.get(session).unwrap().tape(recorded.progress.offset);
    let events = tape.take(usize::MAX);
    assert!(!events.iter().any(|event| matches!(event, TapeEvent::Gap { .. })), "{events:?}");
    assert!(matches!(events.last(), Some(TapeEvent::Output { bytes, .. }) if bytes.ends_with(b"and on")), "{events:?}");
    world.end().await;
}

/// What waits for the database while a recording is deleted was shown before, and does not come back behind the deletion.
#[sqlx::test]
async fn what_waits_to_be_written_is_deleted_with_its_recording(pool: PgPool) {
    let world = World::with_runtime(pool.clone()).await;
    let owner = world.owner().await;
    let (id, session) = shell(&owner).await;
    run(&owner, &id, "echo fir''st").await;
    until_recorded(&world, &pool, session, b"first").await;
    let hold = "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql
                    AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
                CREATE TRIGGER hold BEFORE INSERT ON terminal_segments EXECUTE FUNCTION hold();";
    sqlx::raw_sql(hold).execute(&pool).await.unwrap();
    let mut holder = pool.acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(42)").execute(&mut *holder).await.unwrap();
    let waiting = async |count: i64| {
        let query = "SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                     WHERE NOT l.granted AND a.datname = current_database()";
        (sqlx::query_scalar::<_, i64>(query).fetch_one(&pool).await.unwrap() >= count).then_some(())
    };
    run(&owner, &id, "echo sec''ond").await;
    world.until("the writer to wait", || waiting(1)).await;
    run(&owner, &id, "echo thi''rd").await;
    let terminal = world.app().terminals.get(session).unwrap();
    world.until("the shell to print", || async { terminal.history().contains("third").then_some(()) }).await;

    let path = recording_path(session);
    let deleting = async { owner.delete(&path).await.expect(StatusCode::OK) };
    let releasing = async {
        world.until("the deletion to wait", || waiting(2)).await;
        sqlx::query("SELECT pg_advisory_unlock(42)").execute(&mut *holder).await.unwrap();
    };
    tokio::join!(deleting, releasing);

    run(&owner, &id, "echo fou''rth").await;
    world.until("recording to go on", || async { contains(&tail(&pool, session).await, b"fourth").then_some(()) }).await;
    let kept = moments(&pool, session).await;
    let shown: Vec<u8> =
        kept.iter().flat_map(|moment| if let What::Output(bytes) = &moment.what { bytes.clone() } else { Vec::new() }).collect();
    for before in [&b"first"[..], b"second", b"third"] {
        assert!(!contains(&shown, before), "{}", shown.escape_ascii());
    }
    world.end().await;
}

/// RT-16: history survives the service and its runtime's ring.
#[sqlx::test]
async fn a_terminal_starts_with_what_was_recorded_and_goes_on_from_there(pool: PgPool) {
    let mut world = World::with_runtime(pool.clone()).await;
    let (id, session) = shell(&world.owner().await).await;
    run(&world.owner().await, &id, "echo first-wor''ds").await;
    until_recorded(&world, &pool, session, b"first-words").await;

    world.crash_and_restart().await;

    let owner = world.owner().await;
    let app = world.app().clone();
    world.until("the terminal", || async { app.terminals.get(session).filter(|terminal| terminal.is_connected()).map(drop) }).await;
    run(&owner, &id, "echo last-wor''ds").await;
    let all = String::from_utf8(until_recorded(&world, &pool, session, b"last-words").await).unwrap();
    assert_eq!((all.matches("first-words").count(), all.matches("last-words").count()), (1, 1));
    let history = app.terminals.get(session).unwrap().history();
    assert!(history.contains("first-words") && history.contains("last-words"), "{history}");
    owner.post(&format!("/parallax-agents/{id}/stop"), json!({})).await.expect(StatusCode::OK);
    world
        .until("the end of the recording", || async {
            let described = owner.get(&recording_path(session)).await.expect(StatusCode::OK)["data"].clone();
            described["endedAt"].is_string().then_some(())
        })
        .await;
    world.end().await;
}
