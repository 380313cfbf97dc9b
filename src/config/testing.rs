//! Any valid `Config`, for property tests of whoever reads or writes one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::http::{Date, Http, HttpTls, Token, TokenHash};
use super::limits::{self, Range};
use super::logging::*;
use super::model::*;
use super::pair::{Fence, Pair, Path};
use super::probe::*;
use super::profile::{Defaults, Profile};
use super::users::{Secret, Ssh, SshKey, User};
use crate::core::random::Random;

/// A valid configuration, another one for each seed; the larger `size` (from 1), the more is in it.
pub fn config(seed: u64, size: usize) -> Config {
    let mut dice = Dice(Random::new(seed));
    let d = &mut dice;
    let servers: BTreeMap<Name, Server> =
        d.names(size).into_iter().enumerate().map(|(index, name)| (name, server(d, index))).collect();
    let names: Vec<Name> = servers.keys().cloned().collect();
    let mut pools: BTreeMap<Name, Pool> = d.names(size).into_iter().map(|name| (name, pool(d, &names))).collect();
    entangle(d, &mut pools);
    let virtual_servers = d.names(size).into_iter().enumerate();
    let virtual_servers = virtual_servers.map(|(index, name)| (name, virtual_server(d, index, &pools))).collect();
    let mut source_nat = vec![
        SourceNat { address: address(true, 3, 0), ports: SourceNat::PORTS_DEFAULT },
        SourceNat { address: address(false, 3, 0), ports: Ports { first: 2000, last: 2999 } },
    ];
    if d.coin() {
        source_nat.push(SourceNat { address: address(false, 3, 1), ports: Ports::single(3000) });
    }
    let inside =
        [Prefix { address: address(true, 1, 0), length: 16 }, Prefix { address: address(false, 1, 0), length: 64 }];
    let port = d.number(Range { min: 0, max: 65_535 }) as u16;
    let host: IpAddr = if d.coin() { Ipv4Addr::new(127, 0, 0, 9).into() } else { Ipv6Addr::LOCALHOST.into() };
    let interfaces = interfaces(d, inside.into_iter());
    Config {
        hostname: d.name(),
        source_nat,
        pair: d.maybe(pair).filter(|_| interfaces.mac.is_some()),
        interfaces,
        limits: Limits {
            connections: d.number(limits::CONNECTIONS),
            embryonic: d.number(limits::EMBRYONIC),
            persistence: d.number(limits::PERSISTENCE),
            fragments: d.number(limits::FRAGMENTS),
        },
        http: d.maybe(|d| http(d, SocketAddr::new(host, port))).unwrap_or_default(),
        users: if d.coin() { d.names(3).into_iter().map(|name| (name, user(d))).collect() } else { BTreeMap::new() },
        enable_secret: d.maybe(secret),
        banner: d
            .one_of(&["", "", "Keep out", "Two\n\n  \"lines\" \\n^C of 100%: | ? !", "! a\n\tb"])
            .replace('\t', " "),
        ssh: if d.coin() { ssh(d) } else { Ssh::default() },
        logging: if d.coin() { logging(d) } else { Logging::default() },
        snmp: d.maybe(|d| Snmp {
            agentx: if d.coin() {
                AgentAddress::Path("/var/agentx/master".into())
            } else {
                AgentAddress::Tcp((host, d.number(limits::Range { min: 1, max: 65_535 }) as u16).into())
            },
        }),
        servers,
        pools,
        virtual_servers,
    }
}

fn http(d: &mut Dice, local: SocketAddr) -> Http {
    let is_open = d.coin();
    let networks =
        [Prefix { address: address(true, 8, 0), length: 24 }, Prefix { address: address(false, 8, 0), length: 48 }];
    let some = |d: &mut Dice| networks.iter().filter(|_| d.coin()).copied().collect::<Vec<_>>();
    let outside: SocketAddr = (address(false, 5, 0), 8443).into();
    let tls = HttpTls { certificate: "/etc/lbd/http \"1\".crt".into(), key: "/etc/lbd/http.key".into() };
    let tokens = d.names(3).into_iter().enumerate().map(|(index, name)| {
        let expires = d.maybe(|d| Date::new(d.one_of(&["2027-01-31", "9999-12-31", "0001-01-01"])).unwrap());
        let hash = TokenHash([index as u8; 32]);
        (name, Token { hash, level: d.number(limits::TOKEN_LEVEL) as u8, expires, from: some(d) })
    });
    let tokens = tokens.collect();
    Http {
        listen: if is_open { vec![local, outside] } else { vec![local] },
        tls: (is_open || d.coin()).then_some(tls),
        allow: if is_open { networks.to_vec() } else { some(d) },
        require_token: d.coin(),
        tokens,
    }
}

