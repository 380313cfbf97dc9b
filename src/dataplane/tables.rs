//! Brings the kernel's tables to a `ForwardingState`, as a diff against what they hold.
//!
//! The order is such that no packet meets a half-made state: what is pointed at before what points there
//! (servers and destinations, then scheduling tables, then addresses and ports that lead in), and removal
//! last, the other way round. A destination that is no longer wanted stays, takes nothing new, and is
//! freed when no connection uses it: removal by configuration is a drain.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use libbpf_rs::{MapCore, MapFlags};
use std::os::fd::{AsFd, AsRawFd};

use super::DataPlaneError;
use super::clients;
use super::ids::Ids;
use super::kernel;
use super::layout::{self, *};
use super::loader::{Maps, pair};
use super::port_flags::write_port;
use crate::config::{Mac, Mode, Name, OnFailure, Persistence, Ports, Prefix, SourceNat, UdpLife};
use crate::core::forwarding::{Dest, DestKey, Family, ForwardingState, Service, ServiceKey};
use crate::core::gates::{Gate, Gates};
use crate::core::network::IfIndex;
use crate::core::scheduler::{self, Entries, Table};
use crate::core::synced::{self, NameKind};

/// A sweep begins every three seconds at the most; a handshake, or a UDP flow that is never answered, is
/// forgotten before so many have passed, unless its client goes on sending.
const EMBRYO_SWEEPS: u64 = 64;

/// What a connection is bound to. A member whose address, port or mode has changed is another destination:
/// the old one stays for its connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Destination {
    key: DestKey,
    address: IpAddr,
    port: u16,
    mode: u32,
}

impl Destination {
    fn new(key: &DestKey, dest: &Dest) -> Self {
        let mode = match dest.mode {
            Mode::Dsr => MODE_DSR,
            Mode::Nat => MODE_NAT,
            Mode::FullNat => MODE_FULL_NAT,
        };
        Self { key: key.clone(), address: dest.address, port: dest.port.unwrap_or(0), mode }
    }
}

/// What the tables hold, and the numbers by which they hold it.
pub struct Tables {
    vips: Ids<IpAddr>,
    servers: Ids<Name>,
    services: Ids<ServiceKey>,
    dests: Ids<Destination>,
    groups: Ids<String>,
    snats4: Ids<IpAddr>,
    snats6: Ids<IpAddr>,
    /// As last written, to write only what differs.
    addrs: BTreeMap<IpAddr, [u32; 4]>,
    service_ports: BTreeMap<(u32, u16, u16), u32>,
    tables: HashMap<u32, Vec<u32>>,
    settings: HashMap<u32, Vec<u8>>,
    members: BTreeMap<(u32, u32), u32>,
    ports: BTreeMap<u32, ([u8; 6], bool)>,
    /// Ports that a pair opens and blocks, past the plan.
    gates: Arc<Gates>,
    inside: BTreeSet<Prefix>,
    /// Clients that migrate, by number of service.
    migrants: BTreeSet<(u32, Prefix)>,
    /// Destination by server, port (network order) and family.
    actives: BTreeMap<(u32, u16, u16), u32>,
    dest_written: HashMap<u32, Vec<u8>>,
    /// Counts the sweeps begun: what is retired during one may have been seen by it, or not.
    epoch: u64,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            vips: Ids::new(MAX_VIPS),
            servers: Ids::new(MAX_SERVERS),
            services: Ids::new(MAX_SERVICES),
            dests: Ids::new(MAX_DESTS),
            // Number 0 says "no persistence".
            groups: Ids::new(MAX_SERVICES),
            snats4: Ids::new(SNATS6),
            snats6: Ids::new(MAX_SNATS - SNATS6),
            addrs: BTreeMap::new(),
            service_ports: BTreeMap::new(),
            tables: HashMap::new(),
            settings: HashMap::new(),
            members: BTreeMap::new(),
            ports: BTreeMap::new(),
            gates: Arc::default(),
            inside: BTreeSet::new(),
            migrants: BTreeSet::new(),
            actives: BTreeMap::new(),
            dest_written: HashMap::new(),
            epoch: 0,
        }
    }
}

fn full(what: &'static str, limit: u32) -> DataPlaneError {
    DataPlaneError::Full { what, limit }
}

fn service_of_text(text: &str) -> Option<ServiceKey> {
    let mut parts = text.split('/');
    let virtual_server = Name::new(parts.next()?).ok()?;
    let service = Name::new(parts.next()?).ok()?;
    let family = match parts.next()? {
        "4" => Family::V4,
        "6" => Family::V6,
        _ => return None,
    };
    parts.next().is_none().then_some(ServiceKey { virtual_server, service, family })
}

fn dest_of_text(text: &str) -> Option<DestKey> {
    let (service, server) = text.rsplit_once('/')?;
    Some(DestKey { service: service_of_text(service)?, server: Name::new(server).ok()? })
}

/// The table of persistence that a service uses: its group's, or its own.
fn group_text(key: &ServiceKey, persistence: &Persistence) -> String {
    match &persistence.group {
        Some(group) => format!("g/{group}"),
        None => format!("s/{}/{}", key.virtual_server, key.service),
    }
}

