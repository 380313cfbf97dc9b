use proptest::prelude::*;

use super::*;
use crate::pair::replay::WINDOW;

const A: BoxId = BoxId(0x0200_0000_000a);
const B: BoxId = BoxId(0x0200_0000_000b);
const VERSIONS: Versions = Versions::new(1, 3).unwrap();

fn key(id: u8, byte: u8) -> Key {
    Key::new(KeyId(id), [byte; KEY_BYTES])
}

fn keys() -> Keys {
    Keys::single(key(1, 7))
}

fn life(boot: u32, start: u32) -> Incarnation {
    Incarnation { boot, start }
}

fn sealer_of(incarnation: Incarnation) -> Sealer {
    Sealer::new(Kind::Heartbeat, A, incarnation, &keys()).unwrap()
}

fn sealer() -> Sealer {
    sealer_of(life(3, 1))
}

/// B's, of what A sends.
fn opener() -> Opener {
    Opener::new(Kind::Heartbeat, B, A, VERSIONS, keys(), life(0, 0))
}

fn channel(number: u8) -> Channel {
    Channel::new(number).unwrap()
}

fn sealed(sealer: &mut Sealer, body: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0xee; 3];
    sealer.seal(1, channel(0), body, &mut datagram).unwrap();
    datagram
}

fn opened(opener: &mut Opener, datagram: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut body = vec![0xee; 3];
    let result = opener.open(datagram, &mut body);
    assert!(result.is_ok() || body.is_empty());
    result.map(|_| body)
}

#[test]
fn what_is_sealed_is_opened_without_a_handshake() {
    let (mut sealer, mut opener) = (sealer(), opener());
    let mut datagram = Vec::new();
    assert_eq!(sealer.seal(2, channel(5), b"hello", &mut datagram).unwrap(), 1);
    assert_eq!(datagram.len(), 5 + OVERHEAD_BYTES);
    assert!(!datagram.windows(5).any(|window| window == b"hello"));
    let mut body = Vec::new();
    let envelope = opener.open(&datagram, &mut body).unwrap();
    assert_eq!(body, b"hello");
    assert_eq!(envelope, Envelope { version: 2, channel: channel(5), incarnation: life(3, 1), counter: 1 });
}

/// RFC 5869, A.1.
#[test]
fn the_key_derivation_agrees_with_the_rfc() {
    let salt: Vec<u8> = (0..=0x0c).collect();
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    let expected = [
        0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a, 0x90, 0x43, 0x4f, 0x64, 0xd0, 0x36, 0x2f, 0x2a, 0x2d, 0x2d,
        0x0a, 0x90, 0xcf, 0x1a, 0x5a, 0x4c, 0x5d, 0xb0, 0x2d, 0x56, 0xec, 0xc4, 0xc5, 0xbf,
    ];
    assert_eq!(*hkdf(&salt, &[0x0b; 22], &info), expected);
}

/// Sealed by another implementation (Python's `cryptography`), from the words of the page on the wire.
#[test]
fn a_packet_of_another_implementation_opens() {
    let datagram = [
        0xb1, 0x02, 0x15, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x01,
        0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0xf3, 0x0f, 0x4c, 0xfa,
        0xb7, 0x31, 0x7b, 0xa9, 0x49, 0x75, 0xd4, 0xc5, 0xe8, 0xd3, 0xe8, 0xc4, 0x24, 0x16, 0xee, 0x64, 0xa9,
    ];
    let mut body = Vec::new();
    let envelope = opener().open(&datagram, &mut body).unwrap();
    assert_eq!(body, b"hello");
    let expected = Envelope { version: 2, channel: channel(5), incarnation: life(3, 1), counter: 0x0102_0304_0506 };
    assert_eq!(envelope, expected);
}

#[test]
fn a_packet_counts_once_on_whatever_path() {
    let (mut sealer, mut opener) = (sealer(), opener());
    let datagram = sealed(&mut sealer, b"x");
    assert!(opened(&mut opener, &datagram).is_ok());
    assert_eq!(opened(&mut opener, &datagram), Err(Refused::Replayed));
}

