//! A site for tests: a bridge `br0` of two ports, servers `pc0`… behind them, one pool and one service
//! per virtual server `vs0`…, everything known and in both families.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{Inputs, Plan};
use crate::config::{
    BelowMin, Check, Config, Http, Interfaces, Limits, Mac, Member, Mode, Name, OnFailure, Pool, Ports, Protocol,
    Scheduler, Server, Service, Timeouts, UdpLife, VirtualServer,
};
use crate::core::admin::Admin;
use crate::core::check::{Outcome, Verdict};
use crate::core::forwarding::{DestKey, Family, ServiceKey};
use crate::core::moment::Moment;
use crate::core::network::{IfIndex, Link, LinkKind, Neighbour, Network};
use crate::core::target::{Health, targets};

pub const BRIDGE: IfIndex = 10;
/// Names `p0`, `p1`.
pub const PORTS: [IfIndex; 2] = [11, 12];
/// Members per pool, at most; server i is in the pools of service i - 7 to i.
pub const POOL_SIZE: usize = 8;

fn name(prefix: &str, index: usize) -> Name {
    Name::new(&format!("{prefix}{index}")).unwrap()
}

pub fn server(index: usize) -> Name {
    name("pc", index)
}

pub fn virtual_server(index: usize) -> Name {
    name("vs", index)
}

pub fn service(index: usize) -> Name {
    name("smtp", index)
}

pub fn pool(index: usize) -> Name {
    name("pool", index)
}

pub fn key(index: usize, family: Family) -> ServiceKey {
    ServiceKey { virtual_server: virtual_server(index), service: service(index), family }
}

pub fn dest(service: usize, family: Family, member: usize) -> DestKey {
    DestKey { service: key(service, family), server: server(member) }
}

pub fn v4(index: usize) -> IpAddr {
    Ipv4Addr::from(0x0a01_0001 + u32::try_from(index).unwrap()).into()
}

pub fn v6(index: usize) -> IpAddr {
    Ipv6Addr::from(0xfd00_0000_0000_0000_0000_0000_0001_0000_u128 + index as u128).into()
}

pub fn mac(index: usize) -> Mac {
    let [.., a, b] = index.to_be_bytes();
    Mac([2, 0, 0, 1, a, b])
}

pub fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

pub fn config(servers: usize, services: usize) -> Config {
    let mut config = Config {
        hostname: Name::new("lb1").unwrap(),
        interfaces: Interfaces {
            bridge: Some("br0".into()),
            ports: vec!["p0".into(), "p1".into()],
            ..Interfaces::default()
        },
        source_nat: Vec::new(),
        pair: None,
        limits: Limits::default(),
        http: Http::default(),
        users: Default::default(),
        enable_secret: None,
        banner: String::new(),
        logging: Default::default(),
        snmp: None,
        ssh: Default::default(),
        servers: BTreeMap::new(),
        pools: BTreeMap::new(),
        virtual_servers: BTreeMap::new(),
    };
    for index in 0..servers {
        let (IpAddr::V4(address), IpAddr::V6(address6)) = (v4(index), v6(index)) else { unreachable!() };
        let one =
            Server { address: Some(address), address6: Some(address6), weight: 1, max_connections: 0, link: None };
        config.servers.insert(server(index), one);
    }
    for index in 0..services {
        let members = (0..servers.min(POOL_SIZE)).map(|offset| member((index + offset) % servers)).collect();
        let one = Pool {
            members,
            port: None,
            scheduler: Scheduler::Maglev,
            slow_start: Duration::from_secs(90),
            check: Check::default(),
            profile: None,
            min_up: 0,
            below_min: BelowMin::default(),
            backup_pool: None,
            on_failure: OnFailure::Reset,
            migrate: None,
        };
        config.pools.insert(pool(index), one);
        let one = Service {
            protocol: Protocol::Tcp,
            ports: Ports::single(25),
            pool: pool(index),
            mode: Mode::Dsr,
            persistence: None,
            timeouts: Timeouts::default(),
            udp: UdpLife::Idle,
            passive: None,
        };
        let low = u16::try_from(index).unwrap();
        let addresses = vec![
            Ipv4Addr::from(0xc000_0200 + u32::from(low)).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low).into(),
        ];
        let one = VirtualServer { addresses, services: BTreeMap::from([(service(index), one)]) };
        config.virtual_servers.insert(virtual_server(index), one);
    }
    config
}