fn user(d: &mut Dice) -> User {
    let mut keys = SSH_KEYS.to_vec();
    keys.retain(|_| d.coin());
    User {
        level: d.number(limits::LEVEL) as u8,
        secret: d.maybe(secret),
        ssh_keys: keys.into_iter().map(|key| SshKey::new(key).unwrap()).collect(),
    }
}

fn secret(d: &mut Dice) -> Secret {
    Secret::new(d.one_of(&SECRETS)).unwrap()
}

const SECRETS: [&str; 2] = [
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "$6$0123456789abcdef$8CGkKDSyVpVlVNcs5PssRw/Tb8EgfecuA6D/zsRQFumJaU.s8KgTWWc2HfgkB7h2n1qIKiJFeSyUFrwvhILXy.",
];

const SSH_KEYS: [&str; 3] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBswk1BTN5+Ml1L4mQLT3KwpIEkdEC6c9OzXRG4+u2vX",
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBB19Wemqqc9lw7aoC8CISM2Od/Lni0dPgd7GvbeMQnY5KcYdSQ9kBrGFFah5gPXWjiJxMfgNf2/552+kUuDiqH0= admin@desk",
    "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBMQsee4X2Ra7WLedVYvjAnGKkjAFVolb5pgoeSt7CbSKVCqheEk7qIYxfRpigl+WIZyRFyY2TUPLa2cihLv5PNgayEAYDtDfE5Jwj5vsUyAX1xBsuuPGpowE16ho1XQzNQ== a \"b\" \\ ? | ! é",
];

fn ssh(d: &mut Dice) -> Ssh {
    let listen: [SocketAddr; 2] = [(address(true, 5, 0), 22).into(), (address(false, 5, 0), port(d)).into()];
    let default = Ssh::default();
    Ssh {
        enabled: d.coin(),
        listen: if d.coin() { listen.to_vec() } else { default.listen },
        grace: d.time(limits::SSH_GRACE),
        attempts: d.number(limits::SSH_ATTEMPTS) as u8,
        idle: d.time(limits::SSH_IDLE),
        access: [
            Prefix { address: address(true, 8, 0), length: 24 },
            Prefix { address: address(false, 8, 0), length: 48 },
        ]
        .into_iter()
        .filter(|_| d.coin())
        .collect(),
        sessions: d.number(limits::SSH_SESSIONS) as u8,
    }
}

fn logging(d: &mut Dice) -> Logging {
    let servers = (0..3).map(|index| {
        let transport = [LogTransport::Udp, LogTransport::Tcp, LogTransport::Tls][d.below(3)];
        let facility =
            [Facility::User, Facility::Daemon, Facility::Auth, Facility::Local(d.below(8) as u8)][d.below(4)];
        let severities = [LogSeverity::Error, LogSeverity::Warning, LogSeverity::Notice, LogSeverity::Debug];
        let tls = transport == LogTransport::Tls;
        LogServer {
            transport,
            port: if d.coin() { port(d) } else { transport.port() },
            facility,
            severity: d.maybe(|d| severities[d.below(4)]).unwrap_or(LogSeverity::Info),
            ca_file: tls.then(|| "/etc/lbd/a \"ca\".pem".into()),
            name: d.maybe(|_| "logs.example".to_owned()).filter(|_| tls),
            ..LogServer::new(address(d.coin(), 9, index))
        }
    });
    let servers: Vec<LogServer> = servers.collect();
    Logging {
        source: d.maybe(|d| address(d.coin(), 5, 0)),
        servers: servers.into_iter().filter(|_| d.coin()).collect(),
    }
}

