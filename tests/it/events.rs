//! Who hears of what happens: on the default namespace, on the agents' and as server-sent events.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use raven_agents::{
    app::connections::Kind,
    domain::events,
    model::{
        ids::{SpaceId, UserId},
        listener::Published,
    },
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{World, config, node, terminal::Socket};

/// A world whose rights are looked up again so seldom that only being told acts in time.
async fn told_only(pool: PgPool) -> World {
    let mut settings = config(None);
    settings.socket_check_every = Duration::from_mins(10);
    World::with_config(pool, settings, None).await
}

/// A socket of the agents' namespace that has been greeted.
async fn watcher(world: &World, cookie: &str) -> Socket {
    let mut socket = Socket::connect(&world.base, "/mcp", cookie).await;
    socket.until("mcp:connected").await;
    socket
}

/// Everything that a socket hears until an event of this name, that one not included.
async fn heard_before(socket: &mut Socket, fence: &str) -> Vec<(String, Value)> {
    let mut heard = Vec::new();
    loop {
        let (name, payload) = socket.next().await;
        if name == fence {
            return heard;
        }
        heard.push((name, payload));
    }
}

/// The answer to a subscription.
async fn subscribe(socket: &mut Socket, kind: &str, id: &str) -> (String, Value) {
    socket.emit("mcp:subscribe", json!({"resourceType": kind, "resourceId": id})).await;
    loop {
        let answer = socket.next().await;
        if answer.0 == "mcp:subscribed" || answer.0 == "mcp:error" {
            return answer;
        }
    }
}

/// A private space with these members.
async fn space(world: &World, members: &[UserId]) -> SpaceId {
    let insert = "INSERT INTO spaces (name, slug, workspace_id) VALUES ('Private', gen_random_uuid()::text, $1) RETURNING id";
    let id: uuid::Uuid = sqlx::query_scalar(insert).bind(world.workspace.0).fetch_one(&world.pool).await.unwrap();
    for member in members {
        let join = sqlx::query("INSERT INTO space_members (user_id, space_id, role) VALUES ($1, $2, 'writer')");
        join.bind(member.0).bind(id).execute(&world.pool).await.unwrap();
    }
    SpaceId(id)
}

async fn project_in(world: &World, space: SpaceId) -> uuid::Uuid {
    let insert = sqlx::query_scalar("INSERT INTO projects (name, workspace_id, space_id) VALUES ('Plan', $1, $2) RETURNING id");
    insert.bind(world.workspace.0).bind(space.0).fetch_one(&world.pool).await.unwrap()
}

async fn page_in(world: &World, space: SpaceId) -> uuid::Uuid {
    let insert =
        sqlx::query_scalar("INSERT INTO pages (slug_id, workspace_id, space_id) VALUES (gen_random_uuid()::text, $1, $2) RETURNING id");
    insert.bind(world.workspace.0).bind(space.0).fetch_one(&world.pool).await.unwrap()
}

/// Writes that many events with a text of that many bytes, as if agents had been denied.
async fn flood(world: &World, events: i32, bytes: i32) {
    let insert = "INSERT INTO outbox (event_id, workspace_id, agent_id, name, payload)
        SELECT gen_random_uuid(), $1, 'scout', 'agent.access_denied', jsonb_build_object('name', 'agent.access_denied', 'data',
            jsonb_build_object('agent', jsonb_build_object('id', 'scout', 'name', 'Scout', 'status', 'denied'),
                               'reason', n::text || repeat('x', $3))) FROM generate_series(1, $2) AS n";
    sqlx::query(insert).bind(world.workspace.0).bind(events).bind(bytes).execute(&world.pool).await.unwrap();
    sqlx::query("SELECT pg_notify('raven_outbox', '')").execute(&world.pool).await.unwrap();
}

/// Waits until the events of a flood have been delivered, to however few.
async fn until_delivered(live: &mut tokio::sync::broadcast::Receiver<std::sync::Arc<Published>>, world: &World) {
    let newest = sqlx::query_scalar("SELECT max(seq) FROM outbox").fetch_one(&world.pool);
    let newest: i64 = newest.await.unwrap();
    let delivered = async { while !matches!(live.recv().await, Ok(event) if event.seq >= newest) {} };
    tokio::time::timeout(crate::support::DEADLINE * 4, delivered).await.expect("the events were not delivered in time");
}

