//! Who asks, and whether he may be believed: tokens, sessions, and who tries too often.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, StatusCode, header};

use super::credentials::{self, Credentials};
use super::problem::Problem;
use super::sessions::{Session, Sessions};
use crate::access::auth::Authenticator;
use crate::access::gate::{Gate, Limits as GateLimits};
use crate::access::{ADMIN, OPERATOR, VIEWER, lock, next_editor, token};
use crate::config::{Http, Name, Token, TokenHash, User};
use crate::core::control::{Control, Editor};
use crate::core::events::What;

/// What was read of the configuration is good for so long. The whole of it is copied for each reader.
const FRESH: Duration = Duration::from_millis(500);

/// What the listener needs of the configuration.
#[derive(Debug, Default)]
pub struct Settings {
    pub http: Http,
    pub users: BTreeMap<Name, User>,
}

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    pub peer: SocketAddr,
    /// By a loopback listener, in plain text; else over TLS.
    pub local: bool,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Who {
    pub by: By,
    /// None: he may ask what everybody may.
    pub level: Option<u8>,
    pub from: IpAddr,
}

#[derive(Clone, Debug)]
pub enum By {
    Nobody,
    /// Somebody on this box, who has said nothing of himself.
    Local,
    Token(Name),
    Session(Box<Session>),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            By::Nobody => write!(f, "somebody from {}", self.from),
            By::Local => f.write_str("somebody on this box"),
            By::Token(name) => write!(f, "token {name} from {}", self.from),
            By::Session(session) => write!(f, "{} from {}", session.user, self.from),
        }
    }
}

/// What requests are believed by.
pub struct Access {
    control: Arc<dyn Control>,
    pub auth: Arc<dyn Authenticator>,
    /// Counts connections from outside.
    pub connections: Mutex<Gate>,
    /// Counts wrong passwords.
    passwords: Mutex<Gate>,
    /// For how long an address is blocked.
    block: Duration,
    /// Counts wrong tokens. Each for itself: whoever guesses passwords keeps no program out that has a token.
    tries: Mutex<Gate>,
    pub sessions: Mutex<Sessions>,
    /// How long a failed login takes.
    pub denied_after: Duration,
    settings: Mutex<Option<(Instant, Arc<Settings>)>>,
    /// Numbers of tokens among those who change the configuration.
    editors: Mutex<BTreeMap<Name, u64>>,
}

impl Access {
    pub fn new(
        control: Arc<dyn Control>,
        auth: Arc<dyn Authenticator>,
        gate: GateLimits,
        denied_after: Duration,
    ) -> Self {
        Self {
            control,
            auth,
            connections: Mutex::new(Gate::new(gate)),
            passwords: Mutex::new(Gate::new(gate)),
            block: gate.block,
            tries: Mutex::new(Gate::new(gate)),
            sessions: Mutex::default(),
            denied_after,
            settings: Mutex::default(),
            editors: Mutex::default(),
        }
    }

    pub async fn settings(&self) -> Arc<Settings> {
        if let Some((read, settings)) = &*lock(&self.settings)
            && read.elapsed() < FRESH
        {
            return settings.clone();
        }
        self.read().await
    }

    /// The same, as it is now.
    async fn read(&self) -> Arc<Settings> {
        let settings = match self.control.config().await {
            Ok(config) => Arc::new(Settings { http: config.http.clone(), users: config.users.clone() }),
            // The last that was known is better than the default, which asks nobody on this box for anything.
            Err(_) => lock(&self.settings).as_ref().map(|(_, settings)| settings.clone()).unwrap_or_default(),
        };
        *lock(&self.settings) = Some((Instant::now(), settings.clone()));
        settings
    }

