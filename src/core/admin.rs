//! What the operator has ordered at run time: which servers are drained or disabled.
//!
//! Not part of the configuration, because it is done at three in the morning and undone at five. The
//! daemon keeps it as a JSON file in its state directory, so that a restart undoes no maintenance.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::config::{Config, Name};

/// What a server is told to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    #[default]
    Enabled,
    /// Keeps its connections, gets no new ones.
    Draining,
    /// Treated as failed: its connections are handled as each service's `on_failure` says.
    Disabled,
}

impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Enabled => "enabled",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        })
    }
}

/// The administrative state of all servers; one that is not mentioned is enabled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admin {
    /// Never holds `Enabled`.
    servers: BTreeMap<Name, AdminState>,
    /// When a server was last enabled again, for slow start. Not persisted: a restart of the daemon
    /// is no reason to start slowly.
    enabled_at: BTreeMap<Name, Moment>,
}

/// Why persisted state was not read.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(
        "the administrative state is not what this program writes ({0}); remove the file to start with every server enabled"
    )]
    Malformed(#[from] serde_json::Error),
    #[error(
        "the administrative state is of version {found}, this program reads {FILE_VERSION}; \
         run the newer program, or remove the file to start with every server enabled"
    )]
    Version { found: u32 },
    #[error("the administrative state names a server wrongly: {0}")]
    Name(String),
}

/// Raised when the meaning of the file changes.
const FILE_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    servers: BTreeMap<String, AdminState>,
}

impl Admin {
    pub fn get(&self, server: &Name) -> AdminState {
        self.servers.get(server).copied().unwrap_or_default()
    }

    /// Orders a state; returns the one before. `now` starts the slow start of a server that is
    /// enabled again.
    pub fn set(&mut self, server: &Name, state: AdminState, now: Moment) -> AdminState {
        let before = self.get(server);
        if state == AdminState::Enabled {
            self.servers.remove(server);
            if before != AdminState::Enabled {
                self.enabled_at.insert(server.clone(), now);
            }
        } else {
            self.servers.insert(server.clone(), state);
            self.enabled_at.remove(server);
        }
        before
    }

    /// When the server was last enabled after having been out; `None` also after a restart.
    pub fn enabled_at(&self, server: &Name) -> Option<Moment> {
        self.enabled_at.get(server).copied()
    }

    /// Forgets servers that are no longer configured; returns whether there were any. For after a
    /// reload: a server that comes back by a later one comes back enabled.
    pub fn retain_configured(&mut self, config: &Config) -> bool {
        let before = self.servers.len();
        self.servers.retain(|name, _| config.servers.contains_key(name));
        self.enabled_at.retain(|name, _| config.servers.contains_key(name));
        self.servers.len() != before
    }

    /// The text to persist: `{"version":1,"servers":{"pc2":"draining"}}`.
    pub fn to_json(&self) -> Result<String, AdminError> {
        let servers = self.servers.iter().map(|(name, state)| (name.to_string(), *state)).collect();
        Ok(serde_json::to_string(&File { version: FILE_VERSION, servers })?)
    }

    /// Reads what `to_json` wrote.
    pub fn from_json(text: &str) -> Result<Self, AdminError> {
        let file: File = serde_json::from_str(text)?;
        if file.version != FILE_VERSION {
            return Err(AdminError::Version { found: file.version });
        }
        let mut servers = BTreeMap::new();
        for (name, state) in file.servers {
            let name = Name::new(&name).map_err(AdminError::Name)?;
            if state != AdminState::Enabled {
                servers.insert(name, state);
            }
        }
        Ok(Self { servers, enabled_at: BTreeMap::new() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::plan::fixture;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_server_is_enabled_until_told_otherwise_and_persists_what_it_was_told() {
        let mut admin = Admin::default();
        let now = Moment(Duration::from_secs(5));
        assert_eq!(admin.get(&name("pc2")), AdminState::Enabled);
        assert_eq!(admin.set(&name("pc2"), AdminState::Draining, now), AdminState::Enabled);
        assert_eq!(admin.set(&name("pc3"), AdminState::Disabled, now), AdminState::Enabled);
        assert_eq!(admin.to_json().unwrap(), r#"{"version":1,"servers":{"pc2":"draining","pc3":"disabled"}}"#);
        assert_eq!(Admin::from_json(&admin.to_json().unwrap()).unwrap(), admin);
    }

    #[test]
    fn only_a_server_that_was_out_is_remembered_as_enabled_again() {
        let mut admin = Admin::default();
        let at = |s| Moment(Duration::from_secs(s));
        admin.set(&name("pc1"), AdminState::Enabled, at(1));
        assert_eq!(admin.enabled_at(&name("pc1")), None);
        admin.set(&name("pc1"), AdminState::Draining, at(2));
        admin.set(&name("pc1"), AdminState::Enabled, at(3));
        admin.set(&name("pc1"), AdminState::Enabled, at(4));
        assert_eq!(admin.enabled_at(&name("pc1")), Some(at(3)));
        assert_eq!(Admin::from_json(&admin.to_json().unwrap()).unwrap(), Admin::default());
    }

    #[test]
    fn a_reload_keeps_the_state_of_servers_that_still_exist_and_forgets_the_others() {
        let config = fixture::config(2, 1);
        let mut admin = Admin::default();
        admin.set(&fixture::server(1), AdminState::Draining, Moment::default());
        assert!(!admin.retain_configured(&config));
        admin.set(&name("gone"), AdminState::Disabled, Moment::default());
        assert!(admin.retain_configured(&config));
        assert_eq!(admin.get(&name("gone")), AdminState::Enabled);
        assert_eq!(admin.get(&fixture::server(1)), AdminState::Draining);
    }

    #[test]
    fn a_file_of_another_version_or_shape_is_refused_with_advice() {
        for (text, word) in [
            (r#"{"version":2,"servers":{}}"#, "version 2"),
            (r#"{"version":1,"servers":{"pc1":"resting"}}"#, "resting"),
            (r#"{"version":1,"servers":{"p c":"draining"}}"#, "cannot stand in a name"),
            ("", "remove the file"),
        ] {
            let message = Admin::from_json(text).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