/// RT-26: none is missed and none comes twice, however many listen and however much comes at once.
#[sqlx::test]
async fn a_crowd_hears_each_event_of_a_flood_once_and_in_order(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let (sockets, events) = (60, 3_000);
    let arguments = [&world.base, &owner.cookie(), &sockets.to_string(), &events.to_string()];
    let arguments = arguments.map(String::as_str);
    let listening = node::run("crowd.mjs", &arguments);
    let telling = async {
        let are_there = || async { (world.open_connections(Kind::Socket) == sockets).then_some(()) };
        world.until("the crowd", are_there).await;
        flood(&world, events, 1).await;
        owner.post("/api-keys", json!({"name": "Fence"})).await.expect(StatusCode::CREATED);
    };
    tokio::join!(listening, telling);
    world.end().await;
}

/// RT-01, RT-07, RT-26, RT-36.
#[sqlx::test]
async fn the_real_client_hears_each_event_once_on_both_namespaces(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("keyed").await;
    let outsider = world.outsider().await;
    let arguments = [&world.base, &owner.cookie(), &world.workspace.to_string(), &key, &outsider.cookie()];
    node::run("subscriptions.mjs", &arguments.map(String::as_str)).await;
    world.end().await;
}

/// RT-26.
#[sqlx::test]
async fn an_event_comes_once_with_one_id_however_many_rooms_it_is_in(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    world.approved_agent("scout").await;
    let mut broadcasts = Socket::connect(&world.base, "/", &owner.cookie()).await;
    let mut socket = watcher(&world, &owner.cookie()).await;
    for (kind, id) in [("workspace", world.workspace.to_string()), ("agent", "scout".into()), ("agent", "all".into())] {
        assert_eq!(subscribe(&mut socket, kind, &id).await, ("mcp:subscribed".into(), json!({"resourceType": kind, "resourceId": id})));
    }
    assert_eq!(socket.ask("agent:subscribe", json!({"agentId": "scout"})).await, json!({"subscribed": true, "room": "agent:scout"}));

    owner.revoke("scout").await.expect(StatusCode::OK);
    world.pending_agent("fence").await;

    let broadcast = broadcasts.until("agent:access_revoked").await;
    let mut heard = Vec::new();
    while !heard.iter().any(|(_, payload): &(String, Value)| payload["type"] == "agent.access_requested") {
        heard.push(socket.next().await);
    }
    let of = |name: &str, kind: &str| -> Vec<Value> {
        let same = heard.iter().filter(|(event, payload)| event == name && payload["type"] == kind);
        same.map(|(_, payload)| payload.clone()).collect()
    };
    let (resource, agent_event) = (of("mcp:event", "agent_access_revoked"), of("agent:event", "agent.access_revoked"));
    assert_eq!((resource.len(), agent_event.len()), (1, 1), "{heard:?}");
    assert_eq!((resource[0]["operation"].as_str(), resource[0]["resourceId"].as_str()), (Some("revoke"), Some("scout")));
    assert_eq!(agent_event[0]["data"]["agent"]["id"], "scout");
    for payload in [&resource[0], &agent_event[0]] {
        assert_eq!((&payload["eventId"], &payload["timestamp"]), (&broadcast["eventId"], &broadcast["timestamp"]), "{payload}");
    }
    world.end().await;
}

/// RT-06, RT-28, RT-29.
#[sqlx::test]
async fn what_is_not_there_and_what_may_not_be_seen_are_refused_alike(pool: PgPool) {
    let world = World::new(pool).await;
    let (member, _) = world.member_with_id("mel").await;
    let (other, other_id) = world.member_with_id("other").await;
    world.approved_agent("scout").await;
    let private = space(&world, &[other_id]).await;
    let (project, page) = (project_in(&world, private).await, page_in(&world, private).await);
    let mut socket = watcher(&world, &member.cookie()).await;

    let refused = ("mcp:error".to_owned(), json!({"message": "Failed to subscribe", "error": "not found"}));
    let unknown = uuid::Uuid::new_v4().to_string();
    for (kind, id) in [
        ("workspace", unknown.as_str()),
        ("workspace", "nonsense"),
        ("user", unknown.as_str()),
        ("user", &other_id.to_string()),
        ("agent", "nobody"),
        ("agent", "a b"),
        ("space", &private.to_string()),
        ("project", &project.to_string()),
        ("page", &page.to_string()),
        ("task", unknown.as_str()),
        ("group", unknown.as_str()),
    ] {
        assert_eq!(subscribe(&mut socket, kind, id).await, refused, "{kind} {id}");
    }
    for payload in [json!({}), json!(7), json!({"resourceType": "watch", "resourceId": "x"}), json!({"resourceType": ["page"]})] {
        socket.emit("mcp:subscribe", payload).await;
        assert_eq!(socket.until("mcp:error").await["error"], "malformed");
    }
    for id in ["scout", &unknown, &other_id.to_string()] {
        socket.emit("mcp:watch", json!({"targetUserId": id})).await;
        assert_eq!(socket.until("mcp:error").await, json!({"message": "Failed to watch", "error": "not found"}), "{id}");
    }
    socket.emit("mcp:presence", json!({"pageId": page, "status": "online"})).await;
    assert_eq!(socket.until("mcp:error").await, json!({"message": "Failed to update presence", "error": "not found"}));
    for id in ["nobody", "..", &unknown] {
        let answer = socket.ask("agent:subscribe", json!({"agentId": id})).await;
        assert_eq!(answer, json!({"subscribed": false, "error": "not found"}), "{id}");
    }
    assert_eq!(socket.ask("agent:subscribe", json!({"agentId": "scout", "eventTypes": 7})).await["subscribed"], false);

    // Who belongs to the space may.
    let mut socket = watcher(&world, &other.cookie()).await;
    for (kind, id) in [("space", private.to_string()), ("project", project.to_string()), ("page", page.to_string())] {
        assert_eq!(subscribe(&mut socket, kind, &id).await.0, "mcp:subscribed", "{kind}");
    }
    world.end().await;
}

