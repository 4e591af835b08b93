//! The console: files of the built page, and the page itself for every other address.

use axum::{
    body::Body,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use rust_embed::RustEmbed;

use super::files;
use crate::wire::problem::Problem;

/// Part of the program in a release; read from disk while developing.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Files;

/// Where nothing is a page: a program that asks there would take the page for an answer, such as one that looks for an
/// authorization server (RFC 8615).
const FOR_PROGRAMS: [&str; 2] = ["api", ".well-known"];

/// Serves what no route does: a file, the page, or 404 where only programs ask.
pub(super) async fn serve(method: Method, uri: Uri, asked: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if !is_for_pages(&method, path) {
        return nothing_here();
    }
    if let Some(file) = embedded(path, &asked) {
        return file;
    }
    if path.starts_with("assets/") { no_such_file() } else { embedded("index.html", &asked).unwrap_or_else(not_built) }
}

/// Whether a request that no route takes may be one for a page or a file.
pub(super) fn is_for_pages(method: &Method, path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    matches!(*method, Method::GET | Method::HEAD) && !FOR_PROGRAMS.contains(&first)
}

/// A file of the build.
pub(super) fn embedded(path: &str, asked: &HeaderMap) -> Option<Response> {
    let file = Files::get(path)?;
    let version = files::version_from(file.metadata.sha256_hash());
    Some(files::Description::new(path, &version).answer(asked, || Body::from(file.data.into_owned())))
}

pub(super) fn nothing_here() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this path").into_response()
}

pub(super) fn no_such_file() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such file").into_response()
}

pub(super) fn not_built() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "CONSOLE_NOT_BUILT", "the console is not built; run `cargo xtask up`").into_response()
}
