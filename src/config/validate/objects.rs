//! Rules of single objects: interfaces, limits, the listener, servers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, server};
use crate::config::diagnostic::{Complaint, Finding, KeyPath};
use crate::config::limits;
use crate::config::model::{Config, Interfaces, Mac, Name};

pub(super) fn interfaces(config: &Config, findings: &mut Findings) {
    let at = KeyPath::root().key("interfaces");
    let interfaces = &config.interfaces;
    if interfaces.ports.is_empty() {
        let help = "name the interfaces that face customers and servers: ports: [eth1, eth2]";
        findings.error(at.key("ports"), Complaint::new("there is no port to balance on").help(help));
    }
    if let Some(bridge) = &interfaces.bridge {
        interface_name(bridge, at.key("bridge"), findings);
    }
    let mut seen = BTreeMap::new();
    for (index, port) in interfaces.ports.iter().enumerate() {
        let at_port = at.key("ports").key(index);
        interface_name(port, at_port.clone(), findings);
        if interfaces.bridge.as_ref() == Some(port) {
            let complaint = Complaint::new(format!("`{port}` is the bridge itself"))
                .help("`ports` has the interfaces that belong to the bridge");
            findings.list.push(Finding::error(at_port.clone(), complaint).related(at.key("bridge"), "the bridge"));
        }
        if let Some(first) = seen.insert(port, at_port.clone()) {
            let complaint = Complaint::new(format!("port `{port}` stands here twice"));
            findings.list.push(Finding::error(at_port, complaint).related(first, "here first"));
        }
    }
    if let Some(mac) = interfaces.mac {
        unicast(mac, at.key("mac"), findings);
    }
    managed(interfaces, &at, findings);
    paired(interfaces, &at, findings);
}

/// What lbd needs to know of a bridge that it sets up, and what means nothing where it does not.
fn managed(interfaces: &Interfaces, at: &KeyPath, findings: &mut Findings) {
    if interfaces.manage {
        let missing = [
            ("bridge", interfaces.bridge.is_none(), "br0"),
            ("mac", interfaces.mac.is_none(), "\"02:00:5e:00:00:01\""),
        ];
        for (key, _, example) in missing.into_iter().filter(|(_, is_missing, _)| *is_missing) {
            let complaint =
                Complaint::lack(format!("`manage` needs `{key}`")).help(format!("such as {key}: {example}"));
            findings.error(at.key("manage"), complaint);
        }
        return;
    }
    for (key, given) in [("addresses", !interfaces.addresses.is_empty()), ("stp", interfaces.stp.is_some())] {
        if given {
            let complaint = Complaint::lack(format!("`{key}` means nothing on a bridge that lbd does not manage"))
                .help(format!("say manage: true, or remove `{key}` and set it where the bridge is made"));
            findings.error(at.key(key), complaint);
        }
    }
}

/// The ports that a pair opens and blocks.
fn paired(interfaces: &Interfaces, at: &KeyPath, findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    for (key, list) in [("uplinks", &interfaces.uplinks), ("cross-connect", &interfaces.cross_connect)] {
        for (index, port) in list.iter().enumerate() {
            let at_port = at.key(key).key(index);
            if !interfaces.ports.contains(port) {
                let mut complaint = Complaint::new(format!("`{port}` is not one of `interfaces.ports`"));
                complaint.help = findings.did_you_mean(port, interfaces.ports.iter().map(String::as_str));
                let finding = Finding::error(at_port.clone(), complaint);
                findings.list.push(finding.related(at.key("ports"), "the ports"));
            }
            if let Some(first) = seen.insert(port, at_port.clone()) {
                let complaint = Complaint::new(format!("port `{port}` is an uplink or cross-connect already"))
                    .help("a port leads to a router or to the other box, and stands in one list once");
                findings.list.push(Finding::error(at_port, complaint).related(first, "here first"));
            }
        }
        if interfaces.bridge.is_none() && !list.is_empty() {
            let complaint = Complaint::lack(format!("`{key}` needs `bridge`"))
                .help("only a port of a bridge can be blocked; name the bridge, such as bridge: br0");
            findings.error(at.key(key), complaint);
        }
    }
    if interfaces.stp == Some(true) && !interfaces.uplinks.is_empty() {
        let complaint = Complaint::new("spanning tree and `uplinks` exclude each other").help(
            "the kernel refuses to block or open a port while it runs spanning tree; lbd keeps the loop open itself, \
             see docs/switch.md",
        );
        findings.list.push(Finding::error(at.key("stp"), complaint).related(at.key("uplinks"), "the uplinks"));
    }
}

