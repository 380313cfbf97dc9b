use proptest::prelude::*;

use super::*;
use crate::pair::key::{Key, KeyId};
use crate::pair::paths::framing;
use crate::pair::seal::OVERHEAD_BYTES;
use crate::pair::version::SPOKEN;

const A: BoxId = BoxId(0x0200_0000_000a);
const B: BoxId = BoxId(0x0200_0000_000b);
const LIFE: Incarnation = Incarnation { boot: 4, start: 2 };

fn keys() -> Keys {
    Keys::single(Key::new(KeyId(1), [7; 32]))
}

fn codec(own: BoxId, versions: Versions) -> Codec {
    let peer = if own == A { B } else { A };
    let identity = Identity { own, incarnation: LIFE, peer, peer_floor: Incarnation::default(), versions };
    Codec::new(&identity, keys()).unwrap()
}

fn channel() -> Channel {
    Channel::new(0).unwrap()
}

/// With all that an owner says to a peer which it sees own, too.
fn fullest() -> Heartbeat {
    Heartbeat {
        incarnation: LIFE,
        stamp: Stamp(0x0102_0304_0506_0708),
        echo: Some(Echo { incarnation: Incarnation { boot: 1, start: 65 }, stamp: Stamp(77) }),
        state: State::Active,
        owns: true,
        solo: true,
        promise: Some(Span::from_millis(250)),
        lease: LeaseLeft::Finite(Span::from_millis(245)),
        ready: true,
        rank: Rank { ready: true, healthy_pools: 300, gateway_seen: true, priority: 100, id: A },
        frozen: Some(FrozenRank { healthy_pools: 2, gateway_seen: true, busy_magnitude: 13, owned_s: 86_400, id: A }),
        grant: true,
        extend: Some(Span::from_millis(5_000)),
        want: true,
        uplink_open: true,
        crossed: true,
        pools_healthy: 301,
        config_revision: 0x1122_3344_5566_7788,
    }
}

fn echo() -> Option<PathEcho> {
    Some(PathEcho { counter: 0xbeef, held: Span::from_millis(37) })
}

fn encoded(heartbeat: Heartbeat, path_echo: Option<PathEcho>) -> Vec<u8> {
    let mut bytes = vec![1; 3];
    encode(&Body { versions: SPOKEN, heartbeat, path_echo }, &mut bytes);
    bytes
}

#[test]
fn the_layout_is_the_documented_one() {
    let usual = Heartbeat { frozen: None, ..fullest() };
    let expected = [
        &[0x11, 0xb7, 0x7f, 3][..],
        &[1, 2, 3, 4, 5, 6, 7, 8],
        &[1, 44, 100, 1, 45],
        &[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88],
        &[0, 0, 0, 1, 0, 0, 0, 65, 0, 0, 0, 0, 0, 0, 0, 77],
        &[0, 3, 0xd0, 0x90],
        &[0, 3, 0xbd, 0x08],
        &[0, 0x4c, 0x4b, 0x40],
        &[0xbe, 0xef, 0, 0x0e, 0x74],
    ]
    .concat();
    assert_eq!(encoded(usual, echo()), expected);
    let frozen = encoded(Heartbeat { extend: None, ..fullest() }, None);
    assert_eq!(frozen[frozen.len() - 7..], [0, 2, 13, 0, 1, 0x51, 0x80]);
    assert_eq!(encoded(Heartbeat::default(), None).len(), 25);
}

#[test]
fn a_heartbeat_uses_less_than_half_of_a_serial_line_even_every_20_ms() {
    const HALF_OF_20_MS: usize = 11_520 / 50 / 2;
    let sizes = [
        (fullest(), None),
        (fullest(), echo()),
        (Heartbeat { frozen: None, ..fullest() }, echo()),
        (Heartbeat { extend: None, ..fullest() }, echo()),
    ]
    .map(|(heartbeat, echo)| encoded(heartbeat, echo).len() + OVERHEAD_BYTES);
    assert_eq!(sizes.iter().max(), Some(&HEARTBEAT_BYTES_MAX));
    let mut frame = Vec::new();
    for size in sizes {
        for byte in [0, 0x55] {
            framing::frame(&vec![byte; size], &mut frame);
            assert!(frame.len() <= HALF_OF_20_MS, "{} bytes", frame.len());
        }
    }
    let usual = Heartbeat { frozen: None, extend: None, ..fullest() };
    assert_eq!(encoded(usual, None).len() + OVERHEAD_BYTES, 97);
    assert_eq!(encoded(usual, echo()).len() + OVERHEAD_BYTES, 102);
}

