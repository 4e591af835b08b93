//! Open connections end with the access of whoever holds them.

use std::time::Duration;

use raven_agents::{
    app::connections::Kind,
    domain::{
        auth,
        workspaces::{self, Standing},
    },
};
use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;

use crate::support::{World, config, terminal::Socket};

/// A world whose sockets are checked so seldom that only being told closes them in time.
async fn told_only(pool: PgPool) -> World {
    let mut settings = config(None);
    settings.socket_check_every = Duration::from_mins(10);
    World::with_config(pool, settings, None).await
}

/// D-07, D-62.
#[sqlx::test]
async fn revoking_an_agent_closes_its_sockets_and_nobody_elses(pool: PgPool) {
    let world = told_only(pool).await;
    let owner = world.owner().await;
    let (key, other) = (world.approved_agent("scout").await, world.approved_agent("other").await);
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = Socket::connect_with_key(&world.base, &key).await;
        assert_eq!(socket.until("mcp:connected").await["workspaceId"], json!(world.workspace));
        sockets.push(socket);
    }
    let mut others = Socket::connect_with_key(&world.base, &other).await;
    others.until("mcp:connected").await;

    let receipt = owner.revoke("scout").await.receipt();

    assert_eq!(receipt["sockets"], 5, "{receipt}");
    for socket in &mut sockets {
        assert_eq!(socket.until("mcp:error").await["message"], "Authentication failed");
        socket.until_closed().await;
    }
    assert_eq!(owner.revoke("other").await.receipt()["sockets"], 1, "it was open until now");
    let mut refused = Socket::connect_with_key(&world.base, &key).await;
    refused.until("mcp:error").await;
    refused.until_closed().await;
    world.end().await;
}

#[sqlx::test]
async fn revoking_a_key_closes_what_was_opened_with_it(pool: PgPool) {
    let world = told_only(pool).await;
    let owner = world.owner().await;
    let created = owner.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED)["data"].clone();
    let mut socket = Socket::connect_with_key(&world.base, created["key"].as_str().unwrap()).await;
    socket.until("mcp:connected").await;
    let path = format!("/api-keys/{}", created["id"].as_str().unwrap());
    assert_eq!(owner.delete(&path).await.receipt()["sockets"], 1);
    socket.until_closed().await;

    let first = world.approved_agent("scout").await;
    let mut socket = Socket::connect_with_key(&world.base, &first).await;
    socket.until("mcp:connected").await;
    owner.post("/parallax-agents/scout/keys/rotate", json!({})).await.expect(StatusCode::OK);
    socket.until_closed().await;
    world.end().await;
}

/// D-10, D-63: whoever makes the change in the database.
#[sqlx::test]
async fn a_person_who_is_deactivated_or_loses_a_role_is_shown_out(pool: PgPool) {
    let world = told_only(pool.clone()).await;
    let owner = world.owner().await;
    let key = owner.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED)["data"]["key"].clone();
    let (member, user) = world.member_with_id("mel").await;
    for (namespace, statement) in [
        ("/", "UPDATE users SET role = 'admin' WHERE id = $1"),
        ("/terminal", "UPDATE users SET role = 'member' WHERE id = $1"),
        ("/mcp", "UPDATE users SET deactivated_at = now() WHERE id = $1"),
    ] {
        let mut socket = Socket::connect(&world.base, namespace, &member.cookie()).await;
        if namespace == "/mcp" {
            socket.until("mcp:connected").await;
        }
        sqlx::query(statement).bind(user.0).execute(&pool).await.unwrap();
        socket.until_closed().await;
    }
    member.get("/parallax-agents").await.expect(StatusCode::UNAUTHORIZED);

    // A person's key has the person's standing.
    let mut socket = Socket::connect_with_key(&world.base, key.as_str().unwrap()).await;
    socket.until("mcp:connected").await;
    sqlx::query("UPDATE users SET deleted_at = now() WHERE role = 'owner'").execute(&pool).await.unwrap();
    socket.until_closed().await;
    world.with_key(key.as_str().unwrap()).tool("agent_profile", json!({})).await.expect(StatusCode::UNAUTHORIZED);
    world.end().await;
}