/// As the kernel judges (`dev_valid_name`, net/core/dev.c).
pub(super) fn interface_name(name: &str, at: KeyPath, findings: &mut Findings) {
    let wrong = if name.is_empty() || name == "." || name == ".." {
        format!("{name:?} cannot be the name of an interface")
    } else if name.len() > limits::INTERFACE_NAME_BYTES_MAX {
        format!(
            "{name:?} is {} bytes long; the name of an interface has at most {}",
            name.len(),
            limits::INTERFACE_NAME_BYTES_MAX
        )
    } else if let Some(c) = name.chars().find(|c| c.is_whitespace() || c.is_control() || "/:".contains(*c)) {
        format!("{c:?} cannot stand in the name of an interface")
    } else {
        return;
    };
    findings.error(at, Complaint::new(wrong).help("`ip link` shows the names"));
}

pub(super) fn unicast(mac: Mac, at: KeyPath, findings: &mut Findings) {
    let kind = if mac.0 == [0; 6] {
        "is all zeros"
    } else if mac.0[0] & 1 != 0 {
        "is a group address (the lowest bit of its first byte is set)"
    } else {
        return;
    };
    let help = "give a unicast address; one of your own choice starts with 02";
    findings.error(at, Complaint::new(format!("{mac} {kind}")).help(help));
}

pub(super) fn limits(config: &Config, findings: &mut Findings) {
    let at = KeyPath::root().key("limits");
    findings.number(at.key("connections"), config.limits.connections, limits::CONNECTIONS);
    findings.number(at.key("embryonic"), config.limits.embryonic, limits::EMBRYONIC);
    findings.number(at.key("persistence"), config.limits.persistence, limits::PERSISTENCE);
    findings.number(at.key("fragments"), config.limits.fragments, limits::FRAGMENTS);
}

pub(super) fn servers(config: &Config, findings: &mut Findings) {
    let used: BTreeSet<&Name> =
        config.pools.values().flat_map(|pool| pool.members.iter().map(|member| &member.server)).collect();
    for (name, entry) in &config.servers {
        let at = server(name);
        if entry.address.is_none() && entry.address6.is_none() {
            let help = "give it `address` (IPv4), `address6` (IPv6), or both";
            findings.error(at.clone(), Complaint::lack(format!("server `{name}` has no address")).help(help));
        }
        findings.number(at.key("weight"), entry.weight.into(), limits::WEIGHT);
        findings.number(at.key("max-connections"), entry.max_connections, limits::MAX_CONNECTIONS);
        if let Some(link) = &entry.link {
            unicast(link.mac, at.key("link").key("mac"), findings);
            if !config.interfaces.ports.contains(&link.port) {
                let mut complaint = Complaint::new(format!("`{}` is not one of `interfaces.ports`", link.port));
                complaint.help = findings.did_you_mean(&link.port, config.interfaces.ports.iter().map(String::as_str));
                let finding = Finding::error(at.key("link").key("port"), complaint);
                findings.list.push(finding.related(KeyPath::root().key("interfaces").key("ports"), "the ports"));
            }
            if let Some(vlan) = link.vlan {
                findings.number(at.key("link").key("vlan"), vlan.into(), limits::VLAN);
            }
        }
        if !used.contains(name) {
            let complaint = Complaint::new(format!("server `{name}` is in no pool"))
                .help("no customer reaches it; add it to the `members` of a pool");
            findings.warning(at, complaint);
        }
    }
}
