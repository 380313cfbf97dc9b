//! What cannot work is refused here, whatever notation it was written in.
//!
//! Pure: a `Config` in, findings out, each at a `KeyPath` that the notation
//! turns into a place. All findings are reported, not only the first.

mod addresses;
mod http;
mod logging;
mod objects;
mod pair;
mod pools;
mod probe;
mod services;
mod sizes;
mod users;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::time::Duration;

use super::diagnostic::{Complaint, Finding, KeyPath};
use super::limits::Range;
use super::model::Config;
use super::suggest::did_you_mean;

pub(super) use self::services::udp_on_tcp;

/// Everything that is wrong or doubtful; a `Config` without errors can be run.
pub fn validate(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::default();
    sizes::check(config, &mut findings);
    if !findings.list.is_empty() {
        return findings.list;
    }
    objects::interfaces(config, &mut findings);
    objects::limits(config, &mut findings);
    pair::check(config, &mut findings);
    http::check(config, &mut findings);
    users::check(config, &mut findings);
    logging::check(config, &mut findings);
    objects::servers(config, &mut findings);
    pools::check_all(config, &mut findings);
    addresses::check(config, &mut findings);
    services::check(config, &mut findings);
    findings.list
}

#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    suggestions: usize,
}

impl Findings {
    fn error(&mut self, at: KeyPath, complaint: Complaint) {
        self.list.push(Finding::error(at, complaint));
    }

    fn warning(&mut self, at: KeyPath, complaint: Complaint) {
        self.list.push(Finding::warning(at, complaint));
    }

    fn number(&mut self, at: KeyPath, value: u32, range: Range) {
        if let Err(complaint) = check_number(value.into(), range) {
            self.error(at, complaint);
        }
    }

    fn time(&mut self, at: KeyPath, value: Duration, range: Range) {
        if let Err(complaint) = check_time(value, range) {
            self.error(at, complaint);
        }
    }

    /// A near name, or the names that there are. Bounded: 100 wrong names among thousands are work enough.
    fn did_you_mean<'a>(
        &mut self,
        text: &str,
        candidates: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Option<String> {
        const SUGGESTIONS_MAX: usize = 100;
        self.suggestions += 1;
        (self.suggestions <= SUGGESTIONS_MAX).then(|| did_you_mean(text, candidates)).flatten()
    }
}

/// Holds a number against its range.
pub(super) fn check_number(value: u64, range: Range) -> Result<(), Complaint> {
    if range.contains(value) {
        return Ok(());
    }
    Err(Complaint::new(format!("{value} is out of range"))
        .help(format!("a whole number from {} to {} can stand here", range.min, range.max)))
}

/// Holds a time against its range, and against the resolution that all notations have.
pub(super) fn check_time(value: Duration, range: Range) -> Result<(), Complaint> {
    let help = || format!("a time from {} to {} can stand here", milliseconds(range.min), milliseconds(range.max));
    if !value.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(Complaint::new("times are whole milliseconds").help(help()));
    }
    match u64::try_from(value.as_millis()) {
        Ok(ms) if range.contains(ms) => Ok(()),
        _ => Err(Complaint::new(format!("{} is out of range", time(value))).help(help())),
    }
}

fn milliseconds(ms: u32) -> String {
    time(Duration::from_millis(ms.into()))
}

/// A time in the largest unit that has no fraction: `90s`, `40m`, `500ms`.
pub(super) fn time(value: Duration) -> String {
    let ms = value.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms > 0 && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    if ms == 0 { "0s".into() } else { format!("{ms}ms") }
}

/// `virtual-servers/mx`
fn virtual_server(name: impl Display) -> KeyPath {
    KeyPath::root().key("virtual-servers").key(name)
}

/// `virtual-servers/mx/services/smtp`
fn service(virtual_name: impl Display, name: impl Display) -> KeyPath {
    virtual_server(virtual_name).key("services").key(name)
}

/// `pools/mx`
fn pool(name: impl Display) -> KeyPath {
    KeyPath::root().key("pools").key(name)
}

/// `servers/pc1`
fn server(name: impl Display) -> KeyPath {
    KeyPath::root().key("servers").key(name)
}
