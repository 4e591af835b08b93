//! REST calls to a runtime, dialect D1 (runtime contract §4.1).

use std::{net::IpAddr, time::Duration};

use reqwest::{Method, Url, header, redirect::Policy};
use runtime_protocol::{AgentHandle, AgentList, ErrorBody, Health, SpawnReply, SpawnRequest};
use serde::de::DeserializeOwned;
use tokio_tungstenite::tungstenite::{self, ClientRequestBuilder, http::Uri};

use super::CONNECT_TIMEOUT;
use crate::model::ids::WorkspaceId;

/// A spawn may start a container and a program that loads for long.
const SPAWN_TIMEOUT: Duration = Duration::from_mins(1);
/// Everything else answers at once, but for a stop, which waits up to five seconds for the process.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a runtime did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No answer; whether the call was carried out is not known.
    #[error("the runtime cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the runtime refused: {message}")]
    Refused { status: u16, code: Option<String>, message: String },
    #[error("the runtime answered with something else than its contract says")]
    BadReply(#[source] reqwest::Error),
}

impl RuntimeError {
    /// Whether the call was certainly not carried out.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Unreachable(error) => error.is_connect(),
            Self::BadReply(_) => false,
        }
    }

    /// Whether the runtime says that it does not know the agent.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refused { status: 404, .. } => true,
            // The original answers 500 with this text for an agent that it does not know.
            Self::Refused { status: 500, message, .. } => message.to_ascii_lowercase().contains("not found"),
            Self::Refused { .. } | Self::Unreachable(_) | Self::BadReply(_) => false,
        }
    }
}

/// An address that cannot be a runtime's.
#[derive(Debug, thiserror::Error)]
#[error("must be an absolute http or https URL such as http://127.0.0.1:8081")]
pub struct BadEndpoint;

/// Scheme, host and port of an http or https URL, and its host where that is an address. `None` for
/// anything else, and for a URL that carries a user name.
#[must_use]
pub fn origin_of(url: &str) -> Option<(String, Option<IpAddr>)> {
    let url: Url = url.trim().parse().ok()?;
    let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    let address = url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok();
    plain.then(|| (url.origin().ascii_serialization(), address))
}

/// Begins a client; the TLS provider that every client needs is installed with the first.
pub(super) fn builder() -> reqwest::ClientBuilder {
    if rustls::crypto::CryptoProvider::get_default().is_none() && rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("another thread installed the TLS provider first");
    }
    reqwest::Client::builder()
}

/// Talks to one runtime.
#[derive(Clone)]
pub struct RuntimeClient {
    http: reqwest::Client,
    endpoint: Url,
    token: Option<String>,
}

impl RuntimeClient {
    /// `endpoint` is the base URL and may have a path prefix; `token` is sent as a bearer token.
    pub fn new(endpoint: &str, token: Option<String>) -> Result<Self, BadEndpoint> {
        let mut endpoint: Url = endpoint.parse().map_err(|_| BadEndpoint)?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host().is_none() {
            return Err(BadEndpoint);
        }
        endpoint.set_query(None);
        endpoint.set_fragment(None);
        let http = builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::none())
            .tcp_nodelay(true)
            .build()
            .expect("a client without a proxy file can always be built");
        Ok(Self { http, endpoint, token })
    }

    /// The base URL, without a slash at its end: how rows name this runtime.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// Asks for agents. `request_id` makes a repeated call harmless.
    pub async fn spawn(&self, request: &SpawnRequest, request_id: &str) -> Result<SpawnReply, RuntimeError> {
        let call = self
            .http
            .post(self.url(&["api", "spawn"]))
            .timeout(SPAWN_TIMEOUT)
            .header("x-workspace-id", &request.workspace_id)
            .header("x-request-id", request_id)
            .json(request);
        self.send(call).await
    }

    /// Ends an agent's process and waits for it. An agent that is gone already counts as ended.
    pub async fn stop(&self, workspace: WorkspaceId, agent: &str) -> Result<(), RuntimeError> {
        let call = self.call(Method::DELETE, &["api", "agents", agent]).header("x-workspace-id", workspace.to_string());
        match self.answer(call).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What the runtime says of one agent; `None` when it does not know it.
    pub async fn agent(&self, workspace: WorkspaceId, agent: &str) -> Result<Option<AgentHandle>, RuntimeError> {
        let call = self.call(Method::GET, &["api", "agents", agent]).header("x-workspace-id", workspace.to_string());
        match self.send(call).await {
            Ok(handle) => Ok(Some(handle)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every agent that the runtime knows, stopped ones included.
    pub async fn agents(&self) -> Result<Vec<AgentHandle>, RuntimeError> {
        Ok(self.send::<AgentList>(self.call(Method::GET, &["api", "agents"])).await?.agents)
    }

    pub async fn health(&self) -> Result<Health, RuntimeError> {
        self.send(self.call(Method::GET, &["api", "health"])).await
    }

    /// The upgrade request for a WebSocket of this runtime.
    pub(super) fn websocket(
        &self,
        segments: &[&str],
        query: &str,
        protocol: Option<&str>,
    ) -> Result<ClientRequestBuilder, tungstenite::Error> {
        let mut url = self.url(segments);
        url.set_query((!query.is_empty()).then_some(query));
        let address =
            if url.scheme() == "https" { url.as_str().replacen("https", "wss", 1) } else { url.as_str().replacen("http", "ws", 1) };
        let uri: Uri = address.parse().map_err(|_| tungstenite::error::UrlError::UnsupportedUrlScheme)?;
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(token) = &self.token {
            request = request.with_header("authorization", format!("Bearer {token}"));
        }
        if let Some(protocol) = protocol {
            request = request.with_sub_protocol(protocol);
        }
        Ok(request)
    }

    /// The one place where a URL is built: the prefix is kept, every segment is percent-encoded.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(segments);
        url
    }

    fn call(&self, method: Method, segments: &[&str]) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(segments)).timeout(CALL_TIMEOUT)
    }

    async fn send<T: DeserializeOwned>(&self, call: reqwest::RequestBuilder) -> Result<T, RuntimeError> {
        self.answer(call).await?.json().await.map_err(RuntimeError::BadReply)
    }

    async fn answer(&self, mut call: reqwest::RequestBuilder) -> Result<reqwest::Response, RuntimeError> {
        if let Some(token) = &self.token {
            call = call.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = call.send().await.map_err(RuntimeError::Unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.json::<ErrorBody>().await.unwrap_or_else(|_| ErrorBody { error: format!("status {status}"), code: None });
        Err(RuntimeError::Refused { status: status.as_u16(), code: body.code, message: body.error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_the_prefix_and_encode_ids() {
        let client = RuntimeClient::new("http://host:1/base/", None).unwrap();
        assert_eq!(client.endpoint(), "http://host:1/base");
        assert_eq!(client.url(&["api", "agents", "a/../b c"]).as_str(), "http://host:1/base/api/agents/a%2F..%2Fb%20c");
    }

    #[test]
    fn only_web_addresses_are_endpoints() {
        for bad in ["", "host:1", "ftp://x", "http://"] {
            assert!(RuntimeClient::new(bad, None).is_err(), "{bad}");
        }
    }
}
