//! The WebSocket handshake and what both kinds of socket share: limits, pings and farewells.
//!
//! The handshake is checked by hand and strictly: whatever is wrong with it is answered with an
//! HTTP error, and nothing that a peer sends reaches code that could panic.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::problem::Problem;

pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;
pub(crate) type Sink = SplitSink<Socket, Message>;
pub(crate) type Stream = SplitStream<Socket>;

/// Bytes that one incoming message may have: far above any paste a person makes.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Read buffer per socket, in bytes; input is small, so the library's 128 KiB would be waste.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Shorter than the 30 s after which common proxies drop an idle connection.
const PING_EVERY: Duration = Duration::from_secs(25);
/// Two pings without any answer: the peer is gone, or has stopped reading for good.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// How long a slow peer may take for what was still to be said when the runtime closes.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);
/// How long a peer may take to answer a close frame.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);

/// A handshake found to be in order.
pub(crate) struct Handshake {
    upgrade: OnUpgrade,
    accept: HeaderValue,
    /// The subprotocol agreed on.
    pub(crate) protocol: Option<&'static str>,
}

impl Handshake {
    /// Checks the opening handshake of RFC 6455 §4.2.1; of the subprotocols that the peer
    /// offers, `known` is taken if it is among them.
    ///
    /// Errors: `Invalid`, naming the header.
    pub(crate) fn check(request: &mut Request, known: Option<&'static str>) -> Result<Self, Problem> {
        if request.method() != Method::GET || request.version() != Version::HTTP_11 {
            return Err(Problem::invalid("request", "a WebSocket is opened by GET over HTTP/1.1"));
        }
        let headers = request.headers();
        if !only(headers, &header::HOST).is_some_and(is_host) {
            return Err(Problem::invalid("Host", "must be one host, with a port at the most"));
        }
        if !has_token(headers, &header::UPGRADE, "websocket") {
            return Err(Problem::invalid("Upgrade", "must be websocket"));
        }
        if !has_token(headers, &header::CONNECTION, "upgrade") {
            return Err(Problem::invalid("Connection", "must be Upgrade"));
        }
        if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some(b"13") {
            return Err(Problem::invalid("Sec-WebSocket-Version", "must be 13"));
        }
        let key = only(headers, &header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
        let key = key.ok_or_else(|| Problem::invalid("Sec-WebSocket-Key", "must be 16 bytes in base64"))?;
        let accept = HeaderValue::from_str(&derive_accept_key(key)).map_err(|error| Problem::invalid("Sec-WebSocket-Key", error))?;
        let protocol = known.filter(|known| has_token(headers, &header::SEC_WEBSOCKET_PROTOCOL, known));
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or_else(|| Problem::invalid("Connection", "cannot be upgraded"))?;
        Ok(Self { upgrade, accept, protocol })
    }

    /// Answers the handshake and has `serve` run on the socket.
    pub(crate) fn accept<F>(self, tasks: &TaskTracker, serve: impl FnOnce(Socket) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send,
    {
        let upgrade = self.upgrade;
        tasks.spawn(async move {
            match upgrade.await {
                Ok(upgraded) => {
                    let config = WebSocketConfig::default()
                        .max_message_size(Some(MESSAGE_BYTES_MAX))
                        .max_frame_size(Some(MESSAGE_BYTES_MAX))
                        .read_buffer_size(READ_BUFFER_BYTES);
                    serve(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await).await;
                }
                Err(error) => tracing::debug!(%error, "connection was not upgraded"),
            }
        });
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        *response.body_mut() = Body::empty();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        response
    }
}

/// The header's value, if it occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Whether a `Host` header names a host, and nothing else but a port (RFC 9112 §3.2).
fn is_host(host: &[u8]) -> bool {
    let url = std::str::from_utf8(host).ok().and_then(|host| reqwest::Url::parse(&format!("http://{host}/")).ok());
    url.is_some_and(|url| url.path() == "/" && url.username().is_empty() && url.password().is_none() && url.query().is_none())
}

/// Sixteen bytes in base64 are 22 characters and two of padding.
fn is_key(key: &[u8]) -> bool {
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(alphabet))
}

/// Why and with what close code a conversation ends; `None` when the peer is gone already.
pub(crate) struct Goodbye(Option<(u16, &'static str)>);

impl Goodbye {
    pub(crate) const SHUTDOWN: Self = Self(Some((1001, "Runtime is shutting down")));
    pub(crate) const TOO_BIG: Self = Self(Some((1009, "Message is too big")));
    pub(crate) const AGENT_NOT_FOUND: Self = Self(Some((4404, "Agent not found")));
    pub(crate) const TOO_SLOW: Self = Self(Some((4408, "Reader is too slow")));
    pub(crate) const AGENT_EXITED: Self = Self(Some((4410, "Agent exited")));
    pub(crate) const GONE: Self = Self(None);

    pub(crate) fn broken(error: &Error) -> Self {
        tracing::debug!(%error, "socket broke");
        Self::GONE
    }
}

/// Waits until the runtime is closing and the last words have had their time. Until then each
/// socket tells what happened before the end and closes by itself.
pub(crate) async fn overdue(closing: &CancellationToken) {
    closing.cancelled().await;
    sleep(LAST_WORDS_WITHIN).await;
}

/// Ends a conversation before it began.
pub(crate) async fn refuse(socket: Socket, goodbye: Goodbye) {
    let (sink, stream) = socket.split();
    farewell(sink, stream, goodbye).await;
}

/// Says goodbye and waits a moment for the answer, so that what was sent before still arrives.
pub(crate) async fn farewell(mut sink: Sink, mut stream: Stream, goodbye: Goodbye) {
    let Goodbye(Some((code, reason))) = goodbye else {
        return;
    };
    let close = Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }));
    let exchange = async {
        sink.send(close).await?;
        while stream.next().await.transpose()?.is_some() {}
        Ok::<(), Error>(())
    };
    match timeout(FAREWELL_WITHIN, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::trace!(%error, "socket broke while closing"),
        Err(_) => tracing::debug!("peer did not answer the close frame"),
    }
}

