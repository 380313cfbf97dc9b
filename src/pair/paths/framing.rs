//! Frames on a serial line.
//!
//! A frame is a zero byte, the payload and its CRC in COBS (Cheshire and Baker 1999: no zero byte within), and a zero
//! byte. The line is idle between heartbeats: the leading zero ends what noise may have left there. The CRC is
//! CRC-16/GENIBUS, big-endian. The seal would refuse a damaged frame as well; the CRC tells a bad line from an attack.

use std::fmt;

/// Most bytes of a payload: one run of COBS holds it with its CRC.
pub const PAYLOAD_BYTES_MAX: usize = 252;
/// What a frame adds to its payload: two zeros, one byte of COBS, CRC.
pub const OVERHEAD_BYTES: usize = 5;
/// Most bytes between two zeros.
const ENCODED_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 3;

/// Replaces `frame` by the frame of a payload; by nothing when that is empty, or longer than
/// [`PAYLOAD_BYTES_MAX`].
pub fn frame(payload: &[u8], frame: &mut Vec<u8>) {
    frame.clear();
    if payload.is_empty() || payload.len() > PAYLOAD_BYTES_MAX {
        return;
    }
    frame.extend_from_slice(&[0, 0]);
    // The place of the byte that tells how far it is to the next zero: the first is behind the delimiter.
    let mut code_at = 1;
    let mut code = 1;
    for byte in payload.iter().copied().chain(crc16(payload).to_be_bytes()) {
        if byte == 0 {
            set(frame, code_at, code);
            (code_at, code) = (frame.len(), 0);
        }
        frame.push(byte);
        code += 1;
    }
    set(frame, code_at, code);
    frame.push(0);
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

/// What came over the line that is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No COBS, or too short for a CRC.
    Broken,
    /// The CRC does not agree.
    Checksum,
    /// More bytes without a zero than a frame has.
    TooLong,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "broken frame",
            Self::Checksum => "wrong checksum",
            Self::TooLong => "no end of a frame",
        })
    }
}

/// Finds frames in bytes as they come, in a buffer of a fixed size.
#[derive(Debug, Default)]
pub struct Deframer {
    encoded: Vec<u8>,
    payload: Vec<u8>,
    /// The frame has become too long: what comes until the next zero is dropped.
    skipping: bool,
}

impl Deframer {
    /// The line has been opened anew: what has come of a frame is void.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.skipping = false;
    }

    /// Takes bytes; calls `each` with every payload and every damage that ends in them.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Result<&[u8], Damage>)) {
        for byte in bytes {
            if *byte == 0 {
                if !self.skipping && !self.encoded.is_empty() {
                    each(self.payload());
                }
                self.clear();
            } else if self.encoded.len() == ENCODED_BYTES_MAX {
                if !self.skipping {
                    each(Err(Damage::TooLong));
                }
                self.skipping = true;
            } else {
                self.encoded.push(*byte);
            }
        }
    }

    fn payload(&mut self) -> Result<&[u8], Damage> {
        self.payload.clear();
        let mut rest = self.encoded.as_slice();
        while let Some((code, behind)) = rest.split_first() {
            let length = usize::from(code.saturating_sub(1));
            let run = behind.get(..length).ok_or(Damage::Broken)?;
            self.payload.extend_from_slice(run);
            rest = behind.get(length..).unwrap_or_default();
            // The longest run has no zero behind it; nor has the end.
            if *code != u8::MAX && !rest.is_empty() {
                self.payload.push(0);
            }
        }
        let (payload, crc) = self.payload.split_last_chunk().ok_or(Damage::Broken)?;
        // Nothing is sent empty; but zeros, as an idle line may bring them, would be the checksum of it.
        if payload.is_empty() {
            return Err(Damage::Broken);
        }
        if u16::from_be_bytes(*crc) == crc16(payload) { Ok(payload) } else { Err(Damage::Checksum) }
    }
}

/// CRC-16/GENIBUS: polynomial 0x1021, from 0xffff, inverted. Not inverted, it would not see a zero too many at the end,
/// which is what a flipped bit makes of a delimiter.
fn crc16(bytes: &[u8]) -> u16 {
    !bytes.iter().fold(0xffff, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7; 2];
        frame(payload, &mut bytes);
        bytes
    }

    fn fed(deframer: &mut Deframer, bytes: &[u8]) -> Vec<Result<Vec<u8>, Damage>> {
        let mut found = Vec::new();
        deframer.feed(bytes, |frame| found.push(frame.map(<[u8]>::to_vec)));
        found
    }

    #[test]
    fn the_checksum_is_the_catalogues() {
        assert_eq!(crc16(b"123456789"), 0xd64e);
    }

    #[test]
    fn a_frame_is_as_documented() {
        assert_eq!(framed(b"123456789"), *b"\0\x0c123456789\xd6\x4e\0");
        let zeros = framed(&[0, 0]);
        assert_eq!(zeros[..4], [0, 1, 1, 3]);
        assert_eq!(framed(&[1; PAYLOAD_BYTES_MAX]).len(), PAYLOAD_BYTES_MAX + OVERHEAD_BYTES);
        assert!(framed(&[1; PAYLOAD_BYTES_MAX + 1]).is_empty() && framed(&[]).is_empty());
    }

    #[test]
    fn it_finds_its_way_after_garbage_of_any_length() {
        let mut deframer = Deframer::default();
        for length in [1, 3, ENCODED_BYTES_MAX, ENCODED_BYTES_MAX + 1, 10_000] {
            let found = fed(&mut deframer, &[&vec![0x55; length], framed(b"good").as_slice()].concat());
            assert_eq!(found.len(), 2, "{length}");
            assert!(found[0].is_err());
            assert_eq!(found[1], Ok(b"good".to_vec()));
            assert!(deframer.encoded.capacity() < 4 * ENCODED_BYTES_MAX);
        }
    }

    #[test]
    fn half_a_frame_is_void_once_the_line_is_opened_anew() {
        let mut deframer = Deframer::default();
        let bytes = framed(b"whole");
        assert!(fed(&mut deframer, &bytes[..5]).is_empty());
        deframer.clear();
        assert_eq!(fed(&mut deframer, &bytes), [Ok(b"whole".to_vec())]);
    }

    #[test]
    fn idle_zeros_are_nothing() {
        assert!(fed(&mut Deframer::default(), &[0; 50]).is_empty());
    }

    #[test]
    fn a_flipped_bit_harms_only_its_own_frame_and_its_neighbour() {
        let frames: Vec<Vec<u8>> = (0..5_u8).map(|number| framed(&[number; 15])).collect();
        let bytes = frames.concat();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let found = fed(&mut Deframer::default(), &bytes);
                let good: Vec<u8> = found.iter().flatten().map(|payload| payload[0]).collect();
                assert!(good.len() >= 3, "{at} {bit} {found:?}");
                assert!(found.iter().flatten().all(|payload| *payload == [payload[0]; 15]), "{at} {bit} {found:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_payload_comes_through_in_any_pieces(
            payloads in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 1..=PAYLOAD_BYTES_MAX), 1..5),
            piece in 1..300_usize) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| framed(payload)).collect();
            prop_assert!(payloads.iter().all(|payload| framed(payload).len() == payload.len() + OVERHEAD_BYTES));
            let mut deframer = Deframer::default();
            let found: Vec<_> = bytes.chunks(piece).flat_map(|piece| fed(&mut deframer, piece)).collect();
            prop_assert_eq!(found, payloads.into_iter().map(Ok).collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = fed(&mut Deframer::default(), &bytes);
        }
    }
}
