use proptest::prelude::*;

use super::*;

/// All lines of a stream that comes in pieces, and how it broke, if it did.
fn lines_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<Broken>) {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    for mut piece in pieces {
        loop {
            match lines.next(&mut piece) {
                Ok(Some(line)) => found.push(line),
                Ok(None) => break,
                Err(broken) => return (found, Some(broken)),
            }
            assert!(lines.part.len() <= LINE_BYTES_MAX && lines.taken <= ANSWER_BYTES_MAX);
        }
        assert!(piece.is_empty(), "what was not taken is lost");
        assert!(lines.part.capacity() <= 2 * LINE_BYTES_MAX);
    }
    (found, None)
}

fn whole(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<Broken>) {
    lines_of([bytes])
}

#[test]
fn lines_end_with_lf_or_cr_lf_and_come_without_it() {
    let (found, broken) = whole(b"one\r\ntwo\n\r\n\nthree\r\r\nrest");
    assert_eq!(found, [&b"one"[..], b"two", b"", b"", b"three\r"]);
    assert_eq!(broken, None);
}

#[test]
fn a_line_of_the_greatest_length_passes_and_one_byte_more_does_not() {
    let mut line = vec![b'a'; LINE_BYTES_MAX - 1];
    line.push(b'\n');
    assert_eq!(whole(&line).1, None);
    line.insert(0, b'a');
    assert_eq!(whole(&line), (vec![], Some(Broken::LongLine)));
}

#[test]
fn an_answer_of_the_greatest_length_passes_and_one_byte_more_does_not() {
    let mut answer = b"0123456789abcde\n".repeat(ANSWER_BYTES_MAX / 16);
    assert_eq!(answer.len(), ANSWER_BYTES_MAX);
    assert_eq!((whole(&answer).0.len(), whole(&answer).1), (ANSWER_BYTES_MAX / 16, None));
    // Where both limits are met, the line is what is wrong.
    let mut line = answer.get(..ANSWER_BYTES_MAX - LINE_BYTES_MAX).unwrap().to_vec();
    line.extend([b'a'; LINE_BYTES_MAX + 1]);
    assert_eq!(whole(&line).1, Some(Broken::LongLine));
    answer.push(b'\n');
    assert_eq!(whole(&answer).1, Some(Broken::LongAnswer));
}

#[test]
fn a_nul_breaks_it_where_it_stands() {
    assert_eq!(whole(b"one\ntw\0o\n"), (vec![b"one".to_vec()], Some(Broken::Nul)));
}

#[test]
fn skipped_bytes_may_be_anything_and_count() {
    let mut lines = Lines::default();
    let mut input = &b"{7}\r\n\0\r\n\0abcnext\r\n"[..];
    assert_eq!(lines.next(&mut input), Ok(Some(b"{7}".to_vec())));
    lines.skip(7);
    assert!(lines.in_part());
    assert_eq!(lines.next(&mut input), Ok(Some(b"next".to_vec())));
    assert_eq!(lines.taken, 18);
    lines.skip(ANSWER_BYTES_MAX - 18);
    assert_eq!(lines.next(&mut input), Ok(None));
    lines.skip(1);
    assert_eq!(lines.next(&mut input), Err(Broken::LongAnswer), "announced is enough");
    lines.skip(usize::MAX);
    assert_eq!(lines.next(&mut input), Err(Broken::LongAnswer));
}

/// Bytes that are likely to meet the limits.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::collection::vec(prop_oneof![20 => any::<u8>(), 2 => Just(b'\n'), 1 => Just(b'\r')], 0..200),
        2 => (0..2 * LINE_BYTES_MAX).prop_map(|count| vec![b'a'; count]),
        1 => (0..40_000_usize).prop_map(|count| b"ab\r\n".repeat(count)),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn how_a_stream_is_cut_into_pieces_changes_nothing(bytes in stream(), size in 1..5_000_usize) {
        let expected = whole(&bytes);
        prop_assert_eq!(lines_of(bytes.chunks(size)), expected.clone());
        prop_assert_eq!(lines_of(bytes.chunks(1)), expected);
    }
}
