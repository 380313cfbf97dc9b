//! Browsers that have logged in: in memory, bounded, ended by silence. No I/O, no clock of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::access::{next_editor, token};
use crate::config::User;

/// A session in which nothing is asked for so long ends.
pub const IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// And one that goes on ends all the same.
const LIFE_MAX: Duration = Duration::from_secs(12 * 3600);
/// At once; of more the one ends that has been silent for longest.
const SESSIONS_MAX: usize = 64;

/// What is known of one.
#[derive(Clone, Debug)]
pub struct Session {
    pub user: String,
    /// As it was at the login: if it is another one now, the session is over.
    pub entry: User,
    /// What its requests carry that change something.
    pub csrf: String,
    /// Its number among those who change the configuration.
    pub editor: u64,
    begun: Instant,
    used: Instant,
}

/// By the hash of its cookie, so that no look-up tells of its parts.
#[derive(Debug, Default)]
pub struct Sessions(HashMap<[u8; 32], Session>);

impl Sessions {
    /// A new one, and the value of its cookie.
    pub fn open(&mut self, user: &str, entry: &User, now: Instant) -> Result<(Zeroizing<String>, Session), String> {
        let (cookie, csrf) = (token::random()?, token::random()?);
        self.expire(now);
        while self.0.len() >= SESSIONS_MAX {
            let Some(oldest) = self.0.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key) else {
                break;
            };
            self.0.remove(&oldest);
        }
        let session = Session {
            user: user.to_owned(),
            entry: entry.clone(),
            csrf: csrf.to_string(),
            editor: next_editor(),
            begun: now,
            used: now,
        };
        self.0.insert(token::hash(&cookie).0, session.clone());
        Ok((cookie, session))
    }

    /// The one of a cookie. It is not silent any more.
    pub fn find(&mut self, cookie: &str, now: Instant) -> Option<Session> {
        self.expire(now);
        let session = self.0.get_mut(&token::hash(cookie).0)?;
        session.used = now;
        Some(session.clone())
    }

    pub fn end(&mut self, cookie: &str) {
        self.0.remove(&token::hash(cookie).0);
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|_, session| {
            now.duration_since(session.used) < IDLE_MAX && now.duration_since(session.begun) < LIFE_MAX
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_silence_by_age_and_by_a_word() {
        let mut sessions = Sessions::default();
        let begun = Instant::now();
        let at = |minutes: u64| begun + Duration::from_secs(60 * minutes);
        let (cookie, session) = sessions.open("admin", &User::default(), begun).unwrap();
        assert_ne!(*cookie, session.csrf);
        assert!(sessions.find(&cookie, at(14)).is_some() && sessions.find("another", at(14)).is_none());
        assert!(sessions.find(&cookie, at(28)).is_some(), "it was asked meanwhile");
        assert!(sessions.find(&cookie, at(43)).is_none());
        let (cookie, _) = sessions.open("admin", &User::default(), begun).unwrap();
        assert!((0..72).all(|tens| sessions.find(&cookie, at(10 * tens)).is_some()));
        assert!(sessions.find(&cookie, at(720)).is_none(), "12 hours are enough");
        let (cookie, _) = sessions.open("admin", &User::default(), begun).unwrap();
        sessions.end(&cookie);
        assert!(sessions.find(&cookie, begun).is_none());
    }

    #[test]
    fn there_are_never_more_than_64() {
        let mut sessions = Sessions::default();
        let begun = Instant::now();
        let mut open =
            |second| sessions.open("admin", &User::default(), begun + Duration::from_secs(second)).unwrap().0;
        let first = open(0);
        let second = open(1);
        (2..65).for_each(|second| drop(open(second)));
        assert_eq!(sessions.0.len(), SESSIONS_MAX);
        let now = begun + Duration::from_secs(65);
        assert!(sessions.find(&first, now).is_none() && sessions.find(&second, now).is_some());
    }
}
