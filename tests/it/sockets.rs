//! Real clients: socket.io-client as the web UI uses it, and a browser on the console.

use sqlx::PgPool;

use crate::support::{World, config, node, serve, terminal::Socket};
use raven_agents::model::clock::Clock;

#[sqlx::test]
async fn terminals_are_exact_and_guarded_for_the_real_client(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let id = owner.spawn_shell().await;
    let session = owner.until_session_is(&id, "active").await;
    node::run("terminal.mjs", &[&world.base, &owner.cookie(), session["id"].as_str().unwrap()]).await;
    world.end().await;
}

#[sqlx::test]
async fn each_event_of_an_agents_life_reaches_a_socket_once(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let cookie = world.owner().await.cookie();
    node::run("events.mjs", &[&world.base, &cookie]).await;
    world.end().await;
}

#[sqlx::test]
async fn a_person_who_may_no_longer_come_in_is_out_of_every_socket(pool: PgPool) {
    let world = World::new(pool).await;
    let cookie = world.admin("ada").await.cookie();
    let mut events = Socket::connect(&world.base, "/", &cookie).await;
    let mut terminal = Socket::connect(&world.base, "/terminal", &cookie).await;
    sqlx::query("UPDATE users SET deactivated_at = now() WHERE name = 'ada'").execute(&world.pool).await.unwrap();
    assert!(events.until_disconnected().await.iter().any(|event| event.contains("Unauthorized")));
    assert!(terminal.until_disconnected().await.iter().any(|event| event.contains("UNAUTHORIZED")));
    world.end().await;
}

#[sqlx::test]
async fn a_page_of_a_listed_origin_may_open_sockets_with_the_cookie(pool: PgPool) {
    let mut config = config(None);
    config.cors_origins = vec!["http://localhost:5173".to_owned()];
    let world = World::with_config(pool, config, None).await;
    let owner = world.owner().await;
    let mut listed = Socket::connect_from(&world.base, "/", &owner.cookie(), "http://localhost:5173").await;
    let mut foreign = Socket::connect_from(&world.base, "/", &owner.cookie(), "http://localhost:5174").await;
    assert!(foreign.until_disconnected().await.iter().any(|event| event.contains("Unauthorized")));
    world.pending_agent("scout").await;
    listed.until("agent:access_requested").await;
    world.end().await;
}

#[sqlx::test]
async fn a_person_whose_role_changed_has_to_come_in_again(pool: PgPool) {
    let world = World::new(pool).await;
    let mut terminal = Socket::connect(&world.base, "/terminal", &world.admin("ada").await.cookie()).await;
    sqlx::query("UPDATE users SET role = 'member' WHERE name = 'ada'").execute(&world.pool).await.unwrap();
    terminal.until_disconnected().await;
    world.end().await;
}

#[sqlx::test]
async fn a_person_does_it_all_in_the_browser(pool: PgPool) {
    let runtime = crate::support::LocalRuntime::start().await;
    let running = serve(&pool, &config(Some(runtime.endpoint())), Clock::default()).await;
    node::run("browser.mjs", &[&format!("http://{}", running.address())]).await;
    running.stop().await;
    runtime.stop().await;
}
