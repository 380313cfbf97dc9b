//! Rules of the users, and of the way in.

use std::net::IpAddr;

use super::Findings;
use crate::config::diagnostic::{Complaint, KeyPath};
use crate::config::limits;
use crate::config::model::Config;
use crate::config::users::check_banner;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let root = KeyPath::root();
    few(root.key("users"), "users", config.users.len(), limits::USERS_MAX, findings);
    for (name, user) in &config.users {
        let at = root.key("users").key(name);
        findings.number(at.key("level"), user.level.into(), limits::LEVEL);
        few(at.key("ssh-keys"), "keys of one user", user.ssh_keys.len(), limits::SSH_KEYS_MAX, findings);
        if user.secret.is_none() && user.ssh_keys.is_empty() {
            let complaint = Complaint::new(format!("nobody can log in as `{name}`"))
                .help("give the user `secret` or `ssh-keys`, or remove it");
            findings.warning(at, complaint);
        }
    }
    if let Err((wrong, help)) = check_banner(&config.banner) {
        findings.error(root.key("banner"), Complaint::new(wrong).help(help));
    }
    ssh(config, findings);
}

fn ssh(config: &Config, findings: &mut Findings) {
    let at = KeyPath::root().key("ssh");
    let ssh = &config.ssh;
    if ssh.listen.is_empty() {
        let help = "name an address, such as listen: [\"[::]:22\"], or say enabled: false";
        findings.error(at.key("listen"), Complaint::new("the SSH listener has no address").help(help));
    }
    few(at.key("listen"), "addresses to listen at", ssh.listen.len(), limits::SSH_LISTEN_MAX, findings);
    few(at.key("access"), "networks", ssh.access.len(), limits::SSH_ACCESS_MAX, findings);
    for (index, listen) in ssh.listen.iter().enumerate() {
        let taken = !listen.ip().is_unspecified()
            && config.virtual_servers.values().any(|virtual_server| virtual_server.addresses.contains(&listen.ip()));
        if taken {
            let complaint = Complaint::new(format!("{} is a virtual address", listen.ip()))
                .help("its packets go to real servers; listen at an address of this box");
            findings.error(at.key("listen").key(index), complaint);
        }
    }
    for (index, prefix) in ssh.access.iter().enumerate() {
        let most = if matches!(prefix.address, IpAddr::V4(_)) { 32 } else { 128 };
        if prefix.length > most {
            let complaint = Complaint::new(format!("{prefix} is no network"));
            findings.error(at.key("access").key(index), complaint);
        }
    }
    findings.time(at.key("grace"), ssh.grace, limits::SSH_GRACE);
    findings.number(at.key("attempts"), ssh.attempts.into(), limits::SSH_ATTEMPTS);
    findings.time(at.key("idle"), ssh.idle, limits::SSH_IDLE);
    findings.number(at.key("sessions"), ssh.sessions.into(), limits::SSH_SESSIONS);
}

pub(super) fn few(at: KeyPath, what: &str, count: usize, max: usize, findings: &mut Findings) {
    if count > max {
        findings
            .error(at, Complaint::new(format!("{count} {what} are too many")).help(format!("at most {max} can be")));
    }
}
