//! ICMP errors find the flow that they quote: path MTU discovery works through the balancer.

use std::net::{IpAddr, SocketAddr};

use lbd::config::{Mode, Scheduler};

use super::frame::*;
use super::site::*;

/// A router somewhere on the way to the client.
fn router(family: Family) -> IpAddr {
    if family == V4 { "203.0.113.9" } else { "2001:db8:9::9" }.parse().unwrap()
}

type Error = (&'static str, (u8, u8, u32));

fn errors(family: Family) -> [Error; 4] {
    match family {
        V4 => [
            ("fragmentation needed", (3, 4, 1400)),
            ("port unreachable", (3, 3, 0)),
            ("time exceeded", (11, 0, 0)),
            ("parameter problem", (12, 0, 0x1400_0000)),
        ],
        V6 => [
            ("packet too big", (2, 0, 1400)),
            ("port unreachable", (1, 4, 0)),
            ("time exceeded", (3, 0, 0)),
            ("parameter problem", (4, 1, 6)),
        ],
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet as an error quotes it. What follows the ports is opaque: its checksum is its sender's.
fn quoted(protocol: u8, src: SocketAddr, dst: SocketAddr) -> Frame {
    let ports = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
    let rest: Vec<u8> = (0..60).collect();
    Frame::raw(src.ip(), dst.ip(), protocol, &[ports, rest].concat()).ttl(3)
}

/// RFC 792 asks for 8 bytes after the header; RFC 1812 and 4443 for as much as fits.
const QUOTED_BYTES: [usize; 3] = [48, 61, 200];

fn quote_bytes(family: Family, bytes: usize) -> usize {
    if family == V4 { bytes - 20 } else { bytes }
}

struct Ends {
    client: SocketAddr,
    vip: SocketAddr,
    server: SocketAddr,
}

fn ends(family: Family, port: u16, server_port: u16) -> Ends {
    Ends {
        client: at(client(family, 1), 4000),
        vip: at(vip(family, 1), port),
        server: at(server(family, 1), server_port),
    }
}

#[test]
fn dsr_an_error_goes_to_the_server_as_it_is() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr), Pool::udp("dns", 53, Mode::Dsr)]);
    for family in BOTH {
        let (tcp, udp) = (ends(family, 25, 25), ends(family, 53, 53));
        site.send(&Frame::tcp(tcp.client, tcp.vip, SYN));
        site.send(&Frame::udp(udp.client, udp.vip, b"question"));
        for stage in ["in the handshake", "established"] {
            for (what, error) in errors(family) {
                for bytes in QUOTED_BYTES {
                    for (protocol, ends) in [(TCP, &tcp), (UDP, &udp)] {
                        let quote = quoted(protocol, ends.vip, ends.client);
                        let bytes = quote_bytes(family, bytes);
                        let frame = Frame::error(router(family), ends.vip.ip(), error, &quote, bytes);
                        let expected = frame.clone().between(OWN, server_mac(1));
                        site.sends(&format!("{what} {stage}"), &frame, "icmp-to-server", &expected);
                    }
                }
            }
            site.send(&Frame::tcp(tcp.client, tcp.vip, ACK));
            (0..3).for_each(|_| drop(site.send(&Frame::udp(udp.client, udp.vip, b"question"))));
        }
        assert_eq!((site.live("smtp", family, 1), site.live("dns", family, 1)), ((1, 0), (1, 0)));
    }
}

#[test]
fn nat_an_error_and_its_quotation_are_translated_to_the_server() {
    for server_port in [None, Some(2525)] {
        let mut site = Site::new([Pool { server_port, ..Pool::tcp("smtp", 25, Mode::Nat) }]);
        for family in BOTH {
            let ends = ends(family, 25, server_port.unwrap_or(25));
            site.send(&Frame::tcp(ends.client, ends.vip, SYN));
            for stage in ["in the handshake", "established"] {
                for (what, error) in errors(family) {
                    for bytes in QUOTED_BYTES {
                        let bytes = quote_bytes(family, bytes);
                        let (quote, inner) =
                            (quoted(TCP, ends.vip, ends.client), quoted(TCP, ends.server, ends.client));
                        let frame = Frame::error(router(family), ends.vip.ip(), error, &quote, bytes);
                        let expected = Frame::error(router(family), ends.server.ip(), error, &inner, bytes);
                        let expected = expected.hop().between(OWN, server_mac(1));
                        site.sends(&format!("{what} {stage}"), &frame, "icmp-to-server", &expected);
                    }
                }
                site.send(&Frame::tcp(ends.server, ends.client, SYN | ACK).between(server_mac(1), OWN));
                site.send(&Frame::tcp(ends.client, ends.vip, ACK));
            }
            assert_eq!(site.live("smtp", family, 1), (1, 0));
        }
    }
}