#[sqlx::test]
async fn an_agent_hears_of_itself_and_of_nobody_else(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    world.approved_agent("other").await;
    let mut socket = Socket::connect_with_key(&world.base, &key).await;
    socket.until("mcp:connected").await;
    assert_eq!(subscribe(&mut socket, "workspace", &world.workspace.to_string()).await.0, "mcp:subscribed");
    for (kind, id) in [("agent", "other"), ("space", &world.workspace.to_string())] {
        assert_eq!(subscribe(&mut socket, kind, id).await.0, "mcp:error", "{kind}");
    }
    assert_eq!(socket.ask("agent:subscribe", json!({"agentId": "other"})).await["subscribed"], false);
    let mut stream = world.with_key(&key).stream("", None).await.begun().await;
    let foreign = world.with_key(&key).open_stream("?agentId=other", None).await;
    assert_eq!(foreign.status(), StatusCode::NOT_FOUND);

    let project = world.project("Plan").await;
    owner.invite(None).await;
    owner.assign("other", project).await.expect(StatusCode::CREATED);
    owner.revoke("other").await.expect(StatusCode::OK);
    owner.assign("scout", project).await.expect(StatusCode::CREATED);

    let mut heard = Vec::new();
    while !heard.iter().any(|(name, _): &(String, Value)| name == "agent:event") {
        heard.push(socket.next().await);
    }
    assert!(heard.iter().all(|(_, payload)| !payload.to_string().contains("other")), "{heard:?}");
    assert_eq!(heard.last().unwrap().1["type"], "agent.project_assigned");
    assert_eq!(stream.next().await.unwrap().data, heard.last().unwrap().1);
    world.end().await;
}

#[sqlx::test]
async fn types_narrow_the_events_of_one_agent_on_one_socket(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    for id in ["scout", "other", "fence"] {
        world.approved_agent(id).await;
    }
    let (mut narrow, mut wide) = (watcher(&world, &owner.cookie()).await, watcher(&world, &owner.cookie()).await);
    let asked = json!({"agentId": "scout", "eventTypes": ["agent.access_revoked"]});
    assert_eq!(narrow.ask("agent:subscribe", asked).await["subscribed"], true);
    let project = world.project("Plan").await;
    for id in ["scout", "other"] {
        owner.assign(id, project).await.expect(StatusCode::CREATED);
        owner.revoke(id).await.expect(StatusCode::OK);
    }
    owner.revoke("fence").await.expect(StatusCode::OK);
    let mut types = Vec::new();
    for socket in [&mut narrow, &mut wide] {
        let mut heard = Vec::new();
        loop {
            let event = socket.until("agent:event").await;
            if event["agentId"] == "fence" {
                break;
            }
            heard.push(format!("{} {}", event["agentId"].as_str().unwrap(), event["type"].as_str().unwrap()));
        }
        types.push(heard);
    }
    assert_eq!(types[1].len(), 4, "{types:?}");
    assert_eq!(types[0], ["scout agent.access_revoked", "other agent.project_assigned", "other agent.access_revoked"]);
    assert_eq!(narrow.ask("agent:unsubscribe", json!({"agentId": "scout"})).await, json!({"unsubscribed": true}));
    world.end().await;
}

