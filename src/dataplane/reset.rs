//! Ends what a failed destination still owns, at once: a RST to each TCP client (and in NAT to the server),
//! and the entry goes: in NAT at once, in DSR after `timeouts.closed`, until which it has the client refused. UDP flows just go, so that their next datagram is scheduled anew.
//!
//! ```text
//!   destination is down ──> wanted ──walk begins──> walked ──every chunk──> read ─> send (not here) ─> remove
//!                             ^                        │
//!                             └── lease lost, error ───┘        back up: skipped, by the flag in the kernel
//! ```
//!
//! One walk over the table serves all destinations that were wanted when it began. Whoever drives it sends
//! the frames without holding the data plane, and then says so (`DataPlane::reset_done`).

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};

use super::DataPlaneError;
use super::clients;
use super::flows::{self, CHUNK};
use super::kernel::ScanCursor;
use super::layout::*;
use super::lease;
use super::loader::Loaded;
use super::rst::Rst;
use super::tables::Tables;
use crate::config::{Mac, Name};
use crate::core::network::IfIndex;

/// What became of the connections of a server that failed, was disabled, or whose drain has run out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerReset {
    /// TCP connections ended, whose clients were told where that was possible.
    pub connections: u64,
    /// UDP flows forgotten.
    pub flows: u64,
    /// The whole table has been walked over since.
    pub done: bool,
}

/// Which destinations wait, and what has been done.
#[derive(Default)]
pub struct Resets {
    /// Those down now whose flows shall be reset, as last planned.
    down: BTreeSet<u32>,
    wanted: BTreeMap<u32, Name>,
    walk: Option<Walk>,
    by_server: BTreeMap<Name, ServerReset>,
}

struct Walk {
    cursor: ScanCursor,
    dests: BTreeMap<u32, Name>,
}

/// RSTs to be sent, and the entries to be removed or ended then.
#[derive(Default)]
pub struct ResetBatch {
    /// By the port to send them on; at most 6,144.
    pub frames: Vec<(IfIndex, Vec<u8>)>,
    keys: Vec<flow_key>,
    found: BTreeMap<Name, ServerReset>,
}

pub enum ResetStep {
    /// There is nothing to reset.
    Idle,
    Batch(ResetBatch),
    /// A walk is complete; the servers that it was for.
    Finished(Vec<(Name, ServerReset)>),
}

impl Resets {
    /// Takes the destinations that are down now and shall be reset: those that were not are wanted.
    pub fn observe(&mut self, down: BTreeMap<u32, Name>, known: impl Fn(&Name) -> bool) {
        let new: Vec<(u32, Name)> =
            down.iter().filter(|(id, _)| !self.down.contains(id)).map(|(id, name)| (*id, name.clone())).collect();
        self.down = down.into_keys().collect();
        self.by_server.retain(|server, _| known(server));
        new.into_iter().for_each(|(id, server)| self.want(id, server));
    }

    /// Resets a destination, as soon as it is down.
    pub fn want(&mut self, id: u32, server: Name) {
        let entry = self.by_server.entry(server.clone()).or_default();
        if entry.done {
            *entry = ServerReset::default();
        }
        self.wanted.insert(id, server);
    }

    pub fn is_wanted(&self) -> bool {
        self.walk.is_some() || !self.wanted.is_empty()
    }

    pub fn of(&self, server: &Name) -> Option<ServerReset> {
        self.by_server.get(server).copied()
    }

    /// The walk is given up; its destinations wait for another.
    pub fn abandon(&mut self) {
        if let Some(walk) = self.walk.take() {
            self.wanted.extend(walk.dests);
        }
    }

    /// The next chunk of a walk, of at most 2,048 entries.
    pub fn step(&mut self, loaded: &Loaded, tables: &Tables) -> Result<ResetStep, DataPlaneError> {
        if self.walk.is_none() {
            if self.wanted.is_empty() {
                return Ok(ResetStep::Idle);
            }
            self.walk = Some(Walk { cursor: ScanCursor::default(), dests: std::mem::take(&mut self.wanted) });
        }
        let Some(walk) = &mut self.walk else { return Ok(ResetStep::Idle) };
        let dests = walk.dests.iter().filter_map(|(id, server)| {
            let dest = loaded.maps.dests.read(*id)?;
            (dest.flags & DEST_DOWN != 0).then_some((*id, (dest, server)))
        });
        let dests: BTreeMap<u32, (dest, &Name)> = dests.collect();
        let rows = if dests.is_empty() { None } else { loaded.maps.flows.scan_chunk(&mut walk.cursor, CHUNK)? };
        let Some(rows) = rows else { return Ok(ResetStep::Finished(self.finish())) };
        let vips: BTreeMap<u32, IpAddr> = tables.vips().map(|(ip, id)| (id, ip)).collect();
        let mut batch = ResetBatch::default();
        for (key, flow) in rows {
            let Some((dest, server)) = dests.get(&flow.dest) else { continue };
            batch.keys.push(key);
            let found = batch.found.entry((*server).clone()).or_default();
            if key.local & LOCAL_UDP != 0 {
                found.flows += 1;
            } else if !has_ended(flow.state) {
                found.connections += 1;
                let vip = vips.get(&(key.local & LOCAL_ID)).copied();
                let client = to_client(loaded, vip, &key, &flow)?;
                let server = to_server(loaded, tables, &key, &flow, dest)?;
                for (port, rst) in [client, server].into_iter().flatten() {
                    batch.frames.extend(rst.frame().map(|frame| (port, frame)));
                }
                // What the peer has told of a client's ACK may be old: the answer to the question shows it, and is
                // answered by a RST as any packet to a failed server.
                let unsure = client.filter(|_| flow.state & FLOW_SYNCED != 0);
                batch.frames.extend(unsure.and_then(|(port, rst)| Some((port, rst.question()?))));
            }
        }
        Ok(ResetStep::Batch(batch))
    }

