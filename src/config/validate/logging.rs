//! Rules of the servers that get the log, and of the SNMP agent.

use std::collections::BTreeSet;

use super::Findings;
use crate::config::diagnostic::{Complaint, KeyPath};
use crate::config::limits;
use crate::config::logging::LogTransport;
use crate::config::model::Config;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let at = KeyPath::root().key("logging");
    let servers = &config.logging.servers;
    if servers.len() > limits::LOG_SERVERS_MAX {
        let complaint = Complaint::new(format!("{} syslog servers are too many", servers.len()));
        let help = format!("at most {} can be; one of them can hand on", limits::LOG_SERVERS_MAX);
        findings.error(at.key("servers"), complaint.help(help));
        return;
    }
    if config.logging.source.is_some_and(|source| source.is_unspecified() || source.is_multicast()) {
        let help = "an address of this box can stand here, or nothing";
        findings.error(at.key("source"), Complaint::new("that is no source of anything").help(help));
    }
    let mut seen = BTreeSet::new();
    for (index, server) in servers.iter().enumerate() {
        let at = at.key("servers").key(index);
        let address = server.address;
        if !seen.insert(address) {
            let help = "one line for each server: say another address, or remove this one";
            findings.error(at.key("address"), Complaint::new(format!("{address} is there twice")).help(help));
        }
        if address.is_unspecified() {
            let complaint = Complaint::new(format!("{address} is no server")).help("say its address");
            findings.error(at.key("address"), complaint);
        }
        let tls = server.transport == LogTransport::Tls;
        if tls && server.ca_file.is_none() {
            let complaint = Complaint::lack("a server of `logging` with `transport: tls` lacks `ca-file`");
            findings.error(at.key("ca-file"), complaint.help("such as ca-file: /etc/lbd/logs-ca.pem"));
        }
        for (key, given) in [("ca-file", server.ca_file.is_some()), ("name", server.name.is_some())] {
            if given && !tls {
                let complaint = Complaint::new(format!("`{key}` means nothing without `transport: tls`"));
                findings.error(at.key(key), complaint.help("say transport: tls, or remove it"));
            }
        }
        if let Some(name) = &server.name
            && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
        {
            let complaint = Complaint::new(format!("{name:?} is no name of a server"));
            findings.error(at.key("name"), complaint.help("such as logs.example.net"));
        }
    }
}