#[test]
fn packets_of_a_channel_may_overtake_each_other_within_the_window() {
    let (mut sealer, mut opener) = (sealer(), opener());
    let datagrams: Vec<_> = (0..=WINDOW).map(|_| sealed(&mut sealer, b"x")).collect();
    for datagram in datagrams.iter().skip(1).rev() {
        assert!(opened(&mut opener, datagram).is_ok());
    }
    assert_eq!(opened(&mut opener, &datagrams[0]), Err(Refused::Replayed));
}

#[test]
fn channels_are_counted_apart() {
    let (mut sealer, mut opener) = (sealer(), opener());
    let mut datagram = Vec::new();
    for number in [0, 15] {
        for expected in 1..=3 {
            assert_eq!(sealer.seal(1, channel(number), b"", &mut datagram).unwrap(), expected);
            assert!(opened(&mut opener, &datagram).is_ok());
        }
    }
}

#[test]
fn an_own_packet_that_comes_back_is_known_as_such_and_does_not_open_under_the_peers_name() {
    let mut own = Sealer::new(Kind::Heartbeat, B, life(9, 9), &keys()).unwrap();
    let mut datagram = sealed(&mut own, b"x");
    assert_eq!(opened(&mut opener(), &datagram), Err(Refused::Reflected));
    datagram[4..10].copy_from_slice(&A.0.to_be_bytes()[2..]);
    assert_eq!(opened(&mut opener(), &datagram), Err(Refused::BadSeal));
}

#[test]
fn another_pair_and_other_traffic_are_not_ours() {
    let mut other = Sealer::new(Kind::Heartbeat, BoxId(77), life(1, 1), &keys()).unwrap();
    assert_eq!(opened(&mut opener(), &sealed(&mut other, b"x")), Err(Refused::NotOurs));
    let mut sync = Sealer::new(Kind::Sync, A, life(1, 1), &keys()).unwrap();
    let datagram = sealed(&mut sync, b"x");
    assert_eq!(opened(&mut opener(), &datagram), Err(Refused::NotOurs));
    assert_eq!(Kind::of(&datagram), Some(Kind::Sync));
    assert_eq!(Kind::of(&sealed(&mut sealer(), b"")), Some(Kind::Heartbeat));
    for bytes in [&[][..], &[MAGIC], &[0; 100]] {
        assert_eq!(opened(&mut opener(), bytes), Err(Refused::NotOurs));
        assert_eq!(Kind::of(bytes), None);
    }
}

#[test]
fn a_kind_cannot_be_passed_off_as_another() {
    let mut datagram = sealed(&mut Sealer::new(Kind::Sync, A, life(1, 1), &keys()).unwrap(), b"x");
    datagram[2] = (Kind::Heartbeat as u8) << 4 | datagram[2] & 15;
    assert_eq!(opened(&mut opener(), &datagram), Err(Refused::BadSeal));
}

#[test]
fn a_version_that_is_not_spoken_is_named() {
    let (mut sealer, mut datagram) = (sealer(), Vec::new());
    sealer.seal(4, channel(0), b"x", &mut datagram).unwrap();
    assert_eq!(opened(&mut opener(), &datagram), Err(Refused::Version(4)));
}

#[test]
fn an_earlier_life_is_refused_once_a_later_one_was_heard() {
    for (earlier, later) in [(life(3, 1), life(3, 2)), (life(3, 9), life(4, 0))] {
        let (mut first, mut second, mut opener) = (sealer_of(earlier), sealer_of(later), opener());
        assert!(opened(&mut opener, &sealed(&mut first, b"x")).is_ok());
        let recorded = sealed(&mut first, b"x");
        assert!(opened(&mut opener, &sealed(&mut second, b"x")).is_ok());
        assert_eq!(opened(&mut opener, &recorded), Err(Refused::OldIncarnation));
    }
}

#[test]
fn a_restarted_receiver_refuses_lives_before_the_one_that_it_knew() {
    let (mut first, mut second) = (sealer_of(life(3, 1)), sealer_of(life(3, 2)));
    let mut opener = Opener::new(Kind::Heartbeat, B, A, VERSIONS, keys(), life(3, 2));
    assert_eq!(opened(&mut opener, &sealed(&mut first, b"x")), Err(Refused::OldIncarnation));
    assert!(opened(&mut opener, &sealed(&mut second, b"x")).is_ok());
}

