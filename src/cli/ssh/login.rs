//! What a client asks of us: to be let in, and to be given channels. The library calls; nothing here waits for a session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodSet, Pty};
use tokio::sync::oneshot;
use tokio::time::sleep_until;
use tracing::warn;

use super::algorithms::methods;
use super::connection::{Connection, Login};
use super::shell::{self, Start};
use super::{Place, Shared};
use crate::access::auth::Granted;
use crate::cli::lock;
use crate::core::control::Door;
use crate::core::events::What;

/// Shells and commands of one connection.
const CHANNELS_MAX: usize = 10;
/// A command by itself, in bytes. As long as the editor's longest line may be.
const COMMAND_BYTES_MAX: usize = 16 * 1024;

/// A channel that does not do anything yet.
struct Waiting {
    start: oneshot::Sender<Start>,
    /// Rows and columns, where a terminal was asked for.
    terminal: Option<(usize, usize)>,
}

pub struct Client {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    /// Wrong passwords, and keys whose owner was not let in.
    failures: u8,
    waiting: HashMap<ChannelId, Waiting>,
    place: Option<Place>,
}

impl Client {
    pub fn new(shared: Arc<Shared>, connection: Arc<Connection>) -> Self {
        Self { shared, connection, failures: 0, waiting: HashMap::new(), place: None }
    }

    fn happened(&self, what: What) {
        self.shared.control.happened(what);
    }

    async fn may_try(&self) -> bool {
        let is_blocked = lock(&self.shared.gate).is_blocked(self.connection.peer, Instant::now());
        !is_blocked && self.failures < self.shared.settings().await.ssh.attempts
    }

    fn accepted(&mut self, user: &str, granted: &Granted, by: &str) -> Auth {
        let Granted { level } = granted;
        self.shared.control.logins().accepted(Door::Ssh);
        self.happened(What::LoggedIn {
            user: user.to_owned(),
            from: self.connection.peer.to_string(),
            how: by.to_owned(),
            level: *level,
        });
        self.connection.log_in(Login { user: user.to_owned(), level: *level });
        Auth::Accept
    }

    /// An attempt that counts: it is told late, so that guessing takes its time, and the last one ends the connection.
    async fn failed(&mut self, user: &str, what: &str, begun: tokio::time::Instant) -> Auth {
        self.failures = self.failures.saturating_add(1);
        self.shared.control.logins().refused(Door::Ssh);
        let peer = self.connection.peer;
        // A name that there is not may be a password.
        let of = if self.shared.auth.knows(user).await { user } else { "a user that there is not" };
        let (of, by) = (of.to_owned(), peer.to_string());
        self.happened(What::LoginFailed { user: of, from: by.clone(), what: what.to_owned() });
        let limits = self.shared.limits;
        if lock(&self.shared.gate).failed(peer, Instant::now()) {
            self.happened(What::Blocked { from: by, seconds: limits.gate.block.as_secs() });
        }
        sleep_until(begun + limits.denied_after).await;
        self.rejected().await
    }

    async fn rejected(&self) -> Auth {
        // Without this the library would take the method away after the first try.
        let methods = if self.may_try().await { methods() } else { MethodSet::empty() };
        Auth::Reject { proceed_with_methods: Some(methods), partial_success: false }
    }

    async fn key(&self, user: &str, key: &PublicKey) -> Option<Granted> {
        self.shared.auth.key(user, key.key_data()).await
    }

    fn start(&mut self, channel: ChannelId, line: Option<String>, session: &mut Session) -> Result<(), russh::Error> {
        match self.waiting.remove(&channel) {
            Some(waiting) => {
                session.channel_success(channel)?;
                // Its task is gone with its channel.
                let _ = waiting.start.send(Start { terminal: waiting.terminal, line });
                Ok(())
            }
            None => session.channel_failure(channel),
        }
    }
}

/// As a terminal may be; 0: not known.
fn size(rows: u32, columns: u32) -> (usize, usize) {
    let small = |size: u32| usize::from(u16::try_from(size).unwrap_or_default());
    (small(rows), small(columns))
}

impl Handler for Client {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        let banner = &self.shared.settings().await.banner;
        Ok((!banner.is_empty()).then(|| banner.lines().map(|line| format!("{line}\r\n")).collect()))
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let begun = tokio::time::Instant::now();
        if !self.may_try().await {
            // It was told already that there is no more to try.
            return Err(russh::Error::Disconnect);
        }
        // It may wait for others' passwords; whoever has no patience is ended by the time for the login.
        match self.shared.auth.password(user, password).await {
            Some(granted) => Ok(self.accepted(user, &granted, "a password")),
            None => Ok(self.failed(user, "wrong password", begun).await),
        }
    }

    /// Agents offer all the keys that they have: one that is not the user's is no failure.
    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        if !self.may_try().await {
            return Err(russh::Error::Disconnect);
        }
        match self.key(user, offer.public_key).await {
            Some(_) => Ok(Auth::Accept),
            None => Ok(self.rejected().await),
        }
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let begun = tokio::time::Instant::now();
        match self.key(user, key.public_key).await {
            Some(granted) => {
                let fingerprint = key.public_key.fingerprint(russh::keys::HashAlg::Sha256);
                Ok(self.accepted(user, &granted, &format!("the key {fingerprint}")))
            }
            None => Ok(self.failed(user, "a key that is not his", begun).await),
        }
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let Some(login) = self.connection.login() else { return Err(russh::Error::NotAuthenticated) };
        let most = self.shared.settings().await.ssh.sessions.into();
        self.place = self.shared.places.take(login.level, most);
        if self.place.is_none() {
            warn!("ssh: {most} are logged in, which is as many as may be; {} has to wait", login.user);
            let words = format!("{most} are logged in, which is as many as may be");
            session.disconnect(Disconnect::TooManyConnections, &words, "")?;
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (Some(open), Some(_)) = (self.connection.open_channel(CHANNELS_MAX), &self.place) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let (start, started) = oneshot::channel();
        self.waiting.insert(channel.id(), Waiting { start, terminal: None });
        reply.accept().await;
        let seat = shell::Seat {
            shared: self.shared.clone(),
            connection: self.connection.clone(),
            handle: session.handle(),
            _open: open,
        };
        tokio::spawn(shell::attend(seat, channel, started));
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.waiting.remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.waiting.get_mut(&channel) {
            Some(waiting) => {
                waiting.terminal = Some(size(rows, columns));
                session.channel_success(channel)
            }
            None => session.channel_failure(channel),
        }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start(channel, None, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match std::str::from_utf8(command) {
            Ok(line) if line.len() <= COMMAND_BYTES_MAX => self.start(channel, Some(line.to_owned()), session),
            _ => session.channel_failure(channel),
        }
    }

    // What is not here is refused: forwarding of any kind by the library, and the following by a word, because clients
    // that ask for it wait for an answer.

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
