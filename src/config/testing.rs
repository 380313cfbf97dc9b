//! Any valid `Config`, for property tests of whoever reads or writes one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::limits::{self, Range};
use super::model::*;

/// A valid configuration, another one for each seed; the larger `size` (from 1), the more is in it.
pub fn config(seed: u64, size: usize) -> Config {
    let mut dice = Dice(seed);
    let d = &mut dice;
    let servers: BTreeMap<Name, Server> =
        d.names(size).into_iter().enumerate().map(|(index, name)| (name, server(d, index))).collect();
    let names: Vec<Name> = servers.keys().cloned().collect();
    let pools: BTreeMap<Name, Pool> = d.names(size).into_iter().map(|name| (name, pool(d, &names))).collect();
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
    Config {
        hostname: d.name(),
        interfaces: Interfaces {
            bridge: d.maybe(|_| "br0".to_owned()),
            ports: PORTS.map(str::to_owned).to_vec(),
            mac: d.maybe(mac),
            inside: inside.into_iter().filter(|_| d.coin()).collect(),
            xdp: d.one_of(&[XdpMode::Auto, XdpMode::Native, XdpMode::Generic]),
        },
        source_nat,
        limits: Limits {
            connections: d.number(limits::CONNECTIONS),
            embryonic: d.number(limits::EMBRYONIC),
            persistence: d.number(limits::PERSISTENCE),
            fragments: d.number(limits::FRAGMENTS),
        },
        http: d.maybe(|_| Http { listen: SocketAddr::new(host, port) }).unwrap_or_default(),
        servers,
        pools,
        virtual_servers,
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
    let kind = [CheckKind::Auto, CheckKind::tcp(), CheckKind::None][d.below(3)].clone();
    let interval = d.time(limits::CHECK_INTERVAL);
    let timeout = d.time(limits::CHECK_TIMEOUT);
    let check = Check {
        kind: kind.clone(),
        port: if kind == CheckKind::tcp() { Some(port(d)) } else { d.maybe(port) },
        interval,
        timeout: if d.coin() { timeout } else { Check::default().timeout }.min(interval),
        rise: d.number(limits::CHECK_COUNT) as u8,
        fall: d.number(limits::CHECK_COUNT) as u8,
        aim: Aim::Auto,
        fast_interval: interval / Check::FAST_PART,
        slow: None,
        flap_hold: Check::FLAP_HOLD_DEFAULT,
    };
    Pool {
        members: members.into_iter().map(|server| member(d, server)).collect(),
        port: d.maybe(port).filter(|_| has_ports),
        scheduler: d.one_of(&[
            Scheduler::Maglev,
            Scheduler::RoundRobin,
            Scheduler::LeastConnections,
            Scheduler::SourceHash,
        ]),
        slow_start: d.time(limits::SLOW_START),
        check: if d.coin() { check } else { Check::default() },
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
    let mut timeouts = Timeouts::default();
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
    Service {
        protocol,
        ports: Ports { first, last },
        pool: name.clone(),
        mode: if has_ports && mode == Mode::Dsr { Mode::Nat } else { mode },
        persistence: d.maybe(persistence),
        timeouts,
        udp,
        on_failure: d.one_of(&[OnFailure::Reset, OnFailure::Keep]),
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

/// Chance out of a seed (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
