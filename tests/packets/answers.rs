//! What the balancer answers itself: ARP, neighbour discovery, ping.

use std::net::{IpAddr, Ipv6Addr};

use lbd::config::Mode;

use super::frame::*;
use super::site::*;

fn site() -> Site {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    site.source_nat(1024, 65535);
    site
}

fn octets4(address: IpAddr) -> [u8; 4] {
    let IpAddr::V4(v4) = address else { panic!("{address}") };
    v4.octets()
}

fn octets6(address: IpAddr) -> [u8; 16] {
    let IpAddr::V6(v6) = address else { panic!("{address}") };
    v6.octets()
}

fn who_has(target: IpAddr) -> Arp {
    let sender = (ROUTER, octets4(client(V4, 1)));
    Arp { to: [0xff; 6], from: ROUTER, tag: None, operation: 1, sender, target: ([0; 6], octets4(target)) }
}

#[test]
fn who_has_is_answered_for_virtual_inside_and_source_nat_addresses() {
    let mut site = site();
    for (what, address) in [("VIP", vip(V4, 1)), ("inside", inside(V4)), ("source-nat", snat(V4))] {
        for tag in [None, Some(7), Some(0x6007)] {
            let question = Arp { tag, ..who_has(address) };
            let (sender, target) = ((OWN, octets4(address)), question.sender);
            let answer = Arp { to: ROUTER, from: OWN, tag, operation: 2, sender, target };
            site.sends_bytes(what, &question.bytes(), "arp", &answer.bytes());
            let unicast = Arp { to: OWN, ..question };
            site.sends_bytes("asked by unicast", &unicast.bytes(), "arp", &answer.bytes());
        }
    }
}

#[test]
fn an_arp_question_may_be_padded_and_its_padding_stays() {
    let mut site = site();
    let mut question = who_has(vip(V4, 1)).bytes();
    question.resize(60, 0xaa);
    let sender = (OWN, octets4(vip(V4, 1)));
    let answer = Arp { to: ROUTER, from: OWN, tag: None, operation: 2, sender, target: who_has(vip(V4, 1)).sender };
    let mut answer = answer.bytes();
    answer.resize(60, 0xaa);
    site.sends_bytes("padded to Ethernet's least length", &question, "arp", &answer);
}

#[test]
fn a_probe_for_a_duplicate_of_a_virtual_address_is_answered() {
    let mut site = site();
    let probe = Arp { sender: (STRANGER, [0; 4]), from: STRANGER, ..who_has(vip(V4, 1)) };
    let (sender, target) = ((OWN, octets4(vip(V4, 1))), (STRANGER, [0; 4]));
    let answer = Arp { to: STRANGER, from: OWN, tag: None, operation: 2, sender, target };
    site.sends_bytes("RFC 5227", &probe.bytes(), "arp", &answer.bytes());
}

#[test]
fn arp_about_others_and_arp_replies_go_to_the_kernel() {
    let mut site = site();
    site.passes_bytes("a server's address", &who_has(server(V4, 1)).bytes(), "other");
    site.passes_bytes("an unknown address", &who_has(client(V4, 9)).bytes(), "other");
    let reply = Arp { operation: 2, ..who_has(vip(V4, 1)) };
    site.passes_bytes("a reply", &reply.bytes(), "other");
    let mut short = who_has(vip(V4, 1)).bytes();
    short.truncate(41);
    site.passes_bytes("cut short", &short, "other");
    let mut token_ring = who_has(vip(V4, 1)).bytes();
    token_ring[15] = 6;
    site.passes_bytes("other hardware", &token_ring, "other");
}

#[test]
fn the_mac_of_who_asks_is_kept_learnt() {
    let mut site = site();
    site.send_bytes("who-has", &who_has(vip(V4, 1)).bytes());
    let asker: IpAddr = Ipv6Addr::UNSPECIFIED.into();
    site.send(&solicit(vip(V6, 1), asker, None).between(STRANGER, SOLICITED));
    let macs: Vec<[u8; 6]> = site.dp.seen_macs().unwrap().iter().map(|seen| seen.mac.0).collect();
    assert_eq!(macs, [STRANGER, ROUTER], "the bridge sees neither question, and no MAC of a group is learnt");
}

const SOLICITED: [u8; 6] = [0x33, 0x33, 0xff, 0, 0, 1];

/// A neighbour solicitation (RFC 4861, 4.3), with the asker's MAC if given.
fn solicit(target: IpAddr, asker: IpAddr, mac: Option<[u8; 6]>) -> Frame {
    let mut data = octets6(target).to_vec();
    if let Some(mac) = mac {
        data.extend([1, 1]);
        data.extend(mac);
    }
    let group = "ff02::1:ff00:1".parse().unwrap();
    Frame::icmp(asker, group, 135, 0, 0, &data).ttl(255).between(ROUTER, SOLICITED)
}

fn advert(target: IpAddr, to: IpAddr, flags: u32) -> Frame {
    let mut data = octets6(target).to_vec();
    data.extend([2, 1]);
    data.extend(OWN);
    Frame::icmp(target, to, 136, 0, flags, &data).ttl(255).between(OWN, ROUTER)
}

const SOLICITED_OVERRIDE: u32 = 0x6000_0000;
const OVERRIDE: u32 = 0x2000_0000;

