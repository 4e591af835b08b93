//! A network between service and runtime that can stop to carry anything without closing anything.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What is carried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    Everything,
    /// Only what the runtime says: it reads nothing.
    FromRuntime,
    Nothing,
}

/// Forwards every connection to the runtime; ends with its value.
pub(crate) struct Proxy {
    address: SocketAddr,
    carried: watch::Sender<Carried>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// `endpoint` is the runtime's base URL.
    pub(crate) async fn start(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let carried = watch::Sender::new(Carried::Everything);
        let (target, wishes) = (endpoint.trim_start_matches("http://").to_owned(), carried.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(forward(near, target.clone(), wishes.subscribe()));
            }
        });
        Self { address, carried, accepting }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn carry(&self, carried: Carried) {
        self.carried.send_replace(carried);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(near: TcpStream, target: String, carried: watch::Receiver<Carried>) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pump(near_in, far_out, carried.clone(), |carried| carried == Carried::Everything) => {}
        () = pump(far_in, near_out, carried, |carried| carried != Carried::Nothing) => {}
    }
}

/// Carries one direction until either side is closed, while `open` says so.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut carried: watch::Receiver<Carried>, open: fn(Carried) -> bool) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if carried.wait_for(|carried| open(*carried)).await.is_err() {
            return;
        }
        // Bytes that are read while nothing is carried any more are late, and not lost.
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        if carried.wait_for(|carried| open(*carried)).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