fn interfaces(d: &mut Dice, inside: impl Iterator<Item = Prefix>) -> Interfaces {
    let manage = d.coin();
    let bridge = d.maybe(|_| "br0".to_owned()).or(manage.then(|| "br1".to_owned()));
    let own =
        [Prefix { address: address(true, 5, 0), length: 24 }, Prefix { address: address(false, 5, 0), length: 64 }];
    let cross = d.below(PORTS.len());
    let uplinks: Vec<String> = if bridge.is_some() {
        PORTS.iter().enumerate().filter(|(n, _)| *n != cross && d.coin()).map(|(_, port)| (*port).to_owned()).collect()
    } else {
        Vec::new()
    };
    Interfaces {
        ports: PORTS.map(str::to_owned).to_vec(),
        manage,
        mac: d.maybe(mac).or(manage.then_some(Mac([2, 0, 0, 0, 0, 1]))),
        addresses: own.into_iter().filter(|_| manage && d.coin()).collect(),
        stp: d.maybe(|d| uplinks.is_empty() && d.coin()).filter(|_| manage),
        cross_connect: PORTS.iter().skip(cross).take(1).filter(|_| bridge.is_some()).map(|p| (*p).to_owned()).collect(),
        uplinks,
        bridge,
        inside: inside.filter(|_| d.coin()).collect(),
        xdp: d.one_of(&[XdpMode::Auto, XdpMode::Native, XdpMode::Generic]),
    }
}

fn pair(d: &mut Dice) -> Pair {
    let file = |d: &mut Dice| PathBuf::from(d.one_of(&["/etc/lbd/pair.key", "/a \"b\"#/c: d", "/dev/ttyS1"]));
    let udp = Path::Udp {
        local: address(true, 6, 0),
        peer: address(true, 6, 1),
        port: d.maybe(port).unwrap_or(Path::PORT_DEFAULT),
        interface: d.maybe(|d| d.one_of(&PORTS).to_owned()),
    };
    let serial = Path::Serial { device: file(d), baud: d.one_of(&[115_200, 921_600]) };
    let heartbeat = d.number(Range { min: 50, ..limits::HEARTBEAT });
    Pair {
        peer_mac: Mac([6, 0, 0, 0, 0, 1]),
        key_file: file(d),
        priority: d.number(limits::PRIORITY) as u8,
        preempt: d.maybe(|d| d.time(limits::PREEMPT)),
        heartbeat: Duration::from_millis(heartbeat.into()),
        dead: Duration::from_millis(d.number(Range { min: 5 * heartbeat, ..limits::DEAD }).into()),
        paths: d.names(2).into_iter().zip([udp, serial]).collect(),
        track: PORTS.iter().filter(|_| d.coin()).map(|port| (*port).to_owned()).collect(),
        gateways: [address(true, 7, 0), address(false, 7, 0)].into_iter().filter(|_| d.coin()).collect(),
        orphan_after: d.time(limits::ORPHAN_AFTER),
        fence: d.maybe(|d| Fence {
            command: vec!["/bin/fence".into(), d.one_of(&["", "off", "a b", "'#: \"", "- x"]).to_owned()],
            timeout: d.time(limits::FENCE_TIMEOUT),
        }),
    }
}

/// Names of interfaces, one of them such that a notation may mistake it.
const PORTS: [&str; 4] = ["eth1", "enp0s31f6.10", "true", "\"a,b]{c}#"];

/// By role and number, so that no two owners share one.
fn address(v4: bool, role: u8, number: usize) -> IpAddr {
    let number = u16::try_from(number + 1).unwrap();
    let [high, low] = number.to_be_bytes();
    if v4 {
        Ipv4Addr::new(10, role, high, low).into()
    } else {
        Ipv6Addr::new(0xfd00, role.into(), 0, 0, 0, 0, 0, number).into()
    }
}

fn mac(d: &mut Dice) -> Mac {
    let [a, b, c, e, f, ..] = d.next().to_be_bytes();
    Mac([2, a, b, c, e, f])
}

