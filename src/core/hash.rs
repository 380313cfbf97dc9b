//! A hash that never changes between releases.
//!
//! A server's slots in a Maglev table and a target's place in the probing rhythm follow from it: were
//! it to change, an update of the daemon would move flows that live by the hash alone. (The standard
//! library's hasher makes no such promise.) It guards against nobody: names come from the operator.

/// 64-bit FNV-1a (Fowler, Noll, Vo; draft-eastlake-fnv), started from `seed` and finished as splitmix64
/// (Steele, Lea, Flood, OOPSLA 2014) so that similar names differ in every bit.
pub fn stable_hash(bytes: &[u8], seed: u64) -> u64 {
    mix(fnv1a(bytes) ^ mix(seed))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// What splitmix64 adds from one number to the next.
pub(super) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number of splitmix64 that follows this state.
pub(super) fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(STEP);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_and_splitmix64_are_the_published_ones() {
        // draft-eastlake-fnv, appendix: test vectors of 64-bit FNV-1a.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        // The first outputs of splitmix64 with seed 0 (java.util.SplittableRandom's sequence).
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn names_that_differ_by_one_letter_and_seeds_differ_in_about_half_of_the_bits() {
        for (a, b) in [((b"pc1", 0), (b"pc2", 0)), ((b"pc1", 0), (b"pc1", 1))] {
            let differing = (stable_hash(a.0, a.1) ^ stable_hash(b.0, b.1)).count_ones();
            assert!((16..=48).contains(&differing), "{differing} bits");
        }
    }
}
