//! Where everything stands in the text.

use std::collections::BTreeMap;

use crate::config::diagnostic::{KeyPath, Span};

#[derive(Default)]
pub struct Places(BTreeMap<KeyPath, Span>);

impl Places {
    /// Of a value behind an alias, the place where it is defined.
    pub fn insert(&mut self, at: &KeyPath, location: serde_yaml::Location) {
        if let Some(span) = span(location) {
            self.0.insert(at.clone(), span);
        }
    }

    /// Where it stands; or else what is in it; or else what it is in.
    pub fn near(&self, at: &KeyPath) -> Option<Span> {
        let mut at = at.clone();
        while at != KeyPath::root() {
            if let Some(span) = self.of(&at) {
                return Some(span);
            }
            at = at.parent()?;
        }
        None
    }

    /// Where it stands, or else the first thing in it.
    pub fn of(&self, at: &KeyPath) -> Option<Span> {
        /// Enough for any object; of a long list, the items come in the order of their numbers' text.
        const LOOKED_AT_MAX: usize = 100;
        self.0.get(at).cloned().or_else(|| {
            let within = self.within(at).take(LOOKED_AT_MAX);
            within.map(|(_, span)| span.clone()).min_by_key(|span| span.bytes.start)
        })
    }

    fn within(&self, at: &KeyPath) -> impl Iterator<Item = (&KeyPath, &Span)> {
        let same_start = self.0.range(at..).take_while(|(path, _)| path.as_str().starts_with(at.as_str()));
        same_start.filter(|(path, _)| path.is_within(at))
    }
}

pub fn span(location: serde_yaml::Location) -> Option<Span> {
    let (line, column) = (u32::try_from(location.line()).ok()?, u32::try_from(location.column()).ok()?);
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    (line > 0).then(|| Span { line, column, bytes: start..start.saturating_add(length) })
}
