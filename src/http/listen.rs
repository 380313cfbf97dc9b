//! The sockets: who may connect, how many at once, and how long each may take.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::access::{Access, Came, Settings};
use super::stall::Stalling;
use super::tls::Tls;
use super::{HEAD_BYTES_MAX, HEADERS_MAX, Limits, api};
use crate::access::auth::Authenticator;
use crate::access::listeners::{Accepted, Listeners, Listening};
use crate::access::lock;
use crate::config::Http;
use crate::core::control::Control;

/// How often listeners and certificate are brought to what is configured.
const LOOK: Duration = Duration::from_secs(1);
const PORT_TAKEN: &str = "another program has the port; `ss -ltnp` shows which. Say `ip http listen` or `http.listen` with \
                          another port, or stop that program";

/// How the listener is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub listening: Vec<Listening>,
    /// When the listener's certificate ends, Unix time; none without TLS.
    pub certificate_ends: Option<u64>,
    /// Why the certificate's files, as they are now, are not used.
    pub tls_trouble: Option<String>,
}

/// The server, before it runs.
pub struct Server {
    control: Arc<dyn Control>,
    access: Arc<Access>,
    limits: Limits,
    status: watch::Sender<Status>,
}

/// What all connections share.
struct Shared {
    access: Arc<Access>,
    router: Router,
    limits: Limits,
    stopping: watch::Receiver<()>,
}

impl Server {
    pub fn new(control: Arc<dyn Control>, auth: Arc<dyn Authenticator>, limits: Limits) -> Self {
        let access = Arc::new(Access::new(control.clone(), auth, limits.gate, limits.denied_after));
        Self { control, access, limits, status: watch::channel(Status::default()).0 }
    }

    /// How it is, from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Answers until `shutdown` comes; then lets the answers under way be completed, for `limits.farewell`.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let limits = self.limits;
        let (stop, stopping) = watch::channel(());
        let shared = Arc::new(Shared {
            router: api::router(self.control, self.access.clone(), limits, stopping.clone()),
            access: self.access,
            limits,
            stopping,
        });
        // Whoever comes from outside leaves this box its own.
        let (local_slots, outer_slots) = (slots(limits.connections), slots(limits.connections));
        let (local_out, mut local) = mpsc::channel::<Accepted>(1);
        let (outer_out, mut outer) = mpsc::channel::<Accepted>(1);
        let mut local_listeners = Listeners::new("HTTP", PORT_TAKEN, local_out);
        let mut outer_listeners = Listeners::new("HTTPS", PORT_TAKEN, outer_out);
        let mut tls = Tls::default();
        let mut connections = JoinSet::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = look.tick() => {
                    let settings = shared.access.settings().await;
                    tls.bring(settings.http.tls.as_ref());
                    let (here, outside): (Vec<_>, Vec<_>) =
                        settings.http.listen.iter().partition(|address| Http::is_local(**address));
                    local_listeners.bring(&here);
                    outer_listeners.bring(&outside);
                    let mut listening = local_listeners.listening(&here);
                    listening.extend(outer_listeners.listening(&outside));
                    let now = Status {
                        listening,
                        certificate_ends: tls.ends(),
                        tls_trouble: tls.trouble().map(str::to_owned),
                    };
                    self.status.send_if_modified(|before| {
                        let is_news = *before != now;
                        *before = now;
                        is_news
                    });
                }
                (slot, accepted) = next(&local_slots, &mut local) => {
                    connections.spawn(attend_local(shared.clone(), accepted, slot));
                }
                (slot, accepted) = next(&outer_slots, &mut outer) => {
                    let acceptor = tls.config().map(TlsAcceptor::from);
                    connections.spawn(attend_outer(shared.clone(), accepted, acceptor, slot));
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop((local_listeners, outer_listeners));
        drop(stop);
        // Each connection sees to its own farewell; the second is for a task that does not.
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(limits.farewell + Duration::from_secs(1), all).await.is_err() {
            connections.shutdown().await;
        }
    }
}

fn slots(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count))
}

/// The slot first: whom there is none for stays in the kernel's queue.
async fn next(slots: &Arc<Semaphore>, from: &mut mpsc::Receiver<Accepted>) -> (OwnedSemaphorePermit, Accepted) {
    let slot = Arc::clone(slots).acquire_owned().await;
    // Neither the semaphore nor the listeners end before the loop does.
    match (slot, from.recv().await) {
        (Ok(slot), Some(accepted)) => (slot, accepted),
        _ => std::future::pending().await,
    }
}

async fn attend_local(shared: Arc<Shared>, accepted: Accepted, _slot: OwnedSemaphorePermit) {
    let Accepted { stream, peer, .. } = accepted;
    let _ = stream.set_nodelay(true);
    let stream = Stalling::new(stream, shared.limits.stall);
    answer(stream, Came { peer, local: true }, &shared).await;
}

/// Of somebody outside: may he connect at all, does he come too often, and then TLS.
async fn attend_outer(
    shared: Arc<Shared>,
    accepted: Accepted,
    acceptor: Option<TlsAcceptor>,
    _slot: OwnedSemaphorePermit,
) {
    let Accepted { stream, peer, .. } = accepted;
    let settings: Arc<Settings> = shared.access.settings().await;
    if !settings.http.lets_in(peer.ip()) {
        debug!("http: {peer} is in no network of http.allow");
        return;
    }
    let Some(_admitted) = Admitted::new(&shared.access, peer) else {
        debug!("http: {peer} comes too often");
        return;
    };
    let Some(acceptor) = acceptor else {
        debug!("http: there is no certificate yet");
        return;
    };
    let _ = stream.set_nodelay(true);
    // The handshake has as long as the head of a request.
    let stream = Stalling::new(stream, shared.limits.stall);
    match timeout(shared.limits.request, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => answer(stream, Came { peer, local: false }, &shared).await,
        Ok(Err(error)) => debug!("http: no TLS with {peer}: {error}"),
        Err(_) => debug!("http: {peer} took too long for TLS"),
    }
}

/// A connection that the gate counts, until it is dropped.
struct Admitted {
    access: Arc<Access>,
    peer: SocketAddr,
}

impl Admitted {
    fn new(access: &Arc<Access>, peer: SocketAddr) -> Option<Self> {
        lock(&access.connections).admit(peer.ip(), Instant::now()).ok()?;
        Some(Self { access: access.clone(), peer })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.access.connections).settled(self.peer.ip());
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, came: Came, shared: &Shared) {
    let limits = shared.limits;
    let mut stopping = shared.stopping.clone();
    let router = TowerToHyperService::new(shared.router.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(came);
        router.call(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.request)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service)
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
        debug!(error = &error as &dyn std::error::Error, "an HTTP connection ended early");
    }
}