#[test]
fn times_are_rounded_to_the_safe_side() {
    let times = |ns: u64| {
        let span = Span(ns);
        let lease = LeaseLeft::Finite(span);
        let heartbeat = Heartbeat { promise: Some(span), lease, extend: Some(span), ..Heartbeat::default() };
        let read = decode(&encoded(heartbeat, None), A, LIFE).unwrap().heartbeat;
        let LeaseLeft::Finite(lease) = read.lease else { panic!("{:?}", read.lease) };
        (read.promise.unwrap().0, lease.0, read.extend.unwrap().0)
    };
    assert_eq!(times(0), (0, 0, 0));
    assert_eq!(times(1_500), (1_000, 2_000, 2_000));
    assert_eq!(times(250_000_000), (250_000_000, 250_000_000, 250_000_000));
    let most = u64::from(u32::MAX) * 1_000;
    assert_eq!(times(most - 1_000), (most - 1_000, most - 1_000, most - 1_000));
    assert_eq!(times(most), (most, u64::MAX, u64::MAX));
    assert_eq!(times(u64::MAX), (most, u64::MAX, u64::MAX));
}

#[test]
fn a_path_echo_that_was_held_for_long_says_its_most() {
    let held = |span| {
        let echo = PathEcho { counter: 1, held: span };
        decode(&encoded(Heartbeat::default(), Some(echo)), A, LIFE).unwrap().path_echo.unwrap().held
    };
    assert_eq!(held(Span(19_999)), Span(10_000));
    assert_eq!(held(Span(u64::MAX)), Span(u64::from(HELD_MAX) * HELD_STEP_NS));
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    for heartbeat in [fullest(), Heartbeat::default()] {
        let bytes = encoded(heartbeat, None);
        let longer = [&bytes[..], &[1, 2, 3]].concat();
        assert_eq!(decode(&longer, A, LIFE), decode(&bytes, A, LIFE));
        assert!(decode(&bytes, A, LIFE).is_some());
    }
}

#[test]
fn every_cut_and_every_value_that_cannot_be_is_malformed() {
    let bytes = encoded(fullest(), None);
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length], A, LIFE), None, "{length}");
    }
    for (at, value) in [(0, 0x00), (0, 0x21), (3, 7), (3, 255)] {
        let mut wrong = bytes.clone();
        wrong[at] = value;
        assert_eq!(decode(&wrong, A, LIFE), None);
    }
    let mut both = encoded(Heartbeat { lease: LeaseLeft::Finite(Span(1)), ..Heartbeat::default() }, None);
    both[1] |= 8;
    assert_eq!(decode(&both, A, LIFE), None);
}

#[test]
fn every_state_has_its_number() {
    for (number, state) in STATES.into_iter().enumerate() {
        assert_eq!(usize::from(state_number(state)), number);
    }
}

#[test]
fn what_one_box_seals_the_other_opens_and_each_path_has_its_counter() {
    let (mut a, mut b) = (codec(A, SPOKEN), codec(B, SPOKEN));
    let heartbeat = Heartbeat { frozen: None, ..fullest() };
    for (path, expected) in [(0, 1), (1, 1), (0, 2)] {
        let channel = Channel::new(path).unwrap();
        let (counter, datagram) = a.seal(&heartbeat, channel, echo()).unwrap();
        assert_eq!(counter, expected);
        let received = b.open(datagram).unwrap();
        assert_eq!(received, Received { heartbeat, path_echo: echo(), channel, counter });
        assert_eq!(b.open(datagram), Err(Refused::Replayed));
        let datagram = datagram.to_vec();
        assert_eq!(a.open(&datagram), Err(Refused::Reflected));
    }
}

#[test]
fn incarnation_and_ids_are_those_of_the_sender() {
    let (mut a, mut b) = (codec(A, SPOKEN), codec(B, SPOKEN));
    let mut lie = fullest();
    lie.incarnation = Incarnation { boot: 99, start: 99 };
    lie.rank.id = B;
    let (_, datagram) = a.seal(&lie, channel(), None).unwrap();
    assert_eq!(b.open(datagram).unwrap().heartbeat, fullest());
}

