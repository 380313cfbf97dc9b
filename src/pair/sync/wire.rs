//! What is on the wire: datagrams, and the records of which their stream consists.
//!
//! ```text
//! data   version 1 │ kind 1 │ session 8 │ sequence 8 │ delay 4 │ records …
//! ack    version 1 │ kind 2 │ session 8 │ receiver 8 │ next 8 │ again 4 │ beyond 64
//! ```
//!
//! Numbers are in network order; those marked `v` below have 1 to 10 bytes, 7 bits each, the lowest first (LEB128).
//! `delay` is the time in ms from the making of the datagram to this sending of it: what its records tell as ages is
//! older by so much. In an acknowledgement `next` is the first datagram that is missing, and `beyond` a bit for each
//! of the 512 from there on that has come; `again` counts how often the receiver has asked to be told everything.
//!
//! A record begins with its kind in the lower four bits; the upper ones are 16: IPv6, 32: UDP, 64: full NAT.
//!
//! ```text
//!  1 put      key │ dest v │ state 1 │ seen v │ created v │ client's ack 4 │ server's ack 4 │ MAC 6 │ VLAN 2 │
//!             progress 1 │ full NAT: source v │ port 2
//!  2 touch    key │ state 1 │ seen v │ client's ack 4
//!  3 gone     key │ seen v                                key: client 4 or 16 │ its port 2 │ VIP v │ port 2
//!  4 binding  client 4 or 16 │ group v │ server v │ VIP v │ seen v
//!  5 name     of what 1 │ number v │ length 1 │ text
//!  6 begin    generation v │ parts 32 │ connections v
//!  7 end      generation v │ told v
//!  8 matter   of what 1 │ revision v │ length of all v │ offset v │ length v │ bytes
//!  9 tick     connections v │ records behind v │ ms behind v
//! 12 to 15    length v │ bytes: of a later version, skipped
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Mac;
use crate::core::synced::{Binding, Change, Flow, FlowKey, Name, NameKind, Parts};

pub const VERSION: u8 = 1;
/// Datagrams that may be under way: as many as an acknowledgement has bits for.
pub const WINDOW: u64 = 512;
pub const DATA_HEADER_BYTES: usize = 22;
/// Where `delay` is.
pub const DELAY_AT: usize = 18;
/// The largest record but matter: a name.
pub const RECORD_BYTES_MAX: usize = 280;

const DATA: u8 = 1;
const ACK: u8 = 2;
const IPV6: u8 = 16;
const UDP: u8 = 32;
const FULL_NAT: u8 = 64;

/// What is carried whole beside the connections; the latest of a kind is what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matter {
    Admin = 1,
    Config = 2,
    Health = 3,
}

impl Matter {
    pub const ALL: [Self; 3] = [Self::Admin, Self::Config, Self::Health];

    /// More is neither sent nor taken.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Admin => 1 << 20,
            Self::Config => 4 << 20,
            Self::Health => 256 << 10,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    Change(Change),
    Name(Name),
    Begin {
        generation: u64,
        parts: Parts,
        connections: u64,
    },
    End {
        generation: u64,
        told: u64,
    },
    Matter {
        matter: Matter,
        revision: u64,
        length: u64,
        offset: u64,
        bytes: &'a [u8],
    },
    Tick {
        connections: u64,
        records_behind: u64,
        ms_behind: u64,
    },
    /// Of a later version.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    Data { session: u64, sequence: u64, delay_ms: u32, records: &'a [u8] },
    Ack(Ack),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub session: u64,
    pub receiver: u64,
    pub next: u64,
    pub again: u32,
    pub beyond: [u64; (WINDOW / 64) as usize],
}

pub fn data_header(session: u64, sequence: u64, delay_ms: u32) -> [u8; DATA_HEADER_BYTES] {
    let mut header = [0; DATA_HEADER_BYTES];
    let fields: [&[u8]; 4] =
        [&[VERSION, DATA], &session.to_be_bytes(), &sequence.to_be_bytes(), &delay_ms.to_be_bytes()];
    for (to, from) in header.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    header
}

