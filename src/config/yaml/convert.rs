//! From the raw structure to a `Config`. What cannot be read is reported and
//! left out, so that the rest can still be looked at.

use std::collections::BTreeMap;

use super::choice::UdpLifeKind;
use super::leaf::{Given, Leaf, Named, Placed};
use super::notation::{NameText, Notation};
use super::places::Places;
use super::raw::{
    RawCheck, RawConfig, RawHttp, RawHttpTls, RawInterfaces, RawLimits, RawLink, RawLogServer, RawLogging, RawMember,
    RawMigrate, RawPair, RawPath, RawPersistence, RawPool, RawServer, RawService, RawSnmp, RawSourceNat, RawSsh,
    RawTimeouts, RawToken, RawUdp, RawUser, RawVirtualServer,
};
use crate::config::diagnostic::{Complaint, Diagnostic, KeyPath, Severity};
use crate::config::pair::{Fence, Pair, Path};
use crate::config::validate::udp_on_tcp;
use crate::config::{
    Check, Config, Defaults, Http, HttpTls, Interfaces, Limits, Link, LogServer, LogSeverity, Logging, Member, Migrate,
    Name, Persistence, Pool, Ports, Protocol, Server, Service, Snmp, SourceNat, Ssh, Timeouts, Token, UdpLife, User,
    VirtualServer,
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
    // Before the services, which take from the profiles of their pools what they don't say.
    let pools = r.named(&root.key("pools"), &raw.pools, |r, at, raw, _| Some(r.pool(at, raw)));
    let config = Config {
        // "lb" is a name, so that nothing is left to go wrong but a bug, which a test would show.
        hostname: r.read(&root.key("hostname"), &raw.hostname).unwrap_or_else(Name::of_a_box),
        interfaces: raw.interfaces.0.as_ref().map_or_else(Interfaces::default, |raw| r.interfaces(raw)),
        source_nat: r.list(&root.key("source-nat"), &raw.source_nat, Reading::source_nat),
        pair: raw.pair.0.as_ref().and_then(|raw| r.pair(&root.key("pair"), raw)),
        limits: raw.limits.0.as_ref().map_or_else(Limits::default, |raw| r.limits(raw)),
        http: raw.http.0.as_ref().map_or_else(Http::default, |raw| r.http(&root.key("http"), raw)),
        users: r.named(&root.key("users"), &raw.users, |r, at, raw, _| Some(r.user(at, raw))),
        enable_secret: r.read(&root.key("enable-secret"), &raw.enable_secret),
        banner: r.read(&root.key("banner"), &raw.banner).unwrap_or_default(),
        ssh: raw.ssh.0.as_ref().map_or_else(Ssh::default, |raw| r.ssh(raw)),
        logging: raw.logging.0.as_ref().map_or_else(Logging::default, |raw| r.logging(raw)),
        snmp: raw.snmp.0.as_ref().and_then(|raw| r.snmp(raw)),
        servers: r.named(&root.key("servers"), &raw.servers, |r, at, raw, _| Some(r.server(at, raw))),
        virtual_servers: r.named(&root.key("virtual-servers"), &raw.virtual_servers, |r, at, raw, _| {
            Some(r.virtual_server(at, raw, &pools))
        }),
        pools,
    };
    (config, reading)
}

