//! Rules of a pair: what two boxes need to speak, and relations between its times.

use std::time::Duration;

use super::{Findings, time};
use crate::config::diagnostic::{Complaint, Finding, KeyPath};
use crate::config::limits;
use crate::config::model::Config;
use crate::config::pair::{Pair, Path};

/// A heartbeat on a serial line, framing and protection included.
const SERIAL_HEARTBEAT_BYTES: u64 = 115;
/// A byte takes ten bits, start and stop included.
const BITS_OF_A_BYTE: u64 = 10;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let Some(pair) = &config.pair else { return };
    let at = KeyPath::root().key("pair");
    super::objects::unicast(pair.peer_mac, at.key("peer-mac"), findings);
    match config.interfaces.mac {
        None => {
            let complaint = Complaint::lack("a pair needs `interfaces.mac`")
                .help("the other box knows this one by its fixed MAC; such as mac: \"02:00:5e:00:00:01\"");
            findings.error(at.clone(), complaint);
        }
        Some(own) if own == pair.peer_mac => {
            let complaint = Complaint::new("`peer-mac` is this box's own MAC")
                .help("it is `interfaces.mac` of the other box; the two must differ");
            let finding = Finding::error(at.key("peer-mac"), complaint);
            findings.list.push(finding.related(KeyPath::root().key("interfaces").key("mac"), "this box's"));
        }
        Some(_) => {}
    }
    times(pair, &at, findings);
    tracked(config, pair, &at, findings);
    if pair.paths.is_empty() {
        let help = "such as paths: {cross: {local: 10.9.0.1, peer: 10.9.0.2, interface: eth5}}";
        findings.error(at.key("paths"), Complaint::lack("there is no path for heartbeats").help(help));
    } else if pair.paths.len() == 1 {
        let complaint = Complaint::new("one path alone: when it is cut, both boxes own until it heals")
            .help("add one that shares nothing with it: another network, or a serial line");
        findings.warning(at.key("paths"), complaint);
    }
    for (name, path) in &pair.paths {
        single(path, pair.heartbeat, &at.key("paths").key(name), findings);
    }
    if let Some(fence) = &pair.fence {
        findings.time(at.key("fence").key("timeout"), fence.timeout, limits::FENCE_TIMEOUT);
        if fence.command.is_empty() {
            let help = "such as command: [/usr/local/sbin/power-off, lb2]";
            findings.error(at.key("fence").key("command"), Complaint::lack("the command is empty").help(help));
        }
    }
}

fn times(pair: &Pair, at: &KeyPath, findings: &mut Findings) {
    findings.time(at.key("heartbeat"), pair.heartbeat, limits::HEARTBEAT);
    findings.time(at.key("dead"), pair.dead, limits::DEAD);
    findings.time(at.key("orphan-after"), pair.orphan_after, limits::ORPHAN_AFTER);
    if let Some(delay) = pair.preempt {
        findings.time(at.key("preempt"), delay, limits::PREEMPT);
    }
    let least = pair.heartbeat * Pair::HEARTBEATS_IN_DEAD;
    if pair.dead < least {
        let complaint = Complaint::new(format!(
            "`dead` of {} is shorter than {} heartbeats of {}",
            time(pair.dead),
            Pair::HEARTBEATS_IN_DEAD,
            time(pair.heartbeat)
        ));
        let complaint =
            complaint.help(format!("a single lost heartbeat must mean nothing; say dead: {}, or more", time(least)));
        let finding = Finding::error(at.key("dead"), complaint);
        findings.list.push(finding.related(at.key("heartbeat"), "the heartbeat"));
    }
}

fn tracked(config: &Config, pair: &Pair, at: &KeyPath, findings: &mut Findings) {
    for (index, port) in pair.track.iter().enumerate() {
        if !config.interfaces.ports.contains(port) {
            let mut complaint = Complaint::new(format!("`{port}` is not one of `interfaces.ports`"));
            complaint.help = findings.did_you_mean(port, config.interfaces.ports.iter().map(String::as_str));
            let finding = Finding::error(at.key("track").key(index), complaint);
            findings.list.push(finding.related(KeyPath::root().key("interfaces").key("ports"), "the ports"));
        }
    }
}

fn single(path: &Path, heartbeat: Duration, at: &KeyPath, findings: &mut Findings) {
    match path {
        Path::Udp { local, peer, interface, .. } => {
            if local.is_ipv4() != peer.is_ipv4() {
                let complaint = Complaint::new(format!("{local} and {peer} are not of one address family"));
                findings.error(at.key("peer"), complaint.help("give both as IPv4 or both as IPv6"));
            } else if local == peer {
                let help = "`local` is an address of this box, `peer` one of the other";
                findings.error(at.key("peer"), Complaint::new("both ends have the same address").help(help));
            }
            if let Some(interface) = interface {
                super::objects::interface_name(interface, at.key("interface"), findings);
            }
        }
        Path::Serial { baud, .. } => {
            if !Path::BAUDS.contains(baud) {
                let known = Path::BAUDS.map(|baud| baud.to_string()).join(", ");
                let complaint = Complaint::new(format!("{baud} is no speed of a serial line"));
                findings.error(at.key("baud"), complaint.help(format!("one of {known}")));
                return;
            }
            let half = u128::from(u64::from(*baud) / BITS_OF_A_BYTE) * heartbeat.as_millis() / 2 / 1_000;
            if half < u128::from(SERIAL_HEARTBEAT_BYTES) {
                let complaint = Complaint::new(format!(
                    "a heartbeat of {SERIAL_HEARTBEAT_BYTES} bytes every {} takes more than half of a line of {baud} baud",
                    time(heartbeat)
                ));
                findings.error(at.key("baud"), complaint.help("choose a faster line, or a longer `heartbeat`"));
            }
        }
    }
}
