//! What the data plane tells the peer of its lease, and the token that ends the lease of a dead daemon.

use std::time::Duration;

use lbd::config::{Mac, Mode};
use lbd::dataplane::lease::{Lease, boottime_ns};
use lbd::dataplane::question::{Answer, Between, Holds, PairId, parse_answer, question, release};
use lbd::dataplane::release::{Token, TokenOf};

use super::frame::*;
use super::site::*;

const SECOND: u64 = 1_000_000_000;
/// The peer's.
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PAIR: PairId = PairId(0x6c62_6431);
const NONCE: u64 = 0x0102_0304_0506_0708;
/// Of a frame without a tag: where the question begins.
const BODY: usize = 14;

fn way(vlan: u16) -> Between {
    Between { from: Mac(PEER), to: Mac(OWN), vlan }
}

fn site() -> Site {
    let site = Site::new([Pool::tcp("smtp", 25, Mode::Dsr)]);
    site.lease().set_pair(PAIR, Mac(PEER));
    site
}

/// The answer to a frame, which is one byte for byte.
fn answer(site: &mut Site, bytes: &[u8], counted: &str) -> Answer {
    let outcome = site.send_bytes("a question", bytes);
    let wanted: Vec<&str> = counted.split_whitespace().collect();
    assert_eq!((outcome.verdict, &outcome.counted[..]), (REDIRECT, &wanted[..]));
    assert_eq!(outcome.frame.len(), bytes.len());
    let answer = parse_answer(&outcome.frame, 0).unwrap_or_else(|| panic!("no answer: {:02x?}", outcome.frame));
    assert_eq!((answer.way.from, answer.way.to), (Mac(OWN), Mac(PEER)));
    assert_eq!((answer.version, answer.nonce, answer.pair), (1, NONCE, PAIR));
    answer
}

fn ask(site: &mut Site) -> Answer {
    answer(site, &question(way(0), PAIR, NONCE), "question")
}

#[test]
fn the_answer_is_on_the_wire_as_the_page_says() {
    let mut site = site();
    let lease = site.lease();
    lease.set_until(boottime_ns() + 3600 * SECOND);
    lease.show_life();
    let outcome = site.send_bytes("a question", &question(way(0), PairId(5), NONCE));
    let (head, numbers) = outcome.frame.split_at(BODY + 24);
    let mut expected = [PEER, OWN].concat();
    expected.extend([0x88, 0xb5]);
    expected.extend(*b"lbd?\x01\x02\x01\x00");
    expected.extend(NONCE.to_be_bytes());
    expected.extend(PAIR.0.to_be_bytes());
    assert_eq!(head, expected);
    let (numbers, token) = numbers.split_at(24);
    let number = |i: usize| u64::from_be_bytes(numbers[i * 8..][..8].try_into().unwrap());
    assert!((3599 * SECOND..3600 * SECOND).contains(&number(0)), "remaining");
    assert!(number(1) < 60 * SECOND, "owned for");
    assert!(number(2) < SECOND, "silent for");
    assert_eq!(token, [0; 16]);
}

#[test]
fn a_question_is_answered_by_an_owner_a_bystander_and_on_a_port_that_the_bridge_blocks() {
    for forwarding in [true, false] {
        let mut site = site();
        let lease = site.lease();
        site.change(|state| state.ports.get_mut(&LO).unwrap().forwarding = forwarding);
        assert_eq!(ask(&mut site).holds, Holds::Endlessly);
        lease.set_until(boottime_ns() + 10 * SECOND);
        let Holds::For(time) = ask(&mut site).holds else { panic!("a lease with an end") };
        assert!((Duration::from_secs(9)..Duration::from_secs(10)).contains(&time));
        lease.drop_lease();
        assert_eq!(ask(&mut site).holds, Holds::Nothing, "while it serves on");
        lease.stop_serving();
        let bystander = ask(&mut site);
        assert_eq!((bystander.holds, bystander.owned_for), (Holds::Nothing, Duration::ZERO));
    }
}

