//! Names of services that may stand for a port number.
//!
//! A fixed table and not `/etc/services`: the same file must mean the same on
//! every box. Numbers: IANA's registry of service names; `radius-old` is the
//! port of RFC 2138, before 1812 was assigned.

pub const SERVICES: &[(&str, u16)] = &[
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("dns", 53),
    ("http", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("imap4", 143),
    ("ldap", 389),
    ("https", 443),
    ("ssl", 443),
    ("smtps", 465),
    ("submission", 587),
    ("syslog", 514),
    ("ldaps", 636),
    ("syslog-tls", 6514),
    ("imaps", 993),
    ("pop3s", 995),
    ("radius-old", 1645),
    ("radius-acct-old", 1646),
    ("radius", 1812),
    ("radius-acct", 1813),
    ("mysql", 3306),
    ("sieve", 4190),
];

/// The port of a service by its name, in any case of letters.
pub fn port_of(name: &str) -> Option<u16> {
    SERVICES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, port)| *port)
}

/// All names, for suggestions and the schema.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    SERVICES.iter().map(|(name, _)| *name)
}
