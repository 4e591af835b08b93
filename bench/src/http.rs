//! One connection that is kept alive, HTTP/1.1.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A request that is made once and sent often.
#[derive(Clone)]
pub(crate) struct Request(hyper::Request<Full<Bytes>>);

impl Request {
    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path, Bytes::new())
    }

    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self::new(Method::POST, path, body.to_string().into()).with(CONTENT_TYPE, "application/json")
    }

    pub(crate) fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path, Bytes::new())
    }

    fn new(method: Method, path: &str, body: Bytes) -> Self {
        let mut request = hyper::Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("the paths here are valid");
        Self(request).with(HOST, "127.0.0.1")
    }

    pub(crate) fn bearer(self, credential: &str) -> Self {
        self.with(AUTHORIZATION, &format!("Bearer {credential}"))
    }

    /// As a client of the streamable transport, in this version of MCP.
    pub(crate) fn mcp(self, version: &str) -> Self {
        let accepting = self.with(ACCEPT, "application/json, text/event-stream");
        accepting.with(HeaderName::from_static("mcp-protocol-version"), version)
    }

    /// As a runtime that knows the webhook secret.
    pub(crate) fn webhook(self, secret: &str) -> Self {
        self.with(HeaderName::from_static("x-webhook-secret"), secret)
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("tokens and keys are visible ASCII");
        self.0.headers_mut().insert(name, value);
        self
    }
}

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| String::from_utf8_lossy(&self.body).into())
    }
}

/// See the module.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Connects; the task that moves the bytes ends with this value or with the server.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("nothing answers on {address}"))?;
        stream.set_nodelay(true).context("TCP_NODELAY could not be set")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("no HTTP connection came about")?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Answer> {
        self.0.ready().await.context("the server closed a connection that should be kept")?;
        let response = self.0.send_request(request.0.clone()).await.context("a request got no answer")?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("an answer broke off")?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}