#[test]
fn the_answer_tells_how_long_the_box_owns_and_how_long_its_daemon_is_silent() {
    let mut site = site();
    let lease = site.lease();
    let boot = Duration::from_nanos(boottime_ns());
    assert!(ask(&mut site).silent_for >= boot, "no daemon has shown life since the boot");
    lease.drop_lease();
    let claimed = boottime_ns();
    lease.set_until(claimed + 3600 * SECOND);
    lease.show_life();
    std::thread::sleep(Duration::from_millis(30));
    let told = ask(&mut site);
    let most = Duration::from_nanos(boottime_ns() - claimed);
    for time in [told.owned_for, told.silent_for] {
        assert!((Duration::from_millis(30)..=most).contains(&time), "{told:?}");
    }
}

#[test]
fn a_question_in_a_vlan_is_answered_in_it_with_its_priority() {
    for owner in [true, false] {
        let mut site = site();
        if !owner {
            site.lease().set_until(0);
        }
        let told = answer(&mut site, &question(way(7), PAIR, NONCE), "question");
        assert_eq!(told.way.vlan, 7);
        let outcome = site.send_bytes("a question", &question(way(7), PAIR, NONCE));
        assert_eq!(outcome.frame[12..18], [0x81, 0x00, 0xe0, 7, 0x88, 0xb5]);
    }
}

#[test]
fn a_later_version_is_answered_in_ours_and_what_it_appends_comes_back() {
    let mut site = site();
    let mut later = question(way(0), PAIR, NONCE);
    later[BODY + 4] = 2;
    later.extend([0xaa; 32]);
    answer(&mut site, &later, "question");
    let outcome = site.send_bytes("a question", &later);
    assert_eq!(outcome.frame[outcome.frame.len() - 32..], [0xaa; 32]);
}

#[test]
fn what_is_no_question_to_this_box_goes_to_the_kernel() {
    let asked = question(way(0), PAIR, NONCE);
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = asked.clone();
        frame.splice(at..at + bytes.len(), bytes.iter().copied());
        frame
    };
    let cut = asked[..asked.len() - 1].to_vec();
    let double = [&asked[..12], &[0x81, 0, 0, 7, 0x81, 0, 0, 8], &asked[12..]].concat();
    for (what, frame) in [
        ("to another's MAC", with(0, &STRANGER)),
        ("to all", with(0, &[0xff; 6])),
        ("from a group", with(6, &[1, 0, 0x5e, 0, 0, 1])),
        ("of another EtherType", with(12, &[0x88, 0xb6])),
        ("without the magic", with(BODY, b"lbd!")),
        ("of version 0", with(BODY + 4, &[0])),
        ("an answer, which is for our daemon", with(BODY + 5, &[2])),
        ("of an unknown kind", with(BODY + 5, &[4])),
        ("cut short", cut),
        ("in two tags", double),
    ] {
        let mut site = site();
        site.passes_bytes(what, &frame, "other");
        site.lease().set_until(0);
        site.passes_bytes(what, &frame, "not-owner");
        site.change(|state| state.ports.get_mut(&LO).unwrap().forwarding = false);
        site.passes_bytes(what, &frame, "port");
        site.change(|state| state.ports.clear());
        site.passes_bytes("on a port that is none of ours", &frame, "port");
    }
    let mut site = site();
    site.change(|state| state.ports.clear());
    site.passes_bytes("a question on a port that is none of ours", &asked, "port");
}

fn token(number: u64) -> Token {
    Token::new(&[7; 32], &TokenOf { owner: 1, boot: 2, start: 3, number })
}

fn show(site: &mut Site, token: &Token, counted: &str) -> Holds {
    answer(site, &release(way(0), PAIR, NONCE, token), counted).holds
}

/// Until the daemon of `site` counts as dead.
fn fall_silent(site: &Site) {
    site.lease().show_life();
    std::thread::sleep(Duration::from_millis(1_510));
}