#[test]
fn what_was_recorded_in_the_current_life_is_over_with_the_first_live_packet() {
    let mut sealer = sealer();
    let recorded: Vec<_> = (0..3).map(|_| sealed(&mut sealer, b"x")).collect();
    for _ in 0..WINDOW {
        sealed(&mut sealer, b"x");
    }
    let live = sealed(&mut sealer, b"x");
    let mut restarted = opener();
    assert!(opened(&mut restarted, &recorded[0]).is_ok(), "while the peer is silent nobody can tell");
    assert!(opened(&mut restarted, &live).is_ok());
    assert_eq!(opened(&mut restarted, &recorded[1]), Err(Refused::Replayed));
}

#[test]
fn a_second_salt_under_the_same_incarnation_is_refused() {
    let (mut one, mut other, mut opener) = (sealer(), sealer(), opener());
    assert!(opened(&mut opener, &sealed(&mut one, b"x")).is_ok());
    assert_eq!(opened(&mut opener, &sealed(&mut other, b"x")), Err(Refused::OldIncarnation));
    assert!(opened(&mut opener, &sealed(&mut one, b"x")).is_ok());
}

#[test]
fn two_sealers_of_the_same_incarnation_do_not_share_a_key() {
    let [one, other] = [sealer(), sealer()].map(|mut sealer| sealed(&mut sealer, &[0; 64])[HEADER_BYTES..].to_vec());
    assert_ne!(one, other);
}

#[test]
fn a_forged_packet_of_a_later_life_changes_nothing() {
    let (mut sealer, mut opener) = (sealer(), opener());
    assert!(opened(&mut opener, &sealed(&mut sealer, b"x")).is_ok());
    let mut forged = sealed(&mut sealer, b"x");
    forged[10] = 0xff;
    assert_eq!(opened(&mut opener, &forged), Err(Refused::BadSeal));
    assert!(opened(&mut opener, &sealed(&mut sealer, b"x")).is_ok());
}

#[test]
fn a_key_is_changed_without_a_gap() {
    let text = |id: u8| format!("{id} {}{id:02x}\n", "5a".repeat(31));
    let keys = |ids: &[u8]| Keys::parse(&ids.iter().map(|id| text(*id)).collect::<String>()).unwrap();
    let mut sealer = Sealer::new(Kind::Heartbeat, A, life(1, 1), &keys(&[1])).unwrap();
    let mut opener = Opener::new(Kind::Heartbeat, B, A, VERSIONS, keys(&[1]), life(0, 0));
    let before = sealed(&mut sealer, b"x");
    // Appended on both, moved to the top on both, deleted on both: with a packet between any two steps.
    let late = sealed(&mut sealer, b"late");
    assert!(opened(&mut opener, &before).is_ok());
    let steps: [(&[u8], &[u8]); 5] =
        [(&[1], &[1, 2]), (&[2, 1], &[1, 2]), (&[2, 1], &[2, 1]), (&[2], &[2, 1]), (&[2], &[2])];
    for (sends, receives) in steps {
        sealer.set_keys(&keys(sends));
        opener.set_keys(keys(receives));
        for _ in 0..2 {
            assert!(opened(&mut opener, &sealed(&mut sealer, b"x")).is_ok(), "{sends:?} {receives:?}");
            let sealing = opener.key_of_peer().map(|(id, key)| (id, key.is_some()));
            assert_eq!(sealing, Some((KeyId(sends[0]), true)));
        }
        if receives == [2, 1] && sends == [2, 1] {
            assert_eq!(opened(&mut opener, &before), Err(Refused::Replayed), "a window does not care for keys");
            assert_eq!(opened(&mut opener, &late).unwrap(), b"late");
        }
    }
    sealer.set_keys(&keys(&[1]));
    assert_eq!(opened(&mut opener, &sealed(&mut sealer, b"x")), Err(Refused::UnknownKey(KeyId(1))));
}

