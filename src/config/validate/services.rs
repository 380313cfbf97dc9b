//! Services and what they ask of pools, ports, modes and each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::{Findings, pool, service, time, virtual_server};
use crate::config::diagnostic::{Complaint, Finding, KeyPath};
use crate::config::limits;
use crate::config::model::{
    CheckKind, Config, Member, Mode, Name, Persistence, Pool, Ports, Protocol, Service, Timeouts, UdpLife,
    VirtualServer,
};
use crate::config::profile::{Defaults, Profile};
use crate::config::resolve::is_probed;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let mut groups = BTreeMap::new();
    for (virtual_name, entry) in &config.virtual_servers {
        if entry.services.is_empty() {
            let complaint = Complaint::new(format!("virtual server `{virtual_name}` has no services"))
                .help("it answers ping and refuses everything else; give it `services`");
            findings.warning(virtual_server(virtual_name), complaint);
        }
        bound_twice(virtual_name, entry, findings);
        for (name, service_entry) in &entry.services {
            let at = service(virtual_name, name);
            ports(service_entry.ports, &at.key("port"), findings);
            passive(service_entry, &at, findings);
            udp(service_entry, &at, findings);
            if let Some(persistence) = &service_entry.persistence {
                persistent(persistence, &at.key("persistence"), &mut groups, findings);
            }
            let Some(pool_entry) = config.pools.get(&service_entry.pool) else {
                let mut complaint = Complaint::new(format!("there is no pool `{}`", service_entry.pool));
                complaint.help =
                    findings.did_you_mean(service_entry.pool.as_str(), config.pools.keys().map(Name::as_str));
                findings.error(at.key("pool"), complaint);
                continue;
            };
            times(service_entry, pool_entry.profile, &at, findings);
            disjoint(config, service_entry, &at, findings);
            own_clients(config, entry, service_entry, &at, findings);
            families(config, entry, service_entry, pool_entry, &at, findings);
            for used in pools_of(config, service_entry) {
                server_ports(service_entry, &used, &at, findings);
                probed(name, service_entry, &used, findings);
            }
        }
    }
    lonely_groups(groups, findings);
}

/// A port of an address belongs to one service. All services of a virtual server share its addresses.
fn bound_twice(virtual_name: &Name, entry: &VirtualServer, findings: &mut Findings) {
    struct Bound<'a> {
        protocol: Protocol,
        ports: Ports,
        name: &'a Name,
        key: &'static str,
    }
    let each = entry.services.iter().flat_map(|(name, service)| {
        let protocol = service.protocol;
        let passive = service.passive.map(|ports| Bound { protocol, ports, name, key: "passive" });
        [Bound { protocol, ports: service.ports, name, key: "port" }].into_iter().chain(passive)
    });
    let mut by_port: Vec<Bound<'_>> = each.collect();
    by_port.sort_by_key(|bound| (bound.protocol, bound.ports));
    let mut last: Option<Bound<'_>> = None;
    for this in by_port {
        match &last {
            Some(before) if before.protocol == this.protocol && this.ports.first <= before.ports.last => {
                let what = if this.ports.is_range() { ("ports", "are") } else { ("port", "is") };
                let message = format!(
                    "{} {}/{} of `{virtual_name}` {} bound twice",
                    what.0,
                    this.ports,
                    protocol(this.protocol),
                    what.1
                );
                let complaint =
                    Complaint::new(message).help(format!("service `{}` has {} already", before.name, before.ports));
                let first = service(virtual_name, before.name).key(before.key);
                let finding = Finding::error(service(virtual_name, this.name).key(this.key), complaint);
                findings.list.push(finding.related(first, "here first"));
                if this.ports.last > before.ports.last {
                    last = Some(this);
                }
            }
            _ => last = Some(this),
        }
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn ports(ports: Ports, at: &KeyPath, findings: &mut Findings) {
    if ports.first == 0 {
        findings.error(at.clone(), Complaint::new("0 is no port").help("ports go from 1 to 65535"));
    }
    if ports.first > ports.last {
        let help = format!("write {}-{}", ports.last, ports.first);
        findings.error(at.clone(), Complaint::new("the range ends before it begins").help(help));
    }
}

/// The data connections of FTP need one control port beside which they are.
fn passive(service: &Service, at: &KeyPath, findings: &mut Findings) {
    let Some(passive) = service.passive else { return };
    ports(passive, &at.key("passive"), findings);
    if service.protocol == Protocol::Udp || service.ports.is_range() || service.ports.first < 2 {
        let message = "passive ports mean nothing without the one TCP port of an FTP control connection";
        findings.error(at.key("passive"), Complaint::new(message).help("remove `passive`, or set `port: ftp`"));
    }
}

/// A pool that a service may use: what it is called, and how it comes into play.
pub(super) struct Used<'a> {
    pub name: &'a Name,
    pub pool: &'a Pool,
}