#[test]
fn the_token_ends_the_endless_lease_of_a_dead_daemon_once() {
    let mut site = site();
    let lease = site.lease();
    lease.arm(&token(0));
    fall_silent(&site);
    assert_eq!(show(&mut site, &token(1), "question token-wrong"), Holds::Endlessly);
    assert_eq!(show(&mut site, &token(0), "question released"), Holds::Nothing);
    assert_eq!(lease.read().lease, Lease::Nothing);
    // Its copy came by another path.
    assert_eq!(show(&mut site, &token(0), "question token-wrong"), Holds::Nothing);
    // Nor does it serve another time.
    lease.set_until(boottime_ns() + SECOND);
    assert!(lease.make_endless().unwrap());
    assert_eq!(show(&mut site, &token(0), "question token-wrong"), Holds::Endlessly);
}

#[test]
fn a_released_box_serves_known_flows_on_and_no_others() {
    let mut site = site();
    let syn = |port| Frame::tcp(at(client(V4, 1), port), at(vip(V4, 1), 25), SYN);
    let ack = |port| Frame::tcp(at(client(V4, 1), port), at(vip(V4, 1), 25), ACK);
    site.send(&syn(4000));
    site.send(&ack(4000));
    site.lease().arm(&token(0));
    fall_silent(&site);
    show(&mut site, &token(0), "question released");
    site.sends("a known flow", &ack(4000), "to-server served-late", &ack(4000).between(OWN, server_mac(1)));
    site.passes("a new one", &syn(4001), "not-owner served-late");
}

#[test]
fn the_token_does_nothing_while_the_daemon_lives_or_the_lease_has_an_end_and_the_daemon_hears_of_it() {
    let mut site = site();
    let lease = site.lease();
    lease.arm(&token(0));
    lease.show_life();
    assert_eq!(lease.read().token_shown_at, None);
    let before = boottime_ns();
    assert_eq!(show(&mut site, &token(0), "question token-early"), Holds::Endlessly);
    assert!((before..=boottime_ns()).contains(&lease.read().token_shown_at.unwrap()));

    // The daemon arms another; what was on the wire is worth nothing.
    lease.arm(&token(1));
    assert_eq!(lease.read().token_shown_at, None);
    fall_silent(&site);
    assert_eq!(show(&mut site, &token(0), "question token-wrong"), Holds::Endlessly);

    assert!(lease.renew_until(boottime_ns() + 3600 * SECOND));
    let Holds::For(_) = show(&mut site, &token(1), "question token-early") else { panic!("the lease goes on") };
    assert!(lease.make_endless().unwrap());
    assert_eq!(show(&mut site, &token(1), "question released"), Holds::Nothing, "refused before, it still is the one");
}

#[test]
fn without_an_armed_token_nobody_ends_a_lease() {
    let mut site = site();
    let lease = site.lease();
    let zeros = |site: &mut Site| {
        let mut frame = release(way(0), PAIR, NONCE, &token(0));
        let end = frame.len();
        frame[end - 16..].fill(0);
        let outcome = site.send_bytes("a token of zeros", &frame);
        assert_eq!(outcome.counted, ["question", "token-wrong"]);
    };
    fall_silent(&site);
    zeros(&mut site);
    lease.arm(&token(0));
    lease.disarm();
    zeros(&mut site);
    show(&mut site, &token(0), "question token-wrong");
    // A box that is told to be alone forgets what was agreed with a peer.
    lease.arm(&token(0));
    site.dp.own_alone();
    let outcome = site.send_bytes("the token of a former pair", &release(way(0), PAIR, NONCE, &token(0)));
    assert_eq!(outcome.counted, ["question", "token-wrong"]);
    assert_eq!(parse_answer(&outcome.frame, 0).unwrap().pair, PairId::NONE);
    assert_eq!(lease.read().lease, Lease::Endless);
}

#[test]
fn a_renewal_decided_before_the_release_is_refused_after_it() {
    let mut site = site();
    let lease = site.lease();
    lease.arm(&token(0));
    fall_silent(&site);
    show(&mut site, &token(0), "question released");
    assert!(!lease.renew_until(boottime_ns() + 3600 * SECOND), "the daemon wakes up and takes itself for the owner");
    assert!(!lease.make_endless().unwrap());
    assert_eq!(lease.read().lease, Lease::Nothing);
}