impl Reading {
    /// A value; `None` if it is absent, or cannot be read, which is then in the findings.
    pub(super) fn read<T: Notation>(&mut self, at: &KeyPath, leaf: &Given<Leaf<T>>) -> Option<T::Value> {
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

    pub(super) fn refuse(&mut self, at: KeyPath, complaint: Complaint) {
        self.refused.push(Diagnostic::new(Severity::Error, &at, complaint, self.places.near(&at)));
        self.missing.push(at);
    }

    /// Reports keys that must be there and are not.
    pub(super) fn require(&mut self, at: &KeyPath, what: &str, keys: &[(&str, bool, &str)]) {
        for (key, present, example) in keys {
            if !present {
                let complaint =
                    Complaint::lack(format!("{what} lacks `{key}`")).help(format!("such as {key}: {example}"));
                self.refuse(at.key(key), complaint);
            }
        }
    }

    /// The items of a list that can be read. Paths count those, as `validate` does.
    fn list<R, T>(
        &mut self,
        at: &KeyPath,
        raw: &Given<Vec<R>>,
        item: impl FnMut(&mut Self, &KeyPath, &R) -> Option<T>,
    ) -> Vec<T> {
        self.each(at, raw.0.as_deref().unwrap_or_default(), item)
    }

    fn each<R, T>(
        &mut self,
        at: &KeyPath,
        raw: &[R],
        mut item: impl FnMut(&mut Self, &KeyPath, &R) -> Option<T>,
    ) -> Vec<T> {
        let mut list = Vec::new();
        for raw in raw {
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

    pub(super) fn leaves<T: Notation>(&mut self, at: &KeyPath, raw: &Given<Vec<Leaf<T>>>) -> Vec<T::Value> {
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

    fn http(&mut self, at: &KeyPath, raw: &RawHttp) -> Http {
        Http {
            listen: match &raw.listen.0 {
                Some(several) => self.each(&at.key("listen"), &several.0, |r, at, leaf| r.read_leaf(at, leaf)),
                None => Http::default().listen,
            },
            tls: raw.tls.0.as_ref().and_then(|raw| self.http_tls(&at.key("tls"), raw)),
            allow: self.leaves(&at.key("allow"), &raw.allow),
            require_token: self.read(&at.key("require-token"), &raw.require_token).unwrap_or_default(),
            tokens: self.named(&at.key("tokens"), &raw.tokens, |r, at, raw, _| r.token(at, raw)),
        }
    }

    fn http_tls(&mut self, at: &KeyPath, raw: &RawHttpTls) -> Option<HttpTls> {
        let keys = [
            ("certificate", raw.certificate.0.is_some(), "/etc/lbd/http.crt"),
            ("key", raw.key.0.is_some(), "/etc/lbd/http.key"),
        ];
        self.require(at, "`tls`", &keys);
        let certificate = self.read(&at.key("certificate"), &raw.certificate);
        let key = self.read(&at.key("key"), &raw.key);
        Some(HttpTls { certificate: certificate?, key: key? })
    }

    fn token(&mut self, at: &KeyPath, raw: &RawToken) -> Option<Token> {
        self.require(at, "a token", &[("hash", raw.hash.0.is_some(), "sha256:…, which `lbd token NAME` makes")]);
        let hash = self.read(&at.key("hash"), &raw.hash);
        let level = self.small(&at.key("level"), &raw.level).unwrap_or(Token::LEVEL_DEFAULT);
        let expires = self.read(&at.key("expires"), &raw.expires);
        // One whose end cannot be read must not be one without an end.
        let is_unclear = raw.expires.0.is_some() && expires.is_none();
        let from = self.leaves(&at.key("from"), &raw.from);
        Some(Token { hash: hash.filter(|_| !is_unclear)?, level, expires, from })
    }

    fn user(&mut self, at: &KeyPath, raw: &RawUser) -> User {
        User {
            level: self.small(&at.key("level"), &raw.level).unwrap_or(User::LEVEL_DEFAULT),
            secret: self.read(&at.key("secret"), &raw.secret),
            ssh_keys: self.leaves(&at.key("ssh-keys"), &raw.ssh_keys),
        }
    }

    fn ssh(&mut self, raw: &RawSsh) -> Ssh {
        let at = KeyPath::root().key("ssh");
        let default = Ssh::default();
        Ssh {
            enabled: self.read(&at.key("enabled"), &raw.enabled).unwrap_or(default.enabled),
            listen: match &raw.listen.0 {
                Some(_) => self.leaves(&at.key("listen"), &raw.listen),
                None => default.listen,
            },
            grace: self.read(&at.key("grace"), &raw.grace).unwrap_or(default.grace),
            attempts: self.small(&at.key("attempts"), &raw.attempts).unwrap_or(default.attempts),
            idle: self.read(&at.key("idle"), &raw.idle).unwrap_or(default.idle),
            access: self.leaves(&at.key("access"), &raw.access),
            sessions: self.small(&at.key("sessions"), &raw.sessions).unwrap_or(default.sessions),
        }
    }

    fn logging(&mut self, raw: &RawLogging) -> Logging {
        let at = KeyPath::root().key("logging");
        Logging {
            source: self.read(&at.key("source"), &raw.source),
            servers: self.list(&at.key("servers"), &raw.servers, Self::log_server),
        }
    }

    fn log_server(&mut self, at: &KeyPath, raw: &Placed<RawLogServer>) -> Option<LogServer> {
        self.places.insert(at, raw.place);
        let raw = &raw.value;
        self.require(at, "a server of `logging`", &[("address", raw.address.0.is_some(), "192.0.2.7")]);
        let address = self.read(&at.key("address"), &raw.address);
        let transport = self.read(&at.key("transport"), &raw.transport).unwrap_or_default();
        let port = self.read(&at.key("port"), &raw.port).unwrap_or(transport.port());
        let facility = self.read(&at.key("facility"), &raw.facility).unwrap_or_default();
        let severity = self.read(&at.key("severity"), &raw.severity).unwrap_or(LogSeverity::Info);
        let ca_file = self.read(&at.key("ca-file"), &raw.ca_file);
        let name = self.read(&at.key("name"), &raw.name);
        Some(LogServer { address: address?, transport, port, facility, severity, ca_file, name })
    }

    fn snmp(&mut self, raw: &RawSnmp) -> Option<Snmp> {
        let at = KeyPath::root().key("snmp");
        self.require(&at, "`snmp`", &[("agentx", raw.agentx.0.is_some(), "/var/agentx/master")]);
        Some(Snmp { agentx: self.read(&at.key("agentx"), &raw.agentx)? })
    }

    fn interfaces(&mut self, raw: &RawInterfaces) -> Interfaces {
        let at = KeyPath::root().key("interfaces");
        Interfaces {
            bridge: self.read(&at.key("bridge"), &raw.bridge),
            ports: self.leaves(&at.key("ports"), &raw.ports),
            manage: self.read(&at.key("manage"), &raw.manage).unwrap_or_default(),
            mac: self.read(&at.key("mac"), &raw.mac),
            addresses: self.leaves(&at.key("addresses"), &raw.addresses),
            stp: self.read(&at.key("stp"), &raw.stp),
            uplinks: self.leaves(&at.key("uplinks"), &raw.uplinks),
            cross_connect: self.leaves(&at.key("cross-connect"), &raw.cross_connect),
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

    fn pair(&mut self, at: &KeyPath, raw: &RawPair) -> Option<Pair> {
        let keys = [
            ("peer-mac", raw.peer_mac.0.is_some(), "\"02:00:5e:00:00:02\""),
            ("key-file", raw.key_file.0.is_some(), "/etc/lbd/pair.key"),
        ];
        self.require(at, "`pair`", &keys);
        let peer_mac = self.read(&at.key("peer-mac"), &raw.peer_mac);
        let key_file = self.read(&at.key("key-file"), &raw.key_file);
        let priority = self.small(&at.key("priority"), &raw.priority);
        let pair = Pair {
            peer_mac: peer_mac.unwrap_or_default(),
            key_file: key_file.clone().unwrap_or_default(),
            priority: priority.unwrap_or(Pair::PRIORITY_DEFAULT),
            preempt: self.read(&at.key("preempt"), &raw.preempt),
            heartbeat: self.read(&at.key("heartbeat"), &raw.heartbeat).unwrap_or(Pair::HEARTBEAT_DEFAULT),
            dead: self.read(&at.key("dead"), &raw.dead).unwrap_or(Pair::DEAD_DEFAULT),
            paths: self.named(&at.key("paths"), &raw.paths, |r, at, raw, _| r.path(at, raw)),
            track: self.leaves(&at.key("track"), &raw.track),
            gateways: self.leaves(&at.key("gateways"), &raw.gateways),
            orphan_after: self.read(&at.key("orphan-after"), &raw.orphan_after).unwrap_or(Pair::ORPHAN_AFTER_DEFAULT),
            fence: raw.fence.0.as_ref().map(|raw| Fence {
                command: self.leaves(&at.key("fence").key("command"), &raw.command),
                timeout: self.read(&at.key("fence").key("timeout"), &raw.timeout).unwrap_or(Fence::TIMEOUT_DEFAULT),
            }),
        };
        (peer_mac.is_some() && key_file.is_some()).then_some(pair)
    }

    fn path(&mut self, at: &KeyPath, raw: &RawPath) -> Option<Path> {
        let device = self.read(&at.key("device"), &raw.device);
        let baud = self.read(&at.key("baud"), &raw.baud);
        let local = self.read(&at.key("local"), &raw.local);
        let peer = self.read(&at.key("peer"), &raw.peer);
        let port = self.read(&at.key("port"), &raw.port);
        let interface = self.read(&at.key("interface"), &raw.interface);
        let udp = [
            ("local", raw.local.0.is_some()),
            ("peer", raw.peer.0.is_some()),
            ("port", raw.port.0.is_some()),
            ("interface", raw.interface.0.is_some()),
        ];
        if raw.device.0.is_some() {
            for (key, _) in udp.into_iter().filter(|(_, given)| *given) {
                let complaint = Complaint::new(format!("`{key}` means nothing on a serial line"));
                self.refuse(at.key(key), complaint.help("a path has either `device`, or `local` and `peer`"));
            }
            return Some(Path::Serial { device: device?, baud: baud.unwrap_or(Path::BAUD_DEFAULT) });
        }
        if raw.baud.0.is_some() {
            let complaint = Complaint::new("`baud` means nothing without `device`");
            self.refuse(at.key("baud"), complaint.help("it is the speed of a serial line"));
        }
        let keys = [("local", raw.local.0.is_some(), "10.9.0.1"), ("peer", raw.peer.0.is_some(), "10.9.0.2")];
        self.require(at, "a path", &keys);
        Some(Path::Udp { local: local?, peer: peer?, port: port.unwrap_or(Path::PORT_DEFAULT), interface })
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
        let profile = self.read(&at.key("profile"), &raw.profile);
        let default = Defaults::of(profile);
        Pool {
            profile,
            members: self.list(&at.key("members"), &raw.members, Self::member),
            port: self.read(&at.key("port"), &raw.port),
            scheduler: self.read(&at.key("scheduler"), &raw.scheduler).unwrap_or(default.scheduler),
            slow_start: self.read(&at.key("slow-start"), &raw.slow_start).unwrap_or(Pool::SLOW_START_DEFAULT),
            check: match &raw.check.0 {
                Some(raw) => self.check(&at.key("check"), raw, &default.check),
                None => default.check,
            },
            min_up: self.small(&at.key("min-up"), &raw.min_up).unwrap_or(0),
            below_min: self.read(&at.key("below-min"), &raw.below_min).unwrap_or_default(),
            backup_pool: self.read(&at.key("backup-pool"), &raw.backup_pool),
            on_failure: self.read(&at.key("on-failure"), &raw.on_failure).unwrap_or_default(),
            migrate: raw.migrate.0.as_ref().and_then(|raw| self.migrate(&at.key("migrate"), raw)),
        }
    }

    fn migrate(&mut self, at: &KeyPath, raw: &RawMigrate) -> Option<Migrate> {
        self.require(at, "`migrate`", &[("to", raw.to.0.is_some(), "new-mx")]);
        let to = self.read(&at.key("to"), &raw.to);
        let share = self.read(&at.key("share"), &raw.share).unwrap_or(0);
        let clients = self.leaves(&at.key("clients"), &raw.clients);
        Some(Migrate { to: to?, share, clients })
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

    fn check(&mut self, at: &KeyPath, raw: &RawCheck, base: &Check) -> Check {
        let interval = self.read(&at.key("interval"), &raw.interval).unwrap_or(base.interval);
        let fast_interval = self.read(&at.key("fast-interval"), &raw.fast_interval);
        Check {
            kind: self.check_kind(at, raw, &base.kind),
            port: self.read(&at.key("port"), &raw.port),
            aim: self.read(&at.key("target"), &raw.target).unwrap_or(base.aim),
            interval,
            fast_interval: fast_interval.unwrap_or_else(|| Check::fast_interval_of(interval)),
            timeout: self.read(&at.key("timeout"), &raw.timeout).unwrap_or(base.timeout.min(interval)),
            slow: self.read(&at.key("slow"), &raw.slow),
            rise: self.small(&at.key("rise"), &raw.rise).unwrap_or(base.rise),
            fall: self.small(&at.key("fall"), &raw.fall).unwrap_or(base.fall),
            flap_hold: self.read(&at.key("flap-hold"), &raw.flap_hold).unwrap_or(base.flap_hold),
        }
    }

    fn virtual_server(&mut self, at: &KeyPath, raw: &RawVirtualServer, pools: &BTreeMap<Name, Pool>) -> VirtualServer {
        VirtualServer {
            addresses: self.leaves(&at.key("addresses"), &raw.addresses),
            services: self
                .named(&at.key("services"), &raw.services, |r, at, raw, name| r.service(at, raw, name, pools)),
        }
    }

    fn service(
        &mut self,
        at: &KeyPath,
        raw: &RawService,
        name: &Name,
        pools: &BTreeMap<Name, Pool>,
    ) -> Option<Service> {
        let pool = self.read(&at.key("pool"), &raw.pool);
        let its = pool.as_ref().and_then(|pool| pools.get(pool));
        let default = Defaults::of(its.and_then(|pool| pool.profile));
        let keys = [
            ("port", raw.port.0.is_some() || default.ports.is_some(), "smtp"),
            ("pool", raw.pool.0.is_some(), "mx"),
            ("mode", raw.mode.0.is_some(), "dsr (or nat, or full-nat)"),
        ];
        self.require(at, &format!("service `{name}`"), &keys);
        let protocol = self.read(&at.key("protocol"), &raw.protocol);
        if raw.protocol.0.is_some() && protocol.is_none() {
            return None;
        }
        let protocol = protocol.unwrap_or(default.protocol);
        let ports: Option<Ports> = self.read(&at.key("port"), &raw.port);
        let mode = self.read(&at.key("mode"), &raw.mode);
        let persistence = match &raw.persistence.0 {
            Some(raw) => self.persistence(&at.key("persistence"), raw, default.persistence.as_ref()),
            None => default.persistence.clone(),
        };
        let timeouts = default.timeouts_of(protocol);
        let timeouts = match &raw.timeouts.0 {
            Some(raw) => self.timeouts(&at.key("timeouts"), raw, timeouts),
            None => timeouts,
        };
        let udp = match &raw.udp.0 {
            Some(raw) => self.udp(&at.key("udp"), raw),
            None => default.udp_of(protocol),
        };
        if protocol == Protocol::Tcp && udp == UdpLife::Idle && raw.udp.0.is_some() {
            // `validate` cannot see that the default was written down.
            self.refuse(at.key("udp"), udp_on_tcp());
        }
        let passive = self.read(&at.key("passive"), &raw.passive);
        let ports = if raw.port.0.is_some() { ports? } else { default.ports? };
        let passive = passive.or(default.passive_of(protocol, ports));
        Some(Service { protocol, ports, pool: pool?, mode: mode?, persistence, timeouts, udp, passive })
    }

    /// `None`: it is not wanted, although the profile brings it.
    fn persistence(&mut self, at: &KeyPath, raw: &RawPersistence, base: Option<&Persistence>) -> Option<Persistence> {
        let default = base.cloned().unwrap_or_default();
        let enabled = self.read(&at.key("enabled"), &raw.enabled).unwrap_or(true);
        let persistence = Persistence {
            timeout: self.read(&at.key("timeout"), &raw.timeout).unwrap_or(default.timeout),
            prefix4: self.small(&at.key("prefix4"), &raw.prefix4).unwrap_or(default.prefix4),
            prefix6: self.small(&at.key("prefix6"), &raw.prefix6).unwrap_or(default.prefix6),
            group: self.read(&at.key("group"), &raw.group).or(default.group),
        };
        enabled.then_some(persistence)
    }

    fn timeouts(&mut self, at: &KeyPath, raw: &RawTimeouts, default: Timeouts) -> Timeouts {
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
                    let complaint = Complaint::lack("`max-age` means nothing without `life: max-age`")
                        .help("add `life: max-age`, or remove `max-age`");
                    self.refuse(at.key("max-age"), complaint);
                }
                if other == Some(UdpLifeKind::PerPacket) { UdpLife::PerPacket } else { UdpLife::Idle }
            }
        }
    }

    /// A number whose range keeps it within a smaller type than `u32`.
    pub(super) fn small<T: Notation<Value = u32>, S: TryFrom<u32>>(
        &mut self,
        at: &KeyPath,
        leaf: &Given<Leaf<T>>,
    ) -> Option<S> {
        self.read(at, leaf).and_then(|value| S::try_from(value).ok())
    }
}