/// Its own, the one that clients are migrated to, and the backups of each.
pub(super) fn pools_of<'a>(config: &'a Config, service: &'a Service) -> Vec<Used<'a>> {
    let used = |name: &'a Name| Some(Used { name, pool: config.pools.get(name)? });
    let own = used(&service.pool);
    let migrated = own.as_ref().and_then(|own| own.pool.migrate.as_ref()).and_then(|migrate| used(&migrate.to));
    let sides: Vec<_> = own.into_iter().chain(migrated).collect();
    let backups: Vec<_> = sides.iter().filter_map(|side| used(side.pool.backup_pool.as_ref()?)).collect();
    let mut names = BTreeSet::new();
    sides.into_iter().chain(backups).filter(|used| names.insert(used.name)).collect()
}

/// A server must have one destination in a service.
fn disjoint(config: &Config, service: &Service, at: &KeyPath, findings: &mut Findings) {
    let mut seen: BTreeMap<&Name, &Name> = BTreeMap::new();
    for Used { name, pool: entry } in pools_of(config, service) {
        let in_this: BTreeSet<&Name> = entry.members.iter().map(|member| &member.server).collect();
        for server in in_this {
            if let Some(other) = seen.insert(server, name) {
                let message = format!("server `{server}` would serve it from two pools, `{other}` and `{name}`");
                let help = "`backup-pool` and `migrate` need pools without a server in common";
                let pool_at = pool(name).key("members");
                let finding = Finding::error(at.key("pool"), Complaint::new(message).help(help));
                findings.list.push(finding.related(pool_at, "here too"));
                return;
            }
        }
    }
}

/// In DSR a server that is a client of the service answers itself: its kernel has the address.
fn own_clients(config: &Config, entry: &VirtualServer, service: &Service, at: &KeyPath, findings: &mut Findings) {
    let inside = |address: &IpAddr| config.interfaces.inside.iter().any(|prefix| prefix.contains(*address));
    let profile = config.pools.get(&service.pool).and_then(|pool| pool.profile);
    let for_servers = matches!(profile, Some(Profile::MysqlRead | Profile::Ldap));
    if service.mode == Mode::Dsr && (for_servers || entry.addresses.iter().any(inside)) {
        let message = "in DSR mode a member of the pool that is a client too reaches only itself";
        let help = "the servers of the segment are usually the clients of such a service: use mode nat, where they \
                    are balanced as any other client";
        findings.warning(at.key("mode"), Complaint::new(message).help(help));
    }
}