/// RT-09: signing out ends what was opened with that sign-in, and nothing else of the person's.
#[sqlx::test]
async fn signing_out_ends_the_token_and_what_was_opened_with_it(pool: PgPool) {
    let world = told_only(pool).await;
    let (here, elsewhere) = (world.owner().await, world.owner().await);
    let key = here.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED)["data"]["key"].clone();
    let mut sockets = Vec::new();
    for namespace in ["/", "/terminal"] {
        sockets.push(Socket::connect(&world.base, namespace, &here.cookie()).await);
    }
    let mut other = Socket::connect(&world.base, "/mcp", &elsewhere.cookie()).await;
    other.until("mcp:connected").await;
    let mut keyed = Socket::connect_with_key(&world.base, key.as_str().unwrap()).await;
    keyed.until("mcp:connected").await;
    here.get("/parallax-agents").await.expect(StatusCode::OK);

    here.post("/auth/logout", json!({})).await.expect(StatusCode::OK);

    for socket in &mut sockets {
        socket.until_closed().await;
    }
    let invite = json!({"name": "ci", "permissions": ["read:pages"]});
    here.post("/parallax-agents/invites", invite.clone()).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    here.get("/parallax-agents").await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    let mut refused = Socket::connect(&world.base, "/mcp", &here.cookie()).await;
    refused.until_closed().await;
    elsewhere.post("/parallax-agents/invites", invite).await.expect(StatusCode::CREATED);
    world.approved_agent("scout").await;
    for socket in [&mut other, &mut keyed] {
        socket.until("mcp:event").await;
    }
    world.end().await;
}

/// Whoever knew the old password is out, too; keys go on.
#[sqlx::test]
async fn another_password_ends_every_sign_in_of_the_person(pool: PgPool) {
    let world = told_only(pool.clone()).await;
    let (ada, owner) = (world.admin("ada").await, world.owner().await);
    let key = ada.post("/api-keys", json!({"name": "Laptop"})).await.expect(StatusCode::CREATED)["data"]["key"].clone();
    let mut socket = Socket::connect(&world.base, "/terminal", &ada.cookie()).await;
    let mut tx = world.begin().await;
    let hash = auth::hash_password("another password".to_owned()).await;
    workspaces::change_person(&mut tx, world.workspace, "ada@acme.example", Standing::Password(hash)).await.unwrap();
    tx.commit().await.unwrap();

    socket.until_closed().await;
    ada.get("/parallax-agents").await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    owner.get("/parallax-agents").await.expect(StatusCode::OK);
    world.with_key(key.as_str().unwrap()).tool("tool_categories", json!({})).await.expect(StatusCode::OK);
    // Tokens say in whole seconds when they were issued.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let login = json!({"email": "ada@acme.example", "password": "another password"});
    let answer = world.anonymous().post("/auth/login", login).await;
    let cookie = answer.headers[reqwest::header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let me = reqwest::Client::new().post(format!("{}/api/users/me", world.base)).header("cookie", cookie).send();
    assert_eq!(me.await.unwrap().status(), StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn a_change_that_nobody_heard_of_counts_once_somebody_listens_again(pool: PgPool) {
    let world = told_only(pool.clone()).await;
    let key = world.approved_agent("scout").await;
    let mut socket = Socket::connect_with_key(&world.base, &key).await;
    socket.until("mcp:connected").await;
    // The change is made without being told, and the listener's connection breaks.
    sqlx::raw_sql(
        "ALTER TABLE parallax_agents DISABLE TRIGGER raven_agent_changed;
         UPDATE parallax_agents SET status = 'denied', denial_reason = 'x', granted_permissions = '{}';
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND datname = current_database()",
    )
    .execute(&pool)
    .await
    .unwrap();
    socket.until_closed().await;
    world.with_key(&key).tool("agent_profile", json!({})).await.expect(StatusCode::UNAUTHORIZED);
    world.end().await;
}

/// D-07: one that is let in at the very moment of the revocation is let in for no longer than that.
#[sqlx::test]
async fn a_socket_that_opens_while_its_agent_is_revoked_does_not_stay(pool: PgPool) {
    let world = told_only(pool.clone()).await;
    let owner = world.owner().await;
    for round in 0..5 {
        let id = format!("agent-{round}");
        let key = world.approved_agent(&id).await;
        // Nobody has used the key yet, so whoever comes in has to wait for the row that the revocation holds.
        let opening = (0..10).map(|number| {
            let (base, key) = (world.base.clone(), key.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(number)).await;
                Socket::connect_with_key(&base, &key).await
            })
        });
        let opening: Vec<_> = opening.collect();
        owner.revoke(&id).await.expect(StatusCode::OK);
        for socket in opening {
            socket.await.unwrap().until_closed().await;
        }
    }
    world.end().await;
}

#[sqlx::test]
async fn connections_that_come_and_go_leave_nothing_behind(pool: PgPool) {
    let world = told_only(pool).await;
    let key = world.approved_agent("scout").await;
    for _ in 0..50 {
        let mut socket = Socket::connect_with_key(&world.base, &key).await;
        socket.until("mcp:connected").await;
    }
    world.until("all have gone", async || (world.open_connections(Kind::Socket) == 0).then_some(())).await;
    world.end().await;
}