fn server(d: &mut Dice, index: usize) -> Server {
    let families = d.below(3);
    let v4 = if let IpAddr::V4(v4) = address(true, 2, index) { Some(v4) } else { None };
    let v6 = if let IpAddr::V6(v6) = address(false, 2, index) { Some(v6) } else { None };
    Server {
        address: v4.filter(|_| families != 1),
        address6: v6.filter(|_| families != 0),
        weight: d.number(limits::WEIGHT) as u16,
        max_connections: d.number(limits::MAX_CONNECTIONS),
        link: d.maybe(|d| Link {
            mac: mac(d),
            port: d.one_of(&PORTS).to_owned(),
            vlan: d.maybe(|d| d.number(limits::VLAN) as u16),
        }),
    }
}

/// Has pools name others, with which they have no server in common.
fn entangle(d: &mut Dice, pools: &mut BTreeMap<Name, Pool>) {
    let empty = Name::new("an-empty-pool").unwrap();
    let clients =
        vec![Prefix { address: address(true, 9, 0), length: 24 }, Prefix { address: address(false, 9, 0), length: 48 }];
    for pool in pools.values_mut() {
        pool.backup_pool = d.maybe(|_| empty.clone());
        let share = d.number(Range { min: 0, max: Migrate::SHARE_MAX.into() }) as u16;
        pool.migrate = d.maybe(|d| Migrate {
            to: empty.clone(),
            share,
            clients: if d.coin() { clients.clone() } else { Vec::new() },
        });
    }
    let like = pools.values().next().unwrap().clone();
    pools.insert(empty, Pool { members: Vec::new(), port: None, backup_pool: None, migrate: None, ..like });
}

fn port(d: &mut Dice) -> u16 {
    d.number(Range { min: 1, max: 65_535 }) as u16
}

fn pool(d: &mut Dice, servers: &[Name]) -> Pool {
    let has_ports = d.coin();
    let members = servers.iter().filter(|_| d.coin()).cloned().collect::<Vec<_>>();
    let member = |d: &mut Dice, server| Member {
        server,
        port: d.maybe(port).filter(|_| has_ports),
        weight: d.maybe(|d| d.number(limits::WEIGHT) as u16),
        backup: d.coin(),
    };
    let profile = d.maybe(|d| d.one_of(&Profile::ALL));
    let default = Defaults::of(profile);
    let min_up = if d.coin() { 0 } else { d.number(limits::MIN_UP) as u16 };
    Pool {
        profile,
        members: members.into_iter().map(|server| member(d, server)).collect(),
        port: d.maybe(port).filter(|_| has_ports),
        scheduler: d.one_of(&[
            Scheduler::Maglev,
            Scheduler::RoundRobin,
            Scheduler::LeastConnections,
            Scheduler::SourceHash,
        ]),
        slow_start: d.time(limits::SLOW_START),
        check: if d.coin() { check(d) } else { Check { port: Some(port(d)), ..default.check } },
        min_up,
        below_min: match min_up {
            0 => BelowMin::Backup,
            _ => d.one_of(&[BelowMin::Backup, BelowMin::Hold, BelowMin::Refuse]),
        },
        backup_pool: None,
        on_failure: d.one_of(&[OnFailure::Reset, OnFailure::Keep]),
        migrate: None,
    }
}

fn check(d: &mut Dice) -> Check {
    let kind = match d.below(4) {
        0 => CheckKind::Auto,
        1 => CheckKind::None,
        _ => CheckKind::Probe(Arc::new(probe(d))),
    };
    let interval = d.time(limits::CHECK_INTERVAL);
    let timeout = d.time(limits::CHECK_TIMEOUT);
    let timeout = if d.coin() { timeout } else { Check::default().timeout }.min(interval);
    let fast_interval = Check::fast_interval_of(interval);
    Check {
        port: if matches!(kind, CheckKind::Probe(_)) { Some(port(d)) } else { d.maybe(port) },
        kind,
        aim: d.one_of(&[Aim::Auto, Aim::Server]),
        interval,
        fast_interval: if d.coin() { d.time(limits::CHECK_FAST_INTERVAL).min(interval) } else { fast_interval },
        timeout,
        slow: d.maybe(|d| d.time(limits::CHECK_SLOW).min(timeout)),
        rise: d.number(limits::CHECK_COUNT) as u8,
        fall: d.number(limits::CHECK_COUNT) as u8,
        flap_hold: d.time(limits::FLAP_HOLD),
    }
}

