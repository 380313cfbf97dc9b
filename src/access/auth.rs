//! Who somebody is, and what he may do: the seam behind which RADIUS or TACACS+ may stand one day.
//!
//! Transports and `enable` ask an [`Authenticator`], and know nothing of where it looks. [`Local`] looks into the
//! configuration in force, anew each time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use russh::keys::ssh_key::public::KeyData;

use super::secrets;
use crate::config::{Config, Name, User};
use crate::core::control::Control;

/// How long a failed login or `enable` takes, whoever it was and however it failed.
pub const DENIED_AFTER: Duration = Duration::from_secs(2);

/// What a login has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The level of privilege.
    pub level: u8,
}

/// Says who may. `None` is no, whatever the reason; a server that does not answer is one.
pub trait Authenticator: Send + Sync {
    /// By a password.
    fn password<'a>(&'a self, user: &'a str, password: &'a str) -> BoxFuture<'a, Option<Granted>>;

    /// Whether the key is one of the user's. That he has the private half is for the transport to see.
    fn key<'a>(&'a self, user: &'a str, key: &'a KeyData) -> BoxFuture<'a, Option<Granted>>;

    /// Whether there is a password by which this user becomes an administrator: else he is not asked for one.
    fn has_enable<'a>(&'a self, user: &'a str) -> BoxFuture<'a, bool>;

    /// Whether this is it.
    fn enable<'a>(&'a self, user: &'a str, password: &'a str) -> BoxFuture<'a, bool>;

    /// Whether there is such a user, for the log: an unknown name may be a password that was typed too early.
    fn knows<'a>(&'a self, user: &'a str) -> BoxFuture<'a, bool>;
}

/// The users of the configuration.
pub struct Local {
    control: Arc<dyn Control>,
}

impl Local {
    pub fn new(control: Arc<dyn Control>) -> Self {
        Self { control }
    }

    async fn config(&self) -> Option<Arc<Config>> {
        self.control.config().await.ok()
    }
}

fn find<'c>(config: Option<&'c Config>, user: &str) -> Option<&'c User> {
    config?.users.get(&Name::new(user).ok()?)
}

impl Authenticator for Local {
    fn password<'a>(&'a self, user: &'a str, password: &'a str) -> BoxFuture<'a, Option<Granted>> {
        async move {
            let config = self.config().await;
            let found = find(config.as_deref(), user);
            let secret = found.and_then(|user| user.secret.clone());
            secrets::is(secret, password).await.then(|| found.map(|user| Granted { level: user.level })).flatten()
        }
        .boxed()
    }

    fn key<'a>(&'a self, user: &'a str, key: &'a KeyData) -> BoxFuture<'a, Option<Granted>> {
        async move {
            let config = self.config().await;
            let user = find(config.as_deref(), user)?;
            user.ssh_keys.iter().any(|own| own.key_data() == key).then_some(Granted { level: user.level })
        }
        .boxed()
    }

    fn has_enable<'a>(&'a self, _user: &'a str) -> BoxFuture<'a, bool> {
        async { self.config().await.is_some_and(|config| config.enable_secret.is_some()) }.boxed()
    }

    fn enable<'a>(&'a self, _user: &'a str, password: &'a str) -> BoxFuture<'a, bool> {
        async move {
            let secret = self.config().await.and_then(|config| config.enable_secret.clone());
            secrets::is(secret, password).await
        }
        .boxed()
    }

    fn knows<'a>(&'a self, user: &'a str) -> BoxFuture<'a, bool> {
        async move { find(self.config().await.as_deref(), user).is_some() }.boxed()
    }
}
