//! A client that was dropped in with `CLIENT_DIR`.

use std::fs;

use raven_agents::config::Config;
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{self, World, node, program::Folder};

/// What is in the folder's page beside its settings.
const PAGE: &str = r#"<!doctype html>
<title>Client</title>
<link rel="icon" href="data:,">
<style>body { margin: 7px }</style>
<body>
<!--window-config-->
<script>window.SMUGGLED = true;</script>
<script type="module" src="/assets/index-Ab12_xyZ.js"></script>
"#;

/// What the page loads: it uses what a client of the usual kind does at run time.
const SCRIPT: &str = r"
const style = document.createElement('style');
style.textContent = 'body { padding: 11px }';
document.head.append(style);
const picture = new Image();
picture.onload = () => document.body.setAttribute('data-picture', 'shown');
picture.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==';
document.body.append(picture);
document.body.setAttribute('data-config', JSON.stringify(window.CONFIG));
";

/// A built client in a folder, and beside the folder what nobody may read.
fn built_client() -> Folder {
    let folder = Folder::new();
    let client = folder.path().join("client");
    for below in ["assets", "locales/en-US", ".git"] {
        fs::create_dir_all(client.join(below)).unwrap();
    }
    for (path, text) in [
        ("client/index.html", PAGE),
        ("client/assets/index-Ab12_xyZ.js", SCRIPT),
        ("client/assets/plain.css", "body {}"),
        ("client/locales/en-US/translation.json", "{\"hello\": \"Hello\"}"),
        ("client/with space.txt", "spaced"),
        ("client/.git/config", "hidden secret"),
        ("secret.txt", "a secret"),
    ] {
        fs::write(folder.path().join(path), text).unwrap();
    }
    std::os::unix::fs::symlink(folder.path().join("secret.txt"), client.join("leaves.txt")).unwrap();
    std::os::unix::fs::symlink(client.join("with space.txt"), client.join("stays.txt")).unwrap();
    folder
}

fn config(folder: &Folder) -> Config {
    let mut config = support::config(None);
    config.client_dir = Some(folder.path().join("client"));
    config.app_url = Some("https://agents.example.com".to_owned());
    config.client.drawio_url = Some("https://draw.example.com/</script><script>alert(1)</script>\u{2028}".to_owned());
    config.client.file_upload_size_limit = Some("50mb".to_owned());
    config
}

/// What the service answers to exactly these bytes of a path; a client would tidy them up.
async fn raw(world: &World, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(world.base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer[9..12].parse().unwrap(), answer)
}

async fn get(world: &World, path: &str) -> reqwest::Response {
    reqwest::get(format!("{}{path}", world.base)).await.unwrap()
}

