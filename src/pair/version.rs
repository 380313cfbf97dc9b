//! Versions of the protocol, and which of them a pair speaks.
//!
//! What is the same in every version: the header in clear, the way of the seal, and the first byte of a heartbeat,
//! which tells the versions that its sender speaks. A box seals with the highest version that both speak, and with
//! its own lowest until it has heard its peer. A release speaks its own version and the one before, so two adjacent
//! releases can be paired.

/// From the lowest to the highest version that a box speaks; each 1 to 15, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    lowest: u8,
    highest: u8,
}

/// What this release speaks.
pub const SPOKEN: Versions = Versions { lowest: 1, highest: 1 };

impl Versions {
    /// `None`: out of range or order.
    pub const fn new(lowest: u8, highest: u8) -> Option<Self> {
        if lowest >= 1 && lowest <= highest && highest <= 15 { Some(Self { lowest, highest }) } else { None }
    }

    /// What is spoken with a peer of which nothing is known.
    pub const fn lowest(self) -> u8 {
        self.lowest
    }

    pub const fn contains(self, version: u8) -> bool {
        self.lowest <= version && version <= self.highest
    }

    /// The highest version in both.
    pub fn common(self, other: Self) -> Option<u8> {
        let highest = self.highest.min(other.highest);
        (self.contains(highest) && other.contains(highest)).then_some(highest)
    }

    /// One byte: the lowest in the upper four bits, the highest in the lower.
    pub const fn to_byte(self) -> u8 {
        self.lowest << 4 | self.highest
    }

    /// `None`: out of range or order.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Self::new(byte >> 4, byte & 15)
    }
}

/// The version to seal with.
#[derive(Clone, Copy, Debug)]
pub struct Negotiation {
    own: Versions,
    peer: Option<Versions>,
}

impl Negotiation {
    pub const fn new(own: Versions) -> Self {
        Self { own, peer: None }
    }

    pub const fn own(&self) -> Versions {
        self.own
    }

    /// The peer has said what it speaks.
    pub const fn heard(&mut self, peer: Versions) {
        self.peer = Some(peer);
    }

    /// The peer has been silent for so long that another release may answer next.
    pub const fn forget(&mut self) {
        self.peer = None;
    }

    /// The highest that both speak; the own lowest when that is not known, or there is none.
    pub fn version(&self) -> u8 {
        self.peer.and_then(|peer| self.own.common(peer)).unwrap_or(self.own.lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(lowest: u8, highest: u8) -> Versions {
        Versions::new(lowest, highest).unwrap()
    }

    #[test]
    fn the_lowest_is_spoken_until_the_peer_is_heard_then_the_highest_of_both() {
        let mut negotiation = Negotiation::new(versions(2, 4));
        assert_eq!(negotiation.version(), 2);
        negotiation.heard(versions(1, 3));
        assert_eq!(negotiation.version(), 3);
        negotiation.heard(versions(3, 9));
        assert_eq!(negotiation.version(), 4);
        negotiation.forget();
        assert_eq!(negotiation.version(), 2);
    }

    #[test]
    fn without_a_common_version_the_lowest_goes_on() {
        let mut negotiation = Negotiation::new(versions(2, 4));
        negotiation.heard(versions(5, 6));
        assert_eq!(negotiation.version(), 2);
        assert_eq!(versions(5, 6).common(versions(2, 4)), None);
    }

    #[test]
    fn a_byte_holds_every_range_and_only_those() {
        for byte in 0..=u8::MAX {
            let (lowest, highest) = (byte >> 4, byte & 15);
            let sound = lowest != 0 && lowest <= highest;
            assert_eq!(Versions::from_byte(byte).map(Versions::to_byte), sound.then_some(byte));
        }
        assert_eq!(Versions::new(1, 16), None);
    }
}
