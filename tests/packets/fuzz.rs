//! Frames that nobody should send. `Site::send_bytes` holds the rule for each of them: never
//! XDP_ABORTED, and exactly one counter tells its fate.

use std::cell::RefCell;
use std::time::Duration;

use lbd::config::{Mac, Mode};
use lbd::dataplane::question::{Between, PairId, question, release};
use lbd::dataplane::release::{Token, TokenOf};
use proptest::prelude::*;

use super::frame::*;
use super::site::*;

/// One of everything in each mode, with flows in all stages.
fn site() -> Site {
    let mut site = Site::new([
        Pool::tcp("smtp", 25, Mode::Dsr),
        Pool { server_port: Some(2143), ..Pool::tcp("imap", 143, Mode::Nat) },
        Pool::tcp("pop3", 110, Mode::FullNat),
        Pool::udp("dns", 53, Mode::Nat),
        Pool::udp("radius", 1812, Mode::Dsr),
    ]);
    site.source_nat(50000, 50999);
    for frame in valid() {
        site.send_bytes("to begin with", &frame);
    }
    site
}

/// A frame of every kind that the program reads, in both families, tagged or not.
fn valid() -> Vec<Vec<u8>> {
    let mut frames = vec![];
    for family in BOTH {
        let (c, v, s) = (client(family, 1), vip(family, 1), server(family, 1));
        let quote = Frame::tcp(at(v, 143), at(c, 4000), ACK);
        let about_server = Frame::udp(at(c, 4000), at(s, 53), b"question");
        let (echo, unreachable) = if family == V4 { (8, 3) } else { (128, 1) };
        let mut of_family = vec![
            Frame::icmp(c, v, echo, 0, 1, b"ping"),
            Frame::error(c, v, (unreachable, 4, 1400), &quote, 60),
            Frame::error(s, c, (unreachable, 3, 0), &about_server, 60).between(server_mac(1), OWN),
            Frame::raw(c, v, 47, &[0; 20]),
        ];
        for port in [25, 143, 110, 26] {
            for flags in [SYN, ACK, FIN | ACK] {
                of_family.push(Frame::tcp(at(c, 4000), at(v, port), flags).data(b"data"));
            }
        }
        of_family.push(Frame::tcp(at(s, 2143), at(c, 4000), SYN | ACK).between(server_mac(1), OWN));
        for port in [53, 1812] {
            let datagram = Frame::udp(at(c, 4000), at(v, port), &[7; 100]).id(u32::from(port));
            of_family.push(datagram.clone());
            of_family.extend(datagram.fragments(64));
        }
        let with_options = Frame::tcp(at(c, 4001), at(v, 143), SYN);
        of_family.push(match family {
            V4 => with_options.options(&[1; 40]),
            V6 => with_options.extension(HOP_BY_HOP, &[0; 24]).extension(DESTINATION_OPTIONS, &[0; 8]),
        });
        if let std::net::IpAddr::V6(target) = v {
            let asked = [&target.octets()[..], &[1, 1], &ROUTER].concat();
            let group = "ff02::1:ff00:1".parse().unwrap();
            of_family.push(Frame::icmp(c, group, 135, 0, 0, &asked).ttl(255));
            of_family.push(Frame::icmp(c, group, 135, 0, 0, &target.octets()).ttl(255));
        }
        for frame in of_family {
            frames.push(frame.bytes());
            frames.push(frame.tag(0x6064).bytes());
        }
    }
    for vlan in [0, 100] {
        let way = Between { from: Mac(STRANGER), to: Mac(OWN), vlan };
        frames.push(question(way, PairId(1), 7));
        frames.push(release(
            way,
            PairId(1),
            7,
            &Token::new(&[1; 32], &TokenOf { owner: 1, boot: 1, start: 1, number: 0 }),
        ));
    }
    for tag in [None, Some(100)] {
        let (sender, target) = ((ROUTER, [198, 51, 100, 1]), ([0; 6], [192, 0, 2, 1]));
        frames.push(Arp { to: [0xff; 6], from: ROUTER, tag, operation: 1, sender, target }.bytes());
    }
    frames
}

/// Ethernet's header is the least that the kernel hands to a program.
const SHORTEST: usize = 14;

#[test]
fn a_frame_cut_short_anywhere_is_passed_or_dropped_and_never_answered_or_forwarded() {
    let mut site = site();
    for frame in valid() {
        for length in SHORTEST..frame.len() {
            let outcome = site.send_bytes("cut short", &frame[..length]);
            assert!(
                [PASS, DROP].contains(&outcome.verdict),
                "{length} of {} bytes: {outcome:?} of {frame:02x?}",
                frame.len()
            );
        }
    }
    site.assert_counts_are_true();
}

fn run_with(cases: u32, frames: impl Strategy<Value = Vec<u8>>) {
    let site = RefCell::new(site());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(frame in frames, state in 0..5)| {
        let mut site = site.borrow_mut();
        let lease = site.lease();
        match state {
            0 => lease.drop_lease(),
            1 => lease.hand_over(Duration::from_secs(60)),
            2 => lease.set_until(0),
            _ => site.dp.own_alone(),
        }
        let outcome = site.send_bytes("fuzz", &frame);
        let as_owner = |counted: &&str| ["arp", "nd"].contains(counted) || counted.starts_with("rst-");
        prop_assert!(state > 2 || !outcome.counted.iter().any(as_owner), "no owner, and answers: {:?}", outcome);
    });
    site.borrow().assert_counts_are_true();
}

#[test]
fn random_bytes_have_one_fate_each() {
    let addressed = any::<Vec<u8>>().prop_map(|bytes| [&OWN[..], &ROUTER, &bytes].concat());
    let types = prop::sample::select(vec![[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06], [0x81, 0x00]]);
    let typed = (types, prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(kind, bytes)| [&OWN[..], &ROUTER, &kind, &bytes].concat());
    let frames = prop_oneof![prop::collection::vec(any::<u8>(), SHORTEST..300), addressed, typed];
    run_with(5000, frames.prop_filter("the kernel wants a header", |frame| frame.len() >= SHORTEST));
}

#[test]
fn mutated_frames_have_one_fate_each() {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let frames = (
        prop::sample::select(valid()),
        prop::collection::vec(change, 1..6),
        prop_oneof![3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
        prop_oneof![3 => Just(0usize), 1 => 1usize..100],
    )
        .prop_map(|(mut frame, changes, cut, grow)| {
            for (at, value) in changes {
                // The MACs stay: with others the frame is not ours, and the rest not looked at.
                let at = 12 + at.index(frame.len() - 12);
                frame[at] = value;
            }
            if let Some(cut) = cut {
                frame.truncate(SHORTEST + cut.index(frame.len() - SHORTEST + 1));
            }
            frame.resize(frame.len() + grow, 0);
            frame
        });
    run_with(20_000, frames);
}
