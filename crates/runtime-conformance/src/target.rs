//! One runtime as its clients reach it: requests, upgrades and bare bytes.

use std::time::Duration;

use reqwest::{Client, Method, Url, redirect::Policy};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, http::Uri};

use crate::trouble::Trouble;

/// How often a state that is awaited is asked for.
const POLL: Duration = Duration::from_millis(20);
/// Bytes of an answer to bare bytes that are read: its status line is in the first.
const RAW_ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Where a runtime is, and as whom it is called.
pub struct Target {
    base: Url,
    token: Option<String>,
    workspace: String,
    patience: Duration,
    http: Client,
}

/// What a runtime answered; a body that is no JSON is a string.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Target {
    /// `base` may have a path prefix. Errors: `Address`, or no client can be built.
    pub fn new(base: &str, token: Option<String>, patience: Duration) -> Result<Self, Trouble> {
        let url: Url = base.trim_end_matches('/').parse().map_err(|_| Trouble::Address(base.to_owned()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(Trouble::Address(base.to_owned()));
        }
        // Another part of the same process may have chosen a provider already; any will do.
        let _installed = rustls::crypto::ring::default_provider().install_default().is_ok();
        let http = Client::builder().no_proxy().redirect(Policy::none()).timeout(patience).build()?;
        let workspace = format!("conformance-{}", uuid::Uuid::new_v4().simple());
        Ok(Self { base: url, token, workspace, patience, http })
    }

    #[must_use]
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The workspace that all agents of this run belong to: nothing else of the runtime is seen.
    pub(crate) fn workspace(&self) -> &str {
        &self.workspace
    }

    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether there is anything to try: asks for the agents, with `/api` and without.
    ///
    /// Errors: one that nothing else can be seen beyond, since nobody answers or the token is refused.
    pub async fn check(&self) -> Result<(), Trouble> {
        for path in ["/api/agents", "/agents"] {
            let reply = match self.get(path).await {
                Err(Trouble::Http(error)) if error.is_connect() => return Err(Trouble::Unreachable(self.base().to_owned())),
                // What else may be wrong is for the scenarios to find.
                Err(_) => return Ok(()),
                Ok(reply) => reply,
            };
            match reply.status {
                401 => return Err(Trouble::Token),
                404 => {}
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Reply, Trouble> {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Reply, Trouble> {
        self.call(Method::POST, path, Some(body.to_string())).await
    }

    /// A body as it is, JSON or not.
    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Result<Reply, Trouble> {
        self.call(Method::POST, path, Some(body.to_owned())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Reply, Trouble> {
        self.call(Method::DELETE, path, None).await
    }

    /// As somebody without the token.
    pub(crate) async fn get_as_stranger(&self, path: &str) -> Result<Reply, Trouble> {
        reply(self.http.get(self.url(path))).await
    }

    /// The request that opens a WebSocket.
    pub(crate) fn upgrade(&self, path: &str) -> Result<ClientRequestBuilder, Trouble> {
        let request = self.upgrade_as_stranger(path)?;
        Ok(match &self.token {
            Some(token) => request.with_header("authorization", format!("Bearer {token}")),
            None => request,
        })
    }

    pub(crate) fn upgrade_as_stranger(&self, path: &str) -> Result<ClientRequestBuilder, Trouble> {
        let address = self.url(path).replacen("http", "ws", 1);
        let uri: Uri = address.parse().map_err(|_| Trouble::Address(address))?;
        Ok(ClientRequestBuilder::new(uri).with_header("x-workspace-id", self.workspace.clone()))
    }

    /// The header line that proves who calls, if there is one.
    pub(crate) fn authorization_line(&self) -> String {
        self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default()
    }

    /// Host and port, as a `Host` header has them; `None` when bytes cannot be sent bare.
    pub(crate) fn authority(&self) -> Option<String> {
        let plain = self.base.scheme() == "http";
        plain.then(|| format!("{}:{}", self.base.host_str().unwrap_or_default(), self.base.port_or_known_default().unwrap_or(80)))
    }

    /// Sends bytes over a connection of its own and reads what comes back; no bytes when the runtime just hangs up.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Result<Vec<u8>, Trouble> {
        let authority = self.authority().unwrap_or_default();
        let work = async {
            let mut stream = TcpStream::connect(&authority).await?;
            // A runtime that refuses early may close before it has read everything.
            let sent = stream.write_all(bytes).await.is_ok();
            let mut answer = Vec::new();
            let mut stream = stream.take(RAW_ANSWER_BYTES_MAX);
            while !ends_a_head(&answer) {
                match stream.read_buf(&mut answer).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            if !sent && answer.is_empty() {
                return Ok(Vec::new());
            }
            Ok::<_, std::io::Error>(answer)
        };
        let done = timeout(self.patience, work).await.map_err(|_| self.late("an answer or the end of the connection", ""))?;
        Ok(done?)
    }

    /// Asks again and again until `state` has an answer; the error of the last try tells what was seen.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut state: impl AsyncFnMut() -> Result<Result<T, String>, Trouble>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + self.patience;
        loop {
            match state().await? {
                Ok(value) => return Ok(value),
                Err(seen) if Instant::now() >= deadline => return Err(self.late(what, &seen)),
                Err(_) => sleep(POLL).await,
            }
        }
    }

    pub(crate) fn late(&self, what: &str, seen: &str) -> Trouble {
        Trouble::Late { what: what.to_owned(), patience: self.patience, seen: seen.to_owned() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    async fn call(&self, method: Method, path: &str, body: Option<String>) -> Result<Reply, Trouble> {
        let mut request = self.http.request(method, self.url(path)).header("x-workspace-id", &self.workspace);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        reply(request).await
    }
}

impl Reply {
    pub(crate) fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }

    /// Status and stable code, as the contract pairs them.
    pub(crate) fn status_and_code(&self) -> (u16, String) {
        (self.status, self.text("code").to_owned())
    }
}

fn ends_a_head(answer: &[u8]) -> bool {
    answer.windows(4).any(|window| window == b"\r\n\r\n")
}

async fn reply(request: reqwest::RequestBuilder) -> Result<Reply, Trouble> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    Ok(Reply { status, body })
}
