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
    assert_eq!(names, ["HttpOnly", "Path", "Expires", "SameSite"], "over http the cookie is not Secure: {attributes}");

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
    // What she would change is refused at once, and what she reads as soon as the news has come.
    let invite = json!({"name": "ci", "permissions": ["read:pages"]});
    ada.post("/parallax-agents/invites", invite).await.expect_problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    let refused = async || (ada.get("/parallax-agents").await.status == StatusCode::UNAUTHORIZED).then_some(());
    world.until("she is out", refused).await;
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
    assert!(cleared.ends_with("; SameSite=Lax"), "{cleared}");
    world.end().await;
}

/// D-63.
#[sqlx::test]
async fn a_form_cannot_use_the_cookie(pool: PgPool) {
    let world = World::new(pool).await;
    let cookie = world.owner().await.cookie();
    let post = |content_type: Option<&'static str>, body: &'static str| {
        let mut request =
            reqwest::Client::new().post(format!("{}/api/parallax-agents/invites", world.base)).header("cookie", cookie.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        request.body(body).send()
    };
    let invite = r#"{"name":"ci","permissions":["read:pages"]}"#;
    for form in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data; boundary=json")] {
        let refused = post(form, invite).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{form:?}");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "CONTENT_TYPE");
    }
    assert_eq!(post(Some("Application/JSON; charset=utf-8"), invite).await.unwrap().status(), StatusCode::CREATED);
    // The web UI sends many a POST with neither body nor type.
    let me = reqwest::Client::new().post(format!("{}/api/users/me", world.base)).header("cookie", cookie.clone()).send().await.unwrap();
    assert_eq!(me.status(), StatusCode::OK);
    world.end().await;
}

#[sqlx::test]
async fn a_bearer_token_wins_over_the_cookie(pool: PgPool) {
    let world = World::new(pool).await;
    let owner = world.owner().await;
    let ada = world.member("ada").await.with_header("cookie", &owner.cookie());
    let me = ada.post("/users/me", json!({})).await.expect(StatusCode::OK);
    assert_eq!(me["data"]["user"]["name"], "ada");
    world.end().await;
}

#[sqlx::test]
async fn pages_of_listed_origins_may_use_the_service_and_no_others(pool: PgPool) {
    let mut config = config(None);
    config.cors_origins = vec!["http://localhost:5173".to_owned()];
    let world = World::with_config(pool, config, None).await;
    let cookie = world.owner().await.cookie();
    let http = reqwest::Client::new();
    let url = format!("{}/api/parallax-agents/invites", world.base);
    let ask_first = |origin: &'static str| {
        let request = http.request(reqwest::Method::OPTIONS, &url).header("origin", origin);
        request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,idempotency-key")
            .send()
    };
    let post = |origin: &'static str| {
        let request = http.post(&url).header("origin", origin).header("cookie", cookie.clone());
        request.json(&json!({"name": "ci", "permissions": ["read:pages"]})).send()
    };
    let header = |answer: &reqwest::Response, name: &str| {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_lowercase()).unwrap_or_default()
    };

    let asked = ask_first("http://localhost:5173").await.unwrap();
    assert!(asked.status().is_success(), "{}", asked.status());
    assert_eq!(header(&asked, "access-control-allow-origin"), "http://localhost:5173");
    assert_eq!(header(&asked, "access-control-allow-credentials"), "true");
    let (methods, headers) = (header(&asked, "access-control-allow-methods"), header(&asked, "access-control-allow-headers"));
    assert!(["get", "head", "put", "patch", "post", "delete", "options"].iter().all(|method| methods.contains(method)), "{methods}");
    for name in ["content-type", "accept", "authorization", "idempotency-key", "x-request-id", "x-workspace-id"] {
        assert!(headers.contains(name), "{name} in {headers}");
    }
    let made = post("http://localhost:5173").await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(header(&made, "access-control-allow-origin"), "http://localhost:5173");
    let told = header(&made, "access-control-expose-headers");
    for name in ["x-request-id", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"] {
        assert!(told.contains(name), "{name} in {told}");
    }

    let asked = ask_first("https://evil.example").await.unwrap();
    assert_eq!(header(&asked, "access-control-allow-origin"), "");
    let refused = post("https://evil.example").await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(header(&refused, "access-control-allow-origin"), "");
    world.end().await;
}

#[sqlx::test]
async fn without_listed_origins_no_page_but_ours_is_answered(pool: PgPool) {
    let world = World::new(pool).await;
    let request = reqwest::Client::new().get(format!("{}/api/health", world.base)).header("origin", "http://localhost:5173");
    let answer = request.send().await.unwrap();
    assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("access-control-")), "{:?}", answer.headers());
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

/// D-63: another site's page signs nobody in or up, also without a cookie to begin with.
#[sqlx::test]
async fn another_sites_page_changes_nothing_even_without_a_cookie(pool: PgPool) {
    let world = World::new(pool).await;
    let body = json!({"email": "owner@acme.example", "password": PASSWORD});
    for path in ["/auth/login", "/auth/setup", "/parallax-agents/register"] {
        let foreign = world.anonymous().with_header("origin", "http://evil.example").post(path, body.clone()).await;
        foreign.expect_problem(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN");
    }
    world.anonymous().with_header("origin", &world.base).post("/auth/login", body).await.expect(StatusCode::OK);
    world.end().await;
}
