//! What a box holds, and how that becomes something else.

use super::document::Document;
use super::revision::{Hash, Lineage, Revision};

/// What a box has of the configuration that both have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub revision: Revision,
    pub lineage: Lineage,
    /// As whoever changed it last has written it down.
    pub text: String,
    /// It serves nothing: a box that waits to be filled. It is behind every other one, whatever its counter.
    pub blank: bool,
    /// Changed while this box was not the owner. It does not go to the owner by itself.
    pub off_duty: bool,
}

impl Held {
    /// Of a box that knows nothing of what was before.
    pub fn first(text: String, blank: bool) -> Self {
        let revision = Revision { counter: u64::from(!blank), hash: Hash::of(text.as_bytes()) };
        Self { revision, lineage: Lineage::default(), text, blank, off_duty: false }
    }

    /// After a change on this box.
    pub fn changed(&self, text: String, blank: bool, off_duty: bool) -> Self {
        if self.blank {
            // What nothing became is no descendant of anything.
            return Self { off_duty: off_duty && !blank, ..Self::first(text, blank) };
        }
        let revision = Revision { counter: self.revision.counter.saturating_add(1), hash: Hash::of(text.as_bytes()) };
        let lineage = self.lineage.with([self.revision]);
        // Once off duty, it stays so until the box owns, or both have the same.
        Self { revision, lineage, text, blank, off_duty: off_duty || self.off_duty }
    }

    /// With what the peer has in its place.
    pub fn replaced(&self, by: &Document, blank: bool) -> Self {
        let before = (!self.blank).then_some(self.revision);
        let more = by.lineage.iter().chain(before).filter(|revision| *revision != by.revision);
        let lineage = Lineage::of(self.lineage.iter().chain(more).filter(|revision| *revision != by.revision));
        Self { revision: by.revision, lineage, text: by.text.clone(), blank, off_duty: false }
    }

    /// An operator has said that this one counts, and not `other`.
    pub fn preferred_to(&self, other: Revision) -> Self {
        let counter = self.revision.counter.max(other.counter).saturating_add(1);
        let revision = Revision { counter, hash: self.revision.hash };
        let lineage = self.lineage.with([self.revision, other]);
        Self { revision, lineage, text: self.text.clone(), blank: self.blank, off_duty: false }
    }

    pub fn document(&self) -> Document {
        Document { revision: self.revision, lineage: self.lineage.clone(), text: self.text.clone() }
    }
}