/// D-02, D-04: on every channel.
#[sqlx::test]
async fn only_owners_and_admins_hear_of_invites_settings_and_keys(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let mut admins = Socket::connect(&world.base, "/", &owner.cookie()).await;
    let member = world.member("mel").await;
    // It is told to the member, too, if she is there when it is told.
    admins.until("user:changed").await;
    let mut members = Socket::connect(&world.base, "/", &member.cookie()).await;
    let mut gateway = watcher(&world, &member.cookie()).await;
    let mut stream = member.stream("?channel=workspace", None).await.begun().await;

    let token = owner.invite(None).await;
    owner.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED);
    owner.patch_settings(json!({"parallax": {"maxAgents": 7}})).await.expect(StatusCode::OK);
    owner.register(&token, "fence").await.expect(StatusCode::CREATED);

    let heard = heard_before(&mut admins, "agent:access_approved").await;
    let names: Vec<&str> = heard.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["invite:created", "key:created", "settings:changed"]);
    assert!(heard.iter().all(|(_, payload)| !payload.to_string().contains(&token)), "{heard:?}");
    assert_eq!(heard_before(&mut members, "agent:access_approved").await, []);
    assert_eq!(heard_before(&mut gateway, "agent:event").await.len(), 1, "the mcp:event of the agent");
    assert_eq!(stream.next().await.unwrap().name, "agent:access_approved");
    world.end().await;
}

/// RT-28, D-41.
#[sqlx::test]
async fn a_tool_call_reaches_whoever_watches_by_either_id(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    let account: uuid::Uuid = sqlx::query_scalar("SELECT id FROM users WHERE agent_id = 'scout'").fetch_one(&world.pool).await.unwrap();
    let mut sockets = Vec::new();
    for id in ["scout".to_owned(), account.to_string()] {
        let mut socket = watcher(&world, &owner.cookie()).await;
        socket.emit("mcp:watch", json!({"targetUserId": id})).await;
        assert_eq!(socket.until("mcp:watching").await["targetUserId"], json!(id));
        sockets.push(socket);
    }
    let mut member = watcher(&world, &world.member("mel").await.cookie()).await;
    let called = world.with_key(&key).tool("agent_my_assignments", json!({"status": "pending", "note": {"apiKey": "hidden"}})).await;
    called.expect(StatusCode::OK);

    for socket in &mut sockets {
        let call = socket.until("mcp:activity").await;
        assert_eq!((&call["type"], &call["operation"], &call["resourceId"]), (&json!("tool_executed"), &json!("execute"), &json!("scout")));
        assert_eq!(call["data"]["agentId"], "scout");
        assert_eq!((&call["data"]["success"], &call["data"]["isAgent"]), (&json!(true), &json!(true)));
        assert!(call["data"]["durationMs"].is_u64() && call["userId"] == json!(account), "{call}");
        assert!(!call.to_string().contains("hidden"), "{call}");
    }
    assert_eq!(world.activities("tool_executed", Some("scout")).await, 1);
    let mut unwatched = sockets.remove(0);
    unwatched.emit("mcp:unwatch", json!({"targetUserId": "scout"})).await;
    unwatched.until("mcp:unwatched").await;
    world.with_key(&key).tool("agent_profile", json!({})).await.expect(StatusCode::OK);
    owner.revoke("scout").await.expect(StatusCode::OK);
    let mut heard = Vec::new();
    while !heard.iter().any(|(_, payload): &(String, Value)| payload["type"] == "agent.access_revoked") {
        heard.push(unwatched.next().await);
    }
    assert!(heard.iter().all(|(name, _)| name != "mcp:activity"), "{heard:?}");
    let mut told = Vec::new();
    while told.last().is_none_or(|kind| kind != "agent.access_revoked") {
        told.push(member.until("agent:event").await["type"].clone());
    }
    // That the member came may be told yet.
    assert!(told.iter().all(|kind| kind == "agent.access_revoked" || kind == "user.changed"), "a member hears of no calls: {told:?}");
    world.end().await;
}