/// Each time of a `Timeouts` with its key; the last is UDP's, the others are TCP's.
fn named(timeouts: &Timeouts) -> [(&'static str, Duration); 6] {
    [
        ("embryonic", timeouts.embryonic),
        ("unproven", timeouts.unproven),
        ("established", timeouts.established),
        ("closing", timeouts.closing),
        ("closed", timeouts.closed),
        ("udp", timeouts.udp),
    ]
}

fn times(service: &Service, profile: Option<Profile>, at: &KeyPath, findings: &mut Findings) {
    /// An IMAP client repeats IDLE at least this often (RFC 2177).
    const IMAP_IDLE: Duration = Duration::from_secs(29 * 60);
    let at = at.key("timeouts");
    let default = Defaults::of(profile).timeouts_of(service.protocol);
    for ((key, value), (_, default)) in named(&service.timeouts).into_iter().zip(named(&default)) {
        findings.time(at.key(key), value, limits::FLOW_TIME);
        let of_udp = key == "udp";
        if value != default && of_udp != (service.protocol == Protocol::Udp) {
            let this = protocol(service.protocol);
            let help = if of_udp {
                "for TCP there are `embryonic`, `unproven`, `established`, `closing` and `closed`"
            } else {
                "for UDP there is `udp`"
            };
            findings.error(
                at.key(key),
                Complaint::new(format!("the timeout `{key}` means nothing to a {this} service")).help(help),
            );
        }
    }
    let ports = service.ports;
    let imap = service.protocol == Protocol::Tcp && [143, 993].iter().any(|p| (ports.first..=ports.last).contains(p));
    if imap && service.timeouts.established <= IMAP_IDLE {
        let message = format!(
            "IMAP connections are forgotten after {}, before an idle client speaks again",
            time(service.timeouts.established)
        );
        let help = "a client in IDLE speaks every 29 minutes (RFC 2177); give more than that";
        findings.warning(at.key("established"), Complaint::new(message).help(help));
    }
    if service.protocol == Protocol::Tcp && service.timeouts.unproven > service.timeouts.established {
        let message = "unproven connections outlive established ones";
        let help = format!("`established` is {}", time(service.timeouts.established));
        findings.warning(at.key("unproven"), Complaint::new(message).help(help));
    }
}

fn udp(service: &Service, at: &KeyPath, findings: &mut Findings) {
    if let UdpLife::MaxAge(age) = service.udp {
        findings.time(at.key("udp").key("max-age"), age, limits::FLOW_TIME);
    }
    if service.protocol == Protocol::Tcp && service.udp != UdpLife::Idle {
        findings.error(at.key("udp"), udp_on_tcp());
    }
}

pub(in crate::config) fn udp_on_tcp() -> Complaint {
    Complaint::new("`udp` means nothing to a tcp service").help("remove it, or set `protocol: udp`")
}

type Groups<'a> = BTreeMap<&'a Name, (KeyPath, &'a Persistence, usize)>;

fn persistent<'a>(persistence: &'a Persistence, at: &KeyPath, groups: &mut Groups<'a>, findings: &mut Findings) {
    findings.time(at.key("timeout"), persistence.timeout, limits::FLOW_TIME);
    findings.number(at.key("prefix4"), persistence.prefix4.into(), limits::PREFIX4);
    findings.number(at.key("prefix6"), persistence.prefix6.into(), limits::PREFIX6);
    let Some(group) = &persistence.group else { return };
    let Some((first_at, first, count)) = groups.get_mut(group) else {
        groups.insert(group, (at.clone(), persistence, 1));
        return;
    };
    *count += 1;
    let differing = [
        ("timeout", time(persistence.timeout), time(first.timeout)),
        ("prefix4", persistence.prefix4.to_string(), first.prefix4.to_string()),
        ("prefix6", persistence.prefix6.to_string(), first.prefix6.to_string()),
    ];
    for (key, this, other) in differing {
        if this != other {
            let message = format!("`{key}` is {this} here and {other} elsewhere in persistence group `{group}`");
            let complaint = Complaint::new(message).help("a group remembers a client once: give all of it the same");
            let finding = Finding::error(at.key(key), complaint).related(first_at.key(key), "there");
            findings.list.push(finding);
        }
    }
}

fn lonely_groups(groups: Groups, findings: &mut Findings) {
    for (group, (at, _, count)) in groups {
        if count == 1 {
            let complaint = Complaint::new(format!("nothing else is in persistence group `{group}`"))
                .help("a group ties several services together; check the name at the others");
            findings.warning(at.key("group"), complaint);
        }
    }
}

/// The servers' ports must be what the mode can deliver to.
fn server_ports(service: &Service, used: &Used<'_>, at: &KeyPath, findings: &mut Findings) {
    let Used { name, pool: pool_entry } = *used;
    let members = pool_entry.members.iter().enumerate().filter_map(|(index, member)| {
        let at = pool(name).key("members").key(index).key("port");
        Some((at, member.port?))
    });
    let given = pool_entry.port.map(|port| (pool(name).key("port"), port));
    for (port_at, port) in given.into_iter().chain(members) {
        let complaint = if service.ports.is_range() {
            Complaint::new(format!("pool `{name}` sets port {port}, but its service has the range {}", service.ports))
                .help("behind a range, servers answer at the client's port: remove `port` here, or use another pool")
        } else if service.mode == Mode::Dsr && port != service.ports.first {
            Complaint::new(format!(
                "pool `{name}` sets port {port}, but its service is at port {} in DSR mode",
                service.ports
            ))
            .help("DSR leaves ports as they are: remove `port` here, or use mode nat")
        } else {
            continue;
        };
        findings.list.push(Finding::error(port_at, complaint).related(at.key("port"), "of this service"));
    }
}

/// What each address family of the virtual server needs of pool, inside and source NAT.
fn families(
    config: &Config,
    entry: &VirtualServer,
    service: &Service,
    pool_entry: &Pool,
    at: &KeyPath,
    findings: &mut Findings,
) {
    for (family, key, is_v4) in [("IPv4", "address", true), ("IPv6", "address6", false)] {
        let Some(index) = entry.addresses.iter().position(|address| address.is_ipv4() == is_v4) else { continue };
        let mut servers = pool_entry.members.iter().filter_map(|member| config.servers.get(&member.server));
        let served = servers.any(|s| if is_v4 { s.address.is_some() } else { s.address6.is_some() });
        if !served && !pool_entry.members.is_empty() {
            let address = entry.addresses.get(index).map_or(String::new(), |address| address.to_string());
            let message =
                format!("nobody serves {address}: no member of pool `{}` has an {family} address", service.pool);
            let help = format!("give its servers `{key}`, or the virtual server no {family} address");
            findings.warning(at.key("pool"), Complaint::new(message).help(help));
        }
        let has_source = config.source_nat.iter().any(|source| source.address.is_ipv4() == is_v4);
        if service.mode == Mode::FullNat && !has_source {
            let complaint = Complaint::new(format!("full NAT for {family} needs a source address, and there is none"))
                .help(format!("add an {family} address to `source-nat`"));
            let sources = KeyPath::root().key("source-nat");
            findings.list.push(Finding::error(at.key("mode"), complaint).related(sources, "source addresses are here"));
        }
        let has_inside = config.interfaces.inside.iter().any(|prefix| prefix.address.is_ipv4() == is_v4);
        if service.mode == Mode::Nat && served && !has_inside {
            let complaint = Complaint::new(format!("NAT for {family} without an inside address")).help(format!(
                "the servers' gateway must be this box: add an {family} address to `interfaces.inside`, \
                     and make it the servers' default route"
            ));
            findings.warning(at.key("mode"), complaint);
        }
    }
}

/// What is probed otherwise than an operator may think, who would find out too late.
fn probed(name: &Name, service: &Service, used: &Used<'_>, findings: &mut Findings) {
    let Used { name: pool_name, pool: pool_entry } = *used;
    let check = &pool_entry.check;
    let at = pool(pool_name).key("check");
    let own_port = |member: &Member| member.port.or(pool_entry.port).is_some();
    if matches!(check.kind, CheckKind::Probe(_)) && check.port.is_none() && service.ports.is_range() {
        if !pool_entry.members.iter().all(own_port) {
            let message = format!("no port to probe at: service `{name}` has the range {}", service.ports);
            findings.error(at, Complaint::new(message).help("give the check a `port` that is always open"));
        }
    } else if check.kind == CheckKind::Auto
        && pool_entry.members.iter().any(|member| !is_probed(service, pool_entry, member))
    {
        let why = match service.protocol {
            Protocol::Udp => "is UDP",
            Protocol::Tcp => "has a range of ports",
        };
        let message = format!("servers of pool `{pool_name}` are not checked for service `{name}`, which {why}");
        let help = "they get its traffic even when they are down; give the pool a TCP port that tells, \
                    `check: {type: tcp, port: …}`, or say that none is wanted, `check: {type: none}`";
        findings.warning(at, Complaint::new(message).help(help));
    }
}
