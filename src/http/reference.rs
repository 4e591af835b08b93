//! The published OpenAPI document, and the page that shows it. Both need neither a database nor a credential.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Path,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use utoipa::openapi::{OpenApi, Ref, RefOr};

use super::{console, files};
use crate::app::App;

/// Where the document is.
pub(super) const DOCUMENT: &str = "/api/openapi.json";
/// Where the page is, and below it what the page is made of.
pub(super) const PAGE: &str = "/api/docs";

/// The routes of the document, which is written down once, and of its page.
pub(super) fn routes(document: &OpenApi) -> Router<App> {
    let text = Bytes::from(document.to_json().expect("a document of texts and lists is JSON"));
    let version = files::version_of(&text);
    let publish = async move |asked: HeaderMap| files::Description::new(DOCUMENT, &version).answer(&asked, || Body::from(text));
    Router::new().route(DOCUMENT, get(publish)).route(PAGE, get(page)).route(&format!("{PAGE}/assets/{{file}}"), get(asset))
}

/// Says of every operation what is the same for all: what an agent's id looks like in a path, and a
/// description of each response, as OpenAPI demands: the name of its status, where nothing else is said.
pub(super) fn complete(document: &mut OpenApi) {
    let operations = document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().filter_map(Option::as_mut)
    });
    for operation in operations {
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter
                && parameter.name == "agentId"
            {
                parameter.schema = Some(Ref::from_schema_name("AgentId").into());
            }
        }
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response
                && response.description.is_empty()
            {
                let status = StatusCode::from_bytes(status.as_bytes()).ok();
                status.and_then(|status| status.canonical_reason()).unwrap_or("The answer").clone_into(&mut response.description);
            }
        }
    }
}

async fn page(asked: HeaderMap) -> Response {
    console::embedded("reference/index.html", &asked).unwrap_or_else(console::not_built)
}

async fn asset(Path(file): Path<String>, asked: HeaderMap) -> Response {
    console::embedded(&format!("reference/assets/{file}"), &asked).unwrap_or_else(console::no_such_file)
}
