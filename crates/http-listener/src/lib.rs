//! Accepts connections and serves HTTP/1.1 on them, within bounds that the peer cannot move.
//!
//! Nothing here knows what is served. A connection that was upgraded still counts, and ends with
//! whoever took it over. Every request carries its connection's [`Outlet`], which tells how much of
//! what was sent the kernel has taken, and the peer's address as [`ConnectInfo`].

mod outlet;
mod places;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, response::Response, routing::future::RouteFuture};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1::{self, UpgradeableConnection},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use outlet::Outlet;
pub use places::{ByAddress, CountAs};
use places::{Place, Places};

/// What one listener grants.
#[derive(Clone)]
pub struct Bounds {
    /// Connections at once, upgraded ones too.
    pub connections: usize,
    /// Of these, how many one address may have; `None`: all of them.
    pub by_address: Option<ByAddress>,
    /// How long a request's head may take to arrive; an idle connection ends after the same time.
    pub head_within: Duration,
}

/// Bytes of a request's head: a long token and a few headers need a tenth of it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a peer may leave what is sent to it unread before its connection ends.
const UNREAD_MAX: Duration = Duration::from_mins(1);
/// Bytes that the kernel holds of a connection before it has sent them: enough for a line of 10 MB/s
/// between two looks at it, and little enough that what is sent next is not old when it arrives.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;
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
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, tasks: TaskTracker, closing: CancellationToken) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(bounds.head_within).max_buf_size(HEAD_BYTES_MAX).half_close(false);
    let places = Arc::new(Places::new(bounds.connections, bounds.by_address));
    while let Some(accepted) = closing.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => match places.take(peer.ip()) {
                Some(place) => {
                    let outlet = Outlet::default();
                    let connection = Connection::new(stream, outlet.clone(), place);
                    let answers = Answers { router: router.clone(), peer, outlet };
                    let serving = server.serve_connection(TokioIo::new(connection), answers).with_upgrades();
                    tasks.spawn(serve_one(serving, peer, closing.clone()));
                }
                None => turn_away(&stream, peer),
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

/// Answers the requests of one connection.
struct Answers {
    router: Router,
    peer: SocketAddr,
    outlet: Outlet,
}

impl hyper::service::Service<Request<Incoming>> for Answers {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        request.extensions_mut().insert(self.outlet.clone());
        tower::Service::call(&mut self.router.clone(), request)
    }
}

type Serving = UpgradeableConnection<TokioIo<Connection>, Answers>;

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

/// Has the kernel take no more than it can soon send: a write waits then, which its sender sees. What is on its way to
/// the peer is not bounded by this, so a long line stays fast.
#[cfg(target_os = "linux")]
fn hold_little_unsent(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

/// Other systems have no such bound that all of them know; there the buffer as a whole is bounded.
#[cfg(not(target_os = "linux"))]
fn hold_little_unsent(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_send_buffer_size(4 * UNSENT_BYTES_MAX as usize)
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// A connection with its place among all, whose writes fail once the peer reads nothing for long.
struct Connection {
    stream: TcpStream,
    outlet: Outlet,
    /// Runs while a write waits for the peer.
    unread: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl Connection {
    fn new(stream: TcpStream, outlet: Outlet, place: Place) -> Self {
        // Keystrokes and their echoes are small packets that must not wait to be joined.
        if let Err(error) = stream.set_nodelay(true).and_then(|()| hold_little_unsent(&stream)) {
            tracing::debug!(%error, "connection keeps its delay or its buffer");
        }
        Self { stream, outlet, unread: None, _place: place }
    }

    /// Passes on what a write came to, and starts or ends the time that the peer has for it.
    fn written<T: Taken>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(taken) = &outcome {
            if let Ok(taken) = taken {
                self.outlet.took(taken.bytes());
            }
            self.unread = None;
            return outcome;
        }
        self.outlet.block();
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(UNREAD_MAX)));
        ready!(unread.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "peer reads nothing")))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.outlet.ended().cancel();
    }
}

/// What a write or a flush had the kernel take.
trait Taken {
    fn bytes(&self) -> usize;
}

impl Taken for usize {
    fn bytes(&self) -> usize {
        *self
    }
}

impl Taken for () {
    fn bytes(&self) -> usize {
        0
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // One that was closed reads as if the peer had closed it: whoever serves it then ends it.
        if self.outlet.is_closed(context) {
            return Poll::Ready(Ok(()));
        }
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

    const SOON: Duration = Duration::from_secs(30);

    fn bounds(connections: usize) -> Bounds {
        Bounds { connections, by_address: None, head_within: Duration::from_secs(20) }
    }

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
        let (address, _closing) = listening(Bounds { head_within: Duration::from_millis(50), ..bounds(8) }).await;
        all_that_comes(address, b"GET / HTTP/1.1\r\nHost: a\r\n").await;
        // A connection that is left idle after an answer ends too.
        let answer = all_that_comes(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, _closing) = listening(bounds(8)).await;
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(4 * HEAD_BYTES_MAX));
        let answer = all_that_comes(address, head.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_above_the_limit_is_told_so_and_a_place_that_got_free_is_taken() {
        let (address, closing) = listening(bounds(1)).await;
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

    #[tokio::test]
    async fn a_request_knows_its_peer_and_how_much_of_its_answers_was_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let said = async |ConnectInfo(peer): ConnectInfo<SocketAddr>, axum::Extension(outlet): axum::Extension<Outlet>| {
            format!("{} {}", peer.ip(), outlet.taken())
        };
        tasks.spawn(serve(listener, Router::new().fallback(said), bounds(8), tasks.clone(), closing.clone()));
        let requests = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answers = all_that_comes(address, requests).await;
        let bodies: Vec<&str> = answers.lines().filter(|line| line.starts_with("127.0.0.1")).collect();
        // The second follows the first without a line end of its own.
        assert!(answers.contains("127.0.0.1 0") && bodies.len() <= 2, "{answers}");
    }

    #[tokio::test]
    async fn who_holds_on_to_a_connection_hears_of_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let (held, mut holds) = tokio::sync::mpsc::channel(2);
        let hold = async move |axum::Extension(outlet): axum::Extension<Outlet>| held.send(outlet).await.unwrap();
        tasks.spawn(serve(listener, Router::new().fallback(hold), bounds(8), tasks.clone(), closing.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        for closed_by_us in [false, true] {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let outlet = holds.recv().await.unwrap();
            assert!(!outlet.ended().is_cancelled());
            if closed_by_us {
                outlet.close();
            } else {
                stream = TcpStream::connect(address).await.unwrap();
            }
            timeout(SOON, outlet.ended().cancelled()).await.unwrap();
        }
        closing.cancel();
    }

    #[tokio::test]
    async fn one_address_has_no_more_than_its_share() {
        let count_as: CountAs = Arc::new(Some);
        let one = Bounds { by_address: Some(ByAddress { connections: 1, count_as }), ..bounds(8) };
        let (address, closing) = listening(one).await;
        let _first = TcpStream::connect(address).await.unwrap();
        assert!(all_that_comes(address, b"").await.starts_with("HTTP/1.1 503"));
        closing.cancel();

        let nobody: CountAs = Arc::new(|_| None);
        let proxy = Bounds { by_address: Some(ByAddress { connections: 1, count_as: nobody }), ..bounds(8) };
        let (address, closing) = listening(proxy).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let answer = all_that_comes(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "a proxy speaks for many: {answer}");
        closing.cancel();
    }
}
