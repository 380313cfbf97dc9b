use proptest::prelude::*;

use super::super::release::TokenOf;
use super::*;

const WAY: Between = Between { from: Mac([2, 0, 0, 0, 0, 1]), to: Mac([2, 0, 0, 0, 0, 2]), vlan: 0 };

/// As docs/dataplane.md has it.
fn answer_bytes() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    frame.extend(*b"lbd?");
    frame.extend([1, 2, 1, 0]);
    for number in [0x0102_0304_0506_0708u64, 77, 245_000_000, 3_000_000_000, 5_000_000] {
        frame.extend(number.to_be_bytes());
    }
    frame.extend([0; 16]);
    frame
}

#[test]
fn a_question_is_on_the_wire_as_the_page_says() {
    let mut expected = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    expected.extend(*b"lbd?");
    expected.extend([1, 1, 0, 0]);
    expected.extend(0x0102_0304_0506_0708u64.to_be_bytes());
    expected.extend(77u64.to_be_bytes());
    expected.extend([0; 24 + 16]);
    assert_eq!(question(WAY, PairId(77), 0x0102_0304_0506_0708), expected);
    assert!(expected.len() >= 60, "needs no padding (IEEE 802.3)");

    let tagged = question(Between { vlan: 5, ..WAY }, PairId(77), 0x0102_0304_0506_0708);
    assert_eq!(tagged[12..18], [0x81, 0x00, 0xe0, 5, 0x88, 0xb5]);
    assert_eq!([&tagged[..12], &tagged[16..]].concat(), expected);
}

#[test]
fn a_release_is_a_question_with_a_token() {
    let token = Token::new(&[1; 32], &TokenOf { owner: 1, boot: 2, start: 3, number: 4 });
    let plain = question(WAY, PairId(77), 9);
    let release = release(WAY, PairId(77), 9, &token);
    assert_eq!((plain[19], release[19]), (1, 3));
    assert_eq!(release[62..], token.bytes());
    assert_eq!((&plain[..19], &plain[20..62]), (&release[..19], &release[20..62]));
}

#[test]
fn an_answer_is_read_with_or_without_a_tag() {
    let answer = Answer {
        way: Between { from: WAY.to, to: WAY.from, vlan: 0 },
        version: 1,
        nonce: 0x0102_0304_0506_0708,
        pair: PairId(77),
        holds: Holds::For(Duration::from_millis(245)),
        owned_for: Duration::from_secs(3),
        silent_for: Duration::from_millis(5),
    };
    let bytes = answer_bytes();
    assert_eq!(parse_answer(&bytes, 0), Some(answer));
    let in_vlan = Answer { way: Between { vlan: 5, ..answer.way }, ..answer };
    assert_eq!(parse_answer(&bytes, 0xe005), Some(in_vlan), "the kernel took the tag off");
    let tagged = [&bytes[..12], &[0x81, 0x00, 0xe0, 5], &bytes[12..]].concat();
    assert_eq!(parse_answer(&tagged, 0), Some(in_vlan));
    // A later version appends.
    let later = [&bytes[..18], &[2], &bytes[19..], &[9; 40]].concat();
    assert_eq!(parse_answer(&later, 0), Some(Answer { version: 2, ..answer }));
}

#[test]
fn what_is_held_is_read_and_an_unknown_word_counts_as_endless() {
    for (word, holds) in [(0, Holds::Nothing), (1, Holds::For(Duration::from_millis(245))), (2, Holds::Endlessly)] {
        let mut bytes = answer_bytes();
        bytes[20] = word;
        assert_eq!(parse_answer(&bytes, 0).map(|answer| answer.holds), Some(holds));
    }
    let mut bytes = answer_bytes();
    bytes[20] = 3;
    assert_eq!(parse_answer(&bytes, 0).map(|answer| answer.holds), Some(Holds::Endlessly));
}

#[test]
fn what_is_no_answer_is_none() {
    let bytes = answer_bytes();
    for cut in 0..bytes.len() {
        assert_eq!(parse_answer(&bytes[..cut], 0), None, "{cut} bytes");
    }
    for (what, at, value) in
        [("type", 12, 0x08), ("type", 13, 0xb6), ("magic", 14, b'x'), ("version", 18, 0), ("kind", 19, 1)]
    {
        let mut other = bytes.clone();
        other[at] = value;
        assert_eq!(parse_answer(&other, 0), None, "{what}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), vlan: u16) {
        parse_answer(&bytes, vlan);
    }

    #[test]
    fn an_answer_with_any_numbers_is_read(body in prop::collection::vec(any::<u8>(), 58)) {
        let mut bytes = answer_bytes();
        bytes.splice(20.., body);
        prop_assert!(parse_answer(&bytes, 0).is_some());
    }
}
