//! The words of the fixed lists, for reading and for writing.

use crate::config::{Mode, OnFailure, Protocol, Scheduler, XdpMode};

/// A value that is written as one word out of a list.
pub trait Choice: Copy + PartialEq + 'static {
    /// What the words are, in the singular.
    const WHAT: &'static str;
    const CHOICES: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        // That every value has a word, the tests hold by writing and reading all of them.
        Self::CHOICES.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

impl Choice for Protocol {
    const WHAT: &'static str = "protocol";
    const CHOICES: &'static [(&'static str, Self)] = &[("tcp", Self::Tcp), ("udp", Self::Udp)];
}

impl Choice for Mode {
    const WHAT: &'static str = "mode";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("dsr", Self::Dsr), ("nat", Self::Nat), ("full-nat", Self::FullNat)];
}

impl Choice for Scheduler {
    const WHAT: &'static str = "scheduler";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("maglev", Self::Maglev),
        ("round-robin", Self::RoundRobin),
        ("least-connections", Self::LeastConnections),
        ("source-hash", Self::SourceHash),
    ];
}

impl Choice for XdpMode {
    const WHAT: &'static str = "way of XDP";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("native", Self::Native), ("generic", Self::Generic)];
}

/// The word for a `CheckKind`, without what belongs to its probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckWord {
    Auto,
    None,
    Tcp,
}

impl Choice for CheckWord {
    const WHAT: &'static str = "type of check";
    const CHOICES: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("tcp", Self::Tcp), ("none", Self::None)];
}

impl Choice for OnFailure {
    const WHAT: &'static str = "way to treat a failed server's connections,";
    const CHOICES: &'static [(&'static str, Self)] = &[("reset", Self::Reset), ("keep", Self::Keep)];
}

/// `UdpLife` without its time, which is a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpLifeKind {
    Idle,
    MaxAge,
    PerPacket,
}

impl Choice for UdpLifeKind {
    const WHAT: &'static str = "life of a UDP flow";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("idle", Self::Idle), ("max-age", Self::MaxAge), ("per-packet", Self::PerPacket)];
}