/// RT-09: within a second, told by the database.
#[sqlx::test]
async fn who_leaves_a_space_hears_no_more_of_it(pool: PgPool) {
    let world = told_only(pool).await;
    let owner = world.owner().await;
    let (member, id) = world.member_with_id("mel").await;
    let private = space(&world, &[id]).await;
    let project = project_in(&world, private).await;
    world.approved_agent("one").await;
    let mut socket = watcher(&world, &member.cookie()).await;
    let mut stream = member.stream("?eventTypes=agent.project_assigned,agent.access_revoked", None).await.begun().await;
    assert_eq!(subscribe(&mut socket, "project", &project.to_string()).await.0, "mcp:subscribed");
    owner.assign("one", project).await.expect(StatusCode::CREATED);
    assert_eq!(socket.until("agent:event").await["agentId"], "one");
    assert_eq!(stream.next().await.unwrap().data["agentId"], "one");

    let left = sqlx::query("DELETE FROM space_members WHERE user_id = $1 AND space_id = $2");
    left.bind(id.0).bind(private.0).execute(&world.pool).await.unwrap();
    // Nothing tells when it was heard of, but that it is refused from then on.
    let refused = || async {
        let mut socket = watcher(&world, &member.cookie()).await;
        (subscribe(&mut socket, "project", &project.to_string()).await.0 == "mcp:error").then_some(())
    };
    world.until("the project is out of sight", refused).await;
    // What is open already is told of the change by itself, and soon: from then on it hears of the space no more.
    let (mut socket_hears, mut stream_hears, mut round) = (true, true, 0);
    let deadline = Instant::now() + crate::support::DEADLINE;
    while socket_hears || stream_hears {
        assert!(Instant::now() < deadline, "the space is heard of still: {socket_hears} {stream_hears}");
        let (assigned, fence) = (format!("assigned-{round}"), format!("fence-{round}"));
        world.approved_agent(&assigned).await;
        world.approved_agent(&fence).await;
        owner.assign(&assigned, project).await.expect(StatusCode::CREATED);
        owner.revoke(&fence).await.expect(StatusCode::OK);
        (socket_hears, stream_hears, round) = (false, false, round + 1);
        loop {
            let event = socket.until("agent:event").await;
            socket_hears |= event["agentId"] == json!(assigned) && event["type"] == "agent.project_assigned";
            if event["agentId"] == json!(fence) && event["type"] == "agent.access_revoked" {
                break;
            }
        }
        loop {
            let event = stream.next().await.unwrap();
            stream_hears |= event.data["agentId"] == json!(assigned);
            if event.data["agentId"] == json!(fence) {
                break;
            }
        }
    }
    world.end().await;
}

/// RT-07, RT-29.
#[sqlx::test]
async fn clients_reach_only_those_who_share_a_space_with_them(pool: PgPool) {
    let world = World::new(pool).await;
    let mut owner = Socket::connect(&world.base, "/", &world.owner().await.cookie()).await;
    let ((sender, sender_id), (friend, friend_id)) = (world.member_with_id("sender").await, world.member_with_id("friend").await);
    let (stranger, outsider) = (world.member("stranger").await, world.outsider().await);
    // Each is told of themselves, if they are there when it is told.
    for _ in 0..3 {
        owner.until("user:changed").await;
    }
    let private = space(&world, &[sender_id, friend_id]).await;
    let page = page_in(&world, private).await;
    let mut sockets = Vec::new();
    for caller in [&sender, &friend, &stranger, &outsider] {
        sockets.push(Socket::connect(&world.base, "/", &caller.cookie()).await);
    }
    let moved = json!({"operation": "moveTreeNode", "spaceId": private, "payload": {"id": page}});
    for ignored in [
        json!({"operation": "invalidate", "entity": ["x"]}),
        json!({"operation": "deleteOne", "spaceId": private}),
        json!({"operation": "updateOne"}),
        json!({"operation": "updateOne", "spaceId": uuid::Uuid::new_v4()}),
        json!("text"),
        moved.clone(),
    ] {
        sockets[0].emit("message", ignored).await;
    }
    sockets[2].emit("message", json!({"operation": "updateOne", "spaceId": private})).await;
    sockets[2].emit("join-room", json!(format!("space-{private}"))).await;
    sockets[0].emit("leave-room", json!(format!("workspace-{}", world.workspace))).await;
    assert_eq!(sockets[1].next().await, ("message".to_owned(), moved));
    world.pending_agent("fence").await;
    for (at, socket) in sockets.iter_mut().take(3).enumerate() {
        let heard = heard_before(socket, "agent:access_requested").await;
        assert_eq!(heard, [], "socket {at}");
    }

    let (mut near, mut far) = (watcher(&world, &friend.cookie()).await, watcher(&world, &stranger.cookie()).await);
    assert_eq!(subscribe(&mut near, "page", &page.to_string()).await.0, "mcp:subscribed");
    let mut from = watcher(&world, &sender.cookie()).await;
    from.emit("mcp:test-event", json!({"type": "navigation"})).await;
    from.emit("mcp:event", json!({"type": "navigation"})).await;
    from.emit("mcp:presence", json!({"pageId": page, "status": "here"})).await;
    assert_eq!(from.until("mcp:error").await["error"], "malformed");
    from.emit("mcp:presence", json!({"pageId": page, "status": "online", "cursorPosition": {"x": 1, "y": 2.5}})).await;
    let presence = near.until("mcp:event").await;
    assert_eq!((&presence["type"], &presence["userId"]), (&json!("presence"), &json!(sender_id)));
    assert_eq!(presence["data"]["cursorPosition"], json!({"x": 1.0, "y": 2.5}));
    world.pending_agent("later").await;
    assert_eq!(heard_before(&mut far, "agent:event").await.len(), 1, "the mcp:event of the agent alone");
    world.end().await;
}

