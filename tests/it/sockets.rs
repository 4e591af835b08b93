//! Real clients: socket.io-client as the web UI uses it, and a browser on the console.

use sqlx::PgPool;

use crate::support::{World, config, node, serve};
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
async fn a_person_does_it_all_in_the_browser(pool: PgPool) {
    let runtime = crate::support::LocalRuntime::start().await;
    let running = serve(&pool, &config(Some(runtime.endpoint())), Clock::default()).await;
    node::run("browser.mjs", &[&format!("http://{}", running.address())]).await;
    running.stop().await;
    runtime.stop().await;
}