impl Tables {
    /// Reads the numbers, and what must be diffed against, from tables that an earlier daemon left.
    pub fn adopt(maps: &Maps) -> Result<Self, DataPlaneError> {
        let mut tables = Self::default();
        maps.names.scan(4096, |key, name| {
            let text = name.text();
            match key.kind {
                NAME_SERVICE => service_of_text(&text).map(|k| tables.services.adopt(k, key.id)).unwrap_or_default(),
                NAME_DEST => {
                    if let (Some(k), Some(held)) = (dest_of_text(&text), maps.dests.read(key.id)) {
                        let (address, port, mode) = (ip_of(&held.addr), u16::from_be(held.port), held.mode.into());
                        tables.dests.adopt(Destination { key: k, address, port, mode }, key.id);
                    }
                }
                NAME_SERVER => Name::new(&text).map(|k| tables.servers.adopt(k, key.id)).unwrap_or_default(),
                NAME_GROUP => tables.groups.adopt(text, key.id),
                _ => {}
            }
            true
        })?;
        maps.addrs.scan(4096, |addr, info| {
            let ip = ip_of(addr);
            if info.roles & ADDR_SNAT != 0 {
                if ip.is_ipv4() {
                    tables.snats4.adopt(ip, info.snat);
                } else {
                    tables.snats6.adopt(ip, info.snat.saturating_sub(SNATS6));
                }
            }
            tables.addrs.insert(ip, [info.roles, info.vip, info.server, info.snat]);
            true
        })?;
        for id in 0..MAX_VIPS {
            // Of those that have left the configuration too: flows may still refer to them.
            if let Some(held) = maps.vips.get(&id)?.filter(|held| held.word != [0; 4]) {
                tables.vips.adopt(ip_of(&held), id);
            }
        }
        for bytes in maps.inside.handle().keys() {
            let Some(key) = prefix_key::from_bytes(&bytes) else { continue };
            tables.inside.insert(prefix_of(key.length, &key.addr));
        }
        for bytes in maps.migrants.handle().keys() {
            let Some(key) = migrant_key::from_bytes(&bytes) else { continue };
            tables.migrants.insert((key.service, prefix_of(key.length.saturating_sub(32), &key.addr)));
        }
        maps.actives.scan(4096, |key, id| {
            tables.actives.insert((key.server, key.port, key.family), *id);
            true
        })?;
        for (_, id) in tables.services.iter() {
            // Which it is cannot be read; that it is there must be known, or it would never go.
            if is_held(maps, id + MAX_SERVICES)? {
                tables.tables.insert(id + MAX_SERVICES, Vec::new());
            }
        }
        maps.services.scan(4096, |key, id| {
            tables.service_ports.insert((key.vip, key.port, key.protocol), *id);
            true
        })?;
        maps.members.scan(4096, |key, id| {
            tables.members.insert((key.service, key.server), *id);
            true
        })?;
        maps.ports.scan(4096, |index, _| {
            // To be removed if it is not wanted; written anew if it is, with its way out, which the kernel
            // forgets when a port visits another namespace.
            tables.ports.insert(*index, ([0; 6], false));
            true
        })?;
        Ok(tables)
    }

    /// Of all families.
    pub fn service_ids(&self, virtual_server: &Name, service: &Name) -> Vec<u32> {
        let key = |family| ServiceKey { virtual_server: virtual_server.clone(), service: service.clone(), family };
        [Family::V4, Family::V6].into_iter().filter_map(|family| self.services.get(&key(family))).collect()
    }

    pub fn server_id(&self, name: &Name) -> Option<u32> {
        self.servers.get(name)
    }

    /// All destinations, retired ones too, with their numbers.
    pub fn dests(&self) -> impl Iterator<Item = (&DestKey, u32)> {
        self.dests.iter().map(|(destination, id)| (&destination.key, id))
    }

    /// All virtual addresses, retired ones too, with their numbers.
    pub fn vips(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        self.vips.iter().map(|(ip, id)| (*ip, id))
    }

    /// The number of a destination as it is planned.
    pub fn dest_id(&self, key: &DestKey, dest: &Dest) -> Option<u32> {
        self.dests.get(&Destination::new(key, dest))
    }

    /// The word on ports that a pair opens and blocks is this one from now on.
    pub fn use_gates(&mut self, gates: Arc<Gates>) {
        self.gates = gates;
    }

    /// What this box answers with on a port; `None` if nothing may be sent there.
    pub fn port_mac(&self, port: IfIndex) -> Option<Mac> {
        self.ports.get(&port).filter(|(_, forwarding)| *forwarding).map(|(mac, _)| Mac(*mac))
    }