#[test]
fn full_nat_the_quotation_names_our_source_address() {
    let mut site = Site::new([Pool { server_port: Some(2525), ..Pool::tcp("smtp", 25, Mode::FullNat) }]);
    site.source_nat(50000, 50000);
    for family in BOTH {
        let (ends, ours) = (ends(family, 25, 2525), at(snat(family), 50000));
        site.send(&Frame::tcp(ends.client, ends.vip, SYN));
        for stage in ["in the handshake", "established"] {
            for (what, error) in errors(family) {
                let what = format!("{what} {stage}");
                let (quote, inner) = (quoted(TCP, ends.vip, ends.client), quoted(TCP, ends.server, ours));
                let frame = Frame::error(router(family), ends.vip.ip(), error, &quote, 60);
                let expected = Frame::error(router(family), ends.server.ip(), error, &inner, 60);
                site.sends(&what, &frame, "icmp-to-server", &expected.hop().between(OWN, server_mac(1)));

                // The other way: about what we sent to the server; by it, or by a router before it.
                for sender in [ends.server.ip(), router(family)] {
                    let (quote, inner) = (quoted(TCP, ours, ends.server), quoted(TCP, ends.client, ends.vip));
                    let frame = Frame::error(sender, ours.ip(), error, &quote, 60).between(server_mac(1), OWN);
                    let expected = Frame::error(ends.vip.ip(), ends.client.ip(), error, &inner, 60);
                    site.sends(&what, &frame, "icmp-to-client", &expected.hop().between(OWN, ROUTER));
                }
            }
            site.send(&Frame::tcp(ends.server, ours, SYN | ACK).between(server_mac(1), OWN));
            site.send(&Frame::tcp(ends.client, ends.vip, ACK));
        }
        assert_eq!(site.live("smtp", family, 1), (1, 0));
    }
}

#[test]
fn nat_a_servers_error_reaches_the_client_in_the_name_of_the_vip() {
    let mut site = Site::new([Pool { server_port: Some(5353), ..Pool::udp("dns", 53, Mode::Nat) }]);
    for family in BOTH {
        let ends = ends(family, 53, 5353);
        site.send(&Frame::udp(ends.client, ends.vip, b"question"));
        for stage in ["at first", "established"] {
            for (what, error) in errors(family) {
                for bytes in QUOTED_BYTES {
                    let bytes = quote_bytes(family, bytes);
                    let (quote, inner) = (quoted(UDP, ends.client, ends.server), quoted(UDP, ends.client, ends.vip));
                    let frame = Frame::error(ends.server.ip(), ends.client.ip(), error, &quote, bytes);
                    let expected = Frame::error(ends.vip.ip(), ends.client.ip(), error, &inner, bytes);
                    let (frame, expected) = (frame.between(server_mac(1), OWN), expected.hop().between(OWN, ROUTER));
                    site.sends(&format!("{what} {stage}"), &frame, "icmp-to-client", &expected);
                }
            }
            site.send(&Frame::udp(ends.server, ends.client, b"answer").between(server_mac(1), OWN));
            site.send(&Frame::udp(ends.client, ends.vip, b"question"));
        }
        assert_eq!(site.live("dns", family, 1), (1, 0));
    }
}

#[test]
fn an_error_that_quotes_no_flow_of_ours_is_dropped() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr), Pool::tcp("imap", 143, Mode::Nat)]);
    for family in BOTH {
        let (_, error) = errors(family)[0];
        for port in [25, 143] {
            let ends = ends(family, port, port);
            let v = ends.vip.ip();
            let mut drops = |what: &str, quote: &Frame, bytes| {
                site.drops(what, &Frame::error(router(family), v, error, quote, bytes), "icmp-unknown");
            };
            drops("unknown connection, nobody to hash it to", &quoted(TCP, ends.vip, ends.client), 60);
            drops("unknown port", &quoted(TCP, at(v, 26), ends.client), 60);
            site.send(&Frame::tcp(ends.client, ends.vip, SYN));
            let mut drops = |what: &str, quote: &Frame, bytes| {
                site.drops(what, &Frame::error(router(family), v, error, quote, bytes), "icmp-unknown");
            };
            drops("the other way round", &quoted(TCP, ends.client, ends.vip), 60);
            drops("another protocol", &quoted(UDP, ends.vip, ends.client), 60);
            drops("in another address's name", &quoted(TCP, at(vip(family, 9), port), ends.client), 60);
            drops("neither TCP nor UDP", &quoted(47, ends.vip, ends.client), 60);
            drops("quoted without its ports", &quoted(TCP, ends.vip, ends.client), quote_bytes(family, 43));
            drops("quoted without its header", &quoted(TCP, ends.vip, ends.client), 8);
            let later = Frame { fragment: Some((100, false)), ..quoted(TCP, ends.vip, ends.client) };
            drops("quoting a later fragment", &later, 60);
        }
    }
}

