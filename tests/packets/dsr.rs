//! Direct server return: both MACs change, and nothing above layer 2.

use lbd::config::Mode;

use super::frame::*;
use super::site::*;

fn site() -> Site {
    Site::new([Pool::tcp("smtp", 25, Mode::Dsr), Pool::udp("dns", 53, Mode::Dsr)])
}

/// Sends a frame that shall arrive at the server as it is.
fn unchanged(site: &mut Site, what: &str, frame: Frame) {
    let expected = frame.clone().between(OWN, server_mac(1));
    site.sends(what, &frame, "to-server", &expected);
}

#[test]
fn every_packet_of_a_connection_goes_to_the_server_as_it_is() {
    let mut site = site();
    for family in BOTH {
        let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 25));
        let tcp = |flags| Frame::tcp(c, v, flags);
        unchanged(&mut site, "SYN", tcp(SYN));
        unchanged(&mut site, "SYN again", tcp(SYN));
        unchanged(&mut site, "ACK", tcp(ACK));
        unchanged(&mut site, "data", tcp(ACK).data(b"EHLO client\r\n"));
        unchanged(&mut site, "a full segment", tcp(ACK).data(&[0x5a; 1440]));
        unchanged(&mut site, "FIN", tcp(FIN | ACK));
        unchanged(&mut site, "the last ACK", tcp(ACK));
        unchanged(&mut site, "RST", tcp(RST));
        assert_eq!(site.counts("smtp", family, 1).total, 1);
    }
    site.assert_counts_are_true();
}

#[test]
fn datagrams_go_to_the_server_as_they_are() {
    let mut site = site();
    for family in BOTH {
        let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 53));
        unchanged(&mut site, "a question", Frame::udp(c, v, b"question"));
        unchanged(&mut site, "an empty one", Frame::udp(c, v, b""));
        unchanged(&mut site, "one without a checksum", Frame::udp(c, v, b"question").unsummed());
    }
}

#[test]
fn the_time_to_live_is_not_touched() {
    let mut site = site();
    for family in BOTH {
        let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 25));
        for ttl in [1, 2, 64, 255] {
            unchanged(&mut site, "SYN", Frame::tcp(c, v, SYN).ttl(ttl));
        }
    }
}

#[test]
fn options_and_extension_headers_are_passed_over() {
    let mut site = site();
    let (c, v) = (at(client(V4, 1), 4000), at(vip(V4, 1), 25));
    unchanged(&mut site, "router alert", Frame::tcp(c, v, SYN).options(&[148, 4, 0, 0]));
    unchanged(&mut site, "as many options as can be", Frame::tcp(c, v, ACK).options(&[1; 40]));
    let (c, v) = (at(client(V6, 1), 4000), at(vip(V6, 1), 25));
    let pad = [0, 0, 1, 4, 0, 0, 0, 0];
    let long = [vec![0, 0, 1, 20], vec![0; 20]].concat();
    unchanged(&mut site, "hop-by-hop", Frame::tcp(c, v, SYN).extension(HOP_BY_HOP, &pad));
    unchanged(&mut site, "destination options", Frame::tcp(c, v, ACK).extension(DESTINATION_OPTIONS, &long));
    let both = Frame::tcp(c, v, ACK).extension(HOP_BY_HOP, &long).extension(DESTINATION_OPTIONS, &pad);
    unchanged(&mut site, "both", both);
    let mut six = Frame::tcp(c, v, ACK);
    for _ in 0..6 {
        six = six.extension(DESTINATION_OPTIONS, &pad);
    }
    unchanged(&mut site, "six headers", six.clone());
    site.drops("a seventh is too many", &six.extension(DESTINATION_OPTIONS, &pad), "protocol");
    assert_eq!(site.counts("smtp", V6, 1).total, 1, "all were packets of one connection");
}

#[test]
fn the_frame_leaves_with_the_mac_of_this_box_and_not_with_the_routers() {
    let mut site = site();
    let frame = Frame::tcp(at(client(V4, 1), 4000), at(vip(V4, 1), 25), SYN);
    let outcome = site.send(&frame);
    assert_eq!(outcome.frame[6..12], OWN);
    let seen = site.dp.seen_macs().unwrap();
    assert_eq!(seen.len(), 1, "the daemon is told of the router, which the bridge no longer sees");
    assert_eq!((seen[0].mac.0, seen[0].port, seen[0].vlan), (ROUTER, LO, 0));
}

#[test]
fn a_server_that_gets_another_mac_keeps_its_connections() {
    let mut site = site();
    let tcp = |flags| Frame::tcp(at(client(V4, 1), 4000), at(vip(V4, 1), 25), flags);
    unchanged(&mut site, "SYN", tcp(SYN));
    unchanged(&mut site, "ACK", tcp(ACK));
    let mac = lbd::config::Mac([2, 0, 0, 0, 9, 9]);
    site.dest("smtp", V4, 1).place = Ok(lbd::core::network::Place { mac, port: LO, vlan: 0 });
    site.apply();
    site.sends("after", &tcp(ACK), "to-server", &tcp(ACK).between(OWN, [2, 0, 0, 0, 9, 9]));
    assert_eq!(site.live("smtp", V4, 1), (1, 0));
}

#[test]
fn packets_and_bytes_are_counted_per_destination() {
    let mut site = site();
    let tcp = |flags| Frame::tcp(at(client(V6, 1), 4000), at(vip(V6, 1), 25), flags);
    unchanged(&mut site, "SYN", tcp(SYN));
    unchanged(&mut site, "tagged data", tcp(ACK).data(&[1; 100]));
    let traffic = site.dp.traffic().unwrap()[&Site::key("smtp", V6, 1)];
    assert_eq!((traffic.packets_in, traffic.bytes_in), (2, 60 + 160));
    assert_eq!((traffic.packets_out, traffic.bytes_out), (0, 0));
}