    /// What the numbers in connections and bindings stand for, for the peer; retired ones too.
    pub fn sync_names(&self) -> synced::Names {
        let mut names = synced::Names::default();
        let mut set = |kind, number, text: String| names.set(synced::Name { kind, number, text: text.into() });
        for (ip, id) in self.vips.iter() {
            set(NameKind::Vip, id, ip.to_string());
        }
        for (d, id) in self.dests.iter() {
            let (service, server) = (d.key.service.to_string(), &d.key.server);
            set(NameKind::Dest, id, format!("{service}/{server} {} {} {}", d.address, d.port, d.mode));
        }
        for (server, id) in self.servers.iter() {
            set(NameKind::Server, id, server.to_string());
        }
        // 0 says "no persistence".
        for (group, id) in self.groups.iter() {
            set(NameKind::Group, id + 1, group.clone());
        }
        for (ids, offset) in [(&self.snats4, 0), (&self.snats6, SNATS6)] {
            for (ip, id) in ids.iter() {
                set(NameKind::Source, id + offset, ip.to_string());
            }
        }
        names
    }

    pub fn dest_of(&self, id: u32) -> Option<&DestKey> {
        self.dests.iter().find(|(_, i)| *i == id).map(|(destination, _)| &destination.key)
    }

    /// Makes the kernel hold `state`. On error what was written so far stays: everything that it points at
    /// is there, and the next call goes on from it.
    pub fn apply(&mut self, maps: &Maps, state: &ForwardingState) -> Result<(), DataPlaneError> {
        self.claim(maps, state)?;
        for (key, dest) in &state.dests {
            self.put_dest(maps, state, key, dest)?;
        }
        self.put_inside(maps, &state.inside)?;
        self.put_ports(maps, state)?;
        // Addresses by which replies are known before anything is sent that is replied to; new virtual ones
        // last, because they lead in.
        let wanted = self.wanted_addrs(state)?;
        let mut known = wanted.clone();
        known.retain(|ip, info| {
            if self.addrs.get(ip).is_none_or(|have| have[0] & ADDR_VIP == 0) {
                info[0] &= !ADDR_VIP;
            }
            info[0] != 0
        });
        self.put_addrs(maps, &known)?;
        self.put_snats(maps, &state.source_nat, &state.source_nat_of_peer)?;
        let migrants = self.put_migrants(maps, state)?;
        for (key, service) in &state.services {
            self.put_tables(maps, state, key, service)?;
            // After the table of a migration that the settings send clients to.
            self.put_settings(maps, key, service)?;
        }
        self.put_actives(maps, state)?;
        let leads_in = self.put_service_ports(maps, state)?;
        self.put_addrs(maps, &wanted)?;
        self.remove(maps, state, &wanted, &leads_in, &migrants)
    }

    /// A number for everything that needs one, written down for the next daemon before anything uses it.
    fn claim(&mut self, maps: &Maps, state: &ForwardingState) -> Result<(), DataPlaneError> {
        let note = |kind: u32, id: u32, text: &str| {
            let key = name_key { kind, id };
            let name = NameText::new(text);
            if maps.names.get(&key)?.is_none_or(|old| old.0 != name.0) { maps.names.put(&key, &name) } else { Ok(()) }
        };
        for ip in &state.vips {
            let id = self.vips.claim(ip).ok_or(full("virtual addresses", MAX_VIPS))?;
            if maps.vips.get(&id)?.is_none_or(|held| ip_of(&held) != *ip) {
                maps.vips.put(&id, &addr_of(*ip))?;
            }
        }
        for (name, entry) in &state.servers {
            let known = self.servers.get(name).is_some();
            let id = self.servers.claim(name).ok_or(full("servers", MAX_SERVERS))?;
            if !known {
                note(NAME_SERVER, id, name.as_str())?;
            }
            if let Some(max) = maps.server_conns.word(id, offset_of!(conns, max)) {
                max.store(u64::from(entry.max_connections), Ordering::Release);
            }
        }
        for (key, service) in &state.services {
            let known = self.services.get(key).is_some();
            let id = self.services.claim(key).ok_or(full("services", MAX_SERVICES))?;
            if !known {
                note(NAME_SERVICE, id, &key.to_string())?;
            }
            if let Some(persistence) = &service.persistence {
                let text = group_text(key, persistence);
                let known = self.groups.get(&text).is_some();
                let id = self.groups.claim(&text).ok_or(full("persistence groups", MAX_SERVICES))?;
                if !known {
                    note(NAME_GROUP, id, &text)?;
                }
            }
        }
        for (key, dest) in &state.dests {
            let destination = Destination::new(key, dest);
            let known = self.dests.get(&destination).is_some();
            let id = self.dests.claim(&destination).ok_or(full("members of services", MAX_DESTS))?;
            if !known {
                note(NAME_DEST, id, &key.to_string())?;
            }
        }
        for address in state.source_nat.iter().map(|entry| &entry.address).chain(&state.source_nat_of_peer) {
            let ids = if address.is_ipv4() { &mut self.snats4 } else { &mut self.snats6 };
            ids.claim(address).ok_or(full("source-nat addresses of a family", SNATS6))?;
        }
        Ok(())
    }

