//! First visit, sign-in and sign-out.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use raven_agents::model::clock::Clock;
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{PASSWORD, World, config, serve};

const SETUP: &str = r#"{"workspaceName":"Acme","name":"Ada","email":"Ada@Example.com","password":"correct horse battery"}"#;

#[sqlx::test]
async fn the_first_visit_sets_up_a_workspace_once_and_signs_its_owner_in(pool: PgPool) {
    let running = serve(&pool, &config(None), Clock::default()).await;
    let api = format!("http://{}/api", running.address());
    let http = Client::new();
    let post =
        |path: &str, body: &'static str| http.post(format!("{api}{path}")).header("content-type", "application/json").body(body).send();

    let before = post("/workspace/public", "").await.unwrap();
    assert_eq!(before.status(), StatusCode::NOT_FOUND);
    assert_eq!(before.json::<Value>().await.unwrap()["message"], "Workspace not found");

    let (first, second) = tokio::join!(post("/auth/setup", SETUP), post("/auth/setup", SETUP));
    let mut answers = [first.unwrap(), second.unwrap()];
    answers.sort_by_key(reqwest::Response::status);
    assert_eq!(answers.each_ref().map(reqwest::Response::status), [StatusCode::OK, StatusCode::FORBIDDEN]);
    let workspaces: i64 = sqlx::query_scalar("SELECT count(*) FROM workspaces").fetch_one(&pool).await.unwrap();
    assert_eq!(workspaces, 1);

    let cookie = answers[0].headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    let (token, attributes) = cookie.strip_prefix("authToken=").unwrap().split_once("; ").unwrap();
    let names: Vec<&str> = attributes.split("; ").map(|attribute| attribute.split('=').next().unwrap()).collect();
    assert_eq!(names, ["HttpOnly", "Path", "Expires"], "over http the cookie is not Secure: {attributes}");

    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    assert_eq!(claims["type"], "access");
    assert_eq!(claims["iss"], "Raven Docs");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 30 * 24 * 3600);

    let me = http.post(format!("{api}/users/me")).header("cookie", format!("authToken={token}")).send().await.unwrap();
    let me: Value = me.json().await.unwrap();
    assert_eq!(me["data"]["user"]["role"], "owner");
    assert_eq!(me["data"]["user"]["email"], "ada@example.com");
    assert_eq!(me["data"]["user"]["id"], claims["sub"]);
    assert_eq!(me["data"]["workspace"]["id"], claims["workspaceId"]);
    running.stop().await;
}

#[sqlx::test]
async fn signing_in_takes_the_right_password_in_any_case_of_the_address(pool: PgPool) {
    let world = World::new(pool).await;
    let login = |email: &str, password: &str| {
        let body = json!({"email": email, "password": password});
        let anonymous = world.anonymous();
        async move { anonymous.post("/auth/login", body).await }
    };
    let good = login("Owner@ACME.example", PASSWORD).await;
    assert!(good.headers[header::SET_COOKIE].to_str().unwrap().starts_with("authToken=ey"));
    assert_eq!(good.expect(StatusCode::OK), json!({"success": true, "status": 200}));

    let wrong = login("owner@acme.example", "wrong password").await.expect_problem(StatusCode::UNAUTHORIZED, "LOGIN_REFUSED");
    let unknown = login("nobody@acme.example", PASSWORD).await.expect_problem(StatusCode::UNAUTHORIZED, "LOGIN_REFUSED");
    assert_eq!(wrong["message"], unknown["message"]);

    sqlx::query("UPDATE users SET deactivated_at = now()").execute(&world.pool).await.unwrap();
    login("owner@acme.example", PASSWORD).await.expect_problem(StatusCode::UNAUTHORIZED, "LOGIN_REFUSED");
    world.end().await;
}

#[sqlx::test]
async fn an_agents_account_never_signs_in(pool: PgPool) {
    let world = World::new(pool).await;
    world.approved_agent("scout").await;
    let email: String = sqlx::query_scalar("SELECT email FROM users WHERE agent_id = 'scout'").fetch_one(&world.pool).await.unwrap();
    sqlx::query("UPDATE users SET password = (SELECT password FROM users WHERE role = 'owner') WHERE agent_id = 'scout'")
        .execute(&world.pool)
        .await
        .unwrap();
    let refused = world.anonymous().post("/auth/login", json!({"email": email, "password": PASSWORD})).await;
    refused.expect_problem(StatusCode::UNAUTHORIZED, "LOGIN_REFUSED");
    world.end().await;
}

#[sqlx::test]
async fn a_deactivated_persons_token_is_worth_nothing(pool: PgPool) {
    let world = World::new(pool).await;
    let ada = world.admin("ada").await;
    ada.get("/parallax-agents").await.expect(StatusCode::OK);
    sqlx::query("UPDATE users SET deactivated_at = now() WHERE name = 'ada'").execute(&world.pool).await.unwrap();
    ada.get("/parallax-agents").await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    world.end().await;
}

#[sqlx::test]
async fn a_page_of_another_site_cannot_use_the_cookie(pool: PgPool) {
    let world = World::new(pool).await;
    let cookie = world.owner().await.cookie();
    let post = |origin: String| {
        let request = reqwest::Client::new().post(format!("{}/api/auth/logout", world.base)).header("cookie", cookie.clone());
        request.header("origin", origin).send()
    };
    assert_eq!(post("https://evil.example".to_owned()).await.unwrap().status(), StatusCode::FORBIDDEN);
    let own = post(world.base.clone()).await.unwrap();
    assert_eq!(own.status(), StatusCode::OK);
    let cleared = own.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(cleared.starts_with("authToken=;") && cleared.contains("1970"), "{cleared}");
    world.end().await;
}

#[sqlx::test]
async fn bad_input_names_the_field_and_changes_nothing(pool: PgPool) {
    let running = serve(&pool, &config(None), Clock::default()).await;
    let http = Client::new();
    let bad = [
        (r#"{"workspaceName":"A","name":"","email":"x","password":"short"}"#, vec!["email", "name", "password", "workspaceName"]),
        (r#"{"workspaceName":7}"#, vec!["workspaceName"]),
        (r#"{"workspaceName":"Acme\u0000","name":"Ada","email":"a@example.com","password":"long enough"}"#, vec!["body"]),
        ("[", vec!["body"]),
    ];
    for (body, fields) in bad {
        let answer = http.post(format!("http://{}/api/auth/setup", running.address())).body(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
        let problem: Value = answer.json().await.unwrap();
        let named: Vec<&str> = problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{problem}");
        assert!(problem["message"].is_array() && !problem.to_string().contains("short"), "{problem}");
    }
    let huge = format!(r#"{{"workspaceName":"{}"}}"#, "x".repeat(70_000));
    let answer = http.post(format!("http://{}/api/auth/setup", running.address())).body(huge).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let workspaces: i64 = sqlx::query_scalar("SELECT count(*) FROM workspaces").fetch_one(&pool).await.unwrap();
    assert_eq!(workspaces, 0);
    running.stop().await;
}
