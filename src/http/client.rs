//! A client that was dropped in: the files of a folder, and its page for every other address (REST contract §8.1).

use std::path::{Path, PathBuf};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    response::Response,
};
use base64::Engine as _;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::{fs, io::AsyncReadExt as _};
use tokio_util::io::ReaderStream;

use super::{console, files};

/// What the page has where its settings are to be.
const PLACE_OF_SETTINGS: &str = "<!--window-config-->";
const PAGE: &str = "index.html";
/// Bytes of the page at the most; a built one has about a thousand.
const PAGE_BYTES_MAX: u64 = 1024 * 1024;

/// What a client finds in `window.CONFIG`. For what is null it takes its own origin or its own default.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct ClientSettings {
    pub env: &'static str,
    pub app_url: Option<String>,
    pub cloud: bool,
    pub file_upload_size_limit: Option<String>,
    pub drawio_url: Option<String>,
    pub subdomain_host: Option<String>,
    pub collab_url: Option<String>,
}

/// A folder with a built client.
pub struct Client {
    /// Without links in it, so that what lies in it can be told by its beginning.
    folder: PathBuf,
    /// The element that sets `window.CONFIG`.
    script: String,
    policy: HeaderValue,
}

impl Client {
    /// The client in `folder`.
    ///
    /// Errors: the folder cannot be opened.
    pub fn open(folder: &Path, settings: &ClientSettings) -> std::io::Result<Self> {
        let code = format!("window.CONFIG={};", script_safe(settings));
        Ok(Self { folder: folder.canonicalize()?, script: format!("<script>{code}</script>"), policy: policy(&code, settings) })
    }

    /// Serves what no route does: a file, the page, or 404 under `/api`.
    pub(super) async fn serve(&self, method: Method, uri: Uri, asked: HeaderMap) -> Response {
        let path = uri.path().trim_start_matches('/');
        if !console::is_for_pages(&method, path) {
            return console::nothing_here();
        }
        let Some(path) = plain_path(path) else { return console::nothing_here() };
        match self.find(&path).await {
            Some(file) if path != PAGE => stream(file, &path, &asked).await.unwrap_or_else(unreadable),
            None if is_part_of_the_build(&path) => console::no_such_file(),
            Some(_) | None => self.page(&asked).await.unwrap_or_else(unreadable),
        }
    }

    /// The file at the path, if there is one and it does not lie elsewhere by way of a link.
    async fn find(&self, path: &str) -> Option<PathBuf> {
        let file = fs::canonicalize(self.folder.join(path)).await.ok()?;
        let is_file = fs::metadata(&file).await.is_ok_and(|found| found.is_file());
        (is_file && file.starts_with(&self.folder)).then_some(file)
    }

    /// The page with its settings. It is read each time, so that a client which is built anew is served anew.
    async fn page(&self, asked: &HeaderMap) -> std::io::Result<Response> {
        let file = self.find(PAGE).await.ok_or(std::io::ErrorKind::NotFound)?;
        let mut text = String::new();
        if fs::File::open(file).await?.take(PAGE_BYTES_MAX + 1).read_to_string(&mut text).await? as u64 > PAGE_BYTES_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let text = text.replacen(PLACE_OF_SETTINGS, &self.script, 1);
        let version = files::version_of(text.as_bytes());
        let mut response = files::Description::new(PAGE, &version).answer(asked, || Body::from(text));
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        Ok(response)
    }
}

/// The path of a request as the path of a file; `None` for one that no link of ours makes: with a way
/// up, a hidden name, or characters that mean something to a file system.
fn plain_path(path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let is_plain = |name: &str| !name.starts_with('.') && !name.contains(['\0', '\\', ':']);
    path.split('/').all(is_plain).then(|| path.trim_matches('/').to_owned())
}

/// Whether the path is one of a file that the client asks for by itself: the page would only confuse it.
fn is_part_of_the_build(path: &str) -> bool {
    ["assets/", "locales/"].iter().any(|folder| path.starts_with(folder))
}

/// A file in pieces as the connection takes them. Its version is its size and the time of its last change.
async fn stream(file: PathBuf, path: &str, asked: &HeaderMap) -> std::io::Result<Response> {
    let opened = fs::File::open(file).await?;
    let found = opened.metadata().await?;
    let changed = found.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let version = format!("{:x}-{:x}", found.len(), changed.as_nanos());
    let bytes = opened.take(found.len());
    let mut response = files::Description::new(path, &version).answer(asked, || Body::from_stream(ReaderStream::new(bytes)));
    if response.status().is_success() {
        response.headers_mut().insert(header::CONTENT_LENGTH, found.len().into());
    }
    Ok(response)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of what takes an error's place")]
fn unreadable(error: std::io::Error) -> Response {
    tracing::error!(error = &error as &dyn std::error::Error, "a file of CLIENT_DIR cannot be read");
    console::no_such_file()
}

/// The settings as JSON that nothing in a page mistakes for something else: neither `</script>` nor `<!--`
/// can be in it, nor the two line ends that JSON allows in a text and older JavaScript does not.
fn script_safe(settings: &ClientSettings) -> String {
    let json = serde_json::to_string(settings).expect("a struct of texts is JSON");
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// What the client's page may load. As the console: inline styles (style libraries write them at run
/// time), sockets, pictures by https and as data. Beside that its own settings, by their hash; fonts as
/// data, since Vite writes files below 4 KiB into the style sheet, small fonts of formulas among them;
/// and frames of the drawing service, if one is set. What is not named was not needed.
fn policy(code: &str, settings: &ClientSettings) -> HeaderValue {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(code));
    let frames = settings.drawio_url.as_deref().and_then(origin).unwrap_or_default();
    let text = format!(
        "default-src 'self'; script-src 'self' 'sha256-{hash}'; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; \
         img-src 'self' data: https:; font-src 'self' data:; frame-src 'self' {frames}; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    );
    HeaderValue::try_from(text).expect("a hash and an origin are printable ASCII")
}

/// Scheme, host and port of an address, as browsers write them.
fn origin(url: &str) -> Option<String> {
    Some(reqwest::Url::parse(url).ok()?.origin().ascii_serialization())
}