#[test]
fn two_adjacent_releases_talk_in_the_older_ones_version_and_two_newer_ones_in_the_newer() {
    let [old, new] = [(1, 1), (1, 2)].map(|(lowest, highest)| Versions::new(lowest, highest).unwrap());
    let (mut a, mut b) = (codec(A, old), codec(B, new));
    let version = |from: &mut Codec, to: &mut Codec| {
        let (_, datagram) = from.seal(&fullest(), channel(), None).unwrap();
        let version = datagram[1];
        to.open(datagram).map(|_| version)
    };
    assert_eq!(version(&mut b, &mut a), Ok(1), "not yet known");
    assert_eq!(version(&mut a, &mut b), Ok(1));
    assert_eq!(version(&mut b, &mut a), Ok(1), "the older one speaks no other");
    // The older one is upgraded, and starts anew.
    let identity =
        Identity { own: A, incarnation: Incarnation { boot: 4, start: 3 }, peer: B, peer_floor: LIFE, versions: new };
    let mut a = Codec::new(&identity, keys()).unwrap();
    assert_eq!(version(&mut b, &mut a), Ok(1));
    assert_eq!(version(&mut a, &mut b), Ok(2));
    assert_eq!(version(&mut b, &mut a), Ok(2));
    // And is taken back to the older release: what the other one says is refused only until it has heard.
    let mut a =
        Codec::new(&Identity { incarnation: Incarnation { boot: 4, start: 4 }, versions: old, ..identity }, keys())
            .unwrap();
    assert_eq!(version(&mut b, &mut a), Err(Refused::Version(2)));
    assert_eq!(version(&mut a, &mut b), Ok(1));
    assert_eq!(version(&mut b, &mut a), Ok(1));
}

#[test]
fn after_a_silence_the_lowest_version_is_spoken_again() {
    let new = Versions::new(1, 2).unwrap();
    let (mut a, mut b) = (codec(A, new), codec(B, new));
    let (_, datagram) = a.seal(&fullest(), channel(), None).unwrap();
    b.open(datagram).unwrap();
    assert_eq!(b.version(), 2);
    b.peer_silent();
    assert_eq!(b.version(), 1);
}

#[test]
fn a_well_sealed_body_without_sense_is_malformed() {
    let mut sealer = Sealer::new(Kind::Heartbeat, A, LIFE, &keys()).unwrap();
    let mut datagram = Vec::new();
    sealer.seal(1, channel(), b"nonsense", &mut datagram).unwrap();
    assert_eq!(codec(B, SPOKEN).open(&datagram), Err(Refused::Malformed));
}

prop_compose! {
    fn spans()(micros in prop_oneof![0..400_000_u64, 0..u64::from(u32::MAX)]) -> Span { Span::from_micros(micros) }
}

prop_compose! {
    fn heartbeats()(
        stamp in any::<u64>(),
        echo in any::<Option<(u32, u32, u64)>>(),
        state in 0..STATES.len(),
        bits in any::<[bool; 9]>(),
        spans in [prop::option::of(spans()), prop::option::of(spans()), prop::option::of(spans())],
        endless in any::<bool>(),
        rank in any::<(u16, u8, u16, u64)>(),
        frozen in any::<Option<(u16, bool, u8, u32)>>(),
    ) -> Heartbeat {
        let [owns, solo, ready, grant, want, rank_ready, gateway_seen, uplink_open, crossed] = bits;
        let [promise, lease, extend] = spans;
        let (healthy_pools, priority, pools_healthy, config_revision) = rank;
        Heartbeat {
            incarnation: LIFE,
            stamp: Stamp(stamp),
            echo: echo.map(|(boot, start, stamp)| Echo { incarnation: Incarnation { boot, start }, stamp: Stamp(stamp) }),
            state: STATES[state],
            owns, solo, ready, grant, want, uplink_open, crossed, promise, extend,
            lease: lease.map_or(if endless { LeaseLeft::Endless } else { LeaseLeft::None }, LeaseLeft::Finite),
            rank: Rank { ready: rank_ready, healthy_pools, gateway_seen, priority, id: A },
            frozen: frozen.map(|(healthy_pools, gateway_seen, busy_magnitude, owned_s)|
                FrozenRank { healthy_pools, gateway_seen, busy_magnitude, owned_s, id: A }),
            pools_healthy, config_revision,
        }
    }
}

proptest! {
    #[test]
    fn any_heartbeat_is_read_as_it_was_written(heartbeat in heartbeats(), counter in any::<u16>(), held in 0..1_000_000_u64) {
        let echo = PathEcho { counter, held: Span(held * HELD_STEP_NS) };
        let bytes = encoded(heartbeat, Some(echo));
        prop_assert!(bytes.len() + OVERHEAD_BYTES <= HEARTBEAT_BYTES_MAX);
        let path_echo = heartbeat.frozen.is_none().then_some(echo);
        prop_assert_eq!(decode(&bytes, A, LIFE), Some(Body { versions: SPOKEN, heartbeat, path_echo }));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_what_is_read_can_be_written(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
        if let Some(body) = decode(&bytes, A, LIFE) {
            let mut again = Vec::new();
            encode(&body, &mut again);
            let expected = Body { path_echo: body.path_echo.filter(|_| body.heartbeat.frozen.is_none()), ..body };
            prop_assert_eq!(decode(&again, A, LIFE), Some(expected));
        }
    }
}