    fn put_settings(&mut self, maps: &Maps, key: &ServiceKey, wanted: &Service) -> Result<(), DataPlaneError> {
        let Some(id) = self.services.get(key) else { return Ok(()) };
        let t = &wanted.timeouts;
        let mut value = layout::service {
            embryonic_ns: nanos(t.embryonic),
            unproven_ns: nanos(t.unproven),
            established_ns: nanos(t.established),
            closing_ns: nanos(t.closing),
            closed_ns: nanos(t.closed),
            udp_ns: nanos(t.udp),
            on_failure: match wanted.on_failure {
                OnFailure::Reset => ON_FAILURE_RESET,
                OnFailure::Keep => ON_FAILURE_KEEP,
            },
            control_first: wanted.ports.first,
            control_last: wanted.ports.last,
            active_port: wanted.active.unwrap_or(0).to_be(),
            active_vip: wanted.addresses.first().and_then(|ip| self.vips.get(ip)).unwrap_or(0),
            ..Default::default()
        };
        match wanted.udp {
            UdpLife::Idle => value.udp_life = UDP_IDLE,
            UdpLife::MaxAge(age) => {
                value.udp_life = UDP_MAX_AGE;
                value.udp_max_age_ns = nanos(age);
            }
            UdpLife::PerPacket => value.udp_life = UDP_PER_PACKET,
        }
        if let Some(migration) = &wanted.migration {
            let named = migration.clients.iter().any(|prefix| Family::of(prefix.address) == key.family);
            value.migrates = MIGRATES | if named { MIGRATES_PREFIXES } else { 0 };
            value.migrate_share = u32::from(migration.share).min(MIGRATE_ALL);
        }
        if let Some(persistence) = &wanted.persistence {
            value.persist_group = self.groups.get(&group_text(key, persistence)).map_or(0, |id| id + 1);
            value.persist_ns = nanos(persistence.timeout);
            value.persist_prefix = match key.family {
                Family::V4 => 96 + u32::from(persistence.prefix4),
                Family::V6 => u32::from(persistence.prefix6),
            };
        }
        if self.settings.get(&id).is_none_or(|old| old.as_slice() != value.bytes()) {
            maps.service_settings.put(&id, &value)?;
            self.settings.insert(id, value.bytes().to_vec());
        }
        Ok(())
    }

    fn put_dest(
        &mut self,
        maps: &Maps,
        state: &ForwardingState,
        key: &DestKey,
        wanted: &Dest,
    ) -> Result<(), DataPlaneError> {
        let destination = Destination::new(key, wanted);
        let (Some(id), Some(service), Some(server)) =
            (self.dests.get(&destination), self.services.get(&key.service), self.servers.get(&key.server))
        else {
            return Ok(());
        };
        let place = wanted.place.ok();
        let own = place.and_then(|p| state.ports.get(&p.port)).map(|port| port.mac).unwrap_or_default();
        let in_service = state.services.get(&key.service);
        let second = in_service.and_then(|s| s.migration.as_ref()).is_some_and(|m| m.members.contains_key(&key.server));
        let mut flags = DEST_VALID;
        for (set, flag) in [
            (wanted.down, DEST_DOWN),
            (in_service.is_some_and(|s| s.schedules(&key.server)), DEST_OPEN),
            (second, DEST_SECOND),
        ] {
            if set {
                flags |= flag;
            }
        }
        let value = layout::dest {
            addr: addr_of(wanted.address),
            l2: layout::l2 { mac: place.map(|p| p.mac.0).unwrap_or_default(), vlan: place.map_or(0, |p| p.vlan) },
            own: layout::l2 { mac: own.0, vlan: 0 },
            egress: place.map_or(0, |p| p.port),
            flags,
            port: destination.port.to_be(),
            mode: destination.mode as u16,
            service,
            server,
            pad: 0,
        };
        if self.dest_written.get(&id).is_none_or(|old| old.as_slice() != value.bytes()) {
            write_dest(maps, id, &value);
            self.dest_written.insert(id, value.bytes().to_vec());
        }
        if self.members.get(&(service, server)) != Some(&id) {
            maps.members.put(&member_key { service, server }, &id)?;
            self.members.insert((service, server), id);
        }
        Ok(())
    }

    fn put_snats(&mut self, maps: &Maps, wanted: &[SourceNat], peers: &BTreeSet<IpAddr>) -> Result<(), DataPlaneError> {
        let is_wanted = |ip: &IpAddr| wanted.iter().any(|w| w.address == *ip);
        let closed: Vec<(IpAddr, u32)> = self
            .snats4
            .retire_all_but(self.epoch, |ip| is_wanted(ip) || peers.contains(ip))
            .into_iter()
            .chain(
                self.snats6
                    .retire_all_but(self.epoch, |ip| is_wanted(ip) || peers.contains(ip))
                    .into_iter()
                    .map(|(ip, id)| (ip, id + SNATS6)),
            )
            .collect();
        let peers = peers.iter().filter(|ip| !is_wanted(ip));
        let held = peers.filter_map(|ip| Some((*ip, self.snat_index(*ip)?)));
        for (ip, index) in closed.into_iter().chain(held) {
            maps.snats.put(&index, &snat { addr: addr_of(ip), first: 0, last: 0, open: 0 })?;
        }
        for entry in wanted {
            let Some(index) = self.snat_index(entry.address) else { continue };
            let value =
                snat { addr: addr_of(entry.address), first: entry.ports.first, last: entry.ports.last, open: 1 };
            maps.snats.put(&index, &value)?;
        }
        let highest = |ids: &Ids<IpAddr>| ids.iter().map(|(_, id)| id + 1).max().unwrap_or(0);
        if let Some(word) = maps.control.word(0, offset_of!(control, snats4)) {
            word.store(pair(highest(&self.snats4), highest(&self.snats6)), Ordering::Release);
        }
        Ok(())
    }