fn probe(d: &mut Dice) -> Probe {
    match d.below(14) {
        0 => Probe::Tcp,
        1 => Probe::Tls(tls(d)),
        2 => {
            let sender = d.maybe(|d| d.one_of(&["", "probe@example.net", "'\"@x"]).to_owned());
            Probe::Smtp(SmtpProbe {
                security: security(d, true),
                helo: d.maybe(|_| "lb1.example.net".to_owned()),
                login: d.maybe(login),
                recipient: d.maybe(|_| "null@example.net".to_owned()).filter(|_| sender.is_some()),
                sender,
            })
        }
        3 => Probe::Pop3(MailboxProbe { security: security(d, true), login: d.maybe(login), mailbox: None }),
        4 => {
            let login = d.maybe(login);
            let mailbox = d.maybe(|_| "Probe, {1} #x".to_owned()).filter(|_| login.is_some());
            Probe::Imap(MailboxProbe { security: security(d, true), login, mailbox })
        }
        5 => Probe::Http(HttpProbe {
            security: security(d, false),
            method: d.one_of(&["GET", "HEAD"]).to_owned(),
            host: d.maybe(|_| "www.example.net".to_owned()),
            path: d.one_of(&["/", "/healthz?a=b&c=%20#x"]).to_owned(),
            status: d.one_of(&[&[(200, 399)][..], &[(200, 200), (301, 302)][..]]).to_vec(),
            body: d.maybe(|_| "^\\s*OK: [0-9]+, \"fine\"$".to_owned()),
        }),
        6 => Probe::Dns(DnsProbe {
            query: d.one_of(&[".", "example.net"]).to_owned(),
            record: d.one_of(&["SOA", "MX"]).to_owned(),
            rcode: d.maybe(|d| d.one_of(&["NOERROR", "NXDOMAIN"]).to_owned()),
            answer: d.maybe(|_| "10 mx.example.net.".to_owned()),
            tcp: d.coin(),
        }),
        7 => Probe::Radius(RadiusProbe { secret_file: file(d), login: d.maybe(login) }),
        8 => Probe::Ftp(FtpProbe { security: security(d, true), login: d.maybe(login) }),
        9 => Probe::Ldap(LdapProbe { security: security(d, false), login: d.maybe(login) }),
        10 => Probe::Mysql(MysqlProbe { login: d.maybe(login) }),
        11 => Probe::Icmp,
        12 => Probe::Arp,
        _ => Probe::Script(ScriptProbe {
            command: d
                .one_of(&[&["/bin/true"][..], &["/bin/x", "-H", "{address}", "true", "7"][..]])
                .to_vec()
                .iter()
                .map(|word| (*word).to_owned())
                .collect(),
        }),
    }
}

fn file(d: &mut Dice) -> PathBuf {
    d.one_of(&["/etc/lbd/probe", "/a b/{c}: d#"]).into()
}

fn login(d: &mut Dice) -> Login {
    Login { user: d.one_of(&["probe", "cn=probe,dc=example", "no", "7"]).to_owned(), password_file: file(d) }
}

fn tls(d: &mut Dice) -> TlsOptions {
    TlsOptions {
        name: d.maybe(|_| "mx.example.net".to_owned()),
        ca_file: d.maybe(file),
        min_days: d.maybe(|d| d.number(limits::MIN_DAYS) as u16),
    }
}

fn security(d: &mut Dice, may_start: bool) -> Security {
    match d.below(3) {
        0 => Security::Tls(tls(d)),
        1 if may_start => Security::StartTls(tls(d)),
        _ => Security::Plain,
    }
}

fn virtual_server(d: &mut Dice, index: usize, pools: &BTreeMap<Name, Pool>) -> VirtualServer {
    let mut addresses = vec![address(d.coin(), 4, 2 * index)];
    addresses.extend(d.maybe(|d| address(d.coin(), 4, 2 * index + 1)));
    let names = d.names(4).into_iter().enumerate();
    VirtualServer { addresses, services: names.map(|(index, name)| (name, service(d, index, pools))).collect() }
}

