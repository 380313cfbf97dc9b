use etherparse::{Icmpv4Slice, Icmpv4Type};

use super::*;

const TOKEN: [u8; 8] = *b"\x01\x02\x03\x04\xfa\xfb\xfc\xfd";

fn v4() -> Echo {
    Echo::new("192.0.2.25".parse().unwrap(), 0x1234, 7, TOKEN)
}

fn v6() -> Echo {
    Echo::new("2001:db8::25".parse().unwrap(), 0x1234, 7, TOKEN)
}

fn answered() -> Option<Verdict> {
    Some(Verdict::Success("echo answered".into()))
}

/// The reply to an echo's request, as the server makes it.
fn reply(echo: &Echo) -> Vec<u8> {
    let mut reply = echo.request();
    reply[0] = echo.types().reply;
    reply
}

fn ipv4_header(to: [u8; 4]) -> Vec<u8> {
    [&[0x45, 0, 0, 36, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1], to.as_slice()].concat()
}

fn ipv6_header(to: IpAddr) -> Vec<u8> {
    let IpAddr::V6(to) = to else { panic!("not IPv6") };
    [&[0x60, 0, 0, 0, 0, 16, 58, 64], [0; 16].as_slice(), &to.octets()].concat()
}

#[test]
fn a_request_carries_identifier_sequence_and_token_under_a_right_checksum() {
    let request = v4().request();
    let icmp = Icmpv4Slice::from_slice(&request).unwrap();
    let Icmpv4Type::EchoRequest(header) = icmp.icmp_type() else { panic!("no echo request") };
    assert_eq!((header.id, header.seq), (0x1234, 7));
    assert_eq!(icmp.payload(), TOKEN);
    let computed = icmp.icmp_type().calc_checksum(icmp.payload());
    assert_eq!(icmp.checksum(), computed, "checksum, by an independent implementation");
    assert_eq!(v6().request()[..8], [128, 0, 0, 0, 0x12, 0x34, 0, 7]);
}

#[test]
fn a_reply_is_known_from_a_raw_socket_and_from_a_ping_socket_with_its_own_identifier() {
    let raw = [ipv4_header([10, 0, 0, 1]), reply(&v4())].concat();
    assert_eq!(v4().heard(v4().address, &raw), answered());
    let mut with_options = raw.clone();
    with_options[0] = 0x46;
    with_options.splice(20..20, [0; 4]);
    assert_eq!(v4().heard(v4().address, &with_options), answered());
    let mut ping = reply(&v4());
    ping[4..6].copy_from_slice(&[0xab, 0xcd]);
    assert_eq!(v4().heard(v4().address, &ping), answered());
    assert_eq!(v6().heard(v6().address, &reply(&v6())), answered());
}

#[test]
fn what_answers_another_echo_is_none() {
    for echo in [v4(), v6()] {
        let other = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = reply(&echo);
            change(&mut packet);
            packet
        };
        for packet in [
            other(&|p| p[0] = echo.types().request),
            other(&|p| p[1] = 1),
            other(&|p| p[7] = 8),
            other(&|p| p[15] ^= 1),
            other(&|p| p.push(0)),
            other(&|p| p.truncate(15)),
            other(&|p| p.truncate(4)),
            Vec::new(),
        ] {
            assert_eq!(echo.heard(echo.address, &packet), None, "{packet:?}");
        }
        let stranger = if echo.address.is_ipv4() { "192.0.2.26" } else { "2001:db8::26" };
        assert_eq!(echo.heard(stranger.parse().unwrap(), &reply(&echo)), None);
    }
}

#[test]
fn an_error_that_quotes_the_request_says_who_sent_it_and_why() {
    let unreachable = |words: &str| Some(Verdict::failure(FailureKind::Unreachable, words));
    let quoted_v4 = [ipv4_header([192, 0, 2, 25]), v4().request()[..8].to_vec()].concat();
    let quoted_v6 = [ipv6_header(v6().address), v6().request()].concat();
    let error = |kind, code, quoted: &[u8]| [&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat();
    let table = [
        (v4(), error(3, 1, &quoted_v4), "192.0.2.1", "host unreachable, says 192.0.2.1"),
        (v4(), error(3, 13, &quoted_v4), "192.0.2.1", "prohibited, says 192.0.2.1"),
        (v4(), error(3, 99, &quoted_v4), "192.0.2.1", "unreachable (code 99), says 192.0.2.1"),
        (v4(), error(11, 0, &quoted_v4), "192.0.2.1", "time to live ended on the way, says 192.0.2.1"),
        (v6(), error(1, 3, &quoted_v6), "2001:db8::1", "address unreachable, says 2001:db8::1"),
        (v6(), error(3, 0, &quoted_v6), "2001:db8::1", "time to live ended on the way, says 2001:db8::1"),
    ];
    for (echo, packet, from, words) in table {
        assert_eq!(echo.heard(from.parse().unwrap(), &packet), unreachable(words));
        let with_header = [ipv4_header([10, 0, 0, 1]), packet.clone()].concat();
        if echo.address.is_ipv4() {
            assert_eq!(echo.heard(from.parse().unwrap(), &with_header), unreachable(words));
        }
        for size in 0..packet.len() {
            // Shorter than what tells it apart, it is nobody's.
            let heard = echo.heard(from.parse().unwrap(), &packet[..size]);
            let told_apart = if echo.address.is_ipv4() { 36 } else { 56 };
            assert_eq!(heard.is_some(), size >= told_apart, "{size} bytes");
        }
        let other = Echo { sequence: 8, ..echo };
        assert_eq!(other.heard(from.parse().unwrap(), &packet), None);
    }
}

proptest::proptest! {
    #[test]
    fn no_packet_panics(packet in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
        let _ = v4().heard(v4().address, &packet);
        let _ = v6().heard(v6().address, &packet);
    }
}