    fn snat_index(&self, ip: IpAddr) -> Option<u32> {
        if ip.is_ipv4() { self.snats4.get(&ip) } else { self.snats6.get(&ip).map(|id| id + SNATS6) }
    }

    fn put_inside(&mut self, maps: &Maps, wanted: &BTreeSet<Prefix>) -> Result<(), DataPlaneError> {
        let wanted: BTreeSet<Prefix> = wanted.iter().map(network_of).collect();
        let key = |p: &Prefix| prefix_key {
            length: u32::from(p.length) + if p.address.is_ipv4() { 96 } else { 0 },
            addr: addr_of(p.address),
        };
        for prefix in wanted.difference(&self.inside) {
            maps.inside.put(&key(prefix), &1)?;
        }
        for prefix in self.inside.difference(&wanted) {
            maps.inside.delete(&key(prefix))?;
        }
        self.inside = wanted;
        Ok(())
    }

    fn put_ports(&mut self, maps: &Maps, state: &ForwardingState) -> Result<(), DataPlaneError> {
        let mut moved = false;
        let written = self.write_ports(maps, state, &mut moved);
        if moved {
            clients::moved(&maps.control);
        }
        written
    }

    /// `moved`: a port is not what it was, even if something has failed after it.
    fn write_ports(&mut self, maps: &Maps, state: &ForwardingState, moved: &mut bool) -> Result<(), DataPlaneError> {
        let gates = self.gates.clone();
        for (index, port) in &state.ports {
            gates.settle(*index, |gate| {
                let forwarding = match gate {
                    None => port.forwarding,
                    // The plan may be older than the takeover: the gate is the latest word.
                    Some(Gate::Open) => port.running,
                    Some(Gate::Blocked) => false,
                };
                let known = match gate {
                    None => self.ports.get(index).copied(),
                    // Written past this cache as well (`PortFlags`).
                    Some(_) => maps.ports.get(index)?.map(|held| (held.mac, held.flags & PORT_FORWARDING != 0)),
                };
                if known != Some((port.mac.0, forwarding)) {
                    *moved = true;
                    write_port(&maps.ports, &maps.tx_ports, *index, port.mac.0, forwarding)?;
                }
                self.ports.insert(*index, (port.mac.0, forwarding));
                Ok::<(), DataPlaneError>(())
            })?;
        }
        let gone: Vec<u32> = self.ports.keys().copied().filter(|index| !state.ports.contains_key(index)).collect();
        for index in gone {
            *moved = true;
            maps.ports.delete(&index)?;
            maps.tx_ports.delete(&index)?;
            self.ports.remove(&index);
        }
        Ok(())
    }

    /// Clients that migrate; those that no longer do are still there.
    fn put_migrants(
        &mut self,
        maps: &Maps,
        state: &ForwardingState,
    ) -> Result<BTreeSet<(u32, Prefix)>, DataPlaneError> {
        let mut wanted = BTreeSet::new();
        for (key, service) in &state.services {
            let (Some(id), Some(migration)) = (self.services.get(key), &service.migration) else { continue };
            let own = migration.clients.iter().filter(|prefix| Family::of(prefix.address) == key.family);
            wanted.extend(own.map(|prefix| (id, network_of(prefix))));
        }
        if wanted.len() > MAX_MIGRANTS as usize {
            return Err(full("client prefixes of migrations", MAX_MIGRANTS));
        }
        // What goes makes room for what comes: more than the map holds would be refused in between.
        if wanted.union(&self.migrants).count() > MAX_MIGRANTS as usize {
            self.remove_migrants(maps, &wanted)?;
        }
        for entry in &wanted {
            if !self.migrants.contains(entry) {
                maps.migrants.put(&migrant_key_of(entry), &1)?;
                self.migrants.insert(*entry);
            }
        }
        Ok(wanted)
    }

    fn remove_migrants(&mut self, maps: &Maps, wanted: &BTreeSet<(u32, Prefix)>) -> Result<(), DataPlaneError> {
        let gone: Vec<_> = self.migrants.difference(wanted).copied().collect();
        for entry in gone {
            maps.migrants.delete(&migrant_key_of(&entry))?;
            self.migrants.remove(&entry);
        }
        Ok(())
    }

