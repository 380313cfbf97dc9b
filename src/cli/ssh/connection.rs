//! A connection from its first byte to its last: let in, watched until somebody has logged in, and until it ends.

use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use russh::Disconnect;
use russh::server::{Handle, run_stream};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, SemaphorePermit};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::core::events::What;

use super::Shared;
use super::login::Client;
use crate::access::gate::Refused;
use crate::cli::lock;

/// Whoever finds no place at once waits for so long: tools come in crowds, and each is through in a moment.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A client that takes nothing is given up after this, whatever it still answers.
pub const STALLED: Duration = Duration::from_secs(600);
/// From our goodbye to the end of the socket.
const GOODBYE: Duration = Duration::from_secs(2);
/// Logged in, and with nothing open: a client that keeps a connection for later may, for a while.
const UNUSED: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_secs(5);

/// Who has logged in.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: String,
    pub level: u8,
}

/// What the parts of a connection share.
pub struct Connection {
    pub peer: IpAddr,
    /// Notified when somebody has logged in.
    authenticated: Notify,
    login: OnceLock<Login>,
    /// Shells and commands that are open.
    channels: AtomicUsize,
    /// When the last of them ended.
    unused_since: Mutex<Instant>,
    /// The same socket: ends reads and writes that would never end.
    socket: std::net::TcpStream,
}

impl Connection {
    pub fn log_in(&self, login: Login) {
        if self.login.set(login).is_ok() {
            self.authenticated.notify_one();
        }
    }

    pub fn login(&self) -> Option<&Login> {
        self.login.get()
    }

    /// One more channel, unless there are `most`.
    pub fn open_channel(self: &Arc<Self>, most: usize) -> Option<OpenChannel> {
        let more = |open: usize| (open < most).then_some(open + 1);
        self.channels.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(OpenChannel(self.clone()))
    }

    /// At once.
    pub fn kill(&self) {
        // It may be gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn is_unused(&self) -> bool {
        self.channels.load(Ordering::SeqCst) == 0 && lock(&self.unused_since).elapsed() > UNUSED
    }
}

/// Counts as a channel until it is dropped.
pub struct OpenChannel(Arc<Connection>);

impl Drop for OpenChannel {
    fn drop(&mut self) {
        *lock(&self.0.unused_since) = Instant::now();
        self.0.channels.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A place of those without a login, until it is dropped.
struct Unknown<'s>(&'s Shared, IpAddr);

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        lock(&self.0.gate).settled(self.1);
    }
}

/// A connection, to its end.
pub async fn attend(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, waiting: SemaphorePermit<'static>) {
    let peer = peer.ip().to_canonical();
    let settings = shared.settings().await;
    if !settings.ssh.lets_in(peer) {
        debug!("ssh: {peer} is in no network of the access list");
        return turn_away(&stream, "Not from there");
    }
    let Some(place) = place(&shared, peer).await else { return turn_away(&stream, "Not allowed at this time") };
    drop(waiting);
    if let Err(error) = serve(&shared, stream, peer, settings.ssh.grace, place).await {
        debug!("ssh: the connection of {peer} ended: {error}");
    }
}

/// Words before the protocol, which clients show when they are asked to (RFC 4253, 4.2).
fn turn_away(stream: &TcpStream, words: &str) {
    let _ = stream.try_write(format!("{words}\r\n").as_bytes());
}

async fn place(shared: &Shared, peer: IpAddr) -> Option<Unknown<'_>> {
    let begun = Instant::now();
    loop {
        let admitted = lock(&shared.gate).admit(peer, Instant::now());
        match admitted {
            Ok(()) => return Some(Unknown(shared, peer)),
            Err(Refused::Blocked) => return None,
            Err(Refused::Busy) if begun.elapsed() >= PATIENCE => {
                warn!("ssh: too many connections without a login; one of {peer} is refused");
                return None;
            }
            Err(Refused::Busy) => sleep(LOOK_AGAIN).await,
        }
    }
}

async fn serve(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: IpAddr,
    grace: Duration,
    place: Unknown<'_>,
) -> Result<(), russh::Error> {
    stream.set_nodelay(true)?;
    // Also of a peer that answers, and takes nothing.
    SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED))?;
    let stream = stream.into_std()?;
    let socket = stream.try_clone()?;
    let stream = TcpStream::from_std(stream)?;
    let connection = Arc::new(Connection {
        peer,
        authenticated: Notify::new(),
        login: OnceLock::new(),
        channels: AtomicUsize::new(0),
        unused_since: Mutex::new(Instant::now()),
        socket,
    });
    let result = watched(shared, stream, &connection, grace, place).await;
    // Whatever it was that ended: nothing of it goes on by itself.
    connection.kill();
    if let Some(login) = connection.login() {
        shared.control.happened(What::LoggedOut { user: login.user.clone(), from: peer.to_string() });
    }
    result
}

async fn watched(
    shared: &Arc<Shared>,
    stream: TcpStream,
    connection: &Arc<Connection>,
    grace: Duration,
    place: Unknown<'_>,
) -> Result<(), russh::Error> {
    let begun = tokio::time::Instant::now();
    let client = Client::new(shared.clone(), connection.clone());
    let Ok(started) = timeout(grace, run_stream(shared.russh.clone(), stream, client)).await else {
        debug!("ssh: {} has not spoken SSH for {} s", connection.peer, grace.as_secs());
        return Ok(());
    };
    let mut session = started?;
    let handle = session.handle();
    tokio::select! {
        ended = &mut session => return ended,
        () = connection.authenticated.notified() => drop(place),
        () = tokio::time::sleep_until(begun + grace) => {
            info!("ssh: nobody has logged in from {} within {} s", connection.peer, grace.as_secs());
            part(&handle, Disconnect::ByApplication, "too slow to log in").await;
            return Ok(());
        }
    }
    loop {
        tokio::select! {
            ended = &mut session => return ended,
            () = sleep(LOOK) => {
                if connection.is_unused() {
                    part(&handle, Disconnect::ByApplication, "nothing was open for too long").await;
                    return Ok(());
                }
            }
        }
    }
}

/// Says goodbye, if the client still listens.
async fn part(handle: &Handle, why: Disconnect, words: &str) {
    let _ = timeout(GOODBYE, async {
        let _ = handle.disconnect(why, words.to_owned(), String::new()).await;
        sleep(GOODBYE / 10).await;
    })
    .await;
}