    /// Who asks, by what the request says. It is refused if that is not so, or if too much was not so lately.
    pub async fn who(&self, came: Came, headers: &HeaderMap) -> Result<Who, Problem> {
        let from = came.peer.ip().to_canonical();
        let credentials = credentials::read(headers, !came.local);
        let settings = self.settings().await;
        let by = match credentials {
            Credentials::Malformed(why) => return Err(unauthorized(why)),
            Credentials::Token(text) => {
                let hash = token::hash(text);
                let mut latest = settings.clone();
                if named(&hash, &latest).is_none() {
                    // It may be younger than what was read. Whoever guesses does not have it read again and again; whoever
                    // has a good one is never kept out by others who try: with 256 bits there is nothing to be found by it.
                    check(&self.tries, from)?;
                    latest = self.read().await;
                }
                self.token(&hash, from, &latest)?
            }
            Credentials::Session(cookie) => match self.session(cookie, &settings) {
                Some(session) => (By::Session(Box::new(session)), None),
                // Over, or of another program on this host: as if there were none.
                None => (By::Nobody, None),
            },
            Credentials::None => (By::Nobody, None),
        };
        let (by, level) = match by {
            // A user is the same here as at the command line: 15 does everything, the others look.
            (By::Session(session), _) => {
                let level = if session.entry.level >= ADMIN { ADMIN } else { VIEWER };
                (By::Session(session), Some(level))
            }
            // Orders, but not the configuration: it names commands that are run as root.
            (By::Nobody, None) if came.local && !settings.http.require_token => (By::Local, Some(OPERATOR)),
            other => other,
        };
        Ok(Who { by, level, from })
    }

    fn token(&self, hash: &TokenHash, from: IpAddr, settings: &Settings) -> Result<(By, Option<u8>), Problem> {
        let Some((name, token)) = named(hash, settings) else {
            self.failed(&self.tries, from, "a token that there is not", "nobody");
            return Err(unauthorized("there is no such token"));
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if let Some(day) = token.expires.filter(|day| day.is_over(now)) {
            return Err(unauthorized(&format!("the token {name} was good until {day}")));
        }
        if !token.from.is_empty() && !token.from.iter().any(|prefix| prefix.contains(from)) {
            let what = "a token that is not good from there".to_owned();
            self.control.happened(What::LoginFailed { user: name.to_string(), from: from.to_string(), what });
            return Err(unauthorized(&format!("the token {name} is not good from {from}")));
        }
        Ok((By::Token(name.clone()), Some(token.level)))
    }

    fn session(&self, cookie: &str, settings: &Settings) -> Option<Session> {
        let session = lock(&self.sessions).find(cookie, Instant::now())?;
        let is_as_before =
            Name::new(&session.user).ok().and_then(|name| settings.users.get(&name)) == Some(&session.entry);
        if !is_as_before {
            lock(&self.sessions).end(cookie);
        }
        is_as_before.then_some(session)
    }

    /// Refuses whoever has tried too many passwords.
    pub fn check_passwords(&self, from: IpAddr) -> Result<(), Problem> {
        check(&self.passwords, from)
    }

    /// Somebody has tried with a wrong password.
    pub fn failed_password(&self, from: IpAddr, of: &str) {
        self.failed(&self.passwords, from, "wrong password", of);
    }

    fn failed(&self, gate: &Mutex<Gate>, from: IpAddr, what: &str, of: &str) {
        let (user, by, what) = (of.to_owned(), from.to_string(), what.to_owned());
        self.control.happened(What::LoginFailed { user, from: by.clone(), what });
        if lock(gate).failed(from, Instant::now()) {
            self.control.happened(What::Blocked { from: by, seconds: self.block.as_secs() });
        }
    }

    /// As what somebody changes the configuration.
    pub fn editor(&self, who: &Who) -> Editor {
        let session = match &who.by {
            By::Session(session) => session.editor,
            By::Token(name) => *lock(&self.editors).entry(name.clone()).or_insert_with(next_editor),
            // They may not; and no two of them are the same.
            By::Nobody | By::Local => next_editor(),
        };
        Editor { session, name: who.to_string() }
    }
}

/// The token that has this hash. All are compared, whichever it is.
fn named<'a>(hash: &TokenHash, settings: &'a Settings) -> Option<(&'a Name, &'a Token)> {
    settings.http.tokens.iter().filter(|(_, token)| token::is(&token.hash, hash)).fold(None, |_, found| Some(found))
}

fn check(gate: &Mutex<Gate>, from: IpAddr) -> Result<(), Problem> {
    if !lock(gate).is_blocked(from, Instant::now()) {
        return Ok(());
    }
    let detail = format!("too many wrong tries came from {from}; wait some minutes");
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).with_header(header::RETRY_AFTER, "300"))
}

/// RFC 9110, section 15.5.2.
pub fn unauthorized(why: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, why).with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"lbd\"")
}
