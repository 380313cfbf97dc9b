use std::time::Duration;

use proptest::prelude::*;

use super::wire::{Datagram, PIECE_BYTES, Status, WORDS_BYTES_MAX, datagram, is_ours, piece, want};
use super::*;
use crate::core::moment::Moment;

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn revision() -> impl Strategy<Value = Revision> {
    (any::<u64>(), hash()).prop_map(|(counter, hash)| Revision { counter, hash })
}

fn status() -> impl Strategy<Value = Status> {
    let flags = any::<[bool; 4]>();
    let other = proptest::option::of((revision(), any::<bool>()));
    let refused = proptest::option::of((hash(), "[ -~äß]{0,300}"));
    let release = proptest::option::of("[ -~]{0,32}");
    (flags, any::<u64>(), revision(), hash(), any::<u32>(), other, refused, release).prop_map(
        |([owns, blank, off_duty, too_large], sequence, revision, document, length, other, refused, release)| Status {
            sequence,
            owns,
            blank,
            off_duty,
            too_large,
            revision,
            document,
            length,
            other,
            refused,
            release,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(status in status(), first: u32, bits: u64, bytes in proptest::collection::vec(any::<u8>(), 1..=PIECE_BYTES)) {
        let encoded = status.encode();
        prop_assert!(is_ours(&encoded) && encoded.len() < 1_352);
        prop_assert_eq!(datagram(&encoded), Some(Datagram::Status(status.clone())));
        // Of a later release.
        let longer = [encoded.as_slice(), &bytes].concat();
        prop_assert_eq!(datagram(&longer), Some(Datagram::Status(status.clone())));
        let document = status.document;
        let asked = want(document, first, bits);
        prop_assert_eq!(datagram(&asked), Some(Datagram::Want { document, first, bits }));
        let sent = piece(document, first, &bytes);
        prop_assert_eq!(datagram(&sent), Some(Datagram::Piece { document, number: first, bytes: &bytes }));
    }

    #[test]
    fn a_document_is_read_back(text in "\\PC{0,200}", counter: u64, forebears in proptest::collection::vec(revision(), 0..300)) {
        let revision = Revision { counter, hash: Hash::of(text.as_bytes()) };
        let document = Document { revision, lineage: Lineage::of(forebears), text };
        prop_assert_eq!(Document::decode(&document.encode()), Ok(document));
    }

    /// Who has the key can send anything, also what a bug makes of it.
    #[test]
    fn no_bytes_harm(datagrams in proptest::collection::vec(
        (0u8..4, proptest::collection::vec(any::<u8>(), 0..1_400), status()), 0..20,
    )) {
        let mut copier = Copier::new(Held::first("one".into(), false));
        let mut now = Moment::default();
        for (kind, bytes, status) in datagrams {
            let bytes = match kind {
                0 => bytes,
                1 => [&[1, 16 + bytes.len() as u8 % 3], bytes.as_slice()].concat(),
                2 => piece(status.document, u32::from(status.length as u8), bytes.get(..PIECE_BYTES).unwrap_or(&bytes)),
                _ => status.encode(),
            };
            now = now + Duration::from_millis(30);
            copier.hear(&bytes, now);
            prop_assert!(std::iter::from_fn(|| copier.poll(now)).take(100).count() < 100, "what is sent is bounded");
            copier.report(now);
            _ = Document::decode(&bytes);
            if let Some(Datagram::Status(status)) = datagram(&bytes)
                && let Some((_, words)) = status.refused
            {
                prop_assert!(words.len() <= WORDS_BYTES_MAX && !words.chars().any(char::is_control));
            }
        }
    }
}

#[test]
fn a_document_of_a_later_release_is_told_from_a_broken_one() {
    let mut bytes = Held::first("one".into(), false).document().encode();
    assert_eq!(Document::decode(bytes.get(..10).unwrap()), Err(Malformed::Format));
    bytes[0] = 9;
    assert_eq!(Document::decode(&bytes), Err(Malformed::Version(9)));
    assert_eq!(Document::decode(&[]), Err(Malformed::Format));
}

#[test]
fn a_document_of_a_later_release_is_refused_in_words() {
    let mut copier = Copier::new(Held::first("one".into(), false));
    let now = Moment(Duration::from_secs(1));
    let bytes = [9];
    let status = Status {
        sequence: 1,
        owns: true,
        blank: false,
        off_duty: false,
        too_large: false,
        revision: Revision { counter: 7, hash: Hash([7; 32]) },
        document: Hash::of(&bytes),
        length: 1,
        other: Some((copier.held().revision, true)),
        refused: None,
        release: Some("9.0.0".into()),
    };
    copier.hear(&status.encode(), now);
    assert_eq!(copier.report(now).peer.and_then(|peer| peer.release).as_deref(), Some("9.0.0"));
    let sent: Vec<_> = std::iter::from_fn(|| copier.poll(now)).collect();
    assert!(sent.contains(&want(status.document, 0, 1)), "{sent:?}");
    copier.hear(&piece(status.document, 0, &bytes), now);
    assert_eq!(copier.take_arrived(), None);
    let refused = copier.report(now).refused.unwrap();
    assert!(refused.contains("upgrade this box"), "{refused}");
}

#[test]
fn a_piece_that_is_not_what_was_said_is_not_put_together() {
    let mut copier = Copier::new(Held::first(String::new(), true));
    let now = Moment(Duration::from_secs(1));
    let document = Held::first("one".into(), false).document().encode();
    let status = Status {
        sequence: 1,
        owns: true,
        blank: false,
        off_duty: false,
        too_large: false,
        revision: Revision { counter: 1, hash: Hash::of(b"one") },
        document: Hash::of(&document),
        length: document.len() as u32,
        other: None,
        refused: None,
        release: None,
    };
    copier.hear(&status.encode(), now);
    _ = std::iter::from_fn(|| copier.poll(now)).count();
    let mut changed = document.clone();
    changed[13] ^= 1;
    copier.hear(&piece(status.document, 0, &changed), now);
    assert_eq!(copier.take_arrived(), None);
    // It is asked for anew.
    assert!(std::iter::from_fn(|| copier.poll(now)).any(|sent| sent == want(status.document, 0, 1)));
    for wrong in [piece(status.document, 1, b"x"), piece(status.document, 0, b"x"), piece(Hash([0; 32]), 0, &document)]
    {
        copier.hear(&wrong, now);
        assert_eq!(copier.take_arrived(), None);
    }
    copier.hear(&piece(status.document, 0, &document), now);
    assert_eq!(copier.take_arrived().unwrap().document.text, "one");
}