    /// Who may open connections to clients. In DSR they go past this box, in full NAT the server's clients
    /// are this box.
    fn put_actives(&mut self, maps: &Maps, state: &ForwardingState) -> Result<(), DataPlaneError> {
        let mut wanted = BTreeMap::new();
        for (key, dest) in &state.dests {
            let port = state.services.get(&key.service).and_then(|service| service.active);
            let id = self.dests.get(&Destination::new(key, dest));
            if let (Some(port), Some(id), Some(server), Mode::Nat, None) =
                (port, id, self.servers.get(&key.server), dest.mode, dest.port)
            {
                let family = if key.service.family == Family::V4 { 4 } else { 6 };
                wanted.entry((server, port.to_be(), family)).or_insert(id);
            }
        }
        for (entry, id) in &wanted {
            if self.actives.get(entry) != Some(id) {
                let (server, port, family) = *entry;
                maps.actives.put(&active_key { server, port, family }, id)?;
                self.actives.insert(*entry, *id);
            }
        }
        let gone: Vec<_> = self.actives.keys().copied().filter(|entry| !wanted.contains_key(entry)).collect();
        for (server, port, family) in gone {
            maps.actives.delete(&active_key { server, port, family })?;
            self.actives.remove(&(server, port, family));
        }
        Ok(())
    }

    /// The service's table, and that of the pool that it migrates to.
    fn put_tables(
        &mut self,
        maps: &Maps,
        state: &ForwardingState,
        key: &ServiceKey,
        wanted: &Service,
    ) -> Result<(), DataPlaneError> {
        let Some(id) = self.services.get(key) else { return Ok(()) };
        self.put_table(maps, state, key, id, scheduler::table(wanted))?;
        if let Some(m) = &wanted.migration {
            let second = scheduler::build(m.scheduler, &m.members, &m.schedule);
            self.put_table(maps, state, key, id + MAX_SERVICES, second)?;
        }
        Ok(())
    }

    /// `id` is the table's own.
    fn put_table(
        &mut self,
        maps: &Maps,
        state: &ForwardingState,
        key: &ServiceKey,
        id: u32,
        wanted: Table<&Name>,
    ) -> Result<(), DataPlaneError> {
        let kind = match wanted.scheduler {
            crate::config::Scheduler::Maglev => SCHED_MAGLEV,
            crate::config::Scheduler::RoundRobin => SCHED_ROUND_ROBIN,
            crate::config::Scheduler::LeastConnections => SCHED_LEAST_CONNECTIONS,
            crate::config::Scheduler::SourceHash => SCHED_SOURCE_HASH,
        };
        let dest = |server: &Name| {
            let dest_key = DestKey { service: key.clone(), server: server.clone() };
            let dest = state.dests.get(&dest_key).map(|dest| Destination::new(&dest_key, dest));
            dest.and_then(|dest| self.dests.get(&dest)).unwrap_or(DEST_NONE)
        };
        let table = wanted.map(dest);
        let mut words = vec![kind, 0];
        match &table.entries {
            Entries::Slots(_) => words.extend(table.slots()),
            Entries::Weights(_) => words.extend(table.weights().flat_map(|(id, weight)| [*id, weight.0])),
        }
        let per_entry = if matches!(table.entries, Entries::Weights(_)) { 2 } else { 1 };
        let slots = (words.len() - TABLE_HEADER as usize) / per_entry;
        if let Some(count) = words.get_mut(1) {
            *count = u32::try_from(slots).unwrap_or(u32::MAX);
        }
        if self.tables.get(&id) == Some(&words) {
            return Ok(());
        }
        let inner = kernel::inner_table(&words)?;
        let fd = inner.as_fd().as_raw_fd().to_ne_bytes();
        maps.tables.update(id.bytes(), &fd, MapFlags::ANY).map_err(|source| DataPlaneError::Map {
            map: "tables".into(),
            doing: "write to",
            source,
        })?;
        self.tables.insert(id, words);
        Ok(())
    }

    /// Roles and numbers of every address. Those at which only retired destinations are, of servers that have
    /// left or moved, keep theirs, because their replies still come.
    fn wanted_addrs(&self, state: &ForwardingState) -> Result<BTreeMap<IpAddr, [u32; 4]>, DataPlaneError> {
        let mut wanted: BTreeMap<IpAddr, [u32; 4]> = BTreeMap::new();
        for (destination, _) in self.dests.iter() {
            let Some(id) = self.servers.get(&destination.key.server) else { continue };
            let entry = wanted.entry(destination.address).or_default();
            entry[0] |= ADDR_SERVER;
            entry[2] = id;
        }
        for (name, entry) in &state.servers {
            let Some(id) = self.servers.get(name) else { continue };
            for ip in &entry.addresses {
                let entry = wanted.entry(*ip).or_default();
                entry[0] |= ADDR_SERVER;
                entry[2] = id;
            }
        }
        for prefix in &state.inside {
            wanted.entry(prefix.address).or_default()[0] |= ADDR_INSIDE;
        }
        for (ids, offset) in [(&self.snats4, 0), (&self.snats6, SNATS6)] {
            for (ip, id) in ids.iter() {
                let entry = wanted.entry(*ip).or_default();
                entry[0] |= ADDR_SNAT;
                entry[3] = id + offset;
            }
        }
        for ip in &state.vips {
            let Some(id) = self.vips.get(ip) else { continue };
            let entry = wanted.entry(*ip).or_default();
            entry[0] |= ADDR_VIP;
            entry[1] = id;
        }
        if wanted.len() > MAX_ADDRS as usize { Err(full("addresses", MAX_ADDRS)) } else { Ok(wanted) }
    }

