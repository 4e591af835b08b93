//! Accepts connections and serves HTTP/1.1 on them, within bounds that the peer cannot move.
//!
//! Nothing here knows what is served. A connection that was upgraded still counts, and ends with
//! whoever took it over.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections at once, however few agents there may be, and for each agent where there may be many.
const CONNECTIONS_MIN: usize = 512;
const CONNECTIONS_PER_AGENT: usize = 4;
/// Files that the runtime has open for each agent at the most, for a moment at its start, and for itself.
const FILES_PER_AGENT: usize = 4;
const OWN_FILES: usize = 64;

/// What one listener grants.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Connections at once, upgraded ones too.
    pub(crate) connections: usize,
    /// How long a request's head may take to arrive; an idle connection ends after the same time.
    pub(crate) head_within: Duration,
}

impl Default for Bounds {
    /// Half of the 1,024 files that a process commonly may have open; and twenty seconds, in which
    /// a head arrives over any line.
    fn default() -> Self {
        Self { connections: CONNECTIONS_MIN, head_within: Duration::from_secs(20) }
    }
}

impl Bounds {
    /// Room for a few viewers of each agent, as far as this process may have files open beside those
    /// that agents need.
    pub(crate) fn for_agents(agents: usize, open_files: Option<usize>) -> Self {
        let wanted = CONNECTIONS_MIN.max(agents.saturating_mul(CONNECTIONS_PER_AGENT));
        let own = agents.saturating_mul(FILES_PER_AGENT).saturating_add(OWN_FILES);
        let free = open_files.map_or(wanted, |files| files.saturating_sub(own));
        let connections = wanted.min(free).max(CONNECTIONS_MIN / 4);
        if connections < wanted {
            tracing::warn!(connections, wanted, "few files may be open at once, so few connections are");
        }
        Self { connections, ..Self::default() }
    }
}

/// Bytes of a request's head: a long token and a few headers need a tenth of it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a peer may leave what is sent to it unread before its connection ends.
const UNREAD_MAX: Duration = Duration::from_mins(1);
/// Pause after a failed accept: it fails where the process is out of files, and goes on failing.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// What a connection above the limit is told.
const FULL: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 65\r\n",
    "Retry-After: 5\r\nConnection: close\r\n\r\n",
    r#"{"error":"too many connections are open","code":"RESOURCE_LIMIT"}"#,
);

/// Serves `router` on every connection of `listener` until `closing`; then takes no new ones and
/// lets those there are finish the request they are at. Each runs on `tasks`.
pub(crate) async fn serve(listener: TcpListener, router: Router, bounds: Bounds, tasks: TaskTracker, closing: CancellationToken) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(bounds.head_within).max_buf_size(HEAD_BYTES_MAX).half_close(false);
    while let Some(accepted) = closing.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let serving =
                        server.serve_connection(TokioIo::new(Connection::new(stream, place)), TowerToHyperService::new(router.clone()));
                    tasks.spawn(serve_one(serving.with_upgrades(), peer, closing.clone()));
                }
                Err(_) => turn_away(&stream, peer),
            },
            // The peer gave up while it waited; the next one is not concerned.
            Err(error) if is_of_one_connection(&error) => tracing::debug!(%error, "connection was not accepted"),
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

type Serving = UpgradeableConnection<TokioIo<Connection>, TowerToHyperService<Router>>;

async fn serve_one(serving: Serving, peer: SocketAddr, closing: CancellationToken) {
    let mut serving = std::pin::pin!(serving);
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

fn turn_away(stream: &TcpStream, peer: SocketAddr) {
    // The kernel's buffer of a new connection has room for it; a peer that does not get it sees
    // its connection end all the same.
    let told = stream.try_write(FULL.as_bytes());
    tracing::warn!(%peer, told = told.is_ok(), "connection turned away: too many are open");
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// A connection with its place among all, whose writes fail once the peer reads nothing for long.
struct Connection {
    stream: TcpStream,
    /// Runs while a write waits for the peer.
    unread: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        // Keystrokes and their echoes are small packets that must not wait to be joined.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection keeps its delay");
        }
        Self { stream, unread: None, _place: place }
    }

    /// Passes on what a write came to, and starts or ends the time that the peer has for it.
    fn written<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.unread = None;
            return outcome;
        }
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(UNREAD_MAX)));
        ready!(unread.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "peer reads nothing")))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, outcome)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    #[test]
    fn connections_grow_with_the_agents_as_far_as_files_go() {
        let connections = |agents, files| Bounds::for_agents(agents, files).connections;
        assert_eq!((connections(10, Some(1024)), connections(1000, Some(1 << 20)), connections(1000, None)), (512, 4000, 4000));
        assert_eq!((connections(100, Some(1024)), connections(1000, Some(1024))), (512, 128));
    }

    const SOON: Duration = Duration::from_secs(30);

    async fn listening(bounds: Bounds) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let router = Router::new().fallback(|| async { "hello" });
        tasks.spawn(serve(listener, router, bounds, tasks.clone(), closing.clone()));
        (address, closing)
    }

    /// Sends `bytes` and reads until the other side closes.
    async fn all_that_comes(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection stayed open");
        assert!(read.is_ok() || read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_head_that_never_ends_ends_its_connection() {
        let (address, _closing) = listening(Bounds { head_within: Duration::from_millis(50), ..Bounds::default() }).await;
        all_that_comes(address, b"GET / HTTP/1.1\r\nHost: a\r\n").await;
        // A connection that is left idle after an answer ends too.
        let answer = all_that_comes(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, _closing) = listening(Bounds::default()).await;
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(4 * HEAD_BYTES_MAX));
        let answer = all_that_comes(address, head.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_above_the_limit_is_told_so_and_a_place_that_got_free_is_taken() {
        let (address, closing) = listening(Bounds { connections: 1, ..Bounds::default() }).await;
        let first = TcpStream::connect(address).await.unwrap();
        let answer = all_that_comes(address, b"").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503") && head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["code"], "RESOURCE_LIMIT");
        drop(first);
        let again = async {
            while all_that_comes(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.starts_with("HTTP/1.1 503") {}
        };
        timeout(SOON, again).await.unwrap();
        closing.cancel();
    }
}