pub fn member(index: usize) -> Member {
    Member { server: server(index), port: None, weight: None, backup: false }
}

/// Server i is behind port i modulo 2.
pub fn network(servers: usize) -> Network {
    let link = |name: &str, mac: u8, kind| Link {
        name: name.into(),
        mac: Mac([2, 0, 0, 0, 0, mac]),
        mtu: 1500,
        running: true,
        kind,
    };
    let port = LinkKind::BridgePort { bridge: BRIDGE, forwarding: true };
    let mut network = Network::default();
    network.links.insert(BRIDGE, link("br0", 0xb0, LinkKind::Bridge { ageing_ms: 300_000 }));
    network.links.insert(PORTS[0], link("p0", 1, port));
    network.links.insert(PORTS[1], link("p1", 2, port));
    for index in 0..servers {
        for address in [v4(index), v6(index)] {
            network.neighbours.insert(address, Neighbour { link: BRIDGE, mac: mac(index) });
        }
        network.fdb.insert((mac(index), 0), PORTS[index % 2]);
    }
    network
}

/// All services in another mode than DSR.
pub fn set_mode(config: &mut Config, mode: Mode) {
    let services = config.virtual_servers.values_mut().flat_map(|entry| entry.services.values_mut());
    services.for_each(|service| service.mode = mode);
}

pub fn outcome(verdict: Verdict) -> Outcome {
    Outcome { verdict, took: std::time::Duration::from_millis(1), certificate_ends: None }
}

/// All that a plan needs, owned.
#[derive(Clone, Debug)]
pub struct Site {
    pub config: Config,
    pub health: Health,
    pub admin: Admin,
    pub network: Network,
    pub now: Moment,
}

impl Site {
    /// Every server is up since the start.
    pub fn new(servers: usize, services: usize) -> Self {
        let mut site = Self {
            config: config(servers, services),
            health: Health::default(),
            admin: Admin::default(),
            network: network(servers),
            now: at(1000),
        };
        site.probe_all();
        site
    }

    /// Probes everything anew, with success.
    pub fn probe_all(&mut self) {
        let wanted = targets(&self.config);
        self.health = Health::new(&wanted, at(0));
        for target in &wanted {
            self.health.record(target, outcome(Verdict::Success(String::new())), at(1));
        }
    }

    /// The server's probes of one family get so many equal results, at `now`.
    pub fn probe(&mut self, index: usize, family: Family, verdict: &Verdict, times: u8) {
        let wanted = if family == Family::V4 { v4(index) } else { v6(index) };
        for target in targets(&self.config) {
            let own = target.question.via.as_ref().map_or(target.question.address.ip(), |via| via.address);
            for _ in 0..times {
                if own == wanted {
                    self.health.record(&target, outcome(verdict.clone()), self.now);
                }
            }
        }
    }

    pub fn fail(&mut self, index: usize) {
        for family in [Family::V4, Family::V6] {
            self.probe(
                index,
                family,
                &Verdict::failure(crate::core::check::FailureKind::Refused, "connection refused"),
                3,
            );
        }
    }

    pub fn recover(&mut self, index: usize) {
        for family in [Family::V4, Family::V6] {
            self.probe(index, family, &Verdict::Success(String::new()), 2);
        }
    }

    pub fn pool_mut(&mut self, index: usize) -> &mut Pool {
        self.config.pools.get_mut(&pool(index)).unwrap()
    }

    pub fn service_mut(&mut self, index: usize) -> &mut Service {
        let virtual_server = self.config.virtual_servers.get_mut(&virtual_server(index)).unwrap();
        virtual_server.services.get_mut(&service(index)).unwrap()
    }

    pub fn server_mut(&mut self, index: usize) -> &mut Server {
        self.config.servers.get_mut(&server(index)).unwrap()
    }

    pub fn inputs(&self) -> Inputs<'_> {
        Inputs { config: &self.config, health: &self.health, admin: &self.admin, network: &self.network, now: self.now }
    }

    pub fn plan(&self) -> Plan {
        super::plan(&self.inputs())
    }
}
