//! The types and numbers of `bpf/lb.h`, and the ways into and out of them.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::config::Protocol;

#[allow(clippy::all)]
#[allow(unused_imports)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/lbd.skel.rs"));
}
#[allow(dead_code)]
mod constants {
    include!(concat!(env!("OUT_DIR"), "/lb_constants.rs"));
}

pub use constants::*;
pub use generated::types::*;
pub use generated::{LbdSkel, LbdSkelBuilder, OpenLbdMaps};

/// A type that the kernel copies in and out of maps as bytes.
///
/// # Safety
/// `repr(C)`, and every bit pattern is a value. The generated types are both; their padding is written as
/// zero because all are made from `Default`.
pub unsafe trait Raw: Copy + Default {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `Self` is plain data of this size, borrowed for as long as the slice.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// `None` if there are fewer bytes than the type has. More are ignored: per-CPU values are padded to 8.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<Self>() {
            return None;
        }
        // SAFETY: enough bytes, of which any pattern is a value; the read does not assume alignment.
        Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
    }
}

macro_rules! raw {
    ($($t:ty),*) => { $(
        // SAFETY: a generated repr(C) struct of integers and arrays of them.
        unsafe impl Raw for $t {}
    )* };
}
raw!(u32, u64, addr, addr_info, port, service_key, service, dest, conns, traffic, flow_key, flow, rflow, persist_key);
raw!(persist, member_key, active_key, migrant_key, snat, prefix_key, control, seen_mac, work, name_key, embryo, frag);
raw!(client_place, probe_place, ownership, question, l2, sync_entry, sync_lost, restore, fate);
raw!(tap_filter, tap_head, talker_key, talker);

// SAFETY: 128 bytes of text.
unsafe impl Raw for NameText {}

/// `struct name`: Rust derives no `Default` for an array of 128.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NameText(pub [u8; NAME_BYTES as usize]);

impl Default for NameText {
    fn default() -> Self {
        Self([0; NAME_BYTES as usize])
    }
}

impl NameText {
    /// Cut at the size of the field; names are short enough by the model's rule.
    pub fn new(text: &str) -> Self {
        let mut name = Self::default();
        for (to, from) in name.0.iter_mut().zip(text.bytes().take(NAME_BYTES as usize - 1)) {
            *to = from;
        }
        name
    }

    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().take_while(|b| *b != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// IPv4 as `::ffff:a.b.c.d`.
pub fn addr_of(ip: IpAddr) -> addr {
    let bytes = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut result = addr::default();
    for (word, four) in result.word.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
    }
    result
}

pub fn ip_of(a: &addr) -> IpAddr {
    let mut bytes = [0; 16];
    for (four, word) in bytes.chunks_exact_mut(4).zip(a.word) {
        four.copy_from_slice(&word.to_ne_bytes());
    }
    let v6 = Ipv6Addr::from(bytes);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

pub fn protocol_number(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// Nanoseconds, as the program counts; 584 years are enough.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
