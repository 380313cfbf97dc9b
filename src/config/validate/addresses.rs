//! Who has which address: virtual servers, servers, the inside, source NAT.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{Findings, server, virtual_server};
use crate::config::diagnostic::{Complaint, Finding, KeyPath};
use crate::config::model::{Config, Prefix};

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let mut owners = Owners { inside: &config.interfaces.inside, taken: BTreeMap::new(), findings };
    inside(config, &mut owners);
    own(config, &mut owners);
    source_nat(config, &mut owners);
    for (name, entry) in &config.servers {
        let at = server(name);
        if let Some(address) = entry.address {
            owners.take(address.into(), at.key("address"), format!("server `{name}`"));
        }
        if let Some(address) = entry.address6 {
            owners.take(address.into(), at.key("address6"), format!("server `{name}`"));
        }
    }
    for (name, entry) in &config.virtual_servers {
        let at = virtual_server(name).key("addresses");
        if entry.addresses.is_empty() {
            let help = "give it at least one: addresses: [192.0.2.25]";
            owners
                .findings
                .error(at.clone(), Complaint::lack(format!("virtual server `{name}` has no address")).help(help));
        }
        for (index, address) in entry.addresses.iter().enumerate() {
            owners.take(*address, at.key(index), format!("virtual server `{name}`"));
        }
    }
}

struct Owners<'a> {
    inside: &'a [Prefix],
    /// Whose an address is, and where that stands.
    taken: BTreeMap<IpAddr, (String, KeyPath)>,
    findings: &'a mut Findings,
}

impl Owners<'_> {
    /// One address has one owner: frames for it can be answered and delivered in one way only.
    fn take(&mut self, address: IpAddr, at: KeyPath, owner: String) {
        if let Err(complaint) = of_a_host(address) {
            return self.findings.error(at, complaint);
        }
        if let Some(prefix) = self.inside.iter().find(|prefix| not_a_host(**prefix, address)) {
            let message = format!("{address} is the network or broadcast address of the inside network {prefix}");
            return self.findings.error(at, Complaint::new(message).help("give it an address of a host"));
        }
        match self.taken.get(&address) {
            None => {
                self.taken.insert(address, (owner, at));
            }
            Some((first, place)) => {
                let message = if *first == owner {
                    format!("{address} stands here twice")
                } else {
                    format!("{address} belongs to {first} already; {owner} cannot have it too")
                };
                let complaint = Complaint::new(message).help("every address has one owner");
                let finding = Finding::error(at, complaint).related(place.clone(), "here first");
                self.findings.list.push(finding);
            }
        }
    }
}

fn inside(config: &Config, owners: &mut Owners) {
    let at = KeyPath::root().key("interfaces").key("inside");
    prefixes(&config.interfaces.inside, at, "the inside (`interfaces.inside`)", owners);
}

/// This box's own: the kernel answers for them, the data plane for all others.
fn own(config: &Config, owners: &mut Owners) {
    let at = KeyPath::root().key("interfaces").key("addresses");
    prefixes(&config.interfaces.addresses, at, "this box (`interfaces.addresses`)", owners);
}

fn prefixes(list: &[Prefix], at: KeyPath, owner: &str, owners: &mut Owners) {
    for (index, prefix) in list.iter().enumerate() {
        let at = at.key(index);
        let longest = if prefix.address.is_ipv4() { 32 } else { 128 };
        if !(1..=longest).contains(&prefix.length) {
            let complaint = Complaint::new(format!("/{} is no length of a prefix here", prefix.length))
                .help(format!("the length goes from 1 to {longest}"));
            owners.findings.error(at, complaint);
        } else {
            owners.take(prefix.address, at, owner.to_owned());
        }
    }
}

/// An inside address may be a source of full NAT too: both are answered for by the data plane.
fn source_nat(config: &Config, owners: &mut Owners) {
    let root = KeyPath::root().key("source-nat");
    let mut seen: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (index, entry) in config.source_nat.iter().enumerate() {
        let at = root.key(index);
        if let Some(first) = seen.get(&entry.address) {
            let complaint = Complaint::new(format!("{} is a source already", entry.address))
                .help("give each address one entry, with all the ports that it may use");
            let finding = Finding::error(at.key("address"), complaint).related(root.key(first), "here first");
            owners.findings.list.push(finding);
            continue;
        }
        seen.insert(entry.address, index);
        if !config.interfaces.inside.iter().any(|prefix| prefix.address == entry.address) {
            owners.take(entry.address, at.key("address"), "source NAT (`source-nat`)".into());
        }
    }
}

/// Addresses that one host on a network can have.
fn of_a_host(address: IpAddr) -> Result<(), Complaint> {
    let kind = match address {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "no address of a host (0.0.0.0/8, RFC 1122)",
        IpAddr::V4(v4) if v4 == Ipv4Addr::BROADCAST => "the broadcast address",
        IpAddr::V6(v6) if v6.is_unspecified() => "the unspecified address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "an IPv4 address in the notation of IPv6",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "link-local: it means another host on every link",
        _ if address.is_multicast() => "a multicast address",
        _ if address.is_loopback() => "a loopback address",
        _ => return Ok(()),
    };
    Err(Complaint::new(format!("{address} is {kind}")).help("give it a unicast address that is its own on the network"))
}

/// The network or broadcast address of an IPv4 network that has them (not /31 and /32, RFC 3021).
fn not_a_host(network: Prefix, address: IpAddr) -> bool {
    let (IpAddr::V4(base), IpAddr::V4(address)) = (network.address, address) else { return false };
    if !(1..=30).contains(&network.length) {
        return false;
    }
    let host_bits = u32::MAX >> network.length;
    let (base, address) = (u32::from(base), u32::from(address));
    base & !host_bits == address & !host_bits && (address & host_bits == 0 || address & host_bits == host_bits)
}
