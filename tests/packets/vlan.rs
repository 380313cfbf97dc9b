//! Clients and servers in VLANs: tags come, go and change, the priority stays.

use lbd::config::Mode;

use super::frame::*;
use super::site::*;

/// Priority 5 in VLAN `vlan`.
const fn p5(vlan: u16) -> u16 {
    0xa000 | vlan
}

/// (client's tag, server's VLAN, tag of the frame to the server).
const CASES: [(&str, Option<u16>, u16, Option<u16>); 7] = [
    ("nobody tagged", None, 0, None),
    ("client tagged, server not", Some(p5(100)), 0, None),
    ("server tagged, client not", None, 200, Some(200)),
    ("both, in one VLAN", Some(p5(100)), 100, Some(p5(100))),
    ("both, in different VLANs", Some(p5(100)), 200, Some(p5(200))),
    ("client with a priority alone", Some(p5(0)), 200, Some(p5(200))),
    ("the highest VLAN, priority and drop bit", Some(0xfffe), 4094, Some(0xfffe)),
];

#[test]
fn dsr_changes_the_tag_and_nothing_above() {
    for (what, client_tag, server_vlan, server_tag) in CASES {
        let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
        site.server_vlan(1, server_vlan);
        for family in BOTH {
            for flags in [SYN, ACK] {
                let frame = Frame::tcp(at(client(family, 1), 4000), at(vip(family, 1), 25), flags);
                let expected = frame.clone().between(OWN, server_mac(1)).tag(server_tag);
                site.sends(what, &frame.tag(client_tag), "to-server", &expected);
            }
        }
    }
}

#[test]
fn nat_changes_the_tag_both_ways() {
    for (what, client_tag, server_vlan, server_tag) in CASES {
        let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Nat)]);
        site.server_vlan(1, server_vlan);
        for family in BOTH {
            let (c, v, s) = (at(client(family, 1), 4000), at(vip(family, 1), 25), at(server(family, 1), 25));
            let frame = Frame::tcp(c, v, SYN);
            let expected = frame.clone().now_to(s).hop().between(OWN, server_mac(1)).tag(server_tag);
            site.sends(what, &frame.tag(client_tag), "to-server", &expected);

            // The server answers with its own priority, which is kept if there is a tag to keep it in.
            let server_sends = (server_vlan != 0).then_some(0x2000 | server_vlan);
            let client_vlan = client_tag.map_or(0, |tag| tag & 0xfff);
            let client_gets = (client_vlan != 0).then_some(client_vlan | server_sends.map_or(0, |_| 0x2000));
            let reply = Frame::tcp(s, c, SYN | ACK).between(server_mac(1), OWN);
            let expected = reply.clone().now_from(v).hop().between(OWN, ROUTER).tag(client_gets);
            site.sends(what, &reply.tag(server_sends), "to-client", &expected);
        }
    }
}

#[test]
fn a_rst_goes_back_into_the_vlan_of_the_client() {
    let mut site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    for family in BOTH {
        let (c, v) = (at(client(family, 1), 4000), at(vip(family, 1), 26));
        let rst = Frame::tcp(v, c, RST | ACK).seq(0).ack(0x1020_3041).id(0).ttl(64).between(OWN, ROUTER).tag(p5(100));
        let outcome = site.send(&Frame::tcp(c, v, SYN).tag(p5(100)));
        assert_eq!(outcome.counted, ["rst-no-service"]);
        assert_eq!(outcome.frame[..18], rst.bytes()[..18]);
    }
}