impl Ack {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, ACK];
        for word in [self.session, self.receiver, self.next] {
            out.extend(word.to_be_bytes());
        }
        out.extend(self.again.to_be_bytes());
        self.beyond.iter().for_each(|word| out.extend(word.to_be_bytes()));
        out
    }

    /// Whether the datagram `offset` after `next` has come.
    pub fn has_come(&self, offset: u64) -> bool {
        let word = usize::try_from(offset / 64).ok().and_then(|index| self.beyond.get(index));
        word.is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }
}

/// `None`: not of this protocol, or of a version that is not spoken.
pub fn datagram(bytes: &[u8]) -> Option<Datagram<'_>> {
    let mut r = Reader(bytes);
    if r.u8()? != VERSION {
        return None;
    }
    match r.u8()? {
        DATA => {
            let (session, sequence, delay_ms) = (r.u64()?, r.u64()?, r.u32()?);
            Some(Datagram::Data { session, sequence, delay_ms, records: r.0 })
        }
        ACK => {
            let (session, receiver, next, again) = (r.u64()?, r.u64()?, r.u64()?, r.u32()?);
            let mut beyond = [0; (WINDOW / 64) as usize];
            for word in &mut beyond {
                *word = r.u64()?;
            }
            r.0.is_empty().then_some(Datagram::Ack(Ack { session, receiver, next, again, beyond }))
        }
        _ => None,
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => out.extend(v4.octets()),
        IpAddr::V6(v6) => out.extend(v6.octets()),
    }
}

fn put_key(out: &mut Vec<u8>, kind: u8, key: &FlowKey) {
    out.push(kind | if key.client.is_ipv6() { IPV6 } else { 0 } | if key.udp { UDP } else { 0 });
    put_ip(out, key.client);
    out.extend(key.client_port.to_be_bytes());
    put_varint(out, key.vip.into());
    out.extend(key.port.to_be_bytes());
}

pub fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Put(f) => {
            put_key(out, if f.source.is_some() { 1 | FULL_NAT } else { 1 }, &f.key);
            put_varint(out, f.dest.into());
            out.push(f.state);
            put_varint(out, f.seen_ms);
            put_varint(out, f.created_ms);
            out.extend(f.last_ack.to_be_bytes());
            out.extend(f.server_ack.to_be_bytes());
            out.extend(f.client_mac.0);
            out.extend(f.client_vlan.to_be_bytes());
            out.push(f.progress);
            if let Some((source, port)) = f.source {
                put_varint(out, source.into());
                out.extend(port.to_be_bytes());
            }
        }
        Change::Touch { key, state, seen_ms, last_ack } => {
            put_key(out, 2, key);
            out.push(*state);
            put_varint(out, *seen_ms);
            out.extend(last_ack.to_be_bytes());
        }
        Change::Gone { key, seen_ms } => {
            put_key(out, 3, key);
            put_varint(out, *seen_ms);
        }
        Change::Binding(b) => {
            out.push(4 | if b.client.is_ipv6() { IPV6 } else { 0 });
            put_ip(out, b.client);
            for number in [b.group, b.server, b.vip] {
                put_varint(out, number.into());
            }
            put_varint(out, b.seen_ms);
        }
    }
}

/// Texts are cut at `NameKind::TEXT_BYTES_MAX`; `Names` holds none that is longer.
pub fn put_name(out: &mut Vec<u8>, name: &Name) {
    out.extend([5, name.kind as u8]);
    put_varint(out, name.number.into());
    let length = name.text.len().min(NameKind::TEXT_BYTES_MAX);
    out.push(length as u8);
    out.extend(name.text.bytes().take(length));
}

pub fn put_begin(out: &mut Vec<u8>, generation: u64, parts: &Parts, connections: u64) {
    out.push(6);
    put_varint(out, generation);
    parts.0.iter().for_each(|word| out.extend(word.to_be_bytes()));
    put_varint(out, connections);
}

pub fn put_end(out: &mut Vec<u8>, generation: u64, told: u64) {
    out.push(7);
    put_varint(out, generation);
    put_varint(out, told);
}

/// What a piece of matter takes beside its bytes, at the most.
pub const MATTER_HEAD_BYTES: usize = 32;

