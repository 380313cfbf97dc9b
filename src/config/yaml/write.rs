//! A `Config` as YAML. Reading it gives the same `Config` back.

use std::fmt::Display;
use std::time::Duration;

use super::choice::{Choice, UdpLifeKind};
use crate::config::pair::{Fence, Pair, Path};
use crate::config::validate::time;
use crate::config::{
    BelowMin, Check, Config, Defaults, Facility, Http, HttpTls, Interfaces, Limits, LogServer, LogSeverity,
    LogTransport, Logging, Member, Migrate, Name, OnFailure, Persistence, Pool, Server, Service, SourceNat, Ssh,
    Timeouts, Token, UdpLife, User, VirtualServer, XdpMode,
};

/// The whole configuration, without what is left at its default.
pub fn to_yaml(config: &Config) -> String {
    let mut out = Lines::default();
    out.line(0, "hostname", name(&config.hostname));
    interfaces(&config.interfaces, &mut out);
    if !config.source_nat.is_empty() {
        out.open(0, "source-nat");
        for source in &config.source_nat {
            let ports = (source.ports != SourceNat::PORTS_DEFAULT).then(|| pair("ports", source.ports));
            out.item(1, map([Some(pair("address", quoted(source.address))), ports]));
        }
    }
    if let Some(pair) = &config.pair {
        paired(pair, &mut out);
    }
    limits(&config.limits, &mut out);
    http(&config.http, &mut out);
    if !config.users.is_empty() {
        out.open(0, "users");
        config.users.iter().for_each(|(key, entry)| out.line(1, &name(key), user(entry)));
    }
    if let Some(secret) = &config.enable_secret {
        out.line(0, "enable-secret", quoted(secret.as_str()));
    }
    if !config.banner.is_empty() {
        out.line(0, "banner", quoted(&config.banner));
    }
    ssh(&config.ssh, &mut out);
    logging(&config.logging, &mut out);
    if let Some(snmp) = &config.snmp {
        out.line(0, "snmp", map([Some(pair("agentx", quoted(&snmp.agentx)))]));
    }
    if !config.servers.is_empty() {
        out.open(0, "servers");
        config.servers.iter().for_each(|(key, entry)| out.line(1, &name(key), server(entry)));
    }
    if !config.pools.is_empty() {
        out.open(0, "pools");
        config.pools.iter().for_each(|(key, entry)| pool(key, entry, &mut out));
    }
    if !config.virtual_servers.is_empty() {
        out.open(0, "virtual-servers");
        config.virtual_servers.iter().for_each(|(key, entry)| virtual_server(key, entry, config, &mut out));
    }
    out.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, depth: usize, key: &str, value: impl Display) {
        self.0.push_str(&format!("{:1$}{key}: {value}\n", "", depth * 2));
    }
    fn open(&mut self, depth: usize, key: &str) {
        self.0.push_str(&format!("{:1$}{key}:\n", "", depth * 2));
    }
    fn item(&mut self, depth: usize, value: impl Display) {
        self.0.push_str(&format!("{:1$}- {value}\n", "", depth * 2));
    }
}

