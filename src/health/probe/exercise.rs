//! What the tests of all conversations have in common.

use std::time::{Duration, Instant};

use super::*;
use crate::core::check::FailureKind;

/// Most bytes that a probe may have sent by the end of a conversation, whatever the server said.
pub const SENT_BYTES_MAX: usize = 16 * 1024;

/// Plays a server's bytes in pieces, up to a verdict; the result is what was sent, and the last step.
pub fn play<'a>(conversation: &mut dyn Conversation, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Next) {
    let mut out = Vec::new();
    let mut next = conversation.open(&mut out);
    for piece in pieces {
        if next != Next::Read {
            break;
        }
        next = conversation.received(piece, &mut out);
    }
    (out, next)
}

/// As `play` with one piece: the verdict, or panics.
pub fn verdict(conversation: &mut dyn Conversation, bytes: &[u8]) -> Verdict {
    match play(conversation, [bytes]) {
        (_, Next::Done(verdict)) => verdict,
        (_, next) => panic!("no verdict but {next:?} after {}", bytes.escape_ascii()),
    }
}

pub fn success(words: &str) -> Verdict {
    Verdict::Success(words.into())
}

pub fn failure(kind: FailureKind, words: &str) -> Verdict {
    Verdict::failure(kind, words)
}

/// The answer of a stream leads to the same whether it comes whole, byte by byte, or in any two parts.
pub fn same_however_split<C: Conversation>(make: impl Fn() -> C, bytes: &[u8]) {
    let whole = play(&mut make(), [bytes]);
    assert_eq!(play(&mut make(), bytes.chunks(1)), whole, "byte by byte: {}", bytes.escape_ascii());
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(play(&mut make(), [first, second]), whole, "split at {at}: {}", bytes.escape_ascii());
    }
}

/// Whatever comes, in pieces of this size: no panic, bounded output, printable words of bounded length, a
/// verdict when the limit is passed, and no more time than linear work takes.
pub fn survives<C: Conversation>(make: impl Fn() -> C, hostile: &[u8], piece: usize) {
    let began = Instant::now();
    let mut conversation = make();
    let (out, next) = play(&mut conversation, hostile.chunks(piece));
    assert!(out.len() <= SENT_BYTES_MAX, "{} bytes sent", out.len());
    let words = match next {
        Next::Done(Verdict::Success(words)) => words,
        Next::Done(Verdict::Failure(failure)) => failure.words,
        Next::Read | Next::StartTls => {
            assert!(hostile.len() <= ANSWER_BYTES_MAX, "no verdict after {} bytes", hostile.len());
            conversation.timed_out().words
        }
    };
    assert!(words.chars().count() <= 200 && !words.chars().any(char::is_control), "words: {words:?}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?} for {} bytes in pieces of {piece}", hostile.len());
}

/// Floods of what breaks readers: endless lines, NUL, 8-bit, and what the protocol itself begins with.
pub fn survives_floods<C: Conversation>(make: impl Fn() -> C, beginnings: &[&[u8]]) {
    for beginning in [b"".as_slice()].iter().chain(beginnings) {
        for filler in
            [b"A".as_slice(), b"\0", b"\xff", b"\r\n", b"0", b"1\r\n", b"a: b\r\n", b"\x01\0\0\0", b"\x30\x84"]
        {
            let flood: Vec<u8> =
                beginning.iter().chain(filler.iter().cycle()).take(2 * ANSWER_BYTES_MAX).copied().collect();
            survives(&make, &flood, 1);
            survives(&make, &flood, 1_448);
            survives(&make, &flood, flood.len());
        }
    }
}