    fn put_addrs(&mut self, maps: &Maps, wanted: &BTreeMap<IpAddr, [u32; 4]>) -> Result<(), DataPlaneError> {
        for (ip, info) in wanted {
            if self.addrs.get(ip) != Some(info) {
                let [roles, vip, server, snat] = *info;
                maps.addrs.put(&addr_of(*ip), &addr_info { roles, vip, server, snat })?;
                self.addrs.insert(*ip, *info);
            }
        }
        Ok(())
    }

    fn put_service_ports(
        &mut self,
        maps: &Maps,
        state: &ForwardingState,
    ) -> Result<BTreeSet<(u32, u16, u16)>, DataPlaneError> {
        let mut wanted: BTreeMap<(u32, u16, u16), u32> = BTreeMap::new();
        // Clients answer to the port from which a server has called them; a service of its own there comes first.
        for active in [false, true] {
            for (key, service) in &state.services {
                let Some(id) = self.services.get(key) else { continue };
                let protocol = protocol_number(service.protocol);
                let ports: Vec<Ports> = if active {
                    service.active.map(Ports::single).into_iter().collect()
                } else {
                    [service.ports].into_iter().chain(service.data_ports.iter().copied()).collect()
                };
                for vip in service.addresses.iter().filter_map(|ip| self.vips.get(ip)) {
                    for port in ports.iter().flat_map(|ports| ports.first..=ports.last) {
                        wanted.entry((vip, port.to_be(), protocol)).or_insert(id);
                    }
                }
            }
        }
        for (entry, id) in &wanted {
            if self.service_ports.get(entry) != Some(id) {
                let (vip, port, protocol) = *entry;
                maps.services.put(&service_key { vip, port, protocol }, id)?;
                self.service_ports.insert(*entry, *id);
            }
        }
        Ok(wanted.into_keys().collect())
    }

    /// Takes away what leads in, then what could get something new; what connections still use stays.
    fn remove(
        &mut self,
        maps: &Maps,
        state: &ForwardingState,
        wanted: &BTreeMap<IpAddr, [u32; 4]>,
        leads_in: &BTreeSet<(u32, u16, u16)>,
        migrants: &BTreeSet<(u32, Prefix)>,
    ) -> Result<(), DataPlaneError> {
        self.remove_migrants(maps, migrants)?;
        let gone: Vec<IpAddr> = self.addrs.keys().copied().filter(|ip| !wanted.contains_key(ip)).collect();
        for ip in gone {
            maps.addrs.delete(&addr_of(ip))?;
            self.addrs.remove(&ip);
        }
        let gone: Vec<_> = self.service_ports.keys().copied().filter(|entry| !leads_in.contains(entry)).collect();
        for (vip, port, protocol) in gone {
            maps.services.delete(&service_key { vip, port, protocol })?;
            self.service_ports.remove(&(vip, port, protocol));
        }
        self.vips.retire_all_but(self.epoch, |ip| state.vips.contains(ip));
        for (_, id) in self.services.retire_all_but(self.epoch, |key| state.services.contains_key(key)) {
            self.remove_table(maps, id)?;
            self.remove_table(maps, id + MAX_SERVICES)?;
        }
        for (key, service) in &state.services {
            if let (Some(id), None) = (self.services.get(key), &service.migration)
                && self.tables.contains_key(&(id + MAX_SERVICES))
            {
                self.remove_table(maps, id + MAX_SERVICES)?;
            }
        }
        let is_wanted =
            |d: &Destination| state.dests.get(&d.key).is_some_and(|dest| Destination::new(&d.key, dest) == *d);
        for (_, id) in self.dests.retire_all_but(self.epoch, is_wanted) {
            close_dest(maps, id);
            self.dest_written.remove(&id);
        }
        let wanted_members: BTreeSet<(u32, u32)> = state
            .dests
            .keys()
            .filter_map(|key| Some((self.services.get(&key.service)?, self.servers.get(&key.server)?)))
            .collect();
        let gone: Vec<_> = self.members.keys().copied().filter(|member| !wanted_members.contains(member)).collect();
        for (service, server) in gone {
            maps.members.delete(&member_key { service, server })?;
            self.members.remove(&(service, server));
        }
        self.servers.retire_all_but(self.epoch, |name| state.servers.contains_key(name));
        Ok(())
    }

    fn remove_table(&mut self, maps: &Maps, id: u32) -> Result<(), DataPlaneError> {
        maps.tables.delete(id.bytes()).or_else(ignore_missing).map_err(|source| DataPlaneError::Map {
            map: "tables".into(),
            doing: "delete from",
            source,
        })?;
        self.tables.remove(&id);
        Ok(())
    }

