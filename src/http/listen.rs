//! The socket: who may connect, how many at once, and how long each may take.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::stall::Stalling;
use super::{HEAD_BYTES_MAX, HEADERS_MAX, Limits, api};
use crate::core::control::Control;

/// Why the listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "http.listen: {0} is not a loopback address. The listener has no authentication yet, so that it answers this \
         machine only: use 127.0.0.1:{port} or [::1]:{port}, and reach it from elsewhere by `ssh -L`",
        port = .0.port()
    )]
    NotLoopback(SocketAddr),
    #[error("http.listen: cannot listen on {address}: {source}. `ss -ltnp` shows who does; or choose another port")]
    Io { address: SocketAddr, source: io::Error },
}

/// Opens the listener; port 0 takes any free one.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    if !address.ip().is_loopback() {
        return Err(BindError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| BindError::Io { address, source })
}

/// Answers until `shutdown` comes; then lets the answers under way be completed, for `limits.farewell`.
pub async fn serve(
    listener: TcpListener,
    control: Arc<dyn Control>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let router = api::router(control, limits);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            // The slot first: whom there is none for stays in the kernel's queue.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, accept(&listener).await)
        };
        let (slot, stream) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        let (router, stopping) = (router.clone(), stopping.clone());
        connections.spawn(async move {
            let _slot = slot;
            answer(stream, router, limits, stopping).await;
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    drop(stop);
    // Each connection sees to its own farewell; the second is for a task that does not.
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.farewell + Duration::from_secs(1), all).await.is_err() {
        connections.shutdown().await;
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                // Mostly a lack of file descriptors, which time may mend.
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router, limits: Limits, mut stopping: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Stalling::new(stream, limits.stall));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.request)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(io, TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        result = &mut connection => Some(result),
        _ = stopping.changed() => None,
        () = sleep(limits.connection) => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.farewell, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        // A client that went away, or was too slow or malformed: nothing that an operator need act on.
        tracing::debug!(error = &error as &dyn std::error::Error, "an HTTP connection ended early");
    }
}
