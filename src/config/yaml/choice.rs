//! The words of the fixed lists, for reading and for writing.

use crate::config::{
    Aim, BelowMin, Facility, LogSeverity, LogTransport, Mode, OnFailure, Profile, Protocol, Scheduler, XdpMode,
};

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
    Tls,
    Smtp,
    Pop3,
    Imap,
    Http,
    Dns,
    Radius,
    Ftp,
    Ldap,
    Mysql,
    Icmp,
    Arp,
    Script,
}

impl Choice for CheckWord {
    const WHAT: &'static str = "type of check";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("none", Self::None),
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
        ("smtp", Self::Smtp),
        ("pop3", Self::Pop3),
        ("imap", Self::Imap),
        ("http", Self::Http),
        ("dns", Self::Dns),
        ("radius", Self::Radius),
        ("ftp", Self::Ftp),
        ("ldap", Self::Ldap),
        ("mysql", Self::Mysql),
        ("icmp", Self::Icmp),
        ("arp", Self::Arp),
        ("script", Self::Script),
    ];
}

/// `Security` without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsWord {
    None,
    Always,
    StartTls,
}

impl Choice for TlsWord {
    const WHAT: &'static str = "use of TLS";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("always", Self::Always), ("starttls", Self::StartTls)];
}

/// The transport of a DNS question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportWord {
    Udp,
    Tcp,
}

impl Choice for TransportWord {
    const WHAT: &'static str = "transport";
    const CHOICES: &'static [(&'static str, Self)] = &[("udp", Self::Udp), ("tcp", Self::Tcp)];
}

impl Choice for Aim {
    const WHAT: &'static str = "target of a probe";
    const CHOICES: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("server", Self::Server)];
}

impl Choice for BelowMin {
    const WHAT: &'static str = "way to treat a pool with too few members,";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("backup", Self::Backup), ("hold", Self::Hold), ("refuse", Self::Refuse)];
}

impl Choice for Profile {
    const WHAT: &'static str = "profile";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("smtp", Self::Smtp),
        ("submission", Self::Submission),
        ("smtps", Self::Smtps),
        ("pop3", Self::Pop3),
        ("pop3s", Self::Pop3s),
        ("imap", Self::Imap),
        ("imaps", Self::Imaps),
        ("webmail", Self::Webmail),
        ("http", Self::Http),
        ("https", Self::Https),
        ("radius-auth", Self::RadiusAuth),
        ("radius-acct", Self::RadiusAcct),
        ("dns", Self::Dns),
        ("ftp", Self::Ftp),
        ("ldap", Self::Ldap),
        ("mysql-read", Self::MysqlRead),
        ("syslog", Self::Syslog),
    ];
}

impl Choice for OnFailure {
    const WHAT: &'static str = "way to treat a failed server's connections,";
    const CHOICES: &'static [(&'static str, Self)] = &[("reset", Self::Reset), ("keep", Self::Keep)];
}

impl Choice for LogTransport {
    const WHAT: &'static str = "transport of the log";
    const CHOICES: &'static [(&'static str, Self)] = &[("udp", Self::Udp), ("tcp", Self::Tcp), ("tls", Self::Tls)];
}

impl Choice for Facility {
    const WHAT: &'static str = "facility";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("user", Self::User),
        ("daemon", Self::Daemon),
        ("auth", Self::Auth),
        ("local0", Self::Local(0)),
        ("local1", Self::Local(1)),
        ("local2", Self::Local(2)),
        ("local3", Self::Local(3)),
        ("local4", Self::Local(4)),
        ("local5", Self::Local(5)),
        ("local6", Self::Local(6)),
        ("local7", Self::Local(7)),
    ];
}

impl Choice for LogSeverity {
    const WHAT: &'static str = "severity";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warning", Self::Warning),
        ("notice", Self::Notice),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];
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