    /// A sweep begins; the number to hand to `collect` at its end.
    pub fn begin_sweep(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    /// Numbers that no connection refers to, as a whole sweep has found, and that no configuration has wanted
    /// since it began, are free again. `true`: there were some.
    pub fn collect(&mut self, maps: &Maps, sweep: u64, used: &Used) -> Result<bool, DataPlaneError> {
        let mut freed = false;
        for (key, id) in self.dests.retired_before(sweep) {
            // Pending is read first: a handshake that completes meanwhile counts as active before it stops
            // to count as pending.
            let count = |offset| maps.conns.word(id, offset).map_or(0, |word| word.load(Ordering::Acquire));
            let pending = count(offset_of!(conns, pending));
            if used.dests.contains(&id) || pending != 0 || count(offset_of!(conns, active)) != 0 {
                continue;
            }
            if let Some(word) = maps.dests.word(id, offset_of!(dest, egress)) {
                word.store(0, Ordering::Release);
            }
            for offset in [offset_of!(conns, active), offset_of!(conns, pending), offset_of!(conns, total)] {
                if let Some(word) = maps.conns.word(id, offset) {
                    word.store(0, Ordering::Release);
                }
            }
            maps.traffic.clear_per_cpu(&id)?;
            maps.names.delete(&name_key { kind: NAME_DEST, id })?;
            self.dests.free(&key);
            freed = true;
        }
        let living: Vec<DestKey> = self.dests.iter().map(|(destination, _)| destination.key.clone()).collect();
        for (key, id) in self.services.retired_before(sweep) {
            if !living.iter().any(|dest| dest.service == key) {
                maps.names.delete(&name_key { kind: NAME_SERVICE, id })?;
                self.settings.remove(&id);
                self.services.free(&key);
                freed = true;
            }
        }
        for (name, id) in self.servers.retired_before(sweep) {
            if !living.iter().any(|dest| dest.server == name) {
                maps.names.delete(&name_key { kind: NAME_SERVER, id })?;
                self.servers.free(&name);
                freed = true;
            }
        }
        // Embryos refer to these too, and no sweep tells which: they wait for as many sweeps as outlast them.
        let long_ago = sweep.saturating_sub(EMBRYO_SWEEPS);
        for (ip, id) in self.vips.retired_before(long_ago) {
            if !used.vips.contains(&id) {
                maps.vips.put(&id, &addr::default())?;
                self.vips.free(&ip);
                freed = true;
            }
        }
        for (ids, offset) in [(&mut self.snats4, 0), (&mut self.snats6, SNATS6)] {
            for (ip, id) in ids.retired_before(long_ago) {
                if !used.snats.contains(&(id + offset)) {
                    ids.free(&ip);
                    freed = true;
                }
            }
        }
        Ok(freed)
    }
}

/// What the established connections refer to, found by a sweep.
#[derive(Clone, Debug, Default)]
pub struct Used {
    pub dests: BTreeSet<u32>,
    pub vips: BTreeSet<u32>,
    pub snats: BTreeSet<u32>,
}

/// A network without host bits, which a prefix tree ignores and a set would not.
fn network_of(prefix: &Prefix) -> Prefix {
    let address = match prefix.address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.length.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.length.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    };
    Prefix { address, length: prefix.length }
}

/// A prefix as a prefix tree has it: of the 16-byte address.
fn prefix_of(length: u32, addr: &addr) -> Prefix {
    let address = ip_of(addr);
    let length = length.saturating_sub(if address.is_ipv4() { 96 } else { 0 });
    network_of(&Prefix { address, length: u8::try_from(length).unwrap_or(0) })
}

fn migrant_key_of((service, prefix): &(u32, Prefix)) -> migrant_key {
    let mapped = if prefix.address.is_ipv4() { 96 } else { 0 };
    migrant_key { length: 32 + mapped + u32::from(prefix.length), service: *service, addr: addr_of(prefix.address) }
}

/// Whether there is a scheduling table under this number.
fn is_held(maps: &Maps, id: u32) -> Result<bool, DataPlaneError> {
    let held = maps.tables.lookup(id.bytes(), MapFlags::ANY);
    held.map(|inner| inner.is_some()).map_err(|source| DataPlaneError::Map {
        map: "tables".into(),
        doing: "read",
        source,
    })
}

fn ignore_missing(error: libbpf_rs::Error) -> libbpf_rs::Result<()> {
    if error.kind() == libbpf_rs::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Words in an order in which a packet that meets it sees it whole: everything else before the word with
/// the flags, which makes a new destination valid; a living one changes in its 8-byte words only.
fn write_dest(maps: &Maps, id: u32, value: &layout::dest) {
    let bytes = value.bytes();
    let valid = offset_of!(layout::dest, egress);
    let store = |offset: usize| {
        let mut word = [0; 8];
        if let (Some(cell), Some(from)) = (maps.dests.word(id, offset), bytes.get(offset..offset + 8)) {
            word.copy_from_slice(from);
            cell.store(u64::from_ne_bytes(word), Ordering::Release);
        }
    };
    (0..bytes.len()).step_by(8).filter(|offset| *offset != valid).for_each(store);
    store(valid);
}

/// A destination takes nothing new, and keeps what it has.
fn close_dest(maps: &Maps, id: u32) {
    if let Some(word) = maps.dests.word(id, offset_of!(layout::dest, egress)) {
        word.fetch_and(!pair(0, DEST_OPEN), Ordering::AcqRel);
    }
}