    fn finish(&mut self) -> Vec<(Name, ServerReset)> {
        let walked: BTreeSet<Name> = self.walk.take().map(|w| w.dests.into_values().collect()).unwrap_or_default();
        let mut finished = Vec::new();
        for server in walked {
            let again = self.wanted.values().any(|waiting| *waiting == server);
            if let (false, Some(entry)) = (again, self.by_server.get_mut(&server)) {
                entry.done = true;
                finished.push((server, *entry));
            }
        }
        finished
    }

    /// Removes what a batch has reset. What has come to another destination meanwhile, or whose destination
    /// is up again, stays. How many went.
    pub fn done(&mut self, loaded: &Loaded, batch: ResetBatch) -> Result<u32, DataPlaneError> {
        for (server, found) in batch.found {
            if let Some(entry) = self.by_server.get_mut(&server) {
                entry.connections += found.connections;
                entry.flows += found.flows;
            }
        }
        flows::reap(loaded, &batch.keys, REAP_DOWN)
    }
}

/// Nobody waits for anything on it any more.
fn has_ended(state: u32) -> bool {
    const FIN: u32 = FLOW_CLIENT_FIN | FLOW_SERVER_FIN;
    state & (FLOW_CLIENT_RST | FLOW_SERVER_RST) != 0 || state & FIN == FIN
}

fn end(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, u16::from_be(port))
}

/// In the name of the virtual address.
fn to_client(
    loaded: &Loaded,
    vip: Option<IpAddr>,
    key: &flow_key,
    flow: &flow,
) -> Result<Option<(IfIndex, Rst)>, DataPlaneError> {
    let way = clients::port_to_client(&loaded.maps, flow)?;
    let (Some((port, from)), Some(vip)) = (way, vip) else { return Ok(None) };
    let rst = Rst {
        to: Mac(flow.client.mac),
        vlan: flow.client.vlan,
        from,
        source: end(vip, key.port),
        destination: end(ip_of(&key.peer), key.peer_port),
        sequence: u32::from_be(flow.last_ack),
    };
    Ok(Some((port, rst)))
}

/// In the name of the client as the server knows it: in NAT only, because in DSR the server's half is not seen.
fn to_server(
    loaded: &Loaded,
    tables: &Tables,
    key: &flow_key,
    flow: &flow,
    dest: &dest,
) -> Result<Option<(IfIndex, Rst)>, DataPlaneError> {
    let Some(reverse) = reverse_key(key, flow, dest) else { return Ok(None) };
    let Some(back) = loaded.maps.rflows.get(&reverse)? else { return Ok(None) };
    let source = match flow.snat.checked_sub(1) {
        None => end(ip_of(&key.peer), key.peer_port),
        Some(index) => match loaded.maps.snats.get(&u32::from(index))? {
            Some(held) => end(ip_of(&held.addr), flow.snat_port),
            None => return Ok(None),
        },
    };
    let rst = Rst {
        to: Mac(dest.l2.mac),
        vlan: dest.l2.vlan,
        from: Mac(dest.own.mac),
        source,
        destination: end(ip_of(&dest.addr), if dest.port == 0 { key.port } else { dest.port }),
        sequence: u32::from_be(back.last_ack),
    };
    // 0: it is not known where the server is.
    Ok((dest.egress != 0 && tables.port_mac(dest.egress).is_some()).then_some((dest.egress, rst)))
}

/// The key under which a flow's replies arrive, as `reverse_key` in `bpf/flows.h` has it; `None` for DSR.
pub fn reverse_key(key: &flow_key, flow: &flow, dest: &dest) -> Option<flow_key> {
    let port = if dest.port == 0 { key.port } else { dest.port };
    let udp = key.local & LOCAL_UDP;
    if flow.snat != 0 {
        let local = LOCAL_SNAT | u32::from(flow.snat - 1) | udp;
        return Some(flow_key { peer: dest.addr, peer_port: port, port: flow.snat_port, local });
    }
    if u32::from(dest.mode) == MODE_DSR {
        return None;
    }
    Some(flow_key { peer: key.peer, peer_port: key.peer_port, port, local: LOCAL_SERVER | dest.server | udp })
}

/// Whether this box owns its addresses: a standby resets nothing, its peer does.
pub fn owns(loaded: &Loaded) -> bool {
    let until = loaded.maps.control.word(0, offset_of!(control, lease_until));
    lease::owns(until.map_or(0, |word| word.load(std::sync::atomic::Ordering::Acquire)), lease::boottime_ns())
}
