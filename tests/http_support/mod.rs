//! A daemon that is none, a listener in front of it, and a client that can misbehave.
pub mod client;
pub mod fake;
pub mod sample;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lbd::access::auth::Local;
use lbd::access::listeners::Listening;
use lbd::config::Http;
use lbd::http::{self, Limits};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

// Not all who share this ask in other ways than GET.
#[allow(unused_imports)]
pub use client::{ask, get};
pub use fake::Fake;

/// A running listener; it ends with the test's runtime.
pub struct Server {
    /// The first of those that it listens at, those on loopback before the others.
    pub address: SocketAddr,
    pub listening: Vec<Listening>,
    pub fake: Arc<Fake>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

pub async fn start(fake: Fake) -> Server {
    start_with(fake, Limits::default()).await
}

pub async fn start_with(fake: Fake, limits: Limits) -> Server {
    start_at(fake, limits, Http { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Http::default() }).await
}

/// A listener as this is configured; ports may be 0.
pub async fn start_at(fake: Fake, limits: Limits, configured: Http) -> Server {
    let count = configured.listen.len();
    fake.configuration.lock().unwrap().running.config.http = configured;
    let fake = Arc::new(fake);
    let (stop, stopped) = oneshot::channel();
    let control = Arc::clone(&fake);
    let server = http::Server::new(control.clone(), Arc::new(Local::new(control)), limits);
    let mut status = server.status();
    let running = tokio::spawn(server.run(async {
        // A dropped sender is a test that does not stop its server: then it runs on.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    }));
    let listening = status.wait_for(|status| status.listening.len() == count).await.unwrap().listening.clone();
    let address = *listening[0].at.as_ref().unwrap();
    Server { address, listening, fake, stop, running }
}

impl Server {
    /// Waits until a question or an order has reached the daemon.
    pub async fn asked(&self) {
        eventually("the daemon is asked", || self.fake.asked.load(Ordering::SeqCst) > 0).await;
    }

    /// Asks it to stop; the handle ends when it has.
    pub fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.running
    }
}

/// Waits for something to become true, at most 10 s.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: not within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
