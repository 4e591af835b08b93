//! The console: files of the built page, and the page itself for every other address.

use axum::{
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;

use crate::wire::problem::Problem;

/// Part of the program in a release; read from disk while developing.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Files;

/// Serves what no route does: a file, the page, or 404 under `/api`.
pub(super) async fn serve(method: Method, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") || !matches!(method, Method::GET | Method::HEAD) {
        return Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this path").into_response();
    }
    if let Some(file) = Files::get(path) {
        // Names of built files change with their content.
        let caching = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
        return answer(path, file.data.into_owned(), caching);
    }
    if path.starts_with("assets/") {
        return Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such file").into_response();
    }
    match Files::get("index.html") {
        Some(page) => answer("index.html", page.data.into_owned(), "no-cache"),
        None => Problem::new(StatusCode::NOT_FOUND, "CONSOLE_NOT_BUILT", "the console is not built; run `cargo xtask up`").into_response(),
    }
}

fn answer(path: &str, data: Vec<u8>, caching: &'static str) -> Response {
    let content_type = mime_guess::from_path(path).first_or_octet_stream();
    let mut response = data.into_response();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type.as_ref()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}
