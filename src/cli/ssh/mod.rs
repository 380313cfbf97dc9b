//! The way in over the network: SSH, and nothing in it but the command line.
//!
//! ```text
//!   listeners ──> connection: access list, gate (who comes too often), time for the login
//!                   └─ login: keys and passwords by `access::auth`, channels
//!                        └─ shell: a task for each channel, with a `cli::session` at its end
//! ```
//!
//! The configuration is looked at anew: users at each login, addresses to listen at each second, the rest at each
//! connection. Whoever is in stays in.

mod ahead;
mod algorithms;
mod connection;
pub mod hostkey;
mod login;
mod shell;
pub mod status;

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use russh::keys::HashAlg;
use tokio::sync::{Semaphore, mpsc, watch};

use self::status::Status;
use super::commands::ADMIN;
use super::lock;
use crate::access::auth::{Authenticator, DENIED_AFTER, Local};
use crate::access::gate::Gate;
pub use crate::access::gate::Limits as GateLimits;
use crate::access::listeners::{Accepted, Listeners};
use crate::config::Ssh;
use crate::core::control::Control;

const PORT_TAKEN: &str = "another program has the port, the system's own sshd perhaps; say `ip ssh listen` or \
                          `ssh.listen` with another address or port, or stop that program";
/// How often the listeners are brought to what is configured.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that have been accepted, and wait to be let in.
const WAITING_MAX: usize = 32;
/// What was read of the configuration is good for so long. The whole of it is copied for each reader.
const FRESH: Duration = Duration::from_millis(500);

/// What no configuration sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub gate: GateLimits,
    /// How long a failed login takes.
    pub denied_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { gate: GateLimits::default(), denied_after: DENIED_AFTER }
    }
}

/// What connections need of the configuration.
#[derive(Debug, Default)]
struct Settings {
    ssh: Ssh,
    has_users: bool,
    banner: String,
}

/// What all connections share.
struct Shared {
    control: Arc<dyn Control>,
    auth: Arc<dyn Authenticator>,
    russh: Arc<russh::server::Config>,
    limits: Limits,
    gate: Mutex<Gate>,
    places: Arc<Places>,
    settings: Mutex<Option<(Instant, Arc<Settings>)>>,
}

impl Shared {
    async fn settings(&self) -> Arc<Settings> {
        if let Some((read, settings)) = &*lock(&self.settings)
            && read.elapsed() < FRESH
        {
            return settings.clone();
        }
        let settings = match self.control.config().await {
            Ok(config) => Arc::new(Settings {
                ssh: config.ssh.clone(),
                has_users: !config.users.is_empty(),
                banner: config.banner.clone(),
            }),
            // The last that was known is better than the default, which lets in from everywhere.
            Err(_) => lock(&self.settings).as_ref().map(|(_, settings)| settings.clone()).unwrap_or_default(),
        };
        *lock(&self.settings) = Some((Instant::now(), settings.clone()));
        settings
    }
}

/// Those who are logged in.
#[derive(Debug, Default)]
struct Places(Mutex<usize>);

/// One of them, until it is dropped.
struct Place(Arc<Places>);

impl Places {
    /// A place, of `most`. The last is for who can do something about the others.
    fn take(self: &Arc<Self>, level: u8, most: usize) -> Option<Place> {
        let mut taken = lock(&self.0);
        let kept = usize::from(level < ADMIN);
        (*taken + kept < most).then(|| {
            *taken += 1;
            Place(self.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *lock(&self.0.0) -= 1;
    }
}

/// The server, before it runs.
pub struct Server {
    shared: Arc<Shared>,
    fingerprint: String,
    status: watch::Sender<Status>,
}

impl Server {
    /// With the key of the state directory, which is made where there is none.
    pub fn open(control: Arc<dyn Control>, state_dir: &Path, limits: Limits) -> anyhow::Result<Self> {
        let host_key = hostkey::open(state_dir)?;
        let fingerprint = host_key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let shared = Arc::new(Shared {
            auth: Arc::new(Local::new(control.clone())),
            control,
            russh: Arc::new(algorithms::config(host_key)),
            limits,
            gate: Mutex::new(Gate::new(limits.gate)),
            places: Arc::default(),
            settings: Mutex::default(),
        });
        Ok(Self { shared, fingerprint, status: watch::channel(Status::default()).0 })
    }

    /// Where it listens, from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Serves for ever. Ends its listeners, and no session, when it is dropped.
    pub async fn run(self) {
        static WAITING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(WAITING_MAX));
        let (out, mut accepted) = mpsc::channel::<Accepted>(1);
        let mut listeners = Listeners::new("SSH", PORT_TAKEN, out);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    let settings = self.shared.settings().await;
                    let wanted = settings.ssh.listens(settings.has_users);
                    if listeners.bring(wanted) || self.status.borrow().fingerprint.is_none() {
                        let fingerprint = Some(self.fingerprint.clone());
                        let status = Status { fingerprint, listening: listeners.listening(wanted) };
                        status::set(status.clone());
                        self.status.send_replace(status);
                    }
                }
                Some(Accepted { stream, peer, .. }) = accepted.recv() => {
                    // With as many waiting nobody is served sooner by being taken in; the kernel keeps no crowd either.
                    if let Ok(waiting) = WAITING.try_acquire() {
                        tokio::spawn(connection::attend(self.shared.clone(), stream, peer, waiting));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_for_an_administrator() {
        let places = Arc::new(Places::default());
        let first = places.take(1, 2);
        assert!(first.is_some() && places.take(1, 2).is_none());
        let second = places.take(15, 2);
        assert!(second.is_some() && places.take(15, 2).is_none());
        drop(first);
        assert!(places.take(1, 2).is_none() && places.take(15, 2).is_some());
    }
}
