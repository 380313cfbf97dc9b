//! The lab's administrator: a user of the boxes whose key is made for one lab, and goes with it.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::LabError;
use super::host::Host;
use super::site::Site;
use crate::cli::ssh::hostkey;

pub const USER: &str = "admin";

/// Who may log in to the boxes of a site, and how.
#[derive(Clone, Debug)]
pub struct Operator {
    /// For `ssh -F`: it names the boxes, the key and what is known of them.
    config: PathBuf,
    /// The machine at which he sits.
    seat: &'static str,
    public_key: String,
}

impl Operator {
    /// Makes a key in the site's directory, for boxes at these addresses, which he reaches from his seat.
    pub fn new(site: &Site, seat: &'static str, boxes: &[(&str, Ipv4Addr)]) -> Result<Self, LabError> {
        let dir = site.dir();
        let (key_file, config) = (dir.join("admin.key"), dir.join("ssh"));
        let failed = |why: String| LabError::NotStarted { what: "the administrator's key".into(), why };
        let key = hostkey::make(&key_file).map_err(|error| failed(format!("{error:#}")))?;
        let public_key = key.public_key().to_openssh().map_err(|error| failed(error.to_string()))?;
        std::fs::write(&config, ssh_config(&dir, &key_file, boxes)).map_err(LabError::file("write", &config))?;
        Ok(Self { config, seat, public_key })
    }

    /// The section of the configuration that lets him in.
    pub fn section(&self) -> String {
        format!("users:\n  {USER}: {{level: 15, ssh-keys: [\"{} {USER}@lab\"]}}\n", self.public_key)
    }

    /// The words that open a session on a box, at his seat.
    pub fn words(&self, name: &str) -> String {
        format!("ssh -F {} {name}", self.config.display())
    }

    /// The same as a command; it is given a terminal at the other end, whatever ours is.
    pub fn command(&self, site: &Site, name: &str) -> Result<(Host, Command), LabError> {
        let seat = site.host(self.seat)?.clone();
        let mut command = seat.command("ssh");
        command.arg("-tt").arg("-F").arg(&self.config).arg(name);
        Ok((seat, command))
    }
}

/// A box is known by the first key that it shows: like the lab it is new each time.
fn ssh_config(dir: &Path, key: &Path, boxes: &[(&str, Ipv4Addr)]) -> String {
    let mut text = String::new();
    for (name, address) in boxes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Host {name}\n  HostName {address}");
    }
    let _ = write!(
        text,
        "Host *
  User {USER}
  IdentityFile {}
  IdentitiesOnly yes
  IdentityAgent none
  PasswordAuthentication no
  UserKnownHostsFile {}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking accept-new
  LogLevel ERROR
",
        key.display(),
        dir.join("known_hosts").display()
    );
    text
}