#[test]
fn another_key_of_the_same_number_is_a_bad_seal_also_when_it_is_read_anew() {
    let (mut sealer, mut opener) = (sealer(), opener());
    assert!(opened(&mut opener, &sealed(&mut sealer, b"x")).is_ok());
    opener.set_keys(Keys::single(key(1, 8)));
    assert_eq!(opened(&mut opener, &sealed(&mut sealer, b"x")), Err(Refused::BadSeal));
}

#[test]
fn the_last_counter_is_the_last() {
    let (mut sealer, mut datagram) = (sealer(), Vec::new());
    sealer.counters[0] = COUNTER_MAX - 1;
    assert_eq!(sealer.seal(1, channel(0), b"x", &mut datagram).unwrap(), COUNTER_MAX);
    assert!(opened(&mut opener(), &datagram).is_ok());
    assert!(matches!(sealer.seal(1, channel(0), b"x", &mut datagram), Err(SealError::Exhausted)));
    assert!(sealer.seal(1, channel(1), b"x", &mut datagram).is_ok());
}

#[test]
fn a_body_of_any_size_that_fits_a_frame_is_carried_and_no_longer_one() {
    let (mut sealer, mut opener, mut datagram) = (sealer(), opener(), Vec::new());
    for size in [0, 1, BODY_BYTES_MAX] {
        let body = vec![9; size];
        sealer.seal(1, channel(0), &body, &mut datagram).unwrap();
        assert_eq!(opened(&mut opener, &datagram).unwrap(), body);
    }
    assert_eq!(datagram.len(), SEALED_BYTES_MAX);
    let long = vec![9; BODY_BYTES_MAX + 1];
    assert!(matches!(sealer.seal(1, channel(0), &long, &mut datagram), Err(SealError::TooLong(_))));
    assert!(matches!(Sealer::new(Kind::Sync, BoxId(1 << 48), life(1, 1), &keys()), Err(SealError::Id)));
}

#[test]
fn every_refusal_has_a_name_of_its_own() {
    let all = [
        Refused::NotOurs,
        Refused::Version(9),
        Refused::UnknownKey(KeyId(9)),
        Refused::BadSeal,
        Refused::Replayed,
        Refused::OldIncarnation,
        Refused::Reflected,
        Refused::Malformed,
    ];
    for (index, refused) in all.into_iter().enumerate() {
        assert_eq!(refused.index(), index);
        assert!(!Refused::NAMES[index].is_empty());
    }
}

proptest! {
    #[test]
    fn no_bytes_but_the_sealed_ones_are_opened(body in prop::collection::vec(any::<u8>(), 0..80),
        at in any::<prop::sample::Index>(), change in 1..=u8::MAX, cut in any::<prop::sample::Index>()) {
        let (mut sealer, mut opener) = (sealer(), opener());
        let datagram = sealed(&mut sealer, &body);
        let mut mutated = datagram.clone();
        mutated[at.index(datagram.len())] ^= change;
        prop_assert!(opened(&mut opener, &mutated).is_err());
        prop_assert!(opened(&mut opener, &datagram[..cut.index(datagram.len())]).is_err());
        prop_assert!(opened(&mut opener, &[&datagram[..], &[change]].concat()).is_err());
        prop_assert_eq!(opened(&mut opener, &datagram), Ok(body));
    }

    #[test]
    fn arbitrary_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200), ours in any::<bool>()) {
        if ours && bytes.len() > 10 {
            bytes[..4].copy_from_slice(&[MAGIC, 1, 0x10, 1]);
            bytes[4..10].copy_from_slice(&A.0.to_be_bytes()[2..]);
        }
        prop_assert!(opened(&mut opener(), &bytes).is_err());
    }

    #[test]
    fn a_header_is_read_as_it_was_written(bytes in any::<[u8; HEADER_BYTES]>()) {
        let bytes = { let mut bytes = bytes; bytes[0] = MAGIC; bytes };
        prop_assert_eq!(Header::parse(&bytes).unwrap().to_bytes(), bytes);
    }
}