/// RT-29: rights are those of the moment, and of the page's space now.
#[sqlx::test]
async fn presence_on_a_page_that_was_moved_reaches_its_new_space_only(pool: PgPool) {
    let world = World::new(pool).await;
    let ((sender, sender_id), (friend, friend_id)) = (world.member_with_id("sender").await, world.member_with_id("friend").await);
    let (both, alone) = (space(&world, &[sender_id, friend_id]).await, space(&world, &[sender_id]).await);
    let page = page_in(&world, both).await;
    let (mut near, mut from) = (watcher(&world, &friend.cookie()).await, watcher(&world, &sender.cookie()).await);
    assert_eq!(subscribe(&mut near, "page", &page.to_string()).await.0, "mcp:subscribed");
    assert_eq!(subscribe(&mut from, "page", &page.to_string()).await.0, "mcp:subscribed");
    let moved = sqlx::query("UPDATE pages SET space_id = $1 WHERE id = $2").bind(alone.0).bind(page);
    moved.execute(&world.pool).await.unwrap();
    from.emit("mcp:presence", json!({"pageId": page, "status": "online"})).await;
    assert_eq!(from.until("mcp:event").await["spaceId"], json!(alone), "who may read the page hears of it");
    world.pending_agent("fence").await;
    let heard = heard_before(&mut near, "agent:event").await;
    assert!(heard.iter().all(|(_, event)| event["type"] != "presence"), "{heard:?}");
    world.end().await;
}

/// No call on an open connection is left without an answer, however many come at once.
#[sqlx::test]
async fn under_a_flood_each_call_is_answered_or_the_connection_ends(pool: PgPool) {
    const CALLS: usize = 600;
    let world = World::new(pool).await;
    let mut socket = watcher(&world, &world.owner().await.cookie()).await;
    let answers = socket.ask_all("agent:subscribe", &json!({"agentId": "nobody"}), CALLS).await;
    if let Some(answers) = answers {
        assert_eq!(answers.len(), CALLS);
        assert!(answers.iter().all(|answer| answer["subscribed"] == false && answer["error"].is_string()), "{answers:?}");
    }
    world.end().await;
}

/// Realtime contract §6: the workspace hears of a transition before whoever watches its session.
#[sqlx::test]
async fn a_transition_is_told_once_and_before_its_session_changes(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    owner.until_run_is(&id, "ready").await;
    owner.until_session_is(&id, "active").await;
    owner.post(&format!("/parallax-agents/{id}/stop"), json!({})).await.expect(StatusCode::OK);
    owner.until_run_is(&id, "stopped").await;
    let told: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT name, payload -> 'data' ->> 'status' FROM outbox WHERE agent_id = $1 ORDER BY seq")
            .bind(&id)
            .fetch_all(&world.pool)
            .await
            .unwrap();
    let at = |name: &str, status: Option<&str>| {
        let found = told.iter().enumerate().filter(|(_, (told, now))| told == name && (status.is_none() || now.as_deref() == status));
        let found: Vec<usize> = found.map(|(at, _)| at).collect();
        assert_eq!(found.len(), 1, "{name} {status:?} in {told:?}");
        found[0]
    };
    assert!(at("run.started", None) < at("run.ready", None), "{told:?}");
    assert!(at("run.stopped", None) < at("terminal.changed", Some("terminated")), "{told:?}");
    world.end().await;
}