fn service(d: &mut Dice, index: usize, pools: &BTreeMap<Name, Pool>) -> Service {
    let (name, pool) = pools.iter().nth(d.below(pools.len())).unwrap();
    let has_ports = pool.port.is_some() || pool.members.iter().any(|member| member.port.is_some());
    let first = 1000 * (index as u16 + 1) + d.below(100) as u16;
    let last = if has_ports || d.coin() { first } else { first + d.below(800) as u16 };
    let protocol = d.one_of(&[Protocol::Tcp, Protocol::Udp]);
    let mode = d.one_of(&[Mode::Dsr, Mode::Nat, Mode::FullNat]);
    let default = Defaults::of(pool.profile);
    let mut timeouts = default.timeouts_of(protocol);
    match protocol {
        Protocol::Udp => timeouts.udp = d.time(limits::FLOW_TIME),
        Protocol::Tcp if d.coin() => {
            timeouts.embryonic = d.time(limits::FLOW_TIME);
            timeouts.unproven = d.time(limits::FLOW_TIME);
            timeouts.established = d.time(limits::FLOW_TIME);
            timeouts.closing = d.time(limits::FLOW_TIME);
            timeouts.closed = d.time(limits::FLOW_TIME);
        }
        Protocol::Tcp => {}
    }
    let udp = match d.below(3) {
        1 if protocol == Protocol::Udp => UdpLife::PerPacket,
        2 if protocol == Protocol::Udp => UdpLife::MaxAge(d.time(limits::FLOW_TIME)),
        _ => UdpLife::Idle,
    };
    let control = protocol == Protocol::Tcp && first == last;
    let passive = Ports { first: 20_000 + 100 * index as u16, last: 20_050 + 100 * index as u16 };
    Service {
        protocol,
        ports: Ports { first, last },
        pool: name.clone(),
        mode: if has_ports && mode == Mode::Dsr { Mode::Nat } else { mode },
        persistence: d.maybe(persistence),
        timeouts,
        udp,
        passive: match default.passive_of(protocol, Ports { first, last }) {
            Some(_) => Some(passive),
            None => d.maybe(|_| passive).filter(|_| control),
        },
    }
}

fn persistence(d: &mut Dice) -> Persistence {
    if d.coin() {
        // All of one group have the same.
        return Persistence { group: Some(Name::new("group").unwrap()), prefix4: 24, ..Persistence::default() };
    }
    Persistence {
        timeout: d.time(limits::FLOW_TIME),
        prefix4: d.number(limits::PREFIX4) as u8,
        prefix6: d.number(limits::PREFIX6) as u8,
        group: None,
    }
}

/// Chance out of a seed.
struct Dice(Random);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0.number()
    }
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let value = make(self);
        self.coin().then_some(value)
    }
    /// The ends of a range are as likely as what lies between.
    fn number(&mut self, range: Range) -> u32 {
        match self.below(4) {
            0 => range.min,
            1 => range.max,
            _ => range.min + (self.next() % u64::from(range.max - range.min + 1)) as u32,
        }
    }
    fn time(&mut self, range: Range) -> Duration {
        Duration::from_millis(self.number(range).into())
    }
    fn name(&mut self) -> Name {
        const LETTERS: &[u8] = b"ABCXYZabcefnxyz0123456789._-";
        // What some notation may take for something else.
        const TRICKY: [&str; 14] =
            ["1", "1.0", "0x1f", "1e3", "no", "true", "NULL", "-", "---", "...", ".inf", "y", "12_3", "ON"];
        if self.below(4) == 0 {
            return Name::new(self.one_of(&TRICKY)).unwrap();
        }
        let length = 1 + self.below(Name::LENGTH_MAX);
        let text: String = (0..length).map(|_| char::from(self.one_of(LETTERS))).collect();
        Name::new(&text).unwrap()
    }
    fn names(&mut self, max: usize) -> BTreeSet<Name> {
        let count = 1 + self.below(max);
        (0..count).map(|_| self.name()).collect()
    }
}
