//! Why a member of a service gets new connections, or does not.

use std::fmt;

use crate::core::forwarding::Family;
use crate::core::network::Nowhere;
use crate::core::scheduler::LEAST_CONNECTIONS_MAX;

/// Of several reasons against a member the first in this order is told: no address, disabled, down,
/// draining, unprobed, no place, idle as a backup, too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Gets new connections, at this part of its weight: 10 to 100, less than 100 in slow start.
    Scheduled {
        percent: u8,
        backup: bool,
    },
    /// A backup whose turn has not come.
    BackupIdle,
    Draining,
    Disabled,
    /// The probe fails, with the words of its last failure. `None` when the latest probe succeeded
    /// and others must follow.
    Down(Option<String>),
    /// No probe has come back yet.
    Unprobed,
    NoPlace(Nowhere),
    /// The server has no address of the service's family; there is no destination.
    NoAddress(Family),
    /// Least connections looks at so many members and no more.
    TooMany,
    /// Takes connections although its probe fails: too few members are up, and the pool holds the last ones.
    Held(Option<String>),
    /// Answers, and is held down because it has failed too often.
    Flapping,
    /// What it was reached by has failed, and it is being asked: an answer clears it, a failure takes it down.
    Suspect,
    /// Flaps, or is suspect, and takes connections because nobody else can.
    LastResort,
    /// Could take connections; the pool refuses them because too few members are up.
    Refused {
        up: usize,
        min_up: u16,
    },
}

impl Standing {
    /// One word, for labels and filters; stable between releases.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Scheduled { percent: 100, .. } => "scheduled",
            Self::Scheduled { .. } => "slow-start",
            Self::BackupIdle => "backup-idle",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::Down(_) => "down",
            Self::Unprobed => "unprobed",
            Self::NoPlace(_) => "no-place",
            Self::NoAddress(_) => "no-address",
            Self::TooMany => "too-many",
            Self::Held(_) => "held",
            Self::Flapping => "flapping",
            Self::Suspect => "suspect",
            Self::LastResort => "last-resort",
            Self::Refused { .. } => "refused",
        }
    }

    pub fn is_scheduled(&self) -> bool {
        matches!(self, Self::Scheduled { .. } | Self::Held(_) | Self::LastResort)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduled { percent, backup } => {
                f.write_str("scheduled")?;
                if *percent < 100 {
                    write!(f, " at {percent} % of its weight (slow start)")?;
                }
                if *backup {
                    f.write_str(", as a backup: no other member can be")?;
                }
                Ok(())
            }
            Self::BackupIdle => f.write_str("backup: idle while another member takes connections"),
            Self::Draining => f.write_str("draining: keeps its connections, gets no new ones"),
            Self::Disabled => f.write_str("disabled by the operator"),
            Self::Down(Some(words)) => write!(f, "down: {words}"),
            Self::Down(None) => f.write_str("down: the latest probe succeeded, more must follow"),
            Self::Unprobed => f.write_str("not scheduled yet: its first probe has not come back"),
            Self::NoPlace(nowhere) => write!(f, "not scheduled: {nowhere}"),
            Self::NoAddress(Family::V4) => f.write_str("not scheduled: the server has no IPv4 address"),
            Self::NoAddress(Family::V6) => f.write_str("not scheduled: the server has no IPv6 address"),
            Self::TooMany => {
                write!(f, "not scheduled: least-connections takes {LEAST_CONNECTIONS_MAX} members, by name")
            }
            Self::Held(words) => {
                f.write_str("scheduled although it is down, because too few members are up")?;
                words.as_ref().map_or(Ok(()), |words| write!(f, ": {words}"))
            }
            Self::Flapping => f.write_str("held down: it answers, but has failed too often in the last minutes"),
            Self::Suspect => f.write_str("in doubt: what it was reached by has failed, its next answer decides"),
            Self::LastResort => f.write_str("scheduled although it is in doubt: no other member can be"),
            Self::Refused { up, min_up } => {
                write!(f, "not scheduled: {up} of at least {min_up} members are up, and the pool refuses then")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_reads_as_the_operator_shall_read_it() {
        let all = [
            Standing::Scheduled { percent: 100, backup: false },
            Standing::Scheduled { percent: 40, backup: false },
            Standing::Scheduled { percent: 100, backup: true },
            Standing::BackupIdle,
            Standing::Draining,
            Standing::Disabled,
            Standing::Down(Some("connection refused".into())),
            Standing::Down(None),
            Standing::Unprobed,
            Standing::NoPlace(Nowhere::NoNeighbour),
            Standing::NoPlace(Nowhere::NoPort),
            Standing::NoPlace(Nowhere::PortDown),
            Standing::NoPlace(Nowhere::PortBlocked),
            Standing::NoPlace(Nowhere::ForeignPort),
            Standing::NoAddress(Family::V4),
            Standing::NoAddress(Family::V6),
            Standing::TooMany,
        ];
        let text: Vec<String> = all.iter().map(|s| format!("{:<12}{s}", s.word())).collect();
        insta::assert_snapshot!(text.join("\n"));
    }
}