/// RT-26: no loss and no repetition by id.
#[sqlx::test]
async fn a_stream_goes_on_where_it_was_after_the_service_was_restarted(pool: PgPool) {
    let mut world = World::new(pool).await;
    let mut live = world.owner().await.stream("?eventTypes=agent.access_requested", None).await.begun().await;
    world.pending_agent("a0").await;
    let first = live.next().await.unwrap();
    assert_eq!((first.name.as_str(), &first.data["agentId"]), ("agent.access_requested", &json!("a0")));
    for at in 1..4 {
        world.pending_agent(&format!("a{at}")).await;
    }
    world.crash_and_restart().await;
    for at in 4..8 {
        world.pending_agent(&format!("a{at}")).await;
    }
    let owner = world.owner().await;
    let mut again = owner.stream("?eventTypes=agent.access_requested", Some(&first.id)).await;
    world.pending_agent("a8").await;
    let mut heard = vec![first];
    while heard.len() < 9 {
        heard.push(again.next().await.unwrap());
    }
    let agents: Vec<&str> = heard.iter().map(|event| event.data["agentId"].as_str().unwrap()).collect();
    assert_eq!(agents, ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"]);
    // By the query, where a client cannot send the header; and from any position.
    let mut by_query = owner.stream(&format!("?eventTypes=agent.access_requested&cursor={}", heard[6].id), None).await;
    assert_eq!(by_query.next().await.unwrap(), heard[7]);
    world.end().await;
}

#[sqlx::test]
async fn a_position_that_is_too_old_or_unknown_is_a_gap(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let mut stream = owner.stream("", None).await.begun().await;
    world.pending_agent("one").await;
    let old = stream.next().await.unwrap().id;
    world.pending_agent("two").await;
    world.pending_agent("three").await;
    stream.next().await.unwrap();
    let newest = stream.next().await.unwrap().id;
    let forget = "DELETE FROM outbox WHERE seq <= (SELECT max(seq) FROM outbox WHERE agent_id = 'two')";
    sqlx::query(forget).execute(&world.pool).await.unwrap();
    for (number, position) in [old.as_str(), "nonsense", "f_________8"].into_iter().enumerate() {
        let mut late = owner.stream("", Some(position)).await;
        let gap = late.next().await.unwrap();
        assert_eq!((gap.name.as_str(), &gap.data), ("gap", &json!({"newest": newest})), "{position}");
        assert_eq!(gap.id, newest);
        let id = format!("next-{number}");
        world.pending_agent(&id).await;
        assert_eq!(late.next().await.unwrap().data["agentId"], json!(id));
        sqlx::query("DELETE FROM outbox WHERE agent_id LIKE 'next-%'").execute(&world.pool).await.unwrap();
    }
    let mut current = owner.stream("", Some(&newest)).await;
    world.pending_agent("four").await;
    assert_eq!(current.next().await.unwrap().data["agentId"], "four", "nothing was missed");
    world.end().await;
}

/// After a day on which nothing happened.
#[sqlx::test]
async fn the_newest_position_outlives_its_events(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let mut stream = owner.stream("", None).await.begun().await;
    world.pending_agent("one").await;
    world.pending_agent("two").await;
    stream.next().await.unwrap();
    let newest = stream.next().await.unwrap().id;
    sqlx::query("UPDATE outbox SET created_at = created_at - interval '2 days'").execute(&world.pool).await.unwrap();
    let forgotten = events::prune(&mut world.pool.acquire().await.unwrap(), TimeDelta::days(1)).await.unwrap();
    assert!(forgotten >= 1);
    let mut again = owner.stream("", Some(&newest)).await;
    world.pending_agent("three").await;
    let next = again.next().await.unwrap();
    assert_eq!((next.name.as_str(), &next.data["agentId"]), ("agent.access_requested", &json!("three")));
    world.end().await;
}

#[sqlx::test]
async fn a_stream_ends_with_its_credential_and_the_receipt_counts_it(pool: PgPool) {
    let world = told_only(pool).await;
    let owner = world.owner().await;
    let key = world.approved_agent("scout").await;
    let mut stream = world.with_key(&key).stream("", None).await.begun().await;
    assert_eq!(owner.revoke("scout").await.receipt()["streams"], 1);
    while stream.next().await.is_some() {}

    let created = owner.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED)["data"].clone();
    let mut stream = world.with_key(created["key"].as_str().unwrap()).stream("", None).await.begun().await;
    assert_eq!(owner.delete(&format!("/api-keys/{}", created["id"].as_str().unwrap())).await.receipt()["streams"], 1);
    while stream.next().await.is_some() {}

    let (member, id) = world.member_with_id("mel").await;
    let mut stream = member.stream("", None).await.begun().await;
    sqlx::query("UPDATE users SET deactivated_at = now() WHERE id = $1").bind(id.0).execute(&world.pool).await.unwrap();
    while stream.next().await.is_some() {}
    world.until("no stream is open", || async { (world.open_connections(Kind::Stream) == 0).then_some(()) }).await;
    world.end().await;
}

#[sqlx::test]
async fn a_stream_ends_when_its_key_expires(pool: PgPool) {
    let world = told_only(pool).await;
    let owner = world.owner().await;
    let now: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("SELECT now()").fetch_one(&world.pool).await.unwrap();
    let body = json!({"name": "Short", "expiresAt": now + chrono::TimeDelta::seconds(3)});
    let key = owner.post("/api-keys", body).await.expect(StatusCode::CREATED)["data"]["key"].clone();
    let mut stream = world.with_key(key.as_str().unwrap()).stream("", None).await.begun().await;
    while stream.next().await.is_some() {}
    world.end().await;
}