#[test]
fn a_neighbour_solicitation_is_answered_for_addresses_of_ours() {
    let mut site = site();
    let asker = client(V6, 1);
    for (what, address) in [("VIP", vip(V6, 1)), ("inside", inside(V6)), ("source-nat", snat(V6))] {
        for mac in [Some(ROUTER), None] {
            for tag in [None, Some(0x2009)] {
                let question = solicit(address, asker, mac).tag(tag);
                site.sends(what, &question, "nd", &advert(address, asker, SOLICITED_OVERRIDE).tag(tag));
                site.sends(
                    "asked by unicast",
                    &Frame { dst: address, ..question.clone() }.between(ROUTER, OWN),
                    "nd",
                    &advert(address, asker, SOLICITED_OVERRIDE).tag(tag),
                );
            }
        }
    }
}

#[test]
fn more_options_in_a_solicitation_are_cut_off() {
    let mut site = site();
    let mut question = solicit(vip(V6, 1), client(V6, 1), Some(ROUTER));
    let Body::Icmp { data, .. } = &mut question.body else { panic!() };
    data.extend([14, 1, 1, 2, 3, 4, 5, 6]); // a nonce (RFC 3971)
    site.sends("with a nonce", &question, "nd", &advert(vip(V6, 1), client(V6, 1), SOLICITED_OVERRIDE));
}

#[test]
fn detection_of_a_duplicate_address_is_answered_to_all_nodes() {
    let mut site = site();
    let nobody: IpAddr = Ipv6Addr::UNSPECIFIED.into();
    let all_nodes = "ff02::1".parse().unwrap();
    let answer = advert(vip(V6, 1), all_nodes, OVERRIDE).between(OWN, [0x33, 0x33, 0, 0, 0, 1]);
    site.sends("DAD", &solicit(vip(V6, 1), nobody, None), "nd", &answer);
    site.sends("DAD in a VLAN", &solicit(vip(V6, 1), nobody, None).tag(7), "nd", &answer.tag(7));
}

#[test]
fn solicitations_for_others_or_from_beyond_the_link_go_to_the_kernel() {
    let mut site = site();
    site.passes("a server's address", &solicit(server(V6, 1), client(V6, 1), Some(ROUTER)), "other");
    site.passes("hop limit 254", &solicit(vip(V6, 1), client(V6, 1), Some(ROUTER)).ttl(254), "other");
    let mut coded = solicit(vip(V6, 1), client(V6, 1), Some(ROUTER));
    let Body::Icmp { code, .. } = &mut coded.body else { panic!() };
    *code = 1;
    site.passes("with a code", &coded, "other");
    let mut short = solicit(vip(V6, 1), client(V6, 1), None);
    let Body::Icmp { data, .. } = &mut short.body else { panic!() };
    data.truncate(15);
    site.passes("without its whole target", &short, "other");
}

/// An IPv4 packet whose protocol is ICMPv6 is no neighbour solicitation, whatever it looks like.
#[test]
fn a_solicitation_inside_ipv4_is_not_answered() {
    let mut site = site();
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &octets6(vip(V6, 1)), &[0; 16]].concat();
    site.passes("to nobody", &Frame::raw(client(V4, 1), client(V4, 2), 58, &message).ttl(255), "other");
}

fn echo(from: IpAddr, to: IpAddr, reply: bool, data: &[u8]) -> Frame {
    let kind = match (from.is_ipv4(), reply) {
        (true, false) => 8,
        (true, true) => 0,
        (false, false) => 128,
        (false, true) => 129,
    };
    Frame::icmp(from, to, kind, 0, 0x1234_0007, data)
}

#[test]
fn a_ping_to_an_address_of_ours_is_answered() {
    let mut site = site();
    for family in BOTH {
        let c = client(family, 1);
        for ours in [vip(family, 1), inside(family), snat(family)] {
            for data in [&b""[..], b"x", b"a ping of some bytes", &[0xff; 1400]] {
                for tag in [None, Some(0xa00f)] {
                    let (question, answer) = (echo(c, ours, false, data), echo(ours, c, true, data));
                    let answer = answer.ttl(64).between(OWN, ROUTER);
                    site.sends("ping", &question.tag(tag), "echo", &answer.tag(tag));
                }
            }
        }
    }
}

#[test]
fn a_ping_with_options_is_answered_with_them() {
    let mut site = site();
    let timestamp = [68, 8, 5, 0, 0, 0, 0, 0];
    let (question, answer) =
        (echo(client(V4, 1), vip(V4, 1), false, b"x"), echo(vip(V4, 1), client(V4, 1), true, b"x"));
    site.sends(
        "IPv4 options",
        &question.options(&timestamp),
        "echo",
        &answer.options(&timestamp).ttl(64).between(OWN, ROUTER),
    );
    let padding = [0, 0, 1, 4, 0, 0, 0, 0];
    let (question, answer) =
        (echo(client(V6, 1), vip(V6, 1), false, b"x"), echo(vip(V6, 1), client(V6, 1), true, b"x"));
    site.sends(
        "IPv6 destination options",
        &question.extension(DESTINATION_OPTIONS, &padding),
        "echo",
        &answer.extension(DESTINATION_OPTIONS, &padding).ttl(64).between(OWN, ROUTER),
    );
}

#[test]
fn a_ping_to_a_server_and_a_reply_to_ours_go_to_the_kernel() {
    let mut site = site();
    for family in BOTH {
        site.passes("a ping to a server", &echo(client(family, 1), server(family, 1), false, b"x"), "other");
        site.passes("a reply to a VIP", &echo(client(family, 1), vip(family, 1), true, b"x"), "other");
    }
}
