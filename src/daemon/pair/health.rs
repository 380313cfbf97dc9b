//! What each box sees of the servers: the owner tells, the other one compares. Both probe for themselves, so that a new
//! owner knows at once who is up; a server that only one of them reaches is a fault of a cable or a switch, which is to
//! be seen before the takeover and not in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::forwarding::DestKey;
use crate::core::moment::Moment;
use crate::core::plan::Standing;

/// Members named in words; the rest are counted.
const NAMED_MAX: usize = 8;
/// Members of which a box tells; with names of 32 bytes that is less than the stream takes.
const TOLD_MAX: usize = 1_500;

/// The members that cannot serve, by `virtual server/service/4 or 6/server`, each with why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    ill: BTreeMap<String, String>,
}

/// What one box sees worse than the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Ill here and not there.
    pub here: Vec<String>,
    /// Ill there and not here.
    pub there: Vec<String>,
}

/// What a member's standing says of its server and the way to it, whatever an operator has ordered.
pub fn is_ill(standing: &Standing) -> bool {
    matches!(
        standing,
        Standing::Down(_)
            | Standing::Unprobed
            | Standing::NoPlace(_)
            | Standing::NoAddress(_)
            | Standing::Held(_)
            | Standing::Flapping
            | Standing::Suspect
            | Standing::LastResort
    )
}

impl View {
    pub fn of(members: &BTreeMap<DestKey, Standing>) -> Self {
        let ill = members.iter().filter(|(_, standing)| is_ill(standing)).take(TOLD_MAX);
        Self { ill: ill.map(|(member, standing)| (member.to_string(), standing.to_string())).collect() }
    }

    /// # Errors
    /// In words, when it is not what the other box would say.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        // Names and words in a map can be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Of members that both have: one that is not in the other's configuration is no matter of health.
    pub fn differs(&self, theirs: &Self) -> Difference {
        let only =
            |one: &Self, other: &Self| one.ill.keys().filter(|key| !other.ill.contains_key(*key)).cloned().collect();
        Difference { here: only(self, theirs), there: only(theirs, self) }
    }

    /// What an operator is told of members that are ill here alone.
    fn words(&self, here: &[String]) -> String {
        let named: Vec<String> = here
            .iter()
            .take(NAMED_MAX)
            .map(|member| format!("{member} ({})", self.ill.get(member).map_or("", String::as_str)))
            .collect();
        let more = here.len().saturating_sub(NAMED_MAX);
        let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
        format!(
            "the owner reaches what this box does not: {}{rest}; after a takeover these would be lost. Look at the cables and switches between this box and them",
            named.join(", ")
        )
    }
}

/// Holds a difference against time: a box that finds a failed server sooner than the other one says nothing yet.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    here: Option<(Vec<String>, Moment)>,
}

impl Watch {
    /// What is to be told now of members that are ill here alone; empty: nothing. They are told when the same have been
    /// for `patience`.
    pub fn judge(&mut self, own: &View, here: &[String], patience: std::time::Duration, now: Moment) -> String {
        if here.is_empty() {
            self.here = None;
            return String::new();
        }
        let since = match &self.here {
            Some((before, since)) if before.iter().any(|member| here.contains(member)) => *since,
            _ => now,
        };
        self.here = Some((here.to_vec(), since));
        if now.since(since) >= patience { own.words(here) } else { String::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn view(members: &[&str]) -> View {
        View { ill: members.iter().map(|member| ((*member).to_owned(), "down: refused".to_owned())).collect() }
    }

    fn at(second: u64) -> Moment {
        Moment(Duration::from_secs(second))
    }

    #[test]
    fn what_one_box_sees_worse_is_told_on_its_side() {
        let difference = view(&["mx/smtp/4/pc1", "mx/smtp/4/pc2"]).differs(&view(&["mx/smtp/4/pc2", "mx/smtp/6/pc3"]));
        assert_eq!(difference.here, ["mx/smtp/4/pc1"]);
        assert_eq!(difference.there, ["mx/smtp/6/pc3"]);
    }

    #[test]
    fn a_view_goes_over_the_wire_and_what_is_none_is_refused() {
        let view = view(&["mx/smtp/4/pc1"]);
        assert_eq!(View::parse(&view.to_bytes()), Ok(view));
        assert!(View::parse(b"{").is_err());
        assert!(View::parse(b"{\"ill\":[1]}").is_err());
    }

    #[test]
    fn a_difference_is_told_when_it_has_stood_and_is_taken_back_when_it_ends() {
        let (mut watch, own) = (Watch::default(), view(&["mx/smtp/4/pc1", "mx/smtp/4/pc2"]));
        let patience = Duration::from_secs(10);
        let here = |members: &[&str]| members.iter().map(|member| (*member).to_owned()).collect::<Vec<_>>();
        assert_eq!(watch.judge(&own, &here(&["mx/smtp/4/pc1"]), patience, at(1)), "");
        assert_eq!(watch.judge(&own, &here(&["mx/smtp/4/pc2"]), patience, at(9)), "", "another one");
        let words = watch.judge(&own, &here(&["mx/smtp/4/pc1", "mx/smtp/4/pc2"]), patience, at(19));
        assert!(words.contains("mx/smtp/4/pc1 (down: refused), mx/smtp/4/pc2 (down: refused);"), "{words}");
        assert_eq!(watch.judge(&own, &[], patience, at(20)), "");
        assert_eq!(watch.judge(&own, &here(&["mx/smtp/4/pc1"]), patience, at(21)), "", "anew");
    }

    #[test]
    fn a_site_without_anything_is_told_of_shortly() {
        let members: Vec<String> = (0..100).map(|n| format!("mx/smtp/4/pc{n:02}")).collect();
        let own = view(&members.iter().map(String::as_str).collect::<Vec<_>>());
        let words = own.words(&members);
        assert!(words.contains(", and 92 more;"), "{words}");
    }
}
