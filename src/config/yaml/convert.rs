//! From the raw structure to a `Config`. What cannot be read is reported and
//! left out, so that the rest can still be looked at.

use std::collections::BTreeMap;

use super::choice::{CheckWord, UdpLifeKind};
use super::leaf::{Given, Leaf, Named, Placed};
use super::notation::{NameText, Notation};
use super::places::Places;
use super::raw::{
    RawCheck, RawConfig, RawInterfaces, RawLimits, RawLink, RawMember, RawPersistence, RawPool, RawServer, RawService,
    RawSourceNat, RawTimeouts, RawUdp, RawVirtualServer,
};
use crate::config::diagnostic::{Complaint, Diagnostic, KeyPath, Severity};
use crate::config::validate::udp_on_tcp;
use crate::config::{
    Aim, Check, CheckKind, Config, Http, Interfaces, Limits, Link, Member, Name, Persistence, Pool, Ports, Protocol,
    Server, Service, SourceNat, Timeouts, UdpLife, VirtualServer,
};

/// What the reading brought besides the `Config`.
#[derive(Default)]
pub struct Reading {
    /// Where each object and value of the `Config` stands.
    pub places: Places,
    /// What cannot be read, and where.
    pub refused: Vec<Diagnostic>,
    /// What was left out of the `Config`, because it cannot be read.
    pub missing: Vec<KeyPath>,
}

pub fn convert(raw: &RawConfig) -> (Config, Reading) {
    let mut reading = Reading::default();
    let r = &mut reading;
    let root = KeyPath::root();
    let config = Config {
        // "lb" is a name, so that nothing is left to go wrong but a bug, which a test would show.
        hostname: r.read(&root.key("hostname"), &raw.hostname).unwrap_or_else(Name::of_a_box),
        interfaces: raw.interfaces.0.as_ref().map_or_else(Interfaces::default, |raw| r.interfaces(raw)),
        source_nat: r.list(&root.key("source-nat"), &raw.source_nat, Reading::source_nat),
        limits: raw.limits.0.as_ref().map_or_else(Limits::default, |raw| r.limits(raw)),
        http: raw.http.0.as_ref().map_or_else(Http::default, |raw| Http {
            listen: r.read(&root.key("http").key("listen"), &raw.listen).unwrap_or(Http::default().listen),
        }),
        servers: r.named(&root.key("servers"), &raw.servers, |r, at, raw, _| Some(r.server(at, raw))),
        pools: r.named(&root.key("pools"), &raw.pools, |r, at, raw, _| Some(r.pool(at, raw))),
        virtual_servers: r
            .named(&root.key("virtual-servers"), &raw.virtual_servers, |r, at, raw, _| Some(r.virtual_server(at, raw))),
    };
    (config, reading)
}

impl Reading {
    /// A value; `None` if it is absent, or cannot be read, which is then in the findings.
    fn read<T: Notation>(&mut self, at: &KeyPath, leaf: &Given<Leaf<T>>) -> Option<T::Value> {
        self.read_leaf(at, leaf.0.as_ref()?)
    }

