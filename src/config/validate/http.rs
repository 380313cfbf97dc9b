//! Rules of the HTTP listener and of its tokens.

use std::net::IpAddr;

use super::Findings;
use crate::config::diagnostic::{Complaint, KeyPath};
use crate::config::limits;
use crate::config::model::{Config, Prefix};
use crate::config::{Http, Token};

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let http = &config.http;
    let at = KeyPath::root().key("http");
    if http.listen.is_empty() {
        let help = "name an address, such as listen: \"127.0.0.1:8080\", or leave `listen` out";
        findings.error(at.key("listen"), Complaint::new("the HTTP listener has no address").help(help));
    }
    super::users::few(at.key("listen"), "addresses to listen at", http.listen.len(), limits::HTTP_LISTEN_MAX, findings);
    networks(at.key("allow"), &http.allow, findings);
    for index in 0..http.listen.len() {
        listen(index, config, &at, findings);
    }
    super::users::few(at.key("tokens"), "tokens", http.tokens.len(), limits::TOKENS_MAX, findings);
    for (name, token) in &http.tokens {
        let at = at.key("tokens").key(name);
        findings.number(at.key("level"), token.level.into(), limits::TOKEN_LEVEL);
        networks(at.key("from"), &token.from, findings);
        let is_same = |other: &Token| other.hash == token.hash;
        let first = http.tokens.iter().find(|(_, other)| is_same(other)).map(|(first, _)| first);
        if let Some(first) = first.filter(|first| *first != name) {
            let complaint = Complaint::new(format!("`{name}` is the same token as `{first}`"))
                .help("nobody could say which of them was used; make one of its own with `lbd token`");
            findings.error(at.key("hash"), complaint);
        }
    }
    let is_for_nobody = http.tokens.is_empty() && config.users.is_empty();
    if http.require_token && is_for_nobody {
        let complaint = Complaint::new("nobody can ask the HTTP listener: there is no token and no user")
            .help("`lbd token NAME` makes a token");
        findings.warning(at.key("require-token"), complaint);
    }
}

/// An address outside loopback wants encryption, and a word on who may come.
fn listen(index: usize, config: &Config, http_at: &KeyPath, findings: &mut Findings) {
    let http = &config.http;
    let Some(listen) = http.listen.get(index) else { return };
    let at = http_at.key("listen").key(index);
    if http.listen.iter().take(index).any(|before| before == listen && listen.port() != 0) {
        findings.error(at.clone(), Complaint::new(format!("{listen} is there twice")));
    }
    if Http::is_local(*listen) {
        return;
    }
    if http.tls.is_none() {
        let help = format!(
            "whoever listens on the way would read tokens and passwords: give `tls: {{certificate: …, key: …}}`, or \
             listen on 127.0.0.1:{0} or [::1]:{0} and come by `ssh -L`",
            listen.port()
        );
        let message = format!("{} is not a loopback address, and there is no `tls`", listen.ip());
        findings.error(at.clone(), Complaint::lack(message).help(help));
    }
    if http.allow.is_empty() {
        let message = format!("{} is not a loopback address, and no network is in `allow`", listen.ip());
        let help = "name the networks of those who may connect, such as allow: [\"192.0.2.0/24\"]";
        findings.error(at.clone(), Complaint::lack(message).help(help));
    }
    let taken = !listen.ip().is_unspecified()
        && config.virtual_servers.values().any(|virtual_server| virtual_server.addresses.contains(&listen.ip()));
    if taken {
        let complaint = Complaint::new(format!("{} is a virtual address", listen.ip()))
            .help("its packets go to real servers; listen at an address of this box");
        findings.error(at, complaint);
    }
}

fn networks(at: KeyPath, networks: &[Prefix], findings: &mut Findings) {
    super::users::few(at.clone(), "networks", networks.len(), limits::HTTP_ALLOW_MAX, findings);
    for (index, prefix) in networks.iter().enumerate() {
        let most = if matches!(prefix.address, IpAddr::V4(_)) { 32 } else { 128 };
        if prefix.length > most {
            findings.error(at.key(index), Complaint::new(format!("{prefix} is no network")));
        }
    }
}