/// `{a: 1, b: 2}` of what is there.
fn map(pairs: impl IntoIterator<Item = Option<String>>) -> String {
    format!("{{{}}}", pairs.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

pub(super) fn pair(key: &str, value: impl Display) -> String {
    format!("{key}: {value}")
}

pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

/// In quotes, for what has a colon or is not ours to know: YAML's escapes are a superset of JSON's.
pub(super) fn quoted(value: impl Display) -> String {
    serde_json::Value::String(value.to_string()).to_string()
}

/// A name, in quotes where YAML would see a number, a truth value or a mark in it.
fn name(name: &Name) -> String {
    let text = name.as_str();
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

fn unless_default<T: PartialEq>(key: &str, value: &T, default: &T, text: impl FnOnce(&T) -> String) -> Option<String> {
    (value != default).then(|| pair(key, text(value)))
}

fn unless_default_time(key: &str, value: Duration, default: Duration) -> Option<String> {
    unless_default(key, &value, &default, |value| time(*value))
}

fn paired(of: &Pair, out: &mut Lines) {
    let time_unless = |out: &mut Lines, key: &str, value: Duration, default: Duration| {
        if value != default {
            out.line(1, key, time(value));
        }
    };
    out.open(0, "pair");
    out.line(1, "peer-mac", quoted(of.peer_mac));
    out.line(1, "key-file", quoted(of.key_file.display()));
    if of.priority != Pair::PRIORITY_DEFAULT {
        out.line(1, "priority", of.priority);
    }
    if let Some(delay) = of.preempt {
        out.line(1, "preempt", time(delay));
    }
    time_unless(out, "heartbeat", of.heartbeat, Pair::HEARTBEAT_DEFAULT);
    time_unless(out, "dead", of.dead, Pair::DEAD_DEFAULT);
    time_unless(out, "orphan-after", of.orphan_after, Pair::ORPHAN_AFTER_DEFAULT);
    out.open(1, "paths");
    for (key, path) in &of.paths {
        out.line(2, &name(key), map(self::path(path)));
    }
    if !of.track.is_empty() {
        out.line(1, "track", list(of.track.iter().map(quoted)));
    }
    if !of.gateways.is_empty() {
        out.line(1, "gateways", list(of.gateways.iter().map(quoted)));
    }
    if let Some(fence) = &of.fence {
        let command = pair("command", list(fence.command.iter().map(quoted)));
        let timeout = unless_default_time("timeout", fence.timeout, Fence::TIMEOUT_DEFAULT);
        out.line(1, "fence", map([Some(command), timeout]));
    }
}

fn path(path: &Path) -> Vec<Option<String>> {
    match path {
        Path::Udp { local, peer, port, interface } => vec![
            Some(pair("local", quoted(local))),
            Some(pair("peer", quoted(peer))),
            (*port != Path::PORT_DEFAULT).then(|| pair("port", port)),
            interface.as_ref().map(|interface| pair("interface", quoted(interface))),
        ],
        Path::Serial { device, baud } => vec![
            Some(pair("device", quoted(device.display()))),
            (*baud != Path::BAUD_DEFAULT).then(|| pair("baud", baud)),
        ],
    }
}

fn interfaces(interfaces: &Interfaces, out: &mut Lines) {
    out.open(0, "interfaces");
    if let Some(bridge) = &interfaces.bridge {
        out.line(1, "bridge", quoted(bridge));
    }
    out.line(1, "ports", list(interfaces.ports.iter().map(quoted)));
    if interfaces.manage {
        out.line(1, "manage", true);
    }
    if let Some(mac) = interfaces.mac {
        out.line(1, "mac", quoted(mac));
    }
    if !interfaces.addresses.is_empty() {
        out.line(1, "addresses", list(interfaces.addresses.iter().map(quoted)));
    }
    if let Some(stp) = interfaces.stp {
        out.line(1, "stp", stp);
    }
    for (key, ports) in [("uplinks", &interfaces.uplinks), ("cross-connect", &interfaces.cross_connect)] {
        if !ports.is_empty() {
            out.line(1, key, list(ports.iter().map(quoted)));
        }
    }
    if !interfaces.inside.is_empty() {
        out.line(1, "inside", list(interfaces.inside.iter().map(quoted)));
    }
    if interfaces.xdp != XdpMode::default() {
        out.line(1, "xdp", interfaces.xdp.word());
    }
}

fn limits(limits: &Limits, out: &mut Lines) {
    let default = Limits::default();
    if *limits == default {
        return;
    }
    out.open(0, "limits");
    for (key, value, default) in [
        ("connections", limits.connections, default.connections),
        ("embryonic", limits.embryonic, default.embryonic),
        ("persistence", limits.persistence, default.persistence),
        ("fragments", limits.fragments, default.fragments),
    ] {
        if value != default {
            out.line(1, key, value);
        }
    }
}

fn http(http: &Http, out: &mut Lines) {
    let default = Http::default();
    if *http == default {
        return;
    }
    out.open(0, "http");
    if http.listen != default.listen {
        out.line(1, "listen", list(http.listen.iter().map(quoted)));
    }
    if let Some(HttpTls { certificate, key }) = &http.tls {
        let files = [("certificate", certificate), ("key", key)];
        out.line(1, "tls", map(files.map(|(key, file)| Some(pair(key, quoted(file.display()))))));
    }
    if !http.allow.is_empty() {
        out.line(1, "allow", list(http.allow.iter().map(quoted)));
    }
    if http.require_token {
        out.line(1, "require-token", true);
    }
    if !http.tokens.is_empty() {
        out.open(1, "tokens");
        for (key, token) in &http.tokens {
            out.line(
                2,
                &name(key),
                map([
                    Some(pair("hash", quoted(token.hash))),
                    unless_default("level", &token.level, &Token::LEVEL_DEFAULT, u8::to_string),
                    token.expires.map(|day| pair("expires", quoted(day))),
                    (!token.from.is_empty()).then(|| pair("from", list(token.from.iter().map(quoted)))),
                ]),
            );
        }
    }
}

fn user(user: &User) -> String {
    map([
        unless_default("level", &user.level, &User::LEVEL_DEFAULT, u8::to_string),
        user.secret.as_ref().map(|secret| pair("secret", quoted(secret.as_str()))),
        (!user.ssh_keys.is_empty()).then(|| pair("ssh-keys", list(user.ssh_keys.iter().map(quoted)))),
    ])
}

fn ssh(ssh: &Ssh, out: &mut Lines) {
    let default = Ssh::default();
    if *ssh == default {
        return;
    }
    out.open(0, "ssh");
    if ssh.enabled != default.enabled {
        out.line(1, "enabled", ssh.enabled);
    }
    if ssh.listen != default.listen {
        out.line(1, "listen", list(ssh.listen.iter().map(quoted)));
    }
    if ssh.grace != default.grace {
        out.line(1, "grace", time(ssh.grace));
    }
    if ssh.attempts != default.attempts {
        out.line(1, "attempts", ssh.attempts);
    }
    if ssh.idle != default.idle {
        out.line(1, "idle", time(ssh.idle));
    }
    if !ssh.access.is_empty() {
        out.line(1, "access", list(ssh.access.iter().map(quoted)));
    }
    if ssh.sessions != default.sessions {
        out.line(1, "sessions", ssh.sessions);
    }
}

fn logging(logging: &Logging, out: &mut Lines) {
    if *logging == Logging::default() {
        return;
    }
    out.open(0, "logging");
    if let Some(source) = logging.source {
        out.line(1, "source", quoted(source));
    }
    if !logging.servers.is_empty() {
        out.open(1, "servers");
        logging.servers.iter().for_each(|server| out.item(2, log_server(server)));
    }
}

fn log_server(server: &LogServer) -> String {
    map([
        Some(pair("address", quoted(server.address))),
        unless_default("transport", &server.transport, &LogTransport::default(), |value| value.word().to_owned()),
        unless_default("port", &server.port, &server.transport.port(), u16::to_string),
        unless_default("facility", &server.facility, &Facility::default(), |value| value.word().to_owned()),
        unless_default("severity", &server.severity, &LogSeverity::Info, |value| Choice::word(*value).to_owned()),
        server.ca_file.as_ref().map(|file| pair("ca-file", quoted(file.display()))),
        server.name.as_ref().map(|name| pair("name", quoted(name))),
    ])
}

fn server(server: &Server) -> String {
    map([
        server.address.map(|address| pair("address", address)),
        server.address6.map(|address| pair("address6", quoted(address))),
        unless_default("weight", &server.weight, &1, u16::to_string),
        unless_default("max-connections", &server.max_connections, &0, u32::to_string),
        server.link.as_ref().map(|link| {
            let vlan = link.vlan.map(|vlan| pair("vlan", vlan));
            pair("link", map([Some(pair("mac", quoted(link.mac))), Some(pair("port", quoted(&link.port))), vlan]))
        }),
    ])
}

fn pool(key: &Name, pool: &Pool, out: &mut Lines) {
    let default = Defaults::of(pool.profile);
    out.open(1, &name(key));
    if let Some(profile) = pool.profile {
        out.line(2, "profile", profile.word());
    }
    out.line(2, "members", list(pool.members.iter().map(member)));
    if let Some(port) = pool.port {
        out.line(2, "port", port);
    }
    if pool.scheduler != default.scheduler {
        out.line(2, "scheduler", pool.scheduler.word());
    }
    if pool.slow_start != Pool::SLOW_START_DEFAULT {
        out.line(2, "slow-start", time(pool.slow_start));
    }
    if pool.check != default.check {
        out.line(2, "check", check(&pool.check, &default.check));
    }
    if pool.min_up != 0 {
        out.line(2, "min-up", pool.min_up);
    }
    if pool.below_min != BelowMin::default() {
        out.line(2, "below-min", pool.below_min.word());
    }
    if let Some(backup) = &pool.backup_pool {
        out.line(2, "backup-pool", name(backup));
    }
    if pool.on_failure != OnFailure::default() {
        out.line(2, "on-failure", pool.on_failure.word());
    }
    if let Some(Migrate { to, share, clients }) = &pool.migrate {
        let percent = (*share > 0).then(|| pair("share", format!("{}.{:02}%", share / 100, share % 100)));
        let clients = (!clients.is_empty()).then(|| pair("clients", list(clients.iter().map(quoted))));
        out.line(2, "migrate", map([Some(pair("to", name(to))), percent, clients]));
    }
}

fn member(member: &Member) -> String {
    if member.port.is_none() && member.weight.is_none() && !member.backup {
        return name(&member.server);
    }
    map([
        Some(pair("server", name(&member.server))),
        member.port.map(|port| pair("port", port)),
        member.weight.map(|weight| pair("weight", weight)),
        member.backup.then(|| pair("backup", true)),
    ])
}

fn check(check: &Check, base: &Check) -> String {
    let fast = Check::fast_interval_of(check.interval);
    let mut pairs = super::check::written(&check.kind, &base.kind);
    pairs.extend([
        check.port.map(|port| pair("port", port)),
        unless_default("target", &check.aim, &base.aim, |aim| aim.word().to_owned()),
        unless_default_time("interval", check.interval, base.interval),
        unless_default_time("fast-interval", check.fast_interval, fast),
        unless_default_time("timeout", check.timeout, base.timeout.min(check.interval)),
        check.slow.map(|slow| pair("slow", time(slow))),
        unless_default("rise", &check.rise, &base.rise, u8::to_string),
        unless_default("fall", &check.fall, &base.fall, u8::to_string),
        unless_default_time("flap-hold", check.flap_hold, base.flap_hold),
    ]);
    map(pairs)
}

fn virtual_server(key: &Name, entry: &VirtualServer, config: &Config, out: &mut Lines) {
    out.open(1, &name(key));
    out.line(2, "addresses", list(entry.addresses.iter().map(quoted)));
    if !entry.services.is_empty() {
        out.open(2, "services");
        for (key, entry) in &entry.services {
            let profile = config.pools.get(&entry.pool).and_then(|pool| pool.profile);
            service(key, entry, &Defaults::of(profile), out);
        }
    }
}

fn service(key: &Name, service: &Service, default: &Defaults, out: &mut Lines) {
    out.open(3, &name(key));
    if service.protocol != default.protocol {
        out.line(4, "protocol", service.protocol.word());
    }
    if Some(service.ports) != default.ports {
        out.line(4, "port", service.ports);
    }
    out.line(4, "pool", name(&service.pool));
    out.line(4, "mode", service.mode.word());
    match (&service.persistence, &default.persistence) {
        (None, None) => {}
        (None, Some(_)) => out.line(4, "persistence", map([Some(pair("enabled", false))])),
        (Some(entry), base) if Some(entry) != base.as_ref() => {
            out.line(4, "persistence", persistence(entry, &base.clone().unwrap_or_default()));
        }
        (Some(_), _) => {}
    }
    let base = default.timeouts_of(service.protocol);
    if service.timeouts != base {
        out.line(4, "timeouts", timeouts(&service.timeouts, &base));
    }
    if service.udp != default.udp_of(service.protocol) {
        let (kind, age) = match service.udp {
            UdpLife::Idle => (UdpLifeKind::Idle, None),
            UdpLife::PerPacket => (UdpLifeKind::PerPacket, None),
            UdpLife::MaxAge(age) => (UdpLifeKind::MaxAge, Some(pair("max-age", time(age)))),
        };
        out.line(4, "udp", map([Some(pair("life", kind.word())), age]));
    }
    if let Some(passive) =
        service.passive.filter(|passive| Some(*passive) != default.passive_of(service.protocol, service.ports))
    {
        out.line(4, "passive", passive);
    }
}

fn persistence(persistence: &Persistence, default: &Persistence) -> String {
    map([
        unless_default_time("timeout", persistence.timeout, default.timeout),
        unless_default("prefix4", &persistence.prefix4, &default.prefix4, u8::to_string),
        unless_default("prefix6", &persistence.prefix6, &default.prefix6, u8::to_string),
        persistence.group.as_ref().map(|group| pair("group", name(group))),
    ])
}

fn timeouts(timeouts: &Timeouts, default: &Timeouts) -> String {
    map([
        unless_default_time("embryonic", timeouts.embryonic, default.embryonic),
        unless_default_time("unproven", timeouts.unproven, default.unproven),
        unless_default_time("established", timeouts.established, default.established),
        unless_default_time("closing", timeouts.closing, default.closing),
        unless_default_time("closed", timeouts.closed, default.closed),
        unless_default_time("udp", timeouts.udp, default.udp),
    ])
}
