//! A way to a runtime that can be closed and opened, and that counts who is on it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

pub(crate) struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Gate {
    /// Opens a way to what listens at `target`, an http URL.
    pub(crate) async fn before(target: &str) -> Self {
        let target = target.strip_prefix("http://").unwrap().to_owned();
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
                    let passed = async {
                        let mut to = TcpStream::connect(target).await?;
                        copy_bidirectional(&mut from, &mut to).await
                    };
                    tokio::select! {
                        _ = passed => {}
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
