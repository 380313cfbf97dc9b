//! Packets in a file that Wireshark reads: pcapng, of which three kinds of blocks are needed (draft-ietf-opsawg-pcapng,
//! sections 4.1 to 4.3). In the byte order of this machine, which the format allows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;
/// Of a section whose length is not said.
const UNKNOWN: u64 = u64::MAX;

const OPT_COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const SHB_USERAPPL: u16 = 4;
const EPB_VERDICT: u16 = 7;
/// Nanoseconds: ten to the power of minus this.
const NANOSECONDS: u8 = 9;
/// What gave the verdict: an XDP program.
const VERDICT_XDP: u8 = 2;

/// A packet that is to be written.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// Place of its interface in the list that the file begins with.
    pub interface: u32,
    pub at: SystemTime,
    /// As it was, bytes.
    pub length: u32,
    /// Its beginning.
    pub bytes: &'a [u8],
    /// What became of it, for people.
    pub comment: &'a str,
    /// XDP_*.
    pub verdict: u32,
}

/// The beginning of a file: what wrote it, and the interfaces. `snap`: most bytes of a packet.
pub fn head(program: &str, interfaces: &[String], snap: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(BYTE_ORDER.to_ne_bytes());
    body.extend(1u16.to_ne_bytes());
    body.extend(0u16.to_ne_bytes());
    body.extend(UNKNOWN.to_ne_bytes());
    option(&mut body, SHB_USERAPPL, program.as_bytes());
    end_of_options(&mut body);
    let mut file = block(SECTION, &body);
    for name in interfaces {
        let mut body = Vec::new();
        body.extend(ETHERNET.to_ne_bytes());
        body.extend(0u16.to_ne_bytes());
        body.extend(snap.to_ne_bytes());
        option(&mut body, IF_NAME, name.as_bytes());
        option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
        end_of_options(&mut body);
        file.extend(block(INTERFACE, &body));
    }
    file
}

/// One packet with its fate.
pub fn packet(packet: &Packet<'_>) -> Vec<u8> {
    let since = packet.at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    let mut body = Vec::with_capacity(packet.bytes.len() + packet.comment.len() + 64);
    body.extend(packet.interface.to_ne_bytes());
    body.extend(((nanoseconds >> 32) as u32).to_ne_bytes());
    body.extend((nanoseconds as u32).to_ne_bytes());
    body.extend(length(packet.bytes).to_ne_bytes());
    body.extend(packet.length.to_ne_bytes());
    padded(&mut body, packet.bytes);
    option(&mut body, OPT_COMMENT, packet.comment.as_bytes());
    let verdict = [&[VERDICT_XDP][..], &u64::from(packet.verdict).to_ne_bytes()].concat();
    option(&mut body, EPB_VERDICT, &verdict);
    end_of_options(&mut body);
    block(PACKET, &body)
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Type, length, body, length.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let total = length(body).saturating_add(12).to_ne_bytes();
    [&kind.to_ne_bytes()[..], &total, body, &total].concat()
}

fn padded(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(bytes);
    to.resize(to.len() + bytes.len().next_multiple_of(4) - bytes.len(), 0);
}

/// Longer than the format's field says it is cut.
fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    to.extend(code.to_ne_bytes());
    to.extend((value.len() as u16).to_ne_bytes());
    padded(to, value);
}

fn end_of_options(to: &mut Vec<u8>) {
    to.extend([0; 4]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks over the blocks by their two lengths.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut found = Vec::new();
        while !file.is_empty() {
            let total = word(file, 4) as usize;
            assert_eq!((total % 4, word(file, total - 4) as usize), (0, total));
            found.push((word(file, 0), file[8..total - 4].to_vec()));
            file = &file[total..];
        }
        found
    }

    #[test]
    fn blocks_are_whole_and_end_where_they_say() {
        let mut file = head("lbd", &["up0".into(), "p1".into()], 2048);
        for size in [0, 1, 2, 3, 4, 61] {
            file.extend(packet(&Packet {
                interface: 1,
                at: UNIX_EPOCH + Duration::from_nanos(5_000_000_007),
                length: 1500,
                bytes: &vec![0xab; size],
                comment: "forwarded (to-server): pc1",
                verdict: 4,
            }));
        }
        let kinds: Vec<u32> = blocks(&file).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [SECTION, INTERFACE, INTERFACE, PACKET, PACKET, PACKET, PACKET, PACKET, PACKET]);
        let (_, last) = blocks(&file).pop().unwrap();
        let number = |at: usize| u32::from_ne_bytes(last[at..at + 4].try_into().unwrap());
        assert_eq!([0, 4, 8, 12, 16].map(number), [1, 1, 705_032_711, 61, 1500], "5,000,000,007 in two halves");
    }
}