#[sqlx::test]
async fn a_person_has_twenty_streams_with_all_their_keys(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let key = owner.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED)["data"]["key"].clone();
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(owner.stream("", None).await.begun().await);
    }
    let refused = owner.open_stream("", None).await;
    assert_eq!((refused.status(), refused.headers().contains_key("retry-after")), (StatusCode::TOO_MANY_REQUESTS, true));
    let by_key = world.with_key(key.as_str().unwrap()).open_stream("", None).await;
    assert_eq!(by_key.status(), StatusCode::TOO_MANY_REQUESTS, "a key is its person's");
    let agent = world.approved_agent("scout").await;
    world.with_key(&agent).stream("", None).await.begun().await;
    streams.pop();
    world.until("there is room again", || async { (owner.open_stream("", None).await.status() == StatusCode::OK).then_some(()) }).await;
    for query in ["?agentId=a%20b", "?channel=loud", "?eventTypes="] {
        assert_eq!(owner.open_stream(query, None).await.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(world.with_key("mcp_0000").open_stream("", None).await.status(), StatusCode::UNAUTHORIZED);
    world.end().await;
}

/// What a socket without room misses it is told of, and it is connected all the same.
#[sqlx::test]
async fn a_socket_that_cannot_keep_up_is_told_of_the_gap(pool: PgPool) {
    /// More than the buffers of the system, of the library and of the seat hold together.
    const EVENTS: i32 = 3_500;
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let mut slow = Socket::connect(&world.base, "/", &owner.cookie()).await;
    let mut live = world.app().live_events.listen();
    flood(&world, EVENTS, 16_000).await;
    until_delivered(&mut live, &world).await;
    let (mut last, mut count) = (Value::Null, 0);
    let gap = loop {
        let (name, payload) = slow.next().await;
        if name == "events:gap" {
            break payload;
        }
        last = payload["eventId"].clone();
        count += 1;
    };
    assert!(count < EVENTS && gap["lastEventId"] == last, "{count} {gap}");
    world.pending_agent("after").await;
    assert_eq!(slow.until("agent:access_requested").await["agent"]["id"], "after");
    world.end().await;
}

#[sqlx::test]
async fn a_stream_that_cannot_keep_up_is_told_of_the_gap_and_goes_on(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let mut slow = owner.stream("", None).await.begun().await;
    let mut live = world.app().live_events.listen();
    flood(&world, 2_000, 20_000).await;
    until_delivered(&mut live, &world).await;
    world.pending_agent("after").await;
    let heard = slow.until("agent.access_requested").await;
    let gaps = heard.iter().filter(|event| event.name == "gap").count();
    assert!(gaps >= 1 && heard.len() < 2_000, "{gaps} gaps in {}", heard.len());
    // The service has it all still: from the last position before the gap nothing is missing.
    let before = heard.iter().take_while(|event| event.name != "gap").last().unwrap();
    let mut again = owner.stream("", Some(&before.id)).await;
    let missed = again.until("agent.access_requested").await;
    let number = |event: &crate::support::stream::Event| event.data["data"]["reason"].as_str().unwrap().trim_end_matches('x').to_owned();
    let next: usize = number(before).parse::<usize>().unwrap() + 1;
    assert_eq!(
        missed[..missed.len() - 1].iter().map(number).collect::<Vec<_>>(),
        (next..=2_000).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    world.end().await;
}

/// Prints how long one event takes to a thousand sockets; nothing is claimed of a machine that others use too.
#[sqlx::test]
async fn a_thousand_sockets_hear_of_an_event(pool: PgPool) {
    const SOCKETS: usize = 1_000;
    const EVENTS: u32 = 20;
    let world = told_only(pool).await;
    let cookie = world.owner().await.cookie();
    let mut sockets = Vec::new();
    while sockets.len() < SOCKETS {
        sockets.extend(futures_util::future::join_all((0..50).map(|_| watcher(&world, &cookie))).await);
    }
    let readers: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            tokio::spawn(async move {
                for _ in 0..EVENTS {
                    socket.until("agent:event").await;
                }
                Instant::now()
            })
        })
        .collect();
    let mut live = world.app().live_events.listen();
    let started = Instant::now();
    flood(&world, i32::try_from(EVENTS).unwrap(), 100).await;
    until_delivered(&mut live, &world).await;
    let mut last = started;
    println!("{EVENTS} events, each in two forms, were handed to {SOCKETS} sockets after {:?}", started.elapsed());
    for reader in readers {
        last = last.max(reader.await.unwrap());
    }
    println!("all of them were read after {:?}", last - started);
    world.end().await;
}