pub fn put_matter(out: &mut Vec<u8>, matter: Matter, revision: u64, length: usize, offset: usize, bytes: &[u8]) {
    out.extend([8, matter as u8]);
    for number in [revision, length as u64, offset as u64, bytes.len() as u64] {
        put_varint(out, number);
    }
    out.extend(bytes);
}

pub fn put_tick(out: &mut Vec<u8>, connections: u64, records_behind: u64, ms_behind: u64) {
    out.push(9);
    [connections, records_behind, ms_behind].into_iter().for_each(|number| put_varint(out, number));
}

/// The records of a datagram; the first that cannot be read ends them, as `Err`.
pub struct Records<'a>(Reader<'a>);

impl<'a> Records<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(Reader(bytes))
    }
}

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.0.is_empty() {
            return None;
        }
        let record = self.0.record();
        if record.is_none() {
            self.0 = Reader(&[]);
        }
        Some(record.ok_or(Unreadable))
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn number(&mut self) -> Option<u32> {
        self.varint()?.try_into().ok()
    }

    fn ip(&mut self, six: bool) -> Option<IpAddr> {
        if six {
            // A mapped IPv4 address would be another key than the teller's.
            let v6 = Ipv6Addr::from(self.array::<16>()?);
            return v6.to_ipv4_mapped().is_none().then_some(IpAddr::V6(v6));
        }
        Some(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)))
    }

    fn key(&mut self, head: u8) -> Option<FlowKey> {
        Some(FlowKey {
            client: self.ip(head & IPV6 != 0)?,
            client_port: self.u16()?,
            vip: self.number()?,
            port: self.u16()?,
            udp: head & UDP != 0,
        })
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let head = self.u8()?;
        Some(match head & 15 {
            1 => {
                let mut flow = Flow {
                    key: self.key(head)?,
                    dest: self.number()?,
                    state: self.u8()?,
                    seen_ms: self.varint()?,
                    created_ms: self.varint()?,
                    last_ack: self.u32()?,
                    server_ack: self.u32()?,
                    source: None,
                    client_mac: Mac(self.array()?),
                    client_vlan: self.u16()?,
                    progress: self.u8()?,
                };
                if head & FULL_NAT != 0 {
                    flow.source = Some((self.number()?, self.u16()?));
                }
                Record::Change(Change::Put(flow))
            }
            2 => Record::Change(Change::Touch {
                key: self.key(head)?,
                state: self.u8()?,
                seen_ms: self.varint()?,
                last_ack: self.u32()?,
            }),
            3 => Record::Change(Change::Gone { key: self.key(head)?, seen_ms: self.varint()? }),
            4 => Record::Change(Change::Binding(Binding {
                client: self.ip(head & IPV6 != 0)?,
                group: self.number()?,
                server: self.number()?,
                vip: self.number()?,
                seen_ms: self.varint()?,
            })),
            5 => {
                let kind = *NameKind::ALL.get(usize::from(self.u8()?))?;
                let number = self.number().filter(|number| *number <= NameKind::NUMBER_MAX)?;
                let length = self.u8()?;
                let text = str::from_utf8(self.take(length.into())?).ok()?;
                Record::Name(Name { kind, number, text: text.into() })
            }
            6 => {
                let generation = self.varint()?;
                let mut parts = Parts::NONE;
                for word in &mut parts.0 {
                    *word = self.u64()?;
                }
                Record::Begin { generation, parts, connections: self.varint()? }
            }
            7 => Record::End { generation: self.varint()?, told: self.varint()? },
            8 => {
                let number = self.u8()?;
                let matter = Matter::ALL.into_iter().find(|matter| *matter as u8 == number)?;
                let (revision, length, offset) = (self.varint()?, self.varint()?, self.varint()?);
                let size = self.varint()?;
                let bytes = self.take(usize::try_from(size).ok()?)?;
                Record::Matter { matter, revision, length, offset, bytes }
            }
            9 => {
                Record::Tick { connections: self.varint()?, records_behind: self.varint()?, ms_behind: self.varint()? }
            }
            12.. => {
                let size = self.varint()?;
                self.take(usize::try_from(size).ok()?)?;
                Record::Unknown
            }
            _ => return None,
        })
    }
}
