//! A way to a runtime or to the database that can be closed and opened, and that counts who is on it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{self, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};

pub(crate) struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

/// What listens behind a gate.
#[derive(Clone)]
enum Target {
    Tcp(String),
    Unix(PathBuf),
}

impl Target {
    /// Passes on what comes from `from`, and what is answered, until one of both ends.
    async fn pass(self, from: &mut TcpStream) -> io::Result<(u64, u64)> {
        match self {
            Self::Tcp(address) => copy_bidirectional(from, &mut TcpStream::connect(address).await?).await,
            Self::Unix(path) => copy_bidirectional(from, &mut UnixStream::connect(path).await?).await,
        }
    }
}

impl Gate {
    /// Opens a way to what listens at `target`, an http URL.
    pub(crate) async fn before(target: &str) -> Self {
        Self::open(Target::Tcp(target.strip_prefix("http://").unwrap().to_owned())).await
    }

    /// Opens a way to the database that `options` lead to, and says how to take it.
    pub(crate) async fn before_database(options: &PgConnectOptions) -> (Self, PgConnectOptions) {
        let (host, port) = (options.get_host(), options.get_port());
        let Some(folder) = options.get_socket() else {
            let gate = Self::open(Target::Tcp(format!("{host}:{port}"))).await;
            let through = options.clone().host("127.0.0.1").port(gate.address.port());
            return (gate, through);
        };
        let gate = Self::open(Target::Unix(folder.join(format!(".s.PGSQL.{port}")))).await;
        // Options that name a socket cannot be told to forget it.
        let through = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(gate.address.port())
            .username(options.get_username())
            .database(options.get_database().unwrap());
        (gate, through)
    }

    async fn open(target: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (target, mut is_open, count) = (target.clone(), is_open.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::select! {
                        _ = target.pass(&mut from) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, open, connections, serving }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts everybody off and lets nobody through.
    pub(crate) fn close(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn reopen(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