    fn read_leaf<T: Notation>(&mut self, at: &KeyPath, leaf: &Leaf<T>) -> Option<T::Value> {
        self.places.insert(at, leaf.text.defined);
        match T::read(&leaf.text.value) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.refuse(at.clone(), complaint);
                None
            }
        }
    }

    fn refuse(&mut self, at: KeyPath, complaint: Complaint) {
        self.refused.push(Diagnostic::new(Severity::Error, &at, complaint, self.places.near(&at)));
        self.missing.push(at);
    }

    /// Reports keys that must be there and are not.
    fn require(&mut self, at: &KeyPath, what: &str, keys: &[(&str, bool, &str)]) {
        for (key, present, example) in keys {
            if !present {
                let complaint =
                    Complaint::new(format!("{what} lacks `{key}`")).help(format!("such as {key}: {example}"));
                self.refuse(at.key(key), complaint);
            }
        }
    }

    /// The items of a list that can be read. Paths count those, as `validate` does.
    fn list<R, T>(
        &mut self,
        at: &KeyPath,
        raw: &Given<Vec<R>>,
        mut item: impl FnMut(&mut Self, &KeyPath, &R) -> Option<T>,
    ) -> Vec<T> {
        let mut list = Vec::new();
        for raw in raw.0.iter().flatten() {
            let at_item = at.key(list.len());
            let known_missing = self.missing.len();
            if let Some(value) = item(self, &at_item, raw) {
                list.push(value);
            } else {
                // The next item takes its number, and overwrites its place. What the list lacks has no number.
                self.missing.truncate(known_missing);
                self.missing.push(at.key("?"));
            }
        }
        list
    }

    fn leaves<T: Notation>(&mut self, at: &KeyPath, raw: &Given<Vec<Leaf<T>>>) -> Vec<T::Value> {
        self.list(at, raw, |r, at, leaf| r.read_leaf(at, leaf))
    }

    fn named<R, T>(
        &mut self,
        at: &KeyPath,
        raw: &Given<Named<R>>,
        mut object: impl FnMut(&mut Self, &KeyPath, &R, &Name) -> Option<T>,
    ) -> BTreeMap<Name, T> {
        let mut objects = BTreeMap::new();
        for (key, raw) in raw.0.iter().flat_map(|named| &named.0) {
            let at = at.key(&key.value);
            self.places.insert(&at, key.defined);
            match NameText::read(&key.value) {
                Err(complaint) => self.refuse(at, complaint),
                Ok(name) => match object(self, &at, raw, &name) {
                    Some(value) => {
                        objects.insert(name, value);
                    }
                    None => self.missing.push(at),
                },
            }
        }
        objects
    }

    fn interfaces(&mut self, raw: &RawInterfaces) -> Interfaces {
        let at = KeyPath::root().key("interfaces");
        Interfaces {
            bridge: self.read(&at.key("bridge"), &raw.bridge),
            ports: self.leaves(&at.key("ports"), &raw.ports),
            mac: self.read(&at.key("mac"), &raw.mac),
            inside: self.leaves(&at.key("inside"), &raw.inside),
            xdp: self.read(&at.key("xdp"), &raw.xdp).unwrap_or_default(),
        }
    }

    fn source_nat(&mut self, at: &KeyPath, raw: &Placed<RawSourceNat>) -> Option<SourceNat> {
        self.places.insert(at, raw.place);
        let raw = &raw.value;
        self.require(at, "an entry of `source-nat`", &[("address", raw.address.0.is_some(), "10.1.0.9")]);
        let address = self.read(&at.key("address"), &raw.address);
        let ports = self.read(&at.key("ports"), &raw.ports).unwrap_or(SourceNat::PORTS_DEFAULT);
        Some(SourceNat { address: address?, ports })
    }

    fn limits(&mut self, raw: &RawLimits) -> Limits {
        let at = KeyPath::root().key("limits");
        let default = Limits::default();
        Limits {
            connections: self.read(&at.key("connections"), &raw.connections).unwrap_or(default.connections),
            embryonic: self.read(&at.key("embryonic"), &raw.embryonic).unwrap_or(default.embryonic),
            persistence: self.read(&at.key("persistence"), &raw.persistence).unwrap_or(default.persistence),
            fragments: self.read(&at.key("fragments"), &raw.fragments).unwrap_or(default.fragments),
        }
    }

    fn server(&mut self, at: &KeyPath, raw: &RawServer) -> Server {
        Server {
            address: self.read(&at.key("address"), &raw.address),
            address6: self.read(&at.key("address6"), &raw.address6),
            weight: self.small(&at.key("weight"), &raw.weight).unwrap_or(1),
            max_connections: self.read(&at.key("max-connections"), &raw.max_connections).unwrap_or(0),
            link: raw.link.0.as_ref().and_then(|raw| self.link(&at.key("link"), raw)),
        }
    }

    fn link(&mut self, at: &KeyPath, raw: &RawLink) -> Option<Link> {
        let mac = self.read(&at.key("mac"), &raw.mac);
        let port = self.read(&at.key("port"), &raw.port);
        let vlan = self.small(&at.key("vlan"), &raw.vlan);
        let keys = [("mac", raw.mac.0.is_some(), "02:00:00:00:00:19"), ("port", raw.port.0.is_some(), "eth2")];
        self.require(at, "`link`", &keys);
        Some(Link { mac: mac?, port: port?, vlan })
    }

    fn pool(&mut self, at: &KeyPath, raw: &RawPool) -> Pool {
        Pool {
            members: self.list(&at.key("members"), &raw.members, Self::member),
            port: self.read(&at.key("port"), &raw.port),
            scheduler: self.read(&at.key("scheduler"), &raw.scheduler).unwrap_or_default(),
            slow_start: self.read(&at.key("slow-start"), &raw.slow_start).unwrap_or(Pool::SLOW_START_DEFAULT),
            check: raw.check.0.as_ref().map_or_else(Check::default, |raw| self.check(&at.key("check"), raw)),
        }
    }

    fn member(&mut self, at: &KeyPath, raw: &RawMember) -> Option<Member> {
        self.places.insert(at, raw.place.defined);
        let raw = &raw.member;
        self.require(at, "a member", &[("server", raw.server.0.is_some(), "pc1")]);
        let server = self.read(&at.key("server"), &raw.server);
        let port = self.read(&at.key("port"), &raw.port);
        let weight = self.small(&at.key("weight"), &raw.weight);
        let backup = self.read(&at.key("backup"), &raw.backup).unwrap_or(false);
        Some(Member { server: server?, port, weight, backup })
    }

    fn check(&mut self, at: &KeyPath, raw: &RawCheck) -> Check {
        let default = Check::default();
        let interval = self.read(&at.key("interval"), &raw.interval).unwrap_or(default.interval);
        Check {
            kind: match self.read(&at.key("type"), &raw.kind) {
                None | Some(CheckWord::Auto) => CheckKind::Auto,
                Some(CheckWord::None) => CheckKind::None,
                Some(CheckWord::Tcp) => CheckKind::tcp(),
            },
            aim: Aim::default(),
            fast_interval: interval / Check::FAST_PART,
            slow: None,
            flap_hold: Check::FLAP_HOLD_DEFAULT,
            port: self.read(&at.key("port"), &raw.port),
            interval,
            timeout: self.read(&at.key("timeout"), &raw.timeout).unwrap_or(default.timeout.min(interval)),
            rise: self.small(&at.key("rise"), &raw.rise).unwrap_or(default.rise),
            fall: self.small(&at.key("fall"), &raw.fall).unwrap_or(default.fall),
        }
    }

    fn virtual_server(&mut self, at: &KeyPath, raw: &RawVirtualServer) -> VirtualServer {
        VirtualServer {
            addresses: self.leaves(&at.key("addresses"), &raw.addresses),
            services: self.named(&at.key("services"), &raw.services, Self::service),
        }
    }

    fn service(&mut self, at: &KeyPath, raw: &RawService, name: &Name) -> Option<Service> {
        let keys = [
            ("port", raw.port.0.is_some(), "smtp"),
            ("pool", raw.pool.0.is_some(), "mx"),
            ("mode", raw.mode.0.is_some(), "dsr (or nat, or full-nat)"),
        ];
        self.require(at, &format!("service `{name}`"), &keys);
        let protocol = self.read(&at.key("protocol"), &raw.protocol);
        let ports: Option<Ports> = self.read(&at.key("port"), &raw.port);
        let pool = self.read(&at.key("pool"), &raw.pool);
        let mode = self.read(&at.key("mode"), &raw.mode);
        let persistence = raw.persistence.0.as_ref().map(|raw| self.persistence(&at.key("persistence"), raw));
        let timeouts =
            raw.timeouts.0.as_ref().map_or_else(Timeouts::default, |raw| self.timeouts(&at.key("timeouts"), raw));
        let udp = raw.udp.0.as_ref().map_or(UdpLife::Idle, |raw| self.udp(&at.key("udp"), raw));
        let on_failure = self.read(&at.key("on-failure"), &raw.on_failure).unwrap_or_default();
        if raw.protocol.0.is_some() && protocol.is_none() {
            return None;
        }
        let protocol = protocol.unwrap_or(Protocol::Tcp);
        if protocol == Protocol::Tcp && udp == UdpLife::Idle && raw.udp.0.is_some() {
            // `validate` cannot see that the default was written down.
            self.refuse(at.key("udp"), udp_on_tcp());
        }
        Some(Service { protocol, ports: ports?, pool: pool?, mode: mode?, persistence, timeouts, udp, on_failure })
    }

    fn persistence(&mut self, at: &KeyPath, raw: &RawPersistence) -> Persistence {
        let default = Persistence::default();
        Persistence {
            timeout: self.read(&at.key("timeout"), &raw.timeout).unwrap_or(default.timeout),
            prefix4: self.small(&at.key("prefix4"), &raw.prefix4).unwrap_or(default.prefix4),
            prefix6: self.small(&at.key("prefix6"), &raw.prefix6).unwrap_or(default.prefix6),
            group: self.read(&at.key("group"), &raw.group),
        }
    }

    fn timeouts(&mut self, at: &KeyPath, raw: &RawTimeouts) -> Timeouts {
        let default = Timeouts::default();
        Timeouts {
            embryonic: self.read(&at.key("embryonic"), &raw.embryonic).unwrap_or(default.embryonic),
            unproven: self.read(&at.key("unproven"), &raw.unproven).unwrap_or(default.unproven),
            established: self.read(&at.key("established"), &raw.established).unwrap_or(default.established),
            closing: self.read(&at.key("closing"), &raw.closing).unwrap_or(default.closing),
            closed: self.read(&at.key("closed"), &raw.closed).unwrap_or(default.closed),
            udp: self.read(&at.key("udp"), &raw.udp).unwrap_or(default.udp),
        }
    }

    fn udp(&mut self, at: &KeyPath, raw: &RawUdp) -> UdpLife {
        let life = self.read(&at.key("life"), &raw.life);
        let age = self.read(&at.key("max-age"), &raw.max_age);
        let given = raw.max_age.0.is_some();
        match life {
            Some(UdpLifeKind::MaxAge) => {
                self.require(at, "`life: max-age`", &[("max-age", given, "60s")]);
                age.map_or(UdpLife::Idle, UdpLife::MaxAge)
            }
            other => {
                if given && (other.is_some() || raw.life.0.is_none()) {
                    let complaint = Complaint::new("`max-age` means nothing without `life: max-age`")
                        .help("add `life: max-age`, or remove `max-age`");
                    self.refuse(at.key("max-age"), complaint);
                }
                if other == Some(UdpLifeKind::PerPacket) { UdpLife::PerPacket } else { UdpLife::Idle }
            }
        }
    }

    /// A number whose range keeps it within a smaller type than `u32`.
    fn small<T: Notation<Value = u32>, S: TryFrom<u32>>(&mut self, at: &KeyPath, leaf: &Given<Leaf<T>>) -> Option<S> {
        self.read(at, leaf).and_then(|value| S::try_from(value).ok())
    }
}