#[sqlx::test]
async fn files_come_with_their_type_and_caching_and_every_other_address_is_the_page(pool: PgPool) {
    let folder = built_client();
    let world = World::with_config(pool, config(&folder), None).await;
    for (path, content_type, caching) in [
        ("/assets/index-Ab12_xyZ.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/assets/plain.css", "text/css; charset=utf-8", "no-cache"),
        ("/locales/en-US/translation.json", "application/json", "no-cache"),
        ("/with%20space.txt", "text/plain; charset=utf-8", "no-cache"),
        ("/stays.txt", "text/plain; charset=utf-8", "no-cache"),
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/index.html", "text/html; charset=utf-8", "no-cache"),
        ("/settings/agents", "text/html; charset=utf-8", "no-cache"),
        ("/apiary", "text/html; charset=utf-8", "no-cache"),
    ] {
        let answer = get(&world, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header("content-type").as_str(), header("cache-control").as_str()), (content_type, caching), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff");

        let tag = header("etag");
        let length = header("content-length");
        let text = answer.text().await.unwrap();
        assert_eq!(text.contains("window.CONFIG={"), content_type.starts_with("text/html"), "{path}: {text}");
        assert_eq!(length, text.len().to_string(), "{path}");
        let known = reqwest::Client::new().get(format!("{}{path}", world.base)).header("if-none-match", &tag).send().await.unwrap();
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(known.headers()["etag"].to_str().unwrap(), tag);
        let head = raw(&world, "HEAD", path).await;
        assert!(head.0 == 200 && head.1.contains(&format!("content-length: {length}")) && head.1.ends_with("\r\n\r\n"), "{}", head.1);
    }
    for path in ["/assets/gone-12345678.js", "/locales/xx/translation.json", "/api/nowhere", "/api"] {
        assert_eq!(get(&world, path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(raw(&world, "POST", "/settings/agents").await.0, 404);
    assert!(get(&world, "/api/docs").await.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'; style"));
    world.end().await;
}

#[sqlx::test]
async fn no_path_leads_out_of_the_folder_or_to_a_hidden_file(pool: PgPool) {
    let folder = built_client();
    let world = World::with_config(pool, config(&folder), None).await;
    for path in [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%2fsecret.txt",
        "/%252e%252e/secret.txt",
        "/assets/..%5c..%5csecret.txt",
        "/assets/%5c..%5c..%5csecret.txt",
        "/%2f%2e%2e/secret.txt",
        "/leaves.txt",
        "/leaves.txt/",
        "/secret.txt%00.js",
        "/%00",
        "/%ff",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/.git/config",
        "/%2egit/config",
    ] {
        let (status, text) = raw(&world, "GET", path).await;
        assert!(!text.contains("secret") || text.contains("\"path\""), "{path}: {text}");
        assert!(!text.contains("a secret") && !text.contains("root:"), "{path}: {text}");
        assert!(matches!(status, 200 | 400 | 404), "{path}: {text}");
        assert!(status != 200 || text.contains("window.CONFIG="), "{path}: {text}");
    }
    world.end().await;
}

#[sqlx::test]
async fn the_page_gets_its_settings_and_a_browser_runs_them_and_no_other_inline_script(pool: PgPool) {
    let folder = built_client();
    let world = World::with_config(pool, config(&folder), None).await;
    let page = get(&world, "/settings/agents").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("frame-src 'self' https://draw.example.com;"), "{policy}");
    let page = page.text().await.unwrap();
    let (_, rest) = page.split_once("<script>window.CONFIG=").unwrap();
    let (settings, _) = rest.split_once(";</script>").unwrap();
    assert!(!settings.contains('<') && !settings.contains('\u{2028}'), "{settings}");
    let settings: Value = serde_json::from_str(settings).unwrap();
    assert_eq!(settings["ENV"], "production");
    assert_eq!(settings["APP_URL"], "https://agents.example.com");
    assert_eq!(settings["CLOUD"], false);
    assert_eq!(settings["FILE_UPLOAD_SIZE_LIMIT"], "50mb");
    assert_eq!(settings["DRAWIO_URL"], "https://draw.example.com/</script><script>alert(1)</script>\u{2028}");
    assert!(settings["SUBDOMAIN_HOST"].is_null() && settings["COLLAB_URL"].is_null(), "the client has its own defaults");
    node::run("client.mjs", &[&world.base]).await;
    world.end().await;
}

#[sqlx::test]
async fn the_page_is_served_before_there_is_a_workspace_and_robots_are_sent_away_in_both_modes(pool: PgPool) {
    let folder = built_client();
    for config in [config(&folder), support::config(None)] {
        let running = support::serve(&pool, &config, raven_agents::model::clock::Clock::default()).await;
        let base = format!("http://{}", running.address());
        if config.client_dir.is_some() {
            let page = reqwest::get(format!("{base}/")).await.unwrap();
            assert_eq!(page.status(), StatusCode::OK);
        }
        let robots = reqwest::get(format!("{base}/robots.txt")).await.unwrap();
        assert_eq!(robots.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(robots.text().await.unwrap(), "User-agent: *\nDisallow: /\n");
        running.stop().await;
    }
}

#[test]
fn a_folder_without_a_page_is_a_bad_setting() {
    for folder in ["/nowhere/at/all", env!("CARGO_MANIFEST_DIR")] {
        let read = Config::read(&|name| (name == "CLIENT_DIR").then(|| folder.to_owned()));
        let text = read.err().unwrap().to_string();
        assert_eq!(text, format!("CLIENT_DIR must be a folder with a built client and its index.html, got {folder:?}"));
    }
}
