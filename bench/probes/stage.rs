//! Two machines and a cable: the prober on one, all the servers on the other.
//!
//! ```text
//!   lb1 p1 ───────── eth0 servers
//!                     10.1.0.3
//!                     lo: 10.2.0.0/16, servers' own addresses; 192.0.2.1 and so on, virtual ones
//!                     10.3.0.0/16 and 198.51.100.0/24: frames to these are swallowed
//! ```

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Context, Result};
use lbd::config::Mac;
use lbd::lab::{Plan, Site};

pub const PROBER: &str = "lb1";
pub const SERVERS: &str = "servers";
pub const PORT: &str = "p1";
pub const PORT_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// Plays every server's.
pub const SERVERS_MAC: Mac = Mac([2, 0, 0, 0, 0, 11]);
pub const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
/// Servers that share a virtual address.
const SERVERS_PER_VIP: u16 = 100;
/// Virtual addresses that the servers' machine has for datagrams, and servers' own likewise.
pub const SERVERS_MAX: u16 = 1_000;

/// A server's own address.
pub fn own(server: u16) -> Ipv4Addr {
    let [high, low] = server.to_be_bytes();
    Ipv4Addr::new(10, 2, high, low)
}

/// Where nobody answers.
pub fn dead(server: u16) -> Ipv4Addr {
    let [high, low] = server.to_be_bytes();
    Ipv4Addr::new(10, 3, high, low)
}

pub fn vip(server: u16) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, group(server))
}

/// A virtual address that no server has.
pub fn dead_vip(server: u16) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, group(server))
}

fn group(server: u16) -> u8 {
    u8::try_from(server / SERVERS_PER_VIP).unwrap_or(u8::MAX - 1) + 1
}

pub fn build() -> Result<Site> {
    let mut plan = Plan::new();
    plan.cable(&format!("{PROBER}:{PORT}"), &format!("{SERVERS}:eth0"));
    plan.ip(PROBER, &format!("link set {PORT} address {PORT_MAC}"));
    plan.ip(SERVERS, &format!("link set eth0 address {SERVERS_MAC}"));
    plan.address(&format!("{PROBER}:{PORT}"), "10.1.0.2/24").address(&format!("{SERVERS}:eth0"), "10.1.0.3/24");
    for net in ["10.2.0.0/16", "10.3.0.0/16"] {
        plan.ip(PROBER, &format!("route add {net} via 10.1.0.3"));
    }
    plan.ip(SERVERS, "route add local 10.2.0.0/16 dev lo");
    // Datagram servers bind to each address that there is.
    for server in 0..SERVERS_MAX {
        plan.ip(SERVERS, &format!("addr add {}/32 dev lo", own(server)));
    }
    for server in (0..SERVERS_MAX).step_by(SERVERS_PER_VIP.into()) {
        plan.ip(SERVERS, &format!("addr add {}/32 dev lo", vip(server)));
    }
    for net in ["10.3.0.0/16", "198.51.100.0/24"] {
        plan.ip(SERVERS, &format!("route add blackhole {net}"));
    }
    // Servers that close first keep thousands of connections for a minute: not what is measured here.
    plan.sysctl(SERVERS, "net.ipv4.tcp_max_tw_buckets", "4096");
    Site::build(&plan).context("two network namespaces: are you root?")
}

/// This program again, on one of the machines.
pub fn this_program(site: &Site, host: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = site.host(host)?.command(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

/// What the prober's kernel has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segments {
    pub opened: u64,
    pub out: u64,
    pub inward: u64,
}

impl Segments {
    /// TCP's, of the prober's machine (RFC 4022, as /proc/net/snmp has them).
    pub fn now(site: &Site) -> Result<Self> {
        let text = site.host(PROBER)?.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let names = lines.next().context("no TCP in /proc/net/snmp")?.split(' ');
        let values = lines.next().context("no TCP in /proc/net/snmp")?.split(' ');
        let pairs: Vec<(&str, &str)> = names.zip(values).collect();
        let of = |wanted: &str| -> Result<u64> {
            let (_, value) = pairs.iter().find(|(name, _)| *name == wanted).with_context(|| format!("no {wanted}"))?;
            Ok(value.parse()?)
        };
        Ok(Self { opened: of("ActiveOpens")?, out: of("OutSegs")?, inward: of("InSegs")? })
    }
}