pub(crate) enum Incoming {
    Text(Utf8Bytes),
    Binary(Bytes),
    Ended(Goodbye),
}

/// The next message of the peer; pings are answered underway.
pub(crate) async fn receive(stream: &mut Stream) -> Incoming {
    loop {
        let message = match timeout(SILENCE_MAX, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(Error::Capacity(_)))) => return Incoming::Ended(Goodbye::TOO_BIG),
            Ok(Some(Err(error))) => return Incoming::Ended(Goodbye::broken(&error)),
            Ok(None) | Err(_) => return Incoming::Ended(Goodbye::GONE),
        };
        match message {
            Message::Text(text) => return Incoming::Text(text),
            Message::Binary(bytes) => return Incoming::Binary(bytes),
            // Reading on lets the library answer a ping, and a close frame before the end.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
}

pub(crate) fn ping_interval() -> Interval {
    let mut pings = interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_with_or_without_a_port_is_one() {
        for good in [&b"host"[..], b"127.0.0.1:8081", b"[::1]:1", b"localhost"] {
            assert!(is_host(good));
        }
        for bad in [&b""[..], b"[", b"host:port", b"a/b", b"a@b", b"a?b", b"a b", b"\xff"] {
            assert!(!is_host(bad), "{bad:?}");
        }
    }

    #[test]
    fn only_sixteen_bytes_in_base64_make_a_key() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in [&b""[..], b"==", b"dGhlIHNhbXBsZSBub25jZQ", b"dGhlIHNhbXBsZSBub25j\xff\xff==", b"dGhlIHNhbXBsZSBub25jZQdGhl=="] {
            assert!(!is_key(bad));
        }
    }
}