#[test]
fn an_error_about_a_first_fragment_finds_its_flow() {
    let mut site = Site::new([Pool::udp("dns", 53, Mode::Nat)]);
    for family in BOTH {
        let ends = ends(family, 53, 53);
        site.send(&Frame::udp(ends.client, ends.vip, b"question"));
        let first = |from| Frame { fragment: Some((0, true)), ..quoted(UDP, from, ends.client) };
        let (_, error) = errors(family)[0];
        let frame = Frame::error(router(family), ends.vip.ip(), error, &first(ends.vip), 64);
        let expected = Frame::error(router(family), ends.server.ip(), error, &first(ends.server), 64);
        site.sends("packet too big", &frame, "icmp-to-server", &expected.hop().between(OWN, server_mac(1)));
    }
}

#[test]
fn an_error_of_a_server_about_no_flow_of_ours_goes_to_the_kernel() {
    let mut site = Site::new([Pool::udp("dns", 53, Mode::Nat)]);
    for family in BOTH {
        let ends = ends(family, 53, 53);
        let quote = quoted(UDP, ends.client, at(server(family, 1), 54));
        let (_, error) = errors(family)[1];
        let frame = Frame::error(ends.server.ip(), ends.client.ip(), error, &quote, 60).between(server_mac(1), OWN);
        site.passes("port unreachable", &frame, "other");
    }
}

#[test]
fn in_nat_an_error_whose_time_is_over_is_dropped() {
    let mut site = Site::new([Pool::udp("dns", 53, Mode::Nat)]);
    for family in BOTH {
        let ends = ends(family, 53, 53);
        site.send(&Frame::udp(ends.client, ends.vip, b"question"));
        let (_, error) = errors(family)[0];
        let quote = quoted(UDP, ends.vip, ends.client);
        site.drops("to the server", &Frame::error(router(family), ends.vip.ip(), error, &quote, 60).ttl(1), "ttl");
        let quote = quoted(UDP, ends.client, ends.server);
        let frame = Frame::error(ends.server.ip(), ends.client.ip(), error, &quote, 60).between(server_mac(1), OWN);
        site.drops("to the client", &frame.ttl(1), "ttl");
    }
}

#[test]
fn an_error_crosses_vlans_like_the_flow_that_it_is_about() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
    site.server_vlan(1, 200);
    for family in BOTH {
        let ends = ends(family, 25, 25);
        site.send(&Frame::tcp(ends.client, ends.vip, SYN).tag(100));
        let (_, error) = errors(family)[0];
        let frame = Frame::error(router(family), ends.vip.ip(), error, &quoted(TCP, ends.vip, ends.client), 60);
        let inner = quoted(TCP, ends.server, ends.client);
        let expected = Frame::error(router(family), ends.server.ip(), error, &inner, 60).hop();
        let expected = expected.between(OWN, server_mac(1)).tag(200);
        site.sends("from a tagged uplink", &frame.clone().tag(100), "icmp-to-server", &expected);
        site.sends("from an untagged one", &frame, "icmp-to-server", &expected);
    }
}

/// In DSR a connection without an entry goes by the hash, and so do errors about it.
#[test]
fn dsr_an_error_about_a_connection_without_an_entry_follows_the_hash() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr).servers(1..=3).scheduler(Scheduler::Maglev)]);
    for family in BOTH {
        let (_, error) = errors(family)[0];
        for port in 0..20 {
            let (client, v) = (at(client(family, 1), 4000 + port), at(vip(family, 1), 25));
            let goes_to = site.server_for(&Frame::tcp(client, v, ACK));
            let frame = Frame::error(router(family), v.ip(), error, &quoted(TCP, v, client), 60);
            let expected = frame.clone().between(OWN, server_mac(goes_to));
            site.sends("no entry", &frame, "icmp-to-server", &expected);
        }
    }
}
