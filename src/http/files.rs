//! Files as answers: their type, how long a browser may keep them, and no bytes for a browser that has them.

use std::path::Path;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

/// For files whose names change with their content: kept for a year, in seconds.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// For everything else: kept, and asked for again each time.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// What is told of a file beside its bytes.
pub(super) struct Description {
    content_type: HeaderValue,
    caching: HeaderValue,
    /// As it stands in `ETag`, with its quotation marks.
    tag: HeaderValue,
}

impl Description {
    /// Of the file at `path` whose content `version` names: the same version has the same content.
    pub(super) fn new(path: &str, version: &str) -> Self {
        let guessed = mime_guess::from_path(path).first_or_octet_stream();
        let text = if guessed.type_() == "text" { format!("{guessed}; charset=utf-8") } else { guessed.to_string() };
        let caching = if is_named_by_content(path) { FOR_EVER } else { ASK_AGAIN };
        Self {
            content_type: HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream")),
            caching,
            tag: HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    /// Answers a request with these headers: 304 when the caller has this version, else what `body` makes.
    pub(super) fn answer(self, asked: &HeaderMap, body: impl FnOnce() -> Body) -> Response {
        let mut response = if self.is_known(asked) { StatusCode::NOT_MODIFIED.into_response() } else { body().into_response() };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag);
        headers.insert(header::CACHE_CONTROL, self.caching);
        if response.status() == StatusCode::OK {
            response.headers_mut().insert(header::CONTENT_TYPE, self.content_type);
        }
        response
    }

    /// Whether the caller says that it has this version (RFC 9110, 13.1.2: compared weakly).
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let lists = asked.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
        let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.trim_start_matches("W/").as_bytes() == self.tag.as_bytes())
    }
}

/// A version for bytes at hand.
pub(super) fn version_of(bytes: &[u8]) -> String {
    version_from(Sha256::digest(bytes).into())
}

/// A version from a hash of the content; half of it tells versions apart well enough.
pub(super) fn version_from(hash: [u8; 32]) -> String {
    let (half, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
    format!("{:032x}", u128::from_be_bytes(*half))
}

/// Whether a build tool gave the file its name: below `assets`, with eight characters of a hash before
/// the extension, one of them no small letter, so that a word does not pass for a hash.
fn is_named_by_content(path: &str) -> bool {
    let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().as_bytes();
    let Some((name, hash)) = stem.split_last_chunk::<8>() else { return false };
    let in_hash = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_hash = hash.iter().all(in_hash) && hash.iter().any(|byte| !byte.is_ascii_lowercase());
    path.split('/').any(|folder| folder == "assets") && matches!(name, [.., b'-' | b'.']) && is_hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_hash_are_kept_for_ever() {
        for path in ["assets/index-BCQVLarD.css", "assets/a.b-bzKsRUd_.js", "api/docs/assets/x-12345678.js"] {
            assert!(is_named_by_content(path), "{path}");
        }
        for path in
            ["index-BCQVLarD.css", "assets/my-location.js", "assets/index.js", "assets/12345678.js", "locales/de-DE/translation.json"]
        {
            assert!(!is_named_by_content(path), "{path}");
        }
    }

    #[test]
    fn a_known_version_is_found_in_any_list_and_another_is_not() {
        let is_known = |list: &'static str| {
            Description::new("a.js", "v1").is_known(&HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(list))]))
        };
        for list in ["\"v1\"", "W/\"v1\"", "\"v0\", \"v1\"", "*"] {
            assert!(is_known(list), "{list}");
        }
        for list in ["\"v2\"", "v1", ""] {
            assert!(!is_known(list), "{list}");
        }
    }
}
